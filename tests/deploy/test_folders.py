"""The folders of deploy/ are used through what they offer, and in one direction."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "deploy").rglob("*.py"))
# Each folder of code imports those before it alone.
ORDER = ["kubernetes_api", "releases", "e2e"]
# What runs Bodywork, whose output releases read.
LAUNCHER = ["bodywork", "launch"]


def imported(path: Path) -> Iterator[list[str]]:
    """Each module or name of deploy that a file imports, in parts."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{name.name}" for name in node.names]
        yield from (name.split(".") for name in names if name.startswith("deploy."))


def offered(folder: str) -> set[str]:
    """What the __init__ of a folder imports to be used by others."""
    tree = ast.parse((ROOT / "deploy" / folder / "__init__.py").read_text())
    froms = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    return {name.asname or name.name for node in froms for name in node.names}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_folder_is_used_through_what_it_offers(path: Path) -> None:
    own = path.parent.name
    for _, folder, *names in imported(path):
        if folder in ORDER and folder != own:
            assert names and names[0] in offered(folder), f"{folder}.{names}"
            if own in ORDER:
                assert ORDER.index(folder) < ORDER.index(own)
        elif own in ORDER and [folder, *names[:1]] != LAUNCHER:
            # What people run stands above all folders.
            assert folder == own


def test_the_folders_of_code_are_all_in_order() -> None:
    assert {path.parent.name for path in FILES} - {"deploy", "bodywork"} == set(ORDER)
