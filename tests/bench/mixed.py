"""Mixed shards against those in the order of the pool: time, and neighbours from one host.

The demo's pictures, repeated, in a pool whose rows are sorted by host, as a crawl has them. The
environment's PAIRS is its size, ROWS that of parts and of shards, WORKERS the processes.
"""

import hashlib
import os
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import apache_beam as beam
import numpy as np
from apache_beam.options.pipeline_options import PipelineOptions

from curate import files, schema
from curate.config import Shards as Settings
from curate.rundir.directory import Part, Run
from curate.rundir.shards import shard_rows
from curate.schema import Stage
from curate.stages.shards.shards import Shards
from curate.stages.shards.write import ShardStep
from tests.stages.rundir import lay, lay_images, uid_of

PAIRS = int(os.environ.get("PAIRS", "100000"))
WORKERS = int(os.environ.get("WORKERS", "1"))
ROWS = int(os.environ.get("ROWS", "10000"))
HOSTS = 200
COLUMNS = schema.after(Stage.DEDUP, enabled=[Stage.PREPARE, Stage.DOWNLOAD, Stage.DEDUP])
IMAGES = [x.read_bytes() for x in sorted(files.shipped("pipelines/demo/pool/images").rglob("*.*"))]


def lay_pool(run: Run) -> list[Part]:
    """Parts of one run; hosts hold more and fewer pairs, as those of the web do."""
    shares = 1 / np.arange(1, HOSTS + 1)
    hosts = np.sort(np.random.default_rng(0).choice(HOSTS, PAIRS, p=shares / shares.sum()))
    parts = []
    for index, start in enumerate(range(0, PAIRS, ROWS)):
        numbers = range(start, min(start + ROWS, PAIRS))
        images = {uid_of(n): IMAGES[n % len(IMAGES)] for n in numbers}
        places = lay_images(run, index, images)
        parts.append([
            {"uid": uid, "url": f"http://host-{hosts[n]}.example/pictures/{n}.jpg",
             "caption": f"picture number {n} of the pool, as it was found on a page",
             "language": "en", "matches": [1, n % 20_000], "width": 256, "height": 256,
             "sha256": hashlib.sha256(image).hexdigest(), "image_bytes": len(image),
             "stored_sha256": hashlib.sha256(image).hexdigest(),
             "tar_offset": places[uid][0], "tar_size": places[uid][1]}
            for n, (uid, image) in zip(numbers, images.items(), strict=True)
        ])  # fmt: skip
    return lay(run, "dedup", parts, COLUMNS)


def write(run: Run, parts: list[Part], order: str) -> tuple[float, float]:
    """Seconds that the stage takes, and of processor of this process, which one worker shares."""
    files.remove(run.path("shards"))
    settings = Settings.model_validate({"order": order, "rows": ROWS})
    step = ShardStep(run=run, reads="dedup", digest=order, settings=settings, encode_format="jpg")
    flags = ["--runner=FnApiRunner"]
    if WORKERS > 1:
        flags += ["--direct_running_mode=multi_processing", f"--direct_num_workers={WORKERS}"]
    started, before = time.perf_counter(), time.process_time()
    with beam.Pipeline(options=PipelineOptions(flags)) as pipeline:
        pipeline | beam.Create(parts) | Shards(step)
    return time.perf_counter() - started, time.process_time() - before


def from_one_host(run: Run) -> tuple[float, float]:
    """The share of pairs of one host with the pair before them, and that which chance gives."""
    listed = files.read_document(run.path("shards", "manifest.json"))["shards"]
    tables = [shard_rows(run, one["name"])["url"].to_pylist() for one in listed]
    hosts = [[url.split("/")[2] for url in urls] for urls in tables]
    same = [a == b for urls in hosts for a, b in pairwise(urls)]
    counts = np.unique([host for urls in hosts for host in urls], return_counts=True)[1]
    n = counts.sum()
    return float(np.mean(same)), float((counts * (counts - 1)).sum() / (n * (n - 1)))


def main() -> None:
    """By turns, the first of each left out."""
    with tempfile.TemporaryDirectory() as folder:
        run = Run(str(Path(folder) / "run"))
        parts = lay_pool(run)
        took: dict[str, list[tuple[float, float]]] = {"pool": [], "mixed": []}
        for _ in range(3):
            for order, seconds in took.items():
                seconds.append(write(run, parts, order))
                share, chance = from_one_host(run)
                told = f"{order}: {seconds[-1][0]:.1f} s, {seconds[-1][1]:.1f} of processor"
                print(f"{told}; neighbours from one host {share:.2%}, by chance {chance:.2%}")
        (pool, pool_cpu), (mixed, mixed_cpu) = (
            map(min, zip(*seconds[1:], strict=True)) for seconds in took.values()
        )
    print(
        f"{PAIRS:,} pairs, {WORKERS} workers: mixed takes {mixed / pool:.2f} times as long,"
        f" {mixed_cpu / pool_cpu:.2f} times the processor time"
    )


if __name__ == "__main__":
    main()
