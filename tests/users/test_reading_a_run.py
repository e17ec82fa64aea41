"""What a person opens in a run with the tools of the trade, and without looking anything up."""

import io
import json
import tarfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner

from curate import cli, files
from curate.rundir.directory import PART_STAGES, Run
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


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """`datasets.load_dataset` with nothing that an earlier one left."""
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    return partial(datasets.load_dataset, cache_dir=str(tmp_path / "cache"))


def told(run: Path) -> list[dict[str, Any]]:
    """What the shards' tables say of each pair, and its JSON file as well."""
    tables = [pq.read_table(path) for path in sorted((run / "shards").glob("*.parquet"))]
    rows = [row for table in tables for row in table.drop_columns("matches").to_pylist()]
    return [{k: "" if v is None else v for k, v in row.items()} for row in rows]


def loaded(samples: Any, ending: str = "jpg") -> list[dict[str, Any]]:
    """The same of what a loader found, once caption and image are those of the pair."""
    found = []
    for sample in samples:
        row = {k: "" if v is None else v for k, v in sample["json"].items()}
        assert (sample["txt"], sample[ending].size) == (
            row["caption"],
            (row["width"], row["height"]),
        )
        found.append(row)
    return found


def test_load_dataset_reads_the_shards(run: Path, load: Callable[..., Any]) -> None:
    """As a folder, as a stream, and by their names alone."""
    rows = told(run)
    found = load(str(run / "shards"))
    assert list(found) == ["train"]
    assert loaded(found["train"]) == rows
    assert loaded(load(str(run / "shards"), streaming=True)["train"]) == rows
    named = load("webdataset", data_files=str(run / "shards/*.tar"), split="train")
    assert [one["json"]["uid"] for one in named] == [row["uid"] for row in rows]


def test_load_dataset_reads_columns_that_begin_with_nulls(
    tmp_path: Path, load: Callable[..., Any]
) -> None:
    """Texts and numbers of the pool, hashes of flat drawings; and a rebalance of the run."""
    flat, drawn = io.BytesIO(), io.BytesIO()
    Image.new("RGB", (64, 64), (200, 30, 60)).save(flat, "png")
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(drawn, "png")
    with tarfile.open(tmp_path / "pool.tar", "w") as tar:
        for i in range(20):
            late = i >= 12
            beside = {"url": f"http://x.example/{i}", "license": "cc-by" if late else None,
                    "likes": i if late else None, "taste": i / 2 if late else None}  # fmt: skip
            image = (drawn if late else flat).getvalue()
            for ending, content in (("png", image), ("txt", f"a red fox, number {i}".encode()),
                                    ("json", json.dumps(beside).encode())):  # fmt: skip
                member = tarfile.TarInfo(f"{i:04d}.{ending}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    (tmp_path / "my.yaml").write_text(
        f"input: {{paths: {tmp_path}/pool.tar, columns: {{url: url, keep: {{license: string, likes:"
        " int64, taste: float64}}}\npart_rows: 7\nshards: {rows: 10}\nbalance: {t: 9}\n"
        "prepare: {metadata: {en: 'shipped://metadata/en-small.txt'}}\n"
        "download: {encode_format: png, encode_quality: 3}\ndedup: {enabled: false}\n"
    )
    curate("run", str(tmp_path / "my.yaml"), "--out", str(tmp_path / "run"))
    curate("rebalance", str(tmp_path / "run"), "--out", str(tmp_path / "t20"), "--t", "20")
    for name in ("run", "t20"):
        rows = told(tmp_path / name)
        assert rows[0]["license"] == rows[0]["phash"] == rows[0]["likes"] == ""
        assert rows[-1]["license"] == "cc-by"
        found = load(str(tmp_path / name / "shards"), split="train")
        assert loaded(found, "png") == rows
        assert found.features["json"]["taste"].dtype == "float64"


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
