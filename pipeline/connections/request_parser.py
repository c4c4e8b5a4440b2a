"""What the bytes of a request say: HTTP/1.1 after RFC 9112, read by llhttp.

Nothing is kept between two calls: a head is read when it has come whole, and a body in
chunks is read together with it.
"""

import re
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote

from httptools import (
    HttpParserCallbackError,
    HttpParserError,
    HttpParserUpgrade,
    HttpRequestParser,
    parse_url,
)

from pipeline.connections.refused_requests import NotTaken
from pipeline.connections.request_limits import (
    MAX_BODY_BYTES,
    MAX_HEAD_BYTES,
    MAX_HEADERS,
)

HOST = re.compile(rb"[\w.~!$&'()*+,;=%:\[\]-]*")
UPGRADE = re.compile(rb"\r\nupgrade:[^\r]*", re.IGNORECASE)


class Head(NamedTuple):
    """The request line and the headers.

    Attributes:
        data: As they came, but for the offer to go on in another protocol.
        path: Decoded, as ASGI has it.
        headers: With names in lower case.
        body_bytes: How long the body is; None if it comes in chunks.
        expects_continue: Whether the client waits until its body is asked for.
        keep_alive: Whether another request may follow.
    """

    data: bytes
    method: str
    version: str
    path: str
    raw_path: bytes
    query: bytes
    headers: list[tuple[bytes, bytes]]
    body_bytes: int | None
    expects_continue: bool
    keep_alive: bool


class Told:
    """What the parser tells of a request, in its callbacks."""

    __slots__ = ("url", "headers", "body", "messages")

    def __init__(self) -> None:
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = bytearray()
        self.messages = 0

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.messages += 1


def parse_head(data: bytes) -> Head:
    """Read the head of a request, up to its empty line.

    Raises:
        NotTaken: It is no HTTP/1.1, too large or announces a body that is.
    """
    if data.count(b"\n") > MAX_HEADERS + 2:
        raise NotTaken(431)
    parser, told, data = parse(data)
    hosts = 0
    body_bytes: int | None = 0
    expects_continue = False
    for name, value in told.headers:
        if name == b"host":
            hosts += 1
            if not is_host(value):
                raise NotTaken(400)
        elif name == b"content-length":
            body_bytes = int(value)
            if body_bytes > MAX_BODY_BYTES:
                raise NotTaken(413)
        elif name == b"transfer-encoding":
            body_bytes = None
        elif name == b"expect":
            expects_continue = value.lower() == b"100-continue"
    version = parser.get_http_version()
    if version == "1.1":
        if hosts != 1:
            raise NotTaken(400)
    elif version != "1.0" or hosts > 1:
        raise NotTaken(400)
    raw_path, query = split_target(told.url)
    try:
        path = raw_path.decode("ascii")
    except UnicodeDecodeError as error:
        raise NotTaken(400) from error
    return Head(
        data,
        parser.get_method().decode("ascii"),
        version,
        unquote(path) if "%" in path else path,
        raw_path,
        query,
        told.headers,
        body_bytes,
        expects_continue,
        version == "1.1" and parser.should_keep_alive(),
    )


def parse(data: bytes) -> tuple[HttpRequestParser, Told, bytes]:
    """Parse a head, or a request as a whole, and decline an offer to go on in another
    protocol, which Java's clients make with their first request.

    Returns:
        The parser, what it told and what it was told without the offer.

    Raises:
        NotTaken: It is no HTTP.
    """
    told = Told()
    parser = HttpRequestParser(told)
    try:
        parser.feed_data(data)
    except HttpParserUpgrade as offer:
        without = UPGRADE.sub(b"", data)
        if without == data:
            # CONNECT makes a tunnel of the connection.
            raise NotTaken(400) from offer
        return parse(without)
    except HttpParserCallbackError as error:
        cause = error.__context__
        if cause is None or isinstance(cause, HttpParserError):
            raise NotTaken(400) from error
        # Our own fault, which is not to look like the client's.
        raise cause from None
    except HttpParserError as error:
        raise NotTaken(400) from error
    return parser, told, data


@lru_cache(maxsize=16)
def is_host(value: bytes) -> bool:
    return HOST.fullmatch(value) is not None


def split_target(url: bytes) -> tuple[bytes, bytes]:
    """Split what a request is for into path and query.

    Raises:
        NotTaken: It has no path.
    """
    if url.startswith(b"/"):
        path, _, query = url.partition(b"?")
        return path, query
    try:
        parsed = parse_url(url)
    except HttpParserError as error:
        raise NotTaken(400) from error
    if parsed.path is None:
        raise NotTaken(400)
    return parsed.path, parsed.query or b""


class ChunkedBody:
    """Finds the end of a body in chunks while it comes.

    Attributes:
        position: Where the next chunk begins, in what comes after the head.
        body_bytes: How much its chunks hold so far, the announced ones included.
        in_trailers: Whether the last chunk has come.
    """

    __slots__ = ("position", "body_bytes", "in_trailers")

    def __init__(self) -> None:
        self.position = 0
        self.body_bytes = 0
        self.in_trailers = False

    def find_end(self, data: bytes | bytearray) -> int | None:
        """Tell where it ends, or None if it has not come yet.

        Args:
            data: All that has come after the head.

        Raises:
            NotTaken: It is too large, alone or with all that stands around its chunks.
        """
        while True:
            end = data.find(b"\r\n", self.position)
            if end < 0:
                if len(data) - self.position > MAX_HEAD_BYTES:
                    raise NotTaken(413)
                return None
            line = data[self.position : end]
            self.position = end + 2
            if self.in_trailers:
                if not line:
                    return self.position
            else:
                size = read_size(line)
                self.in_trailers = size == 0
                self.body_bytes += size
                self.position += size + 2 if size else 0
            framing = self.position - self.body_bytes
            if self.body_bytes > MAX_BODY_BYTES or framing > MAX_HEAD_BYTES:
                raise NotTaken(413)


def read_size(line: bytes | bytearray) -> int:
    """Read the size of a chunk from the line before it; the parser will, once more.

    Raises:
        NotTaken: It is none.
    """
    digits = line.partition(b";")[0]
    if not digits.isalnum():
        raise NotTaken(400)
    try:
        return int(digits, 16)
    except ValueError as error:
        raise NotTaken(400) from error


def parse_chunks(head: Head, chunks: bytes) -> bytes:
    """Read a body that has come in chunks; what follows them are no headers (RFC 9110,
    6.5.1).

    Raises:
        NotTaken: It is no HTTP.
    """
    told = parse(head.data + chunks)[1]
    if told.messages != 1:
        raise NotTaken(400)
    return bytes(told.body)
