"""Revocations in runs of a hundred thousand parts and more, whose names are not in their order."""

from pathlib import Path

import pyarrow as pa

from curate import files, revocations, schema
from curate.config import Config
from curate.revoked_files import Rewriter
from curate.revoked_shards import rewrite_shards
from curate.run import PartRecord, Run
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
    rewriter = Rewriter(run, revoked, config, (Stage.PREPARE,))
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
        stats = {"count": 1, "bytes": 1, "sha256": name}
        files.write_json(run.path("shards", f"{name}_stats.json"), stats)
    files.write_json(run.path("shards", "manifest.json"), {"pairs": 3})
    rewrite_shards(run, revocations.write(run, {("uid", uid_of(1))}))
    manifest = files.read_json(run.path("shards", "manifest.json"))
    assert [one["name"] for one in manifest["shards"]] == names
