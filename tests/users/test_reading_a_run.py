"""What a person opens in a run with the tools of the trade, and without looking anything up."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from curate import cli, files
from curate.run import PART_STAGES, Run
from curate.schema import Stage

POOL = files.shipped("pipelines/demo/pool/pool.jsonl").read_text().splitlines()
SOME = [POOL[i] for i in (*range(0, 60, 2), *range(412, 509, 4))]


def curate(*arguments: str) -> str:
    """What the command says."""
    done = CliRunner().invoke(cli.app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo over some of its pairs, in parts of 20, with embeddings and a further model's score."""
    folder = tmp_path_factory.mktemp("reading")
    (folder / "pool.jsonl").write_text("\n".join(SOME))
    scorer = files.shipped("pipelines/demo/scorer/curate-mini.safetensors")
    model = f"{{model: {scorer.with_suffix('.json')}, pretrained: {scorer}, embeddings: true}}"
    curate(
        "demo", "--out", str(folder / "run"), "--set", f"input.paths={folder}/pool.jsonl",
        "--set", "part_rows=20", "--set", "shards.rows=10", "--set", "score.embeddings=true",
        "--set", f"score.also.again={model}", "--set", "dedup.prefer=[]",
    )  # fmt: skip
    return folder / "run"


def test_pandas_reads_the_folder_of_a_stage(run: Path) -> None:
    """And gets the rows that it keeps; what it dropped and what was dead, too."""
    state = json.loads((run / "run.json").read_text())["stages"]
    for stage in PART_STAGES:
        counts = state[stage]
        if stage is Stage.DOWNLOAD:  # whose folder holds the images as well
            kept = pd.concat(map(pd.read_parquet, sorted((run / stage).glob("*.parquet"))))
        else:
            kept = pd.read_parquet(run / stage)
        dropped, dead = (pd.read_parquet(run / kind / stage) for kind in ("dropped", "dead"))
        assert len(kept) == counts["kept"] == kept["uid"].nunique()
        assert dropped["reason"].value_counts().to_dict() == counts["dropped"]
        assert dead["error"].value_counts().to_dict() == counts["dead"]
        assert set(kept["uid"]).isdisjoint(dropped["uid"])
    shards = sorted((run / "shards").glob("*.parquet"))
    assert len(shards) > 1
    assert list(pd.concat(map(pd.read_parquet, shards))["uid"]) == list(
        pd.read_parquet(run / "balance")["uid"]
    )


def test_pandas_reads_what_stands_beside(run: Path) -> None:
    entries = pd.read_parquet(run / "entries")
    matches = pd.read_parquet(run / "balance")["matches"]
    assert entries["kept"].sum() == sum(map(len, matches))
    fetched = pd.read_parquet(run / "annotated/download")
    assert list(fetched["uid"]) == list(pd.read_parquet(run / "prepare")["uid"])
    assert len(pd.read_parquet(run / "clusters")) > 0


def test_a_folder_of_parts_holds_nothing_else(run: Path) -> None:
    """Wherever its parts are of one table, and however a reader goes through folders."""
    for stage in PART_STAGES:
        images = {".tar"} if stage is Stage.DOWNLOAD else set()
        for folder in (run / stage, run / "dropped" / stage, run / "dead" / stage):
            found = {path.suffix for path in folder.iterdir()}
            assert found == {".parquet"} | (images if folder.parent == run else set())
    assert not [path for path in run.rglob("*.json") if path.parent.name in PART_STAGES
                and "records" not in path.relative_to(run).parts]  # fmt: skip


def test_pandas_reads_a_run_over_text_alone(tmp_path: Path) -> None:
    """Whose last stage lists its uids for DataComp."""
    (tmp_path / "pool.jsonl").write_text("\n".join(SOME))
    (tmp_path / "my.yaml").write_text(
        f"input: {{paths: {tmp_path}/pool.jsonl}}\npart_rows: 20\nbalance: {{t: 2}}\n"
        "prepare: {languages: [en], metadata: {en: 'shipped://metadata/en-small.txt'}}\n"
        "download: {enabled: false}\ndedup: {policy: [caption]}\n"
    )
    run = tmp_path / "run"
    curate("run", str(tmp_path / "my.yaml"), "--out", str(run))
    kept = pd.read_parquet(run / "balance")
    subset = np.load(run / "subset/balance/uids.npy")
    assert sorted(kept["uid"]) == [f"{high:016x}{low:016x}" for high, low in subset]
    assert len(pd.read_parquet(run / "prepare")) >= len(pd.read_parquet(run / "dedup")) > len(kept)


def test_pandas_reads_a_run_over_images_that_came_with_the_pool(run: Path, tmp_path: Path) -> None:
    """What says where they lie is in a folder of its own."""
    (tmp_path / "my.yaml").write_text(
        f"input: {{paths: '{run}/shards/*.tar'}}\npart_rows: 15\ndedup: {{policy: strict}}\n"
    )
    curate("run", str(tmp_path / "my.yaml"), "--out", str(tmp_path / "run"))
    prepared = pd.read_parquet(tmp_path / "run/prepare")
    assert list(prepared["uid"]) == list(pd.read_parquet(run / "balance")["uid"])
    assert len(pd.read_parquet(tmp_path / "run/places")) == len(prepared)
    assert Run.at(str(tmp_path / "run")).done(Stage.DOWNLOAD)
