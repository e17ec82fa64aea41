"""How busy the cores are in a run, stage by stage, and what two workers are worth against one.

A share is the processor seconds of all processes of the run by the seconds of its workers' cores; the
stages' own work is that of the records. It wants a machine that does nothing else.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.bench import pools

PAIRS = int(os.environ.get("CURATE_BENCH_PAIRS", "500000"))
_APART = 0.2  # seconds between two looks
_TICK = os.sysconf("SC_CLK_TCK")
Look = tuple[float, dict[int, float]]
"""The time, and the processor seconds of each process so far."""


def main() -> None:
    """A line for each number of workers, and under it one for each stage."""
    with tempfile.TemporaryDirectory() as name:
        path = _configured(Path(name))
        walls = []
        for workers in (1, 2):
            run = Path(name) / f"run{workers}"
            command = ["run", str(path), "--out", str(run), "--workers", str(workers)]
            looks = _watched([sys.executable, "-m", "curate.cli", *command])
            wall = looks[-1][0] - looks[0][0]
            walls.append(wall)
            own = sum(one["seconds"] for one in _document(run / "run.json")["stages"].values())
            print(
                f"  {workers} workers: {wall:.1f} s, {_used(looks):.1f} of processor, the stages' own"
                f" {own:.1f} ({own / wall / workers:.0%} of the workers' time)"
            )
            for stage, begin, end in _spans(run, looks):
                inside = [look for look in looks if begin <= look[0] <= end]
                if len(inside) > 1:
                    share = _used(inside) / (inside[-1][0] - inside[0][0]) / workers
                    print(f"    {stage:8} {end - begin:5.1f} s, {share:4.0%} busy")
        print(f"  two workers are {walls[0] / walls[1]:.2f} times as fast as one; goal 1.80")


def _configured(folder: Path) -> Path:
    vocabulary = pools.words(20_000)
    pools.write_pool(folder / "pool.parquet", PAIRS, vocabulary=vocabulary)
    (folder / "list.txt").write_text("\n".join(pools.entries(20_000, vocabulary=vocabulary)) + "\n")
    settings = {
        "input": {"paths": str(folder / "pool.parquet")}, "download": {"enabled": False},
        "prepare": {"metadata": {"en": str(folder / "list.txt")}}, "dedup": {"enabled": False},
        "balance": {"t": 200},
    }  # fmt: skip
    path = folder / "my.yaml"
    path.write_text(json.dumps(settings))
    return path


def _watched(command: list[str]) -> list[Look]:
    """Run a command to its end, and look at its processes meanwhile."""
    looks = []
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            looks.append((time.time(), _seconds(process.pid)))
            time.sleep(_APART)
    if process.returncode:
        sys.exit(f"{' '.join(command)} ended with {process.returncode}")
    return looks


def _seconds(root: int) -> dict[int, float]:
    """Processor seconds of a process and of all below it."""
    used: dict[int, float] = {}
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # it has ended
                continue
            parents[int(entry.name)] = int(fields[1])
            used[int(entry.name)] = (int(fields[11]) + int(fields[12])) / _TICK
    below = {root}
    while more := {pid for pid, parent in parents.items() if parent in below} - below:
        below |= more
    return {pid: used[pid] for pid in below if pid in used}


def _used(looks: list[Look]) -> float:
    """Processor seconds between the first look and the last."""
    return sum(
        now - before.get(pid, 0.0)
        for (_, before), (_, after) in pairwise(looks)
        for pid, now in after.items()
    )


def _spans(run: Path, looks: list[Look]) -> Iterator[tuple[str, float, float]]:
    """What goes before the parts, each stage from its first part to its last, and what comes after."""
    last = looks[0][0]
    for stage in ("prepare", "balance"):
        records = [_document(path) for path in (run / "records" / stage).glob("part-*.json")]
        first = min(one["ended"] - one["seconds"] for one in records)
        yield f"before {stage}" if stage != "prepare" else "start", last, first
        last = max(one["ended"] for one in records)
        yield stage, first, last
    yield "the end", last, looks[-1][0]


def _document(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found
