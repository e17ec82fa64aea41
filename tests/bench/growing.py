"""100,000 captions that come in two, three and ten pieces, one after another, against one run over all.

A sixth of them are near copies of others, or have the URL of another. Told are the processor seconds of
each addition, and their ratio to those of one run over all; the kept uids have to be the same, where
that one run prefers the pairs of earlier pieces. Nothing is fetched. Every command is a process.

`CURATE_BENCH_PIECES` are other numbers of pieces, as in 2,3.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate.files import shipped
from tests.bench.pools import captions, words

ROWS = 100_000
PIECES = tuple(int(n) for n in os.environ.get("CURATE_BENCH_PIECES", "2,3,10").split(","))


def pool() -> pa.Table:
    """All pairs, in no order."""
    random = np.random.RandomState(4)
    urls = np.array([f"https://host{i % 4999}.example/{i}.jpg" for i in range(ROWS)], object)
    texts = captions(ROWS, vocabulary=words(20_000)).to_numpy(zero_copy_only=False)
    again = random.randint(0, ROWS, (2, ROWS // 12))
    urls[again[0]] = urls[again[1]]
    again = random.randint(0, ROWS, (2, ROWS // 12))
    texts[again[0]] = [f"{text} {k % 3}" for k, text in enumerate(texts[again[1]])]
    return pa.table({"url": urls[random.permutation(ROWS)], "caption": texts})


def ran(folder: Path, settings: dict[str, Any]) -> float:
    """Processor seconds of `curate run` over the pool in a folder."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    (folder / "c.yaml").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "curate.cli", "run", str(folder / "c.yaml")]
    command += ["--out", str(folder / "run")]
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def kept(run: Path) -> list[str]:
    """The uids of the balanced set."""
    return sorted(
        uid
        for path in run.glob("balance/*.parquet")
        for uid in pq.read_table(path)["uid"].to_pylist()
    )


def main() -> None:
    table = pool()
    for n in PIECES:
        with tempfile.TemporaryDirectory() as name:
            grown, whole = Path(name) / "grown", Path(name) / "whole"
            seconds = []
            settings: dict[str, Any] = {
                "prepare": {"metadata": {"en": str(shipped("metadata/en-small.txt"))}},
                "download": {"enabled": False}, "dedup": {"policy": ["url", "caption"]},
                "balance": {"t": 200},
            }  # fmt: skip
            for folder in (grown, whole):
                (folder / "pool").mkdir(parents=True)
            ends = [len(table) * k // n for k in range(n + 1)]
            for k in range(n):
                piece = table.slice(ends[k], ends[k + 1] - ends[k])
                pq.write_table(piece, grown / f"pool/{n - k:02d}.parquet")
                piece = piece.append_column("wave", pa.array([k] * len(piece)))
                pq.write_table(piece, whole / f"pool/{k:02d}.parquet")
                at: dict[str, Any] = {"paths": str(grown / "pool")}
                seconds.append(ran(grown, settings | {"input": at}))
            at = {"paths": str(whole / "pool"), "columns": {"keep": ["wave"]}}
            prefer = {"dedup": {**settings["dedup"], "prefer": ["-wave"]}}
            once = ran(whole, settings | {"input": at} | prefer)
            same = kept(grown / "run") == kept(whole / "run")
        told = " ".join(f"{one:.1f}" for one in seconds)
        print(f"{n} pieces: {told} s; all at once {once:.1f} s; the last is"
              f" {seconds[-1] / once:.2f} of that; same pairs: {same}")  # fmt: skip
        assert same


if __name__ == "__main__":
    main()
