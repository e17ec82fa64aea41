"""fastText's supervised classifier, read from its file and run on Arrow buffers.

What is computed is fastText's own prediction, in its own order of operations: the words of a line and
their character n-grams, each the row of a bucket that the quantisation kept; their mean; the most
likely leaf of the hierarchical softmax. The library itself makes a string and a heap for each caption.

Source: Joulin et al., "Bag of Tricks for Efficient Text Classification" (arXiv 1607.01759) and
"FastText.zip" (arXiv 1612.03651); the file format of fastText 0.9.
"""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from curate import files
from curate.errors import CurateError
from curate.ops.kernels import FrozenRows, Rows, nb
from curate.ops.strings import Buffers, Strings, buffers
from curate.ops.text.trie import Trie, find_unit, grown
from curate.ops.text.units import key_of

_MAGIC, _VERSION = 793712314, 12
_HIERARCHICAL_SOFTMAX, _SUPERVISED = 1, 3
_CENTROIDS = 256
_BLANK = np.zeros(256, np.bool_)
_BLANK[list(b" \n\r\t\v\f\0")] = True
_LABEL = np.frombuffer(b"__label__", np.uint8)
_END = np.frombuffer(b"</s>", np.uint8)  # the word that fastText puts at the end of a line, row 0
_BASIS, _PRIME = np.uint32(2166136261), np.uint32(16777619)  # FNV-1a
_F = np.float32


class Classifier(NamedTuple):
    """A quantised model with hierarchical softmax over `n` labels of dimension `dim`."""

    labels: list[str]
    words: Trie  # the vocabulary; a word's entry is its row
    bucket_rows: NDArray[np.uint16]  # (buckets,): the row of an n-gram's bucket + 1, or 0
    rows: NDArray[np.float32]  # (rows, dim)
    output: NDArray[np.float32]  # (n, dim): the inner nodes of the label tree
    children: NDArray[np.int32]  # (2 n - 1, 2): of each node; the first n are leaves
    min_n: int  # characters of an n-gram
    max_n: int


class _Reader:
    def __init__(self, content: bytes) -> None:
        self.content = content
        self.at = 0

    def numbers(self, kinds: str) -> tuple[Any, ...]:
        found = struct.unpack_from(f"<{kinds}", self.content, self.at)
        self.at += struct.calcsize(f"<{kinds}")
        return found

    def word(self) -> bytes:
        start, self.at = self.at, self.content.index(b"\0", self.at) + 1
        return self.content[start : self.at - 1]

    def array(self, kind: str, n: int) -> NDArray[Any]:
        found = np.frombuffer(self.content, kind, n, self.at)
        self.at += found.nbytes
        return found

    def quantiser(self) -> tuple[int, NDArray[np.float32]]:
        """Sub-vectors, and the centroids of each, (sub-vectors, 256, dimension of one)."""
        dim, n, size, last = self.numbers("4i")
        if last != size:
            raise ValueError("its sub-vectors are not of one size")
        return n, self.array("<f4", dim * _CENTROIDS).reshape(n, _CENTROIDS, size)


def load(path: str) -> Classifier:
    """Read a model file (`.ftz`).

    Raises
    ------
    CurateError
        Where the file is not such a model.
    """
    with _told_of(path):
        return _parse(_Reader(files.read_bytes(path)))


def labels(path: str) -> list[str]:
    """The labels of a model file, by its dictionary alone: no kernel is waited for.

    Raises
    ------
    CurateError
        Where the file does not begin as such a model.
    """
    with _told_of(path):
        return _begun(_Reader(files.read_bytes(path))).labels


@contextmanager
def _told_of(path: str) -> Iterator[None]:
    try:
        yield
    except (struct.error, ValueError, IndexError) as error:
        raise CurateError(
            f"{path}: not a quantised fastText classifier with hierarchical softmax: {error}"
        ) from None


class _Begin(NamedTuple):
    """A model's file up to its numbers."""

    labels: list[str]
    words: list[bytes]
    counts: list[int]  # of each label, in descending order
    dim: int
    buckets: int
    kept: int  # buckets that the quantisation kept
    min_n: int
    max_n: int


