"""The hashing kernels against the xxhash package."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.ops.hashing import hash64, pair_uids, uniform, xxh32, xxh64

texts = st.text(st.characters(codec="utf-8"), max_size=80)
seeds = st.integers(0, 2**64 - 1)


def column(*strings: str | None) -> Any:
    return pa.array(strings, pa.string())


@given(content=st.binary(max_size=200), seed=seeds, before=st.integers(0, 9))
@settings(max_examples=250, deadline=None)
def test_xxh64_is_xxhash(content: bytes, seed: int, before: int) -> None:
    buffer = np.frombuffer(bytes(before) + content + b"tail", np.uint8)
    h = xxh64(buffer, before, before + len(content), np.uint64(seed))
    assert int(h) == xxhash.xxh64_intdigest(content, seed)


@given(content=st.binary(max_size=200), before=st.integers(0, 9))
@settings(max_examples=250, deadline=None)
def test_xxh32_is_xxhash(content: bytes, before: int) -> None:
    buffer = np.frombuffer(bytes(before) + content + b"tail", np.uint8)
    assert int(xxh32(buffer, before, before + len(content))) == xxhash.xxh32_intdigest(content)


@pytest.mark.parametrize("length", range(70))
def test_every_length_around_the_lanes(length: int) -> None:
    content = bytes(range(200, 200 - length, -1)) if length else b""
    buffer = np.frombuffer(content, np.uint8)
    assert int(xxh64(buffer, 0, length, np.uint64(0))) == xxhash.xxh64_intdigest(content)
    assert int(xxh32(buffer, 0, length)) == xxhash.xxh32_intdigest(content)


def test_published_values_of_the_empty_string() -> None:
    empty = np.empty(0, np.uint8)
    assert int(xxh64(empty, 0, 0, np.uint64(0))) == 0xEF46DB3751D8E999
    assert int(xxh32(empty, 0, 0)) == 0x02CC5D05


@given(strings=st.lists(st.none() | texts, max_size=20), seed=seeds)
@settings(max_examples=100, deadline=None)
def test_hash64_of_a_column(strings: list[str | None], seed: int) -> None:
    expected = [xxhash.xxh64_intdigest((s or "").encode(), seed) for s in strings]
    hashes = hash64(column(*strings), seed=seed)
    assert hashes.dtype == np.uint64
    assert hashes.tolist() == expected


def test_hash64_with_a_seed_for_each_string() -> None:
    keys = np.array([0, 2**64 - 1, 7], np.uint64)
    expected = [xxhash.xxh64_intdigest(b"same", int(seed)) for seed in keys]
    assert hash64(column("same", "same", "same"), seed=keys).tolist() == expected


def test_hash64_of_slices_chunks_and_large_strings_is_the_same() -> None:
    whole = hash64(column("a", "bb", None, "dddd")).tolist()
    table = pa.chunked_array([["x", "a"], ["bb", None, "dddd", "y"]], pa.large_string())
    assert hash64(table.slice(1, 4)).tolist() == whole
    assert hash64(column("x", "a", "bb", None, "dddd").slice(1)).tolist() == whole


def _uid(url: str, caption: str) -> str:
    """The docstring's definition: each half is the caption's hash seeded with the URL's."""
    halves = [
        xxhash.xxh64_intdigest(caption.encode(), xxhash.xxh64_intdigest(url.encode(), seed))
        for seed in (int.from_bytes(b"curate", "big"), int.from_bytes(b"pair", "big"))
    ]
    return "".join(f"{half:016x}" for half in halves)


@given(pairs=st.lists(st.tuples(texts, texts), max_size=12))
@settings(max_examples=100, deadline=None)
def test_pair_uids_by_their_definition(pairs: list[tuple[str, str]]) -> None:
    urls, captions = column(*(u for u, _ in pairs)), column(*(c for _, c in pairs))
    uids = pair_uids(urls, captions)
    assert uids.type == pa.string()
    uids.validate(full=True)
    assert uids.to_pylist() == [_uid(url, caption) for url, caption in pairs]


def test_pair_uids_stay_what_they_are() -> None:
    urls = column("https://example.org/a.jpg", "https://example.org/a.jpg", "")
    uids = pair_uids(urls, column("a red fox", "a red fox.", "")).to_pylist()
    assert uids == [_uid("https://example.org/a.jpg", "a red fox"),
                    _uid("https://example.org/a.jpg", "a red fox."), _uid("", "")]  # fmt: skip
    assert uids[0] == "0a385f271c0578fc7391a72cbc4176c5"


def test_pair_uids_tell_url_from_caption() -> None:
    uids = pair_uids(column("a", "b", "ab", ""), column("b", "a", "", "ab")).to_pylist()
    assert len(set(uids)) == 4
    assert all(len(uid) == 32 and set(uid) <= set("0123456789abcdef") for uid in uids)


def test_many_pairs_have_as_many_uids() -> None:
    names = pa.array([str(i) for i in range(500)])
    urls = names.take(pa.array(np.repeat(np.arange(500), 500)))
    captions = names.take(pa.array(np.tile(np.arange(500), 500)))
    uids = pair_uids(urls, captions)
    assert len(uids.unique()) == 250_000
    halves = np.frombuffer(uids.buffers()[2], "S16").reshape(-1, 2)
    assert len(np.unique(halves[:, 0])) == len(np.unique(halves[:, 1])) == 250_000


@given(uid=texts, seed=st.integers(-(2**70), 2**70))
@settings(max_examples=200, deadline=None)
def test_uniform_is_the_top_53_bits(uid: str, seed: int) -> None:
    [value] = uniform(column(uid), seed=seed)
    assert value == (xxhash.xxh64_intdigest(uid.encode(), seed % 2**64) >> 11) / 2**53
    assert 0.0 <= value < 1.0


def test_uniform_depends_on_the_uid_alone_and_is_uniform() -> None:
    uids = pa.array([f"{i:032x}" for i in range(100_000)])
    drawn = uniform(uids, seed=3)
    assert drawn[500:600].tolist() == uniform(uids.slice(500, 100), seed=3).tolist()
    in_each = np.histogram(drawn, bins=20, range=(0, 1))[0]
    assert np.abs(in_each - 5_000).max() < 5 * np.sqrt(5_000)
    assert abs(np.corrcoef(drawn, uniform(uids, seed=4))[0, 1]) < 0.02
