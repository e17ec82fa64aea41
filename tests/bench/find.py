"""The index of `curate find`: how quickly it is built, what it finds of an exact search, and how soon.

Vectors are the shipped model's embeddings of real captions and entries, turned into the 512 dimensions
of a ViT-B-32, each several times with noise of a length of NOISE: so each has near neighbours that an
index may miss. Queries are texts that are not among them. The environment's PAIRS is their number.
"""

import gzip
import json
import os
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from threadpoolctl import threadpool_limits

from curate import files
from curate.config import Scorer
from curate.files import shipped
from curate.finding import index
from curate.finding.stored import Embeddings
from curate.ops.scores.clip import ClipModel
from curate.ops.scores.vectors import unit
from curate.rundir.directory import SCORED, PartRecord, Run, part_name

PAIRS = int(os.environ.get("PAIRS", str(1 << 20)))
WIDTH = 512
NOISE = 0.35
PART = 10_000
QUERIES = 200


def texts() -> list[str]:
    """Entries and captions, each once."""
    found = shipped("metadata/en-small.txt").read_text().splitlines()
    with gzip.open(Path(__file__).parents[1] / "data/multilingual.jsonl.gz", "rt") as lines:
        found += [json.loads(line)["caption"] for line in lines]
    pool = shipped("pipelines/demo/pool/pool.jsonl").read_text().splitlines()
    found += [json.loads(line)["caption"] or "" for line in pool]
    return list(dict.fromkeys(found))


def embedded() -> Any:
    """Their embeddings, (n, WIDTH)."""
    scorer = shipped("pipelines/demo/scorer")
    model = ClipModel(
        str(scorer / "curate-mini.json"), str(scorer / "curate-mini.safetensors"), batch_size=256
    ).on("cpu")
    model.drop_images()
    all_ = texts()
    found = [
        model(model.collate([], all_[start : start + 256])).text
        for start in range(0, len(all_), 256)
    ]
    rows = np.concatenate(found)
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.standard_normal((WIDTH, rows.shape[1])))[0].astype(np.float32)
    return unit(rows[rng.permutation(len(rows))] @ turn.T)


def lay(folder: str, rows: Any) -> Embeddings:
    """A run that stores PAIRS of them, in parts."""
    run, rng = Run(folder), np.random.default_rng(1)
    for part, start in enumerate(range(0, PAIRS, PART)):
        n = min(PART, PAIRS - start)
        noise = rng.standard_normal((n, WIDTH)).astype(np.float32) / np.sqrt(WIDTH)
        stored = unit(rows[rng.integers(len(rows), size=n)] + NOISE * noise).astype(np.float16)
        name = part_name(SCORED, part, "npz")
        held = files.write_arrays(run.path(name), uid=np.zeros(n, "S32"), b32_img=stored)
        record = PartRecord(
            digest="d", own="o", rows=n, kept=n, dropped={}, dead={}, seconds=0.0, figures={},
            wrote={name: held},
        )  # fmt: skip
        run.write_record(SCORED, part, record)
    return Embeddings(run, SCORED, Scorer(model="m", embeddings=True), "clip_score")


def exact(embeddings: Embeddings, queries: Any, k: int) -> Iterator[set[tuple[int, int]]]:
    """Part and row of the nearest of each query."""
    best: list[list[tuple[float, int, int]]] = [[] for _ in queries]
    for part in embeddings.parts:
        cosines = queries @ unit(embeddings.all_of(part)).T
        for held, values in zip(best, cosines, strict=True):
            some = np.argpartition(-values, k)[:k]
            held += [(-float(values[row]), part, int(row)) for row in some]
    for held in best:
        yield {(part, row) for _, part, row in sorted(held)[:k]}


def main() -> None:
    """Build, compare, and look at the time of a query."""
    rows = embedded()
    print(f"  {len(rows):,} texts")
    faiss.omp_set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(1):
        embeddings = lay(folder, rows[QUERIES:])
        wall, own = time.perf_counter(), time.process_time()
        for group in index.missing(embeddings):
            index.build(embeddings, group)
        wall, own = time.perf_counter() - wall, time.process_time() - own
        print(f"  built: {PAIRS / own:,.0f} vectors/s of processor, {PAIRS / wall:,.0f} of time")
        groups = index.groups(embeddings)
        size = sum(files.size(embeddings.run.path(SCORED, group.name)) for group in groups)
        print(f"  {len(groups)} files, {size / PAIRS:.0f} bytes a vector")
        print(f"  peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")
        queries = rows[:QUERIES]
        started = time.perf_counter()
        truth = list(exact(embeddings, queries[:1], 10))
        plain = time.perf_counter() - started
        truth = list(exact(embeddings, queries, 10))
        for k, name in ((10, "the index alone"), (40, "as `find -k 20` asks")):
            hits, spent = 0, []
            for query, wanted in zip(queries, truth, strict=True):
                started = time.perf_counter()
                near = [index.nearest(embeddings, group, query, k=k) for group in groups]
                spent.append(time.perf_counter() - started)
                pairs = {
                    x for some in near for x in zip(*(of.tolist() for of in some), strict=True)
                }
                hits += len(pairs & wanted)
            median = float(np.median(spent))
            print(
                f"  {name}: recall@10 {hits / 10 / QUERIES:.4f}, {1000 * median:.1f} ms a query,"
                f" 1 to {plain / median:,.0f} of an exact search over the files"
            )


if __name__ == "__main__":
    main()
