"""All shards of a set checked, each by one of some processes."""

import os
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from itertools import islice
from multiprocessing import get_context
from typing import TypeVar

from curate import files
from curate.checking.across import lacking, repeated, usual_of
from curate.checking.kinds import Problem
from curate.checking.samples import Usual, key_of
from curate.checking.shard import check
from curate.checking.task import Options, Shard, Task
from curate.checking.walk import Fault, Walk
from curate.errors import CurateError

Made = TypeVar("Made")
_FEW, _FEW_IMAGES = 1 << 31, 1 << 26
"""Bytes up to which one process checks all, without and with decoding: others take longer to start."""


def default_workers(tasks: Sequence[Task], options: Options) -> int:
    """As many as there are processors, and no more than there are tars; one for little."""
    few = _FEW_IMAGES if options.images else _FEW
    cores = min(len(os.sched_getaffinity(0)), len(tasks))
    return cores if cores > 1 and sum(task.size for task in tasks) > few else 1


def check_all(tasks: Sequence[Task], options: Options, *, workers: int) -> Iterator[Shard]:
    """Each tar checked, in order."""
    return spread(partial(check, options=options), tasks, workers=workers)


def spread(work: Callable[[Task], Made], tasks: Sequence[Task], *, workers: int) -> Iterator[Made]:
    """`work` of each of the tasks, in order, by so many processes.

    Raises
    ------
    CurateError
        Where one of them is killed, as by a machine that is short of memory.
    """
    if workers == 1:
        yield from map(work, tasks)
        return
    with _pool(workers) as pool:
        waiting: deque[Future[Made]] = deque()
        left = iter(tasks)
        try:
            for task in islice(left, 2 * workers):
                waiting.append(pool.submit(work, task))
            while waiting:
                yield waiting.popleft().result()
                for task in islice(left, 1):
                    waiting.append(pool.submit(work, task))
        except BrokenProcessPool:
            raise CurateError(
                "a process that read tars was killed; use fewer --workers, or give them more memory"
            ) from None


@contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_heed_nothing)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _heed_nothing() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the command decides


def check_together(shards: Sequence[Shard], tasks: Sequence[Task]) -> tuple[Usual, list[Problem]]:
    """The usual endings of a set, and what is wrong with its shards together."""
    usual = usual_of(shards)
    urls = {task.name: task.url for task in tasks}
    found = [*lacking(shards, usual), *repeated(shards, lambda name: keys_of(urls[name]))]
    return usual, found


def keys_of(url: str) -> list[str]:
    """The keys of the samples in a tar, each once."""
    with files.open_read(url) as file:
        walk = Walk(file, size=files.size(url))
        members = (one[0] for one in walk if not isinstance(one, Fault))
        found = (key_of(member.name)[0] for member in members if member.is_file)
        return list(dict.fromkeys(filter(None, found)))
