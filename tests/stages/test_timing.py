"""Work without records is timed where it is done, and by the step that it is of."""

import time
from collections.abc import Iterable, Iterator

import apache_beam as beam
import pytest

from curate.config import Beam
from curate.running.pipeline import run_pipeline
from curate.stages.timing import timed

SLOW = 0.05


class Twice(beam.DoFn):
    """Each number twice, after a while each."""

    @timed
    def process(self, number: int) -> Iterator[int]:
        for _ in range(2):
            time.sleep(SLOW)
            yield number


@timed
def slow(number: int) -> int:
    time.sleep(SLOW)
    return number


def graph(pipeline: beam.Pipeline) -> None:
    _ = (
        pipeline
        | beam.Create([1, 2, 3])
        | "Own" >> beam.ParDo(Twice())
        | "One by one" >> beam.Map(slow)
    )


@pytest.fixture(scope="module")
def between() -> dict[str, tuple[int, float, float]]:
    return run_pipeline(Beam(), graph).between


def test_a_transform_is_timed_without_those_that_take_its_results(
    between: dict[str, tuple[int, float, float]],
) -> None:
    assert {label: n for label, (n, *_) in between.items()} == {"Own": 3, "One by one": 6}
    for seconds in (between["Own"][1], between["One by one"][1]):
        assert 6 * SLOW <= seconds < 11 * SLOW
    assert 2 * SLOW <= between["Own"][2] <= between["Own"][1] / 2


def test_what_is_timed_works_without_an_engine() -> None:
    found: Iterable[int] = Twice().process(1)
    assert list(found) == [1, 1]
    assert slow(4) == 4
