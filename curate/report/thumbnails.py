"""Small pictures for the page, as data: URIs."""

import base64
from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from curate import files
from curate.ops.hashing import pair_uids
from curate.ops.images.levels import trainer_pixels
from curate.rundir.directory import ANNOTATED, Run
from curate.schema import Column, Stage
from curate.summaries.tallies import Example, Key

SIDE = 96
"""Largest side, pixels."""

_QUALITY = 72


def thumbnails(run: Run, examples: Iterable[Example]) -> dict[Key, str]:
    """The picture of each example whose image is stored, by its key."""
    wanted: dict[int, set[Key]] = {}
    for example in examples:
        wanted.setdefault(example.part, set()).add(example.key)
    folder = files.join(Stage.DOWNLOAD, ANNOTATED)
    done = set(run.done(folder))
    found: dict[Key, str] = {}
    for part in sorted(done & wanted.keys()):
        keys = sorted(wanted[part])
        uids, urls, captions = (pa.array([key[k] for key in keys], pa.string()) for k in (1, 2, 3))
        shown = dict(zip(_named(uids, pair_uids(urls, captions)), keys, strict=True))
        columns = ["uid", "pair", "tar_offset", "tar_size"]
        table = run.rows(folder, part, columns=columns)
        ours = pc.is_in(table["uid"], value_set=uids)
        rows = table.filter(pc.and_(ours, pc.is_valid(table["tar_offset"])))
        if not len(rows):
            continue
        with files.open_read(run.part(Stage.DOWNLOAD, part, "tar")) as tar:
            for name, row in zip(_named(rows["uid"], rows["pair"]), rows.to_pylist(), strict=True):
                if (key := shown.get(name)) is None or key in found:
                    continue
                tar.seek(row["tar_offset"])
                if uri := _data_uri(tar.read(row["tar_size"])):
                    found[key] = uri
    return found


def _named(uids: Column, pairs: Column) -> list[tuple[str, str]]:
    return list(zip(uids.to_pylist(), pairs.to_pylist(), strict=True))


def _data_uri(content: bytes) -> str | None:
    """The image `content` at no more than `SIDE` pixels, as WebP; None if it does not decode."""
    import cv2

    pixels = trainer_pixels(content)
    if pixels is None:
        return None
    height, width = pixels.shape[:2]
    scale = SIDE / max(height, width)
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    encoded = cv2.imencode(".webp", pixels, [cv2.IMWRITE_WEBP_QUALITY, _QUALITY])[1]
    return "data:image/webp;base64," + base64.b64encode(encoded.tobytes()).decode()
