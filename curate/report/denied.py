"""Words that images deny: the most frequent, and the pairs whose captions lose most by theirs."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate import files
from curate.config import Config
from curate.finding.stored import spread
from curate.planning.asked import words_of
from curate.planning.steps import Steps
from curate.report.sheets import PARTS
from curate.rundir.directory import ANNOTATED, PART_STAGES, Beside, Run
from curate.schema import Stage
from curate.summaries.tallies import SHOWN, Example, First

WORDS = 24
"""Words that are told of, at most."""


@dataclass(frozen=True)
class Denied:
    """How often captions have a word, and how often the image denies it."""

    word: str  # in small letters
    judged: int
    denied: int


@dataclass(frozen=True)
class Marked:
    """A pair, and its caption in pieces, each with whether the image denies it."""

    pair: Example
    pieces: tuple[tuple[str, bool], ...]


@dataclass(frozen=True)
class Words:
    """What a score of kind misaligned_words found in the parts that are looked at."""

    column: str
    pairs: int  # whose words were judged
    denied: int  # with a word that the image denies
    words: tuple[Denied, ...]  # those denied most often first
    lowest: tuple[Marked, ...]  # with the lowest score first


def denied(run: Run, config: Config, steps: Steps) -> tuple[Words, ...]:
    """Each such score of a run; of a large pool in `PARTS` of its parts."""
    ahead = PART_STAGES[: PART_STAGES.index(Stage.SCORE)]
    reads = next((stage for stage in reversed(ahead) if run.done(stage)), None)
    names = [name for name in words_of(config) if run.done(folder_of(name))] if reads else []
    beside = steps.beside(Stage.SCORE)
    return tuple(_of_score(run, name, reads=str(reads), beside=beside) for name in names)


def folder_of(name: str) -> str:
    """The folder of a score that stands beside others."""
    return files.join(Stage.SCORE, ANNOTATED, name)


def _of_score(run: Run, name: str, *, reads: str, beside: Beside) -> Words:
    told = f"{name}_words"
    judged, lost = Counter[str](), Counter[str]()
    pairs = with_any = 0
    lowest: list[tuple[float, Marked]] = []

    def read(index: int) -> tuple[pa.Table, pa.Table]:
        table = run.annotated(Stage.SCORE, index, ["uid", name, told], beside=beside)
        return table, run.rows(reads, index, columns=["uid", "url", "caption"])

    parts = spread(run.done(folder_of(name)), n=PARTS)
    for index, (table, rows) in run.each(parts, read):
        if not rows["uid"].equals(table["uid"]):
            continue  # a run that is not finished: these scores are of other pairs
        each = pc.list_flatten(table[told].combine_chunks())
        words = pc.utf8_lower(each.field("word"))
        judged += _counts(words)
        lost += _counts(words.filter(each.field("misaligned")))
        values = table[name].cast(pa.float64()).to_numpy()
        pairs += int(np.isfinite(values).sum())
        below = np.flatnonzero(values < 0)
        with_any += len(below)
        few = below[np.argsort(values[below], kind="stable")][: SHOWN[First.LOWEST]]
        for row, pair in zip(few.tolist(), rows.take(pa.array(few)).to_pylist(), strict=True):
            shown = Example(index, pair["uid"], pair["url"], pair["caption"],
                            value=f"{values[row]:.3g}")  # fmt: skip
            pieces = tuple(_pieces(pair["caption"], table[told][row].as_py()))
            lowest.append((float(values[row]), Marked(shown, pieces)))
        lowest = sorted(lowest, key=lambda one: (one[0], one[1].pair.uid))[: SHOWN[First.LOWEST]]
    most = sorted(lost, key=lambda word: (-lost[word], word))[:WORDS]
    found = tuple(Denied(word, judged[word], lost[word]) for word in most)
    return Words(name, pairs, with_any, found, tuple(one for _, one in lowest))


def _counts(words: pa.Array) -> Counter[str]:
    counted = pc.value_counts(words)
    return Counter(dict(zip(*(counted.field(x).to_pylist() for x in (0, 1)), strict=True)))


def _pieces(caption: str, words: Sequence[dict[str, Any]]) -> Iterator[tuple[str, bool]]:
    """A caption cut before and after each word that the image denies."""
    at = 0
    for word in words:
        if not word["misaligned"] or word["start"] is None or word["start"] < at:
            continue
        yield caption[at : word["start"]], False
        yield caption[word["start"] : word["end"]], True
        at = word["end"]
    yield caption[at:], False
