"""An S3 server on this machine, as a process of its own: moto's.

It keeps everything in memory and forgets it when it ends.
"""

import logging
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from pipeline.aws import s3_client
from sandbox.ports import HOST
from sandbox.processes import run_process

REGION: Final = "eu-west-1"


@contextmanager
def run_s3_server() -> Iterator[dict[str, str]]:
    """Run an S3 server on a free port of the loopback for the time of a with block.

    It ends with the block and, at the latest, with the process that started it.

    Yields:
        The environment variables that point a process at it, once it answers.

    Raises:
        RuntimeError: The server did not start.
    """
    with run_process(
        sys.executable, "-m", "sandbox.s3_server", stdout=subprocess.PIPE
    ) as server:
        assert server.stdout is not None
        port = server.stdout.readline().strip()
        if not port:
            raise RuntimeError("The local S3 server did not start: see above.")
        yield make_settings(port)


def make_settings(port: str) -> dict[str, str]:
    """Make the environment variables that point a process at a local S3 server."""
    return {
        "AWS_ENDPOINT_URL": f"http://{HOST}:{port}",
        "AWS_ACCESS_KEY_ID": "sandbox",
        "AWS_SECRET_ACCESS_KEY": "sandbox",
        "AWS_DEFAULT_REGION": REGION,
        # What the user has configured for the real S3 shall have no effect.
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "no_proxy": HOST,
    }


def replace_aws_settings(settings: Mapping[str, str]) -> None:
    """Point this process, and those it starts, at a local S3 server and no other.

    Args:
        settings: The environment variables that `run_s3_server` yields.
    """
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ.update(settings)
    s3_client.cache_clear()


def make_bucket(name: str) -> None:
    """Make a versioned bucket on the S3 server that this process is pointed at."""
    s3 = s3_client()
    s3.create_bucket(
        Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION}
    )
    s3.put_bucket_versioning(
        Bucket=name, VersioningConfiguration={"Status": "Enabled"}
    )


def serve() -> None:
    """Serve S3 until a signal ends the process; print the port once it answers."""
    from moto.moto_server.werkzeug_app import MotoRequestHandler, create_backend_app
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    # S3 alone: to tell AWS' services apart, moto reads a directory at each request.
    server = make_server(
        HOST,
        port=0,
        app=create_backend_app("s3"),
        threaded=True,
        request_handler=MotoRequestHandler,
    )
    print(server.port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    serve()
