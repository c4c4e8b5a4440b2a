"""The runtime image: its recipe, and the tag that is derived from it.

What can be installed of it here is, by tests/bodywork_stages.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from deploy.image import DOCKERFILE, ROOT, image_name, ingredients, make_tag
from tests.bodywork_stages.runtime_image import read_instructions

pytestmark = pytest.mark.once

RECIPE = (ROOT / DOCKERFILE).read_text()
INSTRUCTIONS = list(read_instructions(RECIPE))
LOCKS = [name for name in ingredients(RECIPE) if name.endswith(".txt")]


def final_stage() -> list[tuple[str, str]]:
    stages = [n for n, (name, _) in enumerate(INSTRUCTIONS) if name == "FROM"]
    return INSTRUCTIONS[stages[-1] :]


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    files = [ROOT / DOCKERFILE, ROOT / "infrastructure" / "Dockerfile"]
    process = subprocess.run([hadolint, *files], capture_output=True, text=True)
    assert process.returncode == 0, process.stdout + process.stderr


def test_bodywork_yaml_names_the_image_of_these_files() -> None:
    configuration = (ROOT / "bodywork.yaml").read_text()
    assert f"\n  docker_image: {image_name()}\n" in configuration, (
        "The Dockerfile or a lock has changed: run python -m deploy.image --write."
    )


def test_the_name_is_one_that_docker_hub_and_bodywork_take() -> None:
    assert re.fullmatch(r"[a-z0-9]{4,30}/[a-z0-9-]+:[0-9a-f]{16}", image_name())


@pytest.mark.parametrize("name", ingredients(RECIPE))
def test_the_tag_follows_each_ingredient(tmp_path: Path, name: str) -> None:
    for ingredient in ingredients(RECIPE):
        (tmp_path / ingredient).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / ingredient, tmp_path / ingredient)
    assert make_tag(tmp_path) == make_tag()
    with (tmp_path / name).open("a") as file:
        file.write("# changed\n")
    assert make_tag(tmp_path) != make_tag()


def test_every_file_that_is_copied_is_an_ingredient() -> None:
    copied = [
        source
        for instruction, argument in INSTRUCTIONS
        if instruction in ("ADD", "COPY") and "--from=" not in argument
        for source in argument.split()[:-1]
    ]
    assert ingredients(RECIPE) == [DOCKERFILE, *copied]


def test_the_code_that_is_copied_is_whole() -> None:
    for folder in ("deploy/kubernetes_api", "deploy/releases", "pipeline/search"):
        paths = (ROOT / folder).glob("*.py")
        files = {str(path.relative_to(ROOT)) for path in paths}
        assert files <= set(ingredients(RECIPE))


@pytest.mark.process
def test_printing_and_writing_the_name_agree() -> None:
    command = [sys.executable, "-m", "deploy.image"]
    printed = subprocess.check_output(command, cwd=ROOT, text=True)
    assert printed == f"{image_name()}\n"
    refused = subprocess.run([*command, "x"], cwd=ROOT, capture_output=True, text=True)
    assert refused.returncode == 1 and "Invalid arguments" in refused.stderr


def test_the_base_image_is_one_and_pinned() -> None:
    bases = {
        argument.removesuffix(" AS build")
        for instruction, argument in INSTRUCTIONS
        if instruction == "FROM"
    }
    (base,) = bases
    assert re.fullmatch(r"python:3\.13\.\d+-slim-trixie@sha256:[0-9a-f]{64}", base)


def test_every_requirement_is_pinned_and_hashed() -> None:
    assert len(LOCKS) == 4
    for lock in LOCKS:
        lines = re.sub(r"\\\n\s*", " ", (ROOT / lock).read_text()).splitlines()
        for line in [line for line in lines if not line.lstrip().startswith("#")]:
            requirement, *hashes = line.split(" --hash=")
            assert re.search("==[^*]+$", str(Requirement(requirement).specifier)), line
            assert hashes and all(found.startswith("sha256:") for found in hashes)
    installs = [argument for _, argument in INSTRUCTIONS if " sync " in argument]
    assert all("--require-hashes" in argument for argument in installs)


def test_uv_is_the_one_of_the_development_environment() -> None:
    pin = re.compile(r"^uv==\S+", re.MULTILINE)
    assert pin.findall((ROOT / "deploy" / "uv.txt").read_text()) == pin.findall(
        (ROOT / "requirements_cicd.txt").read_text()
    )


def test_it_runs_as_a_user_of_a_fixed_id_and_installs_no_compiler() -> None:
    stage = dict(final_stage())
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", stage["USER"])
    assert f"useradd --uid {stage['USER'].split(':')[0]} " in RECIPE
    installs = [argument for name, argument in final_stage() if name == "RUN"]
    (installed,) = re.findall(r"--no-install-recommends ([\w -]+?) &&", installs[0])
    assert installed.split() == ["ca-certificates", "git", "tini"]
    assert len(installs) == 1
