"""Work on each of many files of the pool: here, or by the workers of the engine where it is much."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from curate.ops.ahead import together

MANY = 16
"""Files from which on reading them is much work."""
MUCH = 64 << 20
"""Bytes, likewise."""


def anything(found: object) -> bool:
    """Whether what was found of a thing is still true: it is."""
    return True


class Over(Protocol):
    """`work` of each of some things, in their order; both can be pickled."""

    def __call__(
        self, work: Callable[[Any], Any], things: Sequence[Any], *, what: str, weight: int,
        keys: Sequence[str] = (), stands: Callable[[Any], bool] = anything,
    ) -> Iterator[Any]:  # fmt: skip
        """`weight` are the bytes that all of it reads, and `what` tells a person what is done.

        A key says what is done and on what content: once work was interrupted, what was found of the
        same key is taken over where it `stands`. Without keys nothing is.
        """


def is_much(things: Sequence[object], *, weight: int) -> bool:
    """Whether work on so many files, of so many bytes together, is worth the start of an engine."""
    return len(things) > MANY or weight > MUCH


def here(
    work: Callable[[Any], Any], things: Sequence[Any], *, what: str, weight: int,
    keys: Sequence[str] = (), stands: Callable[[Any], bool] = anything,
) -> Iterator[Any]:  # fmt: skip
    """In this process, one after the other: what is wrong with the first is known at once."""
    return map(work, things)


def waited_for(work: Callable[[Any], Any], things: Sequence[Any]) -> Iterator[Any]:
    """In this process, many at once: work of which most is waiting for a store."""
    return together(work, things)
