"""Things made before they are asked for, on threads of their own, never more than a few early."""

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Thing = TypeVar("Thing")
Made = TypeVar("Made")
_PATIENCE = 0.1  # seconds between looks at whether anyone still waits


def ahead(things: Iterable[Thing], *, n: int) -> Iterator[Thing]:
    """The things in their order, made by a thread that is at most `n` of them ahead.

    What making a thing raises is raised here, in its place. When this iterator is closed, the
    thread ends with the thing that it is at.

    >>> list(ahead(range(3), n=2))
    [0, 1, 2]
    """
    ready: queue.Queue[tuple[Thing | None, BaseException | None]] = queue.Queue(n)
    closed = threading.Event()
    ended = StopIteration()

    def put(thing: Thing | None, error: BaseException | None) -> None:
        while not closed.is_set():
            try:
                return ready.put((thing, error), timeout=_PATIENCE)
            except queue.Full:
                continue

    def work() -> None:
        try:
            for thing in things:
                put(thing, None)
                if closed.is_set():
                    return
            put(None, ended)
        except BaseException as error:  # noqa: BLE001 - raised where the thing is asked for
            put(None, error)

    threading.Thread(target=work, daemon=True, name="ahead").start()
    try:
        while True:
            thing, error = ready.get()
            if error is ended:
                return
            if error is not None:
                raise error
            yield thing  # type: ignore[misc] # without an error there is a thing
    finally:
        closed.set()


def together(
    work: Callable[[Thing], Made], things: Iterable[Thing], *, threads: int = 32
) -> Iterator[Made]:
    """`work` of each of the things, in their order, many at once: most of it waits for a store.

    What one of them raises is raised here, in its place; of those after it none is begun then.

    >>> list(together(str.upper, ["a", "b"], threads=2))
    ['A', 'B']
    """
    with ThreadPoolExecutor(threads, thread_name_prefix="together") as pool:
        waiting: deque[Future[Made]] = deque()
        try:
            for thing in things:
                waiting.append(pool.submit(work, thing))
                if len(waiting) >= 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
