"""`curate revoke` and `curate explain` on the demo's run: exactly the listed pairs, and for good."""

import io
import json
import os
import shutil
import signal
import tarfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from curate import files
from curate.cli import app
from curate.config import Beam
from curate.errors import CurateError
from curate.files import content as content_module
from curate.files import documents
from curate.finished import rebalance
from curate.finished.explain import stories
from curate.revoking import revoke
from curate.rundir import revocations
from curate.rundir.directory import Run
from curate.running import execute
from tests.e2e.conftest import Command, Copied, read_json
from tests.e2e.test_demo import kept, ledger, rows
from tests.e2e.test_resume import start, wait_for

STAGES = ("prepare", "download", "dedup", "score", "balance")


def content(run: Path) -> dict[str, bytes]:
    """All files but the data card beside the shards, which the report's writer keeps."""
    found = (p for p in run.rglob("*") if p.is_file() and p.name != "README.md")
    return {str(p.relative_to(run)): p.read_bytes() for p in found}


def listing(run: Path) -> tuple[str, list[dict[str, Any]]]:
    """A list of one line of each kind, and the pairs that it names: kept ones and dropped ones."""
    first = rows(sorted(run.glob("shards/*.parquet"))[0])
    with_hash = [row for row in first if row["phash"]]
    by_uid, by_url, by_sha, by_pdq = first[0], first[1], first[2], with_hash[-1]
    foreign = next(row for row in ledger(run) if row["reason"] == "language")
    near = f"{int(by_pdq['phash'], 16) ^ 0b10101:064x}"  # three bits away
    gone = next(row for row in ledger(run) if row["reason"] == "refused")
    lines = [
        "# a request", by_uid["uid"], by_url["url"] + "#top", f"sha256:{by_sha['sha256']}",
        f"pdq: {near}", foreign["uid"], "gone.example",
    ]  # fmt: skip
    urls = {by_url["url"]}
    hashes = {by_sha["sha256"], by_pdq["sha256"]}
    named = [by_uid, foreign, gone]
    named += [row for row in ledger(run) if row["url"].startswith("http://gone.example/")]
    for path in sorted(run.glob("annotated/download/*.parquet")):
        by = {row["uid"]: row for row in rows(run / "prepare" / path.name)}
        named += [by[row["uid"]] for row in rows(path) if row["sha256"] in hashes]
        named += [row for row in by.values() if row["url"] in urls]
    named += [row for row in ledger(run) if row["url"] in urls]
    return "\n".join(lines) + "\n", list({row["uid"]: row for row in named}.values())


def revoked(run: Path, text: str) -> None:
    (run.parent / "list.txt").write_text(text)
    done = CliRunner().invoke(app, ["revoke", str(run), "--list", str(run.parent / "list.txt")])
    assert done.exit_code == 0, done.output


def check_gone(run: Path, named: list[dict[str, Any]]) -> None:
    """Nothing but the uid of the named pairs is left, and the counts add up."""
    uids = {row["uid"] for row in named}
    entering = 509
    for stage in STAGES:
        counts = read_json(run / "run.json")["stages"][stage]
        gone = sum(counts["dropped"].values()) + sum(counts["dead"].values())
        assert counts["rows"] == entering == counts["kept"] + gone, stage
        entering = counts["kept"]
        assert sum(len(rows(p)) for p in run.glob(f"{stage}/part-*.parquet")) == entering
        for path in [*run.glob(f"{stage}/**/part-*.parquet"), *run.glob(f"dead/{stage}/*.parquet")]:
            assert not uids & {row.get("uid") for row in rows(path)}, path
    found = [row for row in ledger(run) if row["uid"] in uids]
    assert {row["uid"] for row in found} == uids
    assert {(row["stage"], row["reason"]) for row in found} == {("prepare", "revoked")}
    assert {row["url"] for row in found} | {row["caption"] for row in found} == {None}
    assert not uids & {row["uid"] for row in kept(run)}
    manifest = read_json(run / "shards/manifest.json")
    assert manifest["pairs"] == len(kept(run)) == entering
    sizes = {f"{shard['name']}.tar": shard["pairs"] for shard in manifest["shards"]}
    assert read_json(run / "shards/sizes.json") == sizes
    for shard in manifest["shards"]:
        with tarfile.open(run / "shards" / f"{shard['name']}.tar") as tar:
            keys = sorted({name.split(".")[0] for name in tar.getnames()})
        by_key = rows(run / "shards" / f"{shard['name']}.parquet")
        assert keys == [row["key"] for row in by_key]
    facts = read_json(run / "report/report.json")
    assert all(check["holds"] for check in facts["checks"])
    assert {one["reason"]: one["pairs"] for one in facts["dropped"]}["revoked"] == len(found)
    others = {row["url"] for row in kept(run)} | {row["url"] for row in ledger(run)}
    for name, raw in content(run).items():
        if name.startswith("download/") and name.endswith(".tar"):
            with tarfile.open(run / name) as tar:
                assert not uids & {member.split(".")[0] for member in tar.getnames()}
        if name.endswith((".html", ".json", ".md", ".tar")):
            for row in named:
                assert row["url"] in others or (row["url"] + '"').encode() not in raw, name
    pool = [row for path in run.glob("input/*.parquet") for row in rows(path)]
    assert uids <= {row["uid"] for row in pool if row["url"] is None and row["caption"] is None}


