"""The pairs of a finished set as other loaders' own files: MDS of mosaicml-streaming, and Lance."""

import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from curate import files
from curate.errors import DamagedError
from curate.extras import install, require
from curate.finished.indexes import pairs_of, shards_of
from curate.rundir.directory import Run
from curate.rundir.shards import shard_rows
from curate.schema import Stage

_AT_ONCE = 256
"""Pairs of a batch."""
_TEXTS = ("txt", "json")


@dataclass(frozen=True)
class Writer:
    """How a format is written."""

    check: Callable[[], None]  # raises where its package is missing
    write: Callable[[Run, str], None]  # to a folder that is not there yet


Sample = dict[str, bytes]
"""The files of a pair by their endings; `image` is the image, whatever its ending."""
Members = list[tuple[str, bytes]]
"""The files of a pair in their order: the ending of each, and what it holds."""


def members(run: Run, shard: dict[str, Any]) -> Iterator[tuple[str, Members]]:
    """Key and files of each pair of a shard, in order.

    Raises
    ------
    DamagedError
        Where the tar holds other pairs than the manifest says.
    """
    url = run.path(Stage.SHARDS, f"{shard['name']}.tar")
    pairs, last = 0, ""
    found: Members = []
    try:
        with files.open_read(url) as file, tarfile.open(fileobj=file) as tar:
            for member in tar:
                key, _, ending = member.name.partition(".")
                content = tar.extractfile(member)
                if key != last and found:
                    yield last, found
                    pairs, found = pairs + 1, []
                last = key
                found.append((ending, content.read() if content else b""))
    except tarfile.TarError as error:
        raise DamagedError(url, str(error)) from None
    if found:
        yield last, found
        pairs += 1
    if pairs != shard["pairs"]:
        raise DamagedError(url, f"it holds {pairs:,} of {shard['pairs']:,} pairs")


def samples(run: Run, shard: dict[str, Any]) -> Iterator[tuple[str, Sample]]:
    """The same by what the files are."""
    for key, found in members(run, shard):
        yield key, {x if x in _TEXTS else "image": content for x, content in found}


def write_mds(run: Run, folder: str) -> None:
    """Key, image, caption and the columns of KEY.json; images are the bytes that the tars hold."""
    from streaming import MDSWriter

    columns = {"key": "str", "image": "bytes", "caption": "str", "json": "str"}
    with MDSWriter(out=folder, columns=columns) as writer:
        for shard in shards_of(run):
            for key, found in samples(run, shard):
                row = {"caption": found["txt"].decode(), "json": found["json"].decode()}
                writer.write({"key": key, "image": found["image"], **row})


def write_lance(run: Run, folder: str) -> None:
    """The columns of the shards' parquet files, and `image`."""
    import lance

    shards = shards_of(run)
    image = pa.field("image", pa.large_binary())
    columns = shard_rows(run, shards[0]["name"]).schema.append(image)

    def batches() -> Iterator[pa.RecordBatch]:
        for shard in shards:
            rows, found = shard_rows(run, shard["name"]), samples(run, shard)
            for batch in rows.cast(pa.schema([*columns][:-1])).to_batches(_AT_ONCE):
                read = dict(next(found) for _ in range(len(batch)))
                if [*read] != batch["key"].to_pylist():
                    url = run.path(Stage.SHARDS, f"{shard['name']}.tar")
                    raise DamagedError(url, "it holds other pairs than the table beside it")
                images = pa.array([one["image"] for one in read.values()], image.type)
                yield pa.RecordBatch.from_arrays([*batch.columns, images], schema=columns)

    lance.write_dataset(pa.RecordBatchReader.from_batches(columns, batches()), folder)


WRITERS = {
    "mds": Writer(
        lambda: require("streaming", by="--format mds", command="pip install mosaicml-streaming"),
        write_mds,
    ),
    "lance": Writer(
        lambda: require("lance", by="--format lance", command=install("lance")), write_lance
    ),
}
"""Those that there are, by format."""


def export(run: Run, kind: str, out: str) -> int:
    """Write the set of `run` to the folder `out`, which appears when it is whole; its pairs.

    Raises
    ------
    CurateError
        Where something stands at `out`, the run has no finished set, or a package is missing.
    """
    with files.new_folder(out, what=kind) as folder:
        WRITERS[kind].check()
        pairs = pairs_of(run)
        WRITERS[kind].write(run, folder)
    return pairs
