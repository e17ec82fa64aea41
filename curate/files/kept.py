"""Small tables that this process wrote, so that the next step of a run need not read them back.

A table is asked for with the content that its file has to have, and is given only where this process
wrote that very content there: what another process or an earlier command wrote is read.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

from curate.files.content import Content

MOST_OF_ONE = 1 << 18
MOST = 1 << 24
"""Bytes of memory that one kept table may take, and all of them."""


class _Tables:
    """The tables that were written last."""

    def __init__(self) -> None:
        self.scopes = 0
        self._found: OrderedDict[tuple[str, Content], pa.Table] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def put(self, key: tuple[str, Content], table: pa.Table) -> None:
        size = table.get_total_buffer_size()  # of slices too, what they hold
        if not self.scopes or size > MOST_OF_ONE:
            return
        with self._lock:
            self._drop(key)
            self._found[key] = table
            self._bytes += size
            while self._bytes > MOST:
                self._drop(next(iter(self._found)))

    def get(self, key: tuple[str, Content]) -> pa.Table | None:
        with self._lock:
            return self._found.get(key)

    def clear(self) -> None:
        with self._lock:
            self._found.clear()
            self._bytes = 0

    def _drop(self, key: tuple[str, Content]) -> None:
        if (old := self._found.pop(key, None)) is not None:
            self._bytes -= old.get_total_buffer_size()


_tables = _Tables()


@contextmanager
def tables_kept() -> Iterator[None]:
    """Keep small tables that are written while the block runs."""
    _tables.scopes += 1
    try:
        yield
    finally:
        _tables.scopes -= 1
        if not _tables.scopes:
            _tables.clear()


def keep(url: str, content: Content, table: pa.Table) -> None:
    """Keep what was written to `url` and has this content, where it is small."""
    _tables.put((url, content), table)


def kept(url: str, content: Content) -> pa.Table | None:
    """The table that this process wrote to `url`, if it is kept and its file has this content."""
    return _tables.get((url, content))
