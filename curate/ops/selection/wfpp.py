"""Word-frequency pruning (WFPP): the score of a caption by how frequent its words are in the pool.

Source: Image-text Pair Pruning Based on Word Frequency (arXiv 2410.10879), equations 1 and 2, and
its released code. Words are those of CLIP's tokenizer: lower case, a contraction's ending, a run of
letters, a single digit, or a run of anything else; no repair of broken encodings and no unescaping of
HTML goes before. A word is known by its XXH64: among 100 million words two share one with a
probability of 0.03 %.
"""

import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from curate.ops.hashing import xxh64
from curate.ops.kernels import nb
from curate.ops.strings import buffers
from curate.schema import Column

FEWEST = 5
"""Words that occur less often do not count, neither in a caption nor in the total."""

LONGEST = 30
"""Words of a caption that take part; those after them do not."""

_SPACE, _LETTER, _DIGIT, _OTHER = range(4)
_U = np.uint64


@lru_cache
def _classes() -> NDArray[np.uint8]:
    """The tokenizer's class of each code point."""
    kinds = {"L": _LETTER, "N": _DIGIT}
    found = [kinds.get(unicodedata.category(chr(i))[0], _OTHER) for i in range(0x110000)]
    for i in range(0x3001):
        if chr(i).isspace():
            found[i] = _SPACE
    return np.array(found, np.uint8)


@nb.njit(inline="always")
def _width(byte: int) -> int:
    """Bytes of the UTF-8 character that begins with `byte`."""
    if byte < 0x80:
        return 1
    return 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4


@nb.njit(inline="always")
def _class(content: NDArray[np.uint8], at: int, classes: NDArray[np.uint8]) -> np.uint8:
    lead = np.int64(content[at])
    if lead < 0x80:
        return classes[lead]
    point = lead & (0x1F if lead < 0xE0 else 0x0F if lead < 0xF0 else 0x07)
    for k in range(1, _width(lead)):
        point = (point << 6) | (np.int64(content[at + k]) & 0x3F)
    return classes[point]


@nb.njit(inline="always")
def _contraction(content: NDArray[np.uint8], at: int, stop: int) -> int:
    """Bytes of the contraction's ending at `at`, 0 if there is none: 's 't 'm 'd 're 've 'll."""
    if content[at] != 39 or at + 1 >= stop:
        return 0
    one = content[at + 1]
    if one == 115 or one == 116 or one == 109 or one == 100:
        return 2
    if at + 2 < stop:
        two = content[at + 2]
        if ((one == 114 or one == 118) and two == 101) or (one == 108 and two == 108):
            return 3
    return 0


@nb.njit(cache=True, nogil=True)
def _words(
    content: NDArray[np.uint8], offsets: NDArray[np.int64], classes: NDArray[np.uint8], most: int
) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Hashes of the words of all captions, at most `most` of each, and where each caption's end."""
    out = np.empty(12 * len(offsets), np.uint64)
    ends = np.zeros(len(offsets), np.int64)
    n = 0
    for row in range(len(offsets) - 1):
        at, stop = offsets[row], offsets[row + 1]
        first = n
        while at < stop and n - first < most:
            kind = _class(content, at, classes)
            if kind == _SPACE:
                at += _width(content[at])
                continue
            start = at
            at += max(_contraction(content, at, stop), _width(content[at]))
            if kind == _LETTER or (kind == _OTHER and at == start + _width(content[start])):
                while at < stop and _class(content, at, classes) == kind:
                    at += _width(content[at])
            if n == len(out):
                out = np.concatenate((out, np.empty_like(out)))
            out[n] = xxh64(content, start, at, _U(0))
            n += 1
        ends[row + 1] = n
    return out[:n].copy(), ends


class WordCounts(NamedTuple):
    """How often each word occurs."""

    words: NDArray[np.uint64]  # (n,), hashes, ascending
    counts: NDArray[np.int64]  # (n,)


def count_words(captions: Column) -> WordCounts:
    """Count the words of all `captions`, a StringArray, LargeStringArray or ChunkedArray."""
    lowered = buffers(pc.utf8_lower(captions))
    hashes, _ = _words(*lowered, _classes(), np.iinfo(np.int64).max)
    words, counts = np.unique(hashes, return_counts=True)
    return WordCounts(words, counts)


def sum_counts(found: Sequence[WordCounts]) -> WordCounts:
    """The counts of several pools together."""
    words = np.concatenate([np.empty(0, np.uint64), *(one.words for one in found)])
    counts = np.concatenate([np.empty(0, np.int64), *(one.counts for one in found)])
    order = np.argsort(words, kind="stable")
    words, counts = words[order], counts[order]
    starts = np.flatnonzero(np.diff(words, prepend=~words[:1]) != 0)
    return WordCounts(words[starts], np.add.reduceat(counts, starts) if len(starts) else counts)


class WordWeights(NamedTuple):
    """The weight P_w of each word in a caption's score; words that have none are left out."""

    words: NDArray[np.uint64]  # (n,), hashes, ascending
    weights: NDArray[np.float64]  # (n,), P_w, from 0 to below 1


def word_weights(found: WordCounts, *, threshold: float) -> WordWeights:
    """``P_w = 1 - sqrt(threshold / f)`` for each word, `f` being its share of all words.

    Words that occur fewer than `FEWEST` times are no part of the total. A word without a weight, and
    one whose P_w would be negative, is a factor of 1.
    """
    often = found.counts >= FEWEST
    words, counts = found.words[often], found.counts[often]
    weights = 1 - np.sqrt(threshold / (counts / counts.sum()))
    return WordWeights(words[weights >= 0], weights[weights >= 0])


@nb.njit(cache=True, nogil=True)
def _score(
    hashes: NDArray[np.uint64],
    ends: NDArray[np.int64],
    words: NDArray[np.uint64],
    weights: NDArray[np.float64],
) -> NDArray[np.float64]:
    out = np.zeros(len(ends) - 1)
    for row in range(len(out)):
        product = 1.0
        for k in range(ends[row], ends[row + 1]):
            low, high = 0, len(words)
            while low < high:
                middle = (low + high) >> 1
                if words[middle] < hashes[k]:
                    low = middle + 1
                else:
                    high = middle
            if low < len(words) and words[low] == hashes[k]:
                product *= weights[low]
        n = ends[row + 1] - ends[row]
        if n:
            out[row] = (1.0 - product) / n
    return out


def word_scores(captions: Column, weights: WordWeights) -> NDArray[np.float64]:
    """``(1 - prod P_w) / n`` over the first ``n <= LONGEST`` words of each caption, shape (n,).

    High where words are rare and captions short; 0 without words.
    """
    hashes, ends = _words(*buffers(pc.utf8_lower(captions)), _classes(), LONGEST)
    scores: NDArray[np.float64] = _score(hashes, ends, weights.words, weights.weights)
    return scores
