"""Balancing while training: a run that writes all pairs, and what a loader takes of its shards."""

import itertools
import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import webdataset as wds

from curate.errors import CurateError
from curate.loading import Sampler, resample
from tests.users.runs import document, moved, pairs, refused, small_run, well

TS = (0.5, 1.0, 2.0, 3.0, 7.0)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, undrawn: None) -> Path:
    """A finished run that writes all pairs, at t = 1."""
    return small_run(tmp_path_factory.mktemp("all"), "--set", "balance={t: 1, write: all}")


@pytest.fixture(scope="module")
def rebalanced(made: Path) -> dict[float, list[str]]:
    """The uids that `curate rebalance` keeps at each t."""
    kept = {}
    for t in TS:
        out = made.parent / f"t{t}"
        well("rebalance", str(made), "--out", str(out), "--t", str(t))
        kept[t] = [row["uid"] for row in pairs(out)]
    return kept


def taken(shards: Path, *stages: Any, decoded: bool = False) -> list[str]:
    """The uids that a loader gives, in order."""
    urls = sorted(map(str, shards.glob("*.tar")))
    loader = wds.WebDataset(urls, shardshuffle=False)
    if decoded:
        loader = loader.decode()
    for stage in stages:
        loader = loader.compose(stage)
    found = (one["json"] for one in loader)
    return [(x if isinstance(x, dict) else json.loads(x))["uid"] for x in found]


def written(run: Path) -> pa.Table:
    return pa.concat_tables(map(pq.read_table, sorted(run.glob("shards/*.parquet"))))


def test_all_pairs_are_written_with_their_probability(made: Path, small: Path) -> None:
    came = pq.read_table(made / "dedup")
    rows = pairs(made)
    assert [row["uid"] for row in rows] == came["uid"].to_pylist()
    assert len(rows) > len(pairs(small))
    for shard in sorted(made.glob("shards/*.tar")):
        for sample in wds.WebDataset(str(shard), shardshuffle=False):
            found = json.loads(sample["json"])
            (row,) = [x for x in rows if x["key"] == sample["__key__"]]
            assert found["matches"] == row["matches"] != []
            assert found["keep_probability"] == row["keep_probability"]
    probability = pq.read_table(small / "balance")
    by_uid = {row["uid"]: row["keep_probability"] for row in rows}
    for row in probability.select(["uid", "keep_probability"]).to_pylist():
        assert by_uid[row["uid"]] == row["keep_probability"]
    assert document(made / "run.json")["stages"]["balance"]["dropped"] == {}


@pytest.mark.parametrize("t", TS)
def test_a_loader_takes_what_a_rebalanced_run_keeps(
    made: Path, rebalanced: dict[float, list[str]], t: float
) -> None:
    assert taken(made / "shards", resample(str(made / "shards"), t=t)) == rebalanced[t]
    assert taken(made / "shards", resample(str(made), t=t), decoded=True) == rebalanced[t]
    table = written(made)
    mask = Sampler(str(made)).takes(table, t=t)
    assert table["uid"].filter(pa.array(mask)).to_pylist() == rebalanced[t]


def test_the_values_of_t_are_apart(rebalanced: dict[float, list[str]]) -> None:
    sizes = [len(rebalanced[t]) for t in TS]
    assert sizes == sorted(set(sizes)), "each t keeps another set, or nothing was shown"
    for less, more in itertools.pairwise(TS):
        assert set(rebalanced[less]) < set(rebalanced[more])


def test_without_t_it_is_the_runs_own(made: Path, small: Path) -> None:
    assert taken(made / "shards", resample(str(made))) == [row["uid"] for row in pairs(small)]


def test_the_shards_alone_are_enough(
    made: Path, rebalanced: dict[float, list[str]], tmp_path: Path
) -> None:
    there = tmp_path / "elsewhere"
    shutil.copytree(made / "shards", there)
    assert taken(there, resample(str(there), t=2.0)) == rebalanced[2.0]
    assert taken(there, resample(t=2.0)) == rebalanced[2.0], "beside the tars of the samples"
    sample = {"__key__": "0", "__url__": "pipe:cat 0.tar", "json": b"{}"}
    with pytest.raises(CurateError, match=r"of pipe:cat 0\.tar, which tells of no folder"):
        list(resample(t=2.0)([sample]))


