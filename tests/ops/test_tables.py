"""Pools in every format, and what a person reads where a file cannot be read."""

import bz2
import csv
import gzip
import io
import json
import lzma
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.errors import CurateError
from curate.ops.tables import (
    STAGED,
    PoolFormat,
    parquet_row_groups,
    read_batches,
    read_entries,
    read_slice,
)
from curate.schema import POOL

AUTO = PoolFormat(format="auto", url="link", caption="text", uid="id")
NO_UID = PoolFormat(format="auto", url="link", caption="text")
Row = tuple[str, str, str]
ROWS: list[Row] = [
    ("http://a.example/1.jpg", "a red fox", "0" * 32),
    ("http://a.example/2.jpg", 'quoted "words", comma', "1" * 32),
    ("http://a.example/3.jpg", "two\nlines", "2" * 32),
    ("http://a.example/4.jpg", "", "3" * 32),
    ("http://a.example/5.jpg", "  outer space and é中🐈  ", "4" * 32),
    ("http://a.example/6.jpg", "12345", "5" * 32),
    ("http://a.example/7.jpg", "NULL", "6" * 32),
    ("http://a.example/8.jpg", "tab\there", "7" * 32),
]


def as_csv(rows: list[Row], *, delimiter: str = ",") -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    writer.writerow(["extra", "text", "id", "link"])
    writer.writerows([7, caption, uid, url] for url, caption, uid in rows)
    return text.getvalue().encode()


def as_tsv(rows: list[Row]) -> bytes:
    return as_csv(rows, delimiter="\t")


def as_jsonl(rows: list[Row]) -> bytes:
    documents = [
        {"extra": {"deep": [1]}, "text": caption, "id": uid, "link": url}
        for url, caption, uid in rows
    ]
    return "".join(json.dumps(d, ensure_ascii=False) + "\n" for d in documents).encode()


def as_parquet(rows: list[Row], *, row_group_size: int = 3) -> bytes:
    columns = list(zip(*rows, strict=True)) or [(), (), ()]
    table = pa.table(
        {
            "extra": pa.array(range(len(rows)), pa.int64()),
            "text": pa.array(columns[1], pa.string()),
            "id": pa.array(columns[2], pa.string()),
            "link": pa.array(columns[0], pa.large_string()),
        }
    )
    file = io.BytesIO()
    pq.write_table(table, file, row_group_size=row_group_size)
    return file.getvalue()


def placed(folder: Path, name: str, content: bytes) -> str:
    path = folder / name
    path.write_bytes(content)
    return str(path)


def rows_of(path: str, *, pool: PoolFormat = AUTO) -> list[tuple[str | None, ...]]:
    rows: list[tuple[str | None, ...]] = []
    for table in read_batches(path, pool=pool):
        assert table.schema == POOL
        rows += zip(*(table[name].to_pylist() for name in POOL.names), strict=True)
    return rows


FORMATS: dict[str, Callable[[list[Row]], bytes]] = {
    "parquet": as_parquet, "pq": as_parquet, "csv": as_csv, "tsv": as_tsv, "jsonl": as_jsonl,
    "ndjson": as_jsonl, "PARQUET": as_parquet, "CSV": as_csv,
}  # fmt: skip


@pytest.mark.parametrize("ending", FORMATS)
def test_every_format_gives_the_same_rows(tmp_path: Path, ending: str) -> None:
    path = placed(tmp_path, f"pool.{ending}", FORMATS[ending](ROWS))
    assert rows_of(path) == ROWS
    assert rows_of(path, pool=NO_UID) == [(url, caption, None) for url, caption, _ in ROWS]


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl"])
@pytest.mark.parametrize(
    ("packed", "pack"), [("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress)]
)
def test_packed_files(
    tmp_path: Path, ending: str, packed: str, pack: Callable[[bytes], bytes]
) -> None:
    path = placed(tmp_path, f"pool.{ending}.{packed}", pack(FORMATS[ending](ROWS)))
    assert rows_of(path) == ROWS


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl"])
def test_zstandard_files(tmp_path: Path, ending: str) -> None:
    content = pa.compress(FORMATS[ending](ROWS), codec="zstd", asbytes=True)
    assert rows_of(placed(tmp_path, f"pool.{ending}.zst", content)) == ROWS


captions = st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), max_size=20)


