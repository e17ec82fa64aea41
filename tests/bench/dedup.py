"""Near-duplicate captions of a pool of growing size, with two workers: time and memory.

Every fifth pair is a near copy of another part's. The sizes are those of the environment's
DEDUP_PAIRS, 200,000 and 1,000,000 by default; `DEDUP_PAIRS=1000000,10000000` takes about ten minutes.
"""

import multiprocessing
import os
import resource
import tempfile
import time
from functools import partial
from pathlib import Path

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.options.pipeline_options import PipelineOptions

from curate import files, schema
from curate.ops.duplicates.graph import DedupRule
from curate.ops.duplicates.jaccard import jaccard, normalise_captions
from curate.rundir.directory import Part, PartRecord, Run
from curate.schema import Stage
from curate.stages.dedup.dedup import Dedup, DedupStep
from curate.stages.dedup.exchange import Spread
from tests.bench import pools

PART_ROWS = 10_000
COPIES = PART_ROWS // 5
COLUMNS = schema.after(Stage.PREPARE, enabled=[Stage.PREPARE])


def originals(part: int, *, vocabulary: list[str]) -> list[str]:
    """The captions of a part that are no copies."""
    found: list[str] = pools.captions(
        PART_ROWS - COPIES, vocabulary=vocabulary, seed=part
    ).to_pylist()
    return found


def near_copy(text: str, draw: np.random.RandomState) -> str:
    """The text with another letter, a further mark, or in capitals."""
    how, at = draw.randint(3), draw.randint(len(text))
    return (text[:at] + "x" + text[at + 1 :], text + "!", text.upper())[how]


def lay_part(part: int, *, run: Run, parts: int, vocabulary: list[str]) -> Part:
    """A part as prepare leaves it; row PART_ROWS - COPIES + k copies row k of another."""
    source = originals((7 * part + 3) % parts, vocabulary=vocabulary)
    draw = np.random.RandomState(part)
    texts = originals(part, vocabulary=vocabulary)
    texts += [near_copy(text, draw) for text in source[:COPIES]]
    numbers = range(part * PART_ROWS, (part + 1) * PART_ROWS)
    columns = {
        "uid": pa.array([f"{number:032x}" for number in numbers]),
        "url": pa.array([f"https://host{n % 4999}.example/{n}.jpg" for n in numbers]),
        "caption": pa.array(texts),
        "caption_chars": pa.array([len(text) for text in texts], pa.int32()),
    }
    table = pa.table(
        [columns.get(x.name, pa.nulls(PART_ROWS, x.type)) for x in COLUMNS], schema=COLUMNS
    )
    files.write_table(run.part("prepare", part), table)
    run.write_record("prepare", part, PartRecord("d", "o", PART_ROWS, PART_ROWS))
    return Part(part, "pool", 0, PART_ROWS, kept=PART_ROWS)


def lay_pool(run: Run, pairs: int, *, vocabulary: list[str]) -> list[Part]:
    """All parts, by as many processes as there are processors."""
    parts = pairs // PART_ROWS
    lay = partial(lay_part, run=run, parts=parts, vocabulary=vocabulary)
    with multiprocessing.get_context("spawn").Pool() as pool:
        return pool.map(lay, range(parts), chunksize=25)


def deduplicate(run: Run, parts: list[Part], workers: int = 2) -> None:
    """Run the stage."""
    step = DedupStep(
        run=run, reads="prepare", digest="d", own="o", rule=DedupRule(policy=("caption",)),
        columns=schema.after(Stage.DEDUP, enabled=[Stage.PREPARE, Stage.DEDUP]),
    )  # fmt: skip
    flags = ["--runner=FnApiRunner", "--direct_running_mode=multi_processing",
             f"--direct_num_workers={workers}"]  # fmt: skip
    with beam.Pipeline(options=PipelineOptions(flags)) as pipeline:
        rows = sum(part.rows for part in parts)
        spread = Spread.over(rows, parts=len(parts), pictures=False)
        given = pipeline | beam.Create(parts) | beam.Reshuffle()
        _ = given | Dedup(step, spread=spread)


def memory_of(pid: int) -> int:
    """Bytes that a process and all its descendants hold, shared pages counted once."""
    total = 0
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total = int(line.split()[1]) * 1024
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            total += sum(memory_of(int(child)) for child in children.read_text().split())
    except (FileNotFoundError, ProcessLookupError):
        pass
    return total


def measured(run: Run, parts: list[Part]) -> tuple[float, float, int]:
    """Seconds, processor seconds and peak bytes of all processes together."""
    process = multiprocessing.get_context("spawn").Process(target=deduplicate, args=(run, parts))
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.monotonic()
    process.start()
    peak = 0
    while process.is_alive():
        peak = max(peak, memory_of(process.pid or 0))
        process.join(0.5)
    if process.exitcode:
        raise SystemExit("the pipeline failed")
    seconds = time.monotonic() - started
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
    return seconds, processor, peak


def found_copies(run: Run, parts: list[Part], *, vocabulary: list[str]) -> tuple[int, int]:
    """Of the copies in some parts that are 0.85 alike or more: how many share a cluster, and all."""
    found = total = 0
    for part in parts[:: max(1, len(parts) // 5)]:
        other = (7 * part.index + 3) % len(parts)
        clusters = []
        for index in (part.index, other):
            verdicts = files.read_table(run.part("dedup/clusters", index))
            named = {found["row"]: found["cluster"] for found in verdicts.to_pylist()}
            table = files.read_table(run.part("prepare", index), columns=["caption"])
            clusters.append((named, normalise_captions(table["caption"]).to_pylist()))
        (ours, texts), (theirs, sources) = clusters
        for row in range(COPIES):
            copy = PART_ROWS - COPIES + row
            if jaccard(texts[copy], sources[row]) >= 0.85:
                total += 1
                found += ours.get(copy, "none") == theirs.get(row)
    return found, total


def main() -> None:
    """Time, memory and what was found for each size, and how time grows."""
    sizes = [int(x) for x in os.environ.get("DEDUP_PAIRS", "200000,1000000").split(",")]
    vocabulary = pools.words(320_000)
    before = None
    for pairs in sizes:
        with tempfile.TemporaryDirectory() as folder:
            run = Run(folder)
            parts = lay_pool(run, pairs, vocabulary=vocabulary)
            seconds, processor, peak = measured(run, parts)
            document = files.read_json(run.path("dedup", "clusters.json"))
            found, total = found_copies(run, parts, vocabulary=vocabulary)
        print(f"  {pairs:10,} captions: {seconds:6.1f} s, {processor:6.1f} processor seconds,"
              f" peak {peak / 1e9:4.2f} GB, {document['would_drop']['caption']:,} would go,"
              f" {found / total:.4f} of the copies of 0.85 and more found")  # fmt: skip
        if before:
            print(f"  {pairs / before[0]:.0f} times the captions in {seconds / before[1]:.1f} times"
                  f" the time, {processor / before[2]:.1f} times the processor's,"
                  f" {peak / before[3]:.1f} times the memory")  # fmt: skip
        before = pairs, seconds, processor, peak
