"""The recipe of word-frequency pruning, through the command line, against its definition."""

import gzip
import json
from pathlib import Path

import pytest

from curate import files
from curate.config import file as config_file
from tests.e2e.conftest import Command
from tests.ops.selection.test_wfpp import naive_score, naive_weights

POOL = Path(__file__).parents[1] / "data" / "multilingual.jsonl.gz"
THRESHOLD = 1e-4  # the pool is small


def test_the_recipe_keeps_the_half_whose_words_are_rarest(curate: Command, tmp_path: Path) -> None:
    out = tmp_path / "run"
    settings = {
        "input.paths": POOL, "download.enabled": "false", "balance.wfpp.threshold": THRESHOLD,
        "part_rows": 3000,
    }  # fmt: skip
    flags = [flag for key, value in settings.items() for flag in ("--set", f"{key}={value}")]
    done = curate("run", str(config_file.recipes()["wfpp"]), "--out", str(out), *flags)
    assert done.returncode == 0, done.stderr

    captions = [
        json.loads(line)["caption"] for line in gzip.decompress(POOL.read_bytes()).splitlines()
    ]
    weights = naive_weights(captions, THRESHOLD)
    scores = [naive_score(caption, weights) for caption in captions]
    cut = sorted(scores, reverse=True)[len(scores) // 2]
    expected = [
        (caption, score) for caption, score in zip(captions, scores, strict=True)
        if score >= cut * (1 - 1e-12)
    ]  # fmt: skip
    kept = [row for part in sorted((out / "balance").glob("part-*.parquet"))
            for row in files.read_table(str(part)).to_pylist()]  # fmt: skip
    assert [row["caption"] for row in kept] == [caption for caption, _ in expected]
    assert [row["word_score"] for row in kept] == pytest.approx([score for _, score in expected])
    assert len(captions) / 2 <= len(kept) < len(captions) * 0.52

    page = (out / "report" / "index.html").read_text(encoding="utf-8")
    assert 'id="balance"' not in page
    assert "Pruning by word frequency" in page