def test_epochs_draw_anew_and_t_is_annealed(made: Path) -> None:
    sampler, table = Sampler(str(made)), written(made)
    epochs = [sampler.takes(table, t=1.0, epoch=epoch) for epoch in range(400)]
    assert len({mask.tobytes() for mask in epochs}) > 100
    off = np.mean(epochs, axis=0) - table["keep_probability"].to_numpy()
    assert np.abs(off).max() < 5 * 0.5 / 20
    for epoch in (1, 2):
        less, more = (sampler.takes(table, t=t, epoch=epoch) for t in (1.0, 2.0))
        assert not (less & ~more).any()
    now = {"epoch": 0}
    stage = resample(str(made), t=lambda epoch: TS[epoch], epoch=lambda: now["epoch"])
    for epoch in (0, 1, 4):
        now["epoch"] = epoch
        mask = sampler.takes(table, t=TS[epoch], epoch=epoch)
        assert taken(made / "shards", stage) == table["uid"].filter(pa.array(mask)).to_pylist()


def test_a_stage_goes_to_a_loaders_processes(made: Path) -> None:
    stage = resample(str(made), t=2.0, epoch=3)
    first = taken(made / "shards", stage)
    assert taken(made / "shards", pickle.loads(pickle.dumps(stage))) == first


def test_the_run_tells_what_would_be_kept(made: Path, small: Path) -> None:
    n, kept = len(pairs(made)), len(pairs(small))
    told = f"All {n} pairs are written (balance.write: all); at t = 1, {kept} would be kept."
    said = well("run", str(made / "config.yaml"), "--out", str(made))
    assert told in " ".join(said.split())
    for name in ("index.html", "datacard.md"):
        assert told in (made / "report" / name).read_text()
    found = document(made / "report/report.json")
    assert all(check["holds"] for check in found["checks"])
    (own,), (other,) = (
        x["balance"]["languages"] for x in (found, document(small / "report/report.json"))
    )
    assert own == other, "what balancing does to the entries is told as of a run that drops"
    entries = [pq.read_table(x / "entries/entries.parquet") for x in (made, small)]
    assert entries[0].equals(entries[1])
    uids = {row["uid"] for row in pairs(small)}
    for uid in (pairs(made)[0]["uid"], *(x["uid"] for x in pairs(made) if x["uid"] not in uids)):
        told = " ".join(well("explain", str(made), uid).split())
        assert f"own draw {'keeps' if uid in uids else 'leaves out'} this pair" in told
        assert "shard 0000" in told
    assert well("sweep", str(made), "--t", "1,2", "--json") == well(
        "sweep", str(small), "--t", "1,2", "--json"
    )


def test_a_revoked_pair_is_counted_out(made: Path, small: Path, tmp_path: Path) -> None:
    run = moved(made, tmp_path / "run")
    ours = {row["uid"] for row in pairs(small)}
    kept = next(row["uid"] for row in pairs(run) if row["uid"] in ours)
    left = next(row["uid"] for row in pairs(run) if row["uid"] not in ours)
    (tmp_path / "list").write_text(f"{kept}\n{left}\n")
    well("revoke", str(run), "--list", str(tmp_path / "list"))
    assert {row["uid"] for row in pairs(made)} - {row["uid"] for row in pairs(run)} == {kept, left}
    assert set(taken(run / "shards", resample(str(run)))) == ours - {kept}
    said = " ".join(well("run", str(run / "config.yaml"), "--out", str(run)).split())
    assert f"at t = 1, {len(ours) - 1} would be kept" in said
    entries = pq.read_table(run / "entries/entries.parquet")
    (matches,) = (row["matches"] for row in pairs(made) if row["uid"] == kept)
    before = pq.read_table(made / "entries/entries.parquet")
    fewer = pc.subtract(before["kept"], entries["kept"]).to_pylist()
    assert [i for i, n in enumerate(fewer) if n] == matches


def test_counts_that_are_lost_are_made_again(made: Path, tmp_path: Path) -> None:
    run = moved(made, tmp_path / "run")
    whole = (run / "shards/counts.npz").read_bytes()
    (run / "shards/counts.npz").unlink()
    tars = {path: path.stat().st_mtime_ns for path in run.glob("shards/*.tar")}
    well("run", str(run / "config.yaml"))
    assert (run / "shards/counts.npz").read_bytes() == whole
    assert {path: path.stat().st_mtime_ns for path in run.glob("shards/*.tar")} == tars


