"""Which pairs are meant: what the page's address says, as conditions on the table of a run."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from curate.browse.connection import Bound, quoted
from curate.browse.table import Branch, Pairs, Verdict
from curate.errors import CurateError
from curate.schema import MATCHES

Fate = Literal["kept", "left", "absent", "differs"]
_FATES: tuple[Fate, ...] = ("kept", "left", "absent", "differs")
_UID = re.compile(r"[0-9a-f]{32}")
DUPLICATE = "duplicate_"
"""What the reasons begin with for which a pair left in favour of another, whose uid is the value."""


@dataclass(frozen=True)
class Selection:
    """Conditions that all have to hold; of several values of a column, one."""

    text: str = ""  # in the caption; or a uid, or a URL
    equal: dict[str, tuple[str | None, ...]] = field(default_factory=dict)  # None: has no value
    least: dict[str, float] = field(default_factory=dict)
    most: dict[str, float] = field(default_factory=dict)
    entries: tuple[tuple[str, int], ...] = ()  # language and id of each, of which one matches
    cluster: str = ""  # uid of a pair that stays in it
    fates: dict[int, Fate] = field(default_factory=dict)  # in other runs, by their number

    def among(self, uids: Iterable[str]) -> "Selection":
        """Those of these uids."""
        given = self.equal.get("uid")
        uids = tuple(x for x in uids if given is None or x in given)
        return replace(self, equal={**self.equal, "uid": uids or ("none",)})

    def without(self, *names: str) -> "Selection":
        """The same without the conditions on values of these columns."""
        equal = {name: values for name, values in self.equal.items() if name not in names}
        return replace(self, equal=equal)


def parsed(fields: Iterable[tuple[str, str]], pairs: Pairs, *, run: int, runs: int) -> Selection:
    """The selection of an address's fields, for run number `run` of `runs`; others are left alone.

    Raises
    ------
    CurateError
        Where a field names no column of the run, or has no such value.
    """
    text = cluster = ""
    equal: dict[str, list[str | None]] = {}
    ends: dict[str, dict[str, float]] = {"min": {}, "max": {}}
    entries = []
    fates: dict[int, Fate] = {}
    for name, value in fields:
        kind, _, column = name.partition(".")
        if name == "q":
            text = value.strip()
        elif name == "cluster":
            cluster = value.lower()
        elif name == "entry":
            language, _, number = value.rpartition(":")
            if not number.isdecimal():
                raise CurateError(f"{name}={value}: expected LANGUAGE:NUMBER")
            entries.append((language, int(number)))
        elif kind == "is":
            _check(pairs, column, kinds=("text", "flag"))
            equal.setdefault(column, []).append(value or None)
        elif kind in ends:
            _check(pairs, column, kinds=("number",))
            ends[kind][column] = _number(name, value)
        elif kind == "fate":
            wanted = next((one for one in _FATES if one == value), None)
            if wanted is None or not column.isdecimal() or int(column) >= runs:
                raise CurateError(f"{name}={value}: expected one of {', '.join(_FATES)}")
            if int(column) != run:
                fates[int(column)] = wanted
    return Selection(
        text,
        {column: tuple(values) for column, values in equal.items()},
        ends["min"],
        ends["max"],
        tuple(entries),
        cluster,
        fates,
    )


def _check(pairs: Pairs, name: str, *, kinds: Sequence[str]) -> None:
    column = pairs.columns.get(name)
    if column is None or column.kind not in kinds:
        raise CurateError(f"{name}: {pairs.run.root} has no such column of {' or '.join(kinds)}")


def _number(name: str, value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise CurateError(f"{name}={value}: expected a number") from None


@dataclass(frozen=True)
class Conditions:
    """A selection of a run's pairs in SQL, a branch at a time."""

    pairs: tuple[Pairs, ...]  # of all runs
    run: int
    selection: Selection
    survivors: tuple[str, ...] = ()  # uids of all that stay in the selection's cluster

    def rows(self, branch: Branch, wanted: Sequence[str], bound: Bound) -> str | None:
        """A SELECT of the selected rows of a branch; None where it cannot have any."""
        table, chosen = self.pairs[self.run], self.selection
        if not self._may_have(branch):
            return None
        needed = dict.fromkeys(wanted)
        found: list[str] = []
        for name, values in chosen.equal.items():
            if name in ("verdict", "stage"):  # which `_may_have` has looked at
                continue
            needed[name] = None
            found.append(_one_of(name, values, bound))
            if (
                name == "host" and None not in values
            ):  # which is quicker than to find all hosts first
                needed["url"] = None
                found.append(" OR ".join(
                    f"contains(lower(url), {bound(str(value))})" for value in values
                ))  # fmt: skip
        for ends, mark in ((chosen.least, ">="), (chosen.most, "<=")):
            for name, value in ends.items():
                needed[name] = None
                found.append(f"{quoted(name)} {mark} {bound(value)}")
        if chosen.text:
            needed |= dict.fromkeys(("uid", "url", "caption"))
            found.append(_said(chosen.text, bound))
        if chosen.entries:
            needed |= dict.fromkeys((MATCHES, "language"))
            found.append(" OR ".join(
                f"(language = {bound(language)} AND list_contains({MATCHES}, {bound(entry)}))"
                for language, entry in chosen.entries
            ))  # fmt: skip
        if chosen.cluster:
            needed |= dict.fromkeys(("uid", "reason", "value"))
            ours = bound([*self.survivors])
            found.append(
                f"list_contains({ours}, uid)"
                f" OR (starts_with(reason, '{DUPLICATE}') AND list_contains({ours}, value))"
            )
        if chosen.fates:
            needed["uid"] = None
        rows = f"({table.rows(branch, [*needed], bound)})"
        if found:
            conditions = " AND ".join(f"({one})" for one in found)
            rows = f"(SELECT * FROM {rows} WHERE {conditions})"
        for other, fate in chosen.fates.items():
            rows = f"(SELECT r.* FROM {rows} r {_fate(branch, self.pairs[other], fate, bound)})"
        return f"SELECT * FROM {rows}"

    def _may_have(self, branch: Branch) -> bool:
        """Whether any pair of a branch may be one of the selection."""
        chosen = self.selection
        for name in ("verdict", "stage"):
            if name in chosen.equal and getattr(branch, name) not in chosen.equal[name]:
                return False
        asked = [name for name, values in chosen.equal.items() if None not in values]
        columns = [*asked, *chosen.least, *chosen.most, *([MATCHES] if chosen.entries else [])]
        return all(_may_have(self.pairs[self.run], branch, name) for name in columns)