@pytest.fixture(scope="module")
def done(demo_run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, bytes]]:
    """A copy of the run after a revocation, and its files before."""
    out = tmp_path_factory.mktemp("revoked") / "run"
    shutil.copytree(demo_run, out)
    before = content(out)
    revoked(out, listing(out)[0])
    return out, before


def test_exactly_the_listed_pairs_are_gone(
    done: tuple[Path, dict[str, bytes]], demo_run: Path
) -> None:
    run, before = done
    _, named = listing(demo_run)
    check_gone(run, named)
    uids = {row["uid"] for row in named}
    assert len(kept(run)) == len(kept(demo_run)) - sum(r["uid"] in uids for r in kept(demo_run))
    left = [row for row in kept(demo_run) if row["uid"] not in uids]
    assert kept(run) == left  # keys and all
    after = content(run)
    concerned = {row["key"][:5] for row in kept(demo_run) if row["uid"] in uids}
    shards = {x for x in before if x.startswith("shards/0")}
    changed = {name for name in shards if after[name] != before[name]}
    assert len(concerned) < len(shards) / 3
    assert {name.split("/")[1][:5] for name in changed} == concerned
    entries = rows(run / "entries/entries.parquet")
    matches = [x for row in rows_of(run, "balance") for x in row["matches"]]
    assert [row["kept"] for row in entries] == [matches.count(row["entry_id"]) for row in entries]


def rows_of(run: Path, stage: str) -> list[dict[str, Any]]:
    return [row for path in sorted(run.glob(f"{stage}/part-*.parquet")) for row in rows(path)]


def test_a_repeat_changes_nothing_and_going_on_brings_nothing_back(
    done: tuple[Path, dict[str, bytes]], demo_run: Path, curate: Command, tmp_path: Path
) -> None:
    run, _ = done
    text, named = listing(demo_run)
    out = tmp_path / "run"
    shutil.copytree(run, out)
    before = content(out)
    revoked(out, text)
    assert content(out) == before
    shards = {name: raw for name, raw in before.items() if name.startswith("shards/")}
    for stage in ("prepare", "download"):  # done again, these meet the list once more
        (out / "records" / stage / "part-00000.json").unlink()
    (out / "records/annotated/download/part-00000.json").unlink()
    prepared = (out / "prepare/part-00000.parquet").read_bytes()
    dropped = (out / "dropped/prepare/part-00000.parquet").read_bytes()
    again = curate("demo", "--out", str(out))
    assert again.returncode == 0, again.stderr
    assert (out / "prepare/part-00000.parquet").read_bytes() == prepared
    assert sorted(map(str, rows(out / "dropped/prepare/part-00000.parquet"))) == sorted(
        map(str, pq.read_table(io.BytesIO(dropped)).to_pylist())
    )
    check_gone(out, named)
    assert shards.keys() == {x for x in content(out) if x.startswith("shards/")}


