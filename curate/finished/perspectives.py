"""What a balance by perspectives found of one pair: its entities, their counts, its draw."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from curate import files
from curate.config import Config
from curate.ops.hashing import uniform
from curate.ops.selection.adaptive import keep_probability
from curate.rundir.damage import PERSPECTIVES
from curate.rundir.directory import Run
from curate.schema import Stage

_NAMED = 5
"""Entities of a perspective that are named, the rarest first."""


def in_words(run: Run, config: Config, row: Mapping[str, Any]) -> str:
    """From which perspectives a pair passes, with which probability it is kept, and what was drawn.

    `row` has its uid, language and matches, and its nouns where the balance looks at them. Empty where
    the balance is another one, or its files are gone.
    """
    asked = config.balance.adaptive if config.balance else None
    url = run.path(Stage.BALANCE, PERSPECTIVES)
    if asked is None or not files.exists(url):
        return ""
    passing, told = [], []
    for name, found in files.read_json(url).items():
        n, head = _entities(run, name, row, tau=found["tau"])
        of_head = [one for some in head.values() for one in some]
        passes = 1 - math.prod(1 - p for _, p in of_head) if n == len(of_head) else 1.0
        passing.append(np.array([passes]))
        told.append(f"{name}{_of(n, head, tau=found['tau'])}, {passes:.3g}")
    keep = keep_probability(passing, n_p=asked.n_p, alpha=asked.alpha)[0]
    drawn = uniform([row["uid"]], seed=config.seed)[0]
    return (
        f"The probability of each perspective to pass: {'; '.join(told)}. The pair is kept with"
        f" {keep:.6g}; {drawn:.6g} was drawn."
    )


def _of(n: int, head: Mapping[str, Sequence[tuple[int, float]]], *, tau: int) -> str:
    if not n:
        return " (none)"
    of_head = sum(map(len, head.values()))
    rarest = sorted(head.items(), key=lambda one: (one[1][0][0], one[0]))[:_NAMED]
    names = ", ".join(f"{name} {found[0][0]:,}" for name, found in rarest)
    more = ", ..." if len(head) > _NAMED else ""
    return f" ({n:,}, {of_head:,} of them over tau {tau:,}{f': {names}{more}' if names else ''})"


def _entities(
    run: Run, name: str, row: Mapping[str, Any], *, tau: int
) -> tuple[int, dict[str, list[tuple[int, float]]]]:
    """How many entities a pair has, and those of the head by name, as often as it has them."""
    found: dict[str, list[tuple[int, float]]] = {}
    if name == "nouns":
        nouns = row.get("nouns") or []
        known = {x["noun"]: x for x in _rows(run, name, [("noun", "in", nouns)] if nouns else None)}
        for noun in nouns:
            if noun in known:
                x = known[noun]
                found.setdefault(noun, []).append((x["occurrences"], x["probability"]))
        return len(nouns), found
    ids = row.get("matches") or []
    of = [("language", "=", row["language"]), ("entry_id", "in", ids)]
    if name == "entries":
        for x in _rows(run, name, of if ids else None):
            if x["count"] > tau:
                found.setdefault(x["entry"], []).append((x["count"], x["probability"]))
        return len(ids), found
    for x in _rows(run, name, [*of, ("other_id", "in", ids)] if ids else None):
        both = f"{x['entry']} + {x['other_entry']}"
        found.setdefault(both, []).append((x["count"], x["probability"]))
    return math.comb(len(ids), 2), found


def _rows(
    run: Run, name: str, filters: list[tuple[str, str, Any]] | None
) -> Iterator[dict[str, Any]]:
    """The rows of the table of a perspective that `filters` find; none without."""
    if filters is None:
        return
    held = run.state().get("files", {}).get(f"{Stage.BALANCE}/{name}.parquet")
    content = files.Content(*held) if held else None
    url = run.path(Stage.BALANCE, f"{name}.parquet")
    yield from files.read_table(url, content=content, filters=filters).to_pylist()