def _fate(branch: Branch, other: Pairs, fate: Fate, bound: Bound) -> str:
    """A join that leaves those of the rows `r` of a branch whose uid has a fate in another run."""
    kept = [one for one in other.branches if one.verdict is Verdict.KEPT]
    left = [one for one in other.branches if one.verdict is not Verdict.KEPT]
    if fate == "absent":
        return _joined("ANTI", other, other.branches, bound)
    if fate == "left":
        return _joined("SEMI", other, left, bound) + _joined("ANTI", other, kept, bound)
    anti = fate == "differs" and branch.verdict is Verdict.KEPT
    return _joined("ANTI" if anti else "SEMI", other, kept, bound)


def _joined(kind: str, other: Pairs, branches: Sequence[Branch], bound: Bound) -> str:
    """A join of rows `r` with the uids of these branches."""
    uids = [f"SELECT uid FROM ({other.rows(one, ['uid'], bound)})" for one in branches]
    of = " UNION ALL ".join(uids) or "SELECT NULL::VARCHAR AS uid"
    return f" {kind} JOIN ({of}) o{len(bound)} ON r.uid = o{len(bound)}.uid"


def _may_have(table: Pairs, branch: Branch, name: str) -> bool:
    """Whether any pair of a branch may have a value of a column."""
    if name in ("reason", "value"):
        return branch.is_ledger
    stored = table.columns[name].stored if name in table.columns else name
    return not stored or branch.has(stored)


def _one_of(name: str, values: Sequence[str | None], bound: Bound) -> str:
    said = f"{quoted(name)}::VARCHAR"
    some = [value for value in values if value is not None]
    found = [f"{said} IN ({', '.join(map(bound, some))})"] if some else []
    return " OR ".join([*found, *([f"{quoted(name)} IS NULL"] if None in values else [])])


def _said(text: str, bound: Bound) -> str:
    """Whether a caption has a text in it, large or small; or a pair has this uid or URL."""
    found = [f"contains(lower(caption), {bound(text.lower())})"]
    if _UID.fullmatch(text.lower()):
        found.append(f"uid = {bound(text.lower())}")
    if "://" in text:
        found.append(f"url = {bound(text)}")
    return " OR ".join(found)
