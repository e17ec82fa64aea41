"""Pools in every format, and what a person reads where a file cannot be read."""

import bz2
import csv
import gzip
import io
import json
import lzma
import re
import tarfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.errors import CurateError
from curate.files.texts import TRIED
from curate.pool.rows import PoolFormat
from curate.pool.separated import read_separated
from curate.pool.tables import (
    STAGED,
    read_batches,
    read_entries,
    read_slice,
    row_groups,
)
from curate.schema import POOL

AUTO = PoolFormat(format="auto", url="link", caption="text", uid="id")
NO_UID = PoolFormat(format="auto", url="link", caption="text")
QUOTED_TSV = PoolFormat(format="quoted-tsv", url="link", caption="text", uid="id")
KEYS = ("url", "caption", "uid")
BREAKS = re.compile(r"[\t\n]")
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


def as_quoted_tsv(rows: list[Row]) -> bytes:
    return as_csv(rows, delimiter="\t")


def as_tsv(rows: list[Row]) -> bytes:
    """Fields as they are, which cannot hold tabs or line breaks: spaces stand for them."""
    lines = ["extra\ttext\tid\tlink"]
    for url, caption, uid in rows:
        lines.append(f"7\t{BREAKS.sub(' ', caption)}\t{uid}\t{url}")
    return "".join(line + "\n" for line in lines).encode()


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
        assert {name: table[name].null_count for name in POOL.names[3:]} == dict.fromkeys(
            POOL.names[3:], len(table)
        )
        rows += zip(*(table[name].to_pylist() for name in KEYS), strict=True)
    return rows


def expected(rows: list[Row], ending: str) -> list[Row]:
    """`rows` as a file with that ending gives them."""
    if "tsv" not in ending:
        return rows
    return [(url, BREAKS.sub(" ", caption), uid) for url, caption, uid in rows]


FORMATS: dict[str, Callable[[list[Row]], bytes]] = {
    "parquet": as_parquet, "pq": as_parquet, "csv": as_csv, "tsv": as_tsv, "jsonl": as_jsonl,
    "ndjson": as_jsonl, "PARQUET": as_parquet, "CSV": as_csv,
}  # fmt: skip


@pytest.mark.parametrize("ending", FORMATS)
def test_every_format_gives_the_same_rows(tmp_path: Path, ending: str) -> None:
    path = placed(tmp_path, f"pool.{ending}", FORMATS[ending](ROWS))
    rows = expected(ROWS, ending)
    assert rows_of(path) == rows
    assert rows_of(path, pool=NO_UID) == [(url, caption, None) for url, caption, _ in rows]


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl"])
@pytest.mark.parametrize(
    ("packed", "pack"), [("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress)]
)
def test_packed_files(
    tmp_path: Path, ending: str, packed: str, pack: Callable[[bytes], bytes]
) -> None:
    path = placed(tmp_path, f"pool.{ending}.{packed}", pack(FORMATS[ending](ROWS)))
    assert rows_of(path) == expected(ROWS, ending)


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl"])
def test_zstandard_files(tmp_path: Path, ending: str) -> None:
    content = pa.compress(FORMATS[ending](ROWS), codec="zstd", asbytes=True)
    assert rows_of(placed(tmp_path, f"pool.{ending}.zst", content)) == expected(ROWS, ending)


captions = st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), max_size=20)


