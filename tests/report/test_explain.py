"""`curate explain` on a run laid by hand: what it says of a pair, and how it looks."""

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
