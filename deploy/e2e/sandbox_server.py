"""S3, the repository and the webhook of an end-to-end run, in one pod.

Usage: python sandbox_server.py BUNDLE BUCKET PORT

Runs in the runtime image, which has Git and the standard library, but no S3 server. Of
S3 it has what the stages ask for, each request in path style: ListObjectsV2, GetObject,
HeadObject and PutObject, with their conditions; anything else is answered with 501. The
repository is a Git bundle, served as files (Git's "dumb" protocol) on /repository.
What is posted to /alerts goes to standard output.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import partial
from hashlib import md5
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from typing import NamedTuple
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import escape

REPOSITORY = "repository"
ALERTS = "/alerts"
# What a line of the log begins with that was posted.
ALERT = "Alert: "
METADATA = "x-amz-meta-"
PAGE = 1000


class S3Object(NamedTuple):
    content: bytes
    etag: str
    last_modified: datetime
    metadata: dict[str, str]


class S3Error(Exception):
    """An answer of S3 that is no success: the HTTP status code and S3's own code."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status = status
        self.code = code


class Bucket:
    """A bucket, in memory."""

    def __init__(self) -> None:
        self.objects: dict[str, S3Object] = {}
        self.lock = Lock()

    def put(self, key: str, content: bytes, headers: Mapping[str, str]) -> S3Object:
        """Put an object.

        Args:
            headers: With names in lower case.

        Raises:
            S3Error: If-None-Match forbids it, or the content is not sent as it is.
        """
        # Botocore does so over TLS alone.
        if "aws-chunked" in headers.get("content-encoding", ""):
            raise S3Error(501, "NotImplemented")
        new = S3Object(
            content,
            f'"{md5(content).hexdigest()}"',
            datetime.now(UTC).replace(microsecond=0),
            {
                name: value
                for name, value in headers.items()
                if name.startswith(METADATA)
            },
        )
        with self.lock:
            if headers.get("if-none-match") == "*" and key in self.objects:
                raise S3Error(412, "PreconditionFailed")
            self.objects[key] = new
        return new

    def get(self, key: str, if_match: str | None) -> S3Object:
        """Get an object.

        Raises:
            S3Error: There is none, or If-Match forbids it.
        """
        found = self.objects.get(key)
        if found is None:
            raise S3Error(404, "NoSuchKey")
        if if_match not in (None, found.etag):
            raise S3Error(412, "PreconditionFailed")
        return found

    def list(self, query: Mapping[str, str]) -> str:
        """List a page of the objects, as XML.

        Raises:
            S3Error: Something is asked for that is not done here.
        """
        known = {"list-type", "prefix", "encoding-type", "max-keys"}
        if query.get("list-type") != "2" or set(query) - known - {"continuation-token"}:
            raise S3Error(501, "NotImplemented")
        after = query.get("continuation-token", "")
        size = min(int(query.get("max-keys", PAGE)), PAGE)
        with self.lock:
            found = sorted(
                (key, item)
                for key, item in self.objects.items()
                if key.startswith(query.get("prefix", "")) and key > after
            )
        page, rest = found[:size], found[size:]
        contents = "".join(
            f"<Contents><Key>{quote(key)}</Key><ETag>{escape(item.etag)}</ETag>"
            f"<LastModified>{item.last_modified:%Y-%m-%dT%H:%M:%S.000Z}</LastModified>"
            f"<Size>{len(item.content)}</Size></Contents>"
            for key, item in page
        )
        token = (
            f"<NextContinuationToken>{escape(page[-1][0])}</NextContinuationToken>"
            if rest
            else ""
        )
        return (
            '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult>'
            f"<EncodingType>url</EncodingType><KeyCount>{len(page)}</KeyCount>"
            f"<IsTruncated>{str(bool(rest)).lower()}</IsTruncated>{token}{contents}"
            "</ListBucketResult>"
        )


class Sandbox(ThreadingHTTPServer):
    """The server, on all interfaces.

    Attributes:
        buckets: By their names.
    """

    daemon_threads = True

    def __init__(self, bundle: str, bucket: str, port: int, directory: str) -> None:
        repository = f"{directory}/{REPOSITORY}"
        for command in (
            ["git", "clone", "--quiet", "--bare", bundle, repository],
            ["git", "-C", repository, "update-server-info"],
        ):
            subprocess.run(command, check=True)
        self.buckets = {bucket: Bucket()}
        super().__init__(("", port), partial(Handler, directory=directory))


class Handler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Sandbox

    def do_GET(self) -> None:
        if self.path.startswith(f"/{REPOSITORY}/"):
            super().do_GET()
        else:
            self.answer_s3()

    def do_HEAD(self) -> None:
        self.answer_s3()

    def do_PUT(self) -> None:
        self.answer_s3()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == ALERTS:
            told = json.loads(body)
            line = " ".join(f"{told['title']}: {told['message']}".split())
            print(f"{ALERT}{line}", flush=True)
            self.answer(200)
        else:
            self.answer(501)

    do_DELETE = do_POST

    def answer_s3(self) -> None:
        url = urlsplit(self.path)
        name, _, key = unquote(url.path).lstrip("/").partition("/")
        query = {
            name: values[0]
            for name, values in parse_qs(url.query, keep_blank_values=True).items()
        }
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            if name not in self.server.buckets:
                raise S3Error(404, "NoSuchBucket")
            bucket = self.server.buckets[name]
            if self.command == "PUT" and key:
                sent = {name.lower(): each for name, each in self.headers.items()}
                found = bucket.put(key, body, sent)
                self.answer(200, headers={"ETag": found.etag})
            elif key:
                found = bucket.get(key, self.headers.get("If-Match"))
                modified = format_datetime(found.last_modified, usegmt=True)
                headers = {"ETag": found.etag, "Last-Modified": modified}
                self.answer(200, found.content, {**headers, **found.metadata})
            elif self.command == "GET":
                self.answer(200, bucket.list(query).encode())
            else:
                raise S3Error(501, "NotImplemented")
        except S3Error as error:
            document = f"<Error><Code>{error.code}</Code></Error>"
            self.answer(error.status, document.encode())

    def answer(
        self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Stay silent: the log holds the alerts."""


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory() as directory:
        Sandbox(sys.argv[1], sys.argv[2], int(sys.argv[3]), directory).serve_forever()
