"""`curate explain` on a run laid by hand: what it says of a pair, and how it looks."""

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from curate import files, revocations
from curate.cli import app
from curate.config import Config
from curate.config_file import dump
from curate.errors import CurateError
from curate.finished.explain import stories
from curate.run import Run
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


def test_no_line_ends_in_blanks(run: Run) -> None:
    kept = files.read_table(run.part(Stage.BALANCE, 0))["uid"][0].as_py()
    said = CliRunner().invoke(app, ["explain", run.root, kept])
    assert said.exit_code == 0, said.output
    lines = said.output.splitlines()
    assert f"uid       {kept}" in lines
    assert [line for line in lines if line != line.rstrip()] == []
