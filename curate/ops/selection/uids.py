"""Uids as numbers, and the subset files of DataComp: sorted uids as ``.npy`` of dtype ``u8,u8``.

A list of uids as text, one a line, stands for such a file, in any order.

The two fields are the upper and the lower half of the 128-bit uid. A file is mapped into memory and
searched there by bisection, so memory does not grow with its size.
"""

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from curate import files
from curate.errors import CurateError
from curate.files.stores import told
from curate.files.texts import read_utf8
from curate.ops.kernels import FrozenRows, Rows, nb
from curate.ops.selection.blocklists import lines_of
from curate.schema import Column

DTYPE = np.dtype([("f0", "<u8"), ("f1", "<u8")])
_AT_ONCE = 1 << 20
_MAGIC = b"\x93NUMPY"
_UID = r"^[0-9a-f]{32}$"


def halves(uids: Column) -> NDArray[np.uint64]:
    """The upper and lower half of each uid (32 hex digits), shape (n, 2)."""
    digits = bytes.fromhex("".join(uids.to_pylist()))
    return np.frombuffer(digits, ">u8").reshape(-1, 2).astype("<u8")


def save_uids(url: str, uids: Iterable[str]) -> None:
    """Write uids, each once: a subset file where the name ends in ``.npy``, else one a line, in order.

    Revocation lists are such lines.
    """
    each = [*dict.fromkeys(uids)]
    if not url.endswith(".npy"):
        files.write_bytes(url, "".join(f"{uid}\n" for uid in each).encode())
        return
    save_subset(url, halves(pa.array(each, pa.string())))


def save_subset(url: str, uids: NDArray[np.uint64]) -> int:
    """Write uids as a subset file, sorted and each once; how many there are.

    `uids` are their halves, shape (n, 2).
    """
    ordered = uids[np.lexsort(uids.T[::-1])]
    first = np.ones(len(ordered), np.bool_)
    first[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    found = np.ascontiguousarray(ordered[first]).view(DTYPE).reshape(-1)
    files.write_array(url, found)
    return len(found)


def open_subset(url: str) -> NDArray[np.uint64]:
    """The uids of a subset file as halves, shape (n, 2), mapped into memory; of a text file, sorted.

    Raises
    ------
    CurateError
        Where the file is none, or of another dtype.
    """
    if not files.exists(url):
        raise CurateError(f"{url}: no such file")
    if files.read_range(url, 0, len(_MAGIC)) != _MAGIC and not url.endswith(".npy"):
        return _listed(url)
    try:
        with told(url), files.local_copy(url) as path:
            found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise CurateError(f"{url}: not an .npy file: {str(error).splitlines()[0]}") from None
    if not isinstance(found, np.ndarray) or found.dtype != DTYPE or found.ndim != 1:
        what = getattr(found, "dtype", type(found).__name__)
        raise CurateError(f"{url}: it holds {what}; a DataComp subset is a list of u8,u8")
    return np.asarray(found).view(np.uint64).reshape(-1, 2)


def _listed(url: str) -> NDArray[np.uint64]:
    """The uids of a text file as halves, sorted, each once."""
    lines = lines_of(read_utf8(url))
    wrong = lines.filter(pc.invert(pc.match_substring_regex(lines, _UID, ignore_case=True)))
    if len(wrong):
        raise CurateError(
            f"{url}: {wrong[0].as_py()[:80]!r} is no uid; it takes an .npy file of u8,u8 or 32 hex"
            " digits a line"
        )
    found: NDArray[np.uint64] = np.unique(halves(lines), axis=0)
    return found


def check_subset(url: str) -> int:
    """How many uids a subset file holds, once it is known that they can be searched.

    Raises
    ------
    CurateError
        As `open_subset`, or where the file holds no uid or is not sorted.
    """
    subset = open_subset(url)
    if not len(subset):
        raise CurateError(f"{url}: there is no uid in it")
    for start in range(0, len(subset), _AT_ONCE):
        upper, lower = subset[start : start + _AT_ONCE + 1].T
        falls = (upper[1:] < upper[:-1]) | ((upper[1:] == upper[:-1]) & (lower[1:] < lower[:-1]))
        if falls.any():
            raise CurateError(
                f"{url}: not sorted, from uid {start + int(falls.argmax()) + 2:,} on; as"
                " numpy.sort() leaves it, it can be searched"
            )
    return len(subset)


def is_in_subset(uids: Column, subset: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Whether each uid is in the sorted `subset`, shape (n,).

    >>> import pyarrow as pa
    >>> subset = np.array([[0, 7], [1, 0]], np.uint64)
    >>> is_in_subset(pa.array([f"{1:016x}{0:016x}", f"{1:016x}{7:016x}"]), subset).tolist()
    [True, False]
    """
    found: NDArray[np.bool_] = _search(halves(uids), subset)
    return found


@nb.njit(cache=True, nogil=True)
def _search(wanted: Rows[np.uint64], subset: FrozenRows[np.uint64]) -> NDArray[np.bool_]:
    out = np.zeros(len(wanted), np.bool_)
    for i in range(len(wanted)):
        upper, lower = wanted[i]
        low, high = 0, len(subset)
        while low < high:
            middle = (low + high) >> 1
            if subset[middle, 0] < upper or (
                subset[middle, 0] == upper and subset[middle, 1] < lower
            ):
                low = middle + 1
            else:
                high = middle
        out[i] = low < len(subset) and subset[low, 0] == upper and subset[low, 1] == lower
    return out