def test_another_write_makes_the_set_again(made: Path, small: Path, tmp_path: Path) -> None:
    run = moved(made, tmp_path / "run")
    well("run", str(run / "config.yaml"), "--set", "balance.write=kept", "--force")
    assert not (run / "shards/counts.npz").exists()
    for path in sorted(small.glob("shards/0*")):
        if not path.name.endswith(".json"):
            assert (run / "shards" / path.name).read_bytes() == path.read_bytes()
    with pytest.raises(CurateError, match=r"no counts\.npz here, .* balance\.write: all"):
        taken(run / "shards", resample(str(run), t=2))


def test_wfpp_is_no_draw(small: Path) -> None:
    said = refused(
        "run", str(small / "config.yaml"), "--set", "balance={wfpp: {fraction: 0.5}, write: all}",
        "--force",
    )  # fmt: skip
    assert "balance: write: all goes with t, p, size or soft_cap" in said


def test_other_languages_have_the_t_of_the_same_share(tmp_path: Path) -> None:
    """Of text alone, in two languages: the table of the balance is sampled like the shards."""
    words = {"en": ["fox", "owl", "hen"], "de": ["Haus", "Baum", "Boot"]}
    rows = []
    for language, names in words.items():
        (tmp_path / f"{language}.txt").write_text("\n".join(names) + "\n")
        for i in range(60):
            name = names[0] if i % 2 else names[1] if i % 3 else names[2]
            text = f"the {name} is in the garden, number {i}"
            if language == "de":
                text = f"das {name} steht heute in dem Garten, Nummer {i}"
            rows.append({"url": f"http://x.example/{language}/{i}", "caption": text})
    (tmp_path / "pool.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = {
        "input": {"paths": str(tmp_path / "pool.jsonl")}, "download": {"enabled": False},
        "prepare": {"metadata": {x: str(tmp_path / f"{x}.txt") for x in words}},
        "dedup": {"enabled": False}, "balance": {"t": 12, "write": "all"},
    }  # fmt: skip
    (tmp_path / "c.yaml").write_text(json.dumps(settings))
    run = tmp_path / "run"
    well("run", str(tmp_path / "c.yaml"), "--out", str(run))
    table = pq.read_table(run / "balance")
    assert {*table["language"].to_pylist()} == {"en", "de"}
    for t in (4, 15, 25):
        out = tmp_path / f"t{t}"
        well("rebalance", str(run), "--out", str(out), "--t", str(t))
        kept = pq.read_table(out / "balance")["uid"].to_pylist()
        mask = Sampler(str(run)).takes(table, t=t)
        assert table["uid"].filter(pa.array(mask)).to_pylist() == kept
        assert 0 < len(kept) < len(table)


@pytest.fixture(scope="module")
def capped(small: Path, tmp_path_factory: pytest.TempPathFactory, undrawn: None) -> Path:
    """A finished run that draws 100 times by a score of a table, with repeats."""
    folder = tmp_path_factory.mktemp("capped")
    rows = [
        {"uid": row["uid"], "quality": i / 5}
        for i, row in enumerate(pq.read_table(small / "dedup").to_pylist()) if i % 4
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), folder / "quality.parquet")
    return small_run(
        folder, "--set", f"scores={{quality: {{kind: table, path: {folder}/quality.parquet}}}}",
        "--set", "balance={soft_cap: {size: 100, column: quality}}", "--set", "select=[]",
    )  # fmt: skip


def test_a_soft_cap_draws_pairs_again(capped: Path, tmp_path: Path) -> None:
    rows = pairs(capped)
    assert sum(row["weight"] for row in rows) == 100
    assert min(row["weight"] for row in rows) == 1
    came = pq.read_table(capped / "score")
    for part in ("part-00000", "part-00001"):
        table = pq.read_table(capped / f"score/{part}.parquet")
        left = pq.read_table(capped / f"dropped/balance/{part}.parquet")
        assert {*left["reason"].to_pylist()} == {"not_drawn"}
        assert len(left) + len(pq.read_table(capped / f"balance/{part}.parquet")) == len(table)
    scores = {row["uid"]: row["quality"] for row in came.to_pylist()}
    assert all(scores[row["uid"]] is not None for row in rows)
    best = sorted(rows, key=lambda row: -row["quality"])
    assert sum(x["weight"] for x in best[:8]) > 2 * sum(x["weight"] for x in best[-8:])
    assert max(row["weight"] for row in rows) > 3
    found = taken(capped / "shards", resample(str(capped / "shards")))
    assert {uid: found.count(uid) for uid in found} == {x["uid"]: x["weight"] for x in rows}
    assert len(found) == 100
    with pytest.raises(CurateError, match="t=2: pairs that a soft cap drew have no t"):
        taken(capped / "shards", resample(str(capped / "shards"), t=2))
    told = f"{len(rows)} pairs are written, which a trainer takes 100 times in all"
    assert told in (capped / "report/index.html").read_text()
    assert told in (capped / "report/datacard.md").read_text()
    assert "weight" in well("explain", str(capped), rows[0]["uid"])
    out = tmp_path / "uids.npy"
    well("subset", str(capped), "--npy", str(out))
    listed = np.load(out)
    assert len(listed) == 100, "DataComp takes a pair as often as it is listed"
    assert np.array_equal(listed, np.sort(listed))


