"""Seconds of the work that is not a part's through a step: before barriers, and on shards.

They are metrics of the engine, a distribution for each transform, since such work has no records.
"""

import inspect
import time
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any, NamedTuple, ParamSpec, TypeVar, cast

from apache_beam.metrics import Metrics, MetricsFilter
from apache_beam.runners.runner import PipelineResult

_NAMESPACE, _NAME = "curate", "microseconds"
P = ParamSpec("P")
R = TypeVar("R")


class Graph(NamedTuple):
    """How long a graph took."""

    times: tuple[float, float]  # when it began and ended, in seconds of the clock
    between: dict[str, tuple[int, float, float]]
    """By the label of a transform: how often it worked, its seconds, the longest; of a local run."""


def timed(work: Callable[P, R]) -> Callable[P, R]:
    """`work`, of a DoFn or a Map, with its seconds counted; not those of what takes its results."""
    if not inspect.isgeneratorfunction(work):

        @wraps(work)
        def whole(*args: P.args, **named: P.kwargs) -> R:
            started = time.monotonic()
            found = work(*args, **named)
            _count(time.monotonic() - started)
            return found

        return whole

    @wraps(work)
    def pieces(*args: P.args, **named: P.kwargs) -> Iterator[Any]:
        found, seconds = cast(Iterator[Any], work(*args, **named)), 0.0
        while True:
            started = time.monotonic()
            try:
                one = next(found)
            except StopIteration:
                break
            finally:
                seconds += time.monotonic() - started
            yield one
        _count(seconds)

    return cast(Callable[P, R], pieces)


def _count(seconds: float) -> None:
    Metrics.distribution(_NAMESPACE, _NAME).update(round(seconds * 1e6))


def counted(result: PipelineResult) -> dict[str, tuple[int, float, float]]:
    """By the label of each transform: how often it worked, seconds in all, and the longest."""
    found = result.metrics().query(MetricsFilter().with_namespace(_NAMESPACE))
    return {
        one.key.step: (x.count, round(x.sum / 1e6, 3), round(x.max / 1e6, 3))
        for one in found["distributions"]
        if (x := one.result) is not None
    }
