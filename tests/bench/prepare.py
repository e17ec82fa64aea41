"""Prepare and balance with two workers against fastText alone in two processes, on the same rows.

ROWS (default 1,000,000) sets the size; the memory of a tenth of it is measured beside. Peak memory is
that of all processes together, sampled.
"""

import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

from tests.bench import pools

ROWS = int(os.environ.get("ROWS", "1000000"))
WORKERS = 2
_ALONE = """
import sys, fasttext, pyarrow.parquet as pq
from curate import files
model = fasttext.load_model(str(files.shipped("curate/data/lid.176.ftz")))
source = pq.ParquetFile(sys.argv[1])
for group in range(int(sys.argv[2]), source.num_row_groups, int(sys.argv[3])):
    model.predict(source.read_row_group(group, columns=["caption"])["caption"].to_pylist())
"""


def memory_of(pid: int) -> int:
    """Resident bytes of a process and all below it, shared pages counted once a process."""
    try:
        process = psutil.Process(pid)
        return sum(one.memory_info().rss for one in [process, *process.children(recursive=True)])
    except psutil.NoSuchProcess:
        return 0


def timed(*commands: list[str]) -> tuple[float, int]:
    """Seconds until all the commands, run at once, have ended, and their peak memory, bytes."""
    start = time.perf_counter()
    running = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for command in commands]
    peak = 0
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.2):
            peak = max(peak, sum(memory_of(process.pid) for process in running))

    watcher = threading.Thread(target=watch)
    watcher.start()
    codes = [process.wait() for process in running]
    seconds = time.perf_counter() - start
    done.set()
    watcher.join()
    if any(codes):
        raise SystemExit(f"exit codes {codes}")
    return seconds, peak


def curated(pool: Path, out: Path) -> tuple[float, int]:
    """Seconds and peak memory of a run that prepares and balances the pool."""
    config = out.with_suffix(".yaml")
    config.write_text(
        f"input: {{paths: {pool}}}\n"
        "prepare: {metadata: {en: shipped://metadata/en-small.txt}}\n"
        "download: {enabled: false}\ndedup: {enabled: false}\nbalance: {t: 500}\n"
        f"beam: {{workers: {WORKERS}}}\n"
    )
    command = [sys.executable, "-m", "curate.cli", "run", str(config), "--out", str(out)]
    return timed(command)


def main() -> None:
    """Seconds, rows a second, their ratio, and peak memory at two sizes."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        peaks = {}
        vocabulary = pools.words(20_000)
        for rows in (ROWS // 10, ROWS):
            pool = root / f"pool-{rows}.parquet"
            pools.write_pool(pool, rows, vocabulary=vocabulary)
            seconds, peaks[rows] = curated(pool, root / f"run-{rows}")
        alone, _ = timed(
            *[
                [sys.executable, "-c", _ALONE, str(pool), str(i), str(WORKERS)]
                for i in range(WORKERS)
            ]
        )
    print(f"  {ROWS:,} rows, {WORKERS} workers")
    print(
        f"  prepare + balance  {seconds:8.1f} s  {ROWS / seconds:10,.0f} rows/s, from start to report"
    )
    print(
        f"  fastText alone     {alone:8.1f} s  {ROWS / alone:10,.0f} rows/s in {WORKERS} processes"
    )
    print(f"  ratio              {seconds / alone:8.2f}    (at most 1.3)")
    for rows, peak in peaks.items():
        print(f"  peak memory, {rows:>12,} rows  {peak / 1e9:6.2f} GB  (at most 2)")
