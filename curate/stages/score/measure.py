"""Further scores: stored image, caption, columns and embeddings -> a column each, or several.

`MeasureStep` writes those of one score to a folder of its own inside ``annotated/score``, with the
error of each row that it failed for; the model's step, or `JoinStep` where there is no model, puts the
columns of those that come with the project beside each other in ``annotated/score`` itself. No row
leaves here. A retry is safe; what an earlier run found under the same settings, of the same stored
image, caption and columns, is taken over.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from curate import files
from curate.ops.ahead import ahead
from curate.ops.hashing import pair_uids
from curate.ops.images.levels import trainer_view
from curate.ops.scores.batch import (
    EMBEDDINGS,
    IMAGE,
    IMAGE_EMBEDDING,
    TEXT_EMBEDDING,
    Batch,
    Vectors,
)
from curate.ops.scores.kinds import is_made_once
from curate.ops.scores.scoring import Loaded, ScoreSpec
from curate.ops.scores.vectors import stored_vectors
from curate.planning.asked import measured, score_spec
from curate.planning.plan import Plan
from curate.planning.steps import Kind, Step
from curate.reasons import ErrorCode
from curate.rundir.directory import REUSED, SCORED, Beside, Part, Run
from curate.schema import ROW, Stage
from curate.stages.images import read_images
from curate.stages.part import PartOutput, PartStep, TakePart, given
from curate.stages.score.accelerator import on_accelerator
from curate.stages.score.once import MadeOnce, stands

_PIXELS = 1 << 28  # bytes of decoded images in a batch, about: 256 MiB
_OF_ROWS = (("uid", pa.string()), ("scored", pa.string()))
FAILED = ("error", "detail")
"""Columns of a part in which a row failed: an ErrorCode and what is told of it, null for the others."""


@dataclass(frozen=True)
class MeasureStep(PartStep):
    """One further score for one part."""

    stage: ClassVar[Stage] = Stage.SCORE
    annotates: ClassVar[bool] = True

    name: str
    score: ScoreSpec
    encode_format: str
    beside: Beside = field(default_factory=dict)  # columns that the score may read

    @property
    def folder(self) -> str:
        """``annotated/score/NAME``."""
        return files.join(super().folder, self.name)

    def process(self, part: Part, made: object = None) -> PartOutput:
        """Score the rows that are not known yet, by what was `made` for all parts, if anything was."""
        table = self._rows(part)
        scored = scored_of(table, images=self.score.looks, columns=self.score.read_columns)
        known = self._known(part)
        places = {key: at for at, key in enumerate(known["scored"].to_pylist()) if key is not None}
        at = [places.get(key) for key in scored.to_pylist()]
        fresh = [row for row, place in enumerate(at) if place is None]
        found = self.score.settled(known.select(self.score.schema.names))
        if fresh:
            score = self._loaded(made)
            new = self._scored(part, table.take(pa.array(fresh)), score, known=len(at) - len(fresh))
            for place, row in enumerate(fresh, start=len(found)):
                at[row] = place
            found = pa.concat_tables([found, new])
        found = found.take(pa.array(at, pa.int64())).combine_chunks()
        if found["error"].null_count == len(found):
            found = found.drop_columns(list(FAILED))
        done = pa.table([table["uid"].combine_chunks(), scored], schema=pa.schema(_OF_ROWS))
        for column in found.schema:
            done = done.append_column(column, found[column.name])
        return PartOutput(done, figures={REUSED: float(len(at) - len(fresh))})

    def _rows(self, part: Part) -> pa.Table:
        """What the score reads of each row, but images and embeddings."""
        names = {"uid", "caption", *self.score.read_columns}
        if self.score.looks:
            names |= {"tar_offset", "tar_size", "stored_sha256"}
        table = self.run.rows(self.reads, part.index, present=names)
        if missing := names - set(table.column_names):
            asked = {"uid", *missing}
            found = self.run.annotated(self.stage, part.index, asked, beside=self.beside)
            _check_rows(found["uid"].to_numpy(), table["uid"].to_numpy(), folder=SCORED, part=part)
            for name in sorted(missing):
                table = table.append_column(name, found[name])
        return table.append_column(ROW, pa.array(np.arange(len(table))))

    def _known(self, part: Part) -> pa.Table:
        """What an earlier run found, but for the rows that failed."""
        wanted = self.score.schema
        old = self.reusable(part)
        if old is None:
            return pa.schema([("scored", pa.string()), *wanted]).empty_table()
        for name in FAILED:
            if name not in old.column_names:
                old = old.append_column(name, pa.nulls(len(old), pa.string()))
        return old.select(["scored", *wanted.names]).filter(pc.is_null(old["error"]))

    def _loaded(self, made: object) -> Loaded:
        options = self.score.options if made is None else {"made": made}
        return replace(self.score, options=options).load()

    def _scored(self, part: Part, table: pa.Table, score: Loaded, *, known: int) -> pa.Table:
        """The columns of the rows of `table`, counted as they come; `known` others need none."""
        found = [self.score.schema.empty_table()]
        at: list[int | None] = [None] * len(table)
        scored = 0
        with self.counted(part) as journal:
            journal.count(known)
            for batch, rows, read in ahead(self._batches(part, table), n=1):
                if rows:
                    found.append(score(batch))
                for row in rows:
                    at[row], scored = scored, scored + 1
                journal.count(read)
        made = pa.concat_tables(found)
        if scored > 1 and made["error"].null_count == 0:
            score.check_worked(made["detail"][0].as_py())
        undecodable = pa.array([place is None for place in at])
        made = made.take(pa.array(at, pa.int64()))
        error = pc.if_else(undecodable, str(ErrorCode.IMAGE_UNDECODABLE), made["error"])
        return made.set_column(made.column_names.index("error"), "error", error)

    def _batches(self, part: Part, table: pa.Table) -> Iterator[tuple[Batch, list[int], int]]:
        """Batches, the rows of `table` that each is of, and the rows that were read for it.

        Rows without an image that can be decoded, or without an embedding, are in none.
        """
        images = self._images(part, table)
        vectors = self._vectors(part, table)
        rows: list[int] = []
        pixels: list[NDArray[np.uint8]] = []
        start = size = 0
        for row in range(len(table)):
            image = next(images)
            if image is not None and all(np.isfinite(one[row]).all() for one in vectors.values()):
                rows.append(row)
                pixels.append(image)
                size += image.nbytes
            if len(rows) == self.score.batch_size or size >= _PIXELS or row == len(table) - 1:
                yield self._batch(table, rows, pixels, vectors), rows, row + 1 - start
                rows, pixels, start, size = [], [], row + 1, 0

    def _batch(
        self,
        table: pa.Table,
        rows: Sequence[int],
        pixels: Sequence[NDArray[np.uint8]],
        vectors: Mapping[str, Vectors],
    ) -> Batch:
        of_rows = table.take(pa.array(rows, pa.int64()))
        named = {"image_embeddings": IMAGE_EMBEDDING, "text_embeddings": TEXT_EMBEDDING}
        return Batch(
            captions=of_rows["caption"].to_pylist(),
            images=pixels if IMAGE in self.score.reads else None,
            columns={name: of_rows[name].to_pylist() for name in self.score.read_columns},
            **{key: vectors[name][rows] for key, name in named.items() if name in vectors},
        )

    def _images(self, part: Part, table: pa.Table) -> Iterator[NDArray[np.uint8] | None]:
        """The stored image of each row, (height, width, 3) RGB; None where it cannot be decoded."""
        if IMAGE not in self.score.reads:
            yield from (_NOTHING for _ in range(len(table)))
            return
        for content in read_images(self.run, part.index, table, encode_format=self.encode_format):
            image = trainer_view(content)
            yield None if image is None else np.array(image)

    def _vectors(self, part: Part, table: pa.Table) -> dict[str, Vectors]:
        """The stored embeddings of each row, as floats, by what the score calls them."""
        asked = EMBEDDINGS.intersection(self.score.reads)
        if not asked:
            return {}
        with (
            files.open_read(self.run.part(SCORED, part.index, "npz")) as file,
            np.load(file) as all_,
        ):
            stored = {name: stored_vectors(all_, kind=_STORED[name]) for name in sorted(asked)}
            uids = all_["uid"].astype(str)
        rows = table[ROW].to_numpy()
        _check_rows(uids[rows], table["uid"].to_numpy(), folder=SCORED, part=part)
        return {name: one[rows].astype(np.float32) for name, one in stored.items()}


_NOTHING = np.empty(0, np.uint8)
_STORED = {IMAGE_EMBEDDING: "img", TEXT_EMBEDDING: "txt"}


@dataclass(frozen=True)
class JoinStep(PartStep):
    """The columns of all further scores beside each other, where no model runs."""

    stage: ClassVar[Stage] = Stage.SCORE
    annotates: ClassVar[bool] = True

    joined: tuple[str, ...]

    def process(self, part: Part) -> PartOutput:
        """Read the columns; nothing is computed."""
        uids = self.incoming(part)["uid"].combine_chunks()
        columns = joined(self.run, self.folder, part, names=self.joined, uids=uids)
        schema = pa.schema([("uid", pa.string()), *((name, pa.float32()) for name in self.joined)])
        return PartOutput(pa.table([uids, *columns], schema=schema))


def scored_of(pairs: pa.Table, *, images: bool, columns: Sequence[str] = ()) -> pa.Array:
    """What a score of each of `pairs` is of, as a hash: its caption, its stored image, `columns`.

    Null where the hash of an image is not known.
    """
    captions = pairs["caption"]
    if columns:
        rows = pairs.select(["caption", *columns]).to_pylist()
        captions = pa.array([json.dumps(list(row.values()), default=str) for row in rows])
    if not images:
        return pair_uids(pa.array([""] * len(pairs)), captions)
    stored = pairs["stored_sha256"].combine_chunks()
    hashes = pair_uids(pc.fill_null(stored, ""), captions)
    return pc.if_else(pc.is_valid(stored), hashes, None)


def joined(
    run: Run, folder: str, part: Part, *, names: tuple[str, ...], uids: pa.Array
) -> list[pa.ChunkedArray]:
    """The columns `names`, each from the folder of its name inside `folder`; rows are `uids`."""
    columns = []
    for name in names:
        other = run.rows(files.join(folder, name), part)
        if not other["uid"].combine_chunks().equals(uids):
            raise AssertionError(f"{folder}/{name} of part {part.index} is not of its rows")
        columns.append(other[name])
    return columns


def _check_rows(
    found: NDArray[np.generic], uids: NDArray[np.generic], *, folder: str, part: Part
) -> None:
    if not np.array_equal(found, uids):
        raise AssertionError(f"{folder} of part {part.index} is not of its rows")


def transform(plan: Plan, step: Step) -> beam.PTransform:
    """Parts -> parts whose pairs have a further score, or all of them beside each other; a map."""
    config = plan.config
    if step.kind is Kind.JOIN:
        join = JoinStep(**given(plan, step), joined=tuple(measured(config)))
        return beam.ParDo(TakePart(join))
    own = MeasureStep(
        **given(plan, step),
        name=step.name,
        score=score_spec(step.name, config),
        encode_format=config.download.encode_format,
        beside=plan.steps.beside(step.stage),
    )
    if is_made_once(own.score) and not stands(own, parts=len(plan.parts)):
        return MadeOnce(own, own.score)
    take = beam.ParDo(TakePart(own))
    further = config.scores[step.name]
    heavy = further.accelerator or further.kind == "masked_clip"
    return on_accelerator(take, config) if heavy else take