def _begun(file: _Reader) -> _Begin:
    if file.numbers("2i") != (_MAGIC, _VERSION):
        raise ValueError("it does not begin as one")
    dim, _, _, _, _, word_ngrams, loss, model, buckets, min_n, max_n, _ = file.numbers("12i")
    file.numbers("d")
    if (word_ngrams, loss, model) != (1, _HIERARCHICAL_SOFTMAX, _SUPERVISED):
        raise ValueError("it is another kind of model")
    size, n_words, _, _, kept = file.numbers("iiiqq")
    texts, counts = [], []
    for _ in range(size):
        texts.append(file.word())
        counts.append(file.numbers("qb")[0])
    labels = [text.decode()[len(_LABEL) :] for text in texts[n_words:]]
    return _Begin(
        labels, texts[:n_words], counts[n_words:], dim=dim, buckets=buckets, kept=kept,
        min_n=min_n, max_n=max_n,
    )  # fmt: skip


def _parse(file: _Reader) -> Classifier:
    begin = _begun(file)
    dim, kept, n_words = begin.dim, begin.kept, len(begin.words)
    if kept < 0 or n_words + kept >= 1 << 16:
        raise ValueError("its n-grams are not pruned")
    pruned = file.array("<i4", 2 * kept).reshape(-1, 2)
    bucket_rows = np.zeros(begin.buckets, np.uint16)
    bucket_rows[pruned[:, 0]] = pruned[:, 1] + n_words + 1
    quantised, with_norms = file.numbers("??")
    if not quantised:
        raise ValueError("it is not quantised")
    n_rows, _, n_codes = file.numbers("qqi")
    codes = file.array("u1", n_codes).reshape(n_rows, -1)
    parts, centroids = file.quantiser()
    rows = centroids[np.arange(parts), codes].reshape(n_rows, dim)
    if with_norms:
        norms = file.array("u1", n_rows)
        rows = rows * file.quantiser()[1].reshape(-1)[norms][:, None]
    if file.numbers("?") != (False,):
        raise ValueError("its output is quantised")
    shape = file.numbers("qq")
    output = file.array("<f4", shape[0] * shape[1]).reshape(shape)
    lengths = [0, *np.cumsum([len(word) for word in begin.words])]
    vocabulary = Buffers(
        np.frombuffer(bytearray().join(begin.words), np.uint8), np.array(lengths, np.int64)
    )
    return Classifier(
        labels=begin.labels,
        words=grown(vocabulary, np.arange(n_words), by_character=False),
        bucket_rows=bucket_rows,
        rows=rows,
        output=output,
        children=_label_tree(begin.counts),
        min_n=begin.min_n,
        max_n=begin.max_n,
    )


def _label_tree(counts: list[int]) -> NDArray[np.int32]:
    """The children of each node of the Huffman tree over labels in descending order of count."""
    n = len(counts)
    weights = [*counts, *[10**15] * (n - 1)]
    children = np.full((2 * n - 1, 2), -1, np.int32)
    leaf, inner = n - 1, n
    for node in range(n, 2 * n - 1):
        for side in range(2):
            if leaf >= 0 and weights[leaf] < weights[inner]:
                children[node, side], leaf = leaf, leaf - 1
            else:
                children[node, side], inner = inner, inner + 1
        weights[node] = sum(weights[child] for child in children[node])
    return children


