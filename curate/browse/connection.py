"""DuckDB, which can read the files of given runs and nothing else."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias

from curate import files
from curate.errors import CurateError
from curate.extras import install, require

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

Value: TypeAlias = str | int | float | bool | list[str] | list[int] | None
"""What is bound to a statement."""
Cell: TypeAlias = str | int | float | bool | list[str] | list[int] | None
"""What stands in a row of an answer."""


class Bound(dict[str, Value]):
    """What is bound to a statement, by name."""

    def __call__(self, value: Value) -> str:
        """The name in the statement for a value."""
        name = f"v{len(self)}"
        self[name] = value
        return f"${name}"


MEMORY = "512MB"
_THREADS = 4
_GLOB = str.maketrans({x: f"[{x}]" for x in "*?["})


def needed() -> None:
    """Raise a CurateError that says what to install where a package is missing."""
    for package in ("duckdb", "starlette", "uvicorn"):
        require(package, by="curate browse", command=install("browse"))


def connect(roots: Iterable[str]) -> "DuckDBPyConnection":
    """A connection that reads below the URLs `roots`: no other file, no extension, no setting."""
    import duckdb

    connection = duckdb.connect(
        config={
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "memory_limit": MEMORY,
            "temp_directory": "",
            "threads": min(_THREADS, len(os.sched_getaffinity(0))),
            # Of a uid that several rows of a part have, either row has what both were measured at.
            "scalar_subquery_error_on_multiple_rows": False,
        }
    )
    folders: list[str] = []
    for root in roots:
        folders += {f"{name.rstrip('/')}/" for name in (root, files.spelt(root))}
        if files.local_path(root) is None:
            fs, _ = files.file_system(root)
            if not connection.filesystem_is_registered(_protocol(fs.protocol)):
                connection.register_filesystem(fs)
    connection.execute("SET allowed_directories = ?", [folders])
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


def _protocol(named: str | Sequence[str]) -> str:
    return named if isinstance(named, str) else named[0]


def path_of(url: str) -> str:
    """How DuckDB names the one file at `url`."""
    return (files.local_path(url) or url).translate(_GLOB)


def quoted(name: str) -> str:
    """A column's name in a statement."""
    return '"' + name.replace('"', '""') + '"'


@contextmanager
def in_words() -> Iterator[None]:
    """What DuckDB refuses in the block, as a CurateError."""
    import duckdb

    try:
        yield
    except duckdb.OutOfMemoryException:
        raise CurateError(
            f"this question takes more than {MEMORY} of memory; narrow the selection first"
        ) from None
    except duckdb.Error as error:
        said = str(error).splitlines()[0]
        raise CurateError(f"the run's files could not be read: {said}") from error
