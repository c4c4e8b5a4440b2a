"""The rooms keep to themselves, and nothing happens on import."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PIPELINE = sorted((ROOT / "pipeline").rglob("*.py"))


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


def test_importing_the_stages_has_no_effect() -> None:
    modules = loaded_modules("import pipeline.train_model, pipeline.serve_model")
    assert "pipeline.train_model" in modules
    assert "boto3" not in modules


@pytest.mark.parametrize("path", PIPELINE, ids=lambda path: str(path.relative_to(ROOT)))
def test_rooms_keep_to_themselves(path: Path) -> None:
    imported = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            imported |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported |= {f"{node.module}.{name.name}" for name in node.names}
    forbidden = ["sandbox", "benchmarks", "deploy", "tests"]
    if path.parent.name == "aws":
        forbidden += ["pipeline.orders", "pipeline.deliveries"]
    assert not [name for name in imported if name.startswith(tuple(forbidden))]


@pytest.mark.parametrize("path", PIPELINE, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_shadows_the_standard_library(path: Path) -> None:
    """Bodywork runs the stage files with pipeline/ first on the import path."""
    name = path.parent.name if path.stem == "__init__" else path.stem
    assert name not in sys.stdlib_module_names | {"requests"}
