"""Reporting a failed deployment, with and without a webhook."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from sandbox.ports import closed_port
from tests.programs import run_here

ROOT = Path(__file__).parents[2]
LINE = "Deployment of time-to-dispatch failed: job train-model failed"


def report(*arguments: str, **environment: str) -> list[str]:
    """Run the stage; returns its log, of which it must not fail."""
    told = {"EXCEPTION_MESSAGE": "job train-model failed", **environment}
    return read_log(run_here("pipeline.report_failure", *arguments, **told))


def read_log(process: subprocess.CompletedProcess[str]) -> list[str]:
    assert process.returncode == 0
    assert process.stderr == ""
    return process.stdout.splitlines()


class Webhook(HTTPServer):
    """Answers every POST with a status, and keeps what was posted."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), WebhookHandler)
        self.status = 200
        self.posted: list[tuple[str, str | None, bytes]] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/secret"


class WebhookHandler(BaseHTTPRequestHandler):
    server: Webhook

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posted.append((self.path, self.headers["Content-Type"], body))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Keep quiet."""


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    with Webhook() as server:
        Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        yield server
        server.shutdown()


@pytest.mark.process
def test_as_bodywork_runs_it_it_ends_well() -> None:
    reason = {"EXCEPTION_MESSAGE": "job train-model failed", "ALERT_WEBHOOK_URL": ""}
    process = subprocess.run(
        [sys.executable, "report_failure.py"],
        cwd=ROOT / "pipeline",
        env={**os.environ, "PYTHONPATH": str(ROOT), **reason},
        capture_output=True,
        text=True,
    )
    (line,) = read_log(process)
    assert " - ERROR - " in line and line.endswith(f" - {LINE}")


@pytest.mark.parametrize("url", ["", " "], ids=["no webhook", "blank webhook"])
def test_without_a_webhook_the_failure_is_logged(url: str) -> None:
    (line,) = report(ALERT_WEBHOOK_URL=url)
    assert " - ERROR - " in line and line.endswith(f" - {LINE}")


def test_without_a_reason_it_says_so() -> None:
    (line,) = report(EXCEPTION_MESSAGE="")
    assert "ERROR" in line and line.endswith("Bodywork gave no reason.")


def test_the_webhook_gets_the_line_that_is_logged(webhook: Webhook) -> None:
    error, told = report(ALERT_WEBHOOK_URL=f"{webhook.address}\n")
    assert error.endswith(LINE)
    assert " - INFO - " in told and told.endswith("Told the webhook.")
    ((path, content_type, body),) = webhook.posted
    assert (path, content_type) == ("/secret", "application/json")
    assert json.loads(body) == {"text": LINE}


def test_a_webhook_that_refuses_is_told_in_the_log(webhook: Webhook) -> None:
    webhook.status = 410
    error, warning = report(ALERT_WEBHOOK_URL=webhook.address)
    assert error.endswith(LINE)
    assert " - WARNING - " in warning and "(HTTP Error 410: Gone)" in warning
    assert "secret" not in warning


@pytest.mark.parametrize(
    "url, reason",
    [
        ("http://127.0.0.1:{closed}/secret", "Connection refused"),
        ("http://127.0.0.1:port/secret", "InvalidURL"),
        ("https://[::1/secret", "ValueError"),
        ("hooks.example.com/secret", "is not like https://HOST/PATH"),
        ("file:///secret", "is not like https://HOST/PATH"),
    ],
)
def test_an_unreachable_webhook_is_a_warning_that_keeps_its_secret(
    url: str, reason: str
) -> None:
    with closed_port() as closed:
        error, warning = report(ALERT_WEBHOOK_URL=url.format(closed=closed))
    assert error.endswith(LINE)
    assert " - WARNING - " in warning and reason in warning
    assert "ALERT_WEBHOOK_URL" in warning and "secret" not in warning
