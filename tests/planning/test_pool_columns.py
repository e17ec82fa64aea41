"""Columns of the pool in a run: the same from every format, in rules, shards, and all that rewrites."""

import csv
import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

from curate import files
from curate.cli import app
from curate.config import Config
from curate.errors import CurateError
from curate.planning.plan import Plan, make_plan
from curate.planning.steps import Kind
from curate.stages.prepare import step_of
from tests.stages.web import PICTURES

KEEP = ["similarity", "license", "id", "nsfw", "width", "tags"]
KINDS = {"similarity": "float64", "license": "string", "id": "int64", "nsfw": "bool",
         "width": "int64", "tags": "string"}  # fmt: skip
OURS = ["similarity", "license", "id", "nsfw", "pool_width", "tags"]
ROWS: list[dict[str, Any]] = [
    {"url": f"http://x.example/{i}.jpg", "caption": f"a red dog, number {i}, in the snow",
     "similarity": None if i == 3 else i / 16, "license": "cc-by" if i % 2 else "cc0", "id": i,
     "nsfw": i % 4 == 0, "width": 100 + i, "tags": f'[{i}, "é"]'}
    for i in range(8)
]  # fmt: skip


def as_parquet(rows: list[dict[str, Any]]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink, row_group_size=3)
    return sink.getvalue()


def as_separated(rows: list[dict[str, Any]], *, delimiter: str) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(
        text, list(rows[0]), delimiter=delimiter, lineterminator="\n",
        quoting=csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL,
        quotechar=None if delimiter == "\t" else '"',
    )  # fmt: skip
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def as_jsonl(rows: list[dict[str, Any]]) -> bytes:
    return "".join(
        json.dumps(row | {"tags": json.loads(row["tags"])}) + "\n" for row in rows
    ).encode()


def as_webdataset(rows: list[dict[str, Any]]) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        for i, row in enumerate(rows):
            document = json.dumps(row | {"tags": json.loads(row["tags"])})
            for name, content in ((f"{i:03}.json", document.encode()),
                                  (f"{i:03}.jpg", PICTURES["tall.jpg"])):  # fmt: skip
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return sink.getvalue()


FORMATS: dict[str, Callable[[list[dict[str, Any]]], bytes]] = {
    "p.parquet": as_parquet,
    "p.csv": lambda rows: as_separated(rows, delimiter=","),
    "p.csv.gz": lambda rows: gzip.compress(as_separated(rows, delimiter=",")),
    "p.tsv": lambda rows: as_separated(rows, delimiter="\t"),
    "p.jsonl": as_jsonl,
    "p.tar": as_webdataset,
}


def planned(tmp_path: Path, *paths: Path, keep: Any = KEEP, **keys: Any) -> Plan:
    pool = {"paths": [str(path) for path in paths], "columns": {"keep": keep}}
    document = {"input": pool, "out": str(tmp_path / "run"), "part_rows": 3, **keys}
    return make_plan(Config.model_validate(document))


def read(plan: Plan, *names: str) -> list[dict[str, Any]]:
    """The rows of all parts as prepare reads them."""
    step = step_of(plan, plan.steps.of(Kind.PREPARE)[0])
    tables = [step.incoming(part).select([*names, "error", "detail"]) for part in plan.parts]
    return [row for table in tables for row in table.to_pylist()]


def expected(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{ours: row[name] for ours, name in zip(OURS, KEEP, strict=True)} for row in rows]


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_columns(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(FORMATS[name](ROWS))
    plan = planned(tmp_path, path)
    assert plan.config.input.columns.kept == KINDS
    assert read(plan, *OURS) == [row | {"error": None, "detail": None} for row in expected(ROWS)]


def test_a_file_without_a_column_has_nulls_there(tmp_path: Path) -> None:
    few = [{"url": row["url"], "caption": row["caption"], "id": row["id"] + 0.5} for row in ROWS]
    paths = [tmp_path / name for name in ("a.parquet", "b.csv", "c.jsonl", "d.csv")]
    paths[0].write_bytes(as_parquet(few))
    paths[1].write_bytes(as_separated(few, delimiter=","))
    paths[2].write_bytes("".join(json.dumps(row) + "\n" for row in few).encode())
    paths[3].write_bytes(as_separated(ROWS, delimiter=","))
    plan = planned(tmp_path, *paths)
    assert plan.config.input.columns.kept == KINDS | {"id": "float64"}
    found = read(plan, *OURS)
    nothing = dict.fromkeys(OURS)
    assert found[: 3 * len(ROWS)] == 3 * [
        nothing | {"id": row["id"], "error": None, "detail": None} for row in few
    ]
    assert [row["similarity"] for row in found[-len(ROWS) :]] == [row["similarity"] for row in ROWS]


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        (["similarty"], r"input.columns.keep: no column 'similarty' in any input file, did you mean"
                        r" 'similarity'\? known: caption, id, license, nsfw, similarity, tags, url"),
        ({"punsafe": "float64"}, r"no column 'punsafe' in any input file; known: caption, id"),
        (["license"], r"'license' is string in .*a.parquet and int64 in .*b.parquet; give its type,"
                      r" as in input.columns.keep: \{license: string\}"),
    ],
)  # fmt: skip
def test_what_cannot_be_kept_is_said_before_work_starts(
    tmp_path: Path, keep: Any, message: str
) -> None:
    for name, rows in (("a", ROWS), ("b", [row | {"license": 7} for row in ROWS])):
        (tmp_path / f"{name}.parquet").write_bytes(as_parquet(rows))
    with pytest.raises(CurateError, match=message):
        planned(tmp_path, tmp_path / "a.parquet", tmp_path / "b.parquet", keep=keep)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"scores": {"license": {"kind": "profanity"}}}, "'license' is also the name of a score"),
        ({"input": {"paths": "p", "columns": {"keep": ["width", "pool_width"]}}},
         "'pool_width' would be kept twice"),
        ({"input": {"paths": "p", "columns": {"keep": {"id": "number"}}}}, "float64"),
    ],
)  # fmt: skip
def test_names_that_collide(document: dict[str, Any], message: str) -> None:
    pool = {"input": {"paths": "p", "columns": {"keep": ["license"]}}}
    with pytest.raises(ValueError, match=message):
        Config.model_validate(pool | document)


