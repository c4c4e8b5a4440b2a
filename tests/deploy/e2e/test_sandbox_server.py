"""The sandbox in the cluster: a process, asked as the stages and Bodywork ask it, by
boto3, our own code and Git."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from botocore.exceptions import ClientError

from deploy.e2e import sandbox_server
from deploy.e2e.environment import Environment
from deploy.e2e.releases import BUNDLE, HOST, REPOSITORY, SECOND, make_releases
from deploy.kubernetes_api import Cluster
from deploy.releases.repository import git
from pipeline import aws, report_failure
from pipeline.aws.artefacts import get_latest_object_from_s3
from pipeline.aws.client import s3_client
from sandbox.ports import free_port

pytestmark = [pytest.mark.once, pytest.mark.process]

BUCKET = "sandbox-bucket"
NOW = datetime.now(UTC)
# Git 2.47, that of the runtime image, says so when it clones the bundle.
HINT = "hint: Using 'master' as the name for the initial branch.\n"


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the releases and their bundle are."""
    directory = tmp_path_factory.mktemp("releases")
    make_releases(directory, BUCKET, "account/image:tag")
    return directory


@pytest.fixture(scope="module")
def sandbox(directory: Path) -> Iterator[tuple[str, Path]]:
    """A sandbox; yields its address and its log."""
    port, log = free_port(), directory / "log"
    address = f"http://127.0.0.1:{port}"
    server, bundle = sandbox_server.__file__, str(directory / BUNDLE)
    log.write_text(HINT)
    with (
        log.open("a") as stdout,
        subprocess.Popen(
            [sys.executable, "-u", server, bundle, BUCKET, str(port)], stdout=stdout
        ) as process,
    ):
        try:
            # As its readiness probe does.
            while not is_ready(f"{address}/repository/HEAD"):
                assert process.poll() is None
                time.sleep(0.05)
            yield address, log
        finally:
            process.kill()


def is_ready(url: str) -> bool:
    try:
        urlopen(url).close()
    except OSError:
        return False
    return True


@pytest.fixture
def address(
    sandbox: tuple[str, Path],
    s3_environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[str]:
    """Point this process's S3 client at the sandbox; yields its address."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", sandbox[0])
    s3_client.cache_clear()
    yield sandbox[0]
    s3_client().close()
    s3_client.cache_clear()


def test_what_is_put_is_found_and_read(address: str) -> None:
    content = b"\r\n a:b|c \x00"
    for days in range(3):
        name = aws.make_timestamped_filename("model", NOW + timedelta(days - 2), "pkl")
        assert aws.put_object_to_s3(content + b"%d" % days, BUCKET, "found", name)
    found = get_latest_object_from_s3("pkl", BUCKET, "found")
    assert (found.artefact.key, found.content) == (f"found/{name}", content + b"2")
    assert found.metadata == {"sha256": found.hash}
    assert abs(found.artefact.last_modified - datetime.now(UTC)) < timedelta(minutes=5)
    assert len(aws.list_artefacts_on_s3("pkl", BUCKET, "found")) == 3
    assert aws.list_artefacts_on_s3("pkl", BUCKET, "foun") == []


def test_nothing_is_overwritten_and_a_repeated_put_is_known(address: str) -> None:
    assert aws.put_object_to_s3(b"once", BUCKET, "", "name")
    assert aws.put_object_to_s3(b"once", BUCKET, "", "name")
    assert not aws.put_object_to_s3(b"twice", BUCKET, "", "name")


def test_content_that_was_replaced_is_not_read(address: str) -> None:
    name = aws.make_timestamped_filename("week", NOW, "csv")
    assert aws.put_object_to_s3(b"listed", BUCKET, "replaced", name)
    [listed] = aws.list_artefacts_on_s3("csv", BUCKET, "replaced")
    s3_client().put_object(Bucket=BUCKET, Key=listed.key, Body=b"another")
    assert aws.get_object_from_s3(listed) is None


def test_a_list_has_pages(address: str) -> None:
    keys = [f"pages/{name}" for name in ("a b", "a&b", "a+b", "ä:b", "c")]
    for key in keys:
        s3_client().put_object(Bucket=BUCKET, Key=key)
    pages = list(
        s3_client()
        .get_paginator("list_objects_v2")
        .paginate(
            Bucket=BUCKET, Prefix="pages/", PaginationConfig={"PageSize": 2}
        )
    )
    listed = [[item["Key"] for item in page.get("Contents", [])] for page in pages]
    assert list(map(len, listed)) == [2, 2, 1]
    assert sorted(sum(listed, [])) == sorted(keys)


def test_what_is_not_there_is_not_found(address: str) -> None:
    with pytest.raises(ClientError) as error:
        s3_client().head_object(Bucket=BUCKET, Key="missing")
    assert error.value.response["Error"]["Code"] == "404"
    with pytest.raises(RuntimeError, match="NoSuchBucket"):
        aws.list_artefacts_on_s3("csv", "other")


@pytest.mark.parametrize(
    "method, path",
    [
        ("DELETE", f"/{BUCKET}/key"),
        ("PUT", "/"),
        ("PUT", f"/{BUCKET}"),
        ("POST", f"/{BUCKET}?delete"),
        ("GET", f"/{BUCKET}?list-type=2&delimiter=/"),
        ("GET", f"/{BUCKET}?versions"),
    ],
)
def test_what_it_does_not_do_it_refuses(address: str, method: str, path: str) -> None:
    with pytest.raises(HTTPError) as error:
        urlopen(Request(address + path, b"", method=method))
    with error.value as refusal:
        assert refusal.code in (404, 501)


def test_git_clones_a_release_as_bodywork_does(
    sandbox: tuple[str, Path], directory: Path, tmp_path: Path
) -> None:
    command = ["git", "clone", "--branch", SECOND, "--single-branch", REPOSITORY]
    process = subprocess.run(
        [*command, tmp_path / "code"],
        env={
            **os.environ,
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": f"url.{sandbox[0]}/.insteadOf",
            "GIT_CONFIG_VALUE_0": HOST,
        },
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    released = git(directory / "code", "rev-parse", SECOND)
    assert git(tmp_path / "code", "rev-parse", "HEAD") == released
    assert git(tmp_path / "code", "status", "--porcelain") == ""


class ClusterWithLog(Cluster):
    """Has the sandbox's log, and nothing else."""

    def __init__(self, log: Path) -> None:
        self.log = log

    def request(self, *_: object, **query: object) -> bytes:
        return self.log.read_bytes()


def test_a_failure_that_is_reported_is_told_from_what_else_is_in_the_log(
    sandbox: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, log = sandbox
    assert log.read_text() == HINT
    monkeypatch.setenv("ALERT_URLS", f"{address.replace('http', 'json', 1)}/alerts")
    report_failure.main("job failed")
    [alert] = Environment(ClusterWithLog(log), "any", "any").alerts()
    assert re.fullmatch("Alert: .*: Deployment of .* failed: job failed", alert)
