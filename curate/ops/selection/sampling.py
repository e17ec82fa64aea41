"""Which pairs balancing takes: at a t, by a seed, and again in each epoch of a training.

A pair is taken where ``uniform(uid, seed) < P(keep)``. Epoch 0 is the draw of a run, later epochs have
seeds of their own; in each of them the pairs that are taken nest as t grows.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate.ops.hashing import hash64, uniform
from curate.ops.selection import balancing
from curate.ops.strings import Strings
from curate.schema import Column

Counts = Mapping[str, NDArray[np.int64]]
"""How often each entry of a language matches, by language."""


def carry(counts: Counts, *, t: float, reference: str) -> dict[str, float]:
    """t of every language, given that of the reference: the one that gives the same p."""
    p = balancing.t_to_p(counts[reference], t=t)
    return {
        language: t if language == reference else float(balancing.p_to_t(found, p=p))
        for language, found in counts.items()
    }


def seed_of(seed: int, *, epoch: int) -> int:
    """The seed of the draw of an epoch; that of epoch 0 is `seed` itself, with which a run draws."""
    return int(hash64([f"{seed}/{epoch}"])[0]) if epoch else seed


def drawn(uids: Strings, probability: Column, *, seed: int) -> NDArray[np.bool_]:
    """Whether each pair is taken that is to be with this probability, shape (n,)."""
    taken: NDArray[np.bool_] = uniform(uids, seed=seed) < np.asarray(probability)
    return taken


@dataclass(frozen=True)
class Probabilities:
    """The probability with which balancing keeps a pair, at one t."""

    of_entries: Mapping[str, NDArray[np.float64]]  # by language

    @classmethod
    def at(cls, counts: Counts, *, t: float, reference: str) -> "Probabilities":
        """Those at the t of the reference language; the others have the t of the same p."""
        ts = carry(counts, t=t, reference=reference)
        return cls({x: balancing.entry_probs(found, t=ts[x]) for x, found in counts.items()})

    def of(self, languages: Column, matches: Column) -> NDArray[np.float64]:
        """That of each pair, shape (n,), by its language and the ids of the entries it matches.

        A pair of a language without entries has probability 0.
        """
        keep = np.zeros(len(languages))
        codes = np.asarray(languages.to_pylist(), object)
        for language in sorted(set(codes) & self.of_entries.keys()):
            rows = np.flatnonzero(codes == language)
            of_rows = matches.take(pa.array(rows))
            keep[rows] = balancing.keep_probability(of_rows, self.of_entries[language])
        return keep
