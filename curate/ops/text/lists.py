"""Lists of entries or words: lines of a text, or one JSON array of texts."""

import json
import re

from curate.errors import CurateError
from curate.files.texts import read_text

LONGEST = 10_000
"""Characters of a line; a longer one is no entry, but a list in another format."""


def read_items(path: str) -> tuple[list[str], bool]:
    """The items of a list and whether they are lines, of which a tab may separate two columns.

    An array of texts in JSON, as in MetaCLIP's ``metadata.json``, has an item a text, as it stands.

    Raises
    ------
    CurateError
        Where the file is other JSON, is not UTF-8, or has a line that is none.
    """
    text = read_text(path)
    start = text.lstrip()[:1]
    if start not in ("[", "{"):
        return _lines(text, path=path), True
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        if re.search(r"\.json(\.\w+)?$", path.lower()):
            reason = str(error).splitlines()[0]
            raise CurateError(f"{path}: cannot be read as JSON: {reason}") from None
        return _lines(text, path=path), True
    if isinstance(found, dict):
        keys = ", ".join(map(repr, list(found)[:3])) + (", …" if len(found) > 3 else "")
        raise CurateError(
            f"{path}: a JSON object with the keys {keys}; expected one list: write each of its lists"
            " to a file of its own, as a JSON array or one entry a line"
        )
    for place, item in enumerate(found, 1):
        if not isinstance(item, str) or _is_half(item):
            raise CurateError(
                f"{path}: item {place:,} of the JSON array is {json.dumps(item)[:60]}; expected a text"
            )
    return found, False


def read_words(path: str) -> list[str]:
    """The items of a list of words, those without a word left out; raises where none is left, too."""
    found = [item for item in read_items(path)[0] if item.strip()]
    if not found:
        raise CurateError(f"{path}: there is no word in it")
    return found


def _is_half(text: str) -> bool:
    """Whether half a surrogate pair is in it, which no text has."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _lines(text: str, *, path: str) -> list[str]:
    lines = [line.rstrip("\r") for line in text.split("\n")]
    for number, line in enumerate(lines, 1):
        if len(line) > LONGEST:
            raise CurateError(
                f"{path}:{number}: a line of {len(line):,} characters ({line[:40]!r} …): expected one"
                " entry a line, or a JSON array of texts"
            )
    return lines
