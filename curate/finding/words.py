"""Typical words of groups of captions."""

import math
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_WORD = re.compile(r"[^\W\d_]{2,}")
_LONGEST = 24  # characters: what is longer is no word


def words_of(caption: str) -> set[str]:
    """The words of a caption, each once: letters alone, in lower case.

    >>> sorted(words_of("Ice-cream cone 2, ICE"))
    ['cone', 'cream', 'ice']
    """
    return {word for word in _WORD.findall(caption.lower()) if len(word) <= _LONGEST}


def typical(
    captions: Sequence[str], groups: NDArray[np.integer], *, n: int
) -> list[tuple[str, ...]]:
    """At most `n` words of each group 0, 1, … that its captions have oftener than the others.

    By the log-likelihood ratio G² (Dunning 1993) of a word's captions in the group and outside; a
    word is in two of the group's captions or more. Equal ones are in alphabetical order.
    """
    count = int(groups.max()) + 1 if len(groups) else 0
    sizes = np.bincount(groups, minlength=count)
    of_groups = [Counter[str]() for _ in range(count)]
    for caption, group in zip(captions, groups.tolist(), strict=True):
        of_groups[group].update(words_of(caption))
    whole = Counter[str]()
    for one in of_groups:
        whole.update(one)
    total = len(captions)
    found = []
    for counts, size in zip(of_groups, sizes.tolist(), strict=True):
        ranked = [
            (-_ratio(inside, size, whole[word], total), word)
            for word, inside in counts.items()
            if inside > 1 and inside * total > whole[word] * size
        ]
        found.append(tuple(word for _, word in sorted(ranked)[:n]))
    return found


def _ratio(inside: int, size: int, everywhere: int, total: int) -> float:
    """G² of a word in `inside` of a group's `size` captions and in `everywhere` of `total`."""
    outside, rest = everywhere - inside, total - size
    share = everywhere / total
    cells = (
        (inside, size * share),
        (outside, rest * share),
        (size - inside, size * (1 - share)),
        (rest - outside, rest * (1 - share)),
    )
    return round(2 * sum(seen * math.log(seen / expected) for seen, expected in cells if seen), 9)
