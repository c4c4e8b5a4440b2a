"""A proxy between a stage and the S3 server, which makes the network and S3 fail."""

import fcntl
import http.client
import socket
import struct
import termios
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Lock, Thread
from urllib.parse import parse_qs, urlsplit

from sandbox.ports import HOST, closed_port

REFUSED_SECONDS = 0.2
DRIP_SECONDS = 0.2
ERROR = "<Error><Code>{code}</Code><Message>{message}</Message></Error>"
METHODS = {"GET": "read", "PUT": "write", "HEAD": "look at"} | {
    "POST": "begin or end",
    "DELETE": "delete",
}
# Of a connection, not of what is asked or answered.
HOP_BY_HOP = {"connection", "expect", "transfer-encoding", "server", "date"} | {
    "content-length"
}


class S3Proxy:
    """Passes requests on to an S3 server, but for those that are to fail.

    Attributes:
        fail: Is given each request, told as `list datasets` or `write models`, and how
            many of its kind there were with it; passes it on, or does something else.
        kill: What ends the process that makes the requests.
    """

    def __init__(self, s3_address: str) -> None:
        self.s3 = urlsplit(s3_address)
        self.fail: Callable[[Request, str, int], None] = pass_on
        self.kill: Callable[[], None] = lambda: None
        # Versions of objects that others have put meanwhile.
        self.delivered: set[str] = set()
        self.ended = Event()
        self._counts: Counter[str] = Counter()
        self._counting = Lock()
        # The S3 server checks If-None-Match and puts in two steps; S3 does so in one.
        self.putting = Lock()
        self._server = self._open(port=0)
        self.address = f"http://{HOST}:{self._server.server_port}"

    def _open(self, port: int) -> ThreadingHTTPServer:
        proxy = self

        class Handler(Request):
            def forward(self) -> None:
                kind = self.kind
                with proxy._counting:
                    proxy._counts[kind] += 1
                    count = proxy._counts[kind]
                proxy.fail(self, kind, count)

            do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = forward

        Handler.proxy = proxy
        server = ThreadingHTTPServer((HOST, port), Handler)
        Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        return server

    def refuse_connections(self, seconds: float | None) -> None:
        """Refuse connections from now on, for a time or for ever."""
        self._server.shutdown()
        self._server.server_close()
        Thread(target=self._open_again_after, args=[seconds]).start()

    def _open_again_after(self, seconds: float | None) -> None:
        with closed_port(self._server.server_port) as port:
            ended = self.ended.wait(seconds)
        if not ended:
            self._server = self._open(port)

    def end(self) -> None:
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def run_s3_proxy(s3_address: str) -> Iterator[S3Proxy]:
    """Run a proxy on a free port for the time of a with block."""
    proxy = S3Proxy(s3_address)
    try:
        yield proxy
    finally:
        proxy.end()


