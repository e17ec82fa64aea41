"""Somebody's WARC files: wrong lengths, missing line breaks, padding, other packings."""

import gzip
import io
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from warcio.archiveiterator import ArchiveIterator

from curate.pool.crawl import BrokenRecord, read_crawl
from tests.e2e.conftest import Command

PAGES = 10
CAPTIONS = [f"a red bicycle number {i} against a wall" for i in range(PAGES)]
Pack = Callable[[list[bytes]], bytes]


def record(number: int, *, off: int = 0, end: bytes = b"\r\n\r\n", filler: int = 0) -> bytes:
    """A page as a crawler stores it, with a Content-Length that is `off` by that many bytes."""
    image = f"<img src='/img/{number}.jpg' alt='{CAPTIONS[number]}'>"
    body = f"<html><body>{image}{'<p>text</p>' * filler}</body></html>".encode()
    content = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + body
    length = len(content) + off
    head = (
        f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: http://site{number}.example/p\r\n"
        f"Content-Type: application/http; msgtype=response\r\nContent-Length: {length}\r\n\r\n"
    )  # fmt: skip
    return head.encode() + content + end


def by_member(records: list[bytes]) -> bytes:
    return b"".join(gzip.compress(one, 1, mtime=0) for one in records)


def by_block(records: list[bytes]) -> bytes:
    """Members of 300 bytes, wherever the records are."""
    content = b"".join(records)
    blocks = range(0, len(content), 300)
    return b"".join(gzip.compress(content[x : x + 300], 1, mtime=0) for x in blocks)


def in_one(records: list[bytes]) -> bytes:
    return gzip.compress(b"".join(records), 1, mtime=0)


def frames(records: list[bytes]) -> bytes:
    return b"".join(zstandard.compress(one) for one in records)


def plain(records: list[bytes]) -> bytes:
    return b"".join(records)


PACKS = [by_member, by_block, in_one, frames, plain]


def captions(content: bytes) -> tuple[list[str], list[str]]:
    """The captions found, and what is said of broken records and of the file's end."""
    found, said = [], []
    try:
        for page in read_crawl(io.BytesIO(content)):
            if isinstance(page, BrokenRecord):
                said.append(page.problem)
            else:
                found += [one.texts[0].text for one in page]
    except ValueError as error:
        said.append(str(error))
    return found, said


@pytest.mark.parametrize("pack", PACKS)
@pytest.mark.parametrize("off", [150, 1, 5, 10**12, -1, -20, -150])
def test_a_wrong_length_of_one_record_costs_no_other(pack: Pack, off: int) -> None:
    records = [record(i, off=off if i == 4 else 0) for i in range(PAGES)]
    assert captions(pack(records)) == (CAPTIONS, [])


@given(st.dictionaries(st.integers(0, PAGES - 1), st.integers(-90, 3000)), st.integers(0, 40))
@settings(max_examples=60, deadline=None)
def test_as_many_records_are_read_as_warcio_reads(wrong: dict[int, int], filler: int) -> None:
    content = by_member([record(i, off=wrong.get(i, 0), filler=filler) for i in range(PAGES)])
    pages = [one.content_stream().read() for one in ArchiveIterator(io.BytesIO(content))]
    assert len(pages) == PAGES
    assert captions(content) == (CAPTIONS, [])


@pytest.mark.parametrize("pack", PACKS)
@pytest.mark.parametrize("end", [b"\r\n", b"\n", b"", b"\n\n\n", b"\r\n\r\n\r\n"])
def test_records_may_be_set_apart_by_any_line_breaks(pack: Pack, end: bytes) -> None:
    assert captions(pack([record(i, end=end) for i in range(PAGES)])) == (CAPTIONS, [])


@pytest.mark.parametrize("pack", PACKS)
@pytest.mark.parametrize("length", [b"", b"-5", b"many", b"0"])
def test_a_record_without_a_length_ends_where_the_next_begins(pack: Pack, length: bytes) -> None:
    records = [record(i) for i in range(PAGES)]
    records[3] = record(3).replace(b"Content-Length: ", b"Content-Length: " + length + b"\r\nX: ")
    assert captions(pack(records)) == (CAPTIONS, [])


@pytest.mark.parametrize("pack", PACKS)
def test_what_is_no_record_costs_itself(pack: Pack) -> None:
    records = [record(i) for i in range(PAGES)]
    records[3] = records[3].replace(b"WARC/1.0", b"VARC\0\0\0\0")
    expected = CAPTIONS[:3] + CAPTIONS[4:]
    assert captions(pack([*records, bytes(512)])) == (expected, ["not a WARC record"])


@pytest.mark.parametrize("pack", PACKS)
@pytest.mark.parametrize("missing", [1, 5, 60, 120, 300])
def test_a_crawl_that_is_cut_off_gives_all_pages_before(pack: Pack, missing: int) -> None:
    whole = pack([record(i) for i in range(PAGES)])
    found, said = captions(whole[:-missing])
    assert found == CAPTIONS[: len(found)]
    assert len(found) >= PAGES - 4 or pack is in_one
    ends_between = pack is plain and missing < 5
    assert (len(said) == 1 and "the file ends inside" in said[0]) or (ends_between and not said)


def test_a_crawl_with_wrong_lengths_through_the_command_line(
    tmp_path: Path, curate: Command
) -> None:
    pool = tmp_path / "pool"
    pool.mkdir()
    wrong = [record(i, off=150 if i == 4 else 0) for i in range(PAGES)]
    (pool / "a.warc.gz").write_bytes(by_member(wrong))
    (pool / "b.warc").write_bytes(b"".join(record(i, end=b"\r\n") for i in range(PAGES)))
    (tmp_path / "c.yaml").write_text(f"input: {{paths: {pool}}}\ndownload: {{enabled: false}}\n")
    done = curate("run", str(tmp_path / "c.yaml"), "--out", str(tmp_path / "run"))
    assert done.returncode == 0, done.stderr
    parts = (tmp_path / "run" / "prepare").glob("part-?????.parquet")
    found = [x for part in parts for x in pq.read_table(part)["caption"].to_pylist()]
    assert sorted(found) == sorted(CAPTIONS * 2)
