"""Files whose numbers are absurd: they end quickly, in one line, and take no memory to speak of."""

import gzip
import os
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.errors import CurateError
from curate.pool.rows import PoolFormat
from curate.pool.tables import column_kinds, read_batches, read_slice

AUTO = PoolFormat("auto", "url", "caption")
GOOD = b'{"url": "http://a.example/b", "caption": "c"}\n'


def count(path: Path) -> int:
    return sum(len(table) for table in read_batches(str(path), pool=AUTO))


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("pool.jsonl", b"", GOOD), ("pool.jsonl", GOOD, GOOD), ("pool.csv", b"url,caption\n", b"u,c\n"),
        ("pool.tsv", b"url\tcaption\n", b"u\tc\n"),
    ],
)  # fmt: skip
def test_a_file_of_newlines_ends_quickly(
    tmp_path: Path, name: str, before: bytes, after: bytes
) -> None:
    path = tmp_path / f"{name}.gz"
    path.write_bytes(gzip.compress(before + b"\n" * (100 << 20) + after, 1))
    start = time.perf_counter()
    assert count(path) == 1 + (before == GOOD)
    column_kinds(str(path), pool=AUTO)
    assert time.perf_counter() - start < 30  # a second or three; it took minutes


def absurd(path: Path, *, rows: int, size: int, kind: pa.DataType) -> Path:
    """A parquet file of a few KB: one caption of `size` bytes that stands in `rows` rows."""
    indices = pa.array([0] * rows, pa.int32())
    columns = {
        name: pa.DictionaryArray.from_arrays(indices, pa.array([text], kind))
        for name, text in (("url", "http://a.example/b"), ("caption", "x" * size))
    }
    table = pa.table(columns)
    pq.write_table(table, path, compression="zstd", row_group_size=rows, store_schema=False)
    assert path.stat().st_size < 4_000
    return path


READ = """
import resource, sys
from curate.pool.rows import PoolFormat
from curate.pool.tables import read_batches, read_slice
pool = PoolFormat("auto", "url", "caption")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    read_slice(sys.argv[1], start=0, rows=10_000, pool=pool)
except Exception as error:
    print(error)
try:
    list(read_batches(sys.argv[1], pool=pool))
except Exception as error:
    print(error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)
"""


def test_a_parquet_of_kilobytes_that_stands_for_gigabytes_is_refused(tmp_path: Path) -> None:
    path = absurd(tmp_path / "pool.parquet", rows=6_000, size=900_000, kind=pa.string())
    done = subprocess.run(
        [sys.executable, "-c", READ, str(path)], capture_output=True, text=True, timeout=120,
        check=True, env=dict(os.environ),
    )  # fmt: skip
    first, second, megabytes = done.stdout.splitlines()
    for said in (first, second):
        assert "more than 1,000 times as many: no pool of pairs is like that" in said
        assert said.startswith(f"{path}: cannot be read as parquet: its ")
    assert int(megabytes) < 200


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.binary(),
                                  pa.dictionary(pa.int32(), pa.string())])  # fmt: skip
@pytest.mark.parametrize(
    "options", [{}, {"use_dictionary": False}, {"dictionary_pagesize_limit": 99}]
)
def test_texts_of_every_type_are_read_as_they_stand(
    tmp_path: Path, kind: pa.DataType, options: dict[str, object]
) -> None:
    urls, captions = [f"u{i % 700}" for i in range(3_000)], [f"é {i}" for i in range(3_000)]
    columns = {"url": pa.array(urls), "caption": pa.array([*captions[:-1], None])}
    table = pa.table({name: column.cast(kind) for name, column in columns.items()})
    path = str(tmp_path / "pool.parquet")
    pq.write_table(table, path, row_group_size=1_300, **options)
    found = pa.concat_tables(
        read_slice(path, start=start, rows=999, pool=AUTO) for start in range(0, 3_000, 999)
    )
    whole = pa.concat_tables(read_batches(path, pool=AUTO))
    for one in (found, whole):
        assert one["url"].to_pylist() == urls
        assert one["caption"].to_pylist() == [*captions[:-1], None]


def header(kind: bytes, size: int) -> bytes:
    """A header of a member that says it has `size` bytes."""
    block = bytearray(tarfile.TarInfo("0001.jpg").tobuf(tarfile.GNU_FORMAT))
    block[124:136] = (size % (1 << 96)).to_bytes(12, "big")
    block[124] = 0o377 if size < 0 else 0o200 | block[124]
    block[156:157], block[148:156] = kind, b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME,
                                  tarfile.GNUTYPE_SPARSE, tarfile.REGTYPE])  # fmt: skip
@pytest.mark.parametrize("size", [1 << 80, 1 << 63, 1 << 62, 1 << 40, -512, -(1 << 60)])
def test_absurd_numbers_in_the_headers_of_a_tar_are_one_line(
    tmp_path: Path, kind: bytes, size: int
) -> None:
    path = tmp_path / "s.tar"
    path.write_bytes(header(kind, size) + bytes(1024))
    with pytest.raises(CurateError, match=r"s\.tar: cannot be read as webdataset: .") as error:
        count(path)
    assert "\n" not in str(error.value)


def test_headers_without_end_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "s.tar"
    path.write_bytes(header(tarfile.GNUTYPE_LONGNAME, 0) * 20_000 + bytes(1024))
    with pytest.raises(CurateError, match=r"s\.tar: cannot be read as webdataset: .*recursion"):
        count(path)


@pytest.mark.parametrize(("name", "mark"), [("pool.csv", b","), ("pool.tsv", b"\t")])
def test_a_giant_line_is_named_by_its_row(tmp_path: Path, name: str, mark: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(mark.join([b"url", b"caption\nu", b"c\nu", b"x" * (40 << 20) + b"\n"]))
    with pytest.raises(CurateError, match=r"row 3 has over 8,388,608 bytes"):
        count(path)


def test_json_that_is_nested_without_end_costs_its_line(tmp_path: Path) -> None:
    path = tmp_path / "pool.jsonl"
    deep = b"[" * 200_000 + b"]" * 200_000
    other = b'{"url": "u", "caption": "c", "x": ' + deep + b"}\n"
    path.write_bytes(GOOD + other + b'{"url": "u", "caption": ' + deep + b"}\n" + GOOD)
    rows = [row for table in read_batches(str(path), pool=AUTO) for row in table.to_pylist()]
    assert [row["url"] for row in rows if row["error"] is None] == ["http://a.example/b"] * 2
    assert len(rows) == 4
