"""A double of S3 that knows one request, ListObjectsV2, and has its answers ready.

Usage: python -m benchmarks.listing_server OBJECTS

A real local S3 server takes minutes to fill and to list 100,000 objects; here what is
timed is the client. Prints its port when it answers.
"""

import sys
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlparse

PAGE_SIZE = 1_000
OLDEST = datetime(2001, 1, 1)


def make_pages(objects: int) -> list[bytes]:
    """Answers that list hourly deliveries, a page of 1,000 objects each."""
    entries = [
        f"<Contents><Key>datasets/week_{OLDEST + timedelta(hours=i):%Y-%m-%dT%H:%M:%S}"
        ".csv</Key><LastModified>2021-07-02T23:00:00.000Z</LastModified>"
        f'<ETag>"{i:032x}"</ETag><Size>30000</Size></Contents>'
        for i in range(objects)
    ]
    pages: list[str] = []
    for start in range(0, objects, PAGE_SIZE):
        more = start + PAGE_SIZE < objects
        token = f"<NextContinuationToken>{len(pages) + 1}</NextContinuationToken>"
        pages.append(
            "<ListBucketResult><Name>b</Name><Prefix>datasets/</Prefix>"
            f"<IsTruncated>{str(more).lower()}</IsTruncated>{token if more else ''}"
            f"{''.join(entries[start : start + PAGE_SIZE])}</ListBucketResult>"
        )
    return [page.encode() for page in pages]


def serve(pages: list[bytes]) -> None:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            query = parse_qs(urlparse(self.path).query)
            page = pages[int(query.get("continuation-token", ["0"])[0])]
            self.send_response(200)
            self.send_header("Content-Type", "application/xml")
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    serve(make_pages(int(sys.argv[1])))