@pytest.mark.parametrize("name", ["p.csv", "p.jsonl", "p.parquet"])
def test_a_value_of_another_type_makes_its_row_dead(tmp_path: Path, name: str) -> None:
    rows = [row | {"license": "high" if row["id"] == 5 else "0.5"} for row in ROWS]
    (tmp_path / name).write_bytes(FORMATS[name](rows))
    plan = planned(
        tmp_path, input={
            "paths": str(tmp_path / name), "columns": {"keep": {"license": "float32"}},
            "max_dead_fraction": 0.5,
        }
    )  # fmt: skip
    found = read(plan, "license")
    assert [row["license"] for row in found] == [None if i == 5 else 0.5 for i in range(8)]
    assert [row["error"] for row in found] == ["bad_row" if i == 5 else None for i in range(8)]
    assert "license is not a number (float32); it can be kept as text" in found[5]["detail"]


@pytest.mark.parametrize(
    ("prefer", "message"),
    [
        (["similarty"], r"dedup.prefer: no column 'similarty' in this run, did you mean 'similarity'\?"
                        " columns of numbers before dedup: language_score, caption_chars,"
                        " caption_words, similarity, id,"),
        (["-license"], "dedup.prefer: license is no number; columns of numbers before dedup: lang"),
        (["clip_score"], r"clip_score is made after dedup; .* nsfw, pool_width, width, height,"
                         r" .*; a column of the pool has to be named in input.columns.keep"),
        (["faces"], "no column 'faces' in this run; columns of numbers"),
        (["matches"], "matches is no number"),
        (["id", "-id"], "'id' is listed twice"),
        (["--id"], "prefer.0"),
        ([""], "prefer.0"),
    ],
)  # fmt: skip
def test_columns_that_dedup_cannot_prefer(tmp_path: Path, prefer: list[str], message: str) -> None:
    (tmp_path / "p.jsonl").write_bytes(as_jsonl(ROWS))
    with pytest.raises((CurateError, ValueError), match=message):
        planned(tmp_path, tmp_path / "p.jsonl", dedup={"prefer": prefer}, score={"model": "tiny"})
    assert not (tmp_path / "run").exists()