def test_killed_at_any_write_it_goes_on(
    done: tuple[Path, dict[str, bytes]], copied: Copied, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished, _ = done
    write = files.atomic_write

    class Killed(BaseException):
        pass

    for at in (1, 2, 4, 9, 17, 26):
        run = copied(f"killed-{at}")
        text, _ = listing(run)
        (run.parent / "list.txt").write_text(text)
        rows_ = revoke.read_list(str(run.parent / "list.txt"))
        count = 0

        def breaking(url: str, at: int = at) -> Any:
            nonlocal count
            count += 1
            if count > at:
                raise Killed(url)
            return write(url)

        with monkeypatch.context() as patched:
            for module in (content_module, documents):
                patched.setattr(module, "atomic_write", breaking)
            with pytest.raises(Killed):
                revoke.revoke(Run.at(str(run)), rows_)
        with pytest.raises(CurateError, match="was interrupted; finish it first: curate revoke"):
            revocations.check_settled(Run.at(str(run)))
        revoke.revoke(Run.at(str(run)), None)
        ours, theirs = content(run), content(finished)
        same = [x for x in theirs if not x.startswith("report/") and x not in ("run.json",)]
        assert [x for x in same if ours.get(x) != theirs[x]] == []
        stages = read_json(run / "run.json")["stages"]
        assert stages == read_json(finished / "run.json")["stages"]


def test_sigkill_and_again(
    copied: Copied, done: tuple[Path, dict[str, bytes]], curate: Command
) -> None:
    run = copied("sigkill")
    (run.parent / "list.txt").write_text(listing(run)[0])
    process = start("revoke", str(run), "--list", str(run.parent / "list.txt"))
    wait_for(process, lambda: (run / "revoked.parquet").exists())
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    again = curate("revoke", str(run))
    assert again.returncode == 0, again.stderr
    shards = {name: raw for name, raw in content(done[0]).items() if name.startswith("shards/")}
    assert {name: content(run)[name] for name in shards} == shards


def test_a_rebalance_reads_what_is_left_and_an_older_one_is_refused(
    done: tuple[Path, dict[str, bytes]], tmp_path: Path
) -> None:
    run, out = tmp_path / "run", tmp_path / "rebalanced"
    shutil.copytree(done[0], run)

    def plan() -> Any:
        source = rebalance.open_source(str(run))
        balance = rebalance.target(t=1, p=None, size=None, reference="en")
        return rebalance.make_plan(source, balance=balance, out=str(out), beam=Beam())

    assert sum(part.rows for part in plan().parts) == len(rows_of(run, "score"))
    execute.prepare_run(plan())
    plan()
    uid = rows_of(run, "score")[0]["uid"]
    with pytest.raises(CurateError, match=r"reads its pairs from .* which still holds them"):
        revoke.revoke(Run.at(str(out)), {("uid", uid)})
    revoke.revoke(Run.at(str(run)), {("uid", uid)})
    with pytest.raises(CurateError, match=r"pairs were revoked from .*: curate revoke .* --list"):
        plan()
    revoke.revoke(Run.at(str(out)), {("uid", uid)})
    assert uid not in {row["uid"] for row in rows_of(run, "score")}
    plan()


def test_a_list_that_cannot_be_read(tmp_path: Path, demo_run: Path) -> None:
    path = tmp_path / "list.txt"
    for text, message in (
        ("", "the list is empty"),
        ("# nothing\n", "the list is empty"),
        ("what is this?\n", "'what is this\\?' is no uid, URL, host or hash"),
        ("uid:12\n", "'uid:12' is no uid"),
    ):
        path.write_text(text)
        with pytest.raises(CurateError, match=message):
            revoke.read_list(str(path))
    with pytest.raises(CurateError, match="no revocation was interrupted here; give --list FILE"):
        revoke.revoke(Run.at(str(demo_run)), None)


def test_a_story_ends_where_the_pair_ends(demo_run: Path) -> None:
    run = Run.at(str(demo_run))
    stayed = kept(demo_run)[7]
    (story,) = stories(run, stayed["uid"])
    assert [c.stage for c in story.chapters] == [*STAGES, "shards"]
    assert story.chapters[-1].found == {"shard": f"{stayed['key'][:5]}.tar", "key": stayed["key"]}
    assert story.chapters[1].found["sha256"] == stayed["sha256"]
    for reason, last in (
        ("language", 1), ("http_404", 2), ("duplicate_image", 3), ("rule:clip_score", 4),
        ("sampled_out", 5),
    ):  # fmt: skip
        gone = next(row for row in ledger(demo_run) if row["reason"] == reason)
        (story,) = stories(run, gone["uid"])
        assert [c.stage for c in story.chapters] == list(STAGES[:last])
        end = story.chapters[-1]
        assert (end.verdict, end.reason, end.value) == ("dropped", reason, gone["value"] or "")
        assert (story.url, story.caption) == (gone["url"], gone["caption"])
    survivor = next(row for row in ledger(demo_run) if row["reason"] == "duplicate_image")["value"]
    (story,) = stories(run, survivor)
    members = {row["uid"] for row in ledger(demo_run) if row["value"] == survivor}
    assert {row["uid"] for row in story.chapters[2].others} == members
    assert story.uid in {one.uid for one in stories(run, str(story.url))}


def test_explain_prints_the_story_and_says_where_there_is_none(demo_run: Path) -> None:
    uid = kept(demo_run)[0]["uid"]
    shown = CliRunner().invoke(app, ["explain", str(demo_run), uid])
    assert shown.exit_code == 0, shown.output
    for word in ("prepare", "keep_probability", "00000.tar", kept(demo_run)[0]["key"]):
        assert word in shown.output
    (document,) = json.loads(
        CliRunner().invoke(app, ["explain", str(demo_run), uid, "--json"]).output
    )
    assert document["uid"] == uid
    missing = CliRunner().invoke(app, ["explain", str(demo_run), "0" * 32])
    assert missing.exit_code == 1
