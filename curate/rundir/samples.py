"""A shard without some of its pairs; the others keep their keys.

What a shard holds is told by its parquet where statistics, parquet and tar stand and fit together, and
else by the samples in the tar: an interrupted run leaves tars alone, and those of an earlier set.
"""

import json
import tarfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from curate import files
from curate.errors import CurateError, DamagedError
from curate.ops.lent import holds, may_lend
from curate.reasons import SUCCESS
from curate.rundir.revocations import Revocations
from curate.rundir.tar import TarWriter
from curate.schema import WRITTEN_WITH_LENT

ENDINGS = (".tar", ".parquet", "_stats.json")
_ROWS = pa.schema(
    [
        ("key", pa.string()),
        ("uid", pa.string()),
        ("url", pa.string()),
        ("cluster", pa.string()),
        ("other_captions", pa.list_(pa.field("element", pa.string()))),
    ]
)
"""Of a sample, what decides whether it stays, and the captions of others that it keeps."""
_WITH_LENT = _ROWS.append(pa.field("captions", WRITTEN_WITH_LENT))
"""The same where duplicates lend their captions."""


@dataclass(frozen=True)
class Taken:
    """Captions that leave with the pairs that they came with, and what their other pairs are then."""

    uids: pa.Array  # of the pairs that leave
    pairs: pa.Table | None  # those that had some of these captions: columns as in shards

    def held(self, table: pa.Table) -> NDArray[np.bool_]:
        """Which rows of a shard have such a caption."""
        has_some = may_lend(table.schema)
        return holds(table["captions"], self.uids) if has_some else np.zeros(len(table), bool)

    def left(self, table: pa.Table) -> pa.Table:
        """The rows of a shard without these captions; one whose pair the run does not have leaves."""
        held = self.held(table)
        if not held.any():
            return table
        if self.pairs is None:
            return table.filter(pa.array(~held))
        at = pc.index_in(table["uid"], self.pairs["uid"].combine_chunks())
        stays = ~held | np.asarray(pc.is_valid(at))
        table, at, held = table.filter(pa.array(stays)), at.filter(pa.array(stays)), held[stays]
        rows = np.flatnonzero(held)
        some, now = table.take(pa.array(rows)), self.pairs.take(at.filter(pa.array(held)))
        for name in now.column_names:
            if name in table.column_names:
                place = table.column_names.index(name)
                some = some.set_column(
                    place, table.field(name), now[name].cast(table.field(name).type)
                )
        return with_rows(table, rows, some)

    def told(self, table: pa.Table) -> dict[str, dict[str, Any]]:
        """What the samples of rows of a shard say anew, by key; a null string is an empty one there."""
        if self.pairs is None:
            return {}
        rows = table.filter(pa.array(self.held(table))).select(["key", "uid"]).to_pylist()
        known = {row.pop("uid"): row for row in self.pairs.to_pylist()}
        texts = {x.name for x in self.pairs.schema if pa.types.is_string(x.type)}
        return {
            row["key"]: {name: "" if value is None and name in texts else value
                         for name, value in known[row["uid"]].items()}
            for row in rows if row["uid"] in known
        }  # fmt: skip


def with_rows(table: pa.Table, rows: NDArray[np.int64], others: pa.Table) -> pa.Table:
    """`table` with `others` in place of its rows at the places `rows`."""
    order = np.arange(len(table))
    order[rows] = len(table) + np.arange(len(rows))
    return pa.concat_tables([table, others]).take(pa.array(order)).combine_chunks()


@dataclass(frozen=True)
class ShardFiles:
    """The files of a shard, some of which may be missing."""

    url: str  # without ending
    listed: bool  # in the manifest of a finished set
    digest: str  # of that set
    lends: bool = False  # whether pairs may have captions of others

    @property
    def name(self) -> str:
        """That of the shard."""
        return self.url.rpartition("/")[2]

    def exists(self, ending: str) -> bool:
        """Whether the file with this ending is there."""
        return files.exists(self.url + ending)

    def remove(self) -> None:
        """Remove all files."""
        for ending in ENDINGS:
            files.remove(self.url + ending)

    def stats(self) -> dict[str, Any] | None:
        """Its statistics; where they are lost, as many as a run needs to reuse the shard."""
        with suppress(DamagedError):
            if self.exists("_stats.json"):
                return files.read_document(f"{self.url}_stats.json")
        if not self.listed:
            return None
        return {
            "failed_to_download": 0, "failed_to_resize": 0, "digest": self.digest, "slices": [],
        }  # fmt: skip

    def told(self, stats: dict[str, Any] | None) -> pa.Table | None:
        """The rows by the parquet, where it can be trusted."""
        if not stats or "count" not in stats or "writing" in stats:
            return None
        if not (self.exists(".parquet") and self.exists(".tar")):
            return None
        if files.size(f"{self.url}.tar") != stats["bytes"]:
            return None
        try:
            content = files.Content(*stats["parquet"]) if "parquet" in stats else None
            table = files.read_table(
                f"{self.url}.parquet", content=content, present=self._kind.names
            )
        except DamagedError:
            return None
        return table if len(table) == stats["count"] else None

    @property
    def _kind(self) -> pa.Schema:
        return _WITH_LENT if self.lends else _ROWS

    def holding(self, uids: pa.Array) -> list[str]:
        """The uids of pairs with a caption that came with one of `uids`; none if it is unreadable."""
        rows = self.told(self.stats())
        if rows is None:
            rows = self.seen()
        if rows is None:
            return []
        found = rows["uid"].filter(pa.array(Taken(uids, None).held(rows)))
        return [uid for uid in found.to_pylist() if uid is not None]

    def seen(self) -> pa.Table | None:
        """The rows by the samples in the tar; None where it is missing or cannot be read."""
        rows = []
        try:
            with files.open_read(f"{self.url}.tar") as file, tarfile.open(fileobj=file) as tar:
                for member in tar:
                    content = tar.extractfile(member)
                    if member.name.endswith(".json") and content is not None:
                        row = json.load(content)
                        rows.append({name: row.get(name) for name in self._kind.names})
        except (CurateError, OSError, ValueError, tarfile.TarError):
            return None
        return pa.Table.from_pylist(rows, schema=self._kind)


