"""Folders of pictures: beside each NAME.jpg its caption in NAME.txt, or its keys in NAME.json.

When the pool is split into parts, only the names and sizes of files are read, as there may be millions;
the texts are read with their part. Files belong together if their paths without the ending are equal.
"""

import json
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice, takewhile
from typing import Any

import pyarrow as pa

from curate import files
from curate.files.stores import told
from curate.files.texts import decoded
from curate.pool.kept import kinds_of_documents
from curate.pool.reader import Reader, Source
from curate.pool.rows import PoolFormat, pool_table
from curate.pool.samples import ENDINGS, TEXT_BYTES, Sample
from curate.pool.stored import LOOKED_AT, sample_row
from curate.reasons import ErrorCode
from curate.schema import POOL

BESIDE = "beside/texts"
"""The column of the paths of a picture's texts, which are read later; no pool has such a name."""
TEXTS = {"txt": "text", "json": "document"}
"""The field of a `Sample` for each ending of a text."""

_ROWS = 50_000  # a table
_AT_ONCE = 16  # texts that are read concurrently: on a store each takes a round trip


def parted(path: str) -> tuple[str, str]:
    """A path without its ending, and the ending in lower case; none where it has none.

    >>> parted("a.b/IMG.1.JPG"), parted("a.b/README")
    (('a.b/IMG.1', 'jpg'), ('a.b/README', ''))
    """
    folder, slash, name = path.rpartition("/")
    key, dot, ending = name.rpartition(".")
    return (f"{folder}{slash}{key}", ending.lower()) if dot else (path, "")


def shared_folder(paths: Sequence[str]) -> str:
    """The deepest folder that all of the files, paths or URLs, are in.

    >>> shared_folder(["s3://b/x/1.jpg", "s3://b/x/10/2.jpg"]), shared_folder([])
    ('s3://b/x', '')
    """
    ends = zip(min(paths, default=""), max(paths, default=""), strict=False)
    same = "".join(a for a, _ in takewhile(lambda one: one[0] == one[1], ends))
    return same.rpartition("/")[0]


def sizes_of(paths: Iterable[str]) -> dict[str, int]:
    """Bytes of each of the files, listed a folder at a time."""
    folders: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        folders[path.rpartition("/")[0]].append(path)
    found: dict[str, int] = {}
    for folder, those in folders.items():
        if files.local_path(folder) is None:
            listed = files.sizes(folder)
            found |= {path: listed[path.rpartition("/")[2]] for path in those}
        else:
            with told(folder):
                found |= {path: os.path.getsize(path) for path in those}
    return found


class _Pictures(Reader):
    def kinds(self, source: Source, *, pool: PoolFormat) -> dict[str, str | None]:
        return kinds_of_documents(_first_notes(source.members))

    def tables(self, source: Source, *, pool: PoolFormat) -> Iterator[pa.Table]:
        """The pictures of a folder by name, without their texts.

        Tables of `schema.POOL` with the column `BESIDE`. A picture's URL is ``file:///NAME/KEY``,
        never fetched. A picture without a text, a text without a picture and a second picture of the
        same name are unreadable rows.
        """
        sizes = sizes_of(path for path in source.members if parted(path)[1] in ENDINGS)
        groups: dict[str, list[str]] = defaultdict(list)
        for path in sorted(source.members):
            groups[parted(path)[0]].append(path)
        rows = (row for key in sorted(groups) for row in _rows(key, groups[key], sizes))
        while some := list(islice(rows, _ROWS)):
            for row in some:
                if key := row.pop("key", None):
                    row["url"] = (
                        f"file:///{source.name}/{key.removeprefix(source.path).lstrip('/')}"
                    )
            columns = {x: [row.get(x) for row in some] for x in ("url", "file", "offset", "size")}
            columns |= {x: [row.get(x) for row in some] for x in ("error", "detail")}
            beside = pa.array([row.get(BESIDE) for row in some], pa.list_(pa.string()))
            yield pool_table(**columns).append_column(BESIDE, beside)


PICTURES = _Pictures()
"""Reads folders of pictures."""


def _rows(key: str, paths: list[str], sizes: dict[str, int]) -> Iterator[dict[str, Any]]:
    """The row of the files called `key`, and an unreadable one for each that does not fit in."""
    pictures = [path for path in paths if path in sizes]
    texts = [path for path in paths if path not in sizes]
    name = key.rpartition("/")[2]
    if pictures and texts:
        first = pictures.pop(0)
        yield {"key": key, "file": first, "offset": 0, "size": sizes[first], BESIDE: texts}
        problem = f"a further picture called {name}; {first.rpartition('/')[2]} is taken"
    elif pictures:
        problem = f"a picture without a caption: neither {name}.txt nor {name}.json is there"
    else:
        pictures = texts[:1]
        problem = (
            f"a caption without a picture: no file {name} with the ending of a picture is there"
        )
    for path in pictures:
        yield {"error": str(ErrorCode.BAD_ROW), "detail": f"{path}: {problem}"}


def with_texts(table: pa.Table, *, pool: PoolFormat) -> pa.Table:
    """Rows of pictures with captions and the columns that `pool` keeps, from their texts.

    Other tables are returned as they are. A row whose text cannot be parsed becomes an unreadable row.
    """
    if BESIDE not in table.column_names:
        return table
    rows = table.select(POOL.names).to_pylist()
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        texts = table[BESIDE].to_pylist()
        filled = list(threads.map(lambda row, beside: _filled(row, beside, pool), rows, texts))
    found = pool_table(**{x: [row[x] for row in filled] for x in POOL.names})
    kinds = pa.schema([(name, pa.string()) for name, _ in pool.keep])
    kept = pa.table([[row.get("kept", {}).get(x) for row in filled] for x in kinds.names], kinds)
    places = [row["file"] for row in rows if row["file"]]
    return pool.keeping(found, kept, path=shared_folder(places))


def _filled(row: dict[str, Any], beside: list[str] | None, pool: PoolFormat) -> dict[str, Any]:
    if not beside:
        return row
    name, _, key = row["url"].removeprefix("file:///").rpartition("/")
    sample = Sample(number=1, key=key, image=(row["offset"], row["size"]))
    for path in beside:
        ending = parted(path)[1]
        with files.open_read(path) as file:
            content = file.read(TEXT_BYTES + 1)
        if len(content) > TEXT_BYTES:
            sample.problem = f"its .{ending} has over {TEXT_BYTES >> 20} MB"
        setattr(sample, TEXTS[ending], content)
    try:
        return {**row, **sample_row(sample, pool=pool, path=row["file"], name=name)}
    except (ValueError, RecursionError) as error:
        detail = f"{row['file']}: {str(error).splitlines()[0]}"
        return {**dict.fromkeys(POOL.names), "error": str(ErrorCode.BAD_ROW), "detail": detail}


def _first_notes(paths: Iterable[str]) -> list[dict[str, object]]:
    """The JSON objects in the first ``.json`` files."""
    found = []
    for path in islice((x for x in paths if parted(x)[1] == "json"), LOOKED_AT):
        with suppress(ValueError, RecursionError):  # which its row tells
            found.append(json.loads(decoded(files.read_bytes(path))))
    return [one for one in found if isinstance(one, dict)]
