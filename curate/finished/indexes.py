"""Indexes of a set that lie beside its tars: what `wids` and Energon look a pair up by.

They are of the tars as these are: whoever writes the set anew removes them, and a revocation, which
changes some of the tars, writes those that stand again.
"""

import hashlib
import io
import json
import os
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass
from typing import Any

from curate import files
from curate.config import file as config_file
from curate.errors import CurateError, DamagedError
from curate.extras import install, require
from curate.ops.images.encoder import KINDS
from curate.rundir.directory import MANIFEST, Run
from curate.rundir.shards import ENERGON, WIDS, indexes
from curate.schema import Stage

_BLOCK = 1 << 22


@dataclass(frozen=True)
class Index:
    """An index of a kind."""

    name: str  # of its file or folder among the shards
    check: Callable[[Run], None]  # raises where it cannot be written
    write: Callable[[Run], None]


def shards_of(run: Run) -> list[dict[str, Any]]:
    """The elements of the manifest.

    Raises
    ------
    CurateError
        Where the run has no finished set of shards.
    """
    url = run.path(Stage.SHARDS, MANIFEST)
    if not files.exists(url):
        raise CurateError(
            f"{run.root} has no finished set of shards; go on with it first: curate run"
            f" {run.path('config.yaml')} --out {run.root}"
        )
    shards: list[dict[str, Any]] = files.read_document(url)["shards"]
    return shards


def pairs_of(run: Run) -> int:
    """How many pairs the set of a run has.

    Raises
    ------
    CurateError
        Where the run has no finished set of shards, or its set has no pairs.
    """
    pairs: int = sum(shard["pairs"] for shard in shards_of(run))
    if pairs:
        return pairs
    raise CurateError(
        f"{run.root}: its set has no pairs; its report says what was dropped, and why"
    )


def _md5(run: Run, shard: dict[str, Any]) -> str:
    digest, size = hashlib.md5(usedforsecurity=False), 0
    url = run.path(Stage.SHARDS, f"{shard['name']}.tar")
    with files.open_read(url) as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            size += len(block)
    if size != shard["bytes"]:
        raise DamagedError(url, f"it has {size:,} of {shard['bytes']:,} bytes")
    return digest.hexdigest()


def _known(run: Run) -> dict[str, str]:
    """The MD5 of tars in an index that stands, by their SHA-256."""
    with suppress(CurateError, KeyError, ValueError):
        found = files.read_json(run.path(Stage.SHARDS, WIDS))["shardlist"]
        return {one["sha256"]: one["md5sum"] for one in found}
    return {}


def write_wids(run: Run) -> None:
    """Write ``shards/index.json`` as ``widsindex create`` does, with the SHA-256 of each tar beside.

    Names are relative to the file. Of tars that the index knows none is read.
    """
    shards, known = shards_of(run), _known(run)
    new = [shard for shard in shards if shard["sha256"] not in known]
    known |= {shard["sha256"]: md5 for shard, md5 in run.each(new, lambda one: _md5(run, one))}
    listed = [
        {
            "url": f"{shard['name']}.tar", "md5sum": known[shard["sha256"]],
            "nsamples": shard["pairs"], "filesize": shard["bytes"], "sha256": shard["sha256"],
        }
        for shard in shards
    ]  # fmt: skip
    document = {"__kind__": "wids-shard-index-v1", "wids_version": 1, "shardlist": listed}
    files.write_bytes(run.path(Stage.SHARDS, WIDS), json.dumps(document, indent=2).encode())


def _check_energon(run: Run) -> None:
    require("megatron.energon", by="--format energon", command=install("energon"))
    if files.local_path(run.root) is None:
        raise CurateError(
            f"{run.root}: energon prepares sets on a disk alone; copy its shards to one, and there:"
            " energon prepare FOLDER"
        )


def write_energon(run: Run) -> None:
    """Have Energon prepare the set: all pairs are for training, image and caption as captioning has."""
    from megatron.energon.tools.prepare import command

    folder, shards = run.path(Stage.SHARDS), shards_of(run)
    remove(run, "energon")
    options = [
        folder, "--non-interactive", "--no-progress", "--force-overwrite", "--split-ratio", "1,0,0",
        "--sample-type", "CaptioningSample", "--field-map",
        json.dumps({"image": ",".join(endings(run)), "caption": "txt"}),
        "--num-workers", str(min(len(os.sched_getaffinity(0)), len(shards)) or 1),
    ]  # fmt: skip
    said = io.StringIO()
    with redirect_stdout(said):
        command.main(options, standalone_mode=False)
    url = files.join(folder, ENERGON, ".info.json")
    found = files.read_json(url)["shard_counts"] if files.exists(url) else {}
    if found != {f"{shard['name']}.tar": shard["pairs"] for shard in shards}:
        raise CurateError(
            f"energon prepare {folder} did not find all pairs; it said: {said.getvalue()}"
        )


def endings(run: Run) -> list[str]:
    """What the names of the images may end in, most often the first."""
    download = config_file.load(run.path("config.yaml")).download
    kept = download.keeps and not download.disable_all_reencoding
    return list(dict.fromkeys([download.encode_format, *(KINDS if kept else ())]))


INDEXES = {
    "wids": Index(WIDS, lambda run: None, write_wids),
    "energon": Index(ENERGON, _check_energon, write_energon),
}
"""Those that there are, by format."""


def remove(run: Run, kind: str) -> None:
    """Remove an index."""
    folder = run.path(Stage.SHARDS)
    for name in indexes(files.names(folder)):
        if (name == WIDS) == (kind == "wids"):
            files.remove(files.join(folder, name))


def renew(run: Run) -> Iterator[str]:
    """Write the indexes that stand again; a line on each that has to go instead."""
    names = files.names(run.path(Stage.SHARDS))
    for kind, index in INDEXES.items():
        if index.name not in names:
            continue
        try:
            index.check(run)
            index.write(run)
        except CurateError as error:
            remove(run, kind)
            again = f"curate export {run.root} --format {kind}"
            yield f"{index.name} was of the tars before, and is removed ({error}); write it by: {again}"
