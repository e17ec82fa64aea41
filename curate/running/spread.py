"""Work on each of many files by the workers of an engine, before there is a plan to run."""

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Protocol

from curate import files
from curate.config import Config
from curate.errors import CurateError
from curate.planning.spreading import Over, anything, here, is_much
from curate.rundir.scratch import NOTES
from curate.running.pipeline import run_pipeline

_POLL, _STORE_POLL = 0.5, 10.0  # seconds between two looks at how many are done


class Watch(Protocol):
    """Shows how far a work on many things is, while a block runs."""

    def __call__(
        self, told: str, *, total: int, done: Callable[[], int], every: float
    ) -> AbstractContextManager[None]:
        """`done` counts those of the `total` that are done; it is asked `every` so many seconds."""


def by_workers(
    config: Config, *, extra: Sequence[str] = (), debug: bool = False, watch: Watch
) -> Over:
    """Much work by the workers that `config` and the `extra` options of Beam name, other work here.

    What it comes to crosses in notes in the run, where it stands until the pool is cut.
    """

    def over(
        work: Callable[[Any], Any], things: Sequence[Any], *, what: str, weight: int,
        keys: Sequence[str] = (), stands: Callable[[Any], bool] = anything,
    ) -> Iterator[Any]:  # fmt: skip
        if not config.out or not is_much(things, weight=weight):
            return here(work, things, what=what, weight=weight)
        from curate.running.noting import count, named, noted

        folder = files.join(files.absolute(config.out), "input", NOTES)
        if not keys:
            folder = files.join(folder, uuid.uuid4().hex)
        keyed = dict(zip(keys or map(str, range(len(things))), things, strict=True))
        known = {key: one for key, one in noted(folder).items() if key in keyed and stands(one)}
        left = [(key, one) for key, one in keyed.items() if key not in known]
        told = f"{what[0].upper()}{what[1:]}: {len(things):,} files, {weight / 1e6:,.0f} MB"
        told += f"; {len(known):,} of them stand from before" if known else ""
        before = count(folder)
        every = _POLL if files.local_path(folder) else _STORE_POLL
        graph = partial(_graph, work=work, left=left, what=what, folder=folder)
        with watch(told, total=len(left), done=lambda: count(folder) - before, every=every):
            if left:
                run_pipeline(config.beam, graph, extra=extra, debug=debug)
        known |= {key: one for key, one in noted(folder).items() if key not in known}
        if not keys:
            files.remove(folder)
        if lost := [one for key, one in left if key not in known]:
            raise CurateError(
                f"{folder}: a note of {named(lost[0])} is damaged; the same command goes on"
            )
        return iter([known[key] for key in keyed])

    return over


def _graph(
    pipeline: Any,
    *,
    work: Callable[[Any], Any],
    left: list[tuple[str, Any]],
    what: str,
    folder: str,
) -> None:
    import apache_beam as beam

    from curate.running.noting import Find

    _ = (
        pipeline
        | "Files" >> beam.Create(left)  # which spreads them, too
        | "Work" >> beam.ParDo(Find(work, what=what, folder=folder))
    )
