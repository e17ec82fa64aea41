"""Where the select rules of a configuration apply, and whether they fit the columns that there are."""

import difflib
from collections.abc import Mapping, Sequence

import pyarrow as pa

from curate import files, schema
from curate.config import Rule
from curate.errors import CurateError
from curate.ops.selection.listed import read_listed, stamp_in
from curate.ops.text.patterns import check_pattern
from curate.rundir.scratch import VISUAL
from curate.schema import Stage

_RULE_STAGES = (Stage.PREPARE, Stage.DOWNLOAD, Stage.SCORE)
_FEW_RULES = ("uid", "url", "caption", "matches", "sha256", "tar_offset", "tar_size",
              "stored_sha256", "cluster")  # fmt: skip
"""Columns that hardly a rule is over."""
_KEPT = "a column of the pool has to be named in input.columns.keep"


def stage_of(rule: Rule, added: Mapping[Stage, pa.Schema]) -> Stage:
    """The first stage that applies rules and after which all columns of `rule` exist.

    `added` are the columns that each stage adds, of those that run, in flow order.

    Raises
    ------
    CurateError
        Where no such stage runs, or a condition does not fit its column.
    """
    known: dict[str, pa.DataType] = {}
    for stage, columns in added.items():
        known |= {field.name: field.type for field in columns}
        if stage in _RULE_STAGES and known.keys() >= set(rule.columns):
            _check_rule(rule, known)
            return stage
    last = [stage for stage in added if stage in _RULE_STAGES][-1]
    usable = schema.after(last, enabled=added, added=added).names
    missing = next(name for name in rule.columns if name not in usable)
    if missing in known:
        raise CurateError(
            f"select rule {rule.label!r}: {missing} comes too late; the last rules of this run apply"
            f" after {last}"
        )
    named = ", ".join(name for name in usable if name not in _FEW_RULES)
    told = _unknown(missing, usable, f"known: {named}")
    raise CurateError(f"select rule {rule.label!r}: {told}")


def check_lists(rules: Sequence[Rule], added: Mapping[Stage, pa.Schema]) -> None:
    """That the lists of values that rules name can be read, and hold values of their columns.

    `added` are the columns that each stage adds, of those that run.

    Raises
    ------
    CurateError
        Naming the rule and the file.
    """
    known = {field.name: field.type for columns in added.values() for field in columns}
    for leaf in (leaf for rule in rules for leaf in rule.leaves()):
        for mark, path in leaf.lists.items():
            kind = known[str(leaf.column)]
            key = {"keep": "in_file", "drop": "not_in_file"}[mark]
            try:
                url = files.absolute(path)
                found = read_listed(url, column=str(leaf.column), mark=mark, kind=kind)
            except CurateError as error:
                raise CurateError(f"select.{key}: {error}") from None
            if mark == "keep" and not len(found):
                raise CurateError(f"select.{key}: {path}: it marks no value: nothing could be kept")


def check_numbers(rules: Sequence[Rule], *, stamp: str, key: str) -> None:
    """That the lists of clusters that rules name are of those whose `stamp` is given.

    Raises
    ------
    CurateError
        Naming the list, and the setting, `key`, that brings its clusters back.
    """
    for leaf in (leaf for rule in rules for leaf in rule.leaves() if leaf.column == VISUAL):
        for path in leaf.lists.values():
            if (told := stamp_in(files.absolute(path))) and told != stamp:
                raise CurateError(
                    f"select: {path}: it is of other clusters than this run's, as the pool or what"
                    f" comes before them has changed; name the centroids.npz of those in {key}, or"
                    " look at the new ones: curate clusters"
                )


def check_prefer(prefer: Sequence[str], added: Mapping[Stage, pa.Schema]) -> None:
    """That dedup has the columns of `dedup.prefer`, and that they can be compared.

    `added` are the columns that each stage adds, of those that run, in flow order.

    Raises
    ------
    CurateError
        Naming the column, and those there are.
    """
    before = [stage for stage in added if stage in (Stage.PREPARE, Stage.DOWNLOAD)]
    known = {field.name: field.type for stage in before for field in added[stage]}
    usable = [name for name, kind in known.items() if _compares(kind) and name not in _FEW_RULES]
    for name in (column.removeprefix("-") for column in prefer):
        if name in usable:
            continue
        named = f"columns of numbers before dedup: {', '.join(usable)}"
        if any(name in columns.names for columns in added.values()):
            told = f"{name} is no number" if name in known else f"{name} is made after dedup"
            raise CurateError(f"dedup.prefer: {told}; {named}; {_KEPT}")
        raise CurateError(f"dedup.prefer: {_unknown(name, usable, named)}")


