"""A run predicted by one over a tenth of its pool: predicted over measured, in all and by stage.

Captions alone (made up), and pictures from a server on this machine with the demo's model. PAIRS sets
the captions of the larger pool (300,000), COPIES how often the demo's pool goes into it (10). Seconds
are of one machine, on which nothing else may work meanwhile.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

from curate.clock import Took
from curate.commands.demo import serve
from curate.files import shipped
from curate.finished.likeness import share_balanced
from curate.finished.measured import Sample
from curate.finished.predict import Asked, predict
from curate.rundir.directory import Run
from tests.bench import pools

PAIRS = int(os.environ.get("PAIRS", "300000"))
COPIES = int(os.environ.get("COPIES", "10"))
WORKERS = int(os.environ.get("WORKERS", "1"))


def captions(folder: Path, pairs: int) -> dict[str, Any]:
    """Prepare, dedup and balance of made-up captions."""
    pool = folder / f"{pairs}.parquet"
    pools.write_pool(pool, pairs, vocabulary=pools.words(20_000))
    return {
        "input": {"paths": str(pool)}, "prepare": {"metadata": {"en": "shipped://metadata/en-small.txt"}},
        "part_rows": 2000, "download": {"enabled": False}, "dedup": {"policy": ["url", "caption"]},
        "balance": {"t": 500},
    }  # fmt: skip


def pictures(folder: Path, copies: int, addresses: dict[str, str]) -> dict[str, Any]:
    """The demo, its pool several times: each time other pictures have a caption, and other URLs."""
    demo = [
        json.loads(x) for x in shipped("pipelines/demo/pool/pool.jsonl").read_text().splitlines()
    ]
    pool = folder / f"{copies}.jsonl"
    with pool.open("w") as file:
        for k in range(copies):
            for i, row in enumerate(demo):
                caption = demo[(i + 37 * k) % len(demo)]["caption"]
                url = f"{row['url']}?copy={k}" if row["url"] and k else row["url"]
                file.write(json.dumps({**row, "caption": caption, "url": url}) + "\n")
    config: dict[str, Any] = yaml.safe_load(shipped("pipelines/demo.yaml").read_text())
    config |= {"input": {"paths": str(pool)}, "part_rows": 50, "dedup": {}}
    config["download"]["connect_to"] = addresses
    return config


def run(folder: Path, name: str, config: dict[str, Any]) -> Sample:
    """What a run measures, in a process of its own."""
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({**config, "out": str(folder / name)}))
    command = [sys.executable, "-m", "curate.cli", "run", str(path), "--workers", str(WORKERS)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return Sample.of(Run.at(str(folder / name)))


def compare(folder: Path, name: str, small: dict[str, Any], large: dict[str, Any]) -> None:
    """Print predicted and measured seconds and bytes, and their ratios."""
    sample, whole = run(folder, f"{name}-sample", small), run(folder, name, large)
    asked = Asked(whole.rows, large["part_rows"], whole.config.shards.rows, WORKERS)
    given, made = (Run.at(str(folder / x)) for x in (f"{name}-sample", name))
    share = share_balanced(whole.config, given, sample, rows=whole.rows)
    found, real = predict(sample, asked, balanced=share), predict(whole, asked)
    took: Took = made.state()["took"]
    seconds = took["ended"] - took["began"]
    print(f"  {name}: {sample.rows:,} pairs for {whole.rows:,}, workers: {WORKERS}")
    print("            time: predicted  measured  ratio   work   kept  bytes")
    for one, other in zip((*found.rows, found.whole), (*real.rows, real.whole), strict=True):
        wall = seconds if one.name == "all" else other.wall
        ratios = [
            f"{x / y:.2f}" if x and y else ""
            for x, y in ((one.work, other.work), (one.kept, other.kept), (one.bytes, other.bytes))
        ]
        told = "".join(f"{x:>7}" for x in (f"{one.wall / wall:.2f}", *ratios))
        print(f"  {one.name:9} {one.wall:13.1f} s {wall:7.1f} s{told}")
    print(f"  time in all: ratio {found.whole.wall / seconds:.2f} (from 0.75 to 1.25)")


def main() -> None:
    """Captions, then pictures."""
    with tempfile.TemporaryDirectory() as name, serve() as addresses:
        folder = Path(name)
        compare(folder, "captions", captions(folder, PAIRS // 10), captions(folder, PAIRS))
        compare(
            folder, "pictures", pictures(folder, COPIES // 10, addresses),
            pictures(folder, COPIES, addresses),
        )  # fmt: skip
