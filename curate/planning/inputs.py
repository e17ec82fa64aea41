"""The pool's files: which they are, what belongs to each, and in which format it is."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, NotRequired, TypedDict

from curate import files
from curate.config import Config
from curate.errors import CurateError
from curate.files import listing
from curate.formats import AUTO, FORMATS, KNOWN, ending, format_of, named_format
from curate.planning.sniffing import formats_of, told_formats
from curate.planning.spreading import Over, here, waited_for
from curate.pool.articles import MEMBERS, bundles
from curate.pool.pictures import TEXTS, parted, shared_folder, sizes_of
from curate.pool.rows import PoolFormat
from curate.pool.samples import ENDINGS
from curate.pool.tables import reader_of

_OF_PICTURES = ENDINGS | TEXTS.keys()


def pool_format(config: Config) -> PoolFormat:
    """How the configured input is read."""
    columns = config.input.columns
    keep = tuple(columns.kept.items())
    names = {key: x and str(x) for key, x in columns.model_dump(exclude={"keep", "tags"}).items()}
    tags = (columns.tags.column, columns.tags.separator) if columns.tags else None
    return PoolFormat(config.input.format, **names, keep=keep, tags=tags, headless=columns.by_place,
                      image_folders=tuple(map(files.absolute, config.input.image_folders)))  # fmt: skip


class Input(TypedDict):
    """A file of the pool as run.json records it."""

    name: str  # what is left of the path without the folders that all share
    path: str
    format: str  # empty where neither name nor content tells it
    bytes: int
    digest: str
    rows: NotRequired[int]  # known once the file is split into parts
    wave: NotRequired[int]  # with which addition it came; see `curate.planning.growing`
    reader: NotRequired[str]  # the version of a reader that users wrote


class PoolFile(NamedTuple):
    """A file of the pool."""

    path: str
    companions: list[str]  # the tar or folder of images that belongs to it; the files of pictures
    format: str  # empty where neither name nor content tells it


@dataclass(frozen=True)
class Pool:
    """The files of a pool, in order, and what lies beside them."""

    files: tuple[PoolFile, ...]
    notes: tuple[str, ...]  # what was left out of folders, a line for each of `input.paths`
    names: tuple[str, ...] = ()  # of the files, where a run has given them


def find_pool(config: Config) -> Pool:
    """The files that `input.paths` stand for.

    A file comes once, where the first of `input.paths` matches it; with its images if any of them
    matches these too, which then are no files of the pool. What lies in the run directory is none
    either, nor what lies in a folder and is of no format that is read; a file that is named itself is
    taken in any case. A folder of pictures is one file of the pool.

    Raises
    ------
    CurateError
        Naming the path of which nothing is there, or nothing that can be read.
    """
    columns = config.input.columns
    form = PoolFormat(
        config.input.format, str(columns.url), str(columns.caption), headless=columns.by_place
    )
    own = files.spelt(files.absolute(config.out)).rstrip("/") + "/" if config.out else None
    found: dict[str, PoolFile] = {}  # by the one spelling of the path
    folders: dict[str, PoolFile] = {}  # of pictures, likewise
    placed: set[str] = set()  # the files of these
    notes: list[str] = []
    for pattern in config.input.paths:
        listed = listing.find(files.absolute(pattern))
        everything = {x: files.spelt(x) for x in listed.files}
        paths = [x for x, one in everything.items() if own is None or not one.startswith(own)]
        if everything and not paths:
            raise CurateError(
                f"input.paths: {pattern}: all that is there lies in the run directory {config.out},"
                " which is no pool of itself; give another --out"
            )
        pooled = _with_companions(paths, asked=form.format)
        others: set[str] = set()
        pictures: list[str] = []
        captions = _captions(paths) if form.format == AUTO and not listed.named else set()
        if format_of(form.format).is_folder or (captions and not _has_tables(pooled)):
            kind = "images" if form.format == AUTO else form.format
            pictures = [path for path in paths if _is_member(path, kind)]
            others, pooled = set(paths).difference(pictures), []
            root = _root(pictures, files.absolute(pattern))
            folder = folders.setdefault(files.spelt(root), PoolFile(root, [], kind))
            folder.companions.extend(x for x in pictures if everything[x] not in placed)
            placed.update(everything[x] for x in pictures)
        elif not listed.named:
            loose = [x.path for x in pooled if not x.companions and x.path not in captions]
            formats = told_formats(loose, pool=form)
            others = captions | set(loose).difference(formats)
            pooled = [
                one._replace(format=one.format or formats.get(one.path, ""))
                for one in pooled
                if one.path not in others
            ]
        left_out = [
            _counted(len(links), name, links)
            for name, links in (("file of no known format", sorted(others)),
                                ("link that leads nowhere", listed.broken)) if links
        ]  # fmt: skip
        if not pooled and not pictures:
            told = f"; there are {' and '.join(left_out)}" if left_out else ""
            hint = (
                f"; name the file itself, or set input.format to one of {KNOWN}" if others else ""
            )
            nothing = listing.nothing_at(pattern) if not left_out else "nothing to read in it"
            raise CurateError(f"input.paths: {pattern}: {nothing}{told}{hint}")
        if left_out:
            notes.append(f"{pattern}: left out {' and '.join(left_out)}")
        for one in pooled:
            if everything[one.path] not in found or one.companions:
                found[everything[one.path]] = one
    images = {files.spelt(x) for one in found.values() for x in one.companions}
    pool = [one for spelt, one in found.items() if spelt not in images]
    formats = formats_of([one.path for one in pool if not one.format], pool=form)
    pool = [one._replace(format=one.format or formats[one.path]) for one in pool]
    gathered = (one for folder in folders.values() for one in _split(folder))
    return Pool((*pool, *gathered), tuple(notes))


def _is_member(path: str, form: str) -> bool:
    """Whether a file belongs to a folder of this format."""
    return ending(path) in MEMBERS if form == "jats" else parted(path)[1] in _OF_PICTURES


def _split(folder: PoolFile) -> Iterator[PoolFile]:
    """A folder as one file of the pool; one of very many articles as several, called by their first."""
    if folder.format != "jats":
        several = [folder.companions] if folder.companions else []
    else:
        several = list(bundles(folder.companions))
    for members in several:
        path = folder.path if len(several) == 1 else members[0]
        yield PoolFile(path, members, folder.format)


def _captions(paths: list[str]) -> set[str]:
    """The files that are texts beside a picture of their name."""
    known = [(path, *parted(path)) for path in paths]
    pictures = {key for _, key, ending in known if ending in ENDINGS}
    return {path for path, key, ending in known if ending in TEXTS and key in pictures}


def _has_tables(pooled: list[PoolFile]) -> bool:
    return any(one.companions or named_format(one.path) for one in pooled)


def _root(paths: list[str], pattern: str) -> str:
    """The folder that a pattern names, else the one that all of the files are in."""
    folder = pattern.rstrip("/")
    if all(path.startswith(f"{folder}/") for path in paths):
        return folder
    return shared_folder(paths)


def _counted(n: int, what: str, paths: Sequence[str]) -> str:
    """So many of what, with a few of their names.

    >>> _counted(2, "file of no known format", ["x/README.md", "x/a.lock"])
    '2 files of no known format (README.md, a.lock)'
    """
    names = ", ".join(path.rsplit("/", 1)[-1] for path in paths[:3])
    first, _, rest = what.partition(" ")
    if n > 1 and rest.endswith("leads nowhere"):
        rest = rest.replace("leads", "lead")
    return f"{n:,} {first}{'s' * (n > 1)} {rest} ({names}{', …' * (n > 3)})"


def check_readers(pool: Pool) -> None:
    """Raise a CurateError with what to install, if a file of the pool cannot be read without it."""
    for form, path in {one.format: one.path for one in reversed(pool.files)}.items():
        reader_of(form).check_installed(f"input.paths: {path}: reading {form.upper()} files")


class Known(NamedTuple):
    """What is known of a file of the pool."""

    bytes: int
    written: int  # when, in nanoseconds; 0 where that is not known
    digest: str


@dataclass(frozen=True)
class Contents:
    """Bytes and digest of each file of a pool that is looked into."""

    known: Mapping[str, Known]  # by URL

    @classmethod
    def of(
        cls, pool: Pool, *, before: Mapping[str, Known] | None = None, over: Over = here
    ) -> "Contents":
        """Those of `pool`; taken over from `before` where a file was not written since."""
        urls = [
            url
            for path, companions, form in pool.files
            if not format_of(form).is_folder
            for url in (path, *filter(_is_tar, companions))
        ]
        stamps = dict(zip(urls, stamps_of(urls), strict=True))
        known = {
            url: one
            for url, one in (before or {}).items()
            if one.written and (one.bytes, one.written) == stamps.get(url)
        }
        new = [url for url in urls if url not in known]
        local = [url for url in new if files.local_path(url) is not None]
        stored = [url for url in new if files.local_path(url) is None]  # a store knows the digest
        weight = sum(stamps[url][0] for url in local)
        read = over(
            files.content_digest, local, what="digests of the pool's files", weight=weight,
            keys=[files.digest_of("content", url, stamps[url]) for url in local],
        )  # fmt: skip
        found = [*zip(local, read, strict=True)]
        found += zip(stored, waited_for(files.content_digest, stored), strict=True)
        return cls(
            known | {url: Known(stamps[url][0], stamps[url][1], digest) for url, digest in found}
        )


def stamps_of(urls: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Bytes of each file and when it was written; on a store, that of many at once."""
    near = all(files.local_path(url) is not None for url in urls)
    return map(files.stamp, urls) if near else waited_for(files.stamp, urls)


