"""The runtime image, the code as a release, and the world around a pod."""

import fcntl
import pickle
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import boto3
import pytest
import yaml

from deploy.image import ROOT
from sandbox.debian_packages import find_program
from sandbox.orders import deliver_week, make_week
from sandbox.s3_server import make_bucket
from tests.bodywork_stages.runtime_image import RuntimeImage

CONFIGURATION = yaml.safe_load((ROOT / "bodywork.yaml").read_text())
BUCKET = CONFIGURATION["stages"]["serve_model"]["args"][0]
RELEASE = "release-2021-07-02-abc1234"
AUTHOR = ["-c", "user.name=Test", "-c", "user.email=test@example.com"]


def git(repository: Path, *arguments: str) -> None:
    subprocess.run(["git", *AUTHOR, *arguments], cwd=repository, check=True)


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> RuntimeImage:
    """One for all processes that run tests: the first of them makes it."""
    directory = tmp_path_factory.getbasetemp()
    if worker_id != "master":
        directory = directory.parent
    made = directory / "image.pickle"
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            root = directory / "image"
            root.mkdir()
            image = RuntimeImage(root, find_program("tini", "tini").path)
            made.write_bytes(pickle.dumps(image))
    loaded: RuntimeImage = pickle.loads(made.read_bytes())
    return loaded


def copy_working_tree(directory: Path) -> None:
    """Copy the working tree, and not HEAD: what is tested is what was just written.

    Files that git ignores stay out, as they would of any commit.
    """
    listed = subprocess.check_output(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        text=True,
    )
    for name in listed.split("\0"):
        if name and (ROOT / name).exists():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, directory / name)


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository whose one commit is the working tree, tagged as a release."""
    repository = tmp_path_factory.mktemp("repository")
    copy_working_tree(repository)
    git(repository, "init", "--quiet", "--initial-branch", "master")
    release(repository, RELEASE)
    return repository


def release(repository: Path, tag: str) -> None:
    git(repository, "add", "--all", "--force")
    git(repository, "commit", "--quiet", "--allow-empty", "--message", tag)
    git(repository, "tag", tag)


@pytest.fixture
def bucket(s3_environment: dict[str, str]) -> Iterator[str]:
    """The bucket that bodywork.yaml names, with last Friday's delivery."""
    make_bucket(BUCKET)
    last_week = datetime.now(UTC) - timedelta(days=7)
    deliver_week(make_week(rows=1000, seed=1), last_week, BUCKET, "datasets")
    yield BUCKET
    left = boto3.resource("s3").Bucket(BUCKET)
    left.object_versions.delete()
    left.delete()