def take_out(
    shard: ShardFiles, revoked: Revocations, *, why: str = "revoked", taken: Taken | None = None
) -> str | None:
    """Take pairs out of a shard, and the captions of others that are `taken`; None where it held none.

    What was done, else. Its statistics count under `why` the pairs that it has lost. A repeat after a
    stop does what is left.
    """
    stats = shard.stats()
    rows = trusted = shard.told(stats)
    if rows is None:
        rows = shard.seen()
    if rows is None:
        shard.remove()
        return "unreadable"
    kept = revoked.forgetful(rows.filter(pa.array(~revoked.gone(rows))))
    left = taken.left(kept) if taken else kept
    same = left.equals(rows)
    if same and trusted is not None:
        return None
    if not len(left):
        shard.remove()
        return "removed"
    if stats is not None:
        files.write_document(f"{shard.url}_stats.json", {**stats, "writing": True})
    if stats is not None or not same:
        anew = taken.told(kept) if taken else {}
        size, sha256 = keep_samples(f"{shard.url}.tar", left, anew=anew)
    _keep_rows(f"{shard.url}.parquet", revoked, keys=left["key"], taken=taken)
    if stats is None:
        return None if same else "rewritten"
    n, before = len(left), stats.get("count", len(rows))
    now: dict[str, Any] = {
        "count": n, "successes": n, "status_dict": {SUCCESS: n}, "bytes": size, "sha256": sha256,
    }  # fmt: skip
    lost = stats.get(why, 0) + before - n
    was_stopped = stats.pop("writing", False)
    if shard.exists(".parquet"):
        now["parquet"] = files.content_of(files.read_bytes(f"{shard.url}.parquet"))
    files.write_document(f"{shard.url}_stats.json", {**stats, **now, why: lost})
    return "rewritten" if was_stopped or not same else None


def _keep_rows(
    url: str, revoked: Revocations, *, keys: pa.ChunkedArray, taken: Taken | None
) -> None:
    """Take revoked rows out of a shard's parquet; one of other samples than the tar's goes."""
    try:
        table = files.read_table(url)
    except (CurateError, OSError, pa.ArrowException):
        files.remove(url)
        return
    left = revoked.forgetful(table.filter(pa.array(~revoked.gone(table))))
    left = taken.left(left) if taken else left
    if left["key"].to_pylist() != keys.to_pylist():
        files.remove(url)
    elif not left.equals(table):
        files.write_table(url, left)


def keep_samples(
    url: str, rows: pa.Table, *, anew: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
) -> tuple[int, str]:
    """Write a shard's tar again with the samples of `rows` alone; its size and SHA-256.

    `anew` is what some of them say of their captions from now on, by key.
    """
    texts = rows["other_captions"] if "other_captions" in rows.column_names else pa.nulls(len(rows))
    others = dict(zip(rows["key"].to_pylist(), texts.to_pylist(), strict=True))
    with (
        files.open_read(url) as file,
        tarfile.open(fileobj=file) as old,
        files.atomic_write(url) as new,
    ):
        writer = TarWriter(new)
        for member in old:
            content = old.extractfile(member)
            key, _, ending = member.name.partition(".")
            if key not in others or content is None:
                continue
            raw = content.read()
            if ending == "json" and (others[key] is not None or key in anew):
                document = json.loads(raw)
                now = {"other_captions": others[key], **anew.get(key, {})}
                document |= {x: y for x, y in now.items() if x in document}
                raw = json.dumps(document, ensure_ascii=False).encode()
            if ending == "txt" and key in anew:
                raw = str(anew[key]["caption"]).encode()
            writer.add(member.name, raw)
        digest = writer.end()
    return writer.size, digest
