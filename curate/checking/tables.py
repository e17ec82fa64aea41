"""The parquet file beside a tar, by the key of each pair."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from curate import files
from curate.errors import CurateError
from curate.reasons import SUCCESS

COLUMNS = ("key", "status", "caption", "uid", "url", "sha256", "width", "height")
"""Those that are compared with the tar, where they are there."""


@dataclass(frozen=True)
class Table:
    """The pairs of a table that have an image."""

    keys: list[str]
    columns: dict[str, list[Any]]
    at: dict[str, int] = field(default_factory=dict)  # row of each key

    def row(self, key: str) -> dict[str, Any] | None:
        """What the table says of a pair."""
        at = self.at.get(key)
        return None if at is None else {name: x[at] for name, x in self.columns.items()}


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


def differing(row: dict[str, Any], document: dict[str, Any] | None, text: str | None) -> str | None:
    """The first column in which a row of the table is not what the tar holds of the pair."""
    if text is not None and _differ(row.get("caption"), text):
        return "caption"
    if document is not None:
        for name in ("uid", "url") if text is not None else ("uid", "url", "caption"):
            if _differ(row.get(name), document.get(name)):
                return name
    return None


def _differ(one: Any, other: Any) -> bool:
    if not (isinstance(one, str) and isinstance(other, str)) or one == other:
        return False
    return one.strip() != other.strip()


def named(keys: Iterable[str], *, most: int = 3) -> str:
    """Some keys in a message."""
    keys = [*keys]
    more = f" and {len(keys) - most:,} more" if len(keys) > most else ""
    return ", ".join(keys[:most]) + more