@given(texts=st.lists(captions, min_size=1, max_size=8))
@settings(max_examples=60, deadline=None)
def test_any_caption_survives_every_format(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("pool")
    rows = [(f"http://a.example/{i}", text, f"{i:032x}") for i, text in enumerate(texts)]
    for ending in ("csv", "tsv", "jsonl", "parquet"):
        path = placed(folder, f"pool.{ending}", FORMATS[ending](rows))
        assert rows_of(path) == expected(rows, ending), ending
    assert rows_of(placed(folder, "pool.txt", as_quoted_tsv(rows)), pool=QUOTED_TSV) == rows


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
    found = [("u", "1", "x"), (None, "2", None)]
    assert rows_of(str(tmp_path / "a.parquet")) == found
    slice_ = read_slice(str(tmp_path / "a.parquet"), start=0, rows=2, pool=AUTO)
    assert [tuple(row[key] for key in KEYS) for row in slice_.to_pylist()] == found
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
        " csv, images, img2dataset, jats, jsonl, parquet, quoted-tsv, tsv, warc, wat, webdataset"
    )


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("key", ["url", "caption", "uid"])
def test_a_column_that_is_not_there(tmp_path: Path, ending: str, key: str) -> None:
    names = {"url": "link", "caption": "text", "uid": "id"} | {key: "absent"}
    pool = PoolFormat("auto", names["url"], names["caption"], names["uid"])
    meant = "" if key == "uid" else ", as in input.columns: {url: link, caption: text}"
    path = placed(tmp_path, f"pool.{ending}", FORMATS[ending](ROWS))
    with pytest.raises(CurateError) as error:
        rows_of(path, pool=pool)
    assert str(error.value) == (
        f"{path}: no column 'absent' among extra, text, id, link;"
        f" name the right one in input.columns.{key}{meant}"
    )
    if ending == "parquet":
        wanted = rf"no column 'absent' .* input\.columns\.{key}{re.escape(meant)}$"
        with pytest.raises(CurateError, match=wanted):
            row_groups(path, pool=pool)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("pool.parquet", b""),
        ("pool.parquet", b"PAR1 cut off"),
        ("pool.csv.gz", b"this is not gzip"),
        ("pool.csv.gz", gzip.compress(as_csv(ROWS))[:-20]),
        ("pool.csv.gz", gzip.compress(as_csv(ROWS), mtime=0)[:20] + b"garbage" * 9),
        ("pool.jsonl.xz", b"this is not xz"),
        ("pool.csv.xz", lzma.compress(as_csv(ROWS))[:-20]),
        ("pool.csv.bz2", b"this is not bzip2"),
        ("pool.csv.zst", b"this is not zstandard"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
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


@pytest.mark.parametrize("content", [b"", b"\n", b"{}\n", b"not json\n", b'["link", "text"]\n'])
def test_an_empty_jsonl_has_no_columns(tmp_path: Path, content: bytes) -> None:
    path = placed(tmp_path, "pool.jsonl", content)
    with pytest.raises(CurateError, match=r"no column 'link' among none"):
        rows_of(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    path = str(tmp_path / "absent.parquet")
    for read in (
        lambda: rows_of(path),
        lambda: row_groups(path, pool=AUTO),
        lambda: read_slice(path, start=0, rows=1, pool=AUTO),
    ):
        with pytest.raises(CurateError, match=r"absent\.parquet: no such file$"):
            read()


@pytest.mark.parametrize("row_group_size", [1, 3, 4, 100])
def test_slices_of_a_parquet_file(tmp_path: Path, row_group_size: int) -> None:
    path = placed(tmp_path, "a.parquet", as_parquet(ROWS, row_group_size=row_group_size))
    sizes = row_groups(path, pool=AUTO) or []
    assert sum(sizes) == 8
    assert set(sizes[:-1]) <= {row_group_size}
    for start in range(9):
        for rows in range(10):
            table = read_slice(path, start=start, rows=rows, pool=AUTO)
            assert table.schema == POOL
            found = list(zip(*(table[name].to_pylist() for name in KEYS), strict=True))
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
    assert sum(row_groups(path, pool=AUTO) or []) == 0
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
        ("crane\tbird\n\ncrane\tmachine", ":3: 'crane' counts as 'bird' already and cannot count"
         " as 'machine' as well"),
        ("crane\tbird\ncrane", ":2: 'crane' counts as 'bird' already"),
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
    assert str(error.value) == (
        f"{path}: line 3 is not UTF-8, nor marked as UTF-16; save it as UTF-8, as with:"
        " iconv -f WINDOWS-1252 -t UTF-8"
    )


@pytest.mark.parametrize("content", [b"", b"\n\n", b" \r\n\t"])
def test_an_empty_entry_list(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(CurateError, match="the entry list is empty; expected one entry a line"):
        read_entries(placed(tmp_path, "en.txt", content))


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("s3://bucket/a.b/part.parquet", "parquet"), ("pool.csv.gz", "csv"), ("POOL.TSV", "tsv"),
        ("x.jsonl.zst", "jsonl"), ("x.ndjson.bz2", "jsonl"), ("x.pq", "parquet"),
        ("x.tsv.xz", "tsv"), ("CC-MAIN-00.warc.wat.gz", "wat"), ("CC-MAIN-00.warc.gz", "warc"),
        ("page.warc", "warc"), ("s3://bucket/{00..99}/00000.tar", "webdataset"),
    ],
)  # fmt: skip
def test_the_ending_tells_the_format(path: str, kind: str) -> None:
    assert AUTO.of(path) == kind


@pytest.mark.parametrize("path", ["README.md", "pool", "pool.gz", "pool.json"])
def test_neither_name_nor_content_tells(tmp_path: Path, path: str) -> None:
    for content in (b"", b"link,text,id\n", b"\x1f\x8b broken"):
        with pytest.raises(CurateError, match=r"cannot tell the format from the name"):
            AUTO.of(placed(tmp_path, path, content))


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("parquet", as_parquet(ROWS)), ("jsonl", as_jsonl(ROWS)), ("warc", b"WARC/1.0\r\n"),
        ("jsonl", gzip.compress(b' {"link": 1}')), ("warc", gzip.compress(b"WARC/1.1\r\n")),
        ("webdataset", tarfile.TarInfo("a.jpg").tobuf()),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # gzip's bytes hold the time
)  # fmt: skip
def test_the_content_tells_where_the_name_does_not(
    tmp_path: Path, kind: str, content: bytes
) -> None:
    assert AUTO.of(placed(tmp_path, "part-0000", content)) == kind


