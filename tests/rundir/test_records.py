"""The index of records: what it says is what the records say, however they were written since."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate import files
from curate.rundir import records
from curate.rundir.directory import PartRecord, Run
from curate.schema import Stage

RECORD = PartRecord("digest", "own", 10, 7, {"language": 3}, wrote={"a": files.Content(3, 5)})


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the records that are read one by one."""
    found: list[str] = []
    read = records.read

    def counted(url: str) -> object:
        found.append(url.rpartition("/")[2])
        return read(url)

    monkeypatch.setattr(records, "read", counted)
    return found


def run_of(root: str, numbers: list[int]) -> Run:
    run = Run.to(root)
    for number in numbers:
        run.write_record(Stage.PREPARE, number, RECORD)
    return run


@pytest.mark.parametrize("root", ["LOCAL", "memory://index"])
def test_records_are_read_once_and_those_that_changed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reads: list[str], root: str
) -> None:
    monkeypatch.setattr(records, "WORTH", 3)
    run = run_of(root.replace("LOCAL", str(tmp_path / "run")), [2, 100_000, 99_999, 7])
    before = list(run.records(Stage.PREPARE))
    assert [number for number, _ in before] == [2, 7, 99_999, 100_000]
    assert all(record == RECORD for _, record in before)
    run.index_records(Stage.PREPARE)
    reads.clear()
    assert list(run.records(Stage.PREPARE)) == before
    assert reads == []
    other = PartRecord("another", "own", 10, 10)
    run.write_record(Stage.PREPARE, 7, other)
    files.remove(run.part(Stage.PREPARE, 2, "json"))
    run.write_record(Stage.PREPARE, 8, RECORD)
    now = dict(run.records(Stage.PREPARE))
    assert list(now) == [7, 8, 99_999, 100_000]
    assert now[7] == other
    assert reads == ["part-00007.json", "part-00008.json"]
    reads.clear()
    run.index_records(Stage.PREPARE)
    assert dict(run.records(Stage.PREPARE)) == now
    assert reads == ["part-00007.json", "part-00008.json"]
    files.remove(run.root)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"not a table"])
def test_without_an_index_that_can_be_read_the_records_themselves_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.setattr(records, "WORTH", 1)
    run = run_of(str(tmp_path), [0, 1])
    run.index_records(Stage.PREPARE)
    found = tmp_path / "records/prepare" / records.INDEX
    assert found.exists()
    found.write_bytes(content)
    assert dict(run.records(Stage.PREPARE)) == {0: RECORD, 1: RECORD}


def test_a_damaged_record_is_none_though_others_are_indexed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "WORTH", 1)
    run = run_of(str(tmp_path), [0, 1, 2])
    run.index_records(Stage.PREPARE)
    (tmp_path / "records/prepare/part-00001.json").write_text('{"digest": "x"')
    assert list(dict(run.records(Stage.PREPARE))) == [0, 2]
    assert run.done(Stage.PREPARE) == [0, 1, 2]


def test_few_records_have_none(tmp_path: Path) -> None:
    run = run_of(str(tmp_path), list(range(records.WORTH - 1)))
    run.index_records(Stage.PREPARE)
    assert records.INDEX not in os.listdir(tmp_path / "records/prepare")


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 3)), max_size=30))
def test_any_changes_between_two_indices(changes: list[tuple[int, int]]) -> None:
    """Against a dictionary: records are written (0, 1), removed (2), or all of them indexed (3)."""
    run = Run.to("memory://changes")
    expected: dict[int, PartRecord] = {}
    worth, records.WORTH = records.WORTH, 1
    try:
        for number, what in changes:
            if what == 3:
                run.index_records(Stage.PREPARE)
            elif what == 2:
                files.remove(run.part(Stage.PREPARE, number, "json"))
                expected.pop(number, None)
            else:
                record = PartRecord("d", "o", what, what, seconds=float(len(expected)))
                run.write_record(Stage.PREPARE, number, record)
                expected[number] = record
        assert dict(run.records(Stage.PREPARE)) == dict(sorted(expected.items()))
    finally:
        records.WORTH = worth
        files.remove(run.root)


def test_the_index_is_of_plain_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "WORTH", 1)
    run = run_of(str(tmp_path), [0])
    run.index_records(Stage.PREPARE)
    (row,) = files.read_table(str(tmp_path / "records/prepare" / records.INDEX)).to_pylist()
    assert json.loads(row["record"])["kept"] == 7
