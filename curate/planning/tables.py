"""Scores of kind table: columns that others made, joined to the pairs by uid or URL."""

import re

from curate.config import COLUMN_NAME, Config, FurtherScore
from curate.errors import CurateError
from curate.pool.joined import UserTable
from curate.schema import Kind


def tables(config: Config) -> dict[str, FurtherScore]:
    """The scores of `config` that are tables."""
    return {name: one for name, one in config.scores.items() if one.kind == "table"}


def user_table(name: str, further: FurtherScore) -> UserTable:
    """The table of a score, and what is wanted of it."""
    columns = tuple((further.typed or {}).items())
    return UserTable(str(further.path), further.key or further.on, columns, f"scores.{name}.path")


def with_types(name: str, further: FurtherScore) -> FurtherScore:
    """A table with the type of each of its columns that are wanted.

    Raises
    ------
    CurateError
        Where it cannot be read, or lacks a column.
    """
    if further.typed is not None:
        return further
    table = user_table(name, further)
    kinds = table.kinds()
    wanted = further.columns
    if wanted is None:
        wanted = tuple(column for column in kinds if column != table.key)
    columns: dict[str, Kind] = {}
    for column in wanted:
        if column not in kinds:
            raise CurateError(table.lacks(column, kinds))
        if not re.match(COLUMN_NAME, column):
            raise CurateError(
                f"scores.{name}.columns: {column!r}: expected small letters, digits and _, a letter"
                " first; name the wanted columns, or give it another name in the table"
            )
        columns[column] = kinds[column] or "string"
    if not columns:
        raise CurateError(f"{table.called}: {further.path} has no column beside {table.key!r}")
    return further.model_copy(update={"columns": columns})
