"""The best pairs of each concept: those whose caption, or image, is nearest to the class prompt."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from curate.concepts.captions import COLUMN, named_in
from curate.concepts.names import Concepts
from curate.concepts.prompts import class_prompts
from curate.finding.query import check_width
from curate.finding.stored import IMAGE, TEXT, Embeddings
from curate.ops.ahead import together
from curate.ops.scores.vectors import Vectors, unit
from curate.ops.selection.uids import halves
from curate.rundir.directory import Run

Made = TypeVar("Made")
By = Literal["caption", "image"]
PER, LEAST_SIDE = 500, 85
"""Pairs of a concept, and the shorter side of an image in pixels, as the authors took them."""
_AT_ONCE = 1 << 14  # cosines
_ROOM = 1 << 20  # candidates, at least, before those that are not among the best leave

TABLE = pa.schema(
    [("concept", pa.string()), ("rank", pa.int32()), ("similarity", pa.float32()),
     ("name", pa.string()), ("uid", pa.string()), ("url", pa.string()), ("caption", pa.string()),
     ("part", pa.int32())]
)  # fmt: skip
"""A pair of a concept a row: concepts as in their file, the best first. `name` is the concept's first
one that is in a caption of the pair."""


@dataclass(frozen=True)
class Asked:
    """What is taken of each concept."""

    per: int = PER  # pairs, at most
    by: By = "caption"  # what of a pair is compared with the class prompt
    least: float = 0.0  # cosine
    side: int = LEAST_SIDE  # pixels, of the image as fetched
    templates: tuple[str, ...] = ()  # of the class prompts


@dataclass(frozen=True)
class Best:
    """The pairs that were taken."""

    concepts: Concepts
    table: pa.Table  # `TABLE`
    matched: NDArray[np.int64]  # pairs that have a name of each concept, large enough and embedded
    taken: NDArray[np.int64]  # of them, those in the table

    @property
    def uids(self) -> list[str]:
        """Those of all pairs, each once, in the order of the table."""
        found: list[str] = pc.unique(self.table["uid"]).to_pylist()
        return found


class _Found(NamedTuple):
    """Candidates, one a row."""

    concept: NDArray[np.int64]
    cosine: NDArray[np.float32]
    uid: NDArray[np.uint64]  # (n, 2)
    part: NDArray[np.int64]
    row: NDArray[np.int64]
    name: NDArray[np.int64]


@dataclass(frozen=True)
class _Reader:
    """What is read of a part."""

    run: Run
    stage: str
    embeddings: Embeddings
    concepts: Concepts
    asked: Asked

    def candidates(self, part: int) -> tuple[_Found, pa.Array]:
        """The pairs with a name of a concept, large enough; and the row of each one's embedding.

        By their captions those alone that are embedded count: a pair's others have no vector.
        """
        asked = self.asked
        wanted = {"uid", "caption", "smaller_side", *([COLUMN] if asked.by == "image" else [])}
        pairs = self.run.rows(self.stage, part, present=wanted)
        scored = self.run.rows(self.embeddings.folder, part, columns=["uid"])["uid"]
        place = pc.index_in(pairs["uid"], value_set=scored.combine_chunks())
        large = pc.fill_null(pc.greater_equal(pairs["smaller_side"], asked.side), asked.side <= 0)
        stays = np.flatnonzero(np.asarray(pc.and_(large, pc.is_valid(place))))
        pairs, place = pairs.take(pa.array(stays)), place.take(pa.array(stays))
        named = named_in(pairs, self.concepts, written=True)
        rows, concept, name = self.concepts.matcher.concepts_of(*named.names)
        found = _Found(
            concept=concept,
            cosine=np.zeros(len(rows), np.float32),
            uid=halves(pairs["uid"])[rows],
            part=np.full(len(rows), part),
            row=stays[rows],
            name=name,
        )
        return found, place.take(pa.array(rows)).to_numpy()

    def named(self, part: int) -> NDArray[np.int64]:
        """The concepts that occur among the candidates of a part."""
        return np.unique(self.candidates(part)[0].concept)

    def compared(self, part: int, prompts: Vectors, at: NDArray[np.int64]) -> _Found:
        """The candidates of a part that have an embedding, with their cosines.

        `prompts` are of some concepts, `at` says which row a concept has.
        """
        found, place = self.candidates(part)
        if not len(place):
            return found
        stored = self.embeddings.all_of(part, IMAGE if self.asked.by == "image" else TEXT)
        cosine, known = found.cosine, np.zeros(len(place), np.bool_)
        for start in range(0, len(place), _AT_ONCE):
            some = slice(start, start + _AT_ONCE)
            vectors = unit(stored[place[some]])
            products = vectors * prompts[at[found.concept[some]]]
            cosine[some] = products.sum(axis=1, dtype=np.float64)
            known[some] = vectors.any(axis=1)
        return _some(found, known)


def best(
    embeddings: Embeddings,
    concepts: Concepts,
    asked: Asked,
    *,
    stage: str,
    threads: int | None = None,
    seen: Callable[[str, int, int], None] = lambda what, done, of: None,
) -> Best:
    """The best pairs of each concept among those that `stage` of a run with `embeddings` kept.

    A pair may be one of the best of several concepts. Of equal cosines the lower uid comes first. A
    pair is read twice: to find which concepts there are, and again once their prompts are embedded,
    so that memory grows with what is taken and not with the pool. `seen` is told what is done: of
    "captions", "prompts" and "pairs".
    """
    run = embeddings.run
    reader = _Reader(run, stage, embeddings, concepts, asked)
    parts = run.done(stage)
    n = len(concepts.concepts)
    _ = concepts.matcher  # before there are threads
    occurs = np.zeros(n, np.bool_)
    for numbers in _each(parts, reader.named, "captions", threads=threads, seen=seen):
        occurs[numbers] = True
    wanted = np.flatnonzero(occurs)
    prompts = class_prompts(
        embeddings.scorer, concepts, wanted, templates=asked.templates,
        seen=partial(seen, "prompts"),
    )  # fmt: skip
    if len(wanted):
        check_width(prompts[0], embeddings.any_width)
    at = np.cumsum(occurs) - 1
    matched = np.zeros(n, np.int64)
    held: list[_Found] = []
    room = _ROOM
    compare = partial(reader.compared, prompts=prompts, at=at)
    for found in _each(parts, compare, "pairs", threads=threads, seen=seen):
        matched += np.bincount(found.concept, minlength=n)
        held.append(_some(found, found.cosine >= asked.least))
        if sum(len(one.cosine) for one in held) > room:
            held = [_first(held, asked.per)]
            room = 2 * len(held[0].cosine) + _ROOM
    chosen = _first(held, asked.per)
    return Best(concepts, _told(reader, chosen), matched, np.bincount(chosen.concept, minlength=n))


def _each(
    parts: Sequence[int],
    work: Callable[[int], Made],
    what: str,
    *,
    threads: int | None,
    seen: Callable[[str, int, int], None],
) -> Iterator[Made]:
    """What `work` gives of each part, in order."""
    seen(what, 0, len(parts))
    made = together(work, parts, threads=threads or len(os.sched_getaffinity(0)))
    for done, found in enumerate(made, 1):
        yield found
        seen(what, done, len(parts))


def _some(found: _Found, chosen: NDArray[np.generic]) -> _Found:
    return _Found(*(x[chosen] for x in found))


def _first(held: Sequence[_Found], per: int) -> _Found:
    """The `per` best of each concept, concepts in order, the best first; a uid is there once."""
    found = _Found(*map(np.concatenate, zip(*held, strict=True))) if held else _NOTHING
    order = np.lexsort((found.row, found.part, *found.uid.T[::-1], -found.cosine, found.concept))
    found = _some(found, order)
    again = (np.diff(found.concept) == 0) & (np.diff(found.uid, axis=0) == 0).all(axis=1)
    found = _some(found, ~np.r_[np.zeros(min(1, len(found.cosine)), np.bool_), again])
    return _some(found, _ranks(found.concept) < per)


def _ranks(concepts: NDArray[np.int64]) -> NDArray[np.int64]:
    """The place of each row among those of its concept, from 0; the concepts ascend."""
    return np.arange(len(concepts)) - np.searchsorted(concepts, concepts)


_NOTHING = _Found(
    *(np.zeros(0, np.int64), np.zeros(0, np.float32), np.zeros((0, 2), np.uint64)),
    *(np.zeros(0, np.int64),) * 3,
)


def _told(reader: _Reader, chosen: _Found) -> pa.Table:
    """The table of what was chosen, with what the parts say of these pairs."""
    order = np.argsort(chosen.part, kind="stable")
    tables = [pa.table({x: pa.array([], pa.string()) for x in ("uid", "url", "caption")})]
    parts, starts = np.unique(chosen.part[order], return_index=True)
    for part, rows in zip(parts.tolist(), np.split(chosen.row[order], starts[1:]), strict=False):
        table = reader.run.rows(reader.stage, part, columns=["uid", "url", "caption"])
        tables.append(table.take(pa.array(rows)))
    back = np.empty(len(order), np.int64)
    back[order] = np.arange(len(order))
    pairs = pa.concat_tables(tables, promote_options="permissive").take(pa.array(back))
    concepts = reader.concepts
    columns = {
        "concept": pa.array(concepts.concepts, pa.string()).take(pa.array(chosen.concept)),
        "rank": pa.array(_ranks(chosen.concept) + 1),
        "similarity": pa.array(chosen.cosine),
        "name": pa.array(concepts.names, pa.string()).take(pa.array(chosen.name)),
        **{x: pairs[x] for x in ("uid", "url", "caption")},
        "part": pa.array(chosen.part),
    }
    return pa.table([columns[x.name].cast(x.type) for x in TABLE], schema=TABLE)
