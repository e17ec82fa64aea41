"""Balance by entries and pairs of them (ADR) beside that by t, 1,000,000 captions, 500,000 entries.

The pairs are laid out as prepare leaves them, so what is measured is the balance alone, by two workers:
processor seconds of all processes, and the most memory of a worker and of the launcher. tau is compared
with that of all pairs of entries counted at once by numpy. Matches are drawn by Zipf's law.
"""

import multiprocessing
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import psutil
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam.options.pipeline_options import PipelineOptions

from curate import files, schema
from curate.config import Adaptive as Asked
from curate.ops.hashing import pair_uids
from curate.ops.selection import occurrences
from curate.rundir.directory import Part, PartRecord, Run
from curate.schema import MATCHES, Stage
from curate.stages.adaptive.sampling import Adaptive, AdaptiveStep
from curate.stages.balance import Balance, BalanceStep, Target

CAPTIONS, ENTRIES, ROWS, WORKERS = 1_000_000, 500_000, 10_000, 2
ASKED = {"entries": 0.9, "pairs": 0.75}
T = 200.0
COLUMNS = schema.after(Stage.BALANCE, enabled=[Stage.PREPARE, Stage.BALANCE])


class Cost(NamedTuple):
    """What a balance took."""

    seconds: float  # of processors, in all processes
    worker: float  # MB at most
    launcher: float


def matches(random: np.random.Generator, most: int) -> pa.Array:
    """Entries of `ROWS` captions, up to `most` each, by Zipf's law, ascending and distinct."""
    ids = np.floor(ENTRIES ** random.random((ROWS, most))).astype(np.int32) - 1
    ids.sort(axis=1)
    stays = np.diff(ids, axis=1, prepend=-1) > 0
    stays &= np.arange(most) < random.integers(1, most + 1, (ROWS, 1))
    ends = np.concatenate([[0], np.cumsum(stays.sum(axis=1))]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(ends), pa.array(ids[stays]))


def lay(run: Run, *, most: int) -> list[Part]:
    """Parts as prepare leaves them."""
    random, parts = np.random.default_rng(0), []
    for index, start in enumerate(range(0, CAPTIONS, ROWS)):
        urls = pa.array([f"https://host.example/{i}" for i in range(start, start + ROWS)])
        captions = pc.binary_join_element_wise(pair_uids(urls, urls), "of a caption, in full", " ")
        table = pa.table({
            "uid": pair_uids(urls, captions), "url": urls, "caption": captions,
            "language": pa.array(["en"] * ROWS), "matches": matches(random, most),
        })  # fmt: skip
        for name in schema.PREPARE.names:
            if name not in table.column_names:
                table = table.append_column(name, pa.nulls(ROWS, schema.PREPARE.field(name).type))
        files.write_table(
            run.part(Stage.PREPARE, index), table.select(schema.PREPARE.names).cast(schema.PREPARE)
        )
        run.write_record(Stage.PREPARE, index, PartRecord("before", "before", ROWS, ROWS))
        parts.append(Part(index, "pool.parquet", 0, ROWS, kept=ROWS))
    return parts


def by_t(run: Run, metadata: dict[str, str]) -> beam.PTransform:
    """The balance by t."""
    target = Target(t=T, p=None, size=None, reference="en", on=MATCHES)
    return Balance(
        BalanceStep(
            run=run, reads="prepare", digest="t", own="t", target=target, metadata=metadata, seed=0,
            columns=COLUMNS,
        )
    )  # fmt: skip


def by_perspectives(run: Run, metadata: dict[str, str]) -> beam.PTransform:
    """The balance by entries and pairs of them."""
    return Adaptive(
        AdaptiveStep(
            run=run, reads="prepare", digest="a", own="a", asked=Asked(**ASKED), metadata=metadata,
            seed=0, columns=COLUMNS,
        )
    )  # fmt: skip


def _balance(
    make: Callable[..., beam.PTransform], run: Run, metadata: dict[str, str], parts: list[Part],
    results: Any,
) -> None:  # fmt: skip
    own, most = psutil.Process(), [0.0, 0.0]
    spent: dict[int, float] = {}
    done = threading.Event()

    def look() -> None:
        while not done.wait(0.05):
            for one in [own, *own.children(recursive=True)]:
                try:
                    at = one is not own
                    most[at] = max(most[at], one.memory_info().rss / 1e6)
                    spent[one.pid] = sum(one.cpu_times()[:2])
                except psutil.Error:
                    continue

    watch = threading.Thread(target=look)
    before = sum(own.cpu_times()[:2])
    watch.start()
    flags = ["--runner=FnApiRunner", "--direct_running_mode=multi_processing",
             f"--direct_num_workers={WORKERS}"]  # fmt: skip
    with beam.Pipeline(options=PipelineOptions(flags)) as pipeline:
        _ = pipeline | beam.Create(parts) | "Balance" >> make(run, metadata)
    done.set()
    watch.join()
    results.put(Cost(sum(spent.values()) - before, most[1], most[0]))


def cost(
    make: Callable[..., beam.PTransform], run: Run, metadata: dict[str, str], parts: list[Part]
) -> Cost:
    """What a balance takes in a process of its own."""
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    process = context.Process(target=_balance, args=(make, run, metadata, parts, results))
    process.start()
    found: Cost = results.get()
    process.join()
    return found


def whole(run: Run, parts: list[Part]) -> tuple[int, int, int]:
    """Pairs of entries of all captions, and tau and entities of them, counted at once."""
    keys = []
    for part in parts:
        matches = run.rows(Stage.PREPARE, part, columns=["matches"])["matches"]
        keys += [one.keys for one in occurrences.pair_keys(matches, first=0)]
    _, counts = np.unique(np.concatenate(keys), return_counts=True)
    descending = np.sort(counts)[::-1]
    reached = np.argmax(np.cumsum(descending) >= descending.sum() * ASKED["pairs"])
    return int(counts.sum()), int(descending[reached]), len(counts)


def main() -> None:
    """Both balances at about 3.5 and 10 matches a caption."""
    for most in (7, 22):
        with tempfile.TemporaryDirectory() as folder:
            run = Run(str(Path(folder, "run")))
            metadata = {"en": str(Path(folder, "en.txt"))}
            Path(metadata["en"]).write_text("\n".join(f"entry {i}" for i in range(ENTRIES)))
            parts = lay(run, most=most)
            plain = cost(by_t, run, metadata, parts)
            for stage in run.folders(Stage.BALANCE):
                files.remove(stage)
            ours = cost(by_perspectives, run, metadata, parts)
            told = files.read_json(run.path("balance", "perspectives.json"))
            pairs, tau, entities = whole(run, parts)
            found = told["pairs"]
            print(f"  {CAPTIONS:,} captions, {ENTRIES:,} entries: {told['entries']['occurrences']:,}"
                  f" matches, {pairs:,} pairs of entries ({entities:,} others), tau {tau},"
                  f" {found['head']:,} above it")  # fmt: skip
            for name, one in (("by t", plain), ("by entries and pairs", ours)):
                memory = (
                    f"a worker {one.worker:,.0f} MB at most, the launcher {one.launcher:,.0f} MB"
                )
                print(f"  {name:22} {one.seconds:8.1f} processor seconds; {memory}")
            print(f"  ratio of the seconds {ours.seconds / plain.seconds:.2f}", flush=True)
            if (found["tau"], found["occurrences"], found["entities"]) != (tau, pairs, entities):
                raise SystemExit(f"counted {found['tau']}, {found['occurrences']}, not so")
