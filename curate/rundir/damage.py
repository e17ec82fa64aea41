"""Files of a run that are not what its records say, and how to have them made again.

A record holds the size of each file that it vouches for, and of tables a CRC-32. Sizes are looked at
before anything is done, a listing a folder; the CRC by whoever reads a table (`Run.rows`).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate import files
from curate.errors import AbsentError, DamagedError
from curate.rundir.cuts import FILE as CUTS
from curate.rundir.cuts import read_cuts
from curate.rundir.directory import MANIFEST, PART_STAGES, Run, part_name
from curate.rundir.layout import ANNOTATED
from curate.rundir.verdicts import NAME as VERDICTS
from curate.rundir.verdicts import short_tables, vouched
from curate.schema import Stage

_NUMBER = r"part-\d+\."
_FIRST = "part-00000."

PERSPECTIVES = "perspectives.json"
"""What a balance by perspectives counted from each of them."""
OF_BALANCE = (
    "entries.parquet", "thresholds.json", "pairs.parquet", "nouns.parquet", PERSPECTIVES,
)  # fmt: skip
"""Files that a balance leaves beside its parts."""
OF_CUTS = tuple(files.join(stage, CUTS) for stage in PART_STAGES)
OF_ALL_PARTS = (
    *(files.join(Stage.BALANCE, name) for name in OF_BALANCE), VERDICTS,
)  # fmt: skip


@dataclass(frozen=True)
class Damage:
    """What of a run is damaged, by name, as far as listings and the checks of small files tell."""

    tables: tuple[str, ...] = ()  # of no single part
    parts: dict[str, dict[int, list[str]]] = field(default_factory=dict)  # by step and part

    @property
    def names(self) -> list[str]:
        """All of it."""
        of_parts = (x for step in self.parts.values() for names in step.values() for x in names)
        return [*self.tables, *of_parts]


def find_damage(run: Run, folders: Iterable[str]) -> Damage:
    """What is damaged of the files that the steps of these folders wrote to the run itself."""
    own = [folder for folder in folders if run.makes(stage_of(folder))]
    parts = {folder: damaged_parts(run, folder, run.record_table(folder)) for folder in own}
    return Damage(tuple(damaged_tables(run)), parts)


def damaged_parts(run: Run, folder: str, records: pa.Table) -> dict[int, list[str]]:
    """The names of damaged files of a step, whose records are `records`, by part."""
    found = _short_files(run, records)
    for index in sorted({*run.done(folder)}.difference(records["part"].to_pylist())):
        found.setdefault(index, []).append(part_name(folder, index, "json"))
    return found


def stage_of(folder: str) -> Stage:
    """The stage that a step belongs to."""
    return Stage(folder.partition("/")[0])


def damaged_documents(run: Run) -> tuple[str, ...]:
    """Of what a plan is made of, and makes again: run.json, and the pool's parts and copies."""
    found: list[str] = []
    stored: dict[str, dict[str, Any]] = {}
    for name in ("run.json", "input/parts.json"):
        try:
            if files.exists(run.path(name)):
                stored[name] = files.read_document(run.path(name))
            elif files.exists(run.path(Stage.PREPARE)):
                found.append(name)
        except DamagedError:
            found.append(name)
    sizes = files.sizes(run.path("input"))
    for part in stored.get("input/parts.json", {}).get("parts", []):
        name = part["path"].rpartition("/")[2]
        if part.get("copy") and sizes.get(name) != part["copy"][0]:
            found.append(f"input/{name}")
    return tuple(found)


def _short_files(run: Run, records: pa.Table) -> dict[int, list[str]]:
    """The names of files whose size is not what the records of a step say, by part."""
    wrote = records["wrote"].combine_chunks()
    names, sizes = (wrote.flatten().field(x) for x in ("name", "size"))
    numbers = pc.fill_null(
        pc.struct_field(pc.extract_regex(names, f"(?P<number>{_NUMBER})"), "number"), ""
    )
    kinds = pc.replace_substring_regex(names, _NUMBER, _FIRST)
    is_short = np.zeros(len(names), np.bool_)
    for kind in kinds.unique().to_pylist():
        rows = pc.equal(kinds, kind)
        where, _, base = run.path(kind).rpartition("/")
        begin, _, end = base.partition(_FIRST)
        stands = files.listed(where)
        called = pc.binary_join_element_wise(begin, numbers.filter(rows), end, "")
        found = stands["size"].take(pc.index_in(called, value_set=stands["name"]))
        is_short[np.asarray(rows)] = pc.fill_null(pc.not_equal(found, sizes.filter(rows)), True)
    at = pa.array(np.flatnonzero(is_short))
    parts = records["part"].take(pc.list_parent_indices(wrote).take(at))
    short: dict[int, list[str]] = {}
    for part, name in zip(parts.to_pylist(), names.take(at).to_pylist(), strict=True):
        short.setdefault(part, []).append(name)
    return short


def check_sizes(run: Run, *folders: str) -> None:
    """Raise DamagedError for the first file of these steps that is gone or of another size."""
    for folder in folders:
        for names in _short_files(run, run.record_table(folder)).values():
            raise _short(run, names[0])


def _short(run: Run, name: str) -> DamagedError:
    url = run.path(name)
    return DamagedError(url, "it is truncated" if files.exists(url) else "it is gone")


def check_content(run: Run) -> None:
    """Raise DamagedError for the first table of a part that is there and is not what was written."""
    for error in changed_content(run):
        raise error


