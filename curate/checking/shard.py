"""One shard: its tar from end to end, and the files beside it."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from typing import IO

from curate import files
from curate.checking import tables
from curate.checking.claims import check_beside, compare, read_stats
from curate.checking.content import DECODER, Decode
from curate.checking.kinds import Kind
from curate.checking.samples import IMAGE, Loose, Reader, Sample, Usual, judge
from curate.checking.task import Claim, Options, Shard, Task, hashes_of
from curate.checking.walk import Walk
from curate.errors import CurateError
from curate.files.unpacking import packing
from curate.ops.images.decoder import isolated

_TIMEOUT = 60.0  # seconds that an image may take to be decoded
_TORN = frozenset([Kind.UNREADABLE, Kind.TRUNCATED_TAR, Kind.DAMAGED_HEADER, Kind.BEHIND_END])
"""After which a tar need not hold what lists say of it."""


class _Digests:
    """The digests of a file that is read in pieces, made by a thread beside."""

    def __init__(self, names: set[str]) -> None:
        self._digests = {name: hashlib.new(name, usedforsecurity=False) for name in names}
        self._thread = ThreadPoolExecutor(1)
        self._last: Future[None] | None = None

    def see(self, piece: bytes) -> None:
        if self._last is not None:
            self._last.result()  # no more than one piece waits
        self._last = self._thread.submit(self._update, piece)

    def _update(self, piece: bytes) -> None:
        for one in self._digests.values():
            one.update(piece)

    def found(self) -> dict[str, str]:
        self._thread.shutdown()
        return {name: one.hexdigest() for name, one in self._digests.items()}


def check(task: Task, options: Options, *, keep: bool = False) -> Shard:
    """Check a tar and the files beside it; whatever is wrong with it, it raises nothing.

    With `keep` the samples that nothing is wrong with are in what it returns.
    """
    found = Shard(task.name)
    claims, beside = [*task.claims], [*task.beside]
    if task.stats:
        read_stats(task, found, claims, beside)
    table = _table(task, found)
    digests: dict[str, str] = {}
    try:
        found.bytes = files.size(task.url)
        with files.open_read(task.url) as file, _decoder(options) as decode:
            reader = Reader(decode, table, options.hashes)
            if not found.bytes:
                found.add(Kind.UNREADABLE, what="it is empty")
            elif kind := packing(file.read(16)):
                found.add(Kind.UNREADABLE, what=f"it is packed ({kind}); tars are read unpacked")
            else:
                file.seek(0)
                digests = _walk(file, found, reader, claims, options, keep=keep)
    except (CurateError, OSError) as error:
        found.add(Kind.UNREADABLE, what=str(error).removeprefix(f"{task.url}: "))
    found.torn |= any(one.kind is Kind.UNREADABLE for one in found.problems if not one.key)
    wrong = compare(task, found, claims, digests)
    if options.hashes:
        check_beside(task, found, [one for one in beside if one.name not in wrong])
    return found


@contextmanager
def _decoder(options: Options) -> Iterator[Decode | None]:
    if not options.images:
        yield None
        return
    with isolated(DECODER, timeout=_TIMEOUT) as decode:
        yield decode


def _walk(
    file: IO[bytes],
    found: Shard,
    reader: Reader,
    claims: list[Claim],
    options: Options,
    *,
    keep: bool,
) -> dict[str, str]:
    """Walk through the tar; its digests by their names, as far as they are asked for."""
    wanted = {x for x in ("sha256", "md5") if any(getattr(one, x) for one in claims)}
    if "sha256" in wanted:
        wanted -= {"md5"}
    digests = _Digests(wanted if options.hashes else set())
    kept = _Kept(found, reader, keep=keep)
    try:
        walk = Walk(file, size=found.bytes, see=digests.see if wanted and options.hashes else None)
        for sample in reader.samples(iter(walk)):
            kept.take(sample)
    finally:
        made = digests.found()
    kept.end()
    return made


class _Kept:
    """What stays of the samples of a shard once they were looked at."""

    def __init__(self, found: Shard, reader: Reader, *, keep: bool) -> None:
        self._found, self._reader, self._keep = found, reader, keep
        self._table = found.name.removesuffix(".tar") + ".parquet"
        self._has: dict[str, Usual] = {}
        self._torn: set[str] = set()

    def take(self, sample: Sample) -> None:
        """Look at a sample, among those that came before."""
        key, has, found = sample.key, sample.has, self._found
        before = self._has.get(key)
        if before is not None and before & has:
            found.add(Kind.DUPLICATE_KEY, key, f"again at byte {sample.at:,}")
            self._torn.add(key)
            return
        if before is not None:
            found.add(Kind.MEMBERS_APART, key, f"more of it at byte {sample.at:,}")
        self._has[key] = has | (before or frozenset())
        if sample.torn:
            self._torn.add(key)
        judge(sample, self._reader.table)
        for kind, what in sample.wrong:
            found.add(kind, key, what, file=self._table if kind is Kind.TABLE_DIFFERS else "")
        if self._keep:
            sample.image = sample.image and sample.image._replace(content=b"")
            found.samples.setdefault(key, []).append(sample)

    def end(self) -> None:
        """Look at the samples together."""
        found, reader = self._found, self._reader
        keys = [*self._has]
        found.pairs = len(keys)
        _note_loose(found, reader.loose)
        found.torn = any(one.kind in _TORN for one in found.problems)
        found.hashes = hashes_of(keys)
        every = Counter(self._has.values())
        counts = Counter[str]()
        for has, n in every.items():
            counts.update(dict.fromkeys(has, n))
        found.usual = frozenset(x for x, n in counts.items() if 2 * n >= len(keys))
        if keys and IMAGE not in found.usual:
            found.add(Kind.MISSING_IMAGE, what=f"{counts[IMAGE]:,} of {len(keys):,} have one")
        if any(found.usual - has for has in every):
            self._check_members()
        if reader.are_of_files:
            for key in reader.other_hashes:
                found.add(Kind.IMAGE_HASH, key)
        self._check_table(keys)
        self._check_order(keys)

    def _check_members(self) -> None:
        found = self._found
        for key, has in self._has.items():
            if key not in self._torn and (lacks := found.usual - has):
                kind = Kind.MISSING_IMAGE if IMAGE in lacks else Kind.MISSING_MEMBER
                found.add(kind, key, "no " + ", ".join(sorted(lacks)))

    def _check_table(self, keys: list[str]) -> None:
        table, found = self._reader.table, self._found
        if table is None or found.torn:
            return
        lost = [key for key in table.keys if key not in self._has]
        new = [key for key in keys if key not in table.at]
        told = [f"{len(table.keys) - len(table.at):,} keys are in it again"] * (
            len(table.keys) > len(table.at)
        )
        told += [
            f"{len(some):,} pairs of {whose} are not in {other}: {tables.named(some)}"
            for some, whose, other in (
                (lost, "the table", "the tar"),
                (new, "the tar", "the table"),
            )
            if some
        ]
        if told:
            key = next(iter(lost or new), "")
            found.add(Kind.TABLE_KEYS, key, "; ".join(told), file=self._table)

    def _check_order(self, keys: list[str]) -> None:
        table, found = self._reader.table, self._found
        in_table = [key for key in table.keys if key in self._has] if table else []
        if table and len(in_table) == len(keys):
            where = next((a for a, b in zip(keys, in_table, strict=True) if a != b), None)
            if where is not None:
                found.add(Kind.UNSORTED, where, "the table has another order")
        elif not table:
            falls = [b for a, b in pairwise(keys) if b < a]
            if 0 < len(falls) < _ORDERED * len(keys):  # others are in an order of their own
                found.add(Kind.UNSORTED, falls[0], "it comes behind a later key")


_ORDERED = 1 / 3
"""Keys that come behind a later one, as a share, up to which a tar is taken for a sorted one."""


def _note_loose(found: Shard, loose: list[Loose]) -> None:
    if not found.pairs and loose and loose[0].kind is Kind.DAMAGED_HEADER and not loose[0].at:
        found.add(Kind.UNREADABLE, what="it is no tar")
        return
    for one in loose:
        found.add(one.kind, one.name, one.what)


def _table(task: Task, found: Shard) -> tables.Table | None:
    if not task.table:
        return None
    table = tables.read(f"{task.stem}.parquet")
    if isinstance(table, str):
        found.add(Kind.TABLE_UNREADABLE, what=table, file=task.called(".parquet"))
        return None
    return table
