"""One shard: tar, parquet and statistics; the manifest of all.

Keys are img2dataset's: shard and index, zero-padded. A retry writes the same bytes.
"""

import json
import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import asdict, dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from curate import files
from curate.config import Shards as Settings
from curate.errors import AbsentError, DamagedError
from curate.ops.captions import joined, written, written_weights
from curate.ops.images.encoder import KINDS
from curate.ops.images.formats import sniff
from curate.reasons import FETCH_FAILURES, ROWS, SUCCESS
from curate.rundir import counts, held
from curate.rundir.directory import Part, Run
from curate.rundir.held import Held
from curate.rundir.revocations import rows_of
from curate.rundir.shards import ShardRecord, read_stats, write_manifest
from curate.rundir.tar import TarWriter
from curate.schema import CAPTION_WEIGHTS, FRONT, OF_PARTS, PARQUET_ALONE, Stage
from curate.stages.images import read_images
from curate.stages.shards.cut import Shard, Sizes, cut

_ENDINGS = {kind: ending for ending, kind in KINDS.items()}
_DIGITS = 6
"""Of the index in a key where shards are cut by bytes: a pair takes too many for a million."""
_TIMES = {"start_time": 0.0, "end_time": 0.0, "duration": 0.0}
"""img2dataset's; of a file that is the same on every run, as are the times in the tars."""

Rows = Iterable[tuple[pa.Table, Iterable[bytes]]]
"""Rows of a shard, in order, each table with the images of its rows."""


@dataclass(frozen=True)
class ShardStep:
    """Writes one shard."""

    run: Run
    reads: str
    digest: str
    settings: Settings
    encode_format: str
    join: str | None = None  # between the captions of a pair, where its text is all of them
    seed: int = 0  # of the order of mixed shards
    kept: bool = False  # whether an image may be a file of the pool, of another format
    parquet_alone: frozenset[str] = frozenset(PARQUET_ALONE)  # columns that no JSON file has
    samples: tuple[int, str, str] | None = None
    """Seed, reference and column of the balance that trainers repeat."""
    held: Held | None = None  # the shards of a set that grows, behind which further ones are cut

    @property
    def own(self) -> str:
        """The digest of a shard: behind others it holds other rows of the same parts."""
        return files.digest_of(self.digest, self.held) if self.held else self.digest

    def path(self, name: str) -> str:
        """The URL of a file among the shards."""
        return self.run.path(Stage.SHARDS, name)

    def write(self, shard: Shard, rows: Rows) -> ShardRecord:
        """Write tar, parquet and, last, statistics."""
        digits = max(1, math.ceil(math.log10(self.settings.rows)))
        digits = _DIGITS if self.settings.bytes else digits
        tables, count = [], 0
        with files.atomic_write(self.path(f"{shard.name}.tar")) as file:
            tar = TarWriter(file)
            for table, images in rows:
                keys = [f"{shard.name}{i:0{digits}d}" for i in range(count, count + len(table))]
                table = _with_status(_with_written(table, join=self.join), keys)
                tables.append(_without(table, OF_PARTS))
                self._add(tar, table, images)
                count += len(table)
            digest = tar.end()
        parquet = files.write_table(self.path(f"{shard.name}.parquet"), pa.concat_tables(tables))
        stats = files.write_document(
            self.path(f"{shard.name}_stats.json"),
            {
                "count": count, "successes": count, **self._statuses(shard, count), **_TIMES,
                "bytes": tar.size, "sha256": digest, "parquet": parquet, "digest": self.own,
                **shard.told,
            },
        )  # fmt: skip
        return ShardRecord(shard.name, count, tar.size, digest, parquet, stats)

    def rows_of(self, shard: Shard) -> Rows:
        """Those of a shard in the order of the pool, from its parts."""
        for slice_ in shard.slices:
            table = self.rest(shard.parts.get(slice_.part, slice_.part))
            table = table.slice(slice_.start, slice_.rows)
            yield table, read_images(self.run, slice_.part, table, encode_format=self.encode_format)

    def rest(self, part: Part | int, columns: list[str] | None = None) -> pa.Table:
        """The rows of a part that no shard holds before any is cut."""
        if self.held is None:
            return self.run.rows(self.reads, part, columns=columns)
        table = self.run.rows(self.reads, part, columns=columns and ["uid", *columns])
        index = part.index if isinstance(part, Part) else part
        stays = held.staying(held.uids_of(self.run, index), table["uid"])
        return table.filter(pa.array(~stays))

    def _statuses(self, shard: Shard, count: int) -> dict[str, object]:
        """img2dataset's counts of failures: those of the parts whose first pair is in the shard."""
        failed: Counter[str] = Counter()
        told = self.held.parts if self.held else 0  # of earlier parts, in the shards that stay
        for part in (part for part in shard.begun if part >= told):
            record = self.run.record(Stage.DOWNLOAD, part)
            failed.update(record.dropped if record else {})
        failed = Counter({reason: n for reason, n in failed.items() if reason in FETCH_FAILURES})
        resized = sum(n for reason, n in failed.items() if ROWS[reason].fetch == "content")
        return {
            "failed_to_download": failed.total() - resized, "failed_to_resize": resized,
            "status_dict": {SUCCESS: count, **dict(sorted(failed.items()))},
        }  # fmt: skip

    def whole(self, shard: Shard) -> ShardRecord | None:
        """The record of a shard that is whole and of these settings; None of any other."""
        try:
            found, record = read_stats(self.run, shard.name)
        except (AbsentError, DamagedError):
            return None
        same = found["digest"] == self.own and shard.told.items() <= found.items()
        if not same or not self.is_whole(record):
            return None
        told = found | self._statuses(shard, record.pairs)
        if told == found:
            return record
        url = self.path(f"{shard.name}_stats.json")  # after a retry that brought no image
        return replace(record, stats=files.write_document(url, told))

    def is_whole(self, record: ShardRecord) -> bool:
        """Whether the tar and the table of a shard have the sizes that its statistics give."""
        held = {".tar": record.bytes, ".parquet": record.parquet and record.parquet.size}
        for ending, size in held.items():
            url = self.path(record.name + ending)
            if not files.exists(url) or size not in (None, files.size(url)):
                return False
        return True

    def _add(self, tar: TarWriter, table: pa.Table, images: Iterable[bytes]) -> None:
        visible = _typed(_without(table, OF_PARTS | self.parquet_alone))
        for columns, image in zip(visible.to_pylist(), images, strict=True):
            key = columns["key"]
            document = json.dumps(columns, ensure_ascii=False)
            tar.add(f"{key}.{self._ending(image)}", image)
            tar.add(f"{key}.txt", columns["caption"].encode())
            tar.add(f"{key}.json", document.encode())

    def _ending(self, image: bytes) -> str:
        """What the name of a stored image ends in."""
        return _ENDINGS.get(sniff(image), self.encode_format) if self.kept else self.encode_format

    def shards(self, parts: Iterable[Part]) -> list[Shard]:
        """The shards that the kept rows of `parts` make up, in the order of the pool."""
        known = {part.index: part for part in parts}
        shards = self.standing(known.values())
        if shards is None:
            first = self.held.stop if self.held else 0
            cuts = cut(known.values(), self.settings, sizes=self._sizes)
            shards = [replace(shard, index=first + shard.index) for shard in cuts]
        return [
            replace(shard, parts={x.part: known[x.part] for x in shard.slices if x.part in known})
            for shard in shards
        ]

    def standing(self, parts: Iterable[Part]) -> list[Shard] | None:
        """After a revocation the shards that are written, which keep their keys; else None.

        They are not full any more, or are missing where they held nothing else.
        """
        if not rows_of(self.run):
            return None
        valid = self._valid()
        if sum(pairs for _, pairs in valid) == sum(part.kept for part in parts):
            return [shard for shard, _ in valid]
        for shard, _ in valid:  # its slices may be places from before the revocation
            files.remove(self.path(f"{shard.name}_stats.json"))
        return None

    def _sizes(self, parts: list[Part]) -> Iterator[Sizes]:
        def read(part: Part) -> Sizes:
            found = self.rest(part, columns=["tar_size"])["tar_size"]
            sizes: Sizes = found.to_numpy()
            return sizes

        return (sizes for _, sizes in self.run.each(parts, read))

    def _valid(self) -> list[tuple[Shard, int]]:
        """The shards that are whole and of these settings, and the pairs of each."""
        found = []
        for name in files.names(self.run.path(Stage.SHARDS)):
            if name.endswith("_stats.json"):
                try:
                    stats, record = read_stats(self.run, name.removesuffix("_stats.json"))
                except DamagedError:
                    continue
                shard = Shard.of(int(record.name), stats)
                if stats["digest"] == self.own and self.is_whole(record):
                    found.append((shard, stats["count"]))
        return sorted(found, key=lambda one: one[0].index)

    def manifest(self, records: Iterable[ShardRecord]) -> str:
        """Write ``shards/manifest.json`` and remove what an earlier configuration left; its URL."""
        shards = sorted(records, key=lambda record: int(record.name))
        endings = (".tar", ".parquet", "_stats.json")
        wanted = {record.name + ending for record in shards for ending in endings}
        for name in files.names(self.run.path(Stage.SHARDS)):
            if name not in wanted | {held.HELD}:
                files.remove(self.path(name))
        if self.samples is not None:
            seed, reference, on = self.samples
            found = counts.of_run(self.run, seed=seed, reference=reference, on=on)
            counts.write(self.run, found)
        url = write_manifest(
            self.run,
            {
                "pairs": sum(record.pairs for record in shards),
                "bytes": sum(record.bytes for record in shards),
                "digest": self.digest,
                **({"grown": True} if self.held else {}),
                "shards": [asdict(record) for record in shards],
            },
        )
        held.remove(self.run)
        return url


