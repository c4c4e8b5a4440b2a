"""Releases: tags of the repository, which pods clone and go back to.

A pod that restarts clones again: a branch may have moved on meanwhile, a tag has not.
"""

import re
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
CONFIGURATION = "bodywork.yaml"
SCHEDULE = "deploy/cluster/schedule.yaml"
REPORTS = "pipeline/report.py"
PREFIX = "release-"
# Bodywork makes a label's value of it.
TAG = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
SSH_ADDRESS = re.compile(r"(?:ssh://)?git@([^:/]+)[:/](.+)")


@dataclass(frozen=True)
class Release:
    """A release: all that its commit says of how it is deployed.

    Attributes:
        tag: Its name.
        commit: The full hash of its commit.
        repository: The URL from which pods clone it.
        configuration: Its bodywork.yaml.
        schedule: Its weekly run, a CronJob without image and arguments.
        has_reports: Whether its code makes pages of the runs.
    """

    tag: str
    commit: str
    repository: str
    configuration: dict[str, Any]
    schedule: dict[str, Any]
    has_reports: bool

    @property
    def image(self) -> str:
        return str(self.configuration["pipeline"]["docker_image"])

    @property
    def namespace(self) -> str:
        pipeline = self.configuration["pipeline"]
        return str(pipeline.get("namespace") or pipeline["name"])

    @property
    def service(self) -> str:
        """The name of its service, and of the Deployment behind it."""
        return self._service_stage[0].replace("_", "-")

    @property
    def port(self) -> int:
        return int(self._service_stage[1]["service"]["port"])

    @property
    def training(self) -> dict[str, Any]:
        """Its training stage."""
        stage: dict[str, Any] = self.configuration["stages"]["train_model"]
        return stage

    @property
    def bucket(self) -> str:
        """Where its training finds deliveries, and publishes models."""
        return str(self.training["args"][0])

    @property
    def _service_stage(self) -> tuple[str, dict[str, Any]]:
        stages = self.configuration["stages"].items()
        [stage] = [(name, each) for name, each in stages if "service" in each]
        return stage


def make_release(root: Path) -> Release:
    """Find the release of the commit that is checked out; tag and push it if need be.

    Raises:
        RuntimeError: There are uncommitted changes, or Git failed.
    """
    if git(root, "status", "--porcelain", "--untracked-files=no"):
        raise RuntimeError(
            "There are changes that are not committed, and only commits are released; "
            "commit or stash them."
        )
    commit = git(root, "rev-parse", "HEAD")
    tags = [tag for tag, at in list_tags(root, f"{PREFIX}*").items() if at == commit]
    if tags:
        tag = max(tags)
    else:
        today = datetime.now(UTC).date().isoformat()
        tag = f"{PREFIX}{today}-{git(root, 'rev-parse', '--short', 'HEAD')}"
        git(root, "push", "--quiet", "origin", f"{commit}:refs/tags/{tag}")
    return describe(root, tag, commit, repository_url(root))


def find_release(tag: str, root: Path) -> Release:
    """Find a release of the repository by its tag.

    Raises:
        RuntimeError: There is none, or Git failed.
    """
    if not TAG.fullmatch(tag):
        raise RuntimeError(
            f"{tag} cannot be deployed: at most 63 letters, digits, '.', '_' and '-', "
            "with a letter or digit at both ends; tag the commit once more."
        )
    commit = list_tags(root, tag).get(tag)
    if commit is None:
        raise RuntimeError(
            f"{repository_url(root)} has no tag {tag}; choose one that "
            f"git ls-remote --tags origin '{PREFIX}*' shows."
        )
    return describe(root, tag, commit, repository_url(root))


def clone_release(repository: str, tag: str, directory: Path) -> Release:
    """Clone a release into an empty directory, as its pods do, and describe it.

    Raises:
        RuntimeError: Git failed.
    """
    options = ("--quiet", "--branch", tag, "--single-branch")
    git(directory, "clone", *options, repository, ".")
    return describe(directory, tag, git(directory, "rev-parse", "HEAD"), repository)


def describe(root: Path, tag: str, commit: str, repository: str) -> Release:
    """Read what a commit says; the commit is fetched if it is not here."""
    try:
        git(root, "cat-file", "-e", f"{commit}^{{commit}}")
    except RuntimeError:
        git(root, "fetch", "--quiet", "origin", f"refs/tags/{tag}")
    configuration, schedule = (
        yaml.safe_load(git(root, "show", f"{commit}:{path}"))
        for path in (CONFIGURATION, SCHEDULE)
    )
    has_reports = bool(git(root, "ls-tree", commit, REPORTS))
    return Release(tag, commit, repository, configuration, schedule, has_reports)


def list_tags(root: Path, pattern: str) -> dict[str, str]:
    """List the commits of the tags that the repository has, not this clone of it."""
    tags = {}
    listed = git(root, "ls-remote", "--tags", "origin", f"refs/tags/{pattern}")
    for line in listed.splitlines():
        commit, name = line.split("\t")
        # An annotated tag is followed by what it points to.
        tags[name.removeprefix("refs/tags/").removesuffix("^{}")] = commit
    return tags


def repository_url(root: Path) -> str:
    """The URL from which pods clone: the remote's, over HTTPS and without credentials.

    Raises:
        RuntimeError: The remote is none that pods can clone.
    """
    remote = git(root, "remote", "get-url", "origin")
    over_ssh = SSH_ADDRESS.fullmatch(remote)
    url = f"https://{over_ssh[1]}/{over_ssh[2]}" if over_ssh else remote
    if url.startswith("https://"):
        # One spelling: Bodywork takes another one for another project.
        url = re.sub("^https://[^/@]*@", "https://", url)
        url = url.removesuffix("/").removesuffix(".git")
    if not url.startswith(("https://", "file://")):
        raise RuntimeError(
            f"Pods cannot clone {url}; set the remote origin to an https:// address."
        )
    return url


def git(root: Path, *arguments: str) -> str:
    """Run Git in a clone; returns what it prints.

    Raises:
        RuntimeError: It failed.
    """
    process = subprocess.run(
        ["git", *arguments], cwd=root, capture_output=True, text=True
    )
    if process.returncode:
        cause = " ".join(process.stderr.split()) or f"exit code {process.returncode}"
        raise RuntimeError(f"git {' '.join(arguments)} failed: {cause}.")
    return process.stdout.strip()
