"""The notebooks run from top to bottom, on the demo's run, and say what their text says."""

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


@pytest.fixture(scope="module")
def run(demo_run: Path) -> Any:
    """What each code cell of a notebook shows, as text, once it is executed."""

    def outputs(name: str) -> list[str]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("CURATE_RUN", str(demo_run))
            patch.setenv("COLUMNS", "160")
            found = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
            NotebookClient(found, timeout=180, kernel_name="python3").execute()
        return [_text(cell.outputs) for cell in found.cells if cell.cell_type == "code"]

    return outputs


def _text(cell_outputs: list[Any]) -> str:
    parts = []
    for one in cell_outputs:
        shown = one.get("data", {})
        assert "vega" not in "".join(shown.get("text/html", "")), "a figure that needs a network"
        parts.append(one.get("text") or shown.get("text/plain", ""))
        parts.append("<svg" if "image/svg+xml" in shown else shown.get("text/html", ""))
    return "".join(parts)


def test_choosing_t(run: Any) -> None:
    (_, matches, probabilities, keep, p, head, table, charts, rebalanced, compared) = run(
        "choose_t"
    )
    assert matches == "[[0, 1, 2], [2], [0], [2, 3], []]"
    assert probabilities == "{'red': 0.05, 'red fox': 1.0, 'fox': 0.1, 'pangolin': 1.0}"
    assert keep == "[1.0, 0.1, 0.05, 1.0, 0.0]"
    assert float(p) == pytest.approx(13 / 613)
    assert "probability" in head
    assert "concepts" in table
    assert charts.count("<svg") == 1
    assert "balance > shards > report" in rebalanced
    assert "done in" in rebalanced
    assert "kept_new" in compared


def test_a_walk_through_a_run(run: Any) -> None:
    shown = run("walk")
    (first, funnel, bars, table, left, kept, scored, same, story, scores, points, entries, rank) = (
        shown
    )
    assert re.search(r"509 pairs, \d+ kept, complete", first)
    assert "refused 8" in funnel
    assert [bars, scores, points, rank] == [x for x in shown if "<svg" in x]
    assert "the first 10 rows" in table
    assert "rule:clip_score" in left
    assert kept.count("<img") == scored.count("<img") == 12
    assert scored.count("dropped at score: rule:clip_score = ") == 12
    assert same.count("duplicate_image = ") == 6
    assert "survivor: " in story
    assert "probability" in entries


def test_comparing_two_filters(run: Any) -> None:
    shown = run("compare")
    (rules, made, matrix, funnels, alike, points, model, words, overlays, entries) = shown
    assert "clip_score" in rules
    assert "few_words" in made
    assert "prepare: rule:few_words" in matrix
    assert [funnels, points, overlays] == [x for x in shown if "<svg" in x]
    assert re.search(r"that either keeps are in both: \d\d%", alike)
    assert model.count("<img") == words.count("<img") == 12
    assert (model + words).count("kept at balance") == 24
    assert "change" in entries


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_stored_without_outputs(notebook: Path) -> None:
    found = nbformat.read(notebook, as_version=4)
    assert not any(cell.get("outputs") for cell in found.cells)