def _without(table: pa.Table, names: Collection[str]) -> pa.Table:
    return table.select([name for name in table.column_names if name not in names])


def _with_written(table: pa.Table, *, join: str | None) -> pa.Table:
    """`table` with the captions of its pairs as shards have them, where there are several."""
    if "captions" not in table.column_names:
        return table
    for name, column in joined(table["captions"], by=join).items() if join else ():
        at = table.column_names.index(name)
        table = table.set_column(at, table.field(at), column.cast(table.field(at).type))
    if CAPTION_WEIGHTS in table.column_names:
        at = table.column_names.index(CAPTION_WEIGHTS)
        weights = written_weights(table[CAPTION_WEIGHTS], table["captions"])
        table = table.set_column(at, table.field(at), weights)
    at = table.column_names.index("captions")
    return table.set_column(at, "captions", written(table["captions"]))


def _typed(table: pa.Table) -> pa.Table:
    """`table` with empty strings for nulls, but in `error_message`, which is null in img2dataset's.

    Loaders take the type of a key from the first samples, which may have nothing but nulls.
    """
    for at, one in enumerate(table.schema):
        if pa.types.is_string(one.type) and one.name != "error_message":
            table = table.set_column(at, one, pc.fill_null(table[one.name], ""))
    return table


def _with_status(table: pa.Table, keys: list[str]) -> pa.Table:
    """The table with the columns that img2dataset's users expect in front."""
    n = len(table)
    front = pa.table([keys, [SUCCESS] * n, [None] * n], schema=FRONT)
    return pa.table([*front.columns, *table.columns], schema=pa.schema([*FRONT, *table.schema]))
