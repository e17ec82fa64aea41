"""Copies of a set without what is broken: samples whole, keys once and in order, lists counted anew.

A sample is left out where one of its members is broken or missing; of the others every byte stays.
What is derived is made anew: tables where they are not the tar's, statistics, `SIZES`, the manifest.
Loaders' indexes are not copied, as they are of the tars before.
"""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from curate import files
from curate.checking.kinds import Kind, Problem
from curate.checking.retold import card_of, manifest_of, stats_of, table_of
from curate.checking.samples import IMAGE, Sample, Usual, judge
from curate.checking.sets import ENDINGS, LISTS, Set, is_folder
from curate.checking.shard import check
from curate.checking.task import Options, Shard, Task
from curate.checking.verify import spread
from curate.errors import CurateError
from curate.files.content import TEMPORARY
from curate.rundir.directory import CARD, MANIFEST, SIZES
from curate.rundir.held import HELD
from curate.rundir.shards import ShardRecord
from curate.rundir.tar import TarWriter

_UNFINISHED = ".unfinished"
_FIRST_STAYS = frozenset([Kind.DUPLICATE_KEY])


@dataclass(frozen=True)
class Written:
    """What was written."""

    shards: int
    pairs: int
    left_out: int


@dataclass(frozen=True)
class _Copies:
    """How copies are written."""

    out: str
    options: Options
    usual: Usual
    elsewhere: dict[str, frozenset[str]]  # by tar, its keys that an earlier one has
    listed: frozenset[str]  # folders with a manifest


def check_target(out: str, found: Set) -> None:
    """Raise a CurateError where copies may not be written to the folder `out`."""
    target = files.spelt(files.absolute(out))
    if files.names(target) or (files.exists(target) and not is_folder(target)):
        raise CurateError(f"--fix {out} is not empty; give another folder, or remove it")
    if f"{target}/".startswith(f"{files.spelt(found.root)}/"):
        raise CurateError(f"--fix {out} is inside {found.root}; give a folder elsewhere")


def write_fixed(
    found: Set,
    options: Options,
    together: Sequence[Problem],
    usual: Usual,
    *,
    out: str,
    workers: int,
) -> Written:
    """Write the repaired copies of a set to the folder `out`, which appears when they are whole.

    `together` are the problems of all shards together, `usual` the endings that samples have.
    """
    target = files.absolute(out).rstrip("/")
    is_local = files.local_path(target) is not None
    where = f"{target}{_UNFINISHED}" if is_local else target
    files.remove(where)
    folders = dict.fromkeys(task.name.rpartition("/")[0] for task in found.tasks)
    twice = [one for one in together if one.kind is Kind.KEY_IN_TWO_SHARDS]
    elsewhere = {
        name: frozenset(x.key for x in twice if x.shard == name)
        for name in {x.shard for x in twice}
    }
    listed = frozenset(x for x in folders if files.exists(files.join(found.root, x, MANIFEST)))
    copies = _Copies(where, options, usual, elsewhere, listed)
    records: dict[str, list[ShardRecord]] = {folder: [] for folder in folders}
    left_out = 0
    for task, (record, lost) in zip(
        found.tasks,
        spread(partial(_copy, copies=copies), found.tasks, workers=workers),
        strict=True,
    ):
        left_out += lost
        if record is not None:
            records[task.name.rpartition("/")[0]].append(record)
    for folder, some in records.items():
        _write_lists(files.join(found.root, folder), files.join(where, folder), some)
    if is_local:
        if os.path.isdir(target):
            os.rmdir(target)
        os.makedirs(where, exist_ok=True)
        os.replace(where, target)
    every = [one for some in records.values() for one in some]
    return Written(len(every), sum(one.pairs for one in every), left_out)