def check_soft_cap(column: str, added: Mapping[Stage, pa.Schema]) -> None:
    """That the balance has the column of `balance.soft_cap`, and that it is of numbers.

    Raises
    ------
    CurateError
        Naming the column, and those there are.
    """
    known = {x.name: x.type for stage, of in added.items() if stage in _RULE_STAGES for x in of}
    usable = [x for x, kind in known.items() if _compares(kind) and x not in _FEW_RULES]
    if column not in usable:
        named = f"columns of numbers: {', '.join(usable)}"
        told = f"{column} is no number; {named}" if column in known else ""
        raise CurateError(f"balance.soft_cap.column: {told or _unknown(column, usable, named)}")


def _unknown(name: str, usable: Sequence[str], named: str) -> str:
    """That there is no column `name`: which was meant, or else what there is and how a pool's comes."""
    told = f"no column {name!r} in this run"
    if near := difflib.get_close_matches(name, usable, n=1, cutoff=0.75):
        return f"{told}, did you mean {near[0]!r}? {named}"
    return f"{told}; {named}; {_KEPT}"


def _compares(kind: pa.DataType) -> bool:
    return any(
        is_a(kind) for is_a in (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean)
    )


def _check_rule(rule: Rule, known: dict[str, pa.DataType]) -> None:
    """That each condition of `rule` fits its column; `known` are the types of the columns."""
    where = f"select rule {rule.label!r}:"
    for leaf in rule.leaves():
        kind = known[str(leaf.column)]
        if pa.types.is_nested(kind):
            raise CurateError(f"{where} {leaf.column} is a list")
        compared = (leaf.min, leaf.max, leaf.between, leaf.top_fraction, leaf.top, leaf.every)
        is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
        if not is_number and any(bound is not None for bound in compared):
            raise CurateError(f"{where} {leaf.column} is not a number")
        if leaf.every is not None and not pa.types.is_integer(kind):
            raise CurateError(f"{where} every is over whole numbers, and {leaf.column} is {kind}")
        for key, asked in leaf.of_text.items():
            if not pa.types.is_string(kind):
                raise CurateError(f"{where} {key} is over texts, and {leaf.column} is {kind}")
            if key != "contains_any":
                check_pattern(asked, where=f"{where} {key}")
        if leaf.lists and not (pa.types.is_string(kind) or pa.types.is_integer(kind)):
            raise CurateError(
                f"{where} a list is of texts or whole numbers, and {leaf.column} is {kind}"
            )
        for key, values in (("in", leaf.in_), ("not_in", leaf.not_in)):
            if not _fit(values or (), kind):
                raise CurateError(
                    f"{where} {key} {list(values or ())} does not fit {leaf.column}, which is {kind}"
                )
        if leaf.same_as and not _comparable(kind, known[leaf.same_as]):
            raise CurateError(
                f"{where} {leaf.column} is {kind} and {leaf.same_as} {known[leaf.same_as]}: they are"
                " never the same"
            )
        if leaf.per and (
            pa.types.is_nested(known[leaf.per]) or pa.types.is_floating(known[leaf.per])
        ):
            raise CurateError(
                f"{where} per {leaf.per}: expected a column of words, whole numbers or true and"
                f" false, not of {known[leaf.per]}"
            )


def _fit(values: Sequence[object], kind: pa.DataType) -> bool:
    """Whether a column of this type can hold `values`; Arrow would truncate 3.5 to 3."""
    try:
        held = pa.array(values, kind)
    except (pa.ArrowException, TypeError, OverflowError):
        return False
    return not pa.types.is_integer(kind) or held.to_pylist() == list(values)


def _comparable(one: pa.DataType, other: pa.DataType) -> bool:
    def is_number(kind: pa.DataType) -> bool:
        return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))

    return bool(one.equals(other)) or (is_number(one) and is_number(other))