def find_inputs(pool: Pool, contents: Contents | None = None) -> tuple[Input, ...]:
    """The files of the pool, in order; their rows are not counted.

    `contents` are those of the files, where they are known already.
    """
    contents = contents or Contents.of(pool)
    found: list[Input] = []
    # Of images in a folder the sizes have to do: there may be millions of them.
    folders = [
        x
        for _, beside, form in pool.files if not format_of(form).is_folder
        for x in beside if not _is_tar(x)
    ]  # fmt: skip
    listed = dict(zip(folders, waited_for(files.sizes, folders), strict=True))
    for name, (path, companions, form) in zip(names_of(pool), pool.files, strict=True):
        if format_of(form).is_folder:  # neither are these read here: there may be millions of them
            sizes = sizes_of(companions)
            root = path if path not in sizes else shared_folder(companions)
            named = [[x.removeprefix(root), size] for x, size in sorted(sizes.items())]
            found.append({"name": name, "path": path, "format": form, "bytes": sum(sizes.values()),
                          "digest": files.digest_of(named)})  # fmt: skip
            continue
        content = [path, *filter(_is_tar, companions)]
        digests = [contents.known[url].digest for url in content]
        digests += [files.digest_of(listed[x]) for x in companions if not _is_tar(x)]
        found.append(
            {
                "name": name, "path": path, "format": form,
                "bytes": sum(contents.known[url].bytes for url in content),
                "digest": digests[0] if len(digests) == 1 else files.digest_of(digests),
            }
        )  # fmt: skip
    return tuple(found)


def names_of(pool: Pool) -> list[str]:
    """The names of the files of a pool: where no run has given them, what all paths do not share."""
    shared = shared_folder([path for path, _, _ in pool.files]) + "/"
    return [*pool.names] or [path.removeprefix(shared) for path, _, _ in pool.files]


def _is_tar(path: str) -> bool:
    return path.endswith(".tar")


def _with_companions(paths: list[str], *, asked: str) -> list[PoolFile]:
    """The files of a pool where the format `asked` was asked for, each with what belongs to it.

    Those that have such companions have their format, too.
    """
    pooled = {path: PoolFile(path, [], "") for path in paths}
    for name in (name for name, form in FORMATS.items() if form.companions):
        images, taken = reader_of(name).companions(paths, asked=asked)
        pooled |= {path: PoolFile(path, beside, name) for path, beside in images.items()}
        pooled = {path: one for path, one in pooled.items() if path not in taken}
    return list(pooled.values())
