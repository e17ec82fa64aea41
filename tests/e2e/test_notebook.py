"""The notebooks run from top to bottom, on the demo's run, and say what their text says."""

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "choose_t.ipynb"


@pytest.fixture(scope="module")
def outputs(demo_run: Path) -> list[str]:
    """What each code cell of the executed notebook shows, as text."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CURATE_RUN", str(demo_run))
        patch.setenv("COLUMNS", "160")
        found = nbformat.read(NOTEBOOK, as_version=4)
        NotebookClient(found, timeout=120, kernel_name="python3").execute()
    return [_text(cell.outputs) for cell in found.cells if cell.cell_type == "code"]


def _text(cell_outputs: list[Any]) -> str:
    parts = []
    for one in cell_outputs:
        parts.append(one.get("text") or one["data"].get("text/plain", ""))
        parts.append("<svg" if "image/svg+xml" in one.get("data", {}) else "")
    return "".join(parts)


def test_it_runs_and_its_figures_are_those_of_the_text(outputs: list[str]) -> None:
    (_, matches, probabilities, keep, p, head, table, charts, rebalanced, compared) = outputs
    assert matches == "[[0, 1, 2], [2], [0], [2, 3], []]"
    assert probabilities == "{'red': 0.05, 'red fox': 1.0, 'fox': 0.1, 'pangolin': 1.0}"
    assert keep == "[1.0, 0.1, 0.05, 1.0, 0.0]"
    assert float(p) == pytest.approx(13 / 613)
    assert "probability" in head
    assert "before" in table
    assert charts.count("<svg") == 2
    assert "balance > shards > report" in rebalanced
    assert "done in" in rebalanced
    assert "kept_new" in compared


def test_it_is_stored_without_outputs() -> None:
    found = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get("outputs") for cell in found.cells)
