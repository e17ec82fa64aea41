"""A part on its way through a model: its rows, what is known of them, and what becomes of them.

Scores of an earlier run are reused where model, stored image and caption are the same, and they are
bit for bit what a new pass would give.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from curate import files, schema
from curate.errors import CurateError
from curate.ops.captions import Choice
from curate.ops.scores.batch import Batch
from curate.ops.scores.clip import ClipModel
from curate.ops.scores.pairs import Embedded
from curate.ops.scores.scoring import ScoreSpec
from curate.parent import at_work
from curate.rundir.directory import REUSED, Part, part_name
from curate.schema import Column, Stage
from curate.stages.images import read_images
from curate.stages.part import PartOutput, PartStep
from curate.stages.score.measure import joined, scored_of

IMAGE, TEXT = "img", "txt"
"""What the names of the stored embeddings of images and of captions end in."""


@dataclass(frozen=True)
class Scoring(PartStep):
    """What a model scores of a part, and what is put beside it."""

    stage: ClassVar[Stage] = Stage.SCORE
    annotates: ClassVar[bool] = True

    model: ClipModel
    encode_format: str
    name: str = ""  # of a further score: its column and its folder
    embeddings: str = ""  # what the stored embeddings' names begin with; empty: none are stored
    joined: tuple[str, ...] = ()  # further scores, whose columns are put beside this one's
    heads: tuple[ScoreSpec, ...] = ()  # on stored embeddings, a column each
    choice: Choice | None = None  # where pairs have several captions: which of them is chosen
    agrees: bool = False  # whether each of them is compared with the pair's own

    @property
    def folder(self) -> str:
        """``annotated/score``; that of a further score is inside it."""
        return files.join(super().folder, self.name) if self.name else super().folder

    @property
    def columns(self) -> pa.Schema:
        """The uid, what was scored, this step's score, and the joined ones."""
        heads = [name for head in self.heads for name in head.columns.names]
        names = [self.name] if self.name else [*schema.SCORE.names, *self.joined, *heads]
        known = [schema.SCORED.field(name) for name in ("uid", "scored")]
        further = schema.OF_CAPTIONS if self.choice else ()
        none = {"caption_at"} if self.name else set()
        none |= set() if self.agrees else {schema.AGREEMENT}
        more = [x for x in further if x.name not in none]
        return pa.schema([*known, *((name, pa.float32()) for name in names), *more])


