"""The README's line for training with open_clip, in the environment that the project makes."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.e2e.conftest import Command, made_once

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")

LOADER = """
import json, sys
import open_clip
from open_clip_train.data import get_wds_dataset
from open_clip_train.params import parse_args
urls, rank = sys.argv[1], int(sys.argv[2])
options = parse_args(["--train-data", urls, "--dataset-type", "webdataset", "--batch-size", "4",
                      "--workers", "2", "--model", "ViT-B-32"])
options.distributed, options.rank, options.world_size = True, rank, 2
tokenizer = open_clip.get_tokenizer("ViT-B-32")
preprocess = open_clip.image_transform(32, is_train=True)
loader = get_wds_dataset(options, preprocess, is_train=True, tokenizer=tokenizer).dataloader
print(json.dumps([row for _, tokens in loader for row in tokens.tolist()]))
"""


@pytest.fixture(scope="module")
def shards(shared: Path, curate: Command, some_pairs: tuple[str, ...]) -> Path:
    """The shards of a run with as many of them as two ranks of two workers want."""
    run = made_once(shared, "training", curate, *some_pairs, "--set", "shards.rows=8")
    assert len(list((run / "shards").glob("*.tar"))) >= 4
    return run / "shards"


def braces(shards: Path) -> str:
    names = sorted(path.stem for path in shards.glob("*.tar"))
    return f"{shards}/{{{names[0]}..{names[-1]}}}.tar"


def test_the_line_as_printed_trains_a_model(shards: Path, tmp_path: Path) -> None:
    """Its shards are those of the test; a smaller model, and few pairs: it is the loader's test."""
    block = next(x for x in README.split("```") if "open_clip_train.main" in x)
    line = block.removeprefix("bash\n").strip().replace("\\\n", " ")
    python, *words = shlex.split(line)
    assert python == "python"
    words = [braces(shards) if word.endswith(".tar") else word for word in words]
    less = ["--model", "ViT-S-32-alt", "--batch-size", "4", "--train-num-samples", "16",
            "--epochs", "1", "--precision", "fp32", "--logs", str(tmp_path),
            "--log-every-n-steps", "1"]  # fmt: skip
    done = subprocess.run(
        [sys.executable, *words, *less], capture_output=True, text=True, timeout=240, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert re.search(r"Train Epoch: 0 \[16/16 \(100%\)\]", done.stderr), done.stderr[-3000:]


def test_two_ranks_of_two_workers_share_the_pairs(shards: Path) -> None:
    """Each rank gets pairs of the set alone; what an epoch leaves out is the end of uneven batches."""
    import open_clip

    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", LOADER, braces(shards), str(rank)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "RANK": str(rank), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"},
        )
        for rank in range(2)
    ]  # fmt: skip
    seen: Counter[tuple[int, ...]] = Counter()
    for rank in ranks:
        printed, errors = rank.communicate(timeout=240)
        assert rank.returncode == 0, errors[-3000:]
        seen.update(tuple(row) for row in json.loads(printed.splitlines()[-1]))
    tables = [pq.read_table(path) for path in sorted(shards.glob("*.parquet"))]
    captions = [caption for table in tables for caption in table["caption"].to_pylist()]
    tokens = open_clip.get_tokenizer("ViT-B-32")(captions).tolist()
    wanted = Counter(tuple(row) for row in tokens)
    assert set(seen) <= set(wanted)
    assert len(set(seen)) >= 0.5 * len(wanted)