@given(texts=st.lists(captions, min_size=1, max_size=8))
@settings(max_examples=60, deadline=None)
def test_any_caption_survives_every_format(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("pool")
    rows = [(f"http://a.example/{i}", text, f"{i:032x}") for i, text in enumerate(texts)]
    for ending in ("csv", "tsv", "jsonl", "parquet"):
        assert rows_of(placed(folder, f"pool.{ending}", FORMATS[ending](rows))) == rows, ending


def test_a_stream_of_many_blocks_is_the_whole_file(tmp_path: Path) -> None:
    rows = [(f"http://a.example/{i}", f"caption, {i}\n" * (i % 5), f"{i:032x}") for i in range(500)]
    for ending in ("csv", "jsonl"):
        path = placed(tmp_path, f"pool.{ending}", FORMATS[ending](rows))
        tables = list(read_batches(path, pool=AUTO, block_bytes=2048))
        assert len(tables) > 5
        assert [row["caption"] for t in tables for row in t.to_pylist()] == [r[1] for r in rows]


def test_columns_of_other_types_become_strings(tmp_path: Path) -> None:
    table = pa.table(
        {
            "link": pa.array(["u", None]).dictionary_encode(),
            "text": pa.array([1, 2]),
            "id": pa.array(["x", None], pa.large_string()),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    expected = [("u", "1", "x"), (None, "2", None)]
    assert rows_of(str(tmp_path / "a.parquet")) == expected
    slice_ = read_slice(str(tmp_path / "a.parquet"), start=0, rows=2, pool=AUTO)
    assert [tuple(row.values()) for row in slice_.to_pylist()] == expected
    numbers = placed(tmp_path, "a.csv", b"link,text,id\nu,007,1\n")
    assert rows_of(numbers) == [("u", "007", "1")]


def test_nulls_of_jsonl_stay_nulls(tmp_path: Path) -> None:
    content = b'{"link": "u", "text": null, "id": "x"}\n{"text": "t"}\n'
    path = placed(tmp_path, "a.jsonl", content)
    assert rows_of(path) == [("u", None, "x"), (None, "t", None)]


def test_one_column_may_serve_twice(tmp_path: Path) -> None:
    pool = PoolFormat(format="auto", url="link", caption="link")
    for ending in ("parquet", "csv", "jsonl"):
        path = placed(tmp_path, f"pool.{ending}", FORMATS[ending](ROWS[:1]))
        assert rows_of(path, pool=pool) == [(ROWS[0][0], ROWS[0][0], None)], ending


def test_a_file_with_a_header_alone_has_no_rows(tmp_path: Path) -> None:
    for ending in ("csv", "tsv", "parquet"):
        assert rows_of(placed(tmp_path, f"pool.{ending}", FORMATS[ending]([]))) == [], ending


def test_the_format_may_be_given_instead_of_the_ending(tmp_path: Path) -> None:
    path = placed(tmp_path, "part-0000", as_csv(ROWS))
    pool = PoolFormat(format="csv", url="link", caption="text", uid="id")
    assert rows_of(path, pool=pool) == ROWS
    with pytest.raises(CurateError) as error:
        rows_of(path)
    assert str(error.value) == (
        f"{path}: cannot tell the format from the name; set input.format to one of"
        " csv, jsonl, parquet, tsv"
    )


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("key", ["url", "caption", "uid"])
def test_a_column_that_is_not_there(tmp_path: Path, ending: str, key: str) -> None:
    names = {"url": "link", "caption": "text", "uid": "id"} | {key: "absent"}
    pool = PoolFormat(format="auto", **names)
    path = placed(tmp_path, f"pool.{ending}", FORMATS[ending](ROWS))
    with pytest.raises(CurateError) as error:
        rows_of(path, pool=pool)
    assert str(error.value) == (
        f"{path}: no column 'absent' among extra, text, id, link;"
        f" name the right one in input.columns.{key}"
    )
    if ending == "parquet":
        with pytest.raises(CurateError, match=rf"no column 'absent' .* input\.columns\.{key}$"):
            parquet_row_groups(path, pool=pool)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("pool.parquet", b""),
        ("pool.parquet", b"PAR1 cut off"),
        ("pool.csv", b"link,text,id\na,b\n"),
        ("pool.csv", b"link,text,id\na,\xff\xfe,c\n"),
        ("pool.jsonl", b"not json\n"),
        ("pool.jsonl", b'{"link": "u", "text": "t", "id": "x"}\n{"link": \n'),
        ("pool.jsonl", b'{"link": "u", "text": "t", "id": 7}\n'),
        ("pool.jsonl", b'["link", "text", "id"]\n'),
        ("pool.csv.gz", b"this is not gzip"),
        ("pool.csv.gz", gzip.compress(as_csv(ROWS))[:-20]),
        ("pool.csv.gz", gzip.compress(as_csv(ROWS), mtime=0)[:20] + b"garbage" * 9),
        ("pool.jsonl.xz", b"this is not xz"),
        ("pool.csv.xz", lzma.compress(as_csv(ROWS))[:-20]),
        ("pool.csv.bz2", b"this is not bzip2"),
        ("pool.csv.zst", b"this is not zstandard"),
    ],
)
def test_a_broken_file_is_one_line_that_names_it(tmp_path: Path, name: str, content: bytes) -> None:
    path = placed(tmp_path, name, content)
    kind = name.split(".")[1]
    with pytest.raises(CurateError) as error:
        rows_of(path)
    message = str(error.value)
    assert message.startswith(f"{path}: cannot be read as {kind}: ")
    assert "\n" not in message
    assert len(message) > len(f"{path}: cannot be read as {kind}: ")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no column 'link' among none; name the right one in input.columns.url"),
        (b"link,text,id,link\na,b,c,d\n", "two columns are called 'link'"),
    ],
)
def test_a_header_that_does_not_do_is_one_line(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = placed(tmp_path, "pool.csv", content)
    with pytest.raises(CurateError) as error:
        rows_of(path)
    assert str(error.value) == f"{path}: {message}"


@pytest.mark.parametrize("content", [b"", b"\n", b"{}\n"])
def test_an_empty_jsonl_has_no_columns(tmp_path: Path, content: bytes) -> None:
    path = placed(tmp_path, "pool.jsonl", content)
    with pytest.raises(CurateError, match=r"no column 'link' among none"):
        rows_of(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    path = str(tmp_path / "absent.parquet")
    for read in (
        lambda: rows_of(path),
        lambda: parquet_row_groups(path, pool=AUTO),
        lambda: read_slice(path, start=0, rows=1, pool=AUTO),
    ):
        with pytest.raises(CurateError, match=r"absent\.parquet: no such file$"):
            read()


@pytest.mark.parametrize("row_group_size", [1, 3, 4, 100])
def test_slices_of_a_parquet_file(tmp_path: Path, row_group_size: int) -> None:
    path = placed(tmp_path, "a.parquet", as_parquet(ROWS, row_group_size=row_group_size))
    sizes = parquet_row_groups(path, pool=AUTO)
    assert sum(sizes) == 8
    assert set(sizes[:-1]) <= {row_group_size}
    for start in range(9):
        for rows in range(10):
            table = read_slice(path, start=start, rows=rows, pool=AUTO)
            assert table.schema == POOL
            found = list(zip(*(table[name].to_pylist() for name in POOL.names), strict=True))
            assert found == ROWS[start : start + rows]


def test_slices_without_uid_and_of_a_staged_copy(tmp_path: Path) -> None:
    path = placed(tmp_path, "a.parquet", as_parquet(ROWS))
    table = read_slice(path, start=2, rows=2, pool=NO_UID)
    assert table["uid"].to_pylist() == [None, None]
    pq.write_table(table, tmp_path / "staged.parquet")
    copy = read_slice(str(tmp_path / "staged.parquet"), start=0, rows=2, pool=STAGED)
    assert copy.equals(table)


def test_an_empty_parquet_file_has_no_row_groups_and_an_empty_slice(tmp_path: Path) -> None:
    path = placed(tmp_path, "a.parquet", as_parquet([]))
    assert sum(parquet_row_groups(path, pool=AUTO)) == 0
    assert read_slice(path, start=0, rows=10, pool=AUTO).to_pylist() == []


@pytest.mark.parametrize(
    ("content", "entries"),
    [
        ("a\nb\n", ["a", "b"]),
        ("a\nb", ["a", "b"]),
        ("b\na\nb\na", ["b", "a"]),
        ("a\r\nb c\r\n", ["a", "b c"]),
        ("\n\na\n   \n\t\nb\n", ["a", "b"]),
        (" a\nb \n", [" a", "b "]),
        ("a\N{LINE SEPARATOR}b\nc\vd\n", ["a\N{LINE SEPARATOR}b", "c\vd"]),
        ("é\ne\N{COMBINING ACUTE ACCENT}\n猫", ["é", "e\N{COMBINING ACUTE ACCENT}", "猫"]),
        ("\N{BYTE ORDER MARK}a\nb", ["a", "b"]),
    ],
)
def test_read_entries(tmp_path: Path, content: str, entries: list[str]) -> None:
    path = placed(tmp_path, "en.txt", content.encode())
    assert read_entries(path) == (entries, entries, None)


def test_synonyms_share_a_concept(tmp_path: Path) -> None:
    content = "tomcat\tcat\ncat\n\ndog\tdog\r\nkitten\tcat\n red fox\tbig fox \ndog\ncat\tcat\n"
    found = read_entries(placed(tmp_path, "en.txt", content.encode()))
    assert found.entries == ["tomcat", "cat", "dog", "kitten", " red fox"]
    assert found.concepts == ["cat", "dog", "big fox "]
    assert found.ids == [0, 0, 1, 0, 2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a\nb\t\n", r":2: 'b\\t': expected an entry, or entry<TAB>concept"),
        ("\tb", r":1: '\\tb': expected an entry"), (" \tb", r":1: ' \\tb': expected an entry"),
        ("a\tb\tc", r":1: 'a\\tb\\tc': expected an entry"),
        ("crane\tbird\n\ncrane\tmachine", ":3: 'crane' stands for 'bird' already and cannot stand"
         " for 'machine' as well"),
        ("crane\tbird\ncrane", ":2: 'crane' stands for 'bird' already"),
    ],
)  # fmt: skip
def test_a_concept_that_cannot_be_told(tmp_path: Path, content: str, message: str) -> None:
    path = placed(tmp_path, "en.txt", content.encode())
    with pytest.raises(CurateError, match=message) as error:
        read_entries(path)
    assert str(error.value).startswith(f"{path}:")


def test_an_entry_list_that_is_not_utf_8_names_the_line(tmp_path: Path) -> None:
    path = placed(tmp_path, "en.txt", b"a\nb\ncaf\xe9\n")
    with pytest.raises(CurateError) as error:
        read_entries(path)
    assert str(error.value) == f"{path}:3: not UTF-8"


@pytest.mark.parametrize("content", [b"", b"\n\n", b" \r\n\t"])
def test_an_empty_entry_list(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(CurateError, match="the entry list is empty; expected one entry a line"):
        read_entries(placed(tmp_path, "en.txt", content))


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("s3://bucket/a.b/part.parquet", "parquet"), ("pool.csv.gz", "csv"), ("POOL.TSV", "tsv"),
        ("x.jsonl.zst", "jsonl"), ("x.ndjson.bz2", "jsonl"), ("x.pq", "parquet"),
        ("x.tsv.xz", "tsv"),
    ],
)  # fmt: skip
def test_the_ending_tells_the_format(path: str, kind: str) -> None:
    assert AUTO.of(path) == kind


@pytest.mark.parametrize("path", ["README.md", "pool", "pool.gz", "pool.json"])
def test_an_ending_that_tells_nothing(path: str) -> None:
    with pytest.raises(CurateError, match=r"cannot tell the format from the name"):
        AUTO.of(path)
