"""A table of the user's against a join in plain Python: any cut into files and buckets, any format."""

import csv
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate import files
from curate.errors import CurateError
from curate.pool import joined
from curate.pool.joined import UserTable, opened, sort, stands

KEYS = st.sampled_from([f"http://x.example/{i}.jpg" for i in range(12)] + ["é", " ", "a" * 40])
ROWS = st.lists(st.tuples(st.one_of(st.none(), KEYS), st.text(max_size=5)), max_size=40)


def table_of(path: Path | str, **columns: str) -> UserTable:
    return UserTable(str(path), "url", tuple(columns.items()), "captions.recap")


def parquet(path: Path, rows: list[tuple[str | None, str]]) -> None:
    kinds = pa.schema([("url", pa.string()), ("text", pa.string()), ("n", pa.int64())])
    columns = [[key for key, _ in rows], [text for _, text in rows], list(range(len(rows)))]
    pq.write_table(pa.table(columns, schema=kinds), path, row_group_size=5)


@settings(max_examples=60, deadline=None)
@given(rows=ROWS, asked=st.lists(st.one_of(st.none(), KEYS), max_size=20), bucket=st.integers(1, 9))
def test_as_a_plain_join(
    rows: list[tuple[str | None, str]], asked: list[str | None], bucket: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:  # fmt: skip
    folder = tmp_path_factory.mktemp("joined")
    half = len(rows) // 2
    for name, some in (("a", rows[:half]), ("b", rows[half:] or [(None, "")])):
        parquet(folder / f"{name}.parquet", some)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(joined, "_BUCKET", 300 * bucket)
        sort(table_of(folder / "*.parquet", text="string", n="int64"), str(folder / "sorted"))
    found = opened(str(folder / "sorted"))
    at, columns = found.look_up(pa.array(asked, pa.string()))
    numbered = [*enumerate(rows[:half]), *enumerate(rows[half:])]
    expected = [
        (place, text, n)
        for place, key in enumerate(asked)
        for n, (known, text) in numbered
        if key is not None and known is not None and known.strip() == key.strip()
    ]
    got = list(zip(at.tolist(), *(columns[x].to_pylist() for x in ("text", "n")), strict=True))
    assert got == expected
    keys = [key.strip() for key, _ in rows if key is not None]
    assert (found.rows, found.repeats) == (len(keys), len(keys) - len(set(keys)))


def test_csv_and_packed_json_lines(tmp_path: Path) -> None:
    with (tmp_path / "a.csv").open("w") as file:
        csv.writer(file).writerows([["url", "caption", "good"], ["u1", "a, b", "true"]])
    (tmp_path / "b.jsonl").write_text(json.dumps({"url": "u2", "caption": "c", "good": False}))
    sort(table_of(tmp_path / "*.*", caption="string", good="bool"), str(tmp_path / "sorted"))
    at, columns = opened(str(tmp_path / "sorted")).look_up(pa.array(["u2", "u0", "u1", None]))
    assert at.tolist() == [0, 2]
    assert columns.to_pylist() == [
        {"caption": "c", "good": False},
        {"caption": "a, b", "good": True},
    ]


def test_in_a_store(tmp_path: Path) -> None:
    parquet(tmp_path / "a.parquet", [("u1", "one"), ("u2", "two")])
    folder = "memory://joined/sorted"
    sort(table_of(tmp_path / "a.parquet", text="string"), folder)
    assert stands(folder)
    at, columns = opened(folder).look_up(pa.array(["u2"]))
    assert (at.tolist(), columns["text"].to_pylist()) == ([0], ["two"])
    files.remove("memory://joined")
    assert not stands(folder)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("no.parquet", None, "no such file"),
        ("a.csv", "link,text\nu,t\n", "a.csv has no column 'url'; it has link, text"),
        ("a.csv", "url,caption\nu,t\n", "a.csv has no column 'text'; it has caption, url"),
        ("a.parquet", "not one", "cannot be read as parquet"),
    ],
)
def test_refused_before_work(tmp_path: Path, name: str, content: str | None, told: str) -> None:
    if content:
        (tmp_path / name).write_text(content)
    with pytest.raises(CurateError, match=r"^captions\.recap: ") as error:
        table_of(tmp_path / name, text="string").check()
    assert told in str(error.value)


def test_a_row_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("url,text,n\nu,t,1\nu,t,many\n")
    with pytest.raises(CurateError, match=r"^captions\.recap: .*a\.csv: n is not a number"):
        sort(table_of(tmp_path / "a.csv", text="string", n="int64"), str(tmp_path / "sorted"))
    assert not stands(str(tmp_path / "sorted"))
