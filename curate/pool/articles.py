"""Articles of PubMed Central's open-access set as pools: each figure a pair with its caption.

A package is a tar, packed or not, with a folder an article: its ``.nxml`` and its images; or these
folders themselves. Images are read where they lie. What packages hold beside is left where it is.
"""

import posixpath
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from tarfile import TarError
from typing import IO

import pyarrow as pa

from curate.errors import CurateError
from curate.files.unpacking import open_unpacked, seekable
from curate.formats import ending
from curate.pool.jats import ARTICLE_BYTES, Article, Figure, image_names, read_article
from curate.pool.pictures import shared_folder, sizes_of
from curate.pool.reader import Reader, Source
from curate.pool.rows import BROKEN, ENDLESS, PoolFormat, is_of_file, pool_table
from curate.pool.samples import ENDINGS, archive_members
from curate.pool.stored import Place
from curate.reasons import DropReason, ErrorCode
from curate.schema import POOL

PACKAGES = frozenset(["tar", "tgz"])
MEMBERS = ENDINGS | PACKAGES | {"nxml"}
"""The endings of the files that articles are made of."""
KINDS: dict[str, str | None] = dict.fromkeys(
    ("article", "pmid", "doi", "title", "license", "figure", "label", "mentions"), "string"
)
"""The columns that a figure has beside its image and its caption."""

_LONGEST = 4_096  # characters of a path in a package; what is longer is left where it is
_ROWS = 2_000  # a table
_UNITS = 2_000  # packages, or folders of articles, that are read as one file of the pool


@dataclass
class _Contents:
    """What is in a package, by paths in it: where its articles and its images lie."""

    articles: dict[str, Place] = field(default_factory=dict)
    images: dict[str, Place] = field(default_factory=dict)


def bundles(paths: Iterable[str]) -> Iterator[list[str]]:
    """Files of articles in groups that are read one by one: of `_UNITS` packages or folders each."""
    units = iter(_units(paths))
    while some := list(islice(units, _UNITS)):
        yield [path for unit in some for path in unit]


def _units(paths: Iterable[str]) -> list[list[str]]:
    """Each package by itself; the files of a folder with an article, and of those in it, together."""
    packages: list[str] = []
    loose: list[str] = []
    for path in sorted(paths):
        (packages if ending(path) in PACKAGES else loose).append(path)
    homes = {path.rpartition("/")[0] for path in loose if ending(path) == "nxml"}
    folders: dict[str, list[str]] = defaultdict(list)
    for path in loose:
        home = path.rpartition("/")[0]
        while home and home not in homes:
            home = home.rpartition("/")[0]
        if home:  # an image far from any article belongs to none
            folders[home].append(path)
    return sorted([*([path] for path in packages), *folders.values()])


class _Jats(Reader):
    def kinds(self, source: Source, *, pool: PoolFormat) -> dict[str, str | None]:
        return dict(KINDS)

    def tables(self, source: Source, *, pool: PoolFormat) -> Iterator[pa.Table]:
        """The figures of articles, package by package in the order of their paths.

        The URL of a figure is ``file:///ARTICLE/NAME``, never fetched: the PMC id, else another id of
        the article or the name of its file, and the name of the image. An article that cannot be read
        is an unreadable row, as is a package; a figure of which there is no file has the error
        `DropReason.NO_IMAGE_FILE`.
        """
        rows = (row for unit in _units(source.members or [source.path]) for row in _read(unit))
        while some := list(islice(rows, _ROWS)):
            found = pool_table(**{x: [row.get(x) for row in some] for x in POOL.names})
            kept = pa.schema([(name, pa.string()) for name, _ in pool.keep])
            columns = pa.table([[row.get(x) for row in some] for x in kept.names], kept)
            yield pool.keeping(found, columns, path=source.path)


JATS = _Jats()
"""Reads packages and folders of articles."""

Row = dict[str, object]