def test_a_revoked_pair_is_drawn_no_more(capped: Path, tmp_path: Path) -> None:
    run = moved(capped, tmp_path / "run")
    gone = max(pairs(run), key=lambda row: row["weight"])
    (tmp_path / "list").write_text(f"{gone['uid']}\n")
    well("revoke", str(run), "--list", str(tmp_path / "list"))
    told = " ".join(well("run", str(run / "config.yaml"), "--out", str(run)).split())
    assert f"takes {100 - gone['weight']} times in all" in told
    assert len(taken(run / "shards", resample())) == 100 - gone["weight"]


def test_draws_do_not_depend_on_parts_or_workers(capped: Path, tmp_path: Path) -> None:
    pool = capped.parent / "pool.jsonl"
    well(
        "run", str(capped / "config.yaml"), "--out", str(tmp_path / "run"), "--workers", "2", "--set",
        f"input.paths={pool}", "--set", "part_rows=17", "--set", "download.enabled=false",
        "--set", "balance={soft_cap: {size: 100, column: quality}, write: all}",
    )  # fmt: skip
    found = pq.read_table(tmp_path / "run/balance")
    weights = dict(zip(found["uid"].to_pylist(), found["weight"].to_pylist(), strict=True))
    one = tmp_path / "one"
    well(
        "run", str(tmp_path / "run/config.yaml"), "--out", str(one), "--set", "part_rows=1000",
    )  # fmt: skip
    again = pq.read_table(one / "balance")
    assert dict(zip(again["uid"].to_pylist(), again["weight"].to_pylist(), strict=True)) == weights
    assert sum(weights.values()) == 100
    assert 0 in weights.values(), "all are written"


def test_a_soft_cap_of_what_is_no_number_is_refused(capped: Path) -> None:
    for column, told in (
        ("qualty", "no column 'qualty' in this run, did you mean 'quality'?"),
        ("language", "language is no number; columns of numbers:"),
    ):
        balance = f"balance={{soft_cap: {{size: 9, column: {column}}}}}"
        said = refused("run", str(capped / "config.yaml"), "--set", balance, "--force")
        assert f"balance.soft_cap.column: {told}" in said


def test_a_set_that_grows_is_drawn_from_as_one(small: Path, tmp_path: Path, undrawn: None) -> None:
    """Weights of the pairs of before are others then, so their shards are written again."""
    lines = (small.parent / "pool.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "a.jsonl").write_text("".join(lines[:50]))
    (tmp_path / "b.jsonl").write_text("".join(lines[50:]))
    options = (
        "--set", "balance={soft_cap: {size: 90, column: caption_chars, penalty: 3}}", "--set",
        "dedup.enabled=false",
    )  # fmt: skip
    one, both = (
        f"input.paths=[{tmp_path}/a.jsonl]",
        f"input.paths=[{tmp_path}/a.jsonl, {tmp_path}/b.jsonl]",
    )
    small_run(tmp_path, "--set", one, *options, out=tmp_path / "grown")
    before = {row["uid"]: row["weight"] for row in pairs(tmp_path / "grown")}
    small_run(tmp_path, "--set", both, *options, out=tmp_path / "grown")
    small_run(tmp_path, "--set", both, *options, out=tmp_path / "union")
    found = [{row["uid"]: row["weight"] for row in pairs(tmp_path / x)} for x in ("grown", "union")]
    assert found[0] == found[1] != before
    assert sum(found[0].values()) == 90
    assert any(found[0].get(uid) != weight for uid, weight in before.items())
