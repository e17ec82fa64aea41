"""A queue of parts before one model: images are read and decoded ahead, batches cross part borders."""

import os
import queue
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from curate.ops.ahead import ahead
from curate.ops.scores.clip import ClipModel
from curate.ops.scores.pairs import Batch, Embedded, Scorer
from curate.rundir.directory import ON_DEVICE, ON_GPU

if TYPE_CHECKING:
    import torch

_EARLY = 2  # batches that are ready, and as many that are being decoded
_PATIENCE = 0.1  # seconds between looks at whether the model still runs
_THREADS = 16  # that decode, at most


class Job(Protocol):
    """A part on its way through the model."""

    figures: dict[str, float]

    def contents(self) -> Iterator[tuple[int, str, bytes | None]]:
        """Row, caption and image file of each row that is to be scored; None for a caption alone."""

    def count(self, n: int) -> None:
        """Count `n` more rows as scored, for the progress bars."""

    def put(self, row: int, found: Embedded, at: int, *, decoded: bool) -> None:
        """Row `at` of a batch's outcome is that of `row`; with its last row a job is done."""


@dataclass
class _Waiting:
    """A row whose image, if it has one, is being decoded."""

    job: Job
    row: int
    caption: str
    pixels: "Future[torch.Tensor | None] | None"


@dataclass
class _Ready:
    """A batch and whose rows it holds."""

    scorer: Scorer
    rows: list[_Waiting]
    batch: Batch
    decoded: list[bool] = field(default_factory=list)


class Line:
    """A queue of jobs before one model: images are decoded ahead, batches cross part borders."""

    def __init__(self, model: ClipModel) -> None:
        self._model = model
        self._jobs: queue.Queue[Job | None] = queue.Queue(1)
        self._abandoned = threading.Event()
        self._loading = 0.0  # seconds, until the model's thread has taken note
        self._taking, self._putting = threading.Lock(), threading.Lock()
        self._running: Future[None] = Future()
        self._thread = threading.Thread(target=self._work, daemon=True, name="model")
        self._thread.start()

    def put(self, job: Job | None) -> None:
        """Append a job to the queue, as soon as the one before is being read.

        Raises whatever stopped the model.
        """
        while True:
            try:
                return self._jobs.put(job, timeout=_PATIENCE)
            except queue.Full:
                if self._running.done():
                    self._running.result()

    def end(self) -> None:
        """Wait until every job is done."""
        self.put(None)
        self._running.result()

    def abandon(self) -> None:
        """Stop after the batch that the model is at."""
        self._abandoned.set()
        self._thread.join()

    def _work(self) -> None:
        try:
            self._run()
            self._running.set_result(None)
        except BaseException as error:  # noqa: BLE001 - raised in the thread that waits
            self._running.set_exception(error)

    def _run(self) -> None:
        """The thread of the model, and one for each further batch that it takes at a time."""
        batches = ahead(self._batches(), n=_EARLY)
        ready, idle = self._next(batches)
        if ready is None:
            return
        lanes = ready.scorer.lanes
        with ThreadPoolExecutor(max(lanes - 1, 1), thread_name_prefix="model") as more:
            others = [more.submit(self._lane, batches, lanes=lanes) for _ in range(lanes - 1)]
            self._lane(batches, ready, idle, lanes=lanes)
            for other in others:
                other.result()

    def _lane(
        self,
        batches: Iterator[_Ready],
        ready: _Ready | None = None,
        idle: float = 0.0,
        *,
        lanes: int,
    ) -> None:
        """Take one batch after the other through the model, `ready` first."""
        try:
            if ready is None:
                ready, idle = self._next(batches)
            while ready is not None and not self._abandoned.is_set():
                found = ready.scorer(ready.batch)
                with self._putting:
                    self._put(ready, found, idle=idle / lanes)
                ready, idle = self._next(batches)
        except BaseException:
            self._abandoned.set()  # the other lanes end, too
            raise

    def _next(self, batches: Iterator[_Ready]) -> tuple[_Ready | None, float]:
        """The next batch, and the seconds that it was waited for; None if there is no more."""
        asked = time.monotonic()
        with self._taking:
            return next(batches, None), time.monotonic() - asked

    def _put(self, ready: _Ready, found: Embedded, *, idle: float) -> None:
        figures = ready.rows[-1].job.figures
        loading, self._loading = self._loading, 0.0
        figures["load_seconds"] += loading
        figures["idle_seconds"] += max(idle - loading, 0.0)
        figures["model_seconds"] += found.seconds
        n = sum(one.pixels is not None for one in ready.rows)
        device = {} if found.device is None else {f"{ON_DEVICE}{found.device}": n}
        on_gpu = {ON_GPU: n} if ready.scorer.on_gpu else {}
        halved = {"out_of_memory": found.halved} if found.halved else {}
        for name, more in {**device, **on_gpu, **halved}.items():
            figures[name] = figures.get(name, 0) + more
        for job, rows in Counter(x.job for x in ready.rows if x.pixels is not None).items():
            job.count(rows)
        for at, (one, decoded) in enumerate(zip(ready.rows, ready.decoded, strict=True)):
            one.job.put(one.row, found, at, decoded=decoded)

    def _batches(self) -> Iterator[_Ready]:
        """The thread that reads, hands out what is to be decoded, and makes batches."""
        waiting: deque[_Waiting] = deque()
        texts: deque[_Waiting] = deque()  # without an image
        scorer = None
        with ThreadPoolExecutor(min(os.cpu_count() or 1, _THREADS)) as decoders:
            while job := self._next_job():
                for row, caption, content in job.contents():
                    scorer = scorer or self._load()
                    if content is None:
                        texts.append(_Waiting(job, row, caption, None))
                    else:
                        pixels = decoders.submit(scorer.prepare, content)
                        waiting.append(_Waiting(job, row, caption, pixels))
                    for some in (waiting, texts):
                        if len(some) >= _EARLY * scorer.batch_size:
                            yield _collate(scorer, some)
            for some in (waiting, texts):
                while some and scorer:
                    yield _collate(scorer, some)

    def _load(self) -> Scorer:
        started = time.monotonic()
        scorer = self._model.load()
        self._loading = time.monotonic() - started
        return scorer

    def _next_job(self) -> Job | None:
        while not self._abandoned.is_set():
            try:
                return self._jobs.get(timeout=_PATIENCE)
            except queue.Empty:
                continue
        return None


def _collate(scorer: Scorer, waiting: deque[_Waiting]) -> _Ready:
    rows = [waiting.popleft() for _ in range(min(scorer.batch_size, len(waiting)))]
    images = [one.pixels.result() for one in rows if one.pixels is not None]
    batch = scorer.collate(images, [one.caption for one in rows])
    return _Ready(
        scorer, rows, batch, [image is not None for image in images] or [True] * len(rows)
    )
