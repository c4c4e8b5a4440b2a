"""No secret is ever written to a log, not even where every library logs all it can.

Users cannot switch that on, but the tests do.
"""

import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from pipeline.orders import DATASETS_FOLDER
from sandbox.orders import deliver_week, make_week
from sandbox.ports import closed_port
from tests.programs import run_here

pytestmark = [pytest.mark.once, pytest.mark.process]

SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "recognizable-secret-access-key",
    "MODEL_SIGNING_KEY": "recognizable-signing-key-of-the-models",
    "ALERT_URLS": "json://127.0.0.1:9/services/recognizable-webhook-token",
}
UNTOLD = "JSON could not be reached, or refused"
OTHER_KEY = "another-recognizable-signing-key-of-models"

Run = Callable[..., str]


@pytest.fixture
def run(caplog: pytest.LogCaptureFixture) -> Run:
    """Run a module to its end; returns all that it wrote, without any secret."""
    caplog.set_level(logging.DEBUG)
    # Whoever sends a message silences it.
    caplog.set_level(logging.NOTSET, "urllib3")

    def run(module: str, *arguments: str, code: int = 0, **environment: str) -> str:
        caplog.clear()
        process = run_here(module, *arguments, **{**SECRETS, **environment})
        written = process.stdout + process.stderr + "".join(
            f"{record.name}: {record.getMessage()}\n" for record in caplog.records
        )
        assert process.returncode == code, written
        assert "recognizable" not in written
        return written

    return run


@pytest.fixture
def nowhere() -> Iterator[str]:
    """An address at which nobody answers."""
    with closed_port() as port:
        yield f"http://127.0.0.1:{port}"


def test_the_stages_and_the_command_keep_them(bucket: str, run: Run) -> None:
    last_week = datetime.now(UTC) - timedelta(days=7)
    deliver_week(make_week(rows=300, seed=1), last_week, bucket, DATASETS_FOLDER)
    training = "pipeline.train_model", bucket, "0.1", "0.2"
    serving = "pipeline.serve_model", bucket

    # Both libraries do log: the test would see what they tell.
    written = run(*training)
    assert "botocore.auth: StringToSign" in written
    assert "urllib3.connectionpool: " in written
    assert "is no port" in run(*serving, PORT="none", code=1)
    assert "next" in run("pipeline.models", bucket, "list")
    assert "verified" in run("pipeline.models", bucket, "verify")

    for command in (serving, ("pipeline.models", bucket, "verify")):
        written = run(*command, MODEL_SIGNING_KEY=OTHER_KEY, code=1)
        assert "by none of the keys" in written
    written = run(*serving, MODEL_SIGNING_KEY="recognizable", code=1)
    assert "fewer than 32 characters" in written
    written = run(*training, MODEL_SIGNING_KEY="recognizable", code=1)
    assert "fewer than 32 characters" in written


@pytest.mark.parametrize(
    "arguments",
    [
        ("pipeline.train_model", "bucket", "0.1", "0.2"),
        ("pipeline.serve_model", "bucket"),
        ("pipeline.models", "bucket", "list"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_they_are_kept_where_s3_is_gone_or_refuses(
    run: Run, nowhere: str, arguments: tuple[str, ...]
) -> None:
    written = run(*arguments, AWS_ENDPOINT_URL=nowhere, AWS_MAX_ATTEMPTS="1", code=1)
    assert "check the network and that S3 is up" in written
    assert "check the bucket's name" in run(*arguments, code=1)


class Webhook(BaseHTTPRequestHandler):
    """Takes what is posted, or refuses it."""

    def do_POST(self) -> None:
        self.send_response(403 if "refused" in self.path else 200)
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Keep quiet."""


@pytest.fixture
def webhook() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Webhook) as server:
        Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    "url, sentence",
    [
        ("{webhook}/recognizable-token", "Told 1 of 1 channels"),
        ("{webhook}/refused/recognizable-token", UNTOLD),
        ("{nowhere}/recognizable-token", UNTOLD),
        ("json://recognizable-token.invalid/", "Channel 1 of 1 in ALERT_URLS was not"),
        ("json://recognizable:token@127.0.0.1:9/", UNTOLD),
        ("slack://recognizable-token", "is no address that Apprise knows"),
        ("recognizable-token", "is no address that Apprise knows"),
    ],
)
def test_the_report_of_a_failure_keeps_its_channels(
    run: Run, webhook: str, nowhere: str, url: str, sentence: str
) -> None:
    address = url.format(
        webhook=webhook.replace("http", "json"), nowhere=nowhere.replace("http", "json")
    )
    settings = {"ALERT_URLS": address, "EXCEPTION_MESSAGE": "why"}
    written = run("pipeline.report_failure", **settings)
    assert sentence in written
