"""placed: the rows of each part in files, ordered by cluster, so that a worker reads those of its own.

A part has three files: where each cluster begins in the others, what is known of each row, and the
embeddings as they are stored, row by row.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from curate import files

PLACED = np.dtype([("cluster", "<i4"), ("row", "<i4"), ("cosine", "<f8"), ("uid", "S32")])
"""Of a row: its cluster, its number in the part, its cosine to the centroid, the pair's uid."""


def in_order(placed: NDArray[np.void]) -> NDArray[np.int64]:
    """By cluster; in it the ones farthest from its centroid first."""
    return np.lexsort((placed["uid"], placed["cosine"], placed["cluster"]))


def write_placed(
    placed: NDArray[np.void],
    stored: NDArray[np.floating],
    *,
    clusters: int,
    at: Callable[[str], str],
) -> NDArray[np.int64]:
    """Write the files of a part, ``at(ENDING)``; how many rows are in each cluster.

    `placed` is of the dtype `PLACED`, `stored` are the embeddings of its rows, shape (n, width).
    """
    order = in_order(placed)
    sizes = np.bincount(placed["cluster"], minlength=clusters).astype(np.int64)
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype("<i8")
    for ending, content in (
        ("starts", starts), ("placed", placed[order]),
        ("vectors", np.ascontiguousarray(stored[order], "<f2")),
    ):  # fmt: skip
        files.write_bytes(at(ending), content.tobytes())
    return sizes


class ClusterRows:
    """The rows of consecutive clusters, of all parts, in order."""

    def __init__(
        self, indices: list[int], group: tuple[int, int], *, at: Callable[[int, str], str]
    ) -> None:
        self._at = at
        self._starts: dict[int, int] = {}
        found, parts, places = [], [], []
        for index in sorted(indices):
            content = files.read_range(at(index, "starts"), 8 * group[0], 8 * group[1] + 8)
            starts = np.frombuffer(content, "<i8")
            first, end = int(starts[0]), int(starts[-1])
            if end > first:
                self._starts[index] = first
                size = PLACED.itemsize
                content = files.read_range(at(index, "placed"), size * first, size * end)
                found.append(np.frombuffer(content, PLACED))
                parts.append(np.full(end - first, index))
                places.append(np.arange(end - first))
        placed = np.concatenate(found)
        order = in_order(placed)
        self.placed = placed[order]
        self.part = np.concatenate(parts)[order]
        self._place = np.concatenate(places)[order]

    def vectors(self, rows: slice, width: int) -> NDArray[np.float16]:
        """The embeddings of consecutive rows; those of one part lie together in its file too."""
        found = np.empty((rows.stop - rows.start, width), np.dtype("<f2"))
        for index in np.unique(self.part[rows]).tolist():
            here = np.flatnonzero(self.part[rows] == index)
            places = self._place[rows][here]
            first, end = int(places[0]), int(places[-1]) + 1
            start = self._starts[index]
            url = self._at(index, "vectors")
            bounds = (2 * width * (start + place) for place in (first, end))
            stored = np.frombuffer(files.read_range(url, *bounds), "<f2").reshape(-1, width)
            found[here] = stored[places - first]
        return found
