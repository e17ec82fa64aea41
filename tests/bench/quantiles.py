"""Exact quantiles of 10,000,000 scores through Beam against numpy: memory, time, the same values."""

import json
import multiprocessing
import tempfile
import time
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.options.pipeline_options import PipelineOptions

from curate import files
from curate.ops.selection.quantiles import Cut, Cuts, Group, Quantile
from curate.rundir.cuts import write_cuts
from curate.rundir.directory import Part
from curate.stages.quantiles import FindCuts, Quantiles

SCORES = 10_000_000
ROWS = 10_000
ASKED = (Quantile("clip_score", 0.3), Quantile("clip_score", 0.15, "language"))
LANGUAGES = ("en", "de", "fr", "zh", None)
DIGEST = "of the parts"


def scores(n: int) -> tuple[Any, Any]:
    """`n` scores as a CLIP gives them, on the grid of float32, and the language of each."""
    random = np.random.RandomState(0)
    return random.normal(0.22, 0.06, n).astype(np.float32), random.randint(0, len(LANGUAGES), n)


def write_parts(folder: str, n: int) -> list[Part]:
    """Part files of `n` scores."""
    values, codes = scores(n)
    names = pa.array(LANGUAGES, pa.string())
    parts = []
    for index, start in enumerate(range(0, n, ROWS)):
        rows = slice(start, start + ROWS)
        languages = names.take(pa.array(codes[rows]))
        path = files.join(folder, f"part-{index:05d}.parquet")
        files.write_table(path, pa.table({"clip_score": values[rows], "language": languages}))
        parts.append(Part(index, path, 0, ROWS))
    return parts


def read(part: Part) -> Any:
    """The columns of a part."""
    return files.read_table(part.path)


def find(parts: list[Part], target: str, *, workers: int = 1) -> None:
    """Write the cuts over all parts to `target`."""
    columns = read(parts[0]).schema
    flags = ["--runner=FnApiRunner"]
    if workers > 1:
        flags += ["--direct_running_mode=multi_processing", f"--direct_num_workers={workers}"]
    with beam.Pipeline(options=PipelineOptions(flags)) as pipeline:
        found = pipeline | beam.Create(parts) | beam.Reshuffle()
        cuts = found | FindCuts(Quantiles(ASKED, columns, read))
        _ = cuts | "Write" >> beam.Map(write_cuts, target=target, digest=DIGEST)


def expected(n: int) -> Cuts:
    """The cuts by sorting."""
    values, codes = scores(n)
    groups: dict[Group, Any] = {(ASKED[0], None): values}
    groups |= {(ASKED[1], name): values[codes == code] for code, name in enumerate(LANGUAGES)}
    cuts = {}
    for group, chosen in groups.items():
        cut = np.sort(chosen)[::-1][int(len(chosen) * group[0].fraction)]
        cuts[group] = Cut(len(chosen), float(cut))
    return cuts


def _measured(parts: list[Part], target: str, workers: int, results: Any) -> None:
    find(parts[:1], target)
    before = _peak_mb()
    started = time.perf_counter()
    find(parts, target, workers=workers)
    results.put((time.perf_counter() - started, _peak_mb() - before))


def _peak_mb() -> float:
    """The highest resident memory of this process so far."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def measure(parts: list[Part], target: str, *, workers: int = 1) -> tuple[float, float]:
    """Seconds, and MB over what one part takes, in a process of its own."""
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    process = context.Process(target=_measured, args=(parts, target, workers, results))
    process.start()
    found: tuple[float, float] = results.get()
    process.join()
    return found


def main() -> None:
    """Memory at a tenth of the scores and at all, time over reading alone, one and two workers."""
    with tempfile.TemporaryDirectory() as folder:
        parts = write_parts(folder, SCORES)
        small, one, two = (str(Path(folder, name)) for name in ("small", "one", "two"))
        _, tenth = measure(parts[: len(parts) // 10], small)
        seconds, whole = measure(parts, one)
        measure(parts, two, workers=2)
        cuts = expected(SCORES)
        reading = time.perf_counter()
        for part in parts:
            read(part)
        reading = time.perf_counter() - reading
        sorted_cuts = str(Path(folder, "sorted"))
        write_cuts(cuts, target=sorted_cuts, digest=DIGEST)

        def document(path: str) -> list[Any]:
            return sorted(json.loads(Path(path).read_text())["cuts"], key=str)

        same = document(one) == document(two) == document(sorted_cuts)
    print(f"  {SCORES:,} scores in {len(parts):,} parts, {len(cuts)} cuts")
    print(f"  equal to numpy's, with one worker and with two: {same}")
    print(f"  memory over that for one part, {SCORES // 10:,} scores  {tenth:6.1f} MB")
    print(f"  memory over that for one part, {SCORES:,} scores {whole:6.1f} MB  (all scores: 40)")
    print(f"  time, over that of reading the parts twice {seconds / (2 * reading):6.1f}")
    if not same:
        raise SystemExit("the cuts differ")


if __name__ == "__main__":
    main()
