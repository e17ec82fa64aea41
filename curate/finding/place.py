"""Where a pair lies in the shards: its tar and its key."""

from bisect import bisect_left
from collections.abc import Sequence

import numpy as np
import pyarrow.compute as pc

from curate import files
from curate.config import Config
from curate.ops.hashing import order_keys
from curate.rundir.directory import MANIFEST, PART_STAGES, Run
from curate.rundir.shards import shard_rows
from curate.schema import Stage
from curate.summaries.groups import kept_before, parts_with

Place = dict[str, str]


def place_in_shards(run: Run, config: Config, *, part: int, row: int, uid: str) -> Place | None:
    """Shard and key of a row of a part after the last stage; None while the set is not finished."""
    manifest = run.path(Stage.SHARDS, MANIFEST)
    if not files.exists(manifest):
        return None
    found = files.read_document(manifest)
    shards = found["shards"]
    last = [stage for stage in PART_STAGES if run.record(stage, part)][-1]
    if config.shards.order == "mixed":
        nth = _before(run, last, part, row, uid)
        return _place_by_key(run, [shard["name"] for shard in shards], uid, nth, seed=config.seed)
    if found.get("grown"):
        nth = _before(run, last, part, row, uid)
        return _place_of(run, [shard["name"] for shard in shards], uid, nth)
    row += kept_before(run, last, part)
    for shard in shards:
        if row < shard["pairs"]:
            return _place(shard["name"], shard_rows(run, shard["name"])["key"][row].as_py())
        row -= shard["pairs"]
    return None


def _place(name: str, key: str) -> Place:
    return {"shard": f"{name}.tar", "key": key}


def _place_of(run: Run, names: Sequence[str], uid: str, nth: int) -> Place | None:
    """That of the `nth` row of a uid, from 0, in shards that grew: they follow no order."""
    for name in names:
        table = shard_rows(run, name)
        rows = np.flatnonzero(pc.equal(table["uid"], uid))
        if nth < len(rows):
            return _place(name, table["key"][int(rows[nth])].as_py())
        nth -= len(rows)
    return None


def _place_by_key(run: Run, names: Sequence[str], uid: str, nth: int, *, seed: int) -> Place | None:
    """That of the `nth` row of a uid, from 0, where shards are in the order of keys."""

    def key_of(uid: str) -> int:
        return int(order_keys([uid], seed=seed)[0])

    def first_key(name: str) -> int:
        return key_of(shard_rows(run, name)["uid"][0].as_py())

    wanted = key_of(uid)
    for name in names[max(bisect_left(names, wanted, key=first_key) - 1, 0) :]:
        table = shard_rows(run, name)
        if key_of(table["uid"][0].as_py()) > wanted:
            return None
        rows = np.flatnonzero(pc.equal(table["uid"], uid))
        if nth < len(rows):
            return _place(name, table["key"][int(rows[nth])].as_py())
        nth -= len(rows)
    return None


def _before(run: Run, stage: Stage, part: int, row: int, uid: str) -> int:
    """How many pairs before a row have its uid: a pair may stand in a pool more than once."""
    found = 0
    for index in parts_with(run, Stage.PREPARE, [uid]):
        if index <= part and run.record(stage, index):
            same = np.asarray(pc.equal(run.rows(stage, index, columns=["uid"])["uid"], uid))
            found += int(same[: row if index == part else None].sum())
    return found
