"""Files of concepts and their names: JSON as REAL's authors have it, CSV, or lines with a tab."""

import csv
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from curate.errors import CurateError
from curate.files.texts import read_text
from curate.ops.text.names import NameMatcher, as_words

_NAMES, _SHARES = ("names", "alternates"), ("share", "llama_relevance_ratio")
"""Keys of a concept that is an object: ours, and those of the authors' files."""
_HEADER = ["concept", "name", "share"]


@dataclass(frozen=True)
class Concepts:
    """Concepts in the order of their file, and the names of all, one concept after the other."""

    concepts: tuple[str, ...]
    names: tuple[str, ...]  # as they are spelt in the file
    of: NDArray[np.int64]  # the concept of each name, ascending
    shares: NDArray[np.float64]  # of a concept's matches, those that mean it

    @cached_property
    def matcher(self) -> NameMatcher:
        """What finds the names in captions."""
        return NameMatcher(self.names, concepts=self.of)

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """Where the names of each concept begin, shape (concepts + 1,)."""
        return np.searchsorted(self.of, np.arange(len(self.concepts) + 1))

    def shared(self) -> list[tuple[str, str, str]]:
        """Names that are another's phrase: the name, the concept of that other, and its own."""
        phrases = as_words(self.names).dictionary_encode().indices.to_numpy()
        order = np.argsort(phrases, kind="stable")
        first = np.r_[True, np.diff(phrases[order]) > 0]
        head = order[np.maximum.accumulate(np.where(first, np.arange(len(order)), 0))]
        rest = head != order
        return [
            (self.names[name], self.concepts[self.of[one]], self.concepts[self.of[name]])
            for one, name in sorted(zip(head[rest].tolist(), order[rest].tolist(), strict=True))
        ]


def read_names(path: str) -> Concepts:
    """The concepts of the file at `path`.

    It is a JSON object (``{concept: [name, …]}``; in place of the list an object with `names` and
    `share`, or one of the authors' own), a CSV or TSV with the columns concept and name and maybe
    share, or lines of a concept, a tab and a name.

    Raises
    ------
    CurateError
        Where it is none of these, has a concept without names, or a name twice or without a word.
    """
    text = read_text(path)
    if text.lstrip()[:1] == "{":
        try:
            document = json.loads(text, object_pairs_hook=lambda x: _object(x, path=path))
        except (ValueError, RecursionError) as error:
            reason = str(error).splitlines()[0]
            raise CurateError(f"{path}: cannot be read as JSON: {reason}") from None
        return concepts_of(document, called=path)
    if text.lstrip()[:1] == "[":
        raise CurateError(
            f"{path}: a JSON array; expected an object of concepts, each with a list of its names"
        )
    return concepts_of(_of_rows(text, path=path), called=path)


def _object(pairs: list[tuple[str, Any]], *, path: str) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = _twice([key for key, _ in pairs])
        raise CurateError(f"{path}: {twice!r} is there twice in an object")
    return found


def _twice(texts: list[str]) -> str:
    return next(text for text, n in Counter(texts).items() if n > 1)


def _of_rows(text: str, *, path: str) -> dict[str, dict[str, Any]]:
    """Concepts, each with its names and maybe the share, of a CSV or of lines with tabs."""
    is_csv = re.search(r"\.csv(\.\w+)?$", path.lower()) is not None
    lines = text.splitlines()
    dialect: dict[str, Any] = {} if is_csv else {"delimiter": "\t", "quoting": csv.QUOTE_NONE}
    reader = csv.reader(lines, **dialect)
    rows = ((reader.line_num, [x.strip() for x in row]) for row in reader if any(row))
    places = [0, 1, 2]
    found: dict[str, dict[str, Any]] = {}
    for at, (number, row) in enumerate(rows):
        if at == 0 and {*_HEADER[:2]} <= {*row}:
            places = [row.index(x) if x in row else len(row) for x in _HEADER]
            continue
        if at == 0 and is_csv:
            raise CurateError(f"{path}: its first line lacks the columns concept and name")
        concept, name, share = (row[x] if x < len(row) else "" for x in places)
        if not concept or not name:
            given, between = " ".join(row)[:80], "comma" if is_csv else "tab"
            raise CurateError(
                f"{path}:{number}: {given!r}: expected a concept, a {between} and a name"
            )
        one = found.setdefault(concept, {"names": []})
        one["names"].append(name)
        if share and one.setdefault("share", share) != share:
            raise CurateError(
                f"{path}:{number}: concept {concept!r} has the shares {one['share']} and {share}"
            )
    return found


def concepts_of(document: Mapping[str, Any], *, called: str) -> Concepts:
    """The concepts of a mapping, as :func:`read_names` takes one; `called` is said in errors."""
    concepts: list[str] = []
    names: list[str] = []
    of: list[int] = []
    shares: list[float] = []
    if not document:
        raise CurateError(f"{called}: there is no concept in it")
    for concept, given in document.items():
        listed, share = _parts_of(given)
        if isinstance(listed, str) or not isinstance(listed, Iterable):
            raise CurateError(f"{called}: concept {concept!r} is {given!r:.60}; expected its names")
        own = [*listed]
        if not own:
            raise CurateError(f"{called}: concept {concept!r} has no names; give one at least")
        if wrong := [x for x in own if not isinstance(x, str)]:
            raise CurateError(f"{called}: concept {concept!r}: a name is {wrong[0]!r:.60}, no text")
        if len(set(own)) < len(own):
            raise CurateError(f"{called}: concept {concept!r} has the name {_twice(own)!r} twice")
        of += [len(concepts)] * len(own)
        concepts.append(str(concept))
        names += own
        shares.append(_share(share, concept=concept, called=called))
    try:
        words = as_words(names)
    except ValueError as error:
        raise CurateError(f"{called}: a name is no text: {error}") from None
    empty = np.flatnonzero(np.asarray(pc.equal(words, "")))
    if len(empty):
        at = int(empty[0])
        raise CurateError(
            f"{called}: the name {names[at]!r} of concept {concepts[of[at]]!r} has no letter and no"
            " digit"
        )
    return Concepts(tuple(concepts), tuple(names), np.array(of, np.int64), np.array(shares))


def _parts_of(given: Any) -> tuple[Any, Any]:
    """The names of a concept and its share, None where it has none."""
    if not isinstance(given, Mapping):
        return given, None
    listed = next((given[x] for x in _NAMES if x in given), None)
    return listed, next((given[x] for x in _SHARES if given.get(x) is not None), None)


def _share(share: Any, *, concept: str, called: str) -> float:
    try:
        value = 1.0 if share is None else float(share)
    except (TypeError, ValueError):
        value = -1.0
    if not 0 <= value <= 1:
        raise CurateError(f"{called}: concept {concept!r} has the share {share}; it is from 0 to 1")
    return value