def _copy(task: Task, *, copies: _Copies) -> tuple[ShardRecord | None, int]:
    """Write the copy of a shard; its record, if anything is left of it, and the samples left out."""
    found = check(task, copies.options, keep=True)
    broken = {
        one.key for one in found.problems if one.kind.row.breaks and one.kind not in _FIRST_STAYS
    } | copies.elsewhere.get(task.name, frozenset())
    told = [one.what for one in found.problems if one.kind is Kind.UNREADABLE]
    samples = {} if told else _whole(found, broken, copies.usual | {IMAGE})
    if any(one.kind is Kind.UNSORTED for one in found.problems):
        samples = dict(sorted(samples.items()))
    documents = {key: one.document for key, one in samples.items()}
    wanted = task.table or task.lacks_table
    table = table_of(f"{task.stem}.parquet", documents, wanted=wanted)
    if table is not None and table.keys is not None:
        samples = {key: one for key, one in samples.items() if key in table.keys}
    lost = len(found.samples) - len(samples) + _repeats(found)
    if not samples:
        return None, lost
    stem = files.join(copies.out, task.called(""))
    size, sha256 = _write_tar(task, f"{stem}.tar", samples)
    held = files.write_table(f"{stem}.parquet", table.rows) if table is not None else None
    name = stem.rpartition("/")[2]
    record = ShardRecord(name, len(samples), size, sha256, held)
    if task.stats or task.name.rpartition("/")[0] in copies.listed:
        stats, is_ours = stats_of(f"{task.stem}_stats.json", record)
        write = files.write_document if is_ours else files.write_json
        record = replace(record, stats=write(f"{stem}_stats.json", stats))
    return record, lost


def _repeats(found: Shard) -> int:
    return sum(one.kind in _FIRST_STAYS for one in found.problems)


def _whole(found: Shard, broken: set[str], wanted: Usual) -> dict[str, Sample]:
    """The samples with which nothing is wrong, the members of each together."""
    whole = {}
    for key, pieces in found.samples.items():
        one = pieces[0]
        for more in pieces[1:]:
            one.members += more.members
            one.endings += more.endings
            one.text = more.text if one.text is None else one.text
            one.document = more.document if one.document is None else one.document
            one.image = one.image or more.image
        if len(pieces) > 1:
            one.wrong = []
            judge(one, None)
        lacks = (found.usual | wanted) - one.has
        if key not in broken and not lacks and not one.wrong:
            whole[key] = one
    return whole


def _write_tar(task: Task, url: str, samples: dict[str, Sample]) -> tuple[int, str]:
    """Write the members of samples; the size of the tar, and its SHA-256."""
    with files.open_read(task.url) as old, files.atomic_write(url) as new:
        writer = TarWriter(new)
        for one in samples.values():
            for member in one.members:
                old.seek(member.start)
                writer.add(member.name, old.read(member.size))
        digest = writer.end()
    return writer.size, digest


def _write_lists(folder: str, target: str, records: list[ShardRecord]) -> None:
    """Write the lists of a folder, and copy what else lies there."""
    names = files.names(folder)
    if SIZES in names or MANIFEST in names:
        files.write_json(files.join(target, SIZES), {f"{x.name}.tar": x.pairs for x in records})
    before: dict[str, Any] = {}
    if MANIFEST in names:
        before = manifest_of(files.join(folder, MANIFEST))
        document = {
            **before, "pairs": sum(x.pairs for x in records), "bytes": sum(x.bytes for x in records),
            "shards": [asdict(x) for x in records],
        }  # fmt: skip
        files.write_document(files.join(target, MANIFEST), document)
    if CARD in names:
        text = files.read_bytes(files.join(folder, CARD))
        files.write_bytes(files.join(target, CARD), card_of(text, before, records))
    sizes = files.sizes(folder)
    for name in names:
        others = name in (*LISTS, HELD, CARD) or name.endswith((*ENDINGS, TEMPORARY))
        if name in sizes and not others:
            files.write_bytes(files.join(target, name), files.read_bytes(files.join(folder, name)))