BAD_CSV = b"""link,text,id
u1,one,x
u2,two
u3,\xff\xfe is not UTF-8,y
u4,four,y,more
u5,five,\xe4
u6,six,z
"""
BAD_JSONL = b"""{"link": "u1", "text": "one", "id": "x"}
null
{"link": "u2", "text": "two", "id":
{"link": "u3", "text": "\xff\xfe is not UTF-8", "id": "y"}
["u4"]
{"link": "u5", "text": ["five"], "id": "y"}

{"link": "u6", "text": "half \\ud800", "id": "y"}
{"link": "u7", "text": 7, "id": true}
{"link": "u8", "text": "eight"} {"link": "u9"}
{"link": "u10", "text": "ten", "id": null}
{"link": "u11", "text": "} null", "id": "z"}
"""


def read(path: str, *, block_bytes: int = 1 << 20) -> tuple[list[Row], list[tuple[str, str]]]:
    """Good rows, and what is said of the bad ones without the file's name; both sorted."""
    good, bad = [], []
    for table in read_batches(path, pool=AUTO, block_bytes=block_bytes):
        for row in table.to_pylist():
            if row["error"] is None:
                good.append(tuple(row[key] for key in KEYS))
            else:
                assert row["error"] == "bad_row"
                bad.append((row["detail"].removeprefix(f"{path}: "), row["caption"]))
    return sorted(good, key=str), sorted(bad)


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "tsv"])
def test_bad_rows_are_told_apart_from_good_ones(tmp_path: Path, ending: str) -> None:
    content = BAD_CSV.replace(b",", b"\t") if ending == "tsv" else BAD_CSV
    path = placed(tmp_path, f"pool.{ending}", gzip.compress(content) if "gz" in ending else content)
    good, bad = read(path)
    assert good == [("u1", "one", "x"), ("u6", "six", "z")]
    between = "\t" if ending == "tsv" else ","
    assert bad == [
        (TRIED, "five"),
        (TRIED, "\ufffd is not UTF-8"),
        ("row 3: 2 fields where the header has 3", f"u2{between}two"),
        ("row 5: 4 fields where the header has 3", between.join(["u4", "four", "y", "more"])),
    ]


@pytest.mark.parametrize("block_bytes", [64, 1 << 20])
def test_bad_lines_of_json_are_told_apart(tmp_path: Path, block_bytes: int) -> None:
    path = placed(tmp_path, "pool.jsonl", BAD_JSONL)
    good, bad = read(path, block_bytes=block_bytes)
    assert good == [
        ("u1", "one", "x"), ("u10", "ten", None), ("u11", "} null", "z"), ("u7", "7", "true"),
    ]  # fmt: skip
    assert [(detail.split(" (")[0].split(": line")[0], text[:14]) for detail, text in bad] == [
        (TRIED, "\ufffd is not UTF-8"),
        ("row 10: not JSON: Extra data", '{"link": "u8",'),
        ("row 2: a JSON NoneType, not an object", "null"),
        ("row 3: not JSON: Expecting value", '{"link": "u2",'),
        ("row 5: a JSON list, not an object", '["u4"]'),
        ("row 6: text is a list, not a text", '{"link": "u5",'),
        ("row 8: text holds half a surrogate pair", '{"link": "u6",'),
    ]


def test_texts_of_parquet_that_are_not_utf_8(tmp_path: Path) -> None:
    texts = pa.array([b"good", b"\xe9t\xe9", None, "été".encode()]).view(pa.string())
    table = pa.table({"link": ["a", "b", "c", "d"], "text": texts, "id": ["x"] * 4})
    pq.write_table(table, tmp_path / "pool.parquet")
    path = str(tmp_path / "pool.parquet")
    good = [("a", "good", "x"), ("c", None, "x"), ("d", "été", "x")]
    bad = [(TRIED, "\ufffdt\ufffd")]
    assert read(path) == (good, bad)
    sliced = read_slice(path, start=1, rows=2, pool=AUTO).to_pylist()
    assert [row["error"] for row in sliced] == ["bad_row", None]


