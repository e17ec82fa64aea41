"""Readers of what entry lists are made of. Each streams: a file is never in memory as a whole."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate import files
from curate.errors import CurateError
from curate.files.unpacking import open_unpacked
from curate.formats import format_of, named_format
from curate.metadata.counts import SPACE
from curate.pool.lines import NOT_UTF8, Utf8
from curate.pool.rows import PoolFormat
from curate.pool.tables import column_kinds, read_batches

_BLOCK = 8 << 20
_POS = ("noun", "verb", "adj", "adv")

COUNTED = r"^(?P<entry>.*\S)[\t ,](?P<count>[0-9]{1,18})$"
PAIRS = r"^(?P<before>[^\s,]+)[\t ,](?P<after>[^\s,]+)[\t ,](?P<count>[0-9]{1,18})$"
VIEWS = r"^(?P<domain>\S+) (?P<title>\S+) (?P<views>[0-9]{1,18}) [0-9]+$"


@contextmanager
def _readable(path: str, kind: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, EOFError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CurateError(f"{path}: cannot be read as {kind}: {reason}") from None


def lines(path: str) -> Iterator[pa.LargeStringArray]:
    """The lines of a text file, packed or not, each with its line end.

    A line that is no text (`curate.files.texts`) is there, but empty.
    """
    with _readable(path, "text"), open_unpacked(path) as file:
        source = Utf8(file)
        rest = b""
        while True:
            block = source.read(_BLOCK)
            whole, end, rest = (rest + block).rpartition(b"\n") if block else (rest, b"", b"")
            if whole or end:
                yield _lines_of(whole + end)
            if not block:
                break
        if source.broken:
            raise source.broken


def _lines_of(content: bytes) -> pa.LargeStringArray:
    bad = NOT_UTF8.encode()
    if bad in content:
        lines = content.splitlines(keepends=True)
        content = b"".join(b"\n" if bad in line else line for line in lines)
    stops = np.flatnonzero(np.frombuffer(content, np.uint8) == 10) + 1
    if not len(stops) or stops[-1] != len(content):
        stops = np.append(stops, len(content))
    offsets = np.concatenate([[0], stops]).astype(np.int64)
    return pa.LargeStringArray.from_buffers(
        len(stops), pa.py_buffer(offsets), pa.py_buffer(content)
    )


@dataclass
class Rows:
    """The rows of a file that a pattern fits, and how many lines it did not fit."""

    path: str
    pattern: str
    skipped: int = 0

    def __iter__(self) -> Iterator[pa.StructArray]:
        """Structs of strings, a field a group of the pattern."""
        read = 0
        for block in lines(self.path):
            found = pc.extract_regex(pc.ascii_trim_whitespace(block), self.pattern)
            self.skipped += found.null_count
            read += len(found) - found.null_count
            yield found.drop_null()
        if not read:
            groups = " ".join(re.findall(r"\?P<(\w+)>", self.pattern))
            raise CurateError(f"{self.path}: no line of it reads: {groups}")


def counted(rows: Rows) -> Iterator[tuple[pa.Array, pa.Array]]:
    """Entries and counts of lines ``entry<TAB>count``; a space or a comma may stand for the tab."""
    for block in rows:
        yield block.field("entry"), block.field("count").cast(pa.int64())


def pairs(rows: Rows) -> Iterator[tuple[pa.Array, pa.Array]]:
    """Pairs, joined by a space, and counts of lines ``word word count``."""
    for block in rows:
        joined = pc.binary_join_element_wise(block.field("before"), block.field("after"), SPACE)
        yield joined, block.field("count").cast(pa.int64())


def pageviews(
    rows: Rows, *, domains: tuple[str, ...], min_row_views: int
) -> Iterator[tuple[pa.Array, pa.Array]]:
    """Titles (spaces for underscores) and views of pageview rows ``domain title views bytes``.

    Rows of other domains, with fewer views or with a colon in the title are left out.
    """
    for block in rows:
        views = block.field("views").cast(pa.int64())
        wanted = pc.and_(
            pc.is_in(block.field("domain"), value_set=pa.array(domains, pa.large_string())),
            pc.greater_equal(views, min_row_views),
        )
        titles = block.field("title")
        wanted = pc.and_(wanted, pc.invert(pc.match_substring(titles, ":")))
        yield pc.replace_substring(titles.filter(wanted), "_", " "), views.filter(wanted)


class TitleKind(StrEnum):
    """How a file of titles reads."""

    PLAIN = "plain"
    COUNTED = "counted"
    PAGEVIEWS = "pageviews"


def title_kind(path: str) -> TitleKind:
    """Told from the first line: a pageview row, ``title<TAB>views``, or a title."""
    first = next((block[0].as_py().strip() for block in lines(path)), "")
    if re.match(VIEWS, first):
        return TitleKind.PAGEVIEWS
    return TitleKind.COUNTED if re.match(r"^.+\t[0-9]+$", first) else TitleKind.PLAIN


def plain(path: str) -> Iterator[pa.Array]:
    """The lines of a plain list without their ends and the white space around; blank ones left out."""
    for block in lines(path):
        trimmed = pc.utf8_trim_whitespace(block)
        yield trimmed.filter(pc.greater(pc.binary_length(trimmed), 0))


def wordnet(path: str, *, synset_names: bool) -> list[str]:
    """Entries of a WordNet: a folder of Princeton database files, a ``.tab`` file, or a plain list.

    Underscores become spaces. Of the database, `synset_names` takes the first lemma of each synset,
    lower case and up to a period, as MetaCLIP does with NLTK's names (WordNet 3.0: 86,554 names);
    otherwise all lemmas of its index (147,306). A ``.tab`` file is one of the Open Multilingual
    WordNet: ``synset<TAB>type<TAB>lemma``, type ``lemma`` or ``xxx:lemma``.
    """
    if not _is_folder(path):
        return _tab_or_list(path)
    names = files.names(path)
    prefix = "data" if synset_names else "index"
    wanted = [f"{prefix}.{pos}" for pos in _POS]
    missing = [name for name in wanted if name not in names]
    if missing:
        raise CurateError(
            f"{path}: no {missing[0]} in it; expected the folder of WordNet's database files"
        )
    found: dict[str, None] = {}
    for name in wanted:
        for block in lines(files.join(path, name)):
            for line in block.to_pylist():
                if line.startswith("  ") or not line.strip():  # the licence
                    continue
                if synset_names:
                    lemma = line.split(" ", 5)[4].partition("(")[0].lower().partition(".")[0]
                else:
                    lemma = line.partition(" ")[0]
                found[lemma.replace("_", " ")] = None
    return [lemma for lemma in found if lemma]


def wordnet_files(path: str, *, synset_names: bool) -> list[str]:
    """The files that `wordnet` reads."""
    if not _is_folder(path):
        return [path]
    return [files.join(path, f"{'data' if synset_names else 'index'}.{pos}") for pos in _POS]


def _is_folder(path: str) -> bool:
    return files.names(path) not in ([], [os.path.basename(path)])


def wordnet_licence(path: str) -> str | None:
    """What the database files say their licence is."""
    if "data.noun" not in files.names(path):
        return None
    with files.open_read(files.join(path, "data.noun")) as file:
        head = file.read(4000).decode(errors="replace")
    found = re.search(r"WordNet ([0-9.]+) Copyright", head)
    return f"WordNet {found[1]} licence (Princeton University)" if found else None


def _tab_or_list(path: str) -> list[str]:
    found: dict[str, None] = {}
    for block in plain(path):
        for line in block.to_pylist():
            fields = line.split("\t")
            if len(fields) == 1 and not line.startswith("#"):
                found[line] = None
            elif len(fields) >= 3 and re.fullmatch(r"(\w+:)?lemma", fields[1]):
                found[fields[2].strip().replace("_", " ")] = None
    if not found:
        raise CurateError(f"{path}: no entry in it; expected a lemma a line or an OMW .tab file")
    return list(found)


def texts(path: str, *, column: str) -> Iterator[pa.LargeStringArray]:
    """The captions of a pool's file: `column` where its name tells a format, else each line of it.

    Rows that cannot be read are left out.
    """
    form = named_format(path)
    if not form:
        yield from lines(path)
        return
    pool = PoolFormat(form, url=column, caption=column)
    names = column_kinds(path, pool=pool)
    if format_of(form).is_table and column not in names:
        raise CurateError(
            f"{path}: no column {column!r} among {', '.join(names) or 'none'};"
            " name the right one in --caption-column"
        )
    for table in read_batches(path, pool=pool):
        captions = table.filter(pc.is_null(table["error"]))["caption"]
        yield captions.combine_chunks().cast(pa.large_string())
