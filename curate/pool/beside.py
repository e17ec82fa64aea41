"""Images in files of their own, which a column of the pool names by path.

A path is relative to the folder of the pool's file that names it, or absolute, also as ``file://``. It
may leave that folder, by itself or through a symbolic link, only for a folder that is allowed.
"""

import os
import posixpath
from functools import lru_cache
from urllib.parse import unquote

import pyarrow as pa

from curate import files
from curate.reasons import ErrorCode
from curate.schema import POOL, Column


def with_images(table: pa.Table, given: Column, *, path: str, folders: tuple[str, ...]) -> pa.Table:
    """A pool's `table` with the file, offset and size of each image that the column `given` names.

    A row without a URL gets ``file:///FOLDER/PATH``, which is never fetched. A row whose path does not
    exist, or lies outside the allowed folders, becomes an unreadable row.
    """
    folder = path.rpartition("/")[0]
    roots = (folder, *folders)
    urls, errors, details = (table[x].to_pylist() for x in ("url", "error", "detail"))
    places: list[tuple[str, int, int] | None] = []
    for row, name in enumerate(given.to_pylist()):
        places.append(None)
        if not name:
            continue
        if not urls[row] or urls[row] == name:
            urls[row] = (
                f"file:///{folder.rpartition('/')[2]}/{name.removeprefix('file://').lstrip('/')}"
            )
        try:
            places[row] = _place(name, folder=folder, roots=roots)
        except ValueError as error:
            errors[row] = errors[row] or str(ErrorCode.BAD_ROW)
            details[row] = details[row] or f"{path}: image {name[:200]}: {error}"
    columns = {"url": urls, "error": errors, "detail": details,
               **{key: [x and x[at] for x in places]
                  for at, key in enumerate(("file", "offset", "size"))}}  # fmt: skip
    for name, values in columns.items():
        table = table.set_column(
            POOL.get_field_index(name), POOL.field(name), pa.array(values, POOL.field(name).type)
        )
    return table


def _place(name: str, *, folder: str, roots: tuple[str, ...]) -> tuple[str, int, int]:
    """The file, offset and size of the image called `name`; a ValueError where there is none."""
    whole = unquote(name.removeprefix("file://")) if name.startswith("file://") else name
    if "://" in whole and not any(whole.startswith(f"{root.rstrip('/')}/") for root in roots):
        raise ValueError(_OUTSIDE)
    local = files.local_path(folder) if "://" not in whole else None
    if local is None:
        url = whole if "://" in whole else files.join(folder, posixpath.normpath(f"/{whole}")[1:])
        if ".." in whole.split("/"):
            raise ValueError(_OUTSIDE)
        size = _sizes(url.rpartition("/")[0]).get(url.rpartition("/")[2])
        if size is None:
            raise ValueError("no such file")
        return url, 0, size
    real = os.path.realpath(os.path.join(local, whole))
    allowed = [os.path.realpath(x) for root in roots if (x := files.local_path(root)) is not None]
    if not any(os.path.commonpath([real, root]) == root for root in allowed):
        raise ValueError(_OUTSIDE)
    if not os.path.isfile(real):
        raise ValueError("no such file")
    return real, 0, os.path.getsize(real)


_OUTSIDE = "outside the folder of the file that names it; allow its folder in input.image_folders"


@lru_cache(maxsize=64)
def _sizes(folder: str) -> dict[str, int]:
    return files.sizes(folder)
