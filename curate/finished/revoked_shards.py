"""The shards of a run without the pairs that were revoked from it; the others keep their keys."""

import json
import tarfile
from dataclasses import dataclass

import pyarrow as pa

from curate import files
from curate.ops.tar import TarWriter
from curate.revocations import Revocations
from curate.run import Run
from curate.schema import Stage
from curate.stages.shards import write_manifest


@dataclass(frozen=True)
class RewrittenShards:
    """What became of the shards of a run."""

    rewritten: tuple[str, ...] = ()  # they held revoked pairs
    removed: tuple[str, ...] = ()  # nothing was left of them
    untouched: int = 0


def rewrite_shards(run: Run, revoked: Revocations) -> RewrittenShards:
    """Write the shards that hold revoked pairs again, without them and with the keys they had."""
    rewritten, removed, untouched = [], [], 0
    for stats_name in files.names(run.path(Stage.SHARDS)):
        if not stats_name.endswith("_stats.json"):
            continue
        name = stats_name.removesuffix("_stats.json")
        url = run.path(Stage.SHARDS, name)
        table = files.read_table(f"{url}.parquet")
        stats = files.read_json(f"{url}_stats.json")
        left = revoked.forgetful(table.filter(pa.array(~revoked.gone(table))))
        if left.equals(table) and stats["count"] == len(table) and "writing" not in stats:
            untouched += 1
            continue
        if not len(left):
            for ending in (".tar", ".parquet", "_stats.json"):
                files.remove(url + ending)
            removed.append(name)
            continue
        files.write_json(f"{url}_stats.json", {**stats, "writing": True})
        size, sha256 = keep_samples(f"{url}.tar", left)
        files.write_table(f"{url}.parquet", left)
        n = len(left)
        lost = stats.get("revoked", 0) + stats["count"] - n
        status = dict.fromkeys(stats["status_dict"], n)
        now = {"count": n, "successes": n, "status_dict": status, "bytes": size, "sha256": sha256}
        stats.pop("writing", None)
        files.write_json(f"{url}_stats.json", {**stats, **now, "revoked": lost})
        rewritten.append(name)
    _manifest(run)
    return RewrittenShards(tuple(rewritten), tuple(removed), untouched)


def _manifest(run: Run) -> None:
    url = run.path(Stage.SHARDS, "manifest.json")
    if not files.exists(url):
        return
    manifest = files.read_json(url)
    shards = []
    for name in files.names(run.path(Stage.SHARDS)):
        if name.endswith("_stats.json"):
            found = files.read_json(run.path(Stage.SHARDS, name))
            shards.append(
                {
                    "name": name.removesuffix("_stats.json"), "pairs": found["count"],
                    "bytes": found["bytes"], "sha256": found["sha256"],
                }
            )  # fmt: skip
    shards.sort(key=lambda shard: int(shard["name"]))
    pairs, size = (sum(shard[key] for shard in shards) for key in ("pairs", "bytes"))
    now = {**manifest, "pairs": pairs, "bytes": size, "shards": shards}
    if now != manifest:
        write_manifest(run, now)


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
