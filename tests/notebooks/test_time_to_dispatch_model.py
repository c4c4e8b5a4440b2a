"""The notebook runs from top to bottom, and is committed with what it shows."""

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

pytestmark = pytest.mark.once

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "time_to_dispatch_model.ipynb"
PLOTS = 5


def read_notebook() -> Any:
    return nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]


def read_code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def check_outputs(notebook: Any) -> None:
    """All cells ran once, in order, without a word on stderr, and drew the plots."""
    cells = read_code_cells(notebook)
    assert [cell.execution_count for cell in cells] == [*range(1, len(cells) + 1)]
    outputs = [output for cell in cells for output in cell.outputs]
    shown = [output.get("name", output.output_type) for output in outputs]
    assert not {"stderr", "error"} & set(shown)
    assert sum("image/png" in output.get("data", {}) for output in outputs) == PLOTS


def test_it_is_committed_with_its_outputs() -> None:
    check_outputs(read_notebook())


@pytest.mark.process
def test_it_runs_from_top_to_bottom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ["IPYTHONDIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"]:
        monkeypatch.setenv(name, str(tmp_path / name))
    notebook = read_notebook()
    for cell in read_code_cells(notebook):
        cell.update(outputs=[], execution_count=None)
    where = {"metadata": {"path": str(NOTEBOOK.parent)}}
    NotebookClient(notebook, timeout=120, resources=where).execute()
    check_outputs(notebook)
