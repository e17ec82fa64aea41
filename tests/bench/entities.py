"""Entries that images show: PAIRS pairs with matches in a list of ENTRIES, and the balance by them.

Matches are drawn by Zipf's law, 3.5 a pair, and embeddings are random, 512 wide, so it is time and
memory that is measured, not what is found. The reference is NumPy that gathers both sides of a part's
matches and multiplies them. Each figure is of a process of its own; the peak has the pages of the
mapped vectors that were looked at, which all workers of a machine share.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from curate import files, schema
from curate.ops.scores.clip import ClipModel
from curate.ops.scores.entities import BLOCK
from curate.rundir.directory import SCORED, Part, PartRecord, Run
from curate.schema import Stage
from curate.stages.balance import Balance, BalanceStep, Target
from curate.stages.score.entities import EntitiesStep
from tests.bench import pools
from tests.stages.rundir import drive

PAIRS = int(os.environ.get("PAIRS", "1000000"))
ENTRIES = int(os.environ.get("ENTRIES", "500000"))
PART, WIDTH, LEAST = 10_000, 512, 0.02
NAME, LIST = "seen", "en.txt"


def _vectors(folder: Path) -> tuple[str, ...]:
    return tuple(str(folder / f"vectors/{nth:05}.npy") for nth in range(-(-ENTRIES // BLOCK)))


def _lay(folder: Path) -> None:
    """The run's parts after dedup, the embeddings of their images, and the vectors of the list."""
    random, run = np.random.default_rng(0), Run(str(folder / "run"))
    (folder / LIST).write_text("\n".join(f"entry {i}" for i in range(ENTRIES)))
    for url in _vectors(folder):
        files.write_array(
            url, random.standard_normal((BLOCK, WIDTH), np.float32).astype(np.float16)
        )
    images = random.standard_normal((PART, WIDTH), np.float32).astype(np.float16)
    for index in range(PAIRS // PART):
        counts = random.integers(1, 7, PART)
        ids = np.floor(ENTRIES ** random.random(counts.sum())).astype(np.int32) - 1
        ends = np.cumsum([0, *counts]).astype(np.int32)
        ids = ids[np.lexsort((ids, np.repeat(np.arange(PART), counts)))]
        uids = pa.array([f"{index:016x}{row:016x}" for row in range(PART)])
        matches = pa.ListArray.from_arrays(pa.array(ends), pa.array(ids))
        texts = {x: pa.nulls(PART, pa.string()) for x in ("url", "caption")}
        languages = pa.array(["en"] * PART)
        table = pa.table({"uid": uids, **texts, "language": languages, schema.MATCHES: matches})
        files.write_table(run.part(Stage.DEDUP, index), table)
        files.write_table(run.part(SCORED, index), table.select(["uid"]))
        files.write_arrays(run.part(SCORED, index, "npz"), b32_img=np.roll(images, index, axis=0))


def _step(folder: Path) -> EntitiesStep:
    model = ClipModel("none", None)
    return EntitiesStep(Run(str(folder / "run")), str(Stage.DEDUP), "d", "o", name=NAME,
                        min_similarity=LEAST, templates=("{}",), metadata={"en": str(folder / LIST)},
                        model=model, of_model="m")  # fmt: skip


def _seen(folder: Path) -> None:
    step, vectors = _step(folder), {"en": _vectors(folder)}
    for index in range(PAIRS // PART):
        part = Part(index, "", 0, PART, kept=PART)
        found = step.process(part, vectors).kept
        files.write_table(step.run.part(step.folder, index), found)
        before = step.run.rows(step.reads, index)
        whole = before.append_column(NAME, found[NAME])
        files.write_table(step.run.part(Stage.SCORE, index), whole)
        step.run.write_record(Stage.SCORE, index, PartRecord("d", "o", PART, PART))


def _reference(folder: Path) -> None:
    """One part in NumPy, a hundred thousand matches at a time."""
    run, vectors = Run(str(folder / "run")), np.concatenate([*map(np.load, _vectors(folder))])
    started = time.process_time()
    table = run.rows(Stage.DEDUP, 0)
    with files.open_read(run.part(SCORED, 0, "npz")) as file, np.load(file) as stored:
        images = stored["b32_img"].astype(np.float32)
    images /= np.sqrt((images * images).sum(axis=1, keepdims=True))
    lists = table[schema.MATCHES].combine_chunks()
    rows = np.repeat(np.arange(PART), lists.value_lengths().to_numpy())
    texts = vectors[lists.flatten().to_numpy()].astype(np.float32)
    texts /= np.sqrt((texts * texts).sum(axis=1, keepdims=True))
    np.einsum("ij,ij->i", images[rows], texts)
    print(time.process_time() - started)


def _balance(folder: Path) -> None:
    run = Run(str(folder / "run"))
    columns = pa.schema([("uid", pa.string()), ("language", pa.string()), *_ids(), *schema.BALANCE])
    step = BalanceStep(run, str(Stage.SCORE), "d", "o",
                       target=Target(t=200.0, p=None, size=None, reference="en", on=NAME),
                       metadata={"en": str(folder / LIST)}, seed=0, columns=columns)  # fmt: skip
    parts = [Part(i, "", 0, PART, kept=PART) for i in range(PAIRS // PART)]
    drive(run, Balance(step), parts)


def _ids() -> list[pa.Field]:
    kind = schema.PREPARE.field(schema.MATCHES).type
    return [pa.field(schema.MATCHES, kind), pa.field(NAME, kind)]


def alone(name: str, folder: str) -> None:
    """What a process of its own does, and what it took."""
    works = {"seen": _seen, "reference": _reference, "balance": _balance}
    works[name](Path(folder))
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(f"{used.ru_utime + used.ru_stime:.1f} {used.ru_maxrss / 1e6:.2f}")


def _run(name: str, folder: str) -> list[str]:
    code = f"from tests.bench.entities import alone; alone({name!r}, {folder!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()


def main() -> None:
    """Processor seconds and the peak of each process, and the ratio."""
    with tempfile.TemporaryDirectory() as folder, pools.one_core():
        _lay(Path(folder))
        seconds, peak = _run("seen", folder)
        (plain, *_), parts = _run("reference", folder), PAIRS // PART
        print(
            f"  {PAIRS:,} pairs, {ENTRIES:,} entries: {seconds} processor seconds with reading and"
            f" writing, peak {peak} GB; NumPy over all parts {float(plain) * parts:.1f} s without"
            f" writing: {float(plain) * parts / float(seconds):.1f} times"
        )
        seconds, peak = _run("balance", folder)
        print(f"  the balance by what is seen: {seconds} processor seconds, peak {peak} GB")


if __name__ == "__main__":
    main()
