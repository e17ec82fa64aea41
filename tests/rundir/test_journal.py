"""The journal after its writer died: cut anywhere, damaged anywhere, begun for something else."""

import io
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from curate.rundir.journal import Journal, grown

COLUMNS = st.dictionaries(
    st.text(max_size=5),
    st.none() | st.integers(-(2**63), 2**63 - 1) | st.text() | st.floats(allow_nan=False),
    max_size=3,
)
RECORDS = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c", "d.1"]), COLUMNS, st.binary(max_size=40)), max_size=8
)
Record = tuple[str, dict[str, Any], bytes]


def written(records: list[Record], *, of: str = "settings") -> tuple[bytes, list[int]]:
    """A journal's bytes, and where each of its records ends."""
    file = io.BytesIO()
    journal = Journal(file, of=of)
    ends = []
    for record in records:
        journal.put(*record)
        ends.append(len(file.getvalue()))
    return file.getvalue(), ends


def found(*contents: bytes, of: str = "settings") -> dict[str, tuple[dict[str, Any], bytes]]:
    journal = Journal(io.BytesIO(), of=of, earlier=[io.BytesIO(content) for content in contents])
    return {key: (columns, journal.content(key)) for key, columns in journal.columns.items()}


def latest(records: list[Record]) -> dict[str, tuple[dict[str, Any], bytes]]:
    return {key: (columns, content) for key, columns, content in records}


@given(RECORDS, st.data())
def test_a_file_cut_anywhere_gives_the_records_that_are_whole(
    records: list[Record], data: st.DataObject
) -> None:
    content, ends = written(records)
    cut = data.draw(st.integers(0, len(content)))
    assert found(content[:cut]) == latest(records[: sum(end <= cut for end in ends)])


@given(RECORDS, st.data())
def test_a_damaged_byte_ends_the_file_there(records: list[Record], data: st.DataObject) -> None:
    content, ends = written(records)
    at = data.draw(st.integers(0, len(content) - 1))
    damaged = bytearray(content)
    damaged[at] ^= data.draw(st.integers(1, 255))
    whole = sum(end <= at for end in ends)
    before_the_first = len(written([])[0])
    assert found(bytes(damaged)) == latest(records[:whole] if at >= before_the_first else [])


@given(RECORDS, RECORDS)
def test_the_latest_record_counts_over_all_files(one: list[Record], two: list[Record]) -> None:
    contents = [written(records)[0] for records in (one, two)]
    assert found(*contents) == latest([*one, *two])
    torn = contents[0] + contents[1][:9]
    assert found(torn, contents[1]) == latest([*one, *two])


def test_records_made_under_other_settings_do_not_count() -> None:
    other, ours = written([("a", {}, b"1")], of="other")[0], written([("b", {}, b"2")])[0]
    assert found(other, ours) == {"b": ({}, b"2")}


def test_garbage_and_zeros_are_no_records() -> None:
    content, _ = written([("a", {}, b"1")])
    for rest in (b"\xff" * 4096, bytes(4096), b"\x00" * 11):
        assert found(content + rest) == {"a": ({}, b"1")}
        assert found(rest) == {}


def test_what_is_counted_is_found_from_where_the_last_look_ended() -> None:
    file = io.BytesIO()
    journal = Journal(file, of="settings")
    n, end = grown(file)
    assert n == 1  # what it is of
    for more in (0, 3, 10_000):
        journal.count(more)
        n, end = grown(file, end)
        assert n == more
    assert end == len(file.getvalue()) < 300_000
    file.truncate(end - 1)
    assert grown(file, end - 40)[0] == 1


def test_a_journal_can_be_read_while_it_is_written() -> None:
    file = io.BytesIO()
    journal = Journal(file, of="settings", earlier=[io.BytesIO(written([("z", {}, b"0")])[0])])
    for n in range(5):
        journal.put(f"k{n}", {"n": n}, bytes([n]) * n)
        assert [journal.content(f"k{i}") for i in range(n + 1)] == [
            bytes([i]) * i for i in range(n + 1)
        ]
    assert journal.content("z") == b"0"
