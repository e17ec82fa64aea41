"""Whether texts contain a word or a phrase of a list: words between white space, in any case."""

from functools import lru_cache
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate import files
from curate.ops.text.lists import read_words
from curate.schema import Column


class Phrases:
    """Words and phrases ready to be looked for.

    A word is what stands between white space, so `fox` is not in "foxes", nor in "fox,"; a phrase is
    its words, one after the other, however much white space is between them.

    >>> Phrases(["red fox", "Snow"]).are_in(pa.array(["A RED  fox", "fox red", "snow"])).to_pylist()
    [True, False, True]
    """

    def __init__(self, phrases: list[str]) -> None:
        split = pc.utf8_split_whitespace(pc.utf8_trim_whitespace(pc.utf8_lower(pa.array(phrases))))
        self._words = pc.unique(split.flatten())
        ids = pc.index_in(split.flatten(), value_set=self._words).to_numpy()
        ends = split.offsets.to_numpy()
        self._longest = int(np.diff(ends).max())
        # A phrase is a path of a trie: node 0 is the root, an edge has the key node * words + word.
        nodes: dict[int, int] = {}
        whole = []
        for start, end in pairwise(ends.tolist()):
            node = 0
            for word in ids[start:end].tolist():
                node = nodes.setdefault(node * len(self._words) + word, len(nodes) + 1)
            whole.append(node)
        self._edges = np.array(sorted(nodes), np.int64)
        self._nodes = np.array([nodes[key] for key in sorted(nodes)], np.int64)
        self._ends = np.zeros(len(nodes) + 1, np.bool_)
        self._ends[whole] = True

    def are_in(self, texts: Column) -> pa.Array:
        """Whether a phrase is in each text, shape (n,); null of a null."""
        if isinstance(texts, pa.ChunkedArray):
            texts = texts.combine_chunks()
        split = pc.utf8_split_whitespace(pc.utf8_lower(pc.fill_null(texts, "")))
        words = pc.index_in(split.flatten(), value_set=self._words)
        ids = pc.fill_null(words, -1).to_numpy().astype(np.int64)
        row = np.repeat(np.arange(len(split)), pc.list_value_length(split).to_numpy())
        found = np.zeros(len(split), np.bool_)
        at = np.flatnonzero(ids >= 0)  # where a path may begin
        node = np.zeros(len(at), np.int64)
        for step in range(self._longest):
            here = at + step
            inside = here < len(ids)
            at, node, here = at[inside], node[inside], here[inside]
            goes_on = (row[here] == row[at]) & (ids[here] >= 0)
            at, node, here = at[goes_on], node[goes_on], here[goes_on]
            key = node * len(self._words) + ids[here]
            place = np.minimum(np.searchsorted(self._edges, key), len(self._edges) - 1)
            known = self._edges[place] == key
            at, node = at[known], self._nodes[place[known]]
            found[row[at[self._ends[node]]]] = True
        return pc.if_else(pc.is_valid(texts), pa.array(found), None)


def phrases_of(path: str) -> Phrases:
    """The list in the file at `path`, read once a process for what it holds."""
    return _read(path, files.content_digest(path))


@lru_cache(maxsize=16)
def _read(path: str, digest: str) -> Phrases:
    return Phrases(read_words(path))
