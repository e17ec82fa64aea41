"""The sieve and the one DoFn: exact rows out, and nothing counted that is not written."""

import re
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest

from curate import files, schema
from curate.errors import CurateError
from curate.reasons import DropReason, ErrorCode, rule_reason
from curate.rundir.directory import Part, PartRecord, Run
from curate.schema import Stage
from curate.stages.part import PartOutput, PartStep, Sieve, TakePart, as_text
from tests.stages.rundir import check_conserved, dead, drive, gone, lay, rows_of, uid_of

COLUMNS = pa.schema([("uid", pa.string()), ("url", pa.string()), ("caption", pa.string())])
NUMBERED = pa.schema([*COLUMNS, ("number", pa.int32())])


def pairs(*numbers: int) -> list[dict[str, Any]]:
    return [
        {"uid": uid_of(n), "url": f"http://x.example/{n}", "caption": f"pair {n}", "number": n}
        for n in numbers
    ]


def sieve_of(*numbers: int) -> Sieve:
    return Sieve(pa.Table.from_pylist(pairs(*numbers)), stage=Stage.DEDUP)


def ledger(table: pa.Table) -> list[tuple[str, str, str | None]]:
    names = table.column_names
    assert names in (schema.LEDGER.names, schema.DEAD.names)
    return [(row["uid"][-2:], row[names[4]], row[names[5]]) for row in table.to_pylist()]


def test_a_sieve_writes_every_row_that_it_takes_out_with_its_reason_and_value() -> None:
    sieve = sieve_of(1, 2, 3, 4, 5, 6)
    sieve.remove(np.array([False, True, False, False, True, False]), reason=DropReason.LANGUAGE,
                 value="de")  # fmt: skip
    assert sieve.table["number"].to_pylist() == [1, 3, 4, 6]
    odd = pa.chunked_array([[True], [True, False, False]])  # a mask over what is left by now
    sieve.remove(odd, reason=rule_reason("small"), value=sieve.table["number"])
    sieve.remove(pa.array([True, False]), reason=ErrorCode.BAD_UID, value=sieve.table["caption"])
    sieve.remove([False], reason=DropReason.NO_MATCH)
    output = sieve.output(columns=NUMBERED, figures={"seen": 6})
    assert output.kept.schema.equals(NUMBERED)
    assert output.kept.to_pylist() == [{**pairs(6)[0]}]
    assert ledger(output.dropped) == [
        ("02", "language", "de"), ("05", "language", "de"),
        ("01", "rule:small", "1"), ("03", "rule:small", "3"),
    ]  # fmt: skip
    assert output.dropped["url"].to_pylist()[0] == "http://x.example/2"
    assert output.dropped["caption"].to_pylist()[0] == "pair 2"
    assert set(output.dropped["stage"].to_pylist()) == {"dedup"}
    assert ledger(output.dead) == [("04", "bad_uid", "pair 4")]
    assert output.figures == {"seen": 6}


def test_a_sieve_that_takes_nothing_out_gives_empty_ledgers_with_their_columns() -> None:
    output = sieve_of(1, 2).output(columns=COLUMNS)
    assert output.kept.column_names == ["uid", "url", "caption"]
    assert (len(output.kept), len(output.dropped), len(output.dead)) == (2, 0, 0)
    assert output.dropped.schema.equals(schema.LEDGER)
    assert output.dead.schema.equals(schema.DEAD)


def test_a_sieve_without_a_value_writes_null() -> None:
    sieve = sieve_of(1)
    sieve.remove([True], reason=DropReason.EMPTY_CAPTION)
    assert ledger(sieve.output(columns=COLUMNS).dropped) == [("01", "empty_caption", None)]


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([0.1, None, 1 / 3, 1e-9, 2.0, 123456.789]),
         ["0.1", None, "0.333333", "1e-09", "2", "123457"]),
        (pa.array([0.28], pa.float32()), ["0.28"]),
        (pa.array([1, None, -7], pa.int32()), ["1", None, "-7"]),
        (pa.chunked_array([["a"], [None, "ü"]]), ["a", None, "ü"]),
    ],
)  # fmt: skip
def test_values_are_written_as_text(column: Any, expected: list[str | None]) -> None:
    text = as_text(column)
    assert text.type == pa.string()
    assert text.to_pylist() == expected


