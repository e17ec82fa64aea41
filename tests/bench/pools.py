"""Captions and entry lists for benchmarks, made from shipped words; the same at every call."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate.files import shipped

_SYLLABLES = ["ka", "ro", "mi", "ten", "sol", "va", "der", "lin", "pa", "sho", "bru", "nek", "ti",
              "gal", "or", "fen", "qui", "zet", "lo", "wan"]  # fmt: skip


def words(n: int) -> list[str]:
    """`n` distinct words: the single-word entries of the shipped list, then made-up ones."""
    listed = shipped("metadata/en-small.txt").read_text().splitlines()
    found = dict.fromkeys(entry for entry in listed if " " not in entry)
    random = np.random.RandomState(1)
    while len(found) < n:
        found["".join(random.choice(_SYLLABLES, random.randint(2, 6)))] = None
    return list(found)[:n]


def captions(n: int, *, vocabulary: list[str], seed: int = 0) -> pa.Array:
    """`n` captions of 2 to 8 words (about 64 characters), words by Zipf's law, some punctuation."""
    random = np.random.RandomState(seed)
    order = np.random.RandomState(2).permutation(len(vocabulary))
    marks = np.array(["", "", "", "", "", "", "", ",", ".", "!"])
    lengths = random.randint(2, 9, n)
    total = int(lengths.sum())
    ranks = np.floor(len(vocabulary) ** random.rand(total)).astype(np.int64) - 1
    spelled = pa.array(vocabulary).take(pa.array(order[ranks])).to_numpy(zero_copy_only=False)
    spelled = spelled + marks[random.randint(0, len(marks), total)]
    ends = np.cumsum(lengths)
    return pa.array([" ".join(spelled[e - k : e]) for e, k in zip(ends, lengths, strict=True)])


def entries(n: int, *, vocabulary: list[str]) -> list[str]:
    """`n` entries: the shipped list, the vocabulary, and pairs of its frequent words."""
    found = dict.fromkeys(shipped("metadata/en-small.txt").read_text().splitlines())
    found |= dict.fromkeys(vocabulary)
    random = np.random.RandomState(3)
    order = np.random.RandomState(2).permutation(len(vocabulary))
    while len(found) < n:
        left, right = order[np.floor(len(vocabulary) ** random.rand(2)).astype(np.int64) - 1]
        found[f"{vocabulary[left]} {vocabulary[right]}"] = None
    return list(found)[:n]


def write_pool(path: Path, n: int, *, vocabulary: list[str], rows: int = 100_000) -> None:
    """A parquet pool of `n` pairs at `path`, in row groups of 20,000."""
    schema = pa.schema([("url", pa.string()), ("caption", pa.string())])
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, n, rows):
            size = min(rows, n - start)
            urls = [f"https://host{i % 4999}.example/{i}.jpg" for i in range(start, start + size)]
            texts = captions(size, vocabulary=vocabulary, seed=start)
            table = pa.table([pa.array(urls), texts], schema=schema)
            writer.write_table(table, row_group_size=20_000)


def best(work: Callable[[], object], *, runs: int = 3) -> float:
    """Processor seconds of the fastest of several runs: other work on the machine counts less."""
    times = []
    for _ in range(runs):
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return min(times)


@contextmanager
def one_core() -> Iterator[None]:
    """Everything in the block on one processor."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
