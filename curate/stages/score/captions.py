"""The scores of all captions of each pair: its image is embedded once, each caption once.

A score is the cosine of the two embeddings as they are stored, in half precision: so it is the same
whether the image was embedded now or by an earlier run that had other captions. `clip_score` is that of
the caption that is the pair's. For ALIP's gates there is the cosine of each caption to the pair's own,
too (`schema.AGREEMENT`). A row whose captions are the same as in an earlier run is taken over; of any
other row the image's embedding is, where it was stored.
"""

import json
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from curate import files
from curate.errors import CurateError
from curate.ops import captions as ops
from curate.ops.hashing import pair_uids
from curate.ops.scores.pairs import Embedded
from curate.rundir.directory import Part, Run
from curate.schema import AGREEMENT, Column
from curate.stages.images import read_images
from curate.stages.score.job import IMAGE, TEXT, Job, Scoring

_PAIRS = 1 << 14  # captions whose scores are computed at once
_STORED = "image"
"""The array of hashes of the images, in the file of a part's embeddings."""


class CaptionsJob(Job):
    """A part on its way through the model, whose pairs have several captions."""

    def __init__(self, step: Scoring, part: Part) -> None:
        super().__init__(step, part)
        at = [np.flatnonzero(self._stays[x:y]) + x for x, y in self._ranges(self._rows)]
        self._asked = np.concatenate([np.zeros(0, np.int64), *at])
        self._with_image = np.zeros(len(self._asked), bool)
        begins = np.cumsum([0, *map(len, at)])[:-1]
        unknown = ~self._has_image[self._rows]
        self._with_image[begins[unknown]] = True
        if self.missing:
            self.count(int((~unknown).sum()))
        self.missing = len(self._asked)

    def _ranges(self, rows: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
        yield from zip(self._starts[rows].tolist(), self._starts[rows + 1].tolist(), strict=True)

    def _keys(self, pairs: pa.Table) -> pa.Array:
        """What a row's scores are of: its image, its captions, and which of them is chosen how."""
        if (choice := self._step.choice) is None:
            raise AssertionError("no choice of captions")
        self._choice = choice
        each, self._starts = ops.flattened(pairs["captions"])
        self._texts = each.field("caption").to_pylist()
        self._stays = np.asarray(pc.is_null(each.field("reason")))
        self._of = ops.pairs_of(self._starts)
        self._uids = pairs["uid"].combine_chunks()
        n = len(pairs)
        self._all_scores = np.full(len(self._texts), np.nan, np.float32)
        self._agreement = np.full(len(self._texts), np.nan, np.float32)
        self._vectors_of: dict[int, NDArray[np.float16]] = {}  # of captions, by place
        self._has_image = np.zeros(n, bool)
        self._known_at = np.full(n, -1)
        if choice.choose != "best":
            self._known_at = ops.chosen(pairs["captions"], self._uids, choice)
        elif choice.by not in ("clip_score", self._step.name):
            folder = files.join(self._step.folder, choice.by)
            self._known_at = self._best(_scores_in(self._step.run, folder, self.part, self._uids))
        told = [
            json.dumps([choice.choose, choice.by, at, self._texts[x:y], self._stays[x:y].tolist()])
            for at, (x, y) in zip(self._known_at.tolist(), self._ranges(np.arange(n)), strict=True)
        ]
        self._images = pairs["stored_sha256"].combine_chunks()
        return _hashed(self._images, pa.array(told, pa.string()))

    def _best(self, scores: NDArray[np.float32]) -> NDArray[np.int64]:
        known = np.where(self._stays, scores, np.nan).astype(np.float64)
        found = ops.best(known, self._starts)
        has_any = np.isfinite(known[self._starts[:-1] + found])
        return np.where(has_any, found, ops.first(self._stays, self._starts))

    def contents(self) -> Iterator[tuple[int, str, bytes | None]]:
        """A caption of each row that has no scores yet, with its image where that is not known."""
        if not self.missing:
            return
        rows = self._of[self._asked[self._with_image]]
        table = self._pairs.take(pa.array(rows))
        images = read_images(
            self._step.run, self.part.index, table, encode_format=self._step.encode_format
        )
        for ask, (place, with_image) in enumerate(
            zip(self._asked.tolist(), self._with_image.tolist(), strict=True)
        ):
            yield ask, self._texts[place], next(images) if with_image else None

    def put(self, row: int, found: Embedded, at: int, *, decoded: bool) -> None:
        """Row `at` of a batch's outcome is that of the caption `row`; with the last a job is done."""
        place = int(self._asked[row])
        if self._with_image[row]:
            self._undecodable[self._of[place]] = not decoded
            vectors = self._array(IMAGE, found.image.shape[1])
            vectors[self._of[place]] = found.image[at] if decoded else np.nan
        self._vectors_of[place] = found.text[at].astype(np.float16)
        self.missing -= 1

    def _settle(self) -> dict[str, pa.Array]:
        """The scores of all captions, and the chosen caption of each row with its score."""
        places = np.array(sorted(self._vectors_of), np.int64)
        for some in np.array_split(places, -(-len(places) // _PAIRS) or 1):
            if len(some):
                texts = np.stack([self._vectors_of[x] for x in some.tolist()]).astype(np.float32)
                images = self._array(IMAGE, texts.shape[1])[self._of[some]].astype(np.float32)
                self._all_scores[some] = (texts * images).sum(axis=1)
                if self._step.agrees:
                    self._agreement[some] = (texts * self._own_texts(some, texts)).sum(axis=1)
        at = self._known_at
        if self._choice.choose == "best" and self._choice.by in ("clip_score", self._step.name):
            at = self._best(self._all_scores)
        if self._choice.choose == "best" and self._step.name and self._choice.by != self._step.name:
            at = self._best(self._all_scores)
        first = self._starts[:-1] + at
        self._scores = self._all_scores[first]
        fresh = [row for row in self._rows.tolist() if int(first[row]) in self._vectors_of]
        for row in fresh if self._step.embeddings else ():
            vector = self._vectors_of[int(first[row])]
            self._array(TEXT, len(vector))[row] = np.nan if self._undecodable[row] else vector
        self._at = at
        gone = ~np.isfinite(self._all_scores)
        found: dict[str, pa.Array] = {"caption_scores": self._listed(self._all_scores, gone)}
        if not self._step.name:
            found["caption_at"] = pa.array(at.astype(np.int32))
        if self._step.agrees:
            found[AGREEMENT] = self._listed(self._agreement, ~np.isfinite(self._agreement))
        return found

    def _listed(self, values: NDArray[np.float32], gone: NDArray[np.bool_]) -> pa.Array:
        starts = pa.array(self._starts.astype(np.int32))
        return pa.ListArray.from_arrays(starts, pa.array(values, mask=gone))

    def _own_texts(
        self, places: NDArray[np.int64], texts: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """For the captions at `places` that of their pair's own; NaN where that was left out."""
        own = self._starts[self._of[places]]
        none = np.full(texts.shape[1], np.nan, np.float16)
        return np.stack([self._vectors_of.get(x, none) for x in own.tolist()]).astype(np.float32)

    def _joined(self) -> list[Column]:
        """The further scores; those of models are of the chosen caption, too."""
        step, columns = self._step, super()._joined()
        for k, name in enumerate(step.joined if self._choice.choose == "best" else ()):
            folder = files.join(step.folder, name)
            if "caption_scores" in step.run.rows(folder, self.part).column_names:
                scores = _scores_in(step.run, folder, self.part, self._uids)
                values = scores[self._starts[:-1] + self._at]
                columns[k] = pa.array(values, mask=~np.isfinite(values))
        return columns

    def _take_over(self) -> NDArray[np.bool_]:
        known = np.zeros(len(self._uids), bool)
        old = self._step.reusable(self.part)
        if old is None or not len(old):
            return known
        stored = self._stored() if self._step.embeddings else {}
        keys = self._scored.to_pylist()
        places = {key: at for at, key in enumerate(old["scored"].to_pylist()) if key is not None}
        at_npz = {key: at for at, key in enumerate(stored.get("scored", np.array([])).tolist())}
        needed = {"caption_scores", *([AGREEMENT] if self._step.agrees else [])}
        if needed <= {*old.column_names}:
            lists = old["caption_scores"].to_pylist()
            agreement = old[AGREEMENT].to_pylist() if self._step.agrees else None
            chosen = old[self._step.columns.names[2]].is_null().to_pylist()
            for row, key in enumerate(keys):
                at = places.get(key)
                place = at_npz.get((key or "").encode())
                if at is None or (self._step.embeddings and place is None):
                    continue
                known[row], self._undecodable[row] = True, chosen[at]
                start, stop = self._starts[row], self._starts[row + 1]
                self._all_scores[start:stop] = _numbers(lists[at])
                if agreement is not None:
                    self._agreement[start:stop] = _numbers(agreement[at])
                for name in (IMAGE, TEXT) if stored else ():
                    values = stored[self._names()[name]]
                    self._array(name, values.shape[1])[row] = values[place]
        self._take_images(stored, known)
        return known

    def _take_images(
        self, stored: dict[str, NDArray[np.generic]], known: NDArray[np.bool_]
    ) -> None:
        """Fill in the embeddings of images that an earlier run has stored, whatever it scored."""
        if not stored:
            return
        own = _hashed(self._images, ops.own_captions(self._pairs)).to_pylist()
        images = _hashed(self._images, pa.array([""] * len(own))).to_pylist()
        by_image = {key: at for at, key in enumerate(stored.get(_STORED, np.array([])).tolist())}
        by_pair = {key: at for at, key in enumerate(stored["scored"].tolist())}
        values = stored[self._names()[IMAGE]]
        for row in np.flatnonzero(~known).tolist():
            place = by_image.get((images[row] or "").encode())
            place = by_pair.get((own[row] or "").encode()) if place is None else place
            if place is not None and images[row] and np.isfinite(values[place]).all():
                self._array(IMAGE, values.shape[1])[row] = values[place]
                self._has_image[row] = True

    def _stored(self) -> dict[str, NDArray[np.generic]]:
        found = super()._stored()
        if found:
            try:
                with files.open_read(self._file()) as file, np.load(file) as arrays:
                    found |= {x: arrays[x] for x in (_STORED,) if x in arrays}
            except (CurateError, FileNotFoundError):
                return {}
        return found

    def _further(self) -> dict[str, NDArray[np.generic]]:
        images = _hashed(self._images, pa.array([""] * len(self._uids)))
        return {_STORED: np.array(pc.fill_null(images, "").to_pylist(), "S32")}


def _numbers(values: list[float | None]) -> list[float]:
    return [np.nan if x is None else x for x in values]


def _hashed(images: pa.Array, texts: Column) -> pa.Array:
    """A hash of each image and text; null where that of the image is not known."""
    return pc.if_else(
        pc.is_valid(images),
        pair_uids(pc.fill_null(images, ""), texts),
        pa.scalar(None, pa.string()),
    )


def _scores_in(run: Run, folder: str, part: Part, uids: pa.Array) -> NDArray[np.float32]:
    """The scores of all captions of a part under another model, one after the other."""
    other = run.rows(folder, part)
    if not other["uid"].combine_chunks().equals(uids):
        raise AssertionError(f"{folder} of part {part.index} is not of its rows")
    values = pc.list_flatten(other["caption_scores"]).combine_chunks()
    return np.asarray(values.to_numpy(zero_copy_only=False), np.float32)
