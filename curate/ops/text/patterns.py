"""Regular expressions of RE2 in texts."""

import pyarrow as pa
import pyarrow.compute as pc

from curate.errors import CurateError
from curate.schema import Column


def found_in(texts: Column, pattern: str) -> Column:
    """Whether `pattern` is found anywhere in each text, shape (n,); null of a null."""
    return pc.match_substring_regex(texts, pattern)


def first_of(texts: Column, pattern: str) -> Column:
    """What `pattern` matched first in each text; the whole text where it is found nowhere.

    >>> first_of(pa.array(["stock photo 12 of a fox", "a fox"]), "photo [0-9]+").to_pylist()
    ['photo 12', 'a fox']
    """
    return pc.replace_substring_regex(texts, f"(?s)^.*?({pattern}).*$", "\\1")


def check_pattern(pattern: str, *, where: str) -> None:
    """Raise where RE2 does not take `pattern`, in a line that begins with `where`."""
    try:
        found_in(pa.array([""]), pattern)
        first_of(pa.array([""]), pattern)
    except ValueError as error:  # half a surrogate pair, too, which no text has
        told = str(error).rpartition("Invalid regular expression: ")[2]
        raise CurateError(f"{where} {pattern!r}: no regular expression of RE2: {told}") from None
