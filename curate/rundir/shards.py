"""The shards of a run: what each holds by its own statistics, and the manifest of all."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from curate import files
from curate.rundir.directory import MANIFEST, SIZES, Run
from curate.schema import Stage

WIDS, ENERGON, _TAR_INDEX = "index.json", ".nv-meta", ".tar.idx"
"""Indexes of the tars beside these, on request: of wids, and of Energon."""


@dataclass(frozen=True)
class ShardRecord:
    """What a shard holds: an element of the manifest."""

    name: str
    pairs: int
    bytes: int
    sha256: str  # of the tar
    parquet: files.Content | None = None  # what the table beside holds
    stats: files.Content | None = None  # and the statistics


def read_stats(run: Run, name: str) -> tuple[dict[str, Any], ShardRecord]:
    """The statistics of a shard that was written, and its element of the manifest.

    Raises
    ------
    DamagedError
        Where the file is not what was written.
    """
    url = run.path(Stage.SHARDS, f"{name}_stats.json")
    found, held = files.read_document(url), files.content_of(files.read_bytes(url))
    parquet = files.Content(*found["parquet"]) if "parquet" in found else None
    record = ShardRecord(name, found["count"], found["bytes"], found["sha256"], parquet, held)
    return found, record


def shard_rows(run: Run, name: str) -> pa.Table:
    """The table beside a shard, checked against the shard's statistics where there are any."""
    is_known = files.exists(run.path(Stage.SHARDS, f"{name}_stats.json"))
    held = read_stats(run, name)[1].parquet if is_known else None
    return files.read_table(run.path(Stage.SHARDS, f"{name}.parquet"), content=held)


def counts_of(manifest: dict[str, Any]) -> dict[str, int]:
    """The pairs of each tar."""
    return {f"{shard['name']}.tar": shard["pairs"] for shard in manifest["shards"]}


def write_manifest(run: Run, document: dict[str, Any]) -> str:
    """Write ``shards/manifest.json``, and beside it `SIZES`; the manifest's URL."""
    files.write_json(run.path(Stage.SHARDS, SIZES), counts_of(document))
    target = run.path(Stage.SHARDS, MANIFEST)
    files.write_document(target, document)
    return target


def indexes(names: Iterable[str]) -> list[str]:
    """Those of some files among the shards that are an index, or part of one."""
    return [x for x in names if x in (WIDS, ENERGON) or x.endswith(_TAR_INDEX)]
