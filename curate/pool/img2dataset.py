"""Output folders of img2dataset: parquet shards, each with its images in a tar or a folder.

A row without an image, such as a failed one, is fetched by its URL like any other pair.
"""

import os
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence, Sized

import pyarrow as pa
import pyarrow.parquet as pq

from curate import files
from curate.formats import AUTO
from curate.pool.columnar import column_types
from curate.pool.lines import BadRow
from curate.pool.reader import Companions, Reader, Source
from curate.pool.rows import PoolFormat, UnreadableError, bad_rows
from curate.pool.samples import ENDINGS, read_samples
from curate.pool.stored import ORIGINAL, Place, place_of
from curate.reasons import SUCCESS
from curate.schema import PLACES

STATS = "_stats.json"
"""The ending of the statistics of a shard."""


class _Img2dataset(Reader):
    """Reads the rows of a shard from its parquet, with the images of the tar or folder beside it.

    Rows and images with the same key are matched in order. Where there are more of one than of the
    other, the match is ambiguous: the rows are fetched like those without an image, and a bad row at
    the end reports the images, as it does those without a row.
    """

    def kinds(self, source: Source, *, pool: PoolFormat) -> dict[str, str | None]:
        return column_types(source.path)

    def tables(self, source: Source, *, pool: PoolFormat) -> Iterator[pa.Table]:
        path = source.path
        stem = path.removesuffix(".parquet")
        places = _tar_places(f"{stem}.tar") or _folder_places(stem)
        with files.open_read(path) as file:
            table = pq.ParquetFile(file)
            names = table.schema_arrow.names
            pool.check(path, names)
            if missing := {"key", "status"} - set(names):
                raise UnreadableError(
                    f"{path}: no column {min(missing)!r}: this is not a shard of img2dataset"
                )
            asked = Counter(_stored_keys(table.read(columns=["key", "status"], use_threads=False)))
            odd = [key for key in places if asked[key] != len(places[key])]
            lost = {key: places.pop(key) for key in odd}
            wanted = [name for name in names if name in {*pool.columns, "key", "status", *ORIGINAL}]
            for batch in table.iter_batches(columns=wanted):
                rows = pa.Table.from_batches([batch])
                nothing = [None] * len(rows)
                known = [rows[x].to_pylist() if x in names else nothing for x in ORIGINAL]
                found = [
                    places[key].popleft().made_of(*original) if key in places else None
                    for key, *original in zip(_stored_keys(rows), *known, strict=True)
                ]
                columns = {
                    name: pa.array([place and getattr(place, name) for place in found], kind)
                    for name, kind in zip(PLACES.names, PLACES.types, strict=True)
                }
                yield pool.normalise(rows, path=path, **columns)
        if lost:
            yield pool.with_all(bad_rows([_unmatched(lost, asked, rows=asked.total())], path=path))

    def companions(self, paths: Sequence[str], *, asked: str) -> Companions:
        """A parquet file is a shard if statistics and images of the same name are beside it.

        These, and other JSON files of img2dataset's beside them, are no files of the pool themselves.
        Where the format is asked for by name, a shard needs no statistics.
        """
        is_asked = asked == "img2dataset"
        present = set(paths)
        folders = {os.path.dirname(path) for path in paths}
        images: dict[str, list[str]] = {}
        for path in paths if is_asked or asked == AUTO else ():
            stem = path.removesuffix(".parquet")
            if stem != path and (is_asked or stem + STATS in present):
                tar = f"{stem}.tar"
                if tar in present or (is_asked and files.exists(tar)):
                    images[path] = [tar]
                elif stem in folders or (is_asked and files.exists(stem)):
                    images[path] = [stem]
        beside = {x for found in images.values() for x in found}
        stems = {path.removesuffix(".parquet") for path in images}
        homes = {os.path.dirname(path) for path in images}
        taken = {
            path for path in present - images.keys()
            if path in beside or os.path.dirname(path) in stems or path.endswith(STATS)
            or (path.endswith(".json") and os.path.dirname(path) in homes)
        }  # fmt: skip
        return Companions(images, taken)


IMG2DATASET = _Img2dataset()
"""Reads shards that img2dataset wrote."""


def _stored_keys(table: pa.Table) -> list[str | None]:
    """The key of each row that has an image, None for the others."""
    given = zip(*(table[x].to_pylist() for x in ("key", "status")), strict=True)
    return [key if status == SUCCESS else None for key, status in given]


def _unmatched(lost: Mapping[str, Sized], asked: Counter[str | None], *, rows: int) -> BadRow:
    key, images = next(iter(lost.items()))
    total = sum(map(len, lost.values()))
    problem = (
        f"{total:,} images beside it are left out: their keys have not as many rows with status"
        f" {SUCCESS}; the first is {key}: {len(images)} in the images, {asked[key]} in the rows"
    )
    return BadRow(rows + 1, problem, key)


def _tar_places(path: str) -> dict[str, deque[Place]]:
    """The places of a tar's images by key, without its folder."""
    places: dict[str, deque[Place]] = defaultdict(deque)
    for sample in read_samples(path, texts=False) if files.exists(path) else ():
        if sample.image is not None:
            places[sample.key.rpartition("/")[2]].append(place_of(sample, path))
    return places


def _folder_places(folder: str) -> dict[str, deque[Place]]:
    places: dict[str, deque[Place]] = {}
    for name, size in files.sizes(folder).items():
        key, _, ending = name.partition(".")
        if ending.lower() in ENDINGS:
            places.setdefault(key, deque([Place(files.join(folder, name), 0, size)]))
    return places
