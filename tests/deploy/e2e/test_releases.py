"""The releases of an end-to-end run are those of this commit, but for what they try."""

import re
from copy import deepcopy
from pathlib import Path

import pytest
import yaml

from deploy.e2e.environment import make_configuration
from deploy.e2e.manifests import CLUSTER, containers, load
from deploy.e2e.releases import (
    BELOW_THRESHOLD,
    BUNDLE,
    DOES_NOT_START,
    FIRST,
    PATHS,
    READY_AND_WRONG,
    SANDBOX_VARIABLES,
    SECOND,
    THIRD,
    configure,
    make_releases,
    secrets,
)
from deploy.releases import ENDPOINT, Release, git
from deploy.releases.repository import TAG
from tests.deploy.test_bodywork_yaml import CONFIGURATION, KNOWN_KEYS, ROOT

pytestmark = [pytest.mark.once, pytest.mark.process]

NAME, IMAGE = "time-to-dispatch-e2e-abc123", "account/image:tag"
MEBIBYTE = 2**20


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("releases")


@pytest.fixture(scope="module")
def releases(directory: Path) -> dict[str, Release]:
    return make_releases(directory, NAME, IMAGE)


def test_each_is_a_commit_of_its_own_under_a_tag_that_bodywork_takes(
    directory: Path, releases: dict[str, Release]
) -> None:
    bundled = git(directory, "bundle", "list-heads", BUNDLE).splitlines()
    assert {tuple(line.split()) for line in bundled} == {
        (release.commit, f"refs/tags/{tag}") for tag, release in releases.items()
    }
    assert len({release.commit[:7] for release in releases.values()}) == 6
    for tag, release in releases.items():
        assert TAG.fullmatch(tag) and release.tag == tag
        shown = git(directory / "code", "show", f"{tag}:bodywork.yaml")
        assert yaml.safe_load(shown) == release.configuration


def test_their_code_is_that_of_the_commit(
    directory: Path, releases: dict[str, Release]
) -> None:
    for path in set(PATHS) - {"bodywork.yaml", "deploy/cluster"}:
        released = git(ROOT, "rev-parse", f"HEAD:{path}")
        for tag in releases.keys() - {READY_AND_WRONG}:
            assert git(directory / "code", "rev-parse", f"{tag}:{path}") == released


def test_their_bucket_is_that_of_the_sandbox_whatever_the_real_one_is_called() -> None:
    released = deepcopy(CONFIGURATION)
    for stage in ("train_model", "serve_model"):
        released["stages"][stage]["args"][0] = "another"
    assert configure(released, NAME, IMAGE) == configure(CONFIGURATION, NAME, IMAGE)


def test_the_sandbox_fits_into_a_config_map(
    directory: Path, releases: dict[str, Release]
) -> None:
    configuration = make_configuration(NAME, directory / BUNDLE)
    held = [*configuration["data"].values(), *configuration["binaryData"].values()]
    assert sum(map(len, held)) < MEBIBYTE / 2


def test_their_configuration_is_ours_under_another_name(
    releases: dict[str, Release]
) -> None:
    good = releases[FIRST].configuration
    assert releases[SECOND].configuration == good
    assert good["pipeline"] == CONFIGURATION["pipeline"] | {
        "name": NAME,
        "secrets_group": NAME,
        "docker_image": IMAGE,
    }
    assert set(good) <= KNOWN_KEYS[""] and releases[FIRST].image == IMAGE
    for name, stage in good["stages"].items():
        ours = CONFIGURATION["stages"][name]
        assert set(stage) == set(ours) <= KNOWN_KEYS["stage"]
        for kind in ("batch", "service", "executable_module_path"):
            assert stage.get(kind) == ours.get(kind)
        assert set(stage["secrets"]) == {*ours["secrets"], *SANDBOX_VARIABLES}


def test_each_secret_that_they_name_is_made(releases: dict[str, Release]) -> None:
    good = releases[FIRST].configuration
    values = {
        variable: variable.lower()
        for stage in good["stages"].values()
        for variable in stage["secrets"]
    }
    made = secrets(good, values)
    for stage in good["stages"].values():
        for variable, secret in stage["secrets"].items():
            assert made[secret][variable] == variable.lower()


def test_the_broken_ones_are_broken_in_one_way(releases: dict[str, Release]) -> None:
    for tag, broken in ((BELOW_THRESHOLD, "train_model"), (DOES_NOT_START,) * 2):
        stages = releases[tag].configuration["stages"]
        for name, stage in releases[FIRST].configuration["stages"].items():
            is_same = stages[name] == stage
            assert is_same == (name != {DOES_NOT_START: "serve_model"}.get(tag, broken))
    strict = releases[BELOW_THRESHOLD].configuration["stages"]["train_model"]["args"]
    assert strict == [NAME, "0.9999", "0.9999"]


def test_the_endpoint_of_one_has_moved_and_nothing_else(directory: Path) -> None:
    """Its service finds itself ready; only who asks as clients do can tell."""
    changed = git(directory / "code", "diff", THIRD, READY_AND_WRONG)
    lines = [line for line in changed.splitlines() if re.match(r"[+-][^+-]", line)]
    assert len(lines) == 2
    assert lines[1][1:] == lines[0][1:].replace(ENDPOINT, f"{ENDPOINT}/moved")


def test_their_weekly_run_is_that_of_this_commit_and_waits_to_be_fired(
    releases: dict[str, Release]
) -> None:
    [ours] = load(CLUSTER / "schedule.yaml", NAME)
    made = deepcopy(releases[FIRST].schedule)
    assert made["spec"].pop("suspend") is True
    for container in containers(made):
        secret = {"secretRef": {"name": f"{NAME}-sandbox"}}
        assert container["envFrom"].pop() == secret
    assert made == ours
