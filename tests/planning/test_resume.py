"""What stands, what is done again: a table of what may happen to a run directory between two runs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate import files
from curate.config import Config
from curate.errors import CurateError
from curate.planning.plan import Plan, make_plan
from curate.planning.resume import Standing, settle
from curate.rundir.directory import ANNOTATED, CLUSTERS, SIZES, SUBSET, PartRecord, Run
from curate.running.execute import prepare_run, report_written
from curate.schema import Stage

PARTS = 3
FOLDERS = ["prepare", "download/annotated", "download", "dedup", "score/annotated", "score",
           "balance"]  # fmt: skip
DOCUMENT: dict[str, Any] = {
    "part_rows": 2,
    "score": {"model": "ViT-B-32", "pretrained": "laion2b_s34b_b79k"},
    "select": [{"column": "smaller_side", "min": 64}, {"column": "clip_score", "min": 0.2}],
    "balance": {"t": 20},
}
TOP = {"select": [{"column": "smaller_side", "min": 64},
                  {"column": "clip_score", "top_fraction": 0.5}]}  # fmt: skip


def planned(tmp_path: Path, **changes: Any) -> Plan:
    pool, entries = tmp_path / "pool.parquet", tmp_path / "en.txt"
    if not pool.exists():
        rows = [{"url": f"http://x.example/{i}", "caption": f"pair {i}"} for i in range(2 * PARTS)]
        pq.write_table(pa.Table.from_pylist(rows), pool)
        entries.write_text("pair\n")
    document = DOCUMENT | {
        "input": {"paths": [str(pool)]}, "out": str(tmp_path / "run"),
        "prepare": {"metadata": {"en": str(entries)}},
    }  # fmt: skip
    return make_plan(Config.model_validate(document | changes))


def finish(plan: Plan) -> Run:
    """Lay the records and files of a whole run of `plan`, as its steps would have."""
    run = plan.run
    run.update(input_digest=plan.input_digest)
    for folder, digest in plan.digests.items():
        if folder == "shards":
            continue
        for part in plan.parts:
            files.write_bytes(run.part(folder, part.index), b"rows")
            record = PartRecord(digest.chain, digest.own, part.rows, part.rows)
            run.write_record(folder, part.index, record)
            if "/" not in folder:
                files.write_bytes(
                    run.path("dropped", folder, f"part-{part.index:05d}.parquet"), b""
                )
    if "dedup" in plan.digests:
        for part in plan.parts:
            files.write_bytes(run.part(CLUSTERS, part.index), b"PAR1")
        files.write_json(
            run.path("dedup", "clusters.json"), {"digest": plan.digests["dedup"].chain}
        )
    for name in ("00000.tar", "00000_stats.json", "manifest.json"):
        chain = plan.digests["shards"].chain if "shards" in plan.digests else ""
        files.write_json(run.path("shards", name), {"digest": chain})
    return run


def unrecord(folder: str, *indices: int) -> Callable[[Run], None]:
    """Take records away, as if the run had been killed before they were written."""

    def change(run: Run) -> None:
        for index in indices:
            files.remove(run.part(folder, index, "json"))

    return change


def standing(valid: list[int], stale: dict[str, int], *, clustered: bool) -> Standing:
    return Standing(dict(zip(FOLDERS, valid, strict=True)), stale, clustered)


def behind(folder: str, n: int = PARTS) -> dict[str, int]:
    """`n` parts stale in every folder after `folder`."""
    return dict.fromkeys(FOLDERS[FOLDERS.index(folder) + 1 :], n)


TABLE = [
    ("nothing happened", None, {}, standing([3] * 7, {}, clustered=True)),
    ("a download record is gone: its part before the barrier, every part behind it",
     unrecord("download", 1), {},
     standing([3, 3, 2, 0, 0, 0, 0], behind("download"), clustered=False)),
    ("a prepare record is gone: the same part in all maps up to the barrier",
     unrecord("prepare", 0), {},
     standing([2, 2, 2, 0, 0, 0, 0],
              {"download/annotated": 1, "download": 1} | behind("download"), clustered=False)),
    ("a score record is gone: balance is a barrier",
     unrecord("score", 2), {}, standing([3, 3, 3, 3, 3, 2, 0], {"balance": 3}, clustered=True)),
    ("a score annotation is gone: the rule has no quantile, so it goes by parts",
     unrecord("score/annotated", 2), {},
     standing([3, 3, 3, 3, 2, 2, 0], {"score": 1, "balance": 3}, clustered=True)),
    ("a dedup record is gone, its table of clusters stands",
     unrecord("dedup", 0), {},
     standing([3, 3, 3, 2, 2, 2, 0], {"score/annotated": 1, "score": 1, "balance": 3},
              clustered=True)),
    ("two balance records are gone",
     unrecord("balance", 0, 1), {}, standing([3] * 6 + [1], {}, clustered=True)),
    ("another t", None, {"balance": {"t": 21}},
     standing([3] * 6 + [0], {"balance": 3}, clustered=True)),
    ("another image rule", None,
     {"select": [{"column": "smaller_side", "min": 65}, {"column": "clip_score", "min": 0.2}]},
     standing([3, 3, 0, 0, 0, 0, 0], {"download": 3} | behind("download"), clustered=False)),
    ("other clusters", None, {"dedup": {"threshold": 0.7}},
     standing([3, 3, 3, 0, 0, 0, 0], behind("download"), clustered=False)),
    ("more shards", None, {"shards": {"rows": 7}}, standing([3] * 7, {}, clustered=True)),
]  # fmt: skip


@pytest.mark.parametrize(("folder", "stays"), [("score", True), ("score/annotated", False)])
def test_cuts_stand_as_long_as_all_parts_before_them(
    tmp_path: Path, folder: str, *, stays: bool
) -> None:
    run = finish(planned(tmp_path, **TOP))
    files.write_json(run.path("score", "quantiles.json"), [])
    unrecord(folder, 1)(run)
    settle(planned(tmp_path, **TOP))
    assert files.exists(run.path("score", "quantiles.json")) == stays


@pytest.mark.parametrize(
    ("change", "keys", "expected"), [case[1:] for case in TABLE], ids=[case[0] for case in TABLE]
)
def test_what_stands(
    tmp_path: Path,
    change: Callable[[Run], None] | None,
    keys: dict[str, Any],
    expected: Standing,
) -> None:
    run = finish(planned(tmp_path))
    if change:
        change(run)
    plan = planned(tmp_path, **keys)
    assert settle(plan) == expected
    for folder, n in expected.valid.items():
        digest = plan.digests[folder].chain
        assert sum(record.digest == digest for _, record in run.records(folder)) == n
    same = "shards" not in keys and all(n == PARTS for n in expected.valid.values())
    assert files.exists(run.path("shards", "manifest.json")) == same
    assert files.exists(run.path("dedup", "clusters.json")) == expected.clustered
    assert settle(plan).valid == expected.valid  # a second look changes nothing


def test_a_quantile_is_a_barrier(tmp_path: Path) -> None:
    run = finish(planned(tmp_path, **TOP))
    unrecord("score/annotated", 0)(run)
    assert settle(planned(tmp_path, **TOP)).valid == dict(
        zip(FOLDERS, [3, 3, 3, 3, 2, 0, 0], strict=True)
    )


def test_annotated_rows_stay_reusable_and_others_do_not(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    run = finish(plan)
    unrecord("prepare", 1)(run)
    settle(plan)
    for folder in ("download/annotated", "score/annotated"):
        record = run.record(folder, 1)
        assert record is not None
        assert (record.digest, record.own) == ("", plan.digests[folder].own)
    assert [run.record(folder, 1) for folder in ("download", "dedup", "balance")] == [None] * 3
    assert (untouched := run.record("download/annotated", 0)) is not None
    assert untouched.digest == plan.digests["download/annotated"].chain


def test_the_folders_of_a_stage_that_no_longer_runs_are_removed(tmp_path: Path) -> None:
    run = finish(planned(tmp_path))
    plan = planned(tmp_path, dedup={"enabled": False}, balance=None)
    standing = settle(plan)
    assert standing.valid == {"prepare": 3, "download/annotated": 3, "download": 3,
                              "score/annotated": 0, "score": 0}  # fmt: skip
    for folder in ("dedup", "balance", "dropped/dedup", "dropped/balance"):
        assert not files.exists(run.path(folder))
    assert files.exists(run.path("dropped", "score"))
    assert not standing.clustered


MODEL = DOCUMENT["score"]
STORED = {"score": {**MODEL, "embeddings": True, "also": {"other": {**MODEL, "embeddings": True}}}}
LOSSES: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("images", {}, {"download": {"enabled": False}, "score": None, "select": []},
     "holds images, which this configuration (download.enabled: false) would remove"),
    ("scores", {}, {"score": None, "select": []},
     "holds scores, which this configuration (neither score nor scores) would remove"),
    ("embeddings", STORED, {"score": {**STORED["score"], "embeddings": False}},
     "annotated/score holds embeddings, which this configuration (score.embeddings: false)"),
    ("embeddings of a further model", STORED,
     {"score": {**STORED["score"], "also": {"other": MODEL}}},
     "score/other holds embeddings, which this configuration (score.also.other.embeddings: "),
]  # fmt: skip


@pytest.mark.parametrize(("before", "after", "said"), [x[1:] for x in LOSSES],
                         ids=[x[0] for x in LOSSES])  # fmt: skip
def test_what_took_long_is_never_removed(
    tmp_path: Path, before: dict[str, Any], after: dict[str, Any], said: str
) -> None:
    run = finish(planned(tmp_path, **before))
    for folder, ending in (("download", "tar"), ("score/annotated", "npz"),
                           ("score/annotated/other", "npz")):  # fmt: skip
        if "npz" not in ending or before:
            files.write_bytes(run.part(folder, 0, ending), b"stored")
    standing = _content(run)
    with pytest.raises(CurateError) as caught:
        settle(planned(tmp_path, **after))
    assert said in str(caught.value)
    assert "give another --out" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert _content(run) == standing
    settle(planned(tmp_path, **before))
    assert _content(run) == standing


def test_without_images_no_shard_is_left(tmp_path: Path) -> None:
    """Once a person has removed them."""
    run = finish(planned(tmp_path))
    for stage in (Stage.DOWNLOAD, Stage.SCORE):
        files.remove(run.path(stage))
        files.remove(run.path(stage, ANNOTATED))
    plan = planned(tmp_path, download={"enabled": False}, score=None, select=[])
    assert settle(plan).valid == {"prepare": 3, "dedup": 0, "balance": 0}
    assert sorted(files.names(run.root)) == [
        "annotated", "balance", "clusters", "dedup", "dropped", "input", "prepare", "records",
        "run.json",
    ]  # fmt: skip
    for folder in ("annotated", "records/annotated"):
        assert files.names(run.path(folder)) == []


def test_a_list_of_uids_stands_only_beside_the_pairs_that_it_lists(tmp_path: Path) -> None:
    text: dict[str, Any] = {"download": {"enabled": False}, "score": None, "select": []}
    run = finish(planned(tmp_path, **text))
    folders = ("prepare", "dedup", "balance")

    def left_of_all(plan: Plan) -> list[str]:
        for folder in folders:
            files.write_bytes(run.path(folder, SUBSET), b"uids")
        settle(plan)
        return [folder for folder in folders if files.exists(run.path(folder, SUBSET))]

    assert left_of_all(planned(tmp_path, **text)) == ["balance"]
    assert left_of_all(planned(tmp_path, **text, seed=1)) == []
    assert left_of_all(planned(tmp_path)) == []


def test_a_file_beside_the_shards_that_is_gone_is_made_again(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    run = finish(plan)
    files.write_json(
        run.path("shards", "manifest.json"), {"shards": [], "digest": plan.digests["shards"].chain}
    )
    for name in ("index.html", "report.json"):
        files.write_bytes(run.path("report", name), b"written")
    files.write_json(run.path("shards", SIZES), {})
    report_written(plan)
    assert prepare_run(plan).idle
    files.remove(run.path("shards", SIZES))
    assert not prepare_run(plan).idle


def _content(run: Run) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in Path(run.root).rglob("*") if path.is_file()}


def test_dead_rows_that_a_killed_run_wrote_without_a_record_are_removed(tmp_path: Path) -> None:
    run = finish(planned(tmp_path))
    for index in (1, 2):
        files.write_bytes(run.dead(Stage.SCORE, index), b"rows")
    unrecord("score", 1)(run)
    settle(planned(tmp_path))
    assert files.names(run.path("dead", "score")) == ["part-00002.parquet"]


def test_temporary_files_of_a_killed_run_are_swept(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    run = finish(plan)
    left = [
        run.path(folder, f"part-00000.parquet.0a1b2c3d{files.TEMPORARY}")
        for folder in ("prepare", "download/annotated", "shards", "dropped/dedup", "dead/score")
    ]
    for url in left:
        files.write_bytes(url, b"half")
    assert settle(plan) == standing([3] * 7, {}, clustered=True)
    assert [url for url in left if files.exists(url)] == []
    assert files.read_bytes(run.part("prepare", 0)) == b"rows"


def test_a_record_of_another_version_is_no_record(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    run = finish(plan)
    for index, content in enumerate((b'{"digest": 1}', b"{", b'{"digest": "d", "own": "o", '
                                     b'"rows": 3, "kept": 1}')):  # fmt: skip
        files.write_bytes(run.part("balance", index, "json"), content)
    assert settle(plan).valid["balance"] == 0


def test_a_fresh_run_has_nothing_that_stands(tmp_path: Path) -> None:
    found = settle(planned(tmp_path))
    assert found == standing([0] * 7, {}, clustered=False)
    assert found.is_fresh
    assert not standing([0] * 7, {"score": 1}, clustered=False).is_fresh
    assert not standing([1] + [0] * 6, {}, clustered=False).is_fresh


def test_the_journal_of_a_part_that_is_done_is_removed(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    run = finish(plan)
    unrecord("download/annotated", 1)(run)
    for index in (0, 1):
        files.write_bytes(run.part("download/annotated", index, "journal") + "/00000-a", b"")
    settle(plan)
    assert not files.exists(run.part("download/annotated", 0, "journal"))
    assert files.exists(run.part("download/annotated", 1, "journal"))
