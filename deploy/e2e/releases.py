"""The releases of an end-to-end run: good ones, and such as must not go live."""

import shutil
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml

from deploy.e2e.manifests import containers, rename
from deploy.releases import ENDPOINT, ROOT, SCHEDULE, Release, describe, git

# Bodywork clones over HTTPS alone; Git is given the sandbox's address for this one.
HOST = "https://sandbox.invalid/"
REPOSITORY = f"{HOST}repository"
BUNDLE = "repository.bundle"

FIRST, SECOND = "first", "second"
BELOW_THRESHOLD = "below-threshold"
DOES_NOT_START = "does-not-start"
READY_AND_WRONG = "ready-and-wrong"
THIRD = "third"

# What stages and releases are made of. With its history, or its notebook, or its locks,
# it would fit no ConfigMap.
PATHS = (
    *("pipeline", "sandbox", "bodywork.yaml", "deploy/__init__.py"),
    *("deploy/release.py", "deploy/releases", "deploy/kubernetes_api"),
    *("deploy/cluster", "deploy/bodywork/launch.py"),
)
# What every stage needs, beside the secrets that bodywork.yaml names.
SANDBOX_SECRET = "sandbox"
SANDBOX_VARIABLES = (
    *("GIT_CONFIG_COUNT", "GIT_CONFIG_KEY_0", "GIT_CONFIG_VALUE_0"),
    "AWS_ENDPOINT_URL",
)
# A small node has not the CPU to spare that a week's training is worth.
CPU_REQUEST = 0.1

COMMITTER = (
    *("-c", "user.name=End-to-end run", "-c", "user.email=e2e@sandbox.invalid"),
    *("-c", "commit.gpgsign=false"),
)


def make_releases(directory: Path, name: str, image: str) -> dict[str, Release]:
    """Commit and tag the releases in a new repository, and bundle it.

    Their code is that of the commit that is checked out; their bodywork.yaml and their
    schedule differ from its own in names, in the secrets for the sandbox and in the CPU
    requested. The service of one has moved its endpoint.

    Args:
        directory: An empty one; the bundle will be in it.
        name: Of pipeline, secrets group and bucket.

    Returns:
        Each release by its tag.

    Raises:
        RuntimeError: Git failed.
    """
    archive, code = directory / "code.tar", directory / "code"
    git(ROOT, "archive", f"--output={archive}", "HEAD", "--", *PATHS)
    shutil.unpack_archive(archive, code, filter="data")
    git(code, "init", "--quiet", "--initial-branch", "master")
    git(code, "add", "--all", "--force")
    released = yaml.safe_load((code / "bodywork.yaml").read_text())
    good = configure(released, name, image)
    configurations = {
        FIRST: good,
        SECOND: good,
        BELOW_THRESHOLD: with_arguments(good, "train_model", name, "0.9999", "0.9999"),
        DOES_NOT_START: with_arguments(good, "serve_model", f"{name}-missing"),
        THIRD: good,
        READY_AND_WRONG: good,
    }
    schedule = make_schedule(yaml.safe_load((code / SCHEDULE).read_text()), name)
    (code / SCHEDULE).write_text(yaml.safe_dump(schedule))
    releases = {}
    for tag, configuration in configurations.items():
        (code / "bodywork.yaml").write_text(yaml.safe_dump(configuration))
        if tag == READY_AND_WRONG:
            move_endpoint(code)
        git(code, "add", "--update")
        git(code, *COMMITTER, "commit", "--quiet", "--allow-empty", "--message", tag)
        git(code, "tag", "--no-sign", tag)
        commit = git(code, "rev-parse", "HEAD")
        releases[tag] = describe(code, tag, commit, REPOSITORY)
    git(code, "bundle", "create", "--quiet", str(directory / BUNDLE), *releases)
    return releases


def configure(released: dict[str, Any], name: str, image: str) -> dict[str, Any]:
    """Fit a bodywork.yaml to the sandbox."""
    configuration: dict[str, Any] = rename(released, name)
    configuration["pipeline"]["docker_image"] = image
    for stage in configuration["stages"].values():
        if "args" in stage:
            # The bucket, whatever it is called.
            stage["args"][0] = name
        stage["cpu_request"] = CPU_REQUEST
        stage["secrets"] |= dict.fromkeys(SANDBOX_VARIABLES, SANDBOX_SECRET)
    return configuration


def make_schedule(schedule: dict[str, Any], name: str) -> dict[str, Any]:
    """Fit a weekly run to the sandbox: it waits to be fired, and clones from there."""
    made: dict[str, Any] = rename(schedule, name)
    made["spec"]["suspend"] = True
    for container in containers(made):
        secret = {"secretRef": {"name": f"{name}-{SANDBOX_SECRET}"}}
        container["envFrom"] = [*container["envFrom"], secret]
    return made


def move_endpoint(code: Path) -> None:
    """Let the service answer estimates at another path than clients ask.

    Raises:
        RuntimeError: The path does not stand in its code.
    """
    moved = 0
    for path in (code / "pipeline").rglob("*.py"):
        text = path.read_text()
        moved += text.count(ENDPOINT)
        path.write_text(text.replace(ENDPOINT, f"{ENDPOINT}/moved"))
    if not moved:
        raise RuntimeError(f"The code of the service does not name {ENDPOINT}.")


def with_arguments(
    configuration: dict[str, Any], stage: str, *arguments: str
) -> dict[str, Any]:
    changed = deepcopy(configuration)
    changed["stages"][stage]["args"] = list(arguments)
    return changed


def secrets(
    configuration: dict[str, Any], values: Mapping[str, str]
) -> dict[str, dict[str, str]]:
    """What each secret of a bodywork.yaml must hold."""
    needed: dict[str, dict[str, str]] = {}
    for stage in configuration["stages"].values():
        for variable, secret in stage["secrets"].items():
            needed.setdefault(secret, {})[variable] = values[variable]
    return needed