json_lines = st.one_of(
    st.builds(lambda x: json.dumps(x).encode(), st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=3),
        lambda x: st.lists(x, max_size=2) | st.dictionaries(
            st.sampled_from(["link", "text", "id", "more"]), x, max_size=4), max_leaves=4)),
    st.binary(max_size=12), st.sampled_from(
        [b"", b" ", b"{}", b"{} {}", b"}", b"{} null", b"{}  null"]),
)  # fmt: skip


@given(lines=st.lists(json_lines, max_size=8), block_bytes=st.integers(1, 80))
@settings(max_examples=150, deadline=None)
def test_every_line_of_json_is_a_row_good_or_bad(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], block_bytes: int
) -> None:
    """Against a reading of each line by itself."""
    first = b'{"link": "u", "text": "t", "id": "x"}'
    content = b"\n".join([first, *lines])
    path = placed(tmp_path_factory.mktemp("pool"), "pool.jsonl", content)
    found = [
        row["error"] is None
        for table in read_batches(path, pool=AUTO, block_bytes=max(block_bytes, len(first) + 1))
        for row in table.to_pylist()
    ]
    good = bad = 0
    for line in content.split(b"\n"):
        if not line.strip():
            continue
        try:
            document = json.loads(line.decode())
            values = [document.get(key) for key in ("link", "text", "id")]
            fine = not any(isinstance(x, list | dict) for x in values)
        except (ValueError, AttributeError):
            fine = False
        good, bad = good + fine, bad + (not fine)
    assert (found.count(True), found.count(False)) == (good, bad)


def test_what_follows_an_unreadable_place_is_missing_and_what_came_before_is_not(
    tmp_path: Path,
) -> None:
    rows = [(f"u{i}", f"caption {i * 7919 % 1000}", f"{i:032x}") for i in range(5000)]
    path = placed(tmp_path, "pool.jsonl.gz", gzip.compress(as_jsonl(rows))[:-2000])
    found: list[str] = []
    tables = read_batches(path, pool=AUTO, block_bytes=4096)
    with pytest.raises(CurateError, match=r"pool\.jsonl\.gz: cannot be read as jsonl: "):
        found.extend(url for table in tables for url in table["url"].to_pylist())
    assert found == [f"u{i}" for i in range(len(found))]
    assert 2000 < len(found) < 5000


def test_quotes_in_a_tsv_are_characters_unless_it_is_said_that_they_quote(tmp_path: Path) -> None:
    content = b'link\ttext\tid\nu1\t"The Scream"\tx\nu2\t"open\ty\nu3\tsaid ""hi""\tz\n'
    path = placed(tmp_path, "pool.tsv", content)
    assert rows_of(path) == [
        ("u1", '"The Scream"', "x"), ("u2", '"open', "y"), ("u3", 'said ""hi""', "z"),
    ]  # fmt: skip
    quoted = placed(tmp_path, "quoted.tsv", b'"link"\t"text"\t"id"\n"u1"\t"say ""hi"""\t"x"\n')
    with pytest.raises(CurateError, match=r"its header is quoted; set input\.format to quoted-tsv"):
        rows_of(quoted)
    assert rows_of(quoted, pool=QUOTED_TSV) == [("u1", 'say "hi"', "x")]


@pytest.mark.parametrize("block_bytes", [1 << 12, 1 << 20])
@pytest.mark.parametrize("row", [b'u2,"open,y\n', b'u2,a,"open,y\n', b'"u2,a,open,y\n', b'u2,a,"'])
def test_a_quote_that_is_never_closed_does_not_swallow_the_file_in_silence(
    tmp_path: Path, row: bytes, block_bytes: int
) -> None:
    content = b"link,text,id\nu1,one,x\nu0,short\n" + row + b"u3,three,z\n" * 20_000
    path = placed(tmp_path, "pool.csv", content)
    found: list[dict[str, str]] = []
    tables = read_batches(path, pool=AUTO, block_bytes=block_bytes)
    with pytest.raises(CurateError) as error:
        found.extend(row for table in tables for row in table.to_pylist())
    assert [(one["url"], one["error"]) for one in found] == [("u1", None), (None, "bad_row")]
    problem = "the quote that opens in row 4 is never closed"
    if block_bytes < len(content):
        problem = "row 4 has over 4,096 bytes; most likely its quote is never closed"
    assert str(error.value) == f"{path}: cannot be read as csv: {problem}"


