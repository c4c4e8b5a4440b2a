"""The rooms keep to themselves, and nothing happens on import."""

import ast
import re
import subprocess
import sys
from functools import cache
from graphlib import CycleError, TopologicalSorter
from importlib import import_module
from pathlib import Path

import pytest

pytestmark = pytest.mark.once

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
# From the ground up: a room imports from lower floors alone.
FLOORS = [
    {"logs", "orders"},
    {"aws", "connections", "search"},
    {"estimator"},
    {"gates", "service", "publication"},
    {"records"},
    {"pages"},
    {"train_model", "serve_model", "report_failure"}
    | {"models", "deliveries", "runs", "report", "batch", "__init__"},
]
FOLDERS = {"aws", "connections", "search", "estimator", "gates", "service"}
FOLDERS |= {"publication", "records", "pages"}
MOST_FILES_IN_THE_HALL = 10

PIPELINE = sorted((ROOT / "pipeline").rglob("*.py"))
EXAMPLES = sorted((ROOT / "examples").rglob("*.py"))
AROUND = ("sandbox", "benchmarks", "deploy", "examples")
OTHERS = sorted(path for folder in AROUND for path in (ROOT / folder).rglob("*.py"))


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def imports(path: Path) -> list[tuple[str, str]]:
    """What a file imports, as (module, name); the name is empty for the module."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(each.name, "") for each in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module is not None
            found += [(node.module, each.name) for each in node.names]
    return found


def room_of(module: str, name: str) -> str:
    """The room that is imported from."""
    return [*module.split("."), name][1]


def imported_rooms(path: Path) -> set[str]:
    return {
        room_of(module, name)
        for module, name in imports(path)
        if module.partition(".")[0] == "pipeline"
    }


def loaded_modules(statement: str) -> set[str]:
    """Modules that a fresh interpreter, without any AWS setting, holds afterwards."""
    script = f"import sys, logging; {statement}; assert not logging.root.handlers"
    process = subprocess.run(
        [sys.executable, "-c", f"{script}; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(ROOT)},
    )
    return set(process.stdout.split())


@pytest.mark.process
def test_importing_the_stages_has_no_effect() -> None:
    stages = [
        f"{package}.{stage}_model"
        for package in ("pipeline", "examples.iris")
        for stage in ("train", "serve")
    ]
    modules = loaded_modules(f"import {', '.join(stages)}")
    assert {*stages} <= modules
    assert not {"boto3", "jinja2", "redis"} & modules


def test_no_import_runs_upward() -> None:
    floors = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
    for path in PIPELINE:
        own = [*name_of(path).split("."), "__init__"][1]
        for room in imported_rooms(path) - {own}:
            assert floors[room] < floors[own], f"{path} imports {room}"


def test_no_import_runs_in_a_circle() -> None:
    modules = {name_of(path): path for path in PIPELINE}
    graph = {
        name: {
            f"{module}.{what}" if f"{module}.{what}" in modules else module
            for module, what in imports(path)
            if module.partition(".")[0] == "pipeline"
        }
        for name, path in modules.items()
    }
    # Every import of a module runs the package's own file first.
    graph["pipeline"] = set()
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"{error.args[1]}")


def test_a_folder_is_used_through_what_it_offers() -> None:
    for path in PIPELINE + OTHERS:
        for folder in FOLDERS:
            if ROOT / "pipeline" / folder not in path.parents:
                used = used_of(folder, path)
                offered = set(import_module(f"pipeline.{folder}").__all__)
                assert used <= offered, f"{path} uses {used - offered} of {folder}"


def used_of(folder: str, path: Path) -> set[str]:
    """What a file uses of a folder: names, and modules by their full name."""
    used = set()
    for module, name in imports(path):
        if (module, name) == ("pipeline", folder):
            used |= {
                node.attr
                for node in ast.walk(ast.parse(path.read_text()))
                if isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id == folder
            }
        elif f"{module}.".startswith(f"pipeline.{folder}."):
            used.add(name if module == f"pipeline.{folder}" else module)
    return used


def test_the_pipeline_knows_nothing_of_what_is_around_it() -> None:
    around = {*AROUND, "tests"}
    for path in PIPELINE:
        packages = {module.partition(".")[0] for module, _ in imports(path)}
        assert not packages & around, path


@pytest.mark.parametrize("room", ["aws", "connections", "search"])
def test_storage_server_and_search_know_nothing_of_orders(room: str) -> None:
    for path in (ROOT / "pipeline" / room).glob("*.py"):
        assert imported_rooms(path) <= {room, "logs"}


def test_one_room_knows_redis() -> None:
    for path in PIPELINE:
        packages = {module.partition(".")[0] for module, _ in imports(path)}
        assert "redis" not in packages or path.parent.name == "publication", path


def test_the_engineers_page_tells_of_these_floors() -> None:
    page = (ROOT / "docs" / "engineer.md").read_text()
    told: dict[int, set[str]] = {}
    for floor, rooms in re.findall(r"^\| (\d) \| (.*?) \|", page, re.MULTILINE):
        names = re.findall(r"`(\w+)(?:/|\.py)`", rooms)
        told.setdefault(int(floor), set()).update(names)
    assert told == {
        floor: rooms - {"__init__"} for floor, rooms in enumerate(FLOORS)
    }


def test_the_first_page_names_each_folder() -> None:
    [row] = re.findall(r"^\| `pipeline/` \| .*$", README.read_text(), re.MULTILINE)
    folders = {path.parent.name for path in (ROOT / "pipeline").glob("*/__init__.py")}
    assert {*re.findall(r"`(\w+)`", row)} == folders


def test_the_hall_is_not_crowded() -> None:
    assert len([*(ROOT / "pipeline").glob("*.py")]) <= MOST_FILES_IN_THE_HALL


def test_no_module_shadows_the_standard_library() -> None:
    """Bodywork runs the stage files with their folder first on the import path."""
    for path in PIPELINE + EXAMPLES:
        name = path.parent.name if path.stem == "__init__" else path.stem
        assert name not in sys.stdlib_module_names | {"requests"}, path
