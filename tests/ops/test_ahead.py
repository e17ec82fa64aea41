"""Things made ahead: in order, few at a time, errors in their place, and no thread left behind."""

import threading
import time
from collections.abc import Iterator

import pytest

from curate.ops.ahead import ahead


def alive() -> int:
    return sum(thread.name == "ahead" for thread in threading.enumerate())


def wait_for_none() -> None:
    deadline = time.monotonic() + 5
    while alive() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert alive() == 0


def test_in_order_and_the_thread_ends() -> None:
    assert list(ahead(range(100), n=3)) == list(range(100))
    assert list(ahead([], n=1)) == []
    wait_for_none()


def test_never_more_than_a_few_early() -> None:
    made: list[int] = []

    def make() -> Iterator[int]:
        for i in range(20):
            made.append(i)
            yield i

    things = ahead(make(), n=2)
    for wanted in range(20):
        assert next(things) == wanted
        time.sleep(0.005)
        assert len(made) <= wanted + 1 + 3  # two that wait, one that does not fit


def test_an_error_comes_where_the_thing_would_have_come() -> None:
    def make() -> Iterator[int]:
        yield 1
        raise KeyError("second")

    things = ahead(make(), n=5)
    assert next(things) == 1
    with pytest.raises(KeyError, match="second"):
        next(things)
    wait_for_none()


def test_the_thread_ends_when_nobody_asks_any_more() -> None:
    things = ahead(iter(int, 1), n=2)
    assert next(things) == 0
    things.close()  # type: ignore[attr-defined] # a generator
    wait_for_none()
