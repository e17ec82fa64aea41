"""Subset files, written by numpy as DataComp writes them, and looked up by Python's own sets."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.errors import CurateError
from curate.ops.selection import uids as module
from curate.ops.selection.uids import check_subset, halves, is_in_subset, open_subset

EDGES = [
    "0" * 32,
    "f" * 32,
    "f" * 16 + "0" * 16,
    "0" * 16 + "f" * 16,
    "8" + "0" * 31,
    "7" + "f" * 31,
]


def save(path: Path, uids: list[str]) -> str:
    """A subset as DataComp's own code makes it, value by value."""
    found = np.array([(int(x[:16], 16), int(x[16:32], 16)) for x in uids], np.dtype("u8,u8"))
    found.sort()
    np.save(path, found)
    return str(path)


near = st.integers(0, 5).flatmap(
    lambda i: st.sampled_from([EDGES[i], f"{i:032x}", f"{i << 64:032x}"])
)
UIDS = st.lists(st.one_of(near, st.integers(0, 2**128 - 1).map("{:032x}".format)), max_size=40)


@given(held=UIDS, more=UIDS)
def test_what_is_in_a_subset_is_what_python_says(
    tmp_path_factory: pytest.TempPathFactory, held: list[str], more: list[str]
) -> None:
    path = save(tmp_path_factory.getbasetemp() / "subset.npy", held)
    asked = held[::2] + more + EDGES
    found = is_in_subset(pa.array(asked, pa.string()), open_subset(path))
    assert found.tolist() == [uid in set(held) for uid in asked]
    assert [(a << 64) + b for a, b in halves(pa.array(asked)).tolist()] == [
        int(x, 16) for x in asked
    ]


def test_no_uid_asked_for_is_none_found(tmp_path: Path) -> None:
    subset = open_subset(save(tmp_path / "subset.npy", EDGES))
    assert is_in_subset(pa.chunked_array([], pa.string()), subset).tolist() == []


@pytest.mark.parametrize("together", [1, 2, 1 << 20])
def test_a_subset_is_counted_once_it_can_be_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, together: int
) -> None:
    monkeypatch.setattr(module, "_AT_ONCE", together)
    assert check_subset(save(tmp_path / "subset.npy", [*EDGES, EDGES[0]])) == 7
    for last in ("7" + "f" * 30 + "e", "6" + "f" * 31):
        uids = [*sorted(EDGES)[:4], last]
        unsorted = np.array([(int(x[:16], 16), int(x[16:], 16)) for x in uids], np.dtype("u8,u8"))
        assert uids[3] > uids[4]
        np.save(tmp_path / "unsorted.npy", unsorted)
        with pytest.raises(CurateError, match=r"unsorted\.npy: not sorted, from uid 5 on"):
            check_subset(str(tmp_path / "unsorted.npy"))


BAD: list[tuple[Any, str]] = [
    (None, "no such file"),
    (b"", "not an .npy file"),
    (b"uid\n" + b"0" * 32, "not an .npy file"),
    (np.zeros(3, np.uint64), "it holds uint64; a DataComp subset is a list of u8,u8"),
    (np.zeros((1, 2), np.dtype("u8,u8")), "a DataComp subset is a list of u8,u8"),
    (np.array(["a"], object), "not an .npy file"),
    (np.zeros(0, np.dtype("u8,u8")), "there is no uid in it"),
]


@pytest.mark.parametrize(("content", "message"), BAD)
def test_what_is_no_subset_is_one_line(tmp_path: Path, content: Any, message: str) -> None:
    path = tmp_path / "subset.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.save(path, content, allow_pickle=True)
    with pytest.raises(CurateError) as error:
        check_subset(str(path))
    assert str(error.value).startswith(f"{path}: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)
