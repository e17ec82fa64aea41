"""score: stored image and caption -> clip_score, on GPU workers.

`ScoreStep` writes the scores of every pair of a part; `select` then applies the rules. A further
model's scores are written to a folder of its own, and the first model's step joins them to its own, so
``annotated/score`` has a column for each. The device is chosen on the worker. A retry is safe: scores
of an earlier run are reused where model, stored image and caption are the same, and they are bit for
bit what a new pass would give.

Parts are not scored one by one: `TakeScores` puts them in a queue before the model (the module
`line`), so that batches go across the borders of parts, and writes a part when its last row is scored.
"""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from typing import ClassVar

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.windowed_value import WindowedValue
from numpy.typing import NDArray

from curate import files, schema
from curate.config import Scorer
from curate.errors import CurateError
from curate.ops.scores.batch import Batch
from curate.ops.scores.clip import ClipModel, embedding_prefix
from curate.ops.scores.pairs import Embedded
from curate.ops.scores.scoring import ScoreSpec
from curate.parent import at_work
from curate.planning.asked import clip_model, headed, measured, score_spec
from curate.planning.plan import Plan
from curate.planning.steps import Step
from curate.run.directory import REUSED, Part, part_name
from curate.schema import Stage
from curate.stages.images import read_images
from curate.stages.part import PartOutput, PartStep, commit, given, is_valid, passed
from curate.stages.score.accelerator import on_accelerator
from curate.stages.score.line import Line
from curate.stages.score.measure import joined, scored_of


@dataclass(frozen=True)
class ScoreStep(PartStep):
    """The scores of one model for one part."""

    stage: ClassVar[Stage] = Stage.SCORE
    annotates: ClassVar[bool] = True

    model: ClipModel
    encode_format: str
    name: str = ""  # of a further score: its column and its folder
    embeddings: str = ""  # what the stored embeddings' names begin with; empty: none are stored
    joined: tuple[str, ...] = ()  # further scores, whose columns are put beside this one's
    heads: tuple[ScoreSpec, ...] = ()  # on stored embeddings, a column each

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
        return pa.schema([*known, *((name, pa.float32()) for name in names)])

    def process(self, part: Part) -> PartOutput:
        """Score one part by itself."""
        with closing(Job(self, part)) as job:
            line = Line(self.model)
            line.put(job)
            line.end()
        return job.output()


class Job:
    """A part on its way through the model: its rows, and what is known of each."""

    def __init__(self, step: ScoreStep, part: Part) -> None:
        self.started = time.monotonic()
        self.part = part
        self._step = step
        names = ["uid", "caption", "tar_offset", "tar_size", "stored_sha256"]
        table = step.incoming(part).select(names)
        self._uids = table["uid"].combine_chunks()
        self._captions = table["caption"].to_pylist() if step.heads else []
        self._scored = scored_of(table, images=True)
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

    def close(self) -> None:
        """Release what the job holds open: no more rows come."""
        self._opened.close()

    def contents(self) -> Iterator[tuple[int, str, bytes]]:
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
        for key, values in (("img", found.image), ("txt", found.text)):
            if self._step.embeddings:
                self._array(key, values.shape[1])[row] = values[at] if decoded else np.nan
        self.missing -= 1

    def output(self) -> PartOutput:
        """All scores, in the order of the rows; the embeddings are written to their file."""
        step, run = self._step, self._step.run
        held = {}
        if step.embeddings:
            held[part_name(step.folder, self.part.index, "npz")] = self._write_embeddings()
        else:
            files.remove_file(self._file())
        columns = [self._uids, self._scored, pa.array(self._scores, mask=self._undecodable)]
        columns += joined(run, step.folder, self.part, names=step.joined, uids=self._uids)
        for head in step.heads:
            columns += self._of_head(head)
        table = pa.table(columns, schema=step.columns)
        return PartOutput(table, figures=self.figures, wrote=held)

    def _of_head(self, head: ScoreSpec) -> list[pa.Array]:
        """The column of a head; null where there is no embedding."""
        vectors = self._array("img", 0).astype(np.float32)
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
        return {key: f"{self._step.embeddings}_{key}" for key in ("img", "txt")}

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
        arrays = {name: self._array(key, 0) for key, name in names.items()}
        uids = np.array(self._uids.to_pylist(), "S32")
        scored = np.array(pc.fill_null(self._scored, "").to_pylist(), "S32")
        return files.write_arrays(self._file(), uid=uids, scored=scored, **arrays)


class TakeScores(beam.DoFn):
    """Takes the parts of a bundle through a `ScoreStep`; each is yielded once it is written."""

    def __init__(self, step: ScoreStep) -> None:
        self._step = step

        self._line: Line | None = None
        self._open: deque[Job] = deque()
        self._ended = 0.0

    def start_bundle(self) -> None:
        """The model's thread starts with the first part that is not done."""
        self.teardown()

    def process(self, part: Part) -> Iterator[Part]:
        """Skip the part if it has a valid record; else queue it, and write the parts that are done."""
        step = self._step
        record = step.run.record(step.folder, part.index)
        if is_valid(record, step):
            yield passed(step, part, record)
            return
        if record is not None:
            step.run.retract(step.folder, part.index, own=step.own)
        job = Job(step, replace(part, fresh=record is None))
        self._open.append(job)
        if job.missing:
            self._line = self._line or Line(step.model)
            self._line.put(job)
        yield from self._written()

    def finish_bundle(self) -> Iterator[WindowedValue]:
        """Wait for the model, and write the rest."""
        if self._line:
            self._line.end()
        self._line = None
        for part in self._written():
            yield GlobalWindows.windowed_value(part)

    def teardown(self) -> None:
        """Stop the threads that a failed bundle left."""
        if self._line:
            self._line.abandon()
            self._line = None
        while self._open:
            self._open.popleft().close()

    def _written(self) -> Iterator[Part]:
        while self._open and not self._open[0].missing:
            job = self._open.popleft()
            job.close()
            output = job.output()
            seconds = time.monotonic() - max(job.started, self._ended)
            record = commit(self._step, job.part, output, seconds=seconds)
            self._ended = time.monotonic()
            self._step.tidy(job.part)
            yield passed(self._step, job.part, record)


def step_of(plan: Plan, step: Step) -> ScoreStep:
    """What scores a part with the model of `step` under `plan`."""
    scorer, config = step.settings, plan.config
    if not isinstance(scorer, Scorer) or config.score is None:
        raise AssertionError(f"{step.folder} has no scorer")
    first = not step.name
    return ScoreStep(
        **given(plan, step),
        model=clip_model(scorer, config.score.workers),
        encode_format=config.download.encode_format,
        name=step.name,
        embeddings=embedding_prefix(scorer.model) if scorer.embeddings else "",
        joined=(*config.score.also, *measured(config)) if first else (),
        heads=tuple(score_spec(name, config) for name in headed(config)) if first else (),
    )


def transform(plan: Plan, step: Step) -> beam.PTransform:
    """Parts -> parts whose pairs a model has scored, on an accelerator where workers are rented."""
    return on_accelerator(beam.ParDo(TakeScores(step_of(plan, step))), plan.config)
