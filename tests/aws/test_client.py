"""Every failure of S3 ends in one sentence with its address, and soon."""

import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, NoCredentialsError, NoRegionError

from pipeline import aws
from pipeline.aws.client import explain_s3_errors, s3_client, within_deadline
from sandbox.ports import closed_port


@pytest.fixture
def fresh_client() -> Iterator[None]:
    s3_client.cache_clear()
    yield
    s3_client.cache_clear()


def test_attempts_are_boto3s_own_configuration(
    monkeypatch: pytest.MonkeyPatch, fresh_client: None
) -> None:
    # Not in the types of botocore's configuration.
    config: Any = s3_client().meta.config
    assert config.retries["total_max_attempts"] == 8
    s3_client.cache_clear()
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    config = s3_client().meta.config
    assert config.retries["total_max_attempts"] == 2


@pytest.mark.parametrize(
    "name, value",
    [
        ("AWS_SESSION_TOKEN", "a-secret-of-mine\n"),
        ("AWS_ACCESS_KEY_ID", "a-secret-of-mine\n"),
        ("AWS_ENDPOINT_URL", "http://user:a-secret-of-mine@127.0.0.1:9"),
    ],
)
def test_credentials_that_cannot_be_used_are_not_repeated(
    monkeypatch: pytest.MonkeyPatch, fresh_client: None, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    with pytest.raises(RuntimeError) as failure:
        aws.list_artefacts_on_s3("csv", "bucket", "datasets")
    assert "Could not list s3://bucket/datasets/" in str(failure.value)
    assert "secret" not in str(failure.value)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)


def test_what_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.aws.client.DEADLINE_SECONDS", 1)
    never = Event()
    with pytest.raises(RuntimeError) as failure, explain_s3_errors("read s3://b/k"):
        within_deadline(never.wait)
    assert str(failure.value) == (
        "Could not read s3://b/k: it was not complete after 1 seconds; check the "
        "network and that S3 is up, and try again."
    )
    never.set()


def test_what_goes_wrong_in_time_is_told() -> None:
    assert within_deadline(lambda: 7) == 7
    with pytest.raises(ValueError, match="soon"):
        within_deadline(lambda: int("soon"))


@pytest.mark.parametrize("seconds", ["", "soon", "0", "-1", "nan", "1e9"])
def test_a_deadline_that_is_none_is_refused(
    monkeypatch: pytest.MonkeyPatch, seconds: str
) -> None:
    monkeypatch.setenv("S3_DEADLINE_SECONDS", seconds)
    with pytest.raises(ValueError, match="S3_DEADLINE_SECONDS is '.*set it to seconds"):
        within_deadline(lambda: 7)


def test_an_s3_that_is_gone_is_named(
    monkeypatch: pytest.MonkeyPatch, fresh_client: None
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with closed_port() as port, pytest.raises(RuntimeError) as failure:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        aws.find_latest_artefact_on_s3("csv", "b", "datasets")
    assert str(failure.value).startswith("Could not list s3://b/datasets/: ")
    assert "check the network" in str(failure.value)


def test_an_s3_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr("pipeline.aws.client.READ_TIMEOUT_SECONDS", 0.2)
    s3_client.cache_clear()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        try:
            with pytest.raises(RuntimeError, match="Could not list s3://b/.*timeout"):
                aws.find_latest_artefact_on_s3("csv", "b")
        finally:
            s3_client.cache_clear()


def test_an_s3_that_takes_no_connection_is_given_up(
    monkeypatch: pytest.MonkeyPatch, fresh_client: None
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr("pipeline.aws.client.CONNECT_TIMEOUT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        address, port = full.getsockname()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{address}:{port}")
        # Only one can wait there.
        with socket.create_connection((address, port)):
            with pytest.raises(RuntimeError, match="Could not list .*Connect timeout"):
                aws.find_latest_artefact_on_s3("csv", "b")


@pytest.mark.parametrize("torn_answers", [2, 3])
def test_an_answer_that_breaks_off_is_asked_for_again(
    monkeypatch: pytest.MonkeyPatch, torn_answers: int
) -> None:
    content = b"orders" * 100
    torn = iter([True] * torn_answers + [False])

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[:50] if next(torn) else content)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        s3_client.cache_clear()
        moment = datetime(2021, 7, 3, tzinfo=UTC)
        listed = aws.S3TimestampedArtefact("b", "k.csv", moment, moment, "etag", 600)
        try:
            if torn_answers < 3:
                found = aws.get_object_from_s3(listed)
                assert found is not None and found.content == content
            else:
                with pytest.raises(RuntimeError, match="Could not read s3://b/k.csv: "):
                    aws.get_object_from_s3(listed)
        finally:
            s3_client.cache_clear()
            server.shutdown()


def test_a_missing_bucket_is_named() -> None:
    with pytest.raises(RuntimeError, match="s3://no-such-bucket/.*check the bucket's"):
        aws.find_latest_artefact_on_s3("csv", "no-such-bucket")
    with pytest.raises(RuntimeError, match="write s3://no-such-bucket/key: NoSuchBuck"):
        aws.put_object_to_s3(b"", "no-such-bucket", "", "key")


@pytest.mark.parametrize(
    "error, sentence",
    [
        (
            ClientError({"Error": {"Code": "AccessDenied", "Message": "No."}}, "Get"),
            "Could not read s3://b/k: AccessDenied (No); grant these credentials "
            "access to it.",
        ),
        (
            ClientError({"Error": {"Code": "SlowDown"}}, "Get"),
            "Could not read s3://b/k: SlowDown (SlowDown); look at the state of S3 and "
            "try again.",
        ),
        (
            NoCredentialsError(),
            "Could not read s3://b/k: no AWS credentials found; set AWS_ACCESS_KEY_ID "
            "and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE.",
        ),
        (
            NoRegionError(),
            "Could not read s3://b/k: no AWS region configured; set "
            "AWS_DEFAULT_REGION.",
        ),
    ],
)
def test_each_cause_has_its_sentence(error: Exception, sentence: str) -> None:
    with pytest.raises(RuntimeError) as failure, explain_s3_errors("read s3://b/k"):
        raise error
    assert str(failure.value) == sentence
