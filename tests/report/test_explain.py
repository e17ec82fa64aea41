"""`curate explain` on a run laid by hand: what it says of a pair, and how it looks."""

from pathlib import Path

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from curate import files
from curate.cli import app
from curate.config import Config
from curate.config.file import dump
from curate.errors import CurateError
from curate.finished.explain import Story, lines, stories
from curate.rundir import revocations
from curate.rundir.directory import Run
from curate.schema import Stage

GONE = "f" * 32


@pytest.fixture
def run(full_run: Run, full_config: Config) -> Run:
    files.write_bytes(full_run.path("config.yaml"), dump(full_config).encode())
    return full_run


def test_a_revoked_pair_is_called_revoked(run: Run) -> None:
    url = "https://gone.example/a.jpg"
    with pytest.raises(CurateError, match="no pair with the URL"):
        stories(run, url)
    revocations.write(run, {("uid", GONE), ("url", revocations.fingerprint(url))})
    for wanted in (GONE, GONE.upper(), url):
        with pytest.raises(CurateError, match="was revoked from this run"):
            stories(run, wanted)
    with pytest.raises(CurateError, match="no pair with the uid"):
        stories(run, "e" * 32)


def _uids(url: str) -> list[str]:
    uids: list[str] = files.read_table(url)["uid"].to_pylist()
    return uids


def test_a_pair_that_brought_no_uid_is_told_of_by_its_url(run: Run) -> None:
    url = run.dead(Stage.PREPARE, 0)
    rows = [
        {"uid": uid, "url": f"https://x.example/{link}", "error": "bad_uid", "detail": link}
        for uid, link in ((None, "other"), ("short", "same"), (None, "same"), ("", "empty"))
    ]
    table = files.read_table(url)
    files.write_table(url, pa.concat_tables([table, pa.Table.from_pylist(rows, table.schema)]))
    for link, details in (("same", ["same", "same"]), ("other", ["other"]), ("empty", ["empty"])):
        told = [story.chapters for story in stories(run, f"https://x.example/{link}")]
        assert [(x[-1].verdict, x[-1].reason, x[-1].value) for x in told] == [
            ("dead", "bad_uid", detail) for detail in details
        ]


def test_counts_of_the_balance_are_not_told_of_a_pair_that_left_before(run: Run) -> None:
    ledger = [x for i in run.done(Stage.DEDUP) for x in _uids(run.ledger(Stage.DEDUP, i))]
    dropped = ledger[0]
    kept = files.read_table(run.part(Stage.BALANCE, 0))["uid"][0].as_py()
    of_dropped, of_kept = (
        stories(run, uid)[0].chapters[0].found["matches"] for uid in (dropped, kept)
    )
    assert "pairs, p " not in of_dropped
    assert "cat" in of_dropped
    assert "cat (4 pairs, p 0.5)" in of_kept


def renamed(run: Run, uids: dict[int, int]) -> None:
    """Give pairs the uids of others, wherever they stand; the numbers are those of the uids."""
    names = {f"{was:032x}": f"{now:032x}" for was, now in uids.items()}
    for path in Path(run.root).rglob("part-*.parquet"):
        table = files.read_table(str(path))
        for name in {"uid", "value"} & set(table.column_names):
            values = [names.get(x, x) for x in table[name].to_pylist()]
            column = pa.array(values, pa.string())
            table = table.set_column(table.column_names.index(name), name, column)
        files.write_table(str(path), table)


def ends(found: tuple[Story, ...]) -> list[tuple[str, str, str]]:
    """The caption of each pair, and the stage and the reason with which its story ends."""
    return [(str(one.caption), one.chapters[-1].stage, one.chapters[-1].reason) for one in found]


def test_each_pair_of_a_uid_has_its_own_story(run: Run) -> None:
    """Of uid 1: two that are kept, two that the download drops, one that goes for another."""
    renamed(run, {2: 1, 6: 1, 7: 1, 11: 1, 8: 1})
    kept = [row for i in (0, 1) for row in files.read_table(run.part("balance", i)).to_pylist()]
    shard = [{"key": f"{i:09d}"} | {x: row[x] for x in ("uid", "url", "caption")}
             for i, row in enumerate(kept)]  # fmt: skip
    files.write_table(run.path("shards", "00000.parquet"), pa.Table.from_pylist(shard))
    found = stories(run, f"{1:032x}")
    assert ends(found) == [
        ("a cat on a mat", "shards", ""), ("a cat | a dog", "shards", ""),
        ("cat", "download", "http_404"), ("cat", "download", "rule:small"),
        ("cat", "prepare", "null_url"), ("cat", "dedup", "duplicate_image"),
    ]  # fmt: skip
    assert [one.chapters[-1].found["key"] for one in found[:2]] == ["000000000", "000000001"]
    sizes = [one.chapters[1].found.get("original_width") for one in found[:4]]
    assert sizes == [300, 300, None, 90]
    goes = found[-1].chapters[-1]
    assert [row["caption"] for row in goes.others] == ["a cat on a mat"]
    assert goes.others[0]["standing"] == {
        "original_width": 300, "original_height": 200, "caption_chars": 14,
    }  # fmt: skip


def test_the_same_pair_thrice(run: Run) -> None:
    """11 to 13 of one part: two are dropped as duplicates, the third by its score."""
    renamed(run, {12: 11, 13: 11})
    assert ends(stories(run, f"{11:032x}")) == [
        ("cat", "score", "rule:clip_score"), ("cat", "dedup", "duplicate_image"),
        ("cat", "dedup", "duplicate_url"),
    ]  # fmt: skip


def test_what_decided_who_stays_is_told_of_both(run: Run, full_config: Config) -> None:
    dedup = full_config.dedup.model_copy(update={"prefer": ("-language_score", "caption_words")})
    document = dump(full_config.model_copy(update={"dedup": dedup}))
    files.write_bytes(run.path("config.yaml"), document.encode())
    said = [text for _, text in lines(stories(run, f"{11:032x}")[0])]
    (why,) = (x for x in said if "Of a cluster" in x)
    assert why.endswith(
        "Of a cluster the pair with the lower language_score stays, then the higher caption_words,"
        " then the larger image, then the longer caption, then the smaller uid."
    )
    values = "language_score 0.9, caption_words {}, original_width 300, original_height 200"
    assert f"this pair: {values.format(1)}, caption_chars 3" in said
    assert f"survivor: {values.format(5)}, caption_chars 14" in said


def test_no_line_ends_in_blanks(run: Run) -> None:
    kept = files.read_table(run.part(Stage.BALANCE, 0))["uid"][0].as_py()
    said = CliRunner().invoke(app, ["explain", run.root, kept])
    assert said.exit_code == 0, said.output
    lines = said.output.splitlines()
    assert f"uid       {kept}" in lines
    assert [line for line in lines if line != line.rstrip()] == []
