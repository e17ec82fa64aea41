"""`kind: misaligned_words`: the words that images deny, in a run and all that is done with one."""

import json
import tarfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from curate.config import file as config_file
from curate.files import shipped
from tests.users.runs import curate, document, moved, refused, small_run, well

SCORER = {key: str(shipped(f"pipelines/demo/scorer/curate-mini.{ending}"))
          for key, ending in (("model", "json"), ("pretrained", "safetensors"))}  # fmt: skip
SCORE = ("--set", f"score={{model: {SCORER['model']}, pretrained: {SCORER['pretrained']},"
         " embeddings: true}")  # fmt: skip
ASKED = ("--set", "scores.denied={kind: misaligned_words}")
BELOW = ("--set", "scores.denied.below=-0.003")


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run with the score `denied`."""
    return small_run(tmp_path_factory.mktemp("words"), *SCORE, *ASKED)


def column(run: Path) -> dict[str, dict[str, Any]]:
    rows = pq.read_table(run / "annotated/score/denied").to_pylist()
    return {row["uid"]: row for row in rows}


def captions(run: Path) -> dict[str, str]:
    return {x["uid"]: x["caption"] for x in pq.read_table(run / "dedup").to_pylist()}


def test_each_word_of_each_caption_is_judged(judged: Path) -> None:
    told = captions(judged)
    found = column(judged)
    assert found.keys() == told.keys()
    for uid, row in found.items():
        words = row["denied_words"]
        assert all(told[uid][one["start"] : one["end"]] == one["word"] for one in words)
        lost = sum(one["score"] for one in words if one["misaligned"])
        expected = lost * (1 - max(row["denied_cosine"], 0))
        assert row["denied"] == pytest.approx(expected, rel=1e-6, abs=1e-12)
    assert any(row["denied"] == 0 for row in found.values())
    assert any(row["denied"] < -0.001 for row in found.values())


def test_another_threshold_takes_the_model_over(judged: Path, tmp_path: Path) -> None:
    run = moved(judged, tmp_path / "run")
    before = column(run)
    well("run", str(run / "config.yaml"), *BELOW, "--force")
    after = column(run)
    for uid, row in after.items():
        words = before[uid]["denied_words"]
        assert [x["score"] for x in row["denied_words"]] == [x["score"] for x in words]
        assert [x["misaligned"] for x in row["denied_words"]] == [
            x["score"] < -0.003 for x in words
        ]
    assert [row["denied"] for row in after.values()] != [row["denied"] for row in before.values()]
    for path in sorted((run / "records/annotated/score/denied").glob("*.json")):
        record = document(path)
        assert record["figures"]["reused"] == record["rows"]
    fresh = small_run(tmp_path, *SCORE, *ASKED, *BELOW, out=tmp_path / "fresh")
    for name in ("annotated/score/denied", "shards"):
        ours, theirs = (sorted((x / name).glob("*.parquet")) for x in (run, fresh))
        assert [x.read_bytes() for x in ours] == [x.read_bytes() for x in theirs]


def test_it_stands_in_the_shards_and_in_the_story(judged: Path) -> None:
    shard = min((judged / "shards").glob("*.parquet"))
    rows = pq.read_table(shard).to_pylist()
    found = column(judged)
    assert [row["denied_words"] for row in rows] == [found[x["uid"]]["denied_words"] for x in rows]
    with tarfile.open(shard.with_suffix(".tar")) as tar:
        first = next(x for x in tar.getmembers() if x.name.endswith(".json"))
        content = tar.extractfile(first)
        assert content is not None
        named = json.load(content)
    assert "denied" in named
    assert "denied_words" not in named
    uid, row = next((x, y) for x, y in found.items() if y["denied"] < 0)
    word = next(x for x in row["denied_words"] if x["misaligned"])
    told = curate("explain", str(judged), uid).stdout
    assert f"{word['word']} {word['score']:.2g} (misaligned)" in told


def test_revoked_pairs_leave_it(judged: Path, tmp_path: Path) -> None:
    run = moved(judged, tmp_path / "run")
    gone, *others = column(run)
    (tmp_path / "gone.txt").write_text(gone + "\n")
    well("revoke", str(run), "--list", str(tmp_path / "gone.txt"))
    assert column(run).keys() == {*others}


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ([*ASKED], "set score.model and score.embeddings: true"),
        ([*SCORE, *ASKED, "--set", "score.model=xlm-roberta-base-ViT-B-32"],
         "the texts of xlm-roberta-base-ViT-B-32 go through a tower or a tokenizer of transformers"),
        ([*SCORE, *ASKED, "--set", "scores.denied.below=0.5"], "scores.denied.below"),
        ([*SCORE, "--set", "scores.x={kind: nsfw, below: -1}"],
         "`below` is of kind misaligned_words, not of nsfw"),
        ([*SCORE, *ASKED, "--set", "scores.denied_words={kind: misaligned_words}"],
         "denied_words is taken by another column"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(asked: list[str], told: str, tmp_path: Path) -> None:
    assert told in refused("demo", "--out", str(tmp_path / "r"), *asked)
    assert not (tmp_path / "r").exists()


def test_the_recipe_leaves_out_the_pairs_that_lose_most(tmp_path: Path) -> None:
    folder = shipped("pipelines/demo/pool/images")
    pool = shipped("pipelines/demo/pool/pool.jsonl").read_text().splitlines()
    told = {Path(row["url"]).name: row["caption"] for row in map(json.loads, pool[:120])}
    with tarfile.open(tmp_path / "pool.tar", "w") as tar:
        for number, path in enumerate(sorted(folder.glob("*.jpg"))[:25]):
            (tmp_path / "caption").write_text(told.get(path.name, f"a drawing, {number}"))
            tar.add(path, f"{number}.jpg")
            tar.add(tmp_path / "caption", f"{number}.txt")
    recipe = str(config_file.recipes()["clip4dm"])
    well("run", recipe, "--out", str(tmp_path / "run"), "--set",
         f"input.paths={tmp_path / 'pool.tar'}", *(x for key, value in SCORER.items()
         for x in ("--set", f"score.{key}={value}")), "--set", "part_rows=10")  # fmt: skip
    scored = pq.read_table(tmp_path / "run/annotated/score/misaligned").to_pylist()
    kept = pq.read_table(tmp_path / "run/score").to_pylist()
    sums = sorted((row["misaligned"] for row in scored), reverse=True)
    cut = sums[int(len(sums) * 0.8)]
    assert len(sums) > 15
    assert sorted(row["misaligned"] for row in kept) == sorted(x for x in sums if x >= cut)
    page = (tmp_path / "run/report/index.html").read_text()
    assert "Words that images deny" in page
    lowest = min(scored, key=lambda row: row["misaligned"])
    word = next(one["word"] for one in lowest["misaligned_words"] if one["misaligned"])
    assert f"<mark>{word}</mark>" in page
