"""What became of the scored pairs of a part: kept, or dropped by which stage and why."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from curate.config import Config
from curate.planning.steps import steps_of
from curate.rundir.directory import PART_STAGES, Run
from curate.schema import Stage

_TOLD = ["uid", "url", "caption"]
KEPT, DROPPED, DEAD, PENDING = "kept", "dropped", "dead", "pending"
"""Verdicts on a pair; an unfinished run has not come to one on all."""


@dataclass(frozen=True)
class Fate:
    """What became of a pair after its embeddings were made."""

    verdict: str
    stage: str  # that dropped it, or the last one
    reason: str = ""
    value: str = ""
    row: int = -1  # of a kept pair in the part after the last stage


def stages_after(config: Config) -> list[Stage]:
    """The stages of a run that see a pair once it is scored, in flow order."""
    asked = steps_of(config).stages
    return [x for x in PART_STAGES[PART_STAGES.index(Stage.SCORE) :] if x in asked]


def fates(run: Run, config: Config, part: int, pairs: pa.Table) -> list[Fate]:
    """What became of `pairs`: the scored rows of a part, all of them and in order.

    Of several with the same uid, URL and caption the first ones are those that stayed. Where pairs
    have several captions, which is theirs may change on the way, and does not tell them apart.
    """
    told = _TOLD[:2] if config.captions else _TOLD
    stages = stages_after(config)
    found = [Fate(PENDING, str(stages[0]))] * len(pairs)
    rows = np.arange(len(pairs))  # of those that are still in
    names = _names(pairs, told)
    for stage in stages:
        if run.record(stage, part) is None:
            for row in rows.tolist():
                found[row] = Fate(PENDING, str(stage))
            break
        kept = run.rows(stage, part, columns=told)
        ledger = run.rows(f"dropped/{stage}", part, columns=[*told, "reason", "value"])
        dead = run.rows(f"dead/{stage}", part, columns=[*told, "error", "detail"])
        at = _places(names, [_names(table, told) for table in (kept, ledger, dead)])
        first, second = len(kept), len(kept) + len(ledger)
        reasons = zip(ledger["reason"].to_pylist(), ledger["value"].to_pylist(), strict=True)
        of_ledger = [Fate(DROPPED, str(stage), x, y or "") for x, y in reasons]
        errors = zip(dead["error"].to_pylist(), dead["detail"].to_pylist(), strict=True)
        of_dead = [Fate(DEAD, str(stage), x, y or "") for x, y in errors]
        for row, place in zip(rows.tolist(), at.tolist(), strict=True):
            if 0 <= place < first:
                found[row] = Fate(KEPT, str(stage), row=place)
            elif first <= place < second:
                found[row] = of_ledger[place - first]
            elif place >= second:
                found[row] = of_dead[place - second]
            else:
                found[row] = Fate(PENDING, str(stage))
        stays = (at >= 0) & (at < first)
        rows, names = rows[stays], names.filter(pa.array(stays))
    return found


def _names(pairs: pa.Table, told: Sequence[str]) -> pa.Array:
    """What tells a pair from others, as one text."""
    columns = [pc.fill_null(pairs[name].cast(pa.string()), "\x01") for name in told]
    joined = pc.binary_join_element_wise(*columns, "\x00")
    return pa.chunked_array(joined.chunks, pa.string()).combine_chunks()


def _places(names: pa.Array, among: Sequence[pa.Array]) -> NDArray[np.int64]:
    """Where each name stands in the tables `among`, one after the other; -1 where it does not.

    The nth of equal names stands where the nth of that name does.
    """
    after = pa.concat_arrays(among)
    whole = pa.concat_arrays([names, after]).dictionary_encode().indices.to_numpy()
    ours, theirs = whole[: len(names)].astype(np.int64), whole[len(names) :].astype(np.int64)
    if not len(theirs):
        return np.full(len(ours), -1)
    times = len(whole) + 1
    known = theirs * times + _nth(theirs)
    order = np.argsort(known)
    wanted = ours * times + _nth(ours)
    at = np.minimum(np.searchsorted(known[order], wanted), len(known) - 1)
    return np.where(known[order][at] == wanted, order[at], -1)


def _nth(codes: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many equal codes stand before each.

    >>> _nth(np.array([5, 3, 5, 5])).tolist()
    [0, 0, 1, 2]
    """
    order = np.argsort(codes, kind="stable")
    ordered = codes[order]
    begins = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]])[: len(codes)])
    lengths = np.diff(np.append(begins, len(codes)))
    found = np.empty(len(codes), np.int64)
    found[order] = np.arange(len(codes)) - np.repeat(begins, lengths)
    return found
