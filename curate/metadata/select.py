"""Which candidates of a source become entries: fit, not offered before, the best up to a limit."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.metadata.recipe import Limits

_CONTROL = r"[\x00-\x1f\x7f]"
_ONE_MARK = r"^[!-/:-@\[-`{-~]$"
WAITING = 1 << 20  # candidates that may pile up before the best are picked out
_ALL_MARKS = r"^[\p{P}$+<=>^`|~]*$"


@dataclass
class Tally:
    """What became of the candidates of a source; the first is the sum of the other five."""

    offered: int = 0
    below: int = 0  # under the threshold
    unfit: int = 0  # empty, punctuation, too long, or with a control character
    duplicate: int = 0  # an entry of a source of higher priority
    over: int = 0  # over the limit, or a repetition
    taken: int = 0


@dataclass(kw_only=True)
class Selection:
    """The entries chosen so far, in order, and the tally of each source."""

    limits: Limits
    entries: list[str] = field(default_factory=list)

    def room(self, most: int | None) -> int:
        """How many more entries a source may have that is limited to `most`."""
        left = 1 << 62 if self.limits.limit is None else self.limits.limit - len(self.entries)
        return left if most is None else min(left, most)

    def take(
        self,
        candidates: Iterable[tuple[pa.Array, pa.Array]],
        *,
        tally: Tally,
        threshold: float = -math.inf,
        most: int | None = None,
        share: float = 1.0,
    ) -> float | None:
        """Choose from batches of (entry, score); the lowest score chosen, None where none is.

        The highest scores win, equal ones by code point, at most `most` and at most `share` of the
        offered. Memory holds some four times as many candidates as may win.
        """
        room = self.room(most)
        before = pa.array(self.entries, pa.large_string())
        best = _ranked([], room)
        pending: list[pa.Table] = []
        waiting = 0
        for entries, scores in candidates:
            found = pa.table({"entry": entries, "score": scores})
            tally.offered += len(found)
            passing = found.filter(pc.greater_equal(found["score"], threshold))
            tally.below += len(found) - len(passing)
            fit = passing.filter(self._fit(passing["entry"]))
            tally.unfit += len(passing) - len(fit)
            new = fit.filter(pc.invert(pc.is_in(fit["entry"], value_set=before)))
            tally.duplicate += len(fit) - len(new)
            tally.over += len(new)
            pending.append(new)
            waiting += len(new)
            if waiting > max(WAITING, 3 * room):
                best = _ranked([best, *pending], room)
                pending, waiting = [], 0
        best = _ranked([best, *pending], room)
        if share < 1:
            best = best.slice(0, int(tally.offered * share))
        tally.over -= len(best)
        tally.taken += len(best)
        self.entries += best["entry"].to_pylist()
        return float(best["score"][-1].as_py()) if len(best) else None

    def _fit(self, entries: pa.ChunkedArray) -> pa.ChunkedArray:
        blank = pc.equal(pc.binary_length(pc.utf8_trim_whitespace(entries)), 0)
        marks = _ALL_MARKS if self.limits.all_punctuation else _ONE_MARK
        unfit = pc.or_(blank, pc.match_substring_regex(entries, _CONTROL))
        unfit = pc.or_(unfit, pc.match_substring_regex(entries, marks))
        if self.limits.max_characters is not None:
            long = pc.greater(pc.utf8_length(entries), self.limits.max_characters)
            unfit = pc.or_(unfit, long)
        return pc.invert(unfit)


def _ranked(tables: list[pa.Table], most: int) -> pa.Table:
    """The rows of `tables` by descending score, then entry; each entry once; at most `most`."""
    schema = pa.schema([("entry", pa.large_string()), ("score", pa.float64())])
    table = pa.concat_tables([t.cast(schema) for t in tables]) if tables else schema.empty_table()
    table = table.sort_by([("score", "descending"), ("entry", "ascending")])
    rank = pa.array(np.arange(len(table)))
    first = (
        pa.table({"entry": table["entry"], "rank": rank})
        .group_by("entry", use_threads=False)
        .aggregate([("rank", "min")])
    )
    kept = np.sort(first["rank_min"].to_numpy())[:most]
    return table.take(pa.array(kept)).combine_chunks()