def test_what_dedup_prefers_is_in_its_digest(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_bytes(as_jsonl(ROWS))
    plans = [
        planned(tmp_path, tmp_path / "p.jsonl", dedup={"prefer": prefer})
        for prefer in ([], "similarity", ["-similarity"], ["nsfw", "pool_width"])
    ]
    assert plans[1].config.dedup.prefer == ("similarity",)
    assert len({plan.digests["dedup"].own for plan in plans}) == 4
    assert len({plan.digests["download"].chain for plan in plans}) == 1


def test_another_list_of_columns_repeats_no_download(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_bytes(as_jsonl(ROWS))
    plans = [planned(tmp_path, tmp_path / "p.jsonl", keep=keep) for keep in ([], ["id"], KEEP)]
    assert len({plan.input_digest for plan in plans}) == 1
    assert len({plan.digests["prepare"].own for plan in plans}) == 3
    assert len({plan.digests["download/annotated"].own for plan in plans}) == 1
    assert [row["id"] for row in read(plans[-1], *OURS)] == [row["id"] for row in ROWS]


def curate(*arguments: str) -> str:
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == 0, done.output
    return done.output


def shard_rows(run: Path) -> list[dict[str, Any]]:
    return [
        row
        for path in sorted(run.glob("shards/*.parquet"))
        for row in pq.read_table(path).to_pylist()
    ]


def json_rows(run: Path) -> list[dict[str, Any]]:
    found = []
    for path in sorted(run.glob("shards/*.tar")):
        with tarfile.open(path) as archive:
            texts = [archive.extractfile(x) for x in archive if x.name.endswith(".json")]
            found += [json.loads(text.read()) for text in texts if text]
    return found


def test_columns_go_all_the_way(tmp_path: Path) -> None:
    (tmp_path / "p.tar").write_bytes(as_webdataset(ROWS))
    (tmp_path / "en.txt").write_text("dog\nsnow\n")
    document = {
        "input": {"paths": str(tmp_path / "p.tar"), "columns": {"keep": KEEP}},
        "prepare": {"metadata": {"en": str(tmp_path / "en.txt")}}, "part_rows": 3,
        "dedup": {"policy": "url", "prefer": ["similarity", "-pool_width"]},
        "download": {"image_size": 32}, "balance": {"t": 100}, "shards": {"rows": 4},
        "select": [{"column": "pool_width", "max": 106},
                   {"name": "best", "column": "similarity", "top_fraction": 0.6, "per": "license"}],
    }  # fmt: skip
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(document))
    run = tmp_path / "run"
    curate("run", str(tmp_path / "c.yaml"), "--out", str(run))
    # Of 0, 2, 4, 6 (cc0) and 1, 5, 7 (3 has none) those that reach the value at int(0.6 n); 7 is wide.
    left = [row for row in ROWS if row["id"] in (2, 4, 6, 5)]
    assert [{name: row[name] for name in OURS} for row in shard_rows(run)] == expected(left)
    assert [{name: row[name] for name in OURS} for row in json_rows(run)] == expected(left)
    card = (run / "report/datacard.md").read_text()
    assert "- `pool_width`: `width` of the pool" in card
    told = curate("explain", str(run), ROWS[2]["url"])
    assert "license cc0" in told
    assert "rule:best = " in curate("explain", str(run), ROWS[0]["url"])

    assert (
        "Of a cluster the pair with the higher similarity stays, then the lower pool_width, then"
        in (run / "report/index.html").read_text()
    )
    curate("subset", str(run), "--npy", str(tmp_path / "uids.npy"))
    assert [f"{high:016x}{low:016x}" for high, low in np.load(tmp_path / "uids.npy")] == sorted(
        row["uid"] for row in shard_rows(run)
    )

    before = files.read_json(str(run / "run.json"))["stages"]
    again = curate("run", str(run / "config.yaml"), "--out", str(run))
    assert files.read_json(str(run / "run.json"))["stages"] == before, again
    curate("rebalance", str(run), "--out", str(tmp_path / "other"), "--t", "90")
    assert [row["license"] for row in json_rows(tmp_path / "other")] == [x["license"] for x in left]

    (tmp_path / "list.txt").write_text(ROWS[4]["url"] + "\n")
    curate("revoke", str(run), "--list", str(tmp_path / "list.txt"))
    rest = [row for row in left if row["id"] != 4]
    assert [{name: row[name] for name in OURS} for row in shard_rows(run)] == expected(rest)
    assert [{name: row[name] for name in OURS} for row in json_rows(run)] == expected(rest)
    copies = [pq.read_table(path) for path in sorted(run.glob("input/*.parquet"))]
    emptied = [row for row in pa.concat_tables(copies).to_pylist() if row["url"] is None]
    assert [{name for name, x in row.items() if x is not None} for row in emptied] == [{"uid"}]


def test_an_image_that_is_not_the_one_that_was_told_leaves(tmp_path: Path) -> None:
    """img2dataset's verify_hash, DataComp's column: what stands at a URL may be another's by now."""
    told = hashlib.sha256(PICTURES["tall.jpg"]).hexdigest()
    rows = [row | {"sha256": told} for row in ROWS[:4]]
    rows[1]["sha256"] = "0" * 64
    del rows[2]["sha256"]
    (tmp_path / "p.tar").write_bytes(as_webdataset(rows))
    document = {
        "input": {"paths": str(tmp_path / "p.tar"), "columns": {"keep": ["sha256"]}},
        "download": {"image_size": 32}, "dedup": {"enabled": False},
        "select": [{"name": "as_told", "column": "sha256", "same_as": "pool_sha256"}],
    }  # fmt: skip
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(document))
    run = tmp_path / "run"
    curate("run", str(tmp_path / "c.yaml"), "--out", str(run))
    assert [row["url"] for row in shard_rows(run)] == [rows[0]["url"], rows[3]["url"]]
    assert {row["pool_sha256"] for row in shard_rows(run)} == {told}
    ledger = pq.read_table(run / "dropped/download/part-00000.parquet").to_pylist()
    assert [(row["url"], row["reason"], row["value"]) for row in ledger] == [
        (rows[1]["url"], "rule:as_told", f"sha256={told}, pool_sha256={'0' * 64}"),
        (rows[2]["url"], "rule:as_told", f"sha256={told}, pool_sha256="),
    ]
    assert "sha256 is the same as pool_sha256" in curate("explain", str(run), rows[1]["url"])
