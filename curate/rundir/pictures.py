"""The stored images of pairs, which lie in the tars of the downloaded parts."""

from collections.abc import Collection, Iterator

import pyarrow as pa
import pyarrow.compute as pc

from curate import files
from curate.ops.hashing import pair_uids
from curate.rundir.directory import ANNOTATED, Run
from curate.schema import Column, Stage

Named = tuple[str, str, str]
"""A pair: its uid, URL and caption."""
FOLDER = files.join(Stage.DOWNLOAD, ANNOTATED)
"""Where it is written down what was stored of each pair."""


def stored_images(
    run: Run, part: int, wanted: Collection[Named], *, several: bool = False
) -> Iterator[tuple[Named, bytes]]:
    """The image of each of these pairs of a part that has one, as it is stored; kept or dropped.

    Where pairs have `several` captions, which is theirs may have changed since; then a uid that stands
    once tells them.
    """
    keys = sorted(wanted)
    uids, urls, captions = (pa.array([key[k] for key in keys], pa.string()) for k in range(3))
    table = run.rows(FOLDER, part, columns=["uid", "pair", "tar_offset", "tar_size"])
    ours = pc.is_in(table["uid"], value_set=uids)
    rows = table.filter(pc.and_(ours, pc.is_valid(table["tar_offset"]))).sort_by("tar_offset")
    if not len(rows):
        return
    alone = _alone(table["uid"], rows["uid"]) if several else {}
    at = {name: i for i, name in reversed([*enumerate(_named(rows["uid"], rows["pair"]))])}
    offsets, sizes = rows["tar_offset"].to_pylist(), rows["tar_size"].to_pylist()
    with files.open_read(run.part(Stage.DOWNLOAD, part, "tar")) as tar:
        for key, name in zip(keys, _named(uids, pair_uids(urls, captions)), strict=True):
            row = at.get(name, alone.get(key[0]))
            if row is not None:
                tar.seek(offsets[row])
                yield key, tar.read(sizes[row])


def _named(uids: Column, pairs: Column) -> list[tuple[str, str]]:
    return list(zip(uids.to_pylist(), pairs.to_pylist(), strict=True))


def _alone(all_uids: Column, uids: Column) -> dict[str, int]:
    """The rows of `uids` whose uid stands once among all."""
    counts = {one["values"]: one["counts"] for one in pc.value_counts(all_uids).to_pylist()}
    return {uid: i for i, uid in enumerate(uids.to_pylist()) if counts[uid] == 1}
