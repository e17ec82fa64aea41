"""The clusters of a run's images, for whoever names them: their pairs, typical words, a few of them.

The pairs of a cluster that are looked at are those with the smallest hashes of their uids: a sample of
it that depends on nothing else. Memory is bounded by the number of clusters.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate import files
from curate.config import Config
from curate.errors import CurateError
from curate.finding.words import typical
from curate.ops.hashing import hash64
from curate.planning.steps import Steps, steps_of
from curate.rundir.directory import PART_STAGES, SCORED, Run
from curate.rundir.scratch import VISUAL
from curate.schema import Stage
from curate.summaries.tallies import Example

LOOKED_AT = 48
"""Pairs of a cluster whose captions its words are from, at most."""
_WORDS = 6


@dataclass(frozen=True)
class Cluster:
    """A cluster of images."""

    number: int
    pairs: int  # that were scored
    kept: int  # at the end of the run
    words: tuple[str, ...]  # typical of its captions
    examples: tuple[Example, ...]


def clusters_of(run: Run, config: Config, *, shown: int) -> list[Cluster]:
    """The clusters that hold pairs, by number, with at most `shown` pairs each.

    Raises
    ------
    CurateError
        Where the run has no clusters.
    """
    folder = files.join(SCORED, VISUAL)
    parts = run.done(folder)
    if config.score is None or config.score.visual_cluster is None or not parts:
        raise CurateError(
            f"{run.root}: its images are in no clusters; run it with --set"
            " score.embeddings=true --set 'score.visual_cluster={clusters: 1000}'"
        )
    steps = steps_of(config)
    counts, chosen = np.zeros(0, np.int64), _Chosen()
    for part in parts:
        table = run.rows(folder, part, columns=["uid", VISUAL])
        known = np.flatnonzero(np.asarray(table[VISUAL].is_valid()))
        numbers = table[VISUAL].take(pa.array(known)).to_numpy()
        counts = _added(counts, np.bincount(numbers) if len(numbers) else np.zeros(0, np.int64))
        chosen.add(
            part, known, numbers, hash64(table["uid"].take(pa.array(known)), seed=config.seed)
        )
    kept = _kept(run, steps)
    kept = np.pad(kept, (0, max(len(counts) - len(kept), 0)))
    looked_at = _pairs(run, steps, chosen)
    there = np.flatnonzero(counts)
    place = {number: at for at, number in enumerate(there.tolist())}
    groups = np.array([place[number] for number, _ in looked_at], np.int64)
    words = typical([one.caption or "" for _, one in looked_at], groups, n=_WORDS)
    examples: dict[int, list[Example]] = {}
    for number, one in looked_at:
        examples.setdefault(number, []).append(one)
    return [
        Cluster(number, int(counts[number]), int(kept[number]), words[place[number]],
                tuple(examples.get(number, ())[:shown]))
        for number in there.tolist()
    ]  # fmt: skip


class _Chosen:
    """The rows with the smallest hashes of each cluster, of the parts that came."""

    def __init__(self) -> None:
        self.rows = np.zeros((0, 3), np.int64)  # cluster, part, row
        self._hashes = np.zeros(0, np.uint64)

    def add(
        self, part: int, rows: NDArray[np.int64], numbers: NDArray[np.int32],
        hashes: NDArray[np.uint64],
    ) -> None:  # fmt: skip
        ours = np.stack([numbers.astype(np.int64), np.full(len(rows), part), rows], axis=1)
        whole, keys = np.concatenate([self.rows, ours]), np.concatenate([self._hashes, hashes])
        order = np.lexsort((whole[:, 2], whole[:, 1], keys, whole[:, 0]))
        whole, keys = whole[order], keys[order]
        firsts = np.flatnonzero(np.diff(whole[:, 0], prepend=-1))
        sizes = np.diff(np.append(firsts, len(whole)))
        nth = np.arange(len(whole)) - np.repeat(firsts, sizes)
        self.rows, self._hashes = whole[nth < LOOKED_AT], keys[nth < LOOKED_AT]


def _added(one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.int64]:
    n = max(len(one), len(other))
    return np.pad(one, (0, n - len(one))) + np.pad(other, (0, n - len(other)))


def _kept(run: Run, steps: Steps) -> NDArray[np.int64]:
    """The pairs of each cluster after the last stage."""
    last = [stage for stage in PART_STAGES if stage in steps.stages][-1]
    found = np.zeros(0, np.int64)
    for table in run.tables(last, columns=[VISUAL]):
        numbers = table[VISUAL].drop_null().to_numpy()
        found = _added(found, np.bincount(numbers) if len(numbers) else np.zeros(0, np.int64))
    return found


def _pairs(run: Run, steps: Steps, chosen: _Chosen) -> list[tuple[int, Example]]:
    """The chosen pairs in the order of clusters and hashes, each with its cluster."""
    reads = steps.upstream(Stage.SCORE)
    found: list[tuple[int, Example] | None] = [None] * len(chosen.rows)
    for part in np.unique(chosen.rows[:, 1]).tolist():
        here = np.flatnonzero(chosen.rows[:, 1] == part)
        table = run.rows(reads, part, columns=["uid", "url", "caption"])
        pairs = table.take(pa.array(chosen.rows[here, 2])).to_pylist()
        for at, pair in zip(here.tolist(), pairs, strict=True):
            number = int(chosen.rows[at, 0])
            found[at] = number, Example(part, pair["uid"], pair["url"], pair["caption"])
    return [one for one in found if one is not None]