def _read(unit: Sequence[str]) -> Iterator[Row]:
    """The rows of a package, or of a folder with articles."""
    is_package = len(unit) == 1 and ending(unit[0]) in PACKAGES
    where = unit[0] if is_package else shared_folder(unit)
    try:
        with ExitStack() as opened:
            package = opened.enter_context(seekable(where)) if is_package else None
            try:
                found = _packed(package, where) if package else _unpacked(unit, where)
            except TarError as error:
                raise ValueError(f"no tar that can be read: {_first_line(error)}") from None
            if not found.articles:
                raise ValueError("there is no article (.nxml) in it")
            homes = _by_folder(found)
            for name, place in sorted(found.articles.items()):
                try:
                    article = read_article(_content(package, place))
                except (ValueError, LookupError, RecursionError) as error:
                    yield _broken(f"{where}: {name}: {_first_line(error)}")
                    continue
                folder, file = posixpath.split(name)
                stem = file.rpartition(".")[0] or file
                called = article.pmc or article.pmid or article.doi or stem
                for figure in article.figures:
                    yield _row(article, figure, homes[folder], called=called)
    except (*BROKEN, CurateError) as error:
        if not is_of_file(error):
            raise
        yield _broken(f"{where}: {_first_line(error).removeprefix(f'{where}: ')}")


@dataclass
class _Images:
    """The images in the folder of an article, by their paths in it."""

    places: dict[str, Place] = field(default_factory=dict)

    def find(self, graphic: str) -> tuple[Place | None, str]:
        """Where the image of a graphic lies, and its name; None of one that is not there."""
        names = list(image_names(graphic))
        for name in names:
            if name in self.places:
                return self.places[name], name
        for name in names:
            if found := self._folded.get(name.lower()):
                return self.places[found], found
        return None, names[0] if names else graphic

    @cached_property
    def _folded(self) -> dict[str, str]:
        """The names as they are, by what they are in lower case."""
        return {name.lower(): name for name in reversed(self.places)}


def _by_folder(found: _Contents) -> dict[str, _Images]:
    """The images of each folder with an article: those of the folders in it as well."""
    homes = {posixpath.split(name)[0]: _Images() for name in found.articles}
    for name, place in found.images.items():
        folder, inner = posixpath.split(name)
        while True:
            if folder in homes:
                homes[folder].places.setdefault(inner, place)
            if not folder:
                break
            folder, below = posixpath.split(folder)
            inner = f"{below}/{inner}"
    return homes


def _content(package: IO[bytes] | None, place: Place) -> bytes:
    """The content of an article; a ValueError where it is too long."""
    if package is not None:
        package.seek(place.offset)
        content = package.read(min(place.size, ARTICLE_BYTES + 1))
    else:
        with open_unpacked(place.file) as file:
            content = file.read(ARTICLE_BYTES + 1)
    if len(content) > ARTICLE_BYTES:
        raise ValueError(f"it has over {ARTICLE_BYTES >> 20} MB")
    return content


def _row(article: Article, figure: Figure, images: _Images, *, called: str) -> Row:
    place, name = images.find(figure.graphic)
    if len((figure.caption or "").encode()) > ENDLESS:
        detail = f"{called}: {figure.figure or name}: a caption of over {ENDLESS:,} bytes"
        return {"error": str(ErrorCode.BAD_ROW), "detail": detail}
    row: Row = {
        "url": f"file:///{called}/{name}",
        "caption": figure.caption,
        "article": article.pmc,
        **{x: getattr(article, x) for x in ("pmid", "doi", "title", "license")},
        **{x: getattr(figure, x) for x in ("figure", "label", "mentions")},
    }
    if place is None:
        return row | {"error": str(DropReason.NO_IMAGE_FILE), "detail": figure.graphic}
    return row | place._asdict()


def _packed(package: IO[bytes], path: str) -> _Contents:
    found = _Contents()
    for _, member in archive_members(package):
        name = posixpath.normpath(member.name).lstrip("/")
        place = Place(path, member.offset_data, member.size)
        kind = ending(name)
        if not member.isreg() or member.issparse() or len(name) > _LONGEST:
            continue
        if kind in PACKAGES:
            raise ValueError(f"it holds packages, such as {name}: unpack it first")
        if kind in ENDINGS:
            found.images[name] = place
        elif kind == "nxml":
            found.articles[name] = place
    return found


def _unpacked(paths: Sequence[str], where: str) -> _Contents:
    found = _Contents()
    for path, size in sizes_of(paths).items():
        of_kind = found.articles if ending(path) == "nxml" else found.images
        of_kind[path.removeprefix(f"{where}/")] = Place(path, 0, size)
    return found


def _broken(detail: str) -> Row:
    return {"error": str(ErrorCode.UNREADABLE_FILE), "detail": detail}


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0] or type(error).__name__
