"""Scores from stored embeddings: negCLIPLoss in random batches, similarity to a target set.

Vectors are unit vectors, or zero where a row has no embedding, so dot products are cosines. BLAS runs
on one thread, since workers are the parallelism here; results do not depend on the processors.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from threadpoolctl import threadpool_limits

from curate import files
from curate.errors import CurateError
from curate.files import listing
from curate.ops.hashing import hash64
from curate.schema import Column

Vectors = NDArray[np.float32]
Stored = NDArray[np.generic]
"""Embeddings as files hold them, of any width and precision: shape (n, width)."""
Norm = Literal["max", 2]
_ROWS = 2048  # of a matrix of cosines at a time
DOUBT = 1e-5
"""A bound on the error of a cosine in single precision; closer comparisons are made in double."""


def unit(vectors: ArrayLike) -> Vectors:
    """The rows scaled to length 1, shape (n, width); rows that are not finite or zero become zero."""
    rows = np.array(vectors, np.float32)
    rows[~np.isfinite(rows).all(axis=1)] = 0
    lengths = np.sqrt((rows * rows).sum(axis=1, keepdims=True))
    lengths[lengths == 0] = 1
    found: Vectors = np.divide(rows, lengths, dtype=np.float32)
    return found


def stored_vectors(content: Mapping[str, Stored], *, kind: str = "img") -> Stored:
    """The array called ``PREFIX_img`` (or ``PREFIX_txt``) of an open .npz, or its only matrix.

    >>> stored_vectors({"uid": np.array(["a"]), "b32_img": np.ones((1, 2))}).shape
    (1, 2)
    """
    names = [name for name in content if name.endswith(f"_{kind}")] or list(content)
    found = [content[name] for name in names]
    matrices = [array for array in found if array.ndim == 2]
    if len(matrices) != 1:
        raise ValueError(f"expected one matrix among its arrays {', '.join(content)}")
    return matrices[0]


def target_files(url: str) -> list[str]:
    """The files of a target set: a .npy, a .npz, or a folder of such; none are an error."""
    found = [path for path in listing.expand(url) if path.endswith((".npy", ".npz"))]
    if not found:
        raise CurateError(f"{url}: no .npy or .npz of embeddings here")
    return found


@lru_cache(maxsize=2)
def read_target(url: str) -> NDArray[np.float16]:
    """The image embeddings of a target set as unit vectors, shape (n, width).

    `url` is a .npy with one a row, a .npz like those beside a run's scores, or a folder of such
    files, for example another run's ``annotated/score``. Rows that are not finite are left out.

    Raises
    ------
    CurateError
        For a file that is none of these, another width in one of the files, or no row at all.
    """
    blocks: list[NDArray[np.float16]] = []
    for path in target_files(url):
        try:
            with files.open_read(path) as file:
                found = np.load(file, allow_pickle=False)
                matrix = found if path.endswith(".npy") else stored_vectors(found)
                vectors = unit(matrix)
        except (ValueError, TypeError, OSError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise CurateError(f"{path}: not a file of embeddings: {reason}") from None
        vectors = vectors[vectors.any(axis=1)]
        if not len(vectors):
            continue
        if blocks and blocks[0].shape[1] != vectors.shape[1]:
            raise CurateError(
                f"{path}: its embeddings are {vectors.shape[1]} wide, those before"
                f" {blocks[0].shape[1]}"
            )
        blocks.append(vectors.astype(np.float16))
    if not blocks:
        raise CurateError(f"{url}: there is no embedding in it")
    return np.concatenate(blocks)


def check_width(target: Stored, vectors: Stored, *, where: str) -> None:
    """Raise CurateError where the embeddings of target set and pool differ in width."""
    if target.shape[1] != vectors.shape[1]:
        raise CurateError(
            f"{where}: its embeddings are {target.shape[1]} wide and the pool's"
            f" {vectors.shape[1]}: they must be of one model"
        )


def nearest(vectors: Vectors, targets: Stored) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The row of `targets` with the highest cosine to each unit vector, and that cosine, (n,) each.

    Ties go to the first row. Comparisons within `DOUBT` are repeated in double precision, so that the
    result of a row depends on the row and the targets alone, and not on the other rows of the call.
    `targets` has at least one row, in any precision and of any length.
    """
    n = len(vectors)
    at = np.zeros(n, np.int64)
    best, second = np.full((2, n), -np.inf, np.float32)
    with threadpool_limits(1):
        for start, block in _unit_blocks(targets):
            for rows in _slices(n, size=512):
                cosines = vectors[rows] @ block.T
                found = cosines.argmax(axis=1)
                here = np.arange(len(found)), found
                value, cosines[here] = cosines[here], -np.inf
                more = value > best[rows]
                second[rows] = np.maximum(
                    np.maximum(second[rows], cosines.max(axis=1)), np.minimum(best[rows], value)
                )
                at[rows] = np.where(more, start + found, at[rows])
                best[rows] = np.maximum(best[rows], value)
        for rows in _slices(n):
            doubtful = rows.start + np.flatnonzero(best[rows] - second[rows] < DOUBT)
            if len(doubtful):
                at[doubtful] = _nearest_in_double(vectors[doubtful], targets)
    cosines = np.empty(n)
    for rows in _slices(n):
        cosines[rows] = exact_cosines(vectors[rows], unit(targets[at[rows]]))
    return at, cosines


