"""A run that an earlier version made (layout 1) is read, and gone on with, where its files are."""

import json
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from curate import cli, files
from curate.errors import CurateError
from curate.rundir import layout
from curate.rundir.directory import PART_STAGES, Run

ARCHIVE = Path(__file__).parents[1] / "data" / "layout-1.tar.xz"
SCORER = "shipped://pipelines/demo/scorer/curate-mini"
SETTINGS = (
    "--set", "part_rows=20", "--set", "shards.rows=10", "--set", "download.image_size=64",
    "--set", "score.embeddings=true", "--set",
    f"score.also.again={{model: {SCORER}.json, pretrained: {SCORER}.safetensors, embeddings: true}}",
)  # fmt: skip


def curate(*arguments: object) -> str:
    """What the command says."""
    done = CliRunner().invoke(cli.app, [str(x) for x in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """The folder of the pool, of the run, and of its rebalance; their paths are where they are."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    for path in (*tmp_path.glob("*/run.json"), *tmp_path.glob("*/*.yaml"),
                 tmp_path / "old/input/parts.json"):  # fmt: skip
        path.write_text(path.read_text().replace("/runs/", f"{tmp_path}/"))
    return tmp_path


def uids(run: Path) -> list[str]:
    """Those of the pairs in a run's shards."""
    return [
        uid for x in sorted((run / "shards").glob("*.parquet")) for uid in pd.read_parquet(x)["uid"]
    ]


def content(run: Path) -> dict[str, bytes]:
    return {str(x.relative_to(run)): x.read_bytes() for x in run.rglob("*") if x.is_file()}


def test_it_is_read(runs: Path) -> None:
    old, rebalanced = runs / "old", runs / "old-t2"
    before = content(old)
    for run in (old, rebalanced):
        curate("report", run)
        curate("verify", run)
        facts = json.loads((run / "report/report.json").read_text())
        assert facts["scores"]
        assert facts["balance"]
        assert all(check["holds"] for check in facts["checks"])
        assert [one["kept"] for one in facts["funnel"]][-1] == len(uids(run))
    for uid in (uids(old)[0], pd.read_parquet(old / "dropped/dedup")["uid"][0]):
        said = curate("explain", old, uid)
        assert "clip_score" in said or "cluster" in said
    assert "pairs kept" in curate("sweep", old, "--t", "1,2")
    curate("subset", old, "--npy", runs / "uids.npy")
    found = {f"{high:016x}{low:016x}" for high, low in np.load(runs / "uids.npy")}
    assert found == set(uids(old))
    now = content(old)
    assert {name: now[name] for name in before} == before
    assert {name.split("/")[0] for name in now.keys() - before.keys()} == {"report", "shards"}


def test_a_new_rebalance_of_it(runs: Path) -> None:
    """Is laid out as any new run, and leaves the old one as it is."""
    old, out = runs / "old", runs / "new"
    before = content(old)
    curate("rebalance", old, "--out", out, "--t", 2)
    assert content(old) == before
    assert uids(out) == uids(runs / "old-t2") != uids(old)
    assert list(pd.read_parquet(out / "balance")["uid"]) == uids(out)
    assert (out / "entries/entries.parquet").exists()
    curate("report", out)
    assert "shard 00000.tar" in curate("explain", out, uids(out)[0])


def test_going_on_with_it(runs: Path) -> None:
    """Its files stay where they are, and no other is put beside them."""
    old = runs / "old"
    folders = {path.name for path in old.iterdir()}
    said = curate("demo", "--out", old, *SETTINGS, "--set", f"input.paths={runs}/pool.jsonl",
                  "--set", "balance.t=2", "--force")  # fmt: skip
    assert "done in" in said
    assert uids(old) == uids(runs / "old-t2")
    assert {path.name for path in old.iterdir()} == folders | {"report"}
    assert json.loads((old / "run.json").read_text())["layout"] == 1
    assert Run.at(str(old)).done("score/annotated/again") == [0, 1, 2]
    curate("rebalance", old, "--out", runs / "old-t2", "--t", 1, "--force")
    assert not (runs / "old-t2/records").exists()


def test_taking_pairs_out_of_it(runs: Path) -> None:
    old, rebalanced = runs / "old", runs / "old-t2"
    gone = uids(old)[3]
    (runs / "list").write_text(f"uid:{gone}\n")
    for run in (old, rebalanced):
        before = uids(run)
        curate("revoke", run, "--list", runs / "list")
        assert uids(run) == [uid for uid in before if uid != gone]
    for stage in ("prepare", "score", "score/annotated", "score/annotated/again", "balance"):
        for path in (old / stage).glob("part-?????.parquet"):
            assert gone not in list(pd.read_parquet(path)["uid"])
    for index in (0, 1, 2):
        with np.load(old / f"score/annotated/part-{index:05}.npz") as arrays:
            assert gone not in arrays["uid"].astype(str)


def test_a_further_score_of_it(runs: Path) -> None:
    old = runs / "old"
    curate("score", old, "--model", f"{SCORER}.json", "--pretrained", f"{SCORER}.safetensors",
           "--name", "third")  # fmt: skip
    scored = pd.read_parquet(old / "score/annotated/part-00000.parquet")
    third = pd.read_parquet(old / "score/annotated/third/part-00000.parquet")
    assert list(third["third"]) == list(scored["clip_score"])


def test_one_in_a_store(runs: Path, request: pytest.FixtureRequest) -> None:
    """Read, and rebalanced into the store, as a local one is."""
    request.addfinalizer(lambda: files.remove("memory://layouts"))
    for name, raw in content(runs / "old").items():
        files.write_bytes(f"memory://layouts/old/{name}", raw)
    run = Run.at("memory://layouts/old")
    for stage in PART_STAGES:
        assert run.done(stage) == [0, 1, 2]
    assert "clip_score" in curate("explain", run.root, uids(runs / "old")[0])
    curate("rebalance", run.root, "--out", "memory://layouts/new", "--t", 2)
    new = Run.at("memory://layouts/new")
    tables = [table["uid"].to_pylist() for table in new.tables("balance")]
    assert [uid for some in tables for uid in some] == uids(runs / "old-t2")
    assert files.names("memory://layouts/new/records") == ["balance"]


def test_one_of_a_later_version(runs: Path) -> None:
    """Is not touched."""
    state = json.loads((runs / "old/run.json").read_text())
    files.write_document(str(runs / "old/run.json"), state | {"layout": layout.LAYOUT + 1})
    for url in (runs / "old", runs / "old-t2"):
        with pytest.raises(CurateError, match=r"old is of layout 3, and this version .* knows 2"):
            Run.at(str(url))
