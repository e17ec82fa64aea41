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
from contextlib import closing
from dataclasses import dataclass, replace

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.windowed_value import WindowedValue

from curate.config import Scorer
from curate.ops.scores.clip import embedding_prefix
from curate.planning.asked import choice_of, clip_model, headed, measured, score_spec
from curate.planning.plan import Plan
from curate.planning.steps import Step
from curate.rundir.directory import Part
from curate.stages.part import PartOutput, commit, given, is_valid, passed
from curate.stages.score.accelerator import on_accelerator
from curate.stages.score.captions import CaptionsJob
from curate.stages.score.job import Job, Scoring
from curate.stages.score.line import Line


@dataclass(frozen=True)
class ScoreStep(Scoring):
    """The scores of one model for one part."""

    def process(self, part: Part) -> PartOutput:
        """Score one part by itself."""
        with closing(self.job(part)) as job:
            line = Line(self.model)
            line.put(job)
            line.end()
        return job.output()

    def job(self, part: Part) -> Job:
        """The part on its way through the model."""
        return CaptionsJob(self, part) if self.choice else Job(self, part)


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
        job = step.job(replace(part, fresh=record is None))
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
        choice=choice_of(config) if config.captions else None,
        agrees=first and config.caption.alip is not None,
    )


def transform(plan: Plan, step: Step) -> beam.PTransform:
    """Parts -> parts whose pairs a model has scored, on an accelerator where workers are rented."""
    return on_accelerator(beam.ParDo(TakeScores(step_of(plan, step))), plan.config)