def test_a_text_of_over_a_million_bytes_is_none(tmp_path: Path) -> None:
    content = b'link,text,id\nu1,one,x\nu2,"' + b"u3,three,z\n" * 100_000 + b'",y\nu4,four,z\n'
    good, bad = read(placed(tmp_path, "pool.csv", content), block_bytes=1 << 22)
    assert good == [("u1", "one", "x"), ("u4", "four", "z")]
    assert [detail for detail, _ in bad] == ["a text of over 1,000,000 bytes"]


@given(st.text(st.sampled_from('",\na'), max_size=12))
@settings(max_examples=300, deadline=None)
def test_a_file_that_ends_in_a_quote_is_told_from_one_that_does_not(body: str) -> None:
    """Against a reading of one character at a time, and no row is our own."""
    state, rest = "start", list(body)
    while rest:
        char = rest.pop(0)
        if state == "quoted" and char == '"' and rest[:1] == ['"']:
            rest.pop(0)
        elif state == "quoted":
            state = "plain" if char == '"' else "quoted"
        elif char in ",\n":
            state = "start"
        else:
            state = "quoted" if (state, char) == ("start", '"') else "plain"
    for names, columns in ((b"a\n", ["a"]), (b"a,b\n", ["b"])):
        file = io.BytesIO(names + body.encode())
        rows = read_separated(file, kind="csv", columns=columns, block_bytes=1 << 20)
        if state == "quoted":
            with pytest.raises(
                ValueError, match=r"the quote that opens in row \d+ is never closed"
            ):
                list(rows)
        else:
            texts = [
                str(x) for found in rows for x in (*found.good[columns[0]].to_pylist(), found.bad)
            ]
            assert not any("\ufdd2" in text for text in texts)


@pytest.mark.parametrize("ending", ["csv", "tsv"])
def test_lines_may_end_in_a_carriage_return(tmp_path: Path, ending: str) -> None:
    rows = [row for row in ROWS if "\n" not in row[1]]
    for end in (b"\r", b"\r\n"):
        content = FORMATS[ending](rows).replace(b"\n", end)
        for cut in (content, content.removesuffix(end)):
            assert rows_of(placed(tmp_path, f"pool.{ending}", cut)) == expected(rows, ending)


def test_a_header_may_hold_line_breaks(tmp_path: Path) -> None:
    content = b'"more\r\nor\nless",link,text,id\n1,u1,one,x\n'
    assert rows_of(placed(tmp_path, "pool.csv", content)) == [("u1", "one", "x")]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (
            b"link,text,id," + b"x" * 131_073 + b"\n",
            "cannot be read as csv: its header: field larger",
        ),
        (b"link,text,id,\xff\n", "cannot be read as csv: its header is not UTF-8"),
        (b'"link,text,id\n' + b"u,t,x\n" * 900, "no column 'link' among link,text,id u,t,x u,t"),
    ],
)
def test_a_header_that_cannot_be_read_is_one_short_line(
    tmp_path: Path, content: bytes, problem: str
) -> None:
    path = placed(tmp_path, "pool.csv", content)
    with pytest.raises(CurateError) as error:
        rows_of(path)
    assert str(error.value).startswith(f"{path}: {problem}")
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 800


def test_json_of_which_the_first_line_tells_little(tmp_path: Path) -> None:
    content = b'\xef\xbb\xbf[]\n{"id": "x"}\n{"link": "u2"}\n{"link": "u3", "text": "three"}\n'
    path = placed(tmp_path, "pool.jsonl", content)
    good, bad = read(path)
    assert good == [("u2", None, None), ("u3", "three", None), (None, None, "x")]
    assert [detail for detail, _ in bad] == ["row 1: a JSON list, not an object"]


@pytest.mark.parametrize("end", [b"\n", b""])
def test_a_first_line_of_json_may_be_longer_than_a_block(tmp_path: Path, end: bytes) -> None:
    row = (ROWS[0][0], "long " * 2000, ROWS[0][2])
    path = placed(tmp_path, "pool.jsonl", as_jsonl([row, *ROWS[1:]]).removesuffix(b"\n") + end)
    good, bad = read(path, block_bytes=64)
    assert (len(good), bad) == (len(ROWS), [])


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "parquet"])
def test_noncharacters_are_characters(tmp_path: Path, ending: str) -> None:
    rows = [
        ("http://a.example/\uffff", f"a \uffff {x} fox", "\ufdd0") for x in ("\ufffe", "\ufdd1")
    ]
    assert rows_of(placed(tmp_path, f"pool.{ending}", FORMATS[ending](rows))) == rows
