"""The bill of materials: valid, the same each time, and of what the locks install."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

pytestmark = [pytest.mark.once, pytest.mark.process]

ROOT = Path(__file__).parents[2]
FILES = {
    "pipeline.json": "requirements_pipe.txt",
    "bodywork.json": "deploy/bodywork/requirements.txt",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make sbom` writes, with the packages of this environment."""
    folder = tmp_path_factory.mktemp("sbom")
    installed = folder / "installed"
    installed.touch()
    variables = [f"PYTHON={sys.executable}", f"INSTALLED={installed}", f"SBOM={folder}"]
    process = subprocess.run(
        ["make", "sbom", *variables], cwd=ROOT, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr
    return folder


@pytest.mark.parametrize("name", FILES)
def test_it_lists_each_locked_release_with_its_hashes(folder: Path, name: str) -> None:
    content = (folder / name).read_text()
    lock = (ROOT / FILES[name]).read_text()
    listed = {
        f"{each['name']}=={each['version']}": len(
            each["externalReferences"][0]["hashes"]
        )
        for each in json.loads(content)["components"]
    }
    locked = {
        pin.split()[0].lower(): pin.count("--hash=sha256:")
        for pin in re.findall(r"^\S+==[^#]*", lock, flags=re.MULTILINE)
    }
    assert {pin.lower(): hashes for pin, hashes in listed.items()} == locked


def test_it_is_valid(folder: Path) -> None:
    """Both are checked when they are written; this is to see that it is done."""
    content = (folder / "pipeline.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(content) is None


def test_the_same_lock_gives_the_same_bytes(folder: Path) -> None:
    written = folder / "pipeline.json"
    again = subprocess.check_output(
        [sys.executable, "-m", "cyclonedx_py", "requirements"]
        + ["--output-reproducible", "--no-validate", FILES[written.name]],
        cwd=ROOT,
    )
    assert again.strip() == written.read_bytes().strip()
