"""The shards of a run without the pairs that were revoked from it; the others keep their keys."""

from dataclasses import asdict, dataclass
from typing import Any

from curate import files
from curate.revoking.lent import Lent
from curate.rundir.directory import MANIFEST, Run
from curate.rundir.revocations import Revocations
from curate.rundir.samples import ENDINGS, ShardFiles, take_out
from curate.rundir.shards import read_stats, write_manifest
from curate.schema import Stage


@dataclass(frozen=True)
class RewrittenShards:
    """What became of the shards of a run."""

    rewritten: tuple[str, ...] = ()  # they held revoked pairs
    removed: tuple[str, ...] = ()  # nothing was left of them
    unreadable: tuple[str, ...] = ()  # removed too: they may have held a revoked pair
    untouched: int = 0


def rewrite_shards(run: Run, revoked: Revocations, lent: Lent | None = None) -> RewrittenShards:
    """Write the shards that hold revoked pairs, or what these `lent`, again with the keys they had."""
    folder, url = run.path(Stage.SHARDS), run.path(Stage.SHARDS, MANIFEST)
    manifest: dict[str, Any] = {"digest": "", "shards": []}
    if files.exists(url):
        manifest = files.read_document(url)
    listed = {one["name"] for one in manifest["shards"]}
    stems = {x.removesuffix(ending) for x in files.names(folder) for ending in ENDINGS}
    done: dict[str, list[str]] = {"rewritten": [], "removed": [], "unreadable": []}
    untouched = 0
    shards = [
        ShardFiles(files.join(folder, x), x in listed, manifest["digest"], lends=lent is not None)
        for x in sorted(filter(str.isdigit, stems))
    ]
    taken = lent.fresh(shards) if lent else None
    for shard in shards:
        if outcome := take_out(shard, revoked, taken=taken):
            done[outcome].append(shard.name)
        else:
            untouched += 1
    if listed & set(done["unreadable"]):  # the set is not finished any more
        files.remove(url)
    elif files.exists(url):
        _write_manifest(run, manifest)
    return RewrittenShards(**{x: tuple(names) for x, names in done.items()}, untouched=untouched)


def _write_manifest(run: Run, manifest: dict[str, Any]) -> None:
    shards = [
        asdict(read_stats(run, one["name"])[1])
        for one in manifest["shards"]
        if files.exists(run.path(Stage.SHARDS, f"{one['name']}_stats.json"))
    ]
    pairs, size = (sum(shard[key] for shard in shards) for key in ("pairs", "bytes"))
    now = {**manifest, "pairs": pairs, "bytes": size, "shards": shards}
    if now != manifest:
        write_manifest(run, now)