@dataclass(frozen=True)
class Sift(PartStep):
    """Drops odd numbers, calls multiples of ten dead; `fault` says how it goes wrong."""

    stage: ClassVar[Stage] = Stage.DEDUP

    fault: str = ""

    def process(self, part: Part, *sides: Any) -> PartOutput:
        if self.fault == "raise":
            raise ValueError(f"cannot read part {part.index}")
        if self.fault == "full":
            with open("/dev/full", "wb", buffering=0) as full:
                full.write(b"x")
        sieve = Sieve(self.incoming(part), stage=self.stage)
        number = sieve.table["number"].to_numpy()
        sieve.remove(number % 2 == 1, reason=DropReason.DUPLICATE_URL, value=sieve.table["number"])
        number = sieve.table["number"].to_numpy()
        sieve.remove(number % 10 == 0, reason=ErrorCode.NULL_URL)
        figures: dict[str, Any] = {"sides": float(sum(sides))}
        if self.fault == "killed":  # after the rows are written, before the record is
            figures = {"x": object()}
        output = sieve.output(columns=NUMBERED, figures=figures)
        return replace(output, kept=output.kept.slice(1)) if self.fault == "lose" else output


class Annotate(Sift):
    """The same under STAGE/annotated."""

    annotates: ClassVar[bool] = True


def step(run: Run, *, digest: str = "d1", kind: type[Sift] = Sift, fault: str = "") -> Sift:
    return kind(run=run, reads="prepare", digest=digest, own="o1", fault=fault)


def take(made: Sift, *sides: Any) -> Any:
    return beam.ParDo(TakePart(made), *sides)


def test_a_part_is_taken_through_a_step(run: Run) -> None:
    parts = lay(run, "prepare", [pairs(1, 2, 3, 10), pairs(4, 6), []], NUMBERED)
    yielded = drive(run, take(step(run), 2, 3), parts)
    assert [(p.index, p.kept, p.rows) for p in yielded] == [(0, 1, 4), (1, 2, 2), (2, 0, 0)]
    assert rows_of(run, "dedup", "number") == [2, 4, 6]
    assert gone(run, Stage.DEDUP, 3) == [
        (uid_of(1), "duplicate_url", "1"), (uid_of(3), "duplicate_url", "3"),
    ]  # fmt: skip
    assert dead(run, Stage.DEDUP, 3) == [(uid_of(10), "null_url", None)]
    check_conserved(run, Stage.DEDUP, parts)
    record = run.record("dedup", 0)
    assert record is not None
    names = ("dead/dedup", "dedup", "dropped/dedup")
    assert list(record.wrote) == [f"{name}/part-00000.parquet" for name in names]
    for name, held in record.wrote.items():
        assert held == files.content_of(files.read_bytes(run.path(name)))
    assert 0 < record.seconds < record.ended <= time.time()
    assert replace(record, seconds=0, wrote={}, ended=0, first=False) == PartRecord(
        digest="d1", own="o1", rows=4, kept=1, dropped={"duplicate_url": 2}, dead={"null_url": 1},
        figures={"sides": 5.0},
    )  # fmt: skip


def test_a_part_whose_record_has_the_digest_is_skipped_and_another_is_done_again(run: Run) -> None:
    parts = lay(run, "prepare", [pairs(1, 2), pairs(4, 6)], NUMBERED)
    drive(run, take(step(run)), parts)
    standing = run.record("dedup", 1)
    assert standing is not None
    run.write_record("dedup", 1, replace(standing, digest="older"))
    for index in (0, 1):  # would be overwritten by a step that runs
        files.write_table(run.part("dedup", index), pa.table({"number": [-1, -2, -3]}))
    yielded = drive(run, take(step(run)), parts)
    tables = (files.read_table(run.part("dedup", index)) for index in (0, 1))
    assert [table["number"].to_pylist() for table in tables] == [[-1, -2, -3], [4, 6]]
    assert [p.kept for p in yielded] == [1, 2]
    assert (again := run.record("dedup", 1)) is not None
    assert again.digest == "d1"


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("raise", "cannot read part 0"),
        ("full", "dedup of part 0: No space left on device: make room on the disk"),
        ("lose", "pairs are lost: 4 in, 0 kept, 3 dropped or dead"),
    ],
)
def test_a_step_that_fails_leaves_nothing(run: Run, fault: str, message: str) -> None:
    parts = lay(run, "prepare", [pairs(1, 2, 3, 10)], NUMBERED)
    with pytest.raises(
        (ValueError, AssertionError, RuntimeError, CurateError), match=re.escape(message)
    ):
        drive(run, take(step(run, fault=fault)), parts)
    for folder in ("dedup", "dropped/dedup", "dead/dedup"):
        assert files.names(run.path(folder)) == []
    assert run.record("dedup", 0) is None


def test_a_write_that_fails_leaves_no_record_and_no_temporary_file(run: Run) -> None:
    parts = lay(run, "prepare", [pairs(1, 2)], NUMBERED)
    Path(run.part("dedup", 0)).mkdir(parents=True)  # the rows cannot be written here
    with pytest.raises((OSError, RuntimeError), match="part-00000"):
        drive(run, take(step(run)), parts)
    assert run.record("dedup", 0) is None
    run.sweep()
    assert files.names(run.path("dedup")) == ["part-00000.parquet"]
    assert [x for x in files.names(run.path("dropped/dedup")) if x != "part-00000.parquet"] == []


