"""`curate sweep` on the demo's run and on a small one of two languages."""

import io
import json
import math
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console
from rich.table import Table
from typer.testing import CliRunner

from curate import config, files
from curate.cli import app
from curate.commands.balancing import _numbers
from curate.errors import CurateError
from curate.finished import rebalance, sweep
from curate.finished.rebalance import Source
from curate.ops.selection.balancing import p_to_t, t_for_size, t_to_p
from curate.report import sweeps
from curate.rundir.directory import Part, Run
from curate.schema import Stage
from tests.e2e.conftest import Command, read_json

TS = [1.0, 2.0, 5.0, 20.0]


def matches_of(run: Path) -> list[list[int]]:
    """Entry ids of the pairs that reach the balance."""
    return [
        row
        for path in sorted(run.glob("score/part-*.parquet"))
        for row in pq.ParquetFile(path).read(["matches"])["matches"].to_pylist()
    ]


@pytest.fixture(scope="module")
def swept(demo_run: Path, curate: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the demo's run after a sweep; what was printed stands beside it."""
    run = tmp_path_factory.mktemp("sweep") / "run"
    shutil.copytree(demo_run, run)
    done = curate("sweep", str(run), "--t", "1,2,5,20", "--json")
    assert done.returncode == 0, done.stderr
    (run.parent / "stdout").write_text(done.stdout)
    return run


def test_the_figures_are_those_of_a_naive_computation(swept: Path) -> None:
    found = json.loads((swept.parent / "stdout").read_text())
    assert found == read_json(swept / "report/sweep.json")
    curve = found["languages"][0]
    assert curve == found["total"] | {"language": "en"}
    assert [point["t"] for point in curve["points"]] == TS
    pool = matches_of(swept)
    counts = Counter(e for pair in pool for e in pair)
    assert (curve["pairs"], curve["matches"]) == (len(pool), sum(counts.values()))
    assert curve["matched"] == len(counts)
    for point in curve["points"]:
        t = point["t"]
        kept: dict[int, float] = dict.fromkeys(counts, 0.0)
        missed: dict[int, float] = dict.fromkeys(counts, 1.0)
        pairs = 0.0
        for pair in pool:
            lost = math.prod(1 - t / max(counts[e], t) for e in pair)
            pairs += 1 - lost
            for e in pair:
                kept[e] += 1 - lost
                missed[e] *= lost
        total = sum(kept.values())
        entropy = -sum(n / total * math.log(n / total) for n in kept.values() if n)
        tail = sum(n for n in counts.values() if n < t)
        assert point["pairs"] == pytest.approx(pairs, rel=1e-12)
        assert point["matches"] == pytest.approx(total)
        assert point["covered"] == pytest.approx(sum(1 - m for m in missed.values()))
        assert point["concepts"] == pytest.approx(math.exp(entropy))
        assert point["tail_matches"] == tail
        assert point["p"] == pytest.approx(tail / curve["matches"])
        assert point["head"] == sum(n >= t for n in counts.values())


def test_at_the_runs_own_t_it_agrees_with_the_run(swept: Path) -> None:
    point = read_json(swept / "report/sweep.json")["languages"][0]["points"][1]
    thresholds = read_json(swept / "records/balance/thresholds.json")["en"]
    assert (point["t"], point["p"]) == (thresholds["t"], thresholds["p"])
    keep = [
        probability
        for kind in ("balance", "dropped/balance")
        for path in swept.glob(f"{kind}/part-*.parquet")
        for probability in _probabilities(pq.ParquetFile(path).read())
    ]
    assert point["pairs"] == pytest.approx(sum(keep), abs=1e-3)  # the ledger has six digits


def _probabilities(table: pa.Table) -> list[float]:
    name = "keep_probability" if "keep_probability" in table.column_names else "value"
    return [float(x) for x in table[name].to_pylist()]


def test_the_report_shows_it_until_the_matches_change(swept: Path, tmp_path: Path) -> None:
    facts = read_json(swept / "report/report.json")
    assert facts["sweep"]["languages"][0]["points"][0]["t"] == 1
    page = (swept / "report/index.html").read_text()
    assert 'id="sweep"' in page
    assert "Effective number of concepts, by t" in page
    for name in ("sweep-pairs-en", "sweep-concepts-en"):
        assert (swept / f"report/{name}.png").read_bytes().startswith(b"\x89PNG")
    run, stages = Run(str(swept)), [Stage.PREPARE, Stage.SCORE, Stage.BALANCE]
    assert sweeps.stored(run, stages) is not None
    assert sweeps.stored(run, [Stage.PREPARE]) is None  # other matches reach the balance


def test_tables_have_a_line_for_every_t_and_never_cut_a_number(swept: Path) -> None:
    (table,) = sweeps.tables(sweep.sweep(rebalance.open_source(str(swept))))
    console = Console(width=60, record=True, file=io.StringIO())
    console.print(table)
    assert "…" not in console.export_text()
    first = [line.split()[0] for line in cells(table)]
    assert first == ["1", "2", "5", "10", "20", "50", "before"]


def cells(table: Table) -> list[str]:
    """The lines of a table, on a wide terminal."""
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(table)
    return console.export_text().splitlines()[2:]


def test_a_list_that_is_none(swept: Path) -> None:
    done = CliRunner().invoke(app, ["sweep", str(swept), "--t", "1,two"])
    assert done.exit_code == 1
    with pytest.raises(CurateError, match=r"--t 1,two: expected numbers separated by commas"):
        _numbers("1,two", option="--t")


def test_a_size_leads_to_its_t(swept: Path) -> None:
    found = sweep.sweep(rebalance.open_source(str(swept)), sizes=[150])
    (point,) = found.total.points
    assert point.pairs == pytest.approx(150, rel=0.005)
    pool = pa.array(matches_of(swept), pa.list_(pa.int32()))
    entries = pq.ParquetFile(swept / "entries/entries.parquet").read()
    counts = entries["count"].to_numpy()
    assert point.t == pytest.approx(t_for_size(pool, counts, size=150))


def test_less_memory_takes_more_passes_and_gives_the_same(
    swept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = rebalance.open_source(str(swept))
    at_once = sweep.sweep(source, ts=TS)
    monkeypatch.setattr(sweep, "MEMORY", 1)
    assert sweep.sweep(source, ts=TS) == at_once


@pytest.fixture
def bilingual(tmp_path: Path) -> tuple[Source, dict[str, Any]]:
    """Two parts with matches in two languages, and the matches by language."""
    pool = {
        "en": [[0], [0, 1], [0, 2], [0], [1, 2], [0, 3]],
        "de": [[0], [0], [1], [], [0, 1], [0]],
    }
    metadata = {}
    for language, n in (("en", 5), ("de", 3)):
        metadata[language] = str(tmp_path / f"{language}.txt")
        Path(metadata[language]).write_text("".join(f"{language}{i}\n" for i in range(n)))
    run = Run(str(tmp_path / "run"))
    for part in range(2):
        rows = [(x, m) for x, found in pool.items() for m in found[part::2]]
        table = pa.table(
            {
                "language": [language for language, _ in rows],
                "matches": pa.array([m for _, m in rows], pa.list_(pa.int32())),
            }
        )
        files.write_table(run.part("score", part), table)
    settings = config.Config.model_validate(
        {"input": {"paths": "x"}, "prepare": {"metadata": metadata}, "balance": {"t": 2}}
    )
    parts = tuple(Part(i, run.part("score", i), 0, 6) for i in range(2))
    return Source(run, settings, parts, "score", "digest"), pool


def test_other_languages_get_the_t_that_has_the_references_p(
    bilingual: tuple[Source, dict[str, Any]],
) -> None:
    source, pool = bilingual
    found = sweep.sweep(source, ts=[2, 5])
    en, de = found.languages
    assert (en.language, de.language) == ("en", "de")
    counts = {
        x: [sum(e in m for m in pool[x]) for e in range(n)] for x, n in (("en", 5), ("de", 3))
    }
    for ours, theirs in zip(en.points, de.points, strict=True):
        assert theirs.t == p_to_t(counts["de"], p=t_to_p(counts["en"], t=ours.t))
    assert (en.entries, de.entries, de.matched) == (5, 3, 2)
    assert found.total.pairs == 12
    assert [point.t for point in found.total.points] == [2, 5]
    for all_, ours, theirs in zip(found.total.points, en.points, de.points, strict=True):
        assert all_.pairs == pytest.approx(ours.pairs + theirs.pairs)
    assert len(list(sweeps.tables(found))) == 3
    assert [one.language for one in sweeps.shown(found)] == ["all", "en", "de"]
    german = sweep.sweep(source, ts=[2], reference="de")
    assert german.total.points[0].t == german.languages[1].points[0].t == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ts": [0.0]}, "--t 0: expected a number over 0"),
        ({"ts": [float("nan")]}, "--t nan: expected a number over 0"),
        ({"sizes": [-3.0]}, "--size -3: expected a number over 0"),
        ({"reference": "fr"}, "--reference fr: the run's entry lists are for de, en"),
    ],
)
def test_options_that_make_no_sense(
    options: dict[str, Any], message: str, bilingual: tuple[Source, dict[str, Any]]
) -> None:
    with pytest.raises(CurateError, match=message):
        sweep.sweep(bilingual[0], **options)
