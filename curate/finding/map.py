"""A map of a run: clusters of the embeddings of its images, and what curation made of each.

It is of a sample: about `SAMPLE` scored pairs of at most `PARTS` parts, drawn by a hash of the uid, so
that it costs the same however large the run is. It depends on nothing but the run: not on the number of
workers or processors.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from curate.config import Config
from curate.finding.fates import KEPT, Fate, fates
from curate.finding.stored import Embeddings, embeddings_of, spread
from curate.finding.words import typical
from curate.ops.hashing import uniform
from curate.ops.scores.centroids import find_centroids
from curate.ops.scores.vectors import Vectors, nearest, unit
from curate.planning.steps import steps_of
from curate.rundir.directory import Run
from curate.schema import Stage
from curate.summaries.tallies import Example

SAMPLE = 1 << 15
"""Pairs that the map is of, about."""
PARTS = 64
"""Parts that they are drawn from, at most."""
MOST = 32
"""Clusters."""
_WORDS = 6
_SHOWN = 8
"""Pairs of a cluster that are shown: those nearest to its centroid."""


@dataclass(frozen=True)
class Concept:
    """A cluster of pairs whose images look alike to the model."""

    words: tuple[str, ...]  # typical of its captions
    pairs: int
    kept: int
    left: dict[str, int]  # why the others left, most of them first
    score: float | None  # mean of the model's score
    x: float  # where its centroid lies on the plane on which centroids differ most
    y: float
    examples: tuple[Example, ...]  # `reason` is empty for a kept one

    @property
    def share(self) -> float:
        """The share of its pairs that was kept."""
        return self.kept / self.pairs


@dataclass(frozen=True)
class Map:
    """The clusters, those first of which most was kept."""

    pairs: int  # in the sample
    kept: int
    scored: int  # of the whole run
    parts: int  # that the sample is of
    column: str  # of the model's score
    concepts: tuple[Concept, ...]


@dataclass(frozen=True)
class _Sample:
    parts: int
    of_part: NDArray[np.int64]
    pairs: pa.Table  # uid, url, caption
    fates: list[Fate]
    scores: NDArray[np.float64]
    vectors: Vectors


def draw_map(run: Run, config: Config) -> Map | None:
    """The map of a run; None where it stores no embeddings, or none of its pairs has one."""
    embeddings = embeddings_of(run, config)
    sample = _sample(embeddings, config) if embeddings is not None else None
    if embeddings is None or sample is None:
        return None
    k = min(MOST, max(1, round(len(sample.vectors) ** 0.5 / 2)))
    centroids = unit(find_centroids(sample.vectors, clusters=k, seed=config.seed))
    clusters, cosines = nearest(sample.vectors, centroids)
    numbers, clusters = np.unique(clusters, return_inverse=True)  # some may have no pair
    captions = [caption or "" for caption in sample.pairs["caption"].to_pylist()]
    words = typical(captions, clusters, n=_WORDS)
    places = _plane(centroids[numbers])
    concepts = [
        _concept(sample, np.flatnonzero(clusters == at), cosines, words[at], places[at])
        for at in range(len(numbers))
    ]
    concepts.sort(key=lambda one: (-one.share, -one.pairs, one.words, one.examples[0].uid))
    return Map(
        pairs=len(sample.vectors),
        kept=sum(one.kept for one in concepts),
        scored=pc.sum(run.record_table(embeddings.folder)["rows"]).as_py(),
        parts=sample.parts,
        column=embeddings.column,
        concepts=tuple(concepts),
    )


def _sample(embeddings: Embeddings, config: Config) -> _Sample | None:
    """Scored pairs with an embedding, by uid; None where there is none."""
    run, reads = embeddings.run, steps_of(config).upstream(Stage.SCORE)
    parts = spread(embeddings.parts, n=PARTS)
    records = run.record_table(embeddings.folder)
    ours = pc.is_in(records["part"], value_set=pa.array(parts, records["part"].type))
    share = SAMPLE / max(pc.sum(records["rows"].filter(ours)).as_py() or 0, 1)
    names, columns = ["uid", "url", "caption"], ["uid", embeddings.column]

    def read(part: int) -> tuple[pa.Table, list[Fate], Vectors] | None:
        pairs = run.rows(reads, part, columns=names)
        scored = run.rows(embeddings.folder, part, columns=columns)
        if not len(pairs) or not pairs["uid"].equals(scored["uid"]):
            return None  # a run that is not finished: the scores are of other pairs
        drawn = np.flatnonzero(uniform(pairs["uid"], seed=config.seed) < share)
        vectors = unit(embeddings.all_of(part)[drawn])
        drawn = drawn[vectors.any(axis=1)]
        became = fates(run, config, part, pairs)
        score = pc.fill_null(scored[embeddings.column].cast(pa.float64()), np.nan)
        chosen = pairs.append_column("score", score).append_column(
            "part", pa.array(np.full(len(pairs), part))
        )
        return (
            chosen.take(pa.array(drawn)),
            [became[x] for x in drawn],
            vectors[vectors.any(axis=1)],
        )

    found = [one for _, one in run.each(parts, read) if one is not None and len(one[0])]
    if not found:
        return None
    table = pa.concat_tables([one for one, *_ in found])
    order = pc.sort_indices(table, [(name, "ascending") for name in ("uid", "part")]).to_numpy()
    became = [fate for _, some, _ in found for fate in some]
    table = table.take(pa.array(order)).combine_chunks()
    return _Sample(
        parts=len(parts),
        of_part=table["part"].to_numpy(),
        pairs=table.select(names),
        fates=[became[x] for x in order],
        scores=table["score"].to_numpy(),
        vectors=np.concatenate([vectors for *_, vectors in found])[order],
    )


def _concept(
    sample: _Sample,
    rows: NDArray[np.int64],
    cosines: NDArray[np.float64],
    words: tuple[str, ...],
    place: tuple[float, float],
) -> Concept:
    verdicts = [sample.fates[row] for row in rows]
    left = Counter(one.reason or one.verdict for one in verdicts if one.verdict != KEPT)
    scores = sample.scores[rows]
    scores = scores[np.isfinite(scores)]
    first = rows[np.argsort(-cosines[rows], kind="stable")[:_SHOWN]].tolist()
    shown = sample.pairs.take(pa.array(first)).to_pylist()
    return Concept(
        words=words,
        pairs=len(rows),
        kept=sum(one.verdict == KEPT for one in verdicts),
        left=dict(sorted(left.items(), key=lambda one: (-one[1], one[0]))),
        score=round(float(scores.mean()), 4) if len(scores) else None,
        x=place[0],
        y=place[1],
        examples=tuple(
            Example(
                int(sample.of_part[row]), pair["uid"], pair["url"], pair["caption"],
                reason=sample.fates[row].reason,
            )
            for row, pair in zip(first, shown, strict=True)
        ),
    )  # fmt: skip


def _plane(centroids: Vectors) -> list[tuple[float, float]]:
    """The two main components of centroids, whose signs are such that the largest value is positive."""
    rows = centroids.astype(np.float64) - centroids.mean(axis=0, dtype=np.float64)
    axes = np.linalg.svd(rows, full_matrices=False)[2][:2]
    found = np.zeros((len(rows), 2))
    for at, axis in enumerate(axes):
        values = rows @ axis
        found[:, at] = values * np.sign(values[np.abs(values).argmax()] or 1.0)
    return [(round(float(x), 3) + 0.0, round(float(y), 3) + 0.0) for x, y in found]
