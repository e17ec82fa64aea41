"""Scores and labels that others made: joined to a finished run, then columns of its configuration."""

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from curate import files
from curate.loading import Sampler
from tests.store import PROTOCOL, CountedStore, counted_store
from tests.users.runs import document, interrupted, moved, pairs, refused, small_run, well

RULES = "select=[{column: quality, min: 10}]"


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, undrawn: None) -> Path:
    """A finished run without any score."""
    return small_run(tmp_path_factory.mktemp("plain"))


@pytest.fixture
def run(plain: Path, tmp_path: Path) -> Path:
    return moved(plain, tmp_path / "run")


def came(run: Path) -> list[dict[str, Any]]:
    """The pairs that reach the scores, in order."""
    found: list[dict[str, Any]] = pq.read_table(run / "dedup").to_pylist()
    return found


def quality(run: Path, folder: Path, *, on: str = "uid", name: str = "recap") -> Path:
    """A table of two of three pairs, in another order and with rows of no pair."""
    rows = [
        {on: row[on], "quality": float(i), "label": f"l{i % 2}", "fine": bool(i % 2), "n": i}
        for i, row in enumerate(came(run)) if i % 3
    ]  # fmt: skip
    rows = [{**rows[0], on: "nobody"}, *rows[::-1]]
    pq.write_table(pa.Table.from_pylist(rows), folder / f"{name}.parquet")
    return folder / f"{name}.parquet"


def expected(run: Path) -> list[dict[str, Any]]:
    return [
        {"uid": row["uid"], "quality": float(i), "label": f"l{i % 2}", "fine": bool(i % 2), "n": i}
        if i % 3 else
        {"uid": row["uid"], "quality": None, "label": None, "fine": None, "n": None}
        for i, row in enumerate(came(run))
    ]  # fmt: skip


def annotated(run: Path, name: str = "recap") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(run / "annotated/score" / name).to_pylist()
    return found


def test_a_table_becomes_columns_of_a_run_that_stands(run: Path, tmp_path: Path) -> None:
    before = {x: x.read_bytes() for x in run.rglob("*") if x.is_file() and x.name != ".lock"}
    table = quality(run, tmp_path)
    said = " ".join(well("annotate", str(run), "--table", str(table)).split())
    n = len(came(run))
    assert f"({n - -(-n // 3)} of {n} pairs have a row: quality, label, fine, n)" in said
    assert annotated(run) == expected(run)
    assert all(path.read_bytes() == content for path, content in before.items())
    assert not (run / "input/tables").exists(), "what was sorted is scratch"
    again = run / "annotated/score/recap/part-00000.parquet"
    stood = again.stat().st_mtime_ns
    well("annotate", str(run), "--table", str(table))
    assert again.stat().st_mtime_ns == stood, "a repeat does nothing"
    well("run", str(run / "config.yaml"), "--out", str(run))
    assert annotated(run) == expected(run), "the run goes on without it"


def test_the_printed_command_has_it_in_rules(run: Path, tmp_path: Path) -> None:
    said = " ".join(well("annotate", str(run), "--table", str(quality(run, tmp_path))).split())
    command = shlex.split(said.partition(": curate ")[2])
    rules = "select=[{column: quality, min: 10}, {column: label, in: [l1]}]"
    well(*command, "--set", rules)
    wanted = [i for i in range(len(came(run))) if i % 3 and i >= 10 and i % 2]
    uids = [came(run)[i]["uid"] for i in wanted]
    assert pq.read_table(run / "score")["uid"].to_pylist() == uids
    for row in pairs(run):
        at = uids.index(row["uid"])
        assert (row["quality"], row["label"], row["fine"]) == (float(wanted[at]), "l1", True)
    ledger = {x["uid"]: x for x in pq.read_table(run / "dropped/score").to_pylist()}
    assert ledger[came(run)[4]["uid"]]["reason"] == "rule:quality"
    assert ledger[came(run)[4]["uid"]]["value"] == "4"
    assert ledger[came(run)[0]["uid"]]["value"] is None, "null where the table has no row"
    assert ledger[came(run)[10]["uid"]]["reason"] == "rule:label"
    report = document(run / "report/report.json")
    (shown,) = (x for x in report["scores"] if x["column"] == "quality")
    assert shown["scored"] == sum(bool(i % 3) for i in range(len(came(run))))
    told = " ".join(well("explain", str(run), uids[0]).split())
    assert f"quality {wanted[0]}" in told
    assert "label l1" in told
    card = (run / "report/datacard.md").read_text()
    assert "recap.parquet (scores.recap)" in card


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_other_formats_by_url_and_some_columns(run: Path, tmp_path: Path, form: str) -> None:
    table = pq.read_table(quality(run, tmp_path, on="url")).rename_columns(
        ["link", "quality", "label", "fine", "n"]
    )
    folder = tmp_path / "several"
    folder.mkdir()
    for i, piece in enumerate((table[:9], table[9:])):
        if form == "csv":
            pyarrow.csv.write_csv(piece, folder / f"{i}.csv")
        else:
            lines = "".join(json.dumps(row) + "\n" for row in piece.to_pylist())
            (folder / f"{i}.jsonl").write_text(lines)
    well(
        "annotate", str(run), "--table", f"{folder}/*.{form}", "--on", "url", "--key", "link",
        "--columns", "n,label", "--name", "others",
    )  # fmt: skip
    found, rows = annotated(run, "others"), came(run)
    urls = {row["url"]: i for i, row in enumerate(rows) if i % 3}
    assert [(x["n"], x["label"]) for x in found] == [
        (urls.get(row["url"]), f"l{urls[row['url']] % 2}" if row["url"] in urls else None)
        for row in rows
    ]
    assert found[0].keys() == {"uid", "n", "label"}