class Request(BaseHTTPRequestHandler):
    """A request on its way to S3."""

    protocol_version = "HTTP/1.1"
    # Else the body waits for the other side to have heard of the headers: 40 ms.
    disable_nagle_algorithm = True
    proxy: S3Proxy

    @property
    def kind(self) -> str:
        asked = urlsplit(self.path)
        listed = parse_qs(asked.query).get("prefix")
        if listed:
            return f"list {listed[0].rstrip('/')}"
        return f"{METHODS[self.command]} {asked.path.split('/')[2]}"

    def read_body(self, share: float = 1) -> bytes:
        length = int(self.headers.get("Content-Length", 0))
        return self.rfile.read(int(length * share))

    def ask_s3(self) -> tuple[int, dict[str, str], bytes]:
        """Pass the request on; returns the status, headers and body of the answer."""
        assert self.proxy.s3.hostname is not None
        s3 = http.client.HTTPConnection(self.proxy.s3.hostname, self.proxy.s3.port)
        body = self.read_body()
        headers = {
            name: value
            for name, value in self.headers.items()
            if name.lower() not in HOP_BY_HOP
        }
        try:
            if self.command == "PUT":
                self.proxy.putting.acquire()
            try:
                s3.request(self.command, self.path, body, headers)
                answer = s3.getresponse()
                content = answer.read()
            finally:
                if self.command == "PUT":
                    self.proxy.putting.release()
        finally:
            s3.close()
        kept = {
            name: value
            for name, value in answer.getheaders()
            if name.lower() not in HOP_BY_HOP
        }
        return answer.status, kept, content

    def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def hang_up(self) -> None:
        """Close the connection as if all had been said."""
        self.close_connection = True

    def reset(self) -> None:
        """Drop the connection, which the other side sees as reset."""
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        # Whoever has the socket open keeps it alive: makefile's readers do.
        self.rfile.close()
        self.wfile.close()
        self.connection.close()
        self.close_connection = True

    def finish(self) -> None:
        try:
            super().finish()
        except OSError:
            # The other side is gone.
            return

    def handle(self) -> None:
        try:
            super().handle()
        except (OSError, ValueError):
            # The connection was closed, by a fault or by the other side.
            self.close_connection = True

    def log_message(self, format: str, *arguments: object) -> None:
        """Keep quiet."""


Act = Callable[[Request], None]


def pass_on(request: Request, *_: object) -> None:
    request.answer(*request.ask_s3())


def answer_error(status: int, code: str, message: str) -> Act:
    def act(request: Request) -> None:
        request.read_body()
        body = ERROR.format(code=code, message=message).encode()
        request.answer(status, {"Content-Type": "application/xml"}, body)

    return act


def refuse_for_ever(request: Request) -> None:
    request.proxy.refuse_connections(None)
    request.reset()


def refuse_for_a_moment(request: Request) -> None:
    request.proxy.refuse_connections(REFUSED_SECONDS)
    request.reset()


def reset_at_once(request: Request) -> None:
    request.reset()


def reset_within_the_request(request: Request) -> None:
    request.read_body(share=0.5)
    request.reset()


def lose_the_answer(request: Request) -> None:
    request.ask_s3()
    request.reset()


def give_no_answer(request: Request) -> None:
    request.read_body()
    request.proxy.ended.wait()
    request.hang_up()


def answer_half(request: Request) -> bytes:
    """Announce a whole answer, send its first half; returns the second."""
    status, headers, body = request.ask_s3()
    half = len(body) // 2
    request.send_response(status)
    for name, value in {**headers, "Content-Length": str(len(body))}.items():
        request.send_header(name, value)
    request.end_headers()
    request.wfile.write(body[:half])
    return body[half:]


def break_off(request: Request) -> None:
    answer_half(request)
    request.hang_up()


def reset_within_the_answer(request: Request) -> None:
    answer_half(request)
    # What was sent must have arrived, for a reset overtakes it.
    while fcntl.ioctl(request.connection, termios.TIOCOUTQ, bytes(4)) != bytes(4):
        time.sleep(0.01)
    request.reset()


def stall(request: Request) -> None:
    answer_half(request)
    request.proxy.ended.wait()
    request.hang_up()


def drip(request: Request) -> None:
    for byte in answer_half(request):
        if request.proxy.ended.wait(DRIP_SECONDS):
            break
        request.wfile.write(bytes([byte]))
    request.hang_up()


def answer_with(change: Callable[[bytes], bytes]) -> Act:
    """Answer with another body, and a Content-Length that is right for it."""

    def act(request: Request) -> None:
        status, headers, body = request.ask_s3()
        request.answer(status, headers, change(body))

    return act


def kill_within_the_request(request: Request) -> None:
    request.read_body(share=0.5)
    request.proxy.kill()
    request.hang_up()


def kill_before_the_answer(request: Request) -> None:
    request.ask_s3()
    request.proxy.kill()
    request.hang_up()