def test_rows_written_by_a_killed_step_do_not_pass_for_those_of_an_older_record(run: Run) -> None:
    parts = lay(run, "prepare", [pairs(1, 2, 4)], NUMBERED)
    drive(run, take(step(run, digest="a")), parts)
    lay(run, "prepare", [pairs(6, 8)], NUMBERED)
    with pytest.raises((TypeError, RuntimeError), match="not JSON serializable"):
        drive(run, take(step(run, digest="b", fault="killed")), parts)
    lay(run, "prepare", [pairs(1, 2, 4)], NUMBERED)
    drive(run, take(step(run, digest="a")), parts)
    assert rows_of(run, "dedup", "number") == [2, 4]
    check_conserved(run, Stage.DEDUP, parts)


def test_a_part_without_dead_rows_has_no_table_of_them_but_the_first(run: Run) -> None:
    parts = lay(run, "prepare", [pairs(2), pairs(4, 10), pairs(6)], NUMBERED)
    drive(run, take(step(run)), parts)
    assert files.names(run.path("dead/dedup")) == ["part-00000.parquet", "part-00001.parquet"]
    check_conserved(run, Stage.DEDUP, parts)
    parts = lay(run, "prepare", [pairs(2), pairs(4), pairs(6)], NUMBERED)
    drive(run, take(step(run, digest="d2")), parts)
    assert files.names(run.path("dead/dedup")) == ["part-00000.parquet"]
    assert dead(run, Stage.DEDUP, 3) == []
    check_conserved(run, Stage.DEDUP, parts)


def test_an_annotating_step_writes_beside_the_stage_and_may_drop_nothing(run: Run) -> None:
    parts = lay(run, "prepare", [pairs(2, 4)], NUMBERED)
    yielded = drive(run, take(step(run, kind=Annotate)), parts)
    assert [p.kept for p in yielded] == [2]
    assert rows_of(run, "dedup/annotated", "number") == [2, 4]
    assert files.names(run.path("dropped/dedup")) == files.names(run.path("dead/dedup")) == []
    parts = lay(run, "prepare", [pairs(1, 2)], NUMBERED)
    with pytest.raises((AssertionError, RuntimeError), match="dropped 1 rows; only a select step"):
        drive(run, take(step(run, digest="d2", kind=Annotate)), parts)


def test_only_rows_made_under_the_same_settings_are_reusable(run: Run) -> None:
    parts = lay(run, "prepare", [pairs(2, 4)], NUMBERED)
    annotate = step(run, kind=Annotate)
    assert annotate.reusable(parts[0]) is None
    drive(run, take(annotate), parts)
    reused = replace(annotate, digest="d2").reusable(parts[0])
    assert reused is not None
    assert reused["number"].to_pylist() == [2, 4]
    assert replace(annotate, own="o2").reusable(parts[0]) is None


def test_rows_of_a_killed_step_are_not_reused_under_other_settings(run: Run) -> None:
    parts = lay(run, "prepare", [pairs(2, 4)], NUMBERED)
    annotate = step(run, kind=Annotate)
    drive(run, take(annotate), parts)
    lay(run, "prepare", [pairs(6, 8)], NUMBERED)
    killed = replace(annotate, digest="d2", own="o2", fault="killed")
    with pytest.raises((TypeError, RuntimeError), match="not JSON serializable"):
        drive(run, take(killed), parts)
    rows = replace(annotate, digest="d3").reusable(parts[0])
    assert rows is None or rows["number"].to_pylist() == [2, 4]


def test_a_record_refuses_lost_and_surplus_pairs() -> None:
    with pytest.raises(AssertionError, match="pairs are lost: 5 in, 3 kept, 1 dropped or dead"):
        PartRecord("d", "o", rows=5, kept=3, dropped={"no_match": 1})
    with pytest.raises(AssertionError, match="pairs are lost: 2 in, 2 kept, 1 dropped or dead"):
        PartRecord("d", "o", rows=2, kept=2, dead={"null_url": 1})
    assert PartRecord("d", "o", rows=3, kept=1, dropped={"x": 1}, dead={"y": 1}).kept == 1


def test_a_step_whose_input_has_no_record_says_so(run: Run) -> None:
    parts = lay(run, "prepare", [pairs(2)], NUMBERED)
    files.remove(run.part("prepare", 0, "json"))
    with pytest.raises((AssertionError, RuntimeError), match="prepare of part 0 vanished"):
        drive(run, take(step(run)), parts)
    assert run.record("dedup", 0) is None
