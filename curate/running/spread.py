"""Work on each of many files by the workers of an engine, before there is a plan to run."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from curate import files
from curate.config import Config
from curate.machine import faults_named
from curate.parent import at_work
from curate.planning.spreading import Over, here, is_much
from curate.running.execute import run_pipeline

_FOUND = "found.json"


def by_workers(
    config: Config, *, extra: Sequence[str] = (), debug: bool = False, tell: Callable[[str], None]
) -> Over:
    """Much work by the workers that `config` and the `extra` options of Beam name, other work here.

    What it comes to crosses in a file of the run. `tell` is told what begins.
    """

    def over(
        work: Callable[[Any], Any], things: Sequence[Any], *, what: str, weight: int
    ) -> Iterator[Any]:
        if not config.out or not is_much(things, weight=weight):
            return here(work, things, what=what, weight=weight)
        tell(f"{what[0].upper()}{what[1:]}: {len(things):,} files, {weight / 1e6:,.0f} MB")
        url = files.join(files.absolute(config.out), "input", _FOUND)
        graph = partial(_graph, work=work, things=things, what=what, url=url)
        try:
            run_pipeline(config.beam, graph, extra=extra, debug=debug)
            found: list[Any] = files.read_json(url)
        finally:
            with suppress(FileNotFoundError):
                files.remove(url)
        return iter(found)

    return over


def _graph(
    pipeline: Any, *, work: Callable[[Any], Any], things: Sequence[Any], what: str, url: str
) -> None:
    import apache_beam as beam

    (
        pipeline
        | "Files" >> beam.Create(list(enumerate(things)))  # which spreads them, too
        | "Work" >> beam.Map(_of, work, what)
        | "All" >> beam.combiners.ToList().without_defaults()
        | "Write" >> beam.Map(_write, url)
    )


def _of(numbered: tuple[int, Any], work: Callable[[Any], Any], what: str) -> tuple[int, Any]:
    number, thing = numbered
    told = f"{what}, file {number + 1:,}"
    with at_work(told), faults_named(told):
        return number, work(thing)


def _write(found: list[tuple[int, Any]], url: str) -> None:
    files.write_json(url, [one for _, one in sorted(found, key=lambda one: one[0])])
