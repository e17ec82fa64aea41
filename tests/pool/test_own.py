"""What a reader of users' may give: all that has Arrow's columns, at once or in turn."""

import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pandas as pd
import pyarrow as pa
import pytest

from curate.pool.rows import PoolFormat, UnreadableError
from curate.pool.tables import column_kinds, read_batches

POOL = PoolFormat("own_forms:read", "url", "caption", keep=(("rank", "int64"),))
ROWS: dict[str, list[Any]] = {
    "url": ["http://x.example/a", None, "http://x.example/c"],
    "caption": ["a", "b", None],
    "rank": [1, 2, None],
    "other": [b"x", b"y", b"z"],
}
TABLE = pa.table(ROWS)
FORMS: dict[str, Any] = {
    "a table": lambda path: TABLE,
    "a record batch": lambda path: TABLE.to_batches()[0],
    "a reader of batches": lambda path: TABLE.to_reader(max_chunksize=1),
    "a data frame": lambda path: pd.DataFrame({**ROWS, "rank": pd.array([1, 2, None], "Int64")}),
    "a list of tables": lambda path: [TABLE.slice(0, 1), TABLE.slice(1)],
    "batches one by one": lambda path: iter(TABLE.to_batches(max_chunksize=1)),
    "views": lambda path: TABLE.set_column(0, "url", TABLE["url"].cast(pa.string_view())),
    "dictionaries": lambda path: TABLE.set_column(1, "caption", TABLE["caption"].dictionary_encode()),
    "large ones": lambda path: TABLE.set_column(1, "caption", TABLE["caption"].cast(pa.large_string())),
    "columns of another order and type": lambda path: [
        TABLE.slice(0, 2),
        TABLE.slice(2, 0),
        TABLE.slice(2).select(["caption", "url"]).append_column("rank", pa.array([None], pa.null())),
    ],
}  # fmt: skip


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let users' reader be the function that is given."""
    module = types.ModuleType("own_forms")
    monkeypatch.setitem(sys.modules, "own_forms", module)
    return lambda read: setattr(module, "read", read)


@pytest.mark.parametrize("form", sorted(FORMS))
def test_rows_may_come_in_any_form(reads: Any, form: str) -> None:
    reads(FORMS[form])
    tables = list(read_batches("/pool/a.bin", pool=POOL))
    found = pa.concat_tables(tables).select(["url", "caption", "rank", "error"]).to_pylist()
    wanted = [
        {**{x: ROWS[x][k] for x in ("url", "caption", "rank")}, "error": None} for k in range(3)
    ]
    assert found == wanted
    assert len(tables) == (2 if form.startswith("columns") else 1), "small batches are put together"
    kinds = column_kinds("/pool/a.bin", pool=POOL)
    assert {x: kinds[x] for x in ("url", "rank")} == {"url": "string", "rank": "int64"}


def test_a_large_table_is_taken_in_pieces(reads: Any) -> None:
    texts = [str(k) for k in range(25_000)]
    reads(lambda path: pa.table({"url": texts, "caption": texts, "rank": range(25_000)}))
    tables = list(read_batches("/pool/a.bin", pool=POOL))
    assert [len(table) for table in tables] == [10_000, 10_000, 5_000]
    assert pa.concat_tables(tables)["url"].to_pylist() == texts


def test_values_that_do_not_fit_are_bad_rows(reads: Any) -> None:
    table = TABLE.set_column(2, "rank", pa.array(["1", "two", None]))
    reads(lambda path: table)
    [found] = read_batches("/pool/a.bin", pool=POOL)
    assert found["rank"].to_pylist() == [1, None, None]
    assert found["error"].to_pylist() == [None, "bad_row", None]


def test_a_path_for_what_is_here_and_a_url_for_what_is_elsewhere(
    reads: Any, tmp_path: Path
) -> None:
    asked = []

    def read(path: str) -> pa.Table:
        asked.append(path)
        with fsspec.open(path, "rt") as file:
            return pa.table({"url": [file.read()], "caption": [path], "rank": [1]})

    fsspec.filesystem("memory").pipe("/own/a.txt", b"http://x.example/a")
    reads(read)
    [table] = read_batches("memory://own/a.txt", pool=POOL)
    assert table["url"].to_pylist() == ["http://x.example/a"]
    assert asked == ["memory://own/a.txt"]
    (tmp_path / "a.txt").write_text("http://x.example/a")
    list(read_batches(f"file://{tmp_path}/a.txt", pool=POOL))
    assert asked[1:] == [str(tmp_path / "a.txt")]


@pytest.mark.parametrize("error", [ValueError("seven"), KeyError("x"), SystemExit(3), EOFError()])
def test_what_came_before_a_fault_is_kept(reads: Any, error: BaseException) -> None:
    def read(path: str) -> Iterator[pa.Table]:
        yield TABLE
        raise error

    reads(read)
    tables = read_batches("/pool/a.bin", pool=POOL)
    assert len(next(tables)) == 3
    with pytest.raises(UnreadableError, match=r"^/pool/a\.bin: cannot be read as own_forms:read: "):
        next(tables)