class Job:
    """A part on its way through the model: its rows, and what is known of each."""

    def __init__(self, step: Scoring, part: Part) -> None:
        self.started = time.monotonic()
        self.part = part
        self._step = step
        names = ["uid", "caption", "tar_offset", "tar_size", "stored_sha256"]
        several = ["captions"] if step.choice else []
        self._pairs = table = step.incoming(part).select([*names, *several])
        self._uids = table["uid"].combine_chunks()
        self._captions = table["caption"].to_pylist() if step.heads else []
        self._scored = self._keys(table)
        n = len(table)
        self._scores = np.full(n, np.nan, np.float32)
        self._undecodable = np.zeros(n, bool)
        self._vectors: dict[str, NDArray[np.float16]] = {}
        clocks = ("load_seconds", "model_seconds", "idle_seconds")
        self.figures = {REUSED: 0.0, **dict.fromkeys(clocks, 0.0)}
        known = self._take_over()
        self._rows = np.flatnonzero(~known)
        self.missing = len(self._rows)
        self._table = table.take(pa.array(self._rows))
        self.figures[REUSED] = n - self.missing
        self._opened = ExitStack()
        self._opened.enter_context(at_work(f"{step.folder} of part {part.index}"))
        if self.missing:
            self._journal = self._opened.enter_context(step.counted(part))
            self.count(n - self.missing)

    def _keys(self, pairs: pa.Table) -> pa.Array:
        """What the score of each row is of."""
        return scored_of(pairs, images=True)

    def close(self) -> None:
        """Release what the job holds open: no more rows come."""
        self._opened.close()

    def contents(self) -> Iterator[tuple[int, str, bytes | None]]:
        """Row, caption and image file of each row that has no score yet."""
        if not self.missing:
            return
        run, index = self._step.run, self.part.index
        images = read_images(run, index, self._table, encode_format=self._step.encode_format)
        yield from zip(self._rows.tolist(), self._table["caption"].to_pylist(), images, strict=True)

    def count(self, n: int) -> None:
        """Count `n` more rows as scored, for the progress bars."""
        self._journal.count(n)

    def put(self, row: int, found: Embedded, at: int, *, decoded: bool) -> None:
        """Row `at` of a batch's outcome is that of `row`; with its last row a job is done."""
        self._undecodable[row] = not decoded
        if decoded:
            self._scores[row] = found.scores[at]
        for key, values in ((IMAGE, found.image), (TEXT, found.text)):
            if self._step.embeddings:
                self._array(key, values.shape[1])[row] = values[at] if decoded else np.nan
        self.missing -= 1

    def output(self) -> PartOutput:
        """All scores, in the order of the rows; the embeddings are written to their file."""
        step = self._step
        held = {}
        further = self._settle()
        if step.embeddings:
            held[part_name(step.folder, self.part.index, "npz")] = self._write_embeddings()
        else:
            files.remove_file(self._file())
        columns = [self._uids, self._scored, pa.array(self._scores, mask=self._undecodable)]
        columns += self._joined()
        for head in step.heads:
            columns += self._of_head(head)
        columns += further.values()
        table = pa.table(columns, schema=step.columns)
        return PartOutput(table, figures=self.figures, wrote=held)

    def _settle(self) -> dict[str, pa.Array]:
        """What follows from the scores of all rows, as further columns, before any is written."""
        return {}

    def _joined(self) -> list[Column]:
        """The further scores, whose columns are put beside this one's."""
        step = self._step
        return [*joined(step.run, step.folder, self.part, names=step.joined, uids=self._uids)]

    def _further(self) -> dict[str, NDArray[np.generic]]:
        """Further arrays beside the embeddings, a value a row."""
        return {}

    def _of_head(self, head: ScoreSpec) -> list[pa.Array]:
        """The column of a head; null where there is no embedding."""
        vectors = self._array(IMAGE, 0).astype(np.float32)
        rows = np.flatnonzero(np.isfinite(vectors).all(axis=1))
        if not len(rows):
            return [pa.nulls(len(vectors), one.type) for one in head.columns]
        captions = [self._captions[row] for row in rows]
        found = head.load()(Batch(captions, image_embeddings=vectors[rows]))
        places = np.full(len(vectors), -1)
        places[rows] = np.arange(len(rows))
        found = found.take(pa.array(places, mask=places < 0))
        return [found[name].combine_chunks() for name in head.columns.names]

    def _array(self, key: str, width: int) -> NDArray[np.float16]:
        if key not in self._vectors:
            self._vectors[key] = np.full((len(self._uids), width), np.nan, np.float16)
        return self._vectors[key]

    def _names(self) -> dict[str, str]:
        return {key: f"{self._step.embeddings}_{key}" for key in (IMAGE, TEXT)}

    def _file(self) -> str:
        return self._step.run.part(self._step.folder, self.part.index, "npz")

    def _take_over(self) -> NDArray[np.bool_]:
        """Fill in what an earlier run scored under the same settings; a mask of these rows."""
        known = np.zeros(len(self._uids), bool)
        old = self._step.reusable(self.part)
        if old is None or not len(old):
            return known
        places = dict(zip(old["scored"].to_pylist(), range(len(old)), strict=True))
        stored = self._stored() if self._step.embeddings else {}
        scores = old[self._step.columns.names[2]]
        values = scores.to_numpy(zero_copy_only=False)
        unscored = scores.is_null().to_numpy(zero_copy_only=False)
        at_npz = {key: at for at, key in enumerate(stored.get("scored", np.array([])).tolist())}
        for row, key in enumerate(self._scored.to_pylist()):
            if key is None or key not in places:
                continue
            at, place = places[key], at_npz.get(key.encode())
            if self._step.embeddings and place is None:
                continue
            known[row] = True
            self._scores[row], self._undecodable[row] = values[at], unscored[at]
            for key, name in self._names().items() if self._step.embeddings else ():
                self._array(key, stored[name].shape[1])[row] = stored[name][place]
        return known

    def _stored(self) -> dict[str, NDArray[np.generic]]:
        """The stored embeddings; a killed run may have left others than its scores, or none."""
        try:
            with files.open_read(self._file()) as file, np.load(file) as found:
                return {name: found[name] for name in ("scored", *self._names().values())}
        except (CurateError, FileNotFoundError, KeyError):
            return {}

    def _write_embeddings(self) -> files.Content:
        names = self._names()
        arrays: dict[str, NDArray[np.generic]]
        arrays = {name: self._array(key, 0) for key, name in names.items()}
        uids = np.array(self._uids.to_pylist(), "S32")
        scored = np.array(pc.fill_null(self._scored, "").to_pylist(), "S32")
        arrays |= self._further()
        return files.write_arrays(self._file(), uid=uids, scored=scored, **arrays)
