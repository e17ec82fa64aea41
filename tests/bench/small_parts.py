"""What a part costs that has no work in it: twenty captions through prepare, dedup and balance.

The processor seconds of a run of many parts less those of a run of fewer, by the difference of parts,
in one process; beside it the same for what the system takes to put as many small files onto the disk.
"""

import json
import os
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from curate import files
from tests.bench.pools import captions, words
from tests.users.runs import well

FEW, MANY, ROWS = 100, 400, 20
FILES_A_PART = 10
"""That are written: three records, three tables of kept rows, three of dropped ones, and verdicts."""


def main() -> None:
    """One line."""
    _seconds(FEW)  # what is loaded and compiled once
    few, many = _seconds(FEW), _seconds(MANY)
    part = (many - few) / (MANY - FEW) * 1000
    written = _written(MANY * FILES_A_PART) / MANY * 1000
    print(
        f"  {part:.1f} ms of processor a part of {ROWS} captions, {written:.1f} ms of them to write"
        f" {FILES_A_PART} small files; goal 15 ms"
    )


def _seconds(parts: int) -> float:
    """Processor seconds of `curate run` over so many parts, with one worker."""
    vocabulary = words(2000)
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        pool = {
            "url": [f"http://h{i % 97}.example/{i}.jpg" for i in range(parts * ROWS)],
            "caption": captions(parts * ROWS, vocabulary=vocabulary),
        }
        (folder / "pool").mkdir()
        for k in range(0, parts, 100):  # a footer of more row groups would take longer than a part
            some = pa.table(pool).slice(k * ROWS, 100 * ROWS)
            pq.write_table(some, folder / f"pool/{k:05d}.parquet", row_group_size=ROWS)
        (folder / "list.txt").write_text("\n".join(vocabulary[:500]) + "\n")
        settings = {
            "input": {"paths": str(folder / "pool")}, "part_rows": ROWS,
            "download": {"enabled": False}, "balance": {"t": 100},
            "prepare": {"metadata": {"en": str(folder / "list.txt")}},
        }  # fmt: skip
        (folder / "my.yaml").write_text(json.dumps(settings))
        started = _now()
        well("run", str(folder / "my.yaml"), "--out", str(folder / "run"), "--workers", "1")
        return _now() - started


def _written(n: int) -> float:
    """Processor seconds to write `n` files of a kilobyte as those of a run are."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.process_time()
        for k in range(n):
            files.write_bytes(f"{folder}/{k}", bytes(1000))
        return time.process_time() - started


def _now() -> float:
    """Of this process and of those that it started and that ended."""
    return sum(os.times()[:4])
