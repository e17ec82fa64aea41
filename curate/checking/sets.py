"""Which tars are to be checked, and what the lists beside them say of each."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from curate import files
from curate.checking.kinds import Kind, Problem
from curate.checking.task import Beside, Claim, Task
from curate.errors import CurateError
from curate.files import listing
from curate.files.content import TEMPORARY
from curate.rundir.directory import MANIFEST, SIZES, Run
from curate.rundir.held import HELD
from curate.rundir.shards import ENERGON, WIDS
from curate.schema import Stage

ENDINGS = ("_stats.json", ".parquet", ".tar.idx", ".tar")
"""Of a tar and the files beside it."""
LISTS = (MANIFEST, SIZES, WIDS, ENERGON)
"""Lists of the tars of a folder."""
_INFO = ".info.json"


@dataclass
class Set:
    """Tars, and what is wrong with the lists of them."""

    root: str
    tasks: list[Task] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    run: Run | None = None  # of which these are the shards


def find(paths: list[str]) -> Set:
    """The shards of a run, of folders, or those that are named.

    Raises
    ------
    CurateError
        Where there is no tar.
    """
    if len(paths) == 1 and files.exists(files.join(paths[0], "run.json")):
        run = Run.at(paths[0])
        folder = run.path(Stage.SHARDS)
        found = Set(folder, run=run)
        _add_folder(found, folder, _tars(folder), whole=True)
        return found
    whole: set[str] = set()
    tars: list[str] = []
    for path in paths:
        where = files.absolute(path)
        listed = listing.find(where)
        own = [one for one in listed.files if listed.named or one.endswith(".tar")]
        if not own:
            is_there = listed.files or is_folder(where)
            nothing = "no .tar in it" if is_there else listing.nothing_at(path)
            raise CurateError(f"{path}: {nothing}")
        tars += own
        if not listed.named and not any(x in path for x in "*?["):
            whole |= {one.rpartition("/")[0] for one in own}
    tars = list(dict.fromkeys(tars))
    folders = list(dict.fromkeys(one.rpartition("/")[0] for one in tars))
    found = Set(_common(folders))
    for folder in folders:
        some = sorted(one for one in tars if one.rpartition("/")[0] == folder)
        _add_folder(found, folder, some, whole=folder in whole)
    return found


def is_folder(url: str) -> bool:
    """Whether there is a folder at `url`."""
    fs, path = files.file_system(url)
    return bool(fs.isdir(path))


def _tars(folder: str) -> list[str]:
    return [files.join(folder, name) for name in files.names(folder) if name.endswith(".tar")]


def _common(folders: list[str]) -> str:
    """The folder that all of these are in."""
    parts = [one.split("/") for one in folders]
    n = next((n for n, x in enumerate(zip(*parts, strict=False)) if len({*x}) > 1), None)
    return "/".join(parts[0][: min(map(len, parts)) if n is None else n])


@dataclass
class _Lists:
    """What the lists of a folder say, by the names of the tars."""

    claims: dict[str, list[Claim]] = field(default_factory=dict)
    beside: dict[str, list[Beside]] = field(default_factory=dict)
    listed: dict[str, list[str]] = field(default_factory=dict)  # a file: the lists that name it
    complete: list[str] = field(default_factory=list)  # lists that have to name each tar
    indexes: set[str] = field(default_factory=set)  # those of them that loaders make

    def claim(self, name: str, claim: Claim) -> None:
        """Note what a list says of a tar."""
        self.claims.setdefault(name, []).append(claim)
        self.listed.setdefault(name, []).append(claim.by)


def _add_folder(found: Set, folder: str, tars: list[str], *, whole: bool) -> None:
    """Add the tars of a folder; of a `whole` one also files that are missing or that no list names."""
    stands = files.listed(folder)
    sizes = dict(zip(stands["name"].to_pylist(), stands["size"].to_pylist(), strict=True))
    names = {*sizes}
    prefix = folder.removeprefix(found.root).lstrip("/")
    prefix = f"{prefix}/" if prefix else ""
    lists = _Lists()
    for name, read in zip(LISTS, (_manifest, _sizes, _wids, _energon), strict=True):
        if name in names:
            try:
                read(folder, lists)
            except (CurateError, OSError, KeyError, TypeError, ValueError, AttributeError) as error:
                what = str(error).removeprefix(f"{files.join(folder, name)} ")
                found.problems.append(Problem(Kind.UNREADABLE, prefix + name, what=what))
    in_set = {tar.rpartition("/")[2] for tar in tars}
    with_table = sum(f"{x.removesuffix('.tar')}.parquet" in names for x in in_set)
    for tar in tars:
        name = tar.rpartition("/")[2]
        stem = name.removesuffix(".tar")
        claims = lists.claims.get(name, [])
        if f"{name}.idx" in names:  # Energon's: the offset of each sample, and where they end
            pairs = (sizes[f"{name}.idx"] or 0) // 8 - 1
            claims = [*claims, Claim(f"{name}.idx", pairs, kind=Kind.STALE_INDEX)]
        is_alone = f"{stem}.parquet" not in names and 2 * with_table > len(in_set)
        task = Task(
            tar, prefix + name, tuple(claims), tuple(lists.beside.get(name, ())),
            stats=f"{stem}_stats.json" in names, table=f"{stem}.parquet" in names,
            lacks_table=is_alone, size=sizes.get(name) or 0,
        )  # fmt: skip
        found.tasks.append(task)
        if is_alone and MANIFEST not in names:
            found.problems.append(Problem(Kind.TABLE_MISSING, prefix + stem + ".parquet"))
    if whole:
        found.problems += _strays(names, lists, prefix)


def _strays(names: set[str], lists: _Lists, prefix: str) -> Iterator[Problem]:
    """Files that lists name and are not there, and those that are there and in no list."""
    for name, by in lists.listed.items():
        if name not in names:
            kind = Kind.STALE_INDEX if lists.indexes.issuperset(by) else Kind.MISSING_FILE
            yield Problem(kind, prefix + name, what=f"it is in {', '.join(dict.fromkeys(by))}")
    tars = {name for name in names if name.endswith(".tar")}
    for name in sorted(names):
        if name.endswith(TEMPORARY) or (name == HELD and MANIFEST in names):
            yield Problem(
                Kind.UNLISTED_FILE, prefix + name, what="a command left it that was killed"
            )
        ending = next((x for x in ENDINGS if name.endswith(x)), None)
        if ending is None or (MANIFEST not in names and name.endswith(".parquet")):
            continue
        tar = f"{name.removesuffix(ending)}.tar"
        if tar == name:
            missing = [x for x in lists.complete if x not in lists.listed.get(name, ())]
            if missing:
                kind = Kind.STALE_INDEX if lists.indexes.issuperset(missing) else Kind.UNLISTED_FILE
                yield Problem(kind, prefix + name, what=f"it is not in {', '.join(missing)}")
        elif tar not in tars and tar not in lists.listed:
            yield Problem(Kind.MISSING_FILE, prefix + tar, what=f"{name} is of it")


def _manifest(folder: str, lists: _Lists) -> None:
    document = files.read_document(files.join(folder, MANIFEST))
    lists.complete.append(MANIFEST)
    for one in document["shards"]:
        tar = f"{one['name']}.tar"
        lists.claim(tar, Claim(MANIFEST, one["pairs"], one["bytes"], one["sha256"]))
        for key, ending in (("parquet", ".parquet"), ("stats", "_stats.json")):
            if one.get(key):
                name = one["name"] + ending
                lists.listed.setdefault(name, []).append(MANIFEST)
                beside = lists.beside.setdefault(tar, [])
                beside.append(Beside(MANIFEST, name, files.Content(*one[key])))


def _sizes(folder: str, lists: _Lists) -> None:
    document = files.read_json(files.join(folder, SIZES))
    lists.complete.append(SIZES)
    for name, pairs in document.items():
        lists.claim(name, Claim(SIZES, int(pairs)))


def _wids(folder: str, lists: _Lists) -> None:
    document = files.read_json(files.join(folder, WIDS))
    if not isinstance(document, dict) or "shardlist" not in document:
        return  # some other file of this name
    lists.complete.append(WIDS)
    lists.indexes.add(WIDS)
    for one in document["shardlist"]:
        pairs, size, sha256, md5 = (
            one.get(x) for x in ("nsamples", "filesize", "sha256", "md5sum")
        )
        claim = Claim(WIDS, pairs, size, sha256 or None, md5 or None, Kind.STALE_INDEX)
        lists.claim(str(one["url"]).rpartition("/")[2], claim)


def _energon(folder: str, lists: _Lists) -> None:
    url = files.join(folder, ENERGON, _INFO)
    if not files.exists(url):
        return  # an older one has YAML, and counts that it makes again itself
    by = f"{ENERGON}/{_INFO}"
    lists.complete.append(by)
    lists.indexes.add(by)
    for name, pairs in files.read_json(url)["shard_counts"].items():
        lists.claim(name, Claim(by, int(pairs), kind=Kind.STALE_INDEX))
