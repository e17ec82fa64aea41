"""Captions compared: a common spelling, and the exact Jaccard similarity of their shingles."""

import unicodedata

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from curate.ops.duplicates.components import root_of
from curate.ops.duplicates.minhash import end_of, shingles_of
from curate.ops.hashing import xxh64
from curate.ops.kernels import Rows, nb
from curate.ops.strings import Strings, buffers
from curate.schema import Column

_U = np.uint64
_APART = r"[^\p{L}\p{M}\p{N}]+"


def normalise_captions(captions: Column) -> pa.Array:
    """Captions as they are compared: NFKC, lower case, one space for all that is not a word.

    Letters, marks and digits of any script are left, and no space at the ends. A caption without
    any (an emoji, a row of dots) stays as it is, so that these do not all become the same.

    >>> normalise_captions(pa.array(["Red-Fox,  RUNS!", "!?"])).to_pylist()
    ['red fox runs', '!?']
    """
    if isinstance(captions, pa.ChunkedArray):
        captions = captions.combine_chunks()
    spelled = pc.utf8_lower(_composed(captions))
    spelled = pc.ascii_trim(pc.replace_substring_regex(spelled, _APART, " "), " ")
    return pc.if_else(pc.equal(spelled, ""), captions, spelled)


def _composed(captions: pa.Array) -> pa.Array:
    """NFKC by Python: Arrow's (25.0) leaves letters and marks apart."""
    wide = pc.invert(pc.fill_null(pc.string_is_ascii(captions), True))
    if not pc.any(wide).as_py():
        return captions
    texts = [unicodedata.normalize("NFKC", text) for text in captions.filter(wide).to_pylist()]
    return pc.replace_with_mask(captions, wide, pa.array(texts, captions.type))


@nb.njit(cache=True)
def _shingle_set(
    content: NDArray[np.uint8], start: int, stop: int, ngram: int
) -> NDArray[np.uint64]:
    starts = np.empty(stop - start + 1, np.int64)
    units, n = shingles_of(content, start, stop, ngram, False, starts)
    hashes = np.empty(n, np.uint64)
    for i in range(n):
        end = end_of(content, starts, i, ngram, units, False)
        hashes[i] = xxh64(content, starts[i], end, _U(0))
    return np.unique(hashes)


@nb.njit(cache=True)
def _similarity(x: NDArray[np.uint64], y: NDArray[np.uint64]) -> float:
    common = m = n = 0
    while m < len(x) and n < len(y):
        if x[m] == y[n]:
            common += 1
            m += 1
            n += 1
        elif x[m] < y[n]:
            m += 1
        else:
            n += 1
    union = len(x) + len(y) - common
    return common / union if union else 1.0


@nb.njit(cache=True, nogil=True)
def _joining(
    content: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    edges: Rows[np.int64],
    threshold: float,
    ngram: int,
) -> NDArray[np.bool_]:
    parent = np.arange(len(offsets) - 1)
    joins = np.zeros(len(edges), np.bool_)
    held = -1
    x = np.empty(0, np.uint64)
    for k in range(len(edges)):
        i, j = edges[k]
        a, b = root_of(parent, i), root_of(parent, j)
        if a == b:
            continue
        if held != i:
            x = _shingle_set(content, offsets[i], offsets[i + 1], ngram)
            held = i
        y = _shingle_set(content, offsets[j], offsets[j + 1], ngram)
        if _similarity(x, y) >= threshold:
            parent[max(a, b)] = min(a, b)
            joins[k] = True
    return joins


def joining_edges(
    captions: Strings, edges: NDArray[np.int64], *, threshold: float, ngram: int = 5
) -> NDArray[np.int64]:
    """Of candidate `edges`, (k, 2) positions, enough true ones to connect what true ones connect.

    True is a Jaccard similarity of the two captions' character shingles (compared by their XXH64)
    of at least `threshold`. An edge within a component that is connected already is skipped, which
    changes no component, whatever the order of the edges.
    """
    content, offsets = buffers(captions)
    joins = _joining(content, offsets, np.ascontiguousarray(edges), threshold, ngram)
    true: NDArray[np.int64] = edges[joins]
    return true


def jaccard(left: str, right: str, *, ngram: int = 5) -> float:
    """Jaccard similarity of the character shingles of two captions, compared by their XXH64."""
    sets = []
    for caption in (left, right):
        content = np.frombuffer(bytearray(caption.encode()), np.uint8)
        sets.append(_shingle_set(content, 0, len(content), ngram))
    return float(_similarity(*sets))
