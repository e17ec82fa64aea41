"""Damaged files of a run: the parts lose their records, so that they are made again, with a message."""

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress

from curate import files
from curate.errors import CurateError
from curate.rundir.damage import OF_ALL_PARTS, OF_CUTS, stage_of, steps
from curate.rundir.directory import CLUSTERS, PART_STAGES, Run, part_index, part_name
from curate.rundir.layout import ANNOTATED
from curate.rundir.lock import locked
from curate.rundir.verdicts import NAME as VERDICTS
from curate.schema import Stage

_DAMAGED = re.compile(r"(.*?) is damaged: ")
_NAMED = 3


def in_words(run: Run, names: Sequence[str]) -> str:
    """A line on files of a run that are damaged, given their names; empty where none is."""
    if not names:
        return ""
    paths = [run.path(name).removeprefix(f"{run.root}/") for name in dict.fromkeys(names)]
    more = f" and {len(paths) - _NAMED:,} more" if len(paths) > _NAMED else ""
    return f"damaged in {run.root}, and made again: {', '.join(paths[:_NAMED])}{more}"


def take_back(run: Run, folder: str, index: int, names: list[str]) -> None:
    """Take back that a part is done at a step whose files `names` are damaged.

    Where it is the images alone, what was found out about them can still be taken over.
    """
    record = run.record(folder, index)
    if record and ANNOTATED in folder and all(name.endswith(".tar") for name in names):
        run.retract(folder, index, own=record.own)
    else:
        files.remove(run.part(folder, index, "json"))


def take_back_tables(run: Run, names: Iterable[str]) -> None:
    """Take back small files of no single part that are damaged, so that they are made again."""
    for name in names:
        if run.makes(stage_of(name)):
            files.remove(run.path(VERDICTS if name.startswith(f"{CLUSTERS}/") else name))


def take_back_parts(run: Run, *, first: int) -> None:
    """Remove all of the parts from index `first` on, their records first: their files left the pool."""
    folders = [folder for stage in PART_STAGES for folder in run.folders(stage)]
    records = run.path("records")
    folders.sort(key=lambda folder: not folder.startswith(records))
    for folder in folders:
        for name in files.names(folder):
            index = part_index(name)
            if index is not None and index >= first:
                files.remove(files.join(folder, name))
            elif "." not in name:
                folders.append(files.join(folder, name))  # of a column of its own


def _take_back_file(run: Run, url: str, folders: Iterable[str]) -> bool:
    """Have what made the file at `url` do it again; False where no step of these folders did."""
    name = url.rpartition("/")[2]
    where = run.path("input")
    if url.startswith(f"{where}/"):
        files.remove(url)  # a copy: of its file the parts are cut again
        return True
    if url.startswith(f"{run.path(Stage.SHARDS)}/"):
        for ending in (".tar", ".parquet"):
            if name.endswith(ending):
                url = f"{url.removesuffix(ending)}_stats.json"
        files.remove(url)
        return True
    index = part_index(name)
    if index is None:
        tables = [x for x in (*OF_ALL_PARTS, *OF_CUTS) if run.path(x) == url]
        take_back_tables(run, tables)
        return bool(tables)
    if run.part(CLUSTERS, index) == url:
        take_back_tables(run, [VERDICTS])
        return True
    for folder in folders:
        record = run.record(folder, index) if run.makes(stage_of(folder)) else None
        written = list(record.wrote) if record else []
        for one in written or [part_name(x, index) for x in (folder, f"dropped/{folder}")]:
            if run.path(one) == url:
                take_back(run, folder, index, [one])
                return True
    return False


def taken_back(run: Run, folders: Iterable[str], error: CurateError) -> CurateError:
    """What to tell of an error that ended a run: a damaged file's part does not count as done now.

    `folders` are the steps of the run.
    """
    found = _DAMAGED.match(str(error))
    if found is None:
        return error
    if _take_back_file(run, found[1], folders):
        return CurateError(f"{error}; the same command makes it again")
    return CurateError(f"{error}{remedy(found[1])}")


def note_damage(url: str) -> bool:
    """Have the next `curate run` make a damaged file of a run again; whether it will.

    Not where a command is at work in the run, or this user may not write there.
    """
    root = _root_of(url)
    with suppress(CurateError, OSError):
        if root is not None:
            run = Run.at(root)
            with locked(root):
                return _take_back_file(run, url, steps(run))
    return False


def _root_of(url: str) -> str | None:
    root = url.rpartition("/")[0]
    while root.rstrip("/") and not files.exists(files.join(root, "config.yaml")):
        root = root.rpartition("/")[0]
    return root if root.rstrip("/") and "/" in root else None


def remedy(url: str, *, noted: bool = False) -> str:
    """How to have a damaged file of a run made again, as the end of a sentence; empty for others.

    `noted` says that the next `curate run` does so by itself.
    """
    root = _root_of(url)
    if root is None:
        return ""
    name = url.removeprefix(f"{root}/")
    again = f"curate run {files.join(root, 'config.yaml')} --out {root}"
    if name == "run.json":
        return (
            f"; its parts are kept, go on with them: {again} (if you changed the file by hand, remove"
            f' its key "{files.CHECK}")'
        )
    if name == "revoked.parquet":
        return "; it says what was revoked from the run: put back a copy of it"
    left = files.exists(url) and not noted
    return f"; {'remove it, and ' if left else ''}it is made again by: {again}"