def changed_content(run: Run) -> Iterator[DamagedError]:
    """What is said of each table of a part that is there and is not what was written."""

    def changes(wrote: dict[str, files.Content]) -> list[DamagedError]:
        found = []
        for name, held in wrote.items():
            if held.crc32 is not None:
                try:
                    held.check(run.path(name), files.read_bytes(run.path(name)))
                except AbsentError:
                    continue
                except DamagedError as error:
                    found.append(error)
        return found

    for folder in steps(run):
        for _, found in run.each((record.wrote for _, record in run.records(folder)), changes):
            yield from found
    if run.makes(Stage.DEDUP):
        for _, found in run.each(({name: held} for name, held in vouched(run).items()), changes):
            yield from found


def whole_files(run: Run) -> dict[str, files.Content]:
    """What small files of the run's own hold that are of no single part, by name."""
    names = [name for name in (*OF_CUTS, *OF_ALL_PARTS) if run.makes(stage_of(name))]
    urls = {name: run.path(name) for name in names if files.exists(run.path(name))}
    return {name: files.content_of(files.read_bytes(url)) for name, url in urls.items()}


def _changed(run: Run, state: dict[str, Any]) -> list[str]:
    """The names of small files of the run's own that are not what they were when it ended."""
    now = whole_files(run)
    held = {x: was for x, was in state.get("files", {}).items() if run.makes(stage_of(x))}
    return [name for name, was in held.items() if now.get(name) != files.Content(*was)]


def damaged_tables(run: Run) -> list[str]:
    """The names of small files that cannot be read, or are not what they were when the run ended."""
    found = []
    for stage in PART_STAGES:
        try:
            if run.makes(stage):
                read_cuts(run, stage)
        except DamagedError:
            found.append(files.join(stage, CUTS))
    try:
        found += short_tables(run) if run.makes(Stage.DEDUP) else []
    except DamagedError:
        found.append(VERDICTS)
    state = run.state()
    if state.get("state") == "complete":
        found += _changed(run, state)
    return list(dict.fromkeys(found))


def steps(run: Run) -> list[str]:
    """The folders of the steps whose parts are in the run itself, not in its source."""
    found = []
    for stage in PART_STAGES:
        if run.makes(stage):
            found += run.steps(stage, spare=True)
    return found


def check(run: Run) -> None:
    """Raise DamagedError for the first file of a run, and of its source, that cannot be relied on.

    Sizes are looked at. Of a run that is complete no record may be missing.
    """
    run.list_ahead()
    if run.source:
        check(Run.to(run.source))
    check_sizes(run, *steps(run))
    check_records(run)
    for name in damaged_tables(run):
        url = run.path(name)
        raise DamagedError(url, "it is not what was written" if files.exists(url) else "it is gone")
    if run.state().get("state") == "complete":
        _check_shards(run)


def check_part(run: Run, part: int) -> None:
    """Raise DamagedError where a run is complete and a record of the part cannot be read."""
    if run.source:
        check_part(Run.to(run.source), part)
    if run.state().get("state") == "complete":
        for folder in _of_all_parts(run):
            if run.record(folder, part) is None:
                url = run.part(folder, part, "json")
                raise DamagedError(url, "it cannot be read" if files.exists(url) else "it is gone")


def _of_all_parts(run: Run) -> Iterator[str]:
    """The folders in which a complete run has a record of each part."""
    for stage in map(Stage, run.state().get("stages", {})):
        if run.makes(stage):
            if stage in (Stage.DOWNLOAD, Stage.SCORE):
                yield files.join(stage, ANNOTATED)
            yield stage


def check_records(run: Run) -> None:
    """Raise DamagedError where a run is complete and the record of a part is not there."""
    for error in missing_records(run):
        raise error


def missing_records(run: Run) -> Iterator[DamagedError]:
    """What is said of each record of a part that is not there in a complete run."""
    state = run.state()
    if state.get("state") != "complete":
        return
    for folder in _of_all_parts(run):
        known = run.record_table(folder)["part"]
        if len(missing := np.setdiff1d(np.arange(state["parts"]), known)):
            done = run.done(folder)
        for index in missing.tolist():
            why = "it cannot be read" if index in done else "it is gone"
            yield DamagedError(run.part(folder, index, "json"), why)


def _check_shards(run: Run) -> None:
    url = run.path(Stage.SHARDS, MANIFEST)
    if files.exists(url):
        sizes = files.sizes(run.path(Stage.SHARDS))
        for shard in files.read_document(url)["shards"]:
            if name := short_shard(shard, sizes):
                raise DamagedError(run.path(Stage.SHARDS, name), "it is truncated or gone")


def short_shard(shard: dict[str, Any], sizes: dict[str, int]) -> str | None:
    """A file of an element of the manifest that is not of its size by the listing `sizes`."""
    for ending, key in ((".tar", "bytes"), (".parquet", "parquet"), ("_stats.json", "stats")):
        held = shard.get(key)
        size = held[0] if isinstance(held, list) else held  # older manifests have that of the tar
        found = sizes.get(name := shard["name"] + ending)
        if found is None or size not in (None, found):
            return str(name)
    return None


def incomplete(run: Run) -> str | None:
    """What to say of a run that is not complete; None of one that is."""
    state = run.state().get("state")
    if state == "complete":
        return None
    again = f"curate run {run.path('config.yaml')} --out {run.root}"
    return f"{run.root} is not complete (its state is {state}); go on with it by: {again}"
