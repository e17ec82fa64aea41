"""The run directory: names, records, totals, the state."""

from collections.abc import Iterator

import pyarrow as pa
import pytest

from curate import files
from curate.rundir.directory import PART_STAGES, Part, PartRecord, Run, part_index, totals, versions
from curate.rundir.layout import LAYOUT
from curate.schema import Stage


@pytest.fixture(params=["local", "memory"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A run on disk, and one in memory: both are URLs to the code."""
    if request.param == "local":
        yield Run(str(tmp_path_factory.mktemp("run")))
        return
    yield Run("memory://test-run")
    files.remove("memory://test-run")


def test_every_file_has_its_place(run: Run) -> None:
    places = [
        run.part("score/annotated", 7), run.part(Stage.DOWNLOAD, 12345, "tar"),
        run.part("prepare", 0, "json"), run.ledger(Stage.DEDUP, 3), run.dead(Stage.PREPARE, 3),
        run.path(Stage.SHARDS, "manifest.json"), run.part("score/annotated/nsfw", 1, "json"),
        run.part(Stage.PREPARE, 100_000, "places.parquet"), run.part("dedup/clusters", 1),
        run.path("score", "quantiles.json"), run.path("balance", "entries.parquet"),
        run.path("balance", "uids.npy"), run.path("dedup", "keys", "pair", "part-00000.keys"),
    ]  # fmt: skip
    assert [place.removeprefix(run.root) for place in places] == [
        "/annotated/score/part-00007.parquet", "/download/part-12345.tar",
        "/records/prepare/part-00000.json", "/dropped/dedup/part-00003.parquet",
        "/dead/prepare/part-00003.parquet", "/shards/manifest.json",
        "/records/annotated/score/nsfw/part-00001.json",
        "/places/part-100000.parquet", "/clusters/part-00001.parquet",
        "/records/score/quantiles.json", "/entries/entries.parquet",
        "/subset/balance/uids.npy", "/keys/pair/part-00000.keys",
    ]  # fmt: skip
    assert [str(stage) for stage in PART_STAGES] == [
        "prepare", "download", "dedup", "score", "balance",
    ]  # fmt: skip


def test_a_record_is_read_as_it_was_written(run: Run) -> None:
    record = PartRecord("d", "o", rows=6, kept=3, dropped={"no_match": 2}, dead={"null_url": 1},
                        figures={"matches": 9.5}, seconds=1.25)  # fmt: skip
    run.write_record("prepare", 2, record)
    run.write_record("prepare", 10, record)
    files.write_bytes(run.path("prepare", "part-00003.parquet"), b"")
    files.write_bytes(run.path("prepare", "quantiles.json"), b"{}")
    assert run.record("prepare", 2) == record
    assert run.done("prepare") == [2, 10]
    assert list(run.records("prepare")) == [(2, record), (10, record)]
    assert run.record("prepare", 3) is None
    assert run.record("nowhere", 0) is None
    assert run.done("nowhere") == []


@pytest.mark.parametrize(
    "content",
    [b"{", b"", b'{"digest": "d"}', b'{"digest": "d", "own": "o", "rows": 2, "kept": 1}',
     b'{"digest": "d", "own": "o", "rows": 1, "kept": 1, "surprise": 1}'],
)  # fmt: skip
def test_what_is_no_record_counts_as_none(run: Run, content: bytes) -> None:
    files.write_bytes(run.part("prepare", 0, "json"), content)
    assert run.record("prepare", 0) is None
    assert list(run.records("prepare")) == []


def test_parts_past_five_digits_are_in_order(run: Run) -> None:
    for index in (100_000, 99_999, 12, 1_000_000):
        run.write_record("prepare", index, PartRecord("d", "o", 1, 1))
    files.write_bytes(run.path("prepare", "part-list.json"), b"{}")
    assert run.done("prepare") == [12, 99_999, 100_000, 1_000_000]
    assert [index for index, _ in run.records("prepare")] == [12, 99_999, 100_000, 1_000_000]


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("part-00007.json", 7), ("part-100000.parquet", 100_000), ("part-00003.journal", 3),
        ("part-123456.places.parquet", 123_456), ("part-1.json", None), ("part-.json", None),
        ("parts.json", None), ("part-0000x.json", None), ("part-00001", None), ("x-part-00001.a", None),
    ],
)  # fmt: skip
def test_the_index_in_a_name(name: str, index: int | None) -> None:
    assert part_index(name) == index


def test_tables_are_read_a_part_at_a_time_in_order(run: Run) -> None:
    for index in (10, 2):
        files.write_table(run.part("prepare", index), pa.table({"a": [index], "b": ["x"]}))
        run.write_record("prepare", index, PartRecord("d", "o", 1, 1))
    files.write_table(run.part("prepare", 5), pa.table({"a": [5]}))  # not done
    tables = list(run.tables("prepare", columns=["a"]))
    assert [table.to_pydict() for table in tables] == [{"a": [2]}, {"a": [10]}]


def test_totals_add_up_parts_and_do_not_count_annotated_rows_twice(run: Run) -> None:
    for index in (0, 1):
        files.write_table(run.part("download/annotated", index), pa.table({"uid": ["a"]}))
        run.write_record(
            "download/annotated", index,
            PartRecord("d", "o", 5, 5, figures={"reused": 2, "stored_bytes": 10}, seconds=1.5),
        )  # fmt: skip
    run.write_record(
        "download", 0, PartRecord("d", "o", 5, 2, {"http_404": 2, "dns": 1}, seconds=0.5)
    )
    run.write_record("download", 1, PartRecord("d", "o", 5, 3, {"http_404": 1}, {"null_url": 1}))
    assert totals(run, Stage.DOWNLOAD) == {
        "parts": 2, "rows": 10, "kept": 5, "dropped": {"dns": 1, "http_404": 3},
        "dead": {"null_url": 1}, "figures": {"reused": 4, "stored_bytes": 20}, "seconds": 3.5,
    }  # fmt: skip
    assert list(totals(run, Stage.DOWNLOAD)["dropped"]) == ["dns", "http_404"]
    assert totals(run, Stage.SCORE)["parts"] == 0


def test_the_state_keeps_what_is_not_set_again(run: Run) -> None:
    assert run.state() == {}
    run.update(state="running", seed=1)
    run.update(state="complete", parts=3)
    assert run.state() == {"layout": LAYOUT, "state": "complete", "seed": 1, "parts": 3}
    assert files.read_document(run.path("run.json")) == run.state()
    assert files.names(run.root) == ["run.json"]


def test_a_sweep_removes_temporary_files_wherever_a_command_was_killed(run: Run) -> None:
    stays = ["prepare/part-00000.parquet", "input/notes.tmp"]
    for name in ("run.json", "input/file-00000-00000.parquet", "prepare/part-00000.parquet",
                 "download/part-00000.tar", "dedup/clusters/part-00000.parquet",
                 "report/index.html"):  # fmt: skip
        files.write_bytes(run.path(f"{name}.0123abcd{files.TEMPORARY}"), b"a pair")
    for name in stays:
        files.write_bytes(run.path(name), b"x")
    run.sweep()
    fs, path = files.file_system(run.root)
    assert sorted(x.removeprefix(f"{path}/") for x in fs.find(path)) == sorted(stays)
    Run(f"{run.root}/nowhere").sweep()


def test_a_part_taken_back_is_not_done(run: Run) -> None:
    record = PartRecord("d", "o", 1, 1)
    for folder in ("score", "score/annotated"):
        run.write_record(folder, 0, record)
        run.write_record(folder, 2, record)
    run.retract("score", 0, own="o")
    run.retract("score/annotated", 0, own="o")
    run.retract("score/annotated", 2, own="other settings")
    run.retract("score", 1, own="o")
    assert run.record("score", 0) is None
    assert run.record("score/annotated", 0) == PartRecord("", "o", 1, 1)
    assert run.done("score") == [2]
    assert run.done("score/annotated") == [0]


def test_parts_are_plain_and_versions_named() -> None:
    assert Part(0, "p", 0, 5) == Part(index=0, path="p", start=0, rows=5, staged=False, kept=0)
    found = versions()
    assert found["apache-beam"] == "2.77.0"
    assert {"curate", "pyarrow", "numpy", "torch"} < set(found)
