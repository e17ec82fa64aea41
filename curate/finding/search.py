"""The pairs of a run that are nearest to a text or an image, kept and dropped ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

import numpy as np
import pyarrow as pa

from curate.config import file as config_file
from curate.errors import CurateError
from curate.finding.fates import DEAD, DROPPED, KEPT, Fate, fates
from curate.finding.index import Rows, build, groups, missing, nearest
from curate.finding.place import Place, place_in_shards
from curate.finding.query import check_width, embed_image, embed_text, similarities
from curate.finding.stored import IMAGE, TEXT, stored_embeddings
from curate.ops.scores.vectors import Vectors
from curate.planning.steps import steps_of
from curate.rundir.directory import Run
from curate.schema import Stage

By = Literal["image", "caption", "both"]
Which = Literal["kept", "dropped", "all"]
_KINDS: dict[By, tuple[str, ...]] = {"image": (IMAGE,), "caption": (TEXT,), "both": (IMAGE, TEXT)}
_VERDICTS = {"kept": {KEPT}, "dropped": {DROPPED, DEAD}}
_SPARE = 2
"""Candidates from the index for each pair wanted: their cosines are computed from what is stored."""
_MORE = 4  # times as many, where too few of them are wanted


@dataclass(frozen=True)
class Found:
    """A pair, and how near it is to what was looked for."""

    similarity: float  # cosine, or the mean of two
    uid: str
    url: str | None
    caption: str | None
    score: float | None  # of the model: of the pair itself
    verdict: str  # kept, dropped, dead, or pending
    stage: str  # that dropped it; of others the last one
    reason: str
    value: str
    shard: str | None
    key: str | None
    part: int


def search(
    run: Run,
    *,
    text: str | None = None,
    image: bytes | None = None,
    k: int = 20,
    by: By = "image",
    which: Which = "all",
) -> tuple[Found, ...]:
    """The `k` pairs nearest to a text, or to the image in a file's bytes, the nearest first.

    `by` says what of a pair is compared: the embedding of its image, of its caption, or the mean of
    both cosines. What is read of the run are its indexes, which are built where they are missing,
    the vectors of some candidates, and the tables of these candidates' parts.

    Raises
    ------
    CurateError
        Where the run has no embeddings, the image cannot be decoded, or the model not be loaded.
    """
    return Search(run).nearest(text=text, image=image, k=k, by=by, which=which)


@dataclass(frozen=True)
class Part:
    """The scored pairs of a part, row by row."""

    pairs: pa.Table  # uid, url, caption
    fates: list[Fate]
    scores: pa.ChunkedArray


class Search:
    """A run that is searched; what is read of its parts is kept as long as this is.

    Raises
    ------
    CurateError
        Where the run has no embeddings.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.config = config_file.load(run.path("config.yaml"))
        self.embeddings = stored_embeddings(run, self.config)
        self._reads = steps_of(self.config).upstream(Stage.SCORE)
        self._parts: dict[int, Part] = {}

    def missing(self, by: By = "image") -> int:
        """Of how many vectors the indexes are still to be built."""
        return sum(x.rows for kind in _KINDS[by] for x in missing(self.embeddings, kind=kind))

    def nearest(
        self,
        *,
        text: str | None = None,
        image: bytes | None = None,
        k: int = 20,
        by: By = "image",
        which: Which = "all",
    ) -> tuple[Found, ...]:
        """See `search`."""
        if (text is None) == (image is None):
            raise CurateError("give a text or an image to look for, and not both")
        if k < 1:
            raise CurateError(f"-k {k}: expected 1 or more")
        scorer, kinds = self.embeddings.scorer, _KINDS[by]
        query = embed_text(scorer, text) if text is not None else embed_image(scorer, image or b"")
        if not self.embeddings.any_width:
            return ()  # no pair came so far
        check_width(query, self.embeddings.any_width)
        for kind in kinds:
            for group in missing(self.embeddings, kind=kind):
                build(self.embeddings, group, kind=kind)
        of_kinds = [x for kind in kinds for x in groups(self.embeddings, kind=kind)]
        rows = sum(group.rows for group in of_kinds)
        candidates = _SPARE * k
        while True:
            near = [nearest(self.embeddings, x, query, k=candidates) for x in of_kinds]
            ranked = self._ranked(near, query, kinds)
            is_all = candidates >= rows
            chosen = [
                one
                for one in (ranked if is_all else ranked[: candidates // _SPARE])
                if which == "all" or self._part(one[1]).fates[one[2]].verdict in _VERDICTS[which]
            ][:k]
            if len(chosen) == k or is_all:
                return tuple(self._found(*one) for one in chosen)
            candidates *= _MORE

    def _ranked(
        self, near: Sequence[Rows], query: Vectors, kinds: Sequence[str]
    ) -> list[tuple[float, int, int]]:
        """Similarity, part and row of candidates, the nearest first, by what is stored of them."""
        pairs = sorted(
            {pair for some in near for pair in zip(*(x.tolist() for x in some), strict=True)}
        )
        of_parts = [(part, [row for _, row in of]) for part, of in groupby(pairs, lambda x: x[0])]

        def read(one: tuple[int, list[int]]) -> list[float]:
            stored = (self.embeddings.rows(*one, kind) for kind in kinds)
            cosines = [similarities(vectors, query) for vectors in stored]
            values: list[float] = np.mean(cosines, axis=0).tolist()
            return values

        found = [
            (value, part, row)
            for (part, rows), values in self.run.each(of_parts, read)
            for value, row in zip(values, rows, strict=True)
        ]
        return sorted(found, key=lambda one: (-one[0], one[1], one[2]))

    def _part(self, index: int) -> Part:
        if index not in self._parts:
            self._parts[index] = self.part(index)
        return self._parts[index]

    def part(self, index: int) -> Part:
        """The scored pairs of a part, and what became of each."""
        run, column = self.run, self.embeddings.column
        pairs = run.rows(self._reads, index, columns=["uid", "url", "caption"])
        scored = run.rows(self.embeddings.folder, index, columns=["uid", column])
        if not pairs["uid"].equals(scored["uid"]):  # a run that is not finished
            nothing = pa.nulls(len(scored), pa.string())
            pairs = pa.table({"uid": scored["uid"], "url": nothing, "caption": nothing})
        return Part(pairs, fates(run, self.config, index, pairs), scored[column])

    def _found(self, similarity: float, index: int, row: int) -> Found:
        part = self._part(index)
        fate, score = part.fates[row], part.scores[row].as_py()
        told: dict[str, str | None] = part.pairs.slice(row, 1).to_pylist()[0]
        place: Place = {}
        if fate.verdict == KEPT:
            at, uid = fate.row, str(told["uid"])
            place = place_in_shards(self.run, self.config, part=index, row=at, uid=uid) or {}
        return Found(
            similarity=round(similarity, 6),
            uid=str(told["uid"]),
            url=told["url"],
            caption=told["caption"],
            score=None if score is None else round(score, 6),
            verdict=fate.verdict,
            stage=fate.stage,
            reason=fate.reason,
            value=fate.value,
            shard=place.get("shard"),
            key=place.get("key"),
            part=index,
        )
