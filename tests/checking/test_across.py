"""Keys that stand in two shards: by their hashes, and then by themselves."""

import numpy as np

from curate.checking.across import lacking, repeated, usual_of
from curate.checking.task import Shard, hashes_of

KEYS = {"0.tar": ["a", "b", "c"], "1.tar": ["d", "b"], "2.tar": ["e"], "3.tar": ["\udcff", "b"]}


def shards(**other: list[int]) -> list[Shard]:
    return [
        Shard(name, pairs=len(keys), usual=frozenset(["image", "txt"]),
              hashes=np.array(other[name[0]], np.uint64) if name[0] in other else hashes_of(keys))
        for name, keys in KEYS.items()
    ]  # fmt: skip


def test_a_key_is_told_in_each_later_shard() -> None:
    found = [*repeated(shards(), KEYS.__getitem__)]
    assert [(x.shard, x.key) for x in found] == [("1.tar", "b"), ("3.tar", "b")]
    assert {x.what for x in found} == {"also in 0.tar"}


def test_shards_without_a_key_twice_are_not_read_again() -> None:
    read = []

    def keys_of(name: str) -> list[str]:
        read.append(name)
        return KEYS[name]

    assert len([*repeated(shards(), keys_of)]) == 2
    assert read == ["0.tar", "1.tar", "3.tar"]
    assert [*repeated([], keys_of)] == []


def test_equal_hashes_of_other_keys_are_no_problem() -> None:
    """What `hash64` gives for a and d is taken for equal: both shards are read, and compared."""
    some = shards()[::2]
    some[1].hashes = hashes_of(["a"])
    assert [*repeated(some, KEYS.__getitem__)] == []


def test_members_that_one_shard_lacks_are_told_of_it() -> None:
    some = shards()
    some[2].usual = frozenset(["image"])
    usual = usual_of(some)
    assert usual == {"image", "txt"}
    assert [(x.shard, x.what) for x in lacking(some, usual)] == [
        ("2.tar", "its samples have no txt")
    ]
