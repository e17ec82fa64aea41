"""Revocations in runs of a hundred thousand parts and more, whose names are not in their order."""

from pathlib import Path

import pyarrow as pa

from curate import files, schema
from curate.config import Config
from curate.config import file as config_file
from curate.planning.steps import steps_of
from curate.revoking import revoke
from curate.revoking.rewrite import Rewriter
from curate.revoking.shards import rewrite_shards
from curate.rundir import revocations
from curate.rundir.directory import PartRecord, Run
from curate.rundir.revocations import fingerprint
from curate.schema import Stage
from tests.stages.rundir import table_of, uid_of

COLUMNS = schema.after(Stage.PREPARE, enabled=[Stage.PREPARE])
INDICES = (10_000, 99_999, 100_000, 100_001)


def test_pairs_of_late_parts_are_taken_out(tmp_path: Path) -> None:
    run = Run(str(tmp_path))
    for n, index in enumerate(INDICES):
        rows = [{"uid": uid_of(x), "url": f"http://x.example/{x}"} for x in (n, 100 + n)]
        files.write_table(run.part("prepare", index), table_of(rows, COLUMNS))
        files.write_table(run.ledger(Stage.PREPARE, index), schema.LEDGER.empty_table())
        files.write_table(run.dead(Stage.PREPARE, index), schema.DEAD.empty_table())
        run.write_record("prepare", index, PartRecord("d", "o", 2, 2))
    revoked = revocations.write(run, {("uid", uid_of(n)) for n in (0, 2)})
    config = Config.model_validate({"input": {"paths": "pool.jsonl"}})
    rewriter = Rewriter(run, revoked, config, steps_of(config))
    rewriter.rewrite()
    assert rewriter.parts == {INDICES[0], INDICES[2]}
    left = [t["uid"].to_pylist() for t in run.tables("prepare")]
    assert left == [
        [uid_of(100)],
        [uid_of(1), uid_of(101)],
        [uid_of(102)],
        [uid_of(3), uid_of(103)],
    ]
    records = [record for _, record in run.records("prepare")]
    assert [record.dropped for record in records] == [{"revoked": 1}, {}, {"revoked": 1}, {}]


def test_shards_past_five_digits_stay_in_order(tmp_path: Path) -> None:
    run = Run(str(tmp_path))
    names = ["99999", "100000"]
    for name in names:
        table = pa.table({"key": [f"{name}0"], "uid": [uid_of(int(name))]})
        files.write_table(run.path("shards", f"{name}.parquet"), table)
        files.write_bytes(run.path("shards", f"{name}.tar"), b"x")
        stats = {"count": 1, "bytes": 1, "sha256": name}
        files.write_json(run.path("shards", f"{name}_stats.json"), stats)
    listed = {"pairs": 3, "digest": "d", "shards": [{"name": name} for name in names]}
    files.write_json(run.path("shards", "manifest.json"), listed)
    rewrite_shards(run, revocations.write(run, {("uid", uid_of(1))}))
    manifest = files.read_json(run.path("shards", "manifest.json"))
    assert [one["name"] for one in manifest["shards"]] == names


def test_a_rebalance_says_how_many_of_its_pairs_its_source_revoked(tmp_path: Path) -> None:
    """The source, which the pairs came from, knows nothing but their uids by then."""
    source, run = Run(str(tmp_path / "a")), Run(str(tmp_path / "b"), str(tmp_path / "a"))
    listed = {("url", fingerprint("http://x.example/1"))}
    revocations.write(source, listed | {("uid", uid_of(n)) for n in (1, 2)})
    rows = [{"uid": uid_of(n), "url": f"http://x.example/{n}"} for n in (1, 3)]
    columns = schema.after(Stage.BALANCE, enabled=[Stage.PREPARE, Stage.DOWNLOAD, Stage.BALANCE])
    files.write_table(run.part("balance", 0), table_of(rows, columns))
    gone = [{"uid": uid_of(2), "url": "http://x.example/2", "reason": "sampled_out"}]
    files.write_table(run.ledger(Stage.BALANCE, 0), table_of(gone, schema.LEDGER))
    files.write_table(run.dead(Stage.BALANCE, 0), schema.DEAD.empty_table())
    run.write_record("balance", 0, PartRecord("d", "o", 3, 2, {"sampled_out": 1}))
    files.write_table(run.part("prepare", 0), table_of(rows[1:], COLUMNS))
    there = [{"uid": uid_of(n), "reason": "revoked"} for n in (1, 2)]
    files.write_table(run.ledger(Stage.PREPARE, 0), table_of(there, schema.LEDGER))
    config = Config.model_validate(
        {"input": {"paths": "pool.jsonl"}, "prepare": {"metadata": {"en": "entries.txt"}},
         "balance": {"t": 1}}
    )  # fmt: skip
    files.write_bytes(run.path("config.yaml"), config_file.dump(config).encode())
    assert revoke.revoke(run, listed).pairs == {"uid": 2}
    assert revoke.revoke(run, listed).pairs == {}
