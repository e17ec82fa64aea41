"""A shard without some of its pairs; the others keep their keys.

What a shard holds is told by its parquet where statistics, parquet and tar stand and fit together, and
else by the samples in the tar: an interrupted run leaves tars alone, and those of an earlier set.
"""

import json
import tarfile
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from curate import files
from curate.errors import CurateError, DamagedError
from curate.reasons import SUCCESS
from curate.rundir.revocations import Revocations
from curate.rundir.tar import TarWriter

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


@dataclass(frozen=True)
class ShardFiles:
    """The files of a shard, some of which may be missing."""

    url: str  # without ending
    listed: bool  # in the manifest of a finished set
    digest: str  # of that set

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
            table = files.read_table(f"{self.url}.parquet", content=content, present=_ROWS.names)
        except DamagedError:
            return None
        return table if len(table) == stats["count"] else None

    def seen(self) -> pa.Table | None:
        """The rows by the samples in the tar; None where it is missing or cannot be read."""
        rows = []
        try:
            with files.open_read(f"{self.url}.tar") as file, tarfile.open(fileobj=file) as tar:
                for member in tar:
                    content = tar.extractfile(member)
                    if member.name.endswith(".json") and content is not None:
                        row = json.load(content)
                        rows.append({name: row.get(name) for name in _ROWS.names})
        except (CurateError, OSError, ValueError, tarfile.TarError):
            return None
        return pa.Table.from_pylist(rows, schema=_ROWS)


def take_out(shard: ShardFiles, revoked: Revocations, *, why: str = "revoked") -> str | None:
    """Take pairs out of a shard; what was done, None where it held none of them.

    Its statistics count under `why` those that it has lost. A repeat after a stop does what is left.
    """
    stats = shard.stats()
    rows = trusted = shard.told(stats)
    if rows is None:
        rows = shard.seen()
    if rows is None:
        shard.remove()
        return "unreadable"
    left = revoked.forgetful(rows.filter(pa.array(~revoked.gone(rows))))
    same = left.equals(rows)
    if same and trusted is not None:
        return None
    if not len(left):
        shard.remove()
        return "removed"
    if stats is not None:
        files.write_document(f"{shard.url}_stats.json", {**stats, "writing": True})
    if stats is not None or not same:
        size, sha256 = keep_samples(f"{shard.url}.tar", left)
    _keep_rows(f"{shard.url}.parquet", revoked, keys=left["key"])
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


def _keep_rows(url: str, revoked: Revocations, *, keys: pa.ChunkedArray) -> None:
    """Take revoked rows out of a shard's parquet; one of other samples than the tar's goes."""
    try:
        table = files.read_table(url)
    except (CurateError, OSError, pa.ArrowException):
        files.remove(url)
        return
    left = revoked.forgetful(table.filter(pa.array(~revoked.gone(table))))
    if left["key"].to_pylist() != keys.to_pylist():
        files.remove(url)
    elif not left.equals(table):
        files.write_table(url, left)


def keep_samples(url: str, rows: pa.Table) -> tuple[int, str]:
    """Write a shard's tar again with the samples of `rows` alone; its size and SHA-256."""
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
            if ending == "json" and others[key] is not None:
                document = {**json.loads(raw), "other_captions": others[key]}
                raw = json.dumps(document, ensure_ascii=False).encode()
            writer.add(member.name, raw)
        digest = writer.end()
    return writer.size, digest
