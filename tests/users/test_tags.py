"""Tags as entries: read from lists and texts, counted and sampled by, told of in all that follows."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.commands.demo import serve
from curate.files import shipped
from curate.ops.hashing import pair_uids, uniform
from tests.users.runs import document, moved, pairs, refused, well

Pair = dict[str, Any]
LIST = ["cat", "dog", "long_hair", "sea", "rare", "photo"]
NOUNS = ["cat", "dog", "sea", "boat", "house"]


def pool(n: int = 60) -> list[Pair]:
    """Pairs in English, whose tags are seldom words of the caption; some of none, or of no list."""
    rows = []
    for i in range(n):
        noun = NOUNS[i % len(NOUNS)]
        tags = ["photo"] if i % 2 else []
        tags += [" long_hair "] if i % 3 == 0 else []
        tags += ["dog"] if i % 7 == 0 else []
        tags += ["rare"] if i == 11 else []
        tags += ["Cat", "long hair"] if i % 5 == 0 else []
        text = f"this is a photograph of the {noun} that stands near the road, number {i}"
        rows.append({"url": f"http://x.example/{i}.jpg", "caption": text, "tags": tags})
    return rows


def options(folder: Path, rows: list[Pair], *, form: str = "parquet", **balance: Any) -> list[str]:
    """The pool in `folder`, and the arguments of a run of its text alone."""
    tags: Any = "tags"
    if form == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), folder / "pool.parquet")
    elif form == "jsonl":
        (folder / "pool.jsonl").write_text("".join(json.dumps(x) + "\n" for x in rows))
    else:
        lines = [f"{x['url']}\t{x['caption']}\t{'; '.join(x['tags'])}" for x in rows]
        (folder / "pool.tsv").write_text("\n".join(["url\tcaption\ttags", *lines]) + "\n")
        tags = {"column": "tags", "separator": ";"}
    (folder / "list.txt").write_text("\n".join(LIST) + "\n")
    config = {
        "input": {"paths": str(folder / f"pool.{form}"), "columns": {"tags": tags}},
        "part_rows": 25,
        "prepare": {"metadata": {"en": str(folder / "list.txt")}, "counts_as": {"*": "en"}},
        "download": {"enabled": False},
        "dedup": {"enabled": False},
        "balance": {"t": 8, "on": "tags", **balance},
    }
    (folder / "run.yaml").write_text(json.dumps(config))
    return ["run", str(folder / "run.yaml"), "--out", str(folder / "run")]


def entries_of(row: Pair, *, on: str) -> set[str]:
    """The entries that count for a pair."""
    tagged = {x.strip() for x in row["tags"]} & set(LIST)
    words = set(row["caption"].replace(",", " ").split()) & set(LIST)
    return {"tags": tagged, "matches": words, "both": tagged | words}[on]


def naive(rows: list[Pair], *, on: str, t: float) -> tuple[Counter[str], dict[str, float]]:
    """The count of each entry, and the probability of each pair by its URL."""
    counts = Counter(x for row in rows for x in entries_of(row, on=on))
    keep = {}
    for row in rows:
        lost = 1.0
        for entry in sorted(entries_of(row, on=on), key=LIST.index):
            lost *= 1 - t / max(counts[entry], t)
        keep[row["url"]] = 1 - lost
    return counts, keep


def kept(rows: list[Pair], *, on: str, t: float) -> set[str]:
    """The URLs of the pairs that a run keeps."""
    uids = pair_uids([x["url"] for x in rows], [x["caption"] for x in rows])
    keep = naive(rows, on=on, t=t)[1]
    places = uniform(uids, seed=0)
    return {row["url"] for row, x in zip(rows, places, strict=True) if x < keep[row["url"]]}


def urls(run: Path, folder: str = "balance") -> set[str]:
    return {x for path in sorted(run.glob(f"{folder}/*.parquet"))
            for x in pq.read_table(path, columns=["url"])["url"].to_pylist()}  # fmt: skip


def counts(run: Path) -> dict[str, int]:
    rows = pq.read_table(run / "entries/entries.parquet").to_pylist()
    return {row["entry"]: row["count"] for row in rows}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tags")
    well(*options(folder, pool()))
    return folder / "run"


def test_pairs_are_counted_and_sampled_by_their_tags(made: Path) -> None:
    rows = pool()
    found, keep = naive(rows, on="tags", t=8)
    assert counts(made) == {x: found[x] for x in LIST}
    assert found["photo"] == 30
    assert found["cat"] == found["sea"] == 0, "Cat is another tag, and captions do not count"
    with_any = {x["url"] for x in rows if entries_of(x, on="both")}
    assert urls(made, "prepare") == with_any, "whatever is counted, for another balance"
    assert urls(made) == kept(rows, on="tags", t=8)
    for path in sorted(made.glob("balance/*.parquet")):
        for row in pq.read_table(path).to_pylist():
            assert row["keep_probability"] == pytest.approx(keep[row["url"]])
            of = next(x for x in rows if x["url"] == row["url"])
            assert {LIST[x] for x in row["tag_entries"]} == entries_of(of, on="tags")
            assert {LIST[x] for x in row["all_entries"]} == entries_of(of, on="both")
            assert json.loads(row["tags"]) == of["tags"], "they travel as the pool has them"
    assert "mentioned and not seen" not in (made / "report/index.html").read_text()
    assert "Nothing to do" in well("run", str(made / "config.yaml"), "--out", str(made))


@pytest.mark.parametrize("form", ["jsonl", "tsv"])
@pytest.mark.parametrize("on", ["both", "matches"])
def test_of_other_formats_and_over_both(form: str, on: str, tmp_path: Path) -> None:
    rows = pool()
    well(*options(tmp_path, rows, form=form, on=on))
    found = naive(rows, on=on, t=8)[0]
    assert counts(tmp_path / "run") == {x: found[x] for x in LIST}
    assert urls(tmp_path / "run") == kept(rows, on=on, t=8)


def test_sweep_rebalance_explain_and_report_go_by_tags(made: Path, tmp_path: Path) -> None:
    rows = pool()
    swept = json.loads(well("sweep", str(made), "--t", "3", "--json"))
    assert swept["total"]["points"][0]["pairs"] == pytest.approx(
        sum(naive(rows, on="tags", t=3)[1].values())
    )
    for on in ("both", "tags"):
        out = tmp_path / on
        well("rebalance", str(made), "--t", "3", "--on", on, "--out", str(out))
        assert urls(out) == kept(rows, on=on, t=3)
    told = well("explain", str(made), "http://x.example/11.jpg")
    assert "rare (1 pairs, p 1)" in told
    assert "all_entries" not in told
    page = (made / "report/index.html").read_text()
    assert "long_hair" in page
    assert document(made / "report/report.json")["balance"]
    told = refused("rebalance", str(made), "--t", "3", "--on", "seen", "--out", str(tmp_path / "x"))
    assert "--on seen" in told
    assert "known: matches, tags, both" in told


def test_a_revoked_pair_leaves_the_counts_of_its_tags(made: Path, tmp_path: Path) -> None:
    run = moved(made, tmp_path / "run")
    (tmp_path / "list.txt").write_text("http://x.example/11.jpg\n")
    well("revoke", str(run), "--list", str(tmp_path / "list.txt"))
    assert "http://x.example/11.jpg" not in urls(run) | urls(run, "prepare")
    rows = {x["entry"]: x for x in pq.read_table(run / "entries/entries.parquet").to_pylist()}
    assert rows["rare"]["kept"] == 0
    for path in run.rglob("*.parquet"):
        assert "number 11" not in repr(pq.read_table(path).to_pylist())


def test_several_workers_write_the_same(made: Path, tmp_path: Path) -> None:
    well(*options(tmp_path, pool()), "--workers", "2")
    for path in sorted(made.glob("balance/*.parquet")):
        assert (tmp_path / "run/balance" / path.name).read_bytes() == path.read_bytes()
    assert counts(tmp_path / "run") == counts(made)


def test_parts_without_tags_and_rows_with_none(tmp_path: Path) -> None:
    rows = pool(8)
    for row in rows:
        row["tags"] = None
    rows[5]["tags"] = ["sea"]
    well(*options(tmp_path, rows, form="jsonl", on="both", t=100))
    assert urls(tmp_path / "run") == {x["url"] for x in rows if entries_of(
        {**x, "tags": x["tags"] or []}, on="both")}  # fmt: skip


def test_concepts_share_a_count_and_case_may_not_count(tmp_path: Path) -> None:
    rows = pool(20)
    command = options(tmp_path, rows, t=100)
    (tmp_path / "list.txt").write_text("long_hair\thair\nlong hair\thair\nCAT\tcat\n")
    config = json.loads((tmp_path / "run.yaml").read_text())
    config["prepare"]["ignore_case"] = True
    (tmp_path / "run.yaml").write_text(json.dumps(config))
    well(*command)
    hair = sum(any(x.strip() in ("long_hair", "long hair") for x in row["tags"]) for row in rows)
    assert counts(tmp_path / "run") == {"hair": hair, "cat": sum("Cat" in x["tags"] for x in rows)}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            {"input.columns.tags": "labels"},
            "input.columns.tags: no column 'labels' in any input file",
        ),
        ({"input.columns.tags": "caption"}, "is no list of tags; say what separates them"),
        ({"prepare.metadata": "{}", "prepare.counts_as": "{}"}, "balance needs prepare.metadata"),
        (
            {"balance.on": "seen"},
            "balance.on: no score 'seen' of kind entities; known: matches, tags",
        ),
        ({"input.columns.tags": "null"}, "tags and both are of input.columns.tags"),
        ({"captions": "{more: {column: tags}}"}, "input.columns.tags: tags are of a pair"),
    ],
)
def test_refused_before_work(change: dict[str, str], told: str, tmp_path: Path) -> None:
    command = options(tmp_path, pool(5))
    for key, value in change.items():
        command += ["--set", f"{key}={value}"]
    assert told in refused(*command)
    assert not (tmp_path / "run").exists()


def test_shards_of_a_run_that_trainers_sample(tmp_path: Path) -> None:
    """The ids that are sampled by stand in the JSON of each pair, as those of matches do."""
    rows = pool(12)
    well(*options(tmp_path, rows, write="all"))
    tables = [pq.read_table(x) for x in sorted((tmp_path / "run").glob("balance/*.parquet"))]
    probabilities = np.concatenate([x["keep_probability"].to_numpy() for x in tables])
    assert len(probabilities) == sum(bool(entries_of(x, on="both")) for x in rows)


def test_the_list_of_a_pools_tags(tmp_path: Path) -> None:
    rows = [
        *pool(),
        {"url": "http://x.example/t.jpg", "caption": "x", "tags": ["a\tb", "photo", "é"]},
    ]
    options(tmp_path, rows)
    found = Counter(tag for row in rows for tag in {x.strip() for x in row["tags"]})
    out = tmp_path / "all.txt"
    told = well("metadata", "tags", str(tmp_path / "run.yaml"), "--out", str(out))
    assert out.read_text(encoding="utf-8").splitlines() == sorted({*found} - {"a\tb"})
    assert f"{len(found) - 1} of {len(found)} tags of {len(rows)} rows; 1 left out" in told
    out = tmp_path / "all.json"
    well("metadata", "tags", str(tmp_path / "run.yaml"), "--out", str(out), "--min-count", "2")
    assert json.loads(out.read_text()) == sorted(x for x, n in found.items() if n > 1)
    command = ["--set", "input.columns.tags=caption", "--out", str(out)]
    assert "is no list of tags" in refused("metadata", "tags", str(tmp_path / "run.yaml"), *command)


def test_the_recipe(tmp_path: Path) -> None:
    """Over the demo's pictures, of which each has the words of its caption as tags."""
    lines = shipped("pipelines/demo/pool/pool.jsonl").read_text().splitlines()[:40]
    rows = [json.loads(x) for x in lines]
    rows = [{"url": x["url"], "caption": x["caption"], "tags": x["caption"].split()} for x in rows]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "pool.parquet")
    (tmp_path / "recipe.yaml").write_text(well("config", "--recipe", "tag-balance"))
    changes = ["--set", f"input.paths={tmp_path}/pool.parquet"]
    tags = str(tmp_path / "tags.txt")
    well("metadata", "tags", str(tmp_path / "recipe.yaml"), *changes, "--out", tags)
    run = tmp_path / "run"
    with serve() as addresses:
        well(
            "run", str(tmp_path / "recipe.yaml"), "--out", str(run), *changes,
            "--set", f"prepare.metadata.en={tags}", "--set", "balance.t=0.1",
            "--set", f"download.connect_to={json.dumps(addresses)}",
        )  # fmt: skip
    fetched = [x for p in sorted(run.glob("dedup/*.parquet")) for x in pq.read_table(p).to_pylist()]
    found = Counter(y for x in fetched for y in {*json.loads(x["tags"])})
    listed = Path(tags).read_text().splitlines()
    told = {x: n for x, n in counts(run).items() if n}
    assert told == dict(found)
    assert [*counts(run)] == listed == sorted(listed)
    assert 0 < len(pairs(run)) < len(fetched)
    well("verify", str(run))
    command = ["plan", str(tmp_path / "recipe.yaml"), *changes, "--out", str(tmp_path / "other")]
    assert "balance" in well(*command, "--set", f"prepare.metadata.en={tags}")