def test_of_rows_with_one_key_the_last_counts(run: Path, tmp_path: Path) -> None:
    uids = [row["uid"] for row in came(run)]
    rows = [{"uid": uids[x], "quality": i} for i, x in enumerate((0, 1, 0, 2, 0, 1))]
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    said = well("annotate", str(run), "--table", str(tmp_path / "q.jsonl"))
    assert "3 rows have the key of an earlier row, and count for it" in " ".join(said.split())
    assert [x["quality"] for x in annotated(run, "q")][:4] == [4, 5, 3, None]


def test_what_cannot_be_is_refused_before_work(run: Path, tmp_path: Path) -> None:
    table = quality(run, tmp_path)
    other = tmp_path / "other.csv"
    other.write_text("uid,quality\nnobody,1\nnoone,2\n")
    cases = [
        (["--table", str(tmp_path / "no.csv")], "--table", "no.csv"),
        (["--table", str(table), "--columns", "qualty"], "'qualty', did you mean 'quality'?", "label"),
        (["--table", str(table), "--on", "url"], "no column 'url'", "quality"),
        (["--table", str(table), "--columns", "a b"], "--columns a b: expected small letters", ""),
        (["--table", str(table), "--name", "clip_score"], "--name clip_score", "is taken"),
        (["--table", str(other)], "of none of the", "by its uid"),
    ]  # fmt: skip
    for options, *told in cases:
        said = refused("annotate", str(run), *options)
        for one in told:
            assert one in said, said
    assert not (run / "annotated/score/other").exists(), "nothing is left of a table of others"
    taken = tmp_path / "taken.csv"
    taken.write_text("uid,url,caption\na,b,c\n")
    assert "--columns: url is taken by another column" in refused(
        "annotate", str(run), "--table", str(taken)
    )
    balanced = str(tmp_path / "t3")
    well("rebalance", str(run), "--out", balanced, "--t", "3")
    assert "a rebalance of" in refused("annotate", balanced, "--table", str(table))
    bad = tmp_path / "bad.csv"
    bad.write_text(f"uid,quality\n{came(run)[0]['uid']},1\n{came(run)[1]['uid']},good\n")
    settings = f"scores.bad={{kind: table, path: {bad}, columns: {{quality: float64}}}}"
    said = refused("run", str(run / "config.yaml"), "--set", settings, "--force")
    assert "bad.csv: quality is not a number" in said


def test_a_changed_table_changes_the_set_and_nothing_else(run: Path, tmp_path: Path) -> None:
    table = quality(run, tmp_path)
    settings = f"scores.recap={{kind: table, path: {table}}}"
    options = ("run", str(run / "config.yaml"), "--set", RULES, "--set", settings)
    assert "--force" in refused(*options)
    tars = {path: path.stat().st_mtime_ns for path in run.glob("download/*.tar")}
    well(*options, "--force")
    kept = {row["uid"] for row in came(run)[10:]} & {
        row["uid"] for i, row in enumerate(came(run)) if i % 3
    }
    assert {*pq.read_table(run / "score")["uid"].to_pylist()} == kept
    columns = pq.read_table(table)
    more = columns.set_column(1, "quality", pa.compute.add(columns["quality"], 5.0))
    pq.write_table(more, table)
    well(*options, "--force")
    assert len(pq.read_table(run / "score")) > len(kept)
    assert {path: path.stat().st_mtime_ns for path in run.glob("download/*.tar")} == tars
    shutil.move(table, tmp_path / "gone.parquet")
    well("report", str(run))
    well("explain", str(run), came(run)[0]["uid"])
    assert "no such file" in refused("run", str(run / "config.yaml"), "--out", str(run))


