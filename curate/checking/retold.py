"""What is derived of a shard's samples, for a copy that has fewer: table, statistics, card."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from curate import files
from curate.errors import CurateError
from curate.reasons import SUCCESS
from curate.rundir.shards import ShardRecord

Documents = Mapping[str, dict[str, Any] | None]
"""What the JSON of each sample holds, by key, in the order of the tar."""


@dataclass(frozen=True)
class Rows:
    """The table of a copy."""

    rows: pa.Table
    keys: frozenset[str] | None  # of the samples that have a row; None where it has no keys


def table_of(url: str, documents: Documents, *, wanted: bool) -> Rows | None:
    """The table at `url` for these samples alone, in their order; None where there is none to be.

    Rows that it lacks, or all where it cannot be read, are made of the JSON; rows of pairs that have
    no image stay.
    """
    if not wanted:
        return None
    try:
        old = files.read_table(url)
    except (CurateError, OSError, pa.ArrowException):
        rows = _of_json(documents, [*documents], None)
        return None if rows is None else Rows(rows, frozenset(rows["key"].to_pylist()))
    if "key" not in old.column_names:
        return Rows(old, None)
    done = (
        pc.equal(old["status"], SUCCESS) if "status" in old.column_names
        else pa.array([True] * len(old))
    )  # fmt: skip
    done = pc.fill_null(done, False)
    ours, failed = old.filter(done), old.filter(pc.invert(done))
    at = pc.index_in(pa.array([*documents], pa.string()), value_set=ours["key"].cast(pa.string()))
    missing = [key for key, row in zip(documents, at.to_pylist(), strict=True) if row is None]
    rows = ours.take(at.drop_null())
    if missing and (more := _of_json(documents, missing, old.schema)) is not None:
        both = pa.concat_tables([rows, more])
        places = pc.index_in(
            pa.array([*documents], pa.string()), value_set=both["key"].cast(pa.string())
        )
        rows = both.take(places.drop_null())
    return Rows(pa.concat_tables([rows, failed]), frozenset(rows["key"].to_pylist()))


def _of_json(
    documents: Documents, keys: Sequence[str], schema: pa.Schema | None
) -> pa.Table | None:
    """The rows of these samples by their JSON; None where it does not make a table."""
    found = [{**one, "key": key} for key in keys if (one := documents[key]) is not None]
    if not found:
        return None
    if schema is not None and "status" in schema.names:
        found = [{"status": SUCCESS, **one} for one in found]
    try:
        return pa.Table.from_pylist(found, schema=schema)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return None


def stats_of(url: str, record: ShardRecord) -> tuple[dict[str, Any], bool]:
    """The statistics at `url` for a copy, and whether they are curate's own; new ones where lost."""
    try:
        told = files.read_document(url)
    except (CurateError, OSError):
        told = {"failed_to_download": 0, "failed_to_resize": 0}
    before = told.get("successes", record.pairs)
    count = told.get("count", before)
    failures = count - before if isinstance(count, int) and isinstance(before, int) else 0
    statuses = told.get("status_dict")
    now = {
        "count": record.pairs + failures,
        "successes": record.pairs,
        "status_dict": {**(statuses if isinstance(statuses, dict) else {}), SUCCESS: record.pairs},
    }
    is_ours = "digest" in told or "sha256" in told
    if is_ours:
        now |= {"bytes": record.bytes, "sha256": record.sha256}
        now |= {"parquet": list(record.parquet)} if record.parquet else {}
    return {**told, **now}, is_ours


def manifest_of(url: str) -> dict[str, Any]:
    """The manifest at `url`; an empty one where it cannot be read."""
    try:
        return files.read_document(url)
    except (CurateError, OSError):
        return {"digest": "", "shards": []}


def card_of(text: bytes, before: dict[str, Any], records: Sequence[ShardRecord]) -> bytes:
    """The data card for a copy: the digest of its shards, by which loaders keep them, is another."""
    old = files.digest_of([one["sha256"] for one in before.get("shards", ())])
    return text.replace(old.encode(), files.digest_of([one.sha256 for one in records]).encode())
