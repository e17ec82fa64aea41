"""Semantic duplicates: the kernel against the paper's whole matrix, and the stage as a pool grows.

Random unit vectors with a fifth of planted near ones (cosine 0.97), which is harder on k-means than
real images are: they have no clusters of their own. The environment's PAIRS is the size of the larger
pool; a quarter of it is the smaller one.
"""

import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from curate import files, schema
from curate.ops.duplicates.semantic import Cluster
from curate.ops.scores.centroids import find_centroids
from curate.ops.scores.vectors import nearest, unit
from curate.rundir.directory import Part, Run
from curate.schema import Stage
from curate.stages.meanings.semantic import FindDuplicates, SemanticStep
from curate.stages.select import SelectScore
from tests.stages.rundir import drive, lay, uid_of

PAIRS = int(os.environ.get("PAIRS", "100000"))
WIDTH = 256
EPSILON = 0.05
CLUSTER = 8_800
PART = 10_000
ENABLED = [Stage.PREPARE, Stage.DEDUP, Stage.SCORE]


def planted(n: int, *, seed: int = 0) -> tuple[Any, Any]:
    """Vectors (n, WIDTH), and of each the row that it is a near copy of, or -1."""
    random = np.random.default_rng(seed)
    vectors = unit(random.normal(size=(n, WIDTH)).astype(np.float32))
    copies = np.arange(4 * n // 5, n)
    source = np.full(n, -1)
    source[copies] = random.integers(4 * n // 5, size=len(copies))
    noise = unit(random.normal(size=(len(copies), WIDTH)).astype(np.float32))
    vectors[copies] = 0.97 * vectors[source[copies]] + np.sqrt(1 - 0.97**2) * noise
    return unit(vectors).astype(np.float16), source


def whole_matrix(vectors: Any) -> Any:
    """Which rows the paper's code drops: the largest value over the diagonal, column by column."""
    rows = unit(vectors)
    with threadpool_limits(1):
        return np.triu(rows @ rows.T, k=1).max(axis=0) > 1 - EPSILON


def kernel() -> None:
    """One cluster of the usual size."""
    vectors, _ = planted(CLUSTER)
    started = time.perf_counter()
    theirs = whole_matrix(vectors)
    middle = time.perf_counter()
    survivors, _ = Cluster(WIDTH, epsilon=EPSILON, against="earlier").add(vectors)
    ended = time.perf_counter()
    same = np.array_equal(theirs, survivors != np.arange(CLUSTER))
    print(
        f"  {CLUSTER:,} rows of {WIDTH}: {CLUSTER / (ended - middle):,.0f} rows/s, the whole matrix"
        f" {CLUSTER / (middle - started):,.0f}: {(middle - started) / (ended - middle):.1f} times;"
        f" {'the same rows' if same else 'OTHER ROWS'}"
    )


def recall() -> None:
    """Planted pairs that fall into one cluster, by the number of clusters."""
    vectors, source = planted(4 * CLUSTER)
    copies = np.flatnonzero(source >= 0)
    for k in (4, 16, 64):
        sample = unit(vectors[: min(256 * k, len(vectors))])
        at, _ = nearest(unit(vectors), unit(find_centroids(sample, clusters=k, seed=1)))
        share = np.mean(at[copies] == at[source[copies]])
        print(f"  {k:3} clusters of random vectors: {share:.3f} of the planted pairs share one")


def lay_pool(run: Run, n: int) -> list[Part]:
    """A scored pool of `n` pairs."""
    vectors, _ = planted(n)
    rows = [[{"uid": uid_of(i), "clip_score": 0.5} for i in range(start, min(start + PART, n))]
            for start in range(0, n, PART)]  # fmt: skip
    for index in range(len(rows)):
        here = vectors[index * PART : (index + 1) * PART]
        with files.atomic_write(run.part("score/annotated", index, "npz")) as file:
            np.savez(file, uid=np.array([row["uid"] for row in rows[index]], "S32"), b32_img=here)
    lay(run, "score/annotated", rows, schema.SCORED)
    return lay(run, "dedup", rows, schema.after(Stage.DEDUP, enabled=ENABLED))


def stage(n: int) -> tuple[float, float, int]:
    """Seconds, MB at the peak, and duplicates, of a pool of `n` pairs in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        run = Run(f"{folder}/run")
        parts = lay_pool(run, n)
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as own:
            return own.submit(_stage, run, parts).result()


def _stage(run: Run, parts: list[Part]) -> tuple[float, float, int]:
    common: dict[str, Any] = {"run": run, "reads": "dedup", "own": "o"}
    select = SelectScore(**common, digest="s", rules=(), columns=schema.SCORE, semantic=True)
    step = SemanticStep(
        **common, digest="d", select=select, epsilon=EPSILON, against="kept", clusters=None,
        sample=4_000_000, seed=0,
    )  # fmt: skip
    started = time.perf_counter()
    drive(run, FindDuplicates(step), parts)
    seconds = time.perf_counter() - started
    status = Path("/proc/self/status").read_text()
    peak = int(status.partition("VmHWM:")[2].split()[0]) / 1000
    found = files.read_json(run.path(step.folder, schema.GROUPS))
    return seconds, peak, sum((size - 1) * groups for size, groups in found["sizes"])


def main() -> None:
    """Print what came of it."""
    kernel()
    recall()
    small, large = (stage(n) for n in (PAIRS // 4, PAIRS))
    for n, (seconds, peak, dropped) in ((PAIRS // 4, small), (PAIRS, large)):
        print(f"  {n:,} pairs: {seconds:.1f} s, {peak:,.0f} MB at the peak, {dropped:,} duplicates")
    print(
        f"  4 times the pairs: {large[0] / small[0]:.1f} times the seconds,"
        f" {large[1] / small[1]:.2f} times the memory"
    )
