"""The formats of a pool: how the files of each are told, and what reads them.

A format is a row of `FORMATS` and a reader (`curate.pool.reader`). The configuration, the pool's files,
evaluation sets and the sources of entry lists go by this table. Users add their own: a format that is
called ``MODULE:NAME`` is read by what that names (`curate.pool.own`).
"""

import re
from dataclasses import dataclass

from curate import files
from curate.files.unpacking import ENDINGS, Unpacked, open_unpacked

_HEAD = 512  # bytes
_ONE_DOCUMENT = 4 << 20  # bytes, at most
_BLOCK = 1 << 16


@dataclass(frozen=True)
class Format:
    """What is known of a format before a file of it is opened."""

    reader: str  # MODULE:NAME, loaded where a file is read
    endings: tuple[str, ...] = ()  # of the names of its files, without that of a packing
    told: bool = True  # these endings mean this format where none is asked for
    begins: bytes = b""  # a pattern of the first bytes of its files
    loose: bool = False  # a column may come up in any row, not only in the first ones
    is_table: bool = True  # of columns that `input.columns` names, and nothing beside them
    brings_images: bool = False  # in its files, or beside them
    names_pairs: bool = False  # a pair without a URL has one made of the file's name
    is_folder: bool = False  # all files of a folder are one of the pool's
    companions: bool = False  # other files may belong to one of this format


FORMATS = {
    "parquet": Format("curate.pool.columnar:PARQUET", ("parquet", "pq"), begins=b"PAR1"),
    "csv": Format("curate.pool.separated:CSV", ("csv",)),
    "tsv": Format("curate.pool.separated:TSV", ("tsv",)),
    "quoted-tsv": Format("curate.pool.separated:QUOTED_TSV", ("tsv",), told=False),
    "jsonl": Format(
        "curate.pool.jsonl:JSON_LINES", ("jsonl", "ndjson"), begins=rb'\s*{"', loose=True
    ),
    "wat": Format("curate.pool.crawl:CRAWL", ("wat",), is_table=False),
    "warc": Format("curate.pool.crawl:CRAWL", ("warc",), begins=b"WARC/", is_table=False),
    "img2dataset": Format(
        "curate.pool.img2dataset:IMG2DATASET", ("parquet", "pq"), told=False,
        is_table=False, brings_images=True, companions=True,
    ),
    "webdataset": Format(
        "curate.pool.stored:WEBDATASET", ("tar",), begins=b".{257}ustar",
        loose=True, is_table=False, brings_images=True, names_pairs=True,
    ),
    "images": Format(
        "curate.pool.pictures:PICTURES", told=False,
        loose=True, is_table=False, brings_images=True, names_pairs=True, is_folder=True,
    ),
    "jats": Format(
        "curate.pool.articles:JATS", told=False, is_table=False, brings_images=True, is_folder=True,
    ),
}  # fmt: skip
"""Each format by its name in a configuration."""

AUTO = "auto"
"""What stands for a format where each file tells its own."""
KNOWN = ", ".join(sorted(FORMATS))
"""The formats, for a message."""


def format_of(name: str) -> Format:
    """The format that a configuration calls `name`, which may be a reader of users'."""
    return FORMATS.get(name) or Format(reader=name)


def ending(path: str) -> str:
    """What the name of a file ends in, in lower case and without that of its packing.

    >>> ending("a/pairs.TSV.gz"), ending("a.b/README")
    ('tsv', '')
    """
    name = path.rsplit("/", 1)[-1].lower()
    for packed in ENDINGS:
        name = name.removesuffix(f".{packed}")
    return name.rpartition(".")[2] if "." in name else ""


def named_format(path: str) -> str:
    """The format that the name of a file tells, or empty.

    >>> named_format("a/pairs.TSV.gz"), named_format("a.b/README")
    ('tsv', '')
    """
    told = (name for name, form in FORMATS.items() if form.told and ending(path) in form.endings)
    return next(told, "")


def sniffed_format(path: str) -> str:
    """The format that the first bytes of a file tell, or empty."""
    with files.open_read(path) as file:
        try:
            head = Unpacked(file).read(_HEAD)
        except ValueError:
            return ""
    told = (
        name
        for name, form in FORMATS.items()
        if form.begins and re.match(form.begins, head, re.DOTALL)
    )
    return next(told, "")


def is_one_document(path: str) -> bool:
    """Whether a file that looks like JSON lines has a single one, as settings and accounts do."""
    lines = 0
    last, read = b"", 0
    with open_unpacked(path) as file:
        while read < _ONE_DOCUMENT and (block := file.read(_BLOCK)):
            *whole, last = (last + block).split(b"\n")
            lines += sum(1 for line in whole if line.strip())
            if lines + bool(last.strip()) > 1:
                return False
            read += len(block)
        return read < _ONE_DOCUMENT or not file.read(1)