def _nearest_in_double(vectors: Vectors, targets: Stored) -> NDArray[np.int64]:
    at = np.zeros(len(vectors), np.int64)
    best = np.full(len(vectors), -np.inf)
    equal = 1e-12
    for start, block in _unit_blocks(targets):
        cosines = vectors.astype(np.float64) @ block.T.astype(np.float64)
        value = cosines.max(axis=1)
        found = (cosines >= value[:, None] - equal).argmax(axis=1)
        at = np.where(value > best + equal, start + found, at)
        best = np.maximum(best, value)
    return at


def exact_cosines(one: Vectors, other: Vectors) -> NDArray[np.float64]:
    """The cosine of each row of `one` and the same row of `other`, unit vectors, (n,)."""
    found: NDArray[np.float64] = np.einsum(
        "ij,ij->i", one.astype(np.float64), other.astype(np.float64)
    )
    return found


def norm_sim(vectors: Vectors, target: Stored, *, norm: Norm) -> NDArray[np.float32]:
    """How near each row is to a target set, shape (n,): a norm of its cosines to all of it.

    ``max`` is the highest cosine, ``2`` the root of the sum of their squares (NormSim of
    arXiv 2405.19547, section 4). Memory does not grow with the target: for the squares the sum of its
    outer products is enough.
    """
    best = np.full(len(vectors), -np.inf, np.float32)
    width = vectors.shape[1]
    moments = np.zeros((width, width), np.float64)
    with threadpool_limits(1):
        for block in _blocks(target):
            if norm == 2:
                moments += block.T @ block
            else:
                for rows in _slices(len(vectors)):
                    best[rows] = np.maximum(best[rows], (vectors[rows] @ block.T).max(axis=1))
        if norm == 2:
            best = np.sqrt(np.einsum("ij,jk,ik->i", vectors, moments, vectors, optimize=True))
    return best.astype(np.float32)


def _blocks(target: Stored) -> Iterator[Vectors]:
    for rows in _slices(len(target), size=8 * _ROWS):
        yield target[rows].astype(np.float32)


def _unit_blocks(target: Stored) -> Iterator[tuple[int, Vectors]]:
    for rows in _slices(len(target), size=8 * _ROWS):
        yield rows.start, unit(target[rows])


def _slices(n: int, *, size: int = _ROWS) -> Iterator[slice]:
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))


def neg_clip_loss(image: Vectors, text: Vectors, *, tau: float) -> NDArray[np.float32]:
    """The cosine of each pair less a term for its similarity to the rest of the batch, shape (n,).

    ``s_ii - tau/2 (log sum_j exp(s_ij / tau) + log sum_j exp(s_ji / tau))``, at most 0
    (arXiv 2405.19547, section 3). A few thousand rows of the matrix s are in memory at a time.
    """
    n = len(image)
    by_row = np.empty(n)
    own = np.empty(n)
    highest = np.full(n, -np.inf, np.float32)
    sums = np.zeros(n)
    with threadpool_limits(1):
        for rows in _slices(n):
            cosines = image[rows] @ text.T
            own[rows] = cosines[np.arange(len(cosines)), np.arange(rows.start, rows.stop)]
            by_row[rows] = _log_sum(cosines, tau)
            now = np.maximum(highest, cosines.max(axis=0))
            sums *= np.exp((highest.astype(np.float64) - now) / tau)
            sums += np.exp((cosines - now) / np.float32(tau)).sum(axis=0, dtype=np.float64)
            highest = now
    by_column = highest + tau * np.log(sums)
    found: NDArray[np.float32] = (own - (by_row + by_column) / 2).astype(np.float32)
    return found


def _log_sum(cosines: Vectors, tau: float) -> NDArray[np.float64]:
    """``tau log sum_j exp(s_j / tau)`` of each row."""
    highest = cosines.max(axis=1, keepdims=True)
    sums = np.exp((cosines - highest) / np.float32(tau)).sum(axis=1, dtype=np.float64)
    found: NDArray[np.float64] = highest[:, 0] + tau * np.log(sums)
    return found


def draw_batches(uids: Column, *, size: int, seed: int) -> list[NDArray[np.int64]]:
    """All rows in random batches of about `size` rows; the permutation depends on the uids alone.

    Their sizes differ by at most one, and their number brings these nearest to `size`.
    """
    order = np.lexsort((np.asarray(uids.to_pylist(), "S"), hash64(uids, seed=seed)))
    count = max(round(len(order) / size), 1)
    return [batch for batch in np.array_split(order, count) if len(batch)]


def draw_blocks(rows: list[int], *, size: int, seed: int) -> list[list[int]]:
    """Parts in random groups of about `size` rows or somewhat more.

    `rows` are the numbers of rows of the parts; one group if all have no more than `size` together.
    """
    order = np.random.default_rng(seed).permutation(len(rows)).tolist()
    total = sum(rows)
    count = max(total // size, 1)
    blocks: list[list[int]] = [[] for _ in range(count)]
    before = 0
    for part in order:
        if rows[part]:
            blocks[before * count // total].append(part)
        before += rows[part]
    return [sorted(block) for block in blocks if block]