def test_it_goes_on_where_it_was_stopped_and_is_revoked(run: Path, tmp_path: Path) -> None:
    table = quality(run, tmp_path)
    interrupted(
        "annotate", str(run), "--table", str(table), after="annotated/score/recap/part-00001"
    )
    well("annotate", str(run), "--table", str(table))
    assert annotated(run) == expected(run)
    assert not (run / "input/tables").exists()
    gone = came(run)[4]["uid"]
    (tmp_path / "list").write_text(f"{gone}\n")
    well("revoke", str(run), "--list", str(tmp_path / "list"))
    assert gone not in {row["uid"] for row in annotated(run)}
    assert [x for x in annotated(run) if x["uid"] != gone] == annotated(run)


def test_the_best_fraction_of_a_joined_column(run: Path, tmp_path: Path) -> None:
    """With nothing fetched, and a user's score that reads the column."""
    (tmp_path / "twice.py").write_text(
        "def twice(batch):\n    return [None if x is None else 2 * x for x in batch.columns['n']]\n\n"
        "twice.reads = ('n',)\ntwice.version = '1'\n"
    )
    out = tmp_path / "text"
    config = ["run", str(run / "config.yaml"), "--out", str(out), "--set", "download.enabled=false",
              "--set", "dedup.enabled=false", "--set", "select=[]"]  # fmt: skip
    well(*config)
    uids = pq.read_table(out / "prepare")["uid"].to_pylist()
    rows = [{"uid": uid, "n": i} for i, uid in enumerate(uids)][::2]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "n.parquet")
    scores = (
        f"scores={{n: {{kind: table, path: {tmp_path}/n.parquet}},"
        " twice: {kind: python, call: twice:twice, columns: {double: int64}}}"
    )
    well(
        *config, "--set", scores, "--set", f"beam.python_path=[{tmp_path}]",
        "--set", "select=[{column: double, top_fraction: 0.25}]", "--force",
    )  # fmt: skip
    kept = pq.read_table(out / "score")
    best = sorted(range(0, len(uids), 2))[-(len(rows) // 4) - 1 :]
    assert kept["uid"].to_pylist() == [uids[i] for i in best]
    assert kept["double"].to_pylist() == [2 * i for i in best]


def test_a_run_and_a_table_in_a_store(run: Path, tmp_path: Path) -> None:
    """Of text alone; the trainer's sampler reads the run there as well."""
    table = quality(run, tmp_path)
    uids = [row["uid"] for row in expected(run) if row["quality"] is not None]
    with counted_store():
        root = f"{PROTOCOL}://b/run"
        files.write_bytes(f"{PROTOCOL}://b/t/0.parquet", table.read_bytes())
        options = ("--set", "download.enabled=false", "--set", "select=[]")
        well("run", str(run / "config.yaml"), "--out", root, *options, "--set",
             "balance={t: 1, write: all}")  # fmt: skip
        well("annotate", root, "--table", f"{PROTOCOL}://b/t/*.parquet", "--name", "t")
        found = files.read_table(f"{root}/annotated/score/t/part-00000.parquet").to_pylist()
        assert {row["uid"] for row in found if row["quality"] is not None} <= {*uids}
        assert any(row["quality"] is not None for row in found)
        assert not files.exists(f"{root}/input/tables/index.json")
        assert not [x for x in CountedStore.objects if "/input/tables" in x]
        pairs_there = files.read_table(f"{root}/balance/part-00000.parquet")
        assert 0 < Sampler(root).takes(pairs_there, t=0.1).sum() < len(pairs_there)


@pytest.mark.parametrize("folder", ["labels", "labels/", "labels/*.parquet"])
def test_a_folder_of_tables_gives_its_name(run: Path, tmp_path: Path, folder: str) -> None:
    (tmp_path / "labels").mkdir()
    quality(run, tmp_path / "labels", name="0")
    well("annotate", str(run), "--table", str(tmp_path / folder), "--on", "uid")
    assert annotated(run, "labels") == expected(run)


def test_what_no_name_can_be_made_of_asks_for_one(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(quality(run, run.parent, name="2026").parent)
    said = refused("annotate", str(run), "--table", "2026.parquet", "--on", "uid")
    assert "2026.parquet: no name can be made of it; give one: --name labels" in said
