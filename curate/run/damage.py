"""Files of a run that are not what its records say, and how to have them made again.

A record holds the size of each file that it vouches for, and of tables a CRC-32. Sizes are looked at
before anything is done, a listing a folder; the CRC by whoever reads a table (`Run.rows`).
"""

import re
from itertools import chain
from typing import Any

from curate import files
from curate.errors import CurateError, DamagedError
from curate.run.cuts import FILE as CUTS
from curate.run.directory import MANIFEST, PART_STAGES, Run, part_name
from curate.run.layout import ANNOTATED
from curate.run.verdicts import NAME as VERDICTS
from curate.run.verdicts import short_tables, vouched
from curate.schema import Stage

_DAMAGED = re.compile(r"(.*?) is damaged: ")


def short_files(run: Run, folder: str) -> dict[int, list[str]]:
    """The names of files whose size is not what the record of their part at a step says, by part."""
    sizes: dict[str, dict[str, int]] = {}
    found: dict[int, list[str]] = {}
    for index, record in run.records(folder):
        for name, held in record.wrote.items():
            where, _, base = run.path(name).rpartition("/")
            if where not in sizes:
                sizes[where] = files.sizes(where)
            if sizes[where].get(base) != held.size:
                found.setdefault(index, []).append(name)
    return found


def check_sizes(run: Run, *folders: str) -> None:
    """Raise DamagedError for the first file of these steps that is gone or of another size."""
    for folder in folders:
        for names in short_files(run, folder).values():
            raise _short(run, names[0])


def _short(run: Run, name: str) -> DamagedError:
    url = run.path(name)
    return DamagedError(url, "it is cut short" if files.exists(url) else "it is gone")


def check_content(run: Run) -> None:
    """Raise DamagedError for the first table of a part that stands and is not what was written."""
    written = (record.wrote for folder in steps(run) for _, record in run.records(folder))
    verdicts = (vouched(run),) if run.makes(Stage.DEDUP) else ()
    for wrote in chain(written, verdicts):
        for name, held in wrote.items():
            url = run.path(name)
            if held.crc32 is not None and files.exists(url):
                held.check(url, files.read_bytes(url))


def whole_files(run: Run) -> dict[str, files.Content]:
    """What small files hold that are of no single part, by name."""
    names = [files.join(stage, CUTS) for stage in PART_STAGES if run.makes(stage)]
    names += [files.join(Stage.BALANCE, x) for x in ("entries.parquet", "thresholds.json")]
    names.append(VERDICTS)
    urls = {name: run.path(name) for name in names if files.exists(run.path(name))}
    return {name: files.content_of(files.read_bytes(url)) for name, url in urls.items()}


def tables_stand(run: Run) -> bool:
    """Whether `whole_files` are what they were when the run ended; older runs do not say."""
    held = run.state().get("files")
    return held in (None, {name: list(found) for name, found in whole_files(run).items()})


def steps(run: Run) -> list[str]:
    """The folders of the steps whose parts stand in the run itself."""
    found = []
    for stage in PART_STAGES:
        if run.makes(stage):
            inner = files.join(stage, ANNOTATED)
            names = [x for x in files.names(run.path(inner)) if "." not in x]
            found += [inner, *(files.join(inner, name) for name in names), str(stage)]
    return found


def check(run: Run) -> None:
    """Raise DamagedError for the first file of a run, and of its source, that cannot be relied on.

    Sizes are looked at. Of a run that is complete no record may be missing.
    """
    if run.source:
        check(Run.to(run.source))
    check_sizes(run, *steps(run))
    if run.makes(Stage.DEDUP) and vouched(run):
        for name in short_tables(run, run.done(Stage.DEDUP)):
            raise _short(run, name)
    check_records(run)
    state = run.state()
    now = whole_files(run)
    for name, held in state.get("files", {}).items():
        if now.get(name) != files.Content(*held):
            raise DamagedError(run.path(name), "it is not what was written")
    if state.get("state") == "complete":
        _check_shards(run)


def check_records(run: Run) -> None:
    """Raise DamagedError where a run is complete and the record of a part is not there."""
    state = run.state()
    if state.get("state") != "complete":
        return
    for stage in state.get("stages", {}):
        gathers = stage in (Stage.DOWNLOAD, Stage.SCORE)
        folders = (files.join(stage, ANNOTATED), stage) if gathers else (stage,)
        for folder in folders if run.makes(Stage(stage)) else ():
            done = set(run.done(folder))
            known = {index for index, _ in run.records(folder)}
            for index in range(state["parts"]):
                if index not in known:
                    why = "it cannot be read" if index in done else "it is gone"
                    raise DamagedError(run.part(folder, index, "json"), why)


def _check_shards(run: Run) -> None:
    url = run.path(Stage.SHARDS, MANIFEST)
    if files.exists(url):
        sizes = files.sizes(run.path(Stage.SHARDS))
        for shard in files.read_document(url)["shards"]:
            if name := short_shard(shard, sizes):
                raise DamagedError(run.path(Stage.SHARDS, name), "it is cut short or gone")


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


def take_back(run: Run, folder: str, index: int, names: list[str], *, own: str) -> None:
    """Take back that a part is done at a step whose files `names` are damaged.

    Where it is the images alone, what was found out about them can still be taken over.
    """
    if ANNOTATED in folder and all(name.endswith(".tar") for name in names):
        run.retract(folder, index, own=own)
    else:
        files.remove(run.part(folder, index, "json"))


def taken_back(run: Run, folders: dict[str, str], error: CurateError) -> CurateError:
    """What to tell of an error that ended a run: a damaged file's part does not count as done now.

    `folders` are the steps of the run, each with the digest of its own settings.
    """
    found = _DAMAGED.match(str(error))
    if found is None:
        return error
    url, told = found[1], CurateError(f"{error}; the same command makes it again")
    if url.startswith(run.path("input")):
        files.remove(run.path("input", "parts.json"))
        return told
    for folder, own in folders.items():
        for index in run.done(folder) if run.makes(Stage(folder.split("/")[0])) else ():
            record = run.record(folder, index)
            names = list(record.wrote) if record else []
            for name in names or [part_name(folder, index)]:
                if run.path(name) == url:
                    take_back(run, folder, index, [name], own=own)
                    return told
    return CurateError(f"{error}{remedy(url)}")


def remedy(url: str) -> str:
    """How to have a damaged file of a run made again, as the end of a sentence; empty for others."""
    root = url.rpartition("/")[0]
    while root.rstrip("/") and not files.exists(files.join(root, "config.yaml")):
        root = root.rpartition("/")[0]
    if not root.rstrip("/") or "/" not in root:
        return ""
    name = url.removeprefix(f"{root}/")
    again = f"curate run {files.join(root, 'config.yaml')} --out {root}"
    if name == "run.json":
        return f"; what stands is gone on with by: {again}"
    if name == "revoked.parquet":
        return "; it says what was revoked from the run: put back a copy of it"
    return f"; {'remove it, and ' if files.exists(url) else ''}it is made again by: {again}"