def predict(model: Classifier, captions: Strings) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The number of the most likely label of each caption, (n,), and its probability, (n,).

    Captions hold no line feed. The library's probabilities may pass 1 by a hair; these do not.
    """
    labels, logs = _predict(
        buffers(captions), model.words, model.bucket_rows, model.rows, model.output, model.children,
        model.min_n, model.max_n,
    )  # fmt: skip
    return labels, np.minimum(np.exp(logs), _F(1))


@nb.njit(inline="always")
def _begins(content: NDArray[np.uint8], start: int, stop: int, what: NDArray[np.uint8]) -> bool:
    if stop - start < len(what):
        return False
    for k in range(len(what)):  # noqa: SIM110 - the compiler has no generators
        if content[start + k] != what[k]:
            return False
    return True


@nb.njit(inline="always")
def _log(x: float) -> np.float32:
    return _F(np.log(np.float64(x) + 1e-5))


@nb.njit
def _leaf(
    hidden: NDArray[np.float32],
    output: NDArray[np.float32],
    children: NDArray[np.int32],
    stack: NDArray[np.int32],
    scores: NDArray[np.float32],
) -> tuple[int, np.float32]:
    """The leaf with the highest product of the branches' probabilities, and that product's logarithm.

    Depth first, left first.
    """
    n = len(output)
    dim = len(hidden)
    best, best_score = -1, _F(-np.inf)
    stack[0], scores[0] = 2 * n - 2, 0
    top = 1
    lowest = _log(0.0)
    while top:
        top -= 1
        node, score = stack[top], scores[top]
        if score < lowest or score < best_score:
            continue
        left, right = children[node]
        if left < 0:
            best, best_score = node, score
            continue
        dot = _F(0)
        for d in range(dim):
            dot += output[node - n, d] * hidden[d]
        up = _F(1.0 / np.float64(_F(1) + np.exp(-dot)))
        stack[top], scores[top] = right, score + _log(up)
        stack[top + 1], scores[top + 1] = left, score + _log(1.0 - np.float64(up))
        top += 2
    return best, best_score


@nb.njit(cache=True, nogil=True)
def _predict(
    captions: Buffers,
    words: Trie,
    bucket_rows: NDArray[np.uint16],
    rows: Rows[np.float32],
    output: FrozenRows[np.float32],
    children: Rows[np.int32],
    min_n: int,
    max_n: int,
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    content, offsets = captions
    n = len(offsets) - 1
    longest = 0
    for row in range(n):
        longest = max(longest, offsets[row + 1] - offsets[row])
    word = np.empty(longest + 2, np.uint8)
    dim = rows.shape[1]
    hidden = np.empty(dim, np.float32)
    stack, scores = np.empty(len(children), np.int32), np.empty(len(children), np.float32)
    buckets = np.uint32(len(bucket_rows))
    taken = np.empty(64, np.int32)
    found = np.empty(n, np.int32)
    logs = np.empty(n, np.float32)
    for i in range(n):
        at, stop = offsets[i], offsets[i + 1]
        m = 0
        ended = False
        while not ended:
            while at < stop and _BLANK[content[at]]:
                at += 1
            begin = at
            while at < stop and not _BLANK[content[at]]:
                at += 1
            size = at - begin
            ended = size == 0 or (size == len(_END) and _begins(content, begin, at, _END))
            most = (size + 2) * max_n + 1
            if m + most > len(taken):
                taken = np.concatenate((taken, np.empty(len(taken) + most, np.int32)))
            if ended:
                taken[m] = 0
                m += 1
                break
            low, high = key_of(content, begin, at)
            entry = (
                np.int64(
                    find_unit(words.units, words.long, low, high, content, begin, at)
                    >> np.uint64(32)
                )
                - 1
            )
            if entry >= 0:
                taken[m] = entry
                m += 1
            elif _begins(content, begin, at, _LABEL):
                continue
            word[0], word[size + 1] = 60, 62  # < and >
            for k in range(size):
                word[k + 1] = content[begin + k]
            size += 2
            for first in range(size):
                if (word[first] & 0xC0) == 0x80:
                    continue
                h = _BASIS
                k = first
                for length in range(1, max_n + 1):
                    if k == size:
                        break
                    while True:
                        h = np.uint32((h ^ np.uint32(np.int8(word[k]))) * _PRIME)
                        k += 1
                        if k == size or (word[k] & 0xC0) != 0x80:
                            break
                    if length >= min_n:
                        kept = bucket_rows[h % buckets]
                        if kept:
                            taken[m] = np.int32(kept) - 1
                            m += 1
        hidden[:] = 0
        for k in range(m):
            for d in range(dim):
                hidden[d] += rows[taken[k], d]
        for d in range(dim):
            hidden[d] *= _F(1.0 / m)
        found[i], logs[i] = _leaf(hidden, output, children, stack, scores)
    return found, logs
