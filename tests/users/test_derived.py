"""A run from which others were made is changed under them, or taken away."""

import shutil
from pathlib import Path

import pytest

from curate import files
from tests.users.runs import document, interrupted, moved, pairs, refused, well


@pytest.fixture(scope="module")
def made(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run, `base`, and a rebalance of it, `t2`."""
    folder = tmp_path_factory.mktemp("derived")
    moved(small, folder / "base")
    well("rebalance", str(folder / "base"), "--out", str(folder / "t2"), "--t", "2")
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy of that folder."""
    for name in ("base", "t2"):
        moved(made / name, tmp_path / name)
        for path in (tmp_path / name / "run.json", tmp_path / name / "config.yaml"):
            path.write_text(path.read_text().replace(str(made), str(tmp_path)))
        state = tmp_path / name / "run.json"
        files.write_document(str(state), document(state))
    return tmp_path


def every_command(derived: Path, uid: str) -> list[tuple[str, ...]]:
    (derived.parent / "list.txt").write_text(f"{uid}\n")
    return [
        ("report", str(derived)), ("explain", str(derived), uid), ("sweep", str(derived)),
        ("subset", str(derived), "--npy", str(derived.parent / "uids.npy")),
        ("revoke", str(derived), "--list", str(derived.parent / "list.txt")),
        ("rebalance", str(derived), "--out", str(derived.parent / "third"), "--t", "3"),
    ]  # fmt: skip


def test_the_base_is_run_again_with_another_rule(folder: Path) -> None:
    base, derived = folder / "base", folder / "t2"
    uid = pairs(derived)[0]["uid"]
    again = ("run", str(base / "config.yaml"), "--force", "--set", "dedup.policy=url")
    interrupted(*again, after="balance/part-00001.parquet")
    told = refused("report", str(derived))
    assert f"was made of {base}, which has changed since (dedup)" in told
    assert "is not complete (its state is running)" in told
    well(*again)
    for command in every_command(derived, uid):
        told = refused(*command)
        assert f"{derived} was made of {base}, which has changed since (dedup); make it" in told
        assert f"curate rebalance {base} --out {derived} --t 2 --force" in told
    assert not (folder / "uids.npy").exists()
    remedy = ("rebalance", str(base), "--out", str(derived), "--t", "2")
    assert "holds a finished set" in refused(*remedy)
    well(*remedy, "--force")
    well("report", str(derived))
    checks = document(derived / "report/report.json")["checks"]
    assert all(check["holds"] for check in checks)


def test_the_base_is_run_again_and_back_and_with_other_shards(folder: Path) -> None:
    base, derived = folder / "base", folder / "t2"
    well("run", str(base / "config.yaml"), "--force", "--set", "shards.rows=7")
    well("report", str(derived))  # which no stage that it borrows depends on
    well("run", str(base / "config.yaml"), "--force", "--set", "dedup.threshold=0.7")
    assert "has changed since (dedup)" in refused("report", str(derived))
    well("run", str(base / "config.yaml"), "--force", "--set", "dedup.threshold=0.8")
    well("report", str(derived))


def test_the_base_was_moved_or_removed(folder: Path) -> None:
    base, derived = folder / "base", folder / "t2"
    before = [path.read_bytes() for path in sorted(derived.glob("shards/*"))]
    base.rename(folder / "elsewhere")
    for command in every_command(derived, pairs(derived)[0]["uid"]):
        assert f"is a rebalance of {base}, which is not there any more" in refused(*command)
    said = well("rebalance", str(folder / "elsewhere"), "--out", str(derived), "--t", "2")
    assert "Nothing to do" in said or "shards" in said
    assert [path.read_bytes() for path in sorted(derived.glob("shards/*"))] == before
    well("report", str(derived))
    shutil.rmtree(folder / "elsewhere")
    assert "which is not there any more" in refused("report", str(derived))


def test_pairs_are_revoked_from_the_base_alone_and_it_is_run_again(folder: Path) -> None:
    base, derived = folder / "base", folder / "t2"
    uid = pairs(derived)[0]["uid"]
    (folder / "list.txt").write_text(f"{uid}\n")
    well("revoke", str(base), "--list", str(folder / "list.txt"))
    for command in every_command(derived, uid):
        if command[0] != "revoke":
            assert "revoke them here too: curate revoke" in refused(*command)
    remedy = ("rebalance", str(base), "--out", str(derived), "--t", "2", "--force")
    assert "revoke them here too" in refused(*remedy)
    well("run", str(base / "config.yaml"), "--force", "--set", "dedup.policy=url")
    well(*remedy)  # all of it is made again: nothing is left to revoke
    well("report", str(derived))
    assert uid not in {row["uid"] for row in pairs(derived)}
    assert not any(uid.encode() in path.read_bytes() for path in derived.rglob("*.tar"))


def test_another_set_is_in_the_way(folder: Path) -> None:
    base, derived = folder / "base", folder / "t2"
    n = len(pairs(derived))
    other = ("rebalance", str(base), "--out", str(derived), "--t", "1")
    told = refused(*other)
    assert f"{derived}/shards holds a finished set ({n} pairs in" in told
    assert "as balance has changed; add --force to replace it; to keep it, move it" in told
    assert len(pairs(derived)) == n
    well("rebalance", str(base), "--out", str(derived), "--t", "2")  # the same
    interrupted(*other, "--force", after="shards/00001.parquet")
    well(*other)  # goes on without another word
    assert len(pairs(derived)) < n
    shutil.move(derived / "shards", folder / "kept")
    well("rebalance", str(base), "--out", str(derived), "--t", "2")
    assert len(pairs(derived)) == n


def test_a_threshold_is_changed_over_a_finished_run(run: Path) -> None:
    again = ("run", str(run / "config.yaml"), "--set", "shards.rows=7")
    before = len(list(run.glob("shards/*.tar")))
    told = refused(*again)
    assert f"{run}/shards holds a finished set" in told
    assert "as shards has changed" in told
    assert "dedup.threshold" not in (run / "report/index.html").read_text()
    well("run", str(run / "config.yaml"))
    assert len(list(run.glob("shards/*.tar"))) == before
    (run / "records/balance/part-00001.json").unlink()  # a lost record changes no set
    well("run", str(run / "config.yaml"))
    interrupted(*again, "--force", after="shards/00001.parquet")
    well(*again)
    assert len(list(run.glob("shards/*.tar"))) > before


def test_a_run_is_stopped_between_two_balances(run: Path, tmp_path: Path) -> None:
    """Neither its report nor its list of pairs passes for that of either."""
    again = ("run", str(run / "config.yaml"), "--force", "--set", "balance.t=2")
    interrupted(*again, after="balance/part-00001.parquet")
    told = refused("subset", str(run), "--npy", str(tmp_path / "uids.npy"))
    assert "balance is done for 1 of 3 parts; go on with it first: curate run" in told
    well("subset", str(run), "--npy", str(tmp_path / "uids.npy"), "--stage", "dedup")
    well("report", str(run))
    page = (run / "report/index.html").read_text()
    assert (
        "This run is not complete: its state is running; parts of an earlier configuration" in page
    )
    well(*again)
    assert "not complete" not in (run / "report/index.html").read_text()
    well("subset", str(run), "--npy", str(tmp_path / "uids.npy"))
