"""The parquet file beside a tar, by the key of each pair."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from curate import files
from curate.errors import CurateError
from curate.reasons import SUCCESS

COLUMNS = ("key", "status", "caption", "uid", "url", "sha256", "width", "height")
"""Those that are compared with the tar, where they are there."""
_TOLD = ("uid", "url", "caption")
"""Those that the JSON in the tar has, too."""


@dataclass(frozen=True)
class Table:
    """The pairs of a table that have an image."""

    keys: list[str]
    columns: dict[str, list[Any]]
    at: dict[str, int]  # row of each key

    def value(self, column: str, key: str) -> Any:
        """What the table says of a pair; None where it has no such column or pair."""
        at, values = self.at.get(key), self.columns.get(column)
        return None if at is None or values is None else values[at]

    def size_at(self, at: int) -> tuple[Any, Any]:
        """Width and height in a row."""
        width, height = (self.columns.get(name) for name in ("width", "height"))
        return width and width[at], height and height[at]

    def differing(self, at: int, document: dict[str, Any] | None, text: str | None) -> str | None:
        """The first column in which a row is not what the tar holds of the pair."""
        columns = self.columns
        if text is not None and "caption" in columns and differ(columns["caption"][at], text):
            return "caption"
        if document is not None:
            for name in _TOLD:
                if name in columns and differ(columns[name][at], document.get(name)):
                    return name
        return None


def differ(one: Any, other: Any) -> bool:
    """Whether two texts differ in more than white space around them; what is no text does not.

    >>> differ("a", " a"), differ("a", "b"), differ(None, "b")
    (False, True, False)
    """
    if one == other or not (isinstance(one, str) and isinstance(other, str)):
        return False
    return one.strip() != other.strip()


def read(url: str) -> Table | str | None:
    """The table at `url`; None where it has no keys, and why where it cannot be read."""
    try:
        found = files.read_table(url, present=COLUMNS)
        if "key" not in found.column_names:
            return None
        if "status" in found.column_names:
            found = found.filter(pc.equal(found["status"], SUCCESS))
    except (CurateError, OSError, pa.ArrowException) as error:
        text = str(error).strip().partition("\n")[0]
        return text.removeprefix(f"{url} ").removeprefix("is damaged: ")
    columns = {name: found[name].to_pylist() for name in found.column_names}
    keys = [str(key) for key in columns.pop("key")]
    columns.pop("status", None)
    return Table(keys, columns, {key: k for k, key in enumerate(keys)})


def named(keys: Iterable[str], *, most: int = 3) -> str:
    """Some keys in a message."""
    keys = [*keys]
    more = f" and {len(keys) - most:,} more" if len(keys) > most else ""
    return ", ".join(keys[:most]) + more
