"""mixed shards: every kept row once, even, in the order of the keys, however it is worked out."""

import itertools
import json
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
import xxhash
from apache_beam.options.pipeline_options import PipelineOptions

from curate import files
from curate.config import Shards as Settings
from curate.rundir.directory import Part, Run
from curate.stages.shards import groups, mixed, order
from curate.stages.shards.shards import Shards
from curate.stages.shards.write import ShardStep
from tests.stages.rundir import uid_of
from tests.stages.test_shards import content, keys_and_uids, lay_parts, members, revoke
from tests.store import PROTOCOL, counted_store

NUMBERS = [[*range(1, 9)], [], [*range(20, 27)], [30], [*range(40, 51)]]
ALL = [*itertools.chain(*NUMBERS)]


def mix(run: Run, parts: list[Part], *, digest: str = "d", seed: int = 5, **cut: Any) -> Any:
    """Run the stage; the manifest."""
    step = ShardStep(
        run=run, reads="dedup", digest=digest, encode_format="jpg", seed=seed,
        settings=Settings(order="mixed", **cut),
    )  # fmt: skip
    with beam.Pipeline(options=PipelineOptions(["--runner=FnApiRunner"])) as pipeline:
        pipeline | beam.Create(parts[::-1]) | Shards(step)
    return files.read_document(run.path("shards", "manifest.json"))


def key(number: int, *, seed: int = 5) -> int:
    inner = xxhash.xxh64_intdigest(f"order of mixed shards, seed {seed}".encode())
    return xxhash.xxh64_intdigest(uid_of(number).encode(), seed=inner)


def expected(*, rows: int, seed: int = 5) -> list[list[int]]:
    """The numbers of each shard: sorted by key, cut evenly."""
    numbers = sorted(ALL, key=lambda n: key(n, seed=seed))
    shards = -(-len(numbers) // rows)
    ends = [len(numbers) * k // shards for k in range(shards + 1)]
    return [numbers[a:b] for a, b in itertools.pairwise(ends)]


@pytest.mark.parametrize("ranges", [order._RANGE, 4])
def test_rows_are_in_the_order_of_their_keys(
    run: Run, monkeypatch: pytest.MonkeyPatch, ranges: int
) -> None:
    """Also where no worker has all keys; with their own images, texts and columns."""
    monkeypatch.setattr(order, "_RANGE", ranges)
    manifest = mix(run, lay_parts(run, *NUMBERS), rows=6)
    found = expected(rows=6)
    assert [len(shard) for shard in found] == [5, 5, 6, 5, 6]
    assert [uid for _, uid in keys_and_uids(run, manifest)] == [
        uid_of(n) for shard in found for n in shard
    ]
    for k, numbers in enumerate(found):
        tar = members(run.path("shards", f"{k:05d}.tar"))
        for i, n in enumerate(numbers):
            assert tar[f"{k:05d}{i}.jpg"] == content(n)
            assert tar[f"{k:05d}{i}.txt"].decode() == f"Bild № {n}, 图"
            assert json.loads(tar[f"{k:05d}{i}.json"])["url"] == f"http://x.example/{n}"
        assert len(tar) == 3 * len(numbers)
    names = files.names(run.path("shards"))
    assert len(names) == 3 * len(found) + 2, "scratch is gone"


def test_bytes_do_not_depend_on_how_parts_are_grouped_or_cut(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mix(run, lay_parts(run, *NUMBERS), rows=6)
    names = [name for name in files.names(run.path("shards")) if not name.endswith(".json")]
    made = {name: files.read_bytes(run.path("shards", name)) for name in names}
    monkeypatch.setattr(order, "_GROUPS", (2, 2))
    monkeypatch.setattr(groups, "_OPEN", 1)
    monkeypatch.setattr(groups, "_PIECE", 4000)
    other = Run(str(tmp_path / "other"))
    mix(other, lay_parts(other, ALL[9:], ALL[:9]), rows=6)
    assert {name: files.read_bytes(other.path("shards", name)) for name in names} == made


@pytest.mark.parametrize("in_memory", [mixed._IN_MEMORY, 1000])
def test_in_a_store_a_shard_is_a_read_of_each_group(
    in_memory: int, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a tar of images is read in order, once; the bytes are those of a run on a disk."""
    monkeypatch.setattr(mixed, "_IN_MEMORY", in_memory)
    monkeypatch.setattr(order, "_GROUPS", (2, 2))
    manifest = mix(run, lay_parts(run, *NUMBERS), rows=6)
    with counted_store() as requests:
        other = Run(f"{PROTOCOL}://b/run")
        parts = lay_parts(other, *NUMBERS)
        requests.clear()
        assert mix(other, parts, rows=6) == manifest
        for one in manifest["shards"]:
            name = f"{one['name']}.tar"
            assert files.read_bytes(other.path("shards", name)) == files.read_bytes(
                run.path("shards", name)
            )
        pieces = {x: n for (kind, x), n in requests.items() if kind == "range" and "images" in x}
        assert len(pieces) == 2
        assert max(pieces.values()) <= len(manifest["shards"])
        tars = {x: n for (kind, x), n in requests.items() if kind == "range" and "download" in x}
        assert len(tars) == 4
        assert {*tars.values()} == {1}


def test_rows_of_one_uid_are_shared_out_as_all_others(run: Run) -> None:
    """A pair may stand in a pool many times; each shard is even all the same."""
    manifest = mix(run, lay_parts(run, [7], [7], [7, 8], [7], [7], [9]), rows=2)
    assert [one["pairs"] for one in manifest["shards"]] == [1, 2, 2, 2]
    found = [uid for _, uid in keys_and_uids(run, manifest)]
    assert found == [uid_of(n) for n in sorted([7, 7, 7, 7, 7, 8, 9], key=key)]


def test_another_seed_is_another_order(run: Run) -> None:
    parts = lay_parts(run, *NUMBERS)
    first = keys_and_uids(run, mix(run, parts, rows=30))
    second = keys_and_uids(run, mix(run, parts, rows=30, seed=6, digest="e"))
    assert [uid for _, uid in second] == [uid_of(n) for n in expected(rows=30, seed=6)[0]]
    assert first != second


def test_only_what_is_missing_is_written_again(run: Run) -> None:
    parts = lay_parts(run, *NUMBERS)
    first = mix(run, parts, rows=6)
    tars = [Path(run.path("shards", f"{one['name']}.tar")) for one in first["shards"]]
    made = [tar.read_bytes() for tar in tars]
    tars[0].write_bytes(standing := bytes(len(made[0])))  # of the size that is known
    files.remove(run.path("shards", "00001_stats.json"))
    tars[2].write_bytes(made[2][:-512])
    assert mix(run, parts, rows=6) == first
    assert [tar.read_bytes() for tar in tars] == [standing, *made[1:]]
    other = [*NUMBERS[:-1], [*NUMBERS[-1][:-1], 99]]  # as many pairs, one of them another
    mix(run, lay_parts(run, *other), rows=6)
    found = {uid for _, uid in keys_and_uids(run, first)}
    assert uid_of(99) in found
    assert uid_of(NUMBERS[-1][-1]) not in found


@pytest.mark.parametrize("gone", [[1, 20, 21], [*range(1, 60)]])
def test_shards_keep_their_keys_where_pairs_were_revoked(run: Run, gone: list[int]) -> None:
    mix(run, lay_parts(run, *NUMBERS), rows=6)
    revoke(run, gone)
    names = [x for x in files.names(run.path("shards")) if x not in ("manifest.json", "sizes.json")]
    before = {name: files.read_bytes(run.path("shards", name)) for name in names}
    left = [[n for n in numbers if n not in gone] for numbers in NUMBERS]
    manifest = mix(run, lay_parts(run, *left), rows=6)
    assert {name: files.read_bytes(run.path("shards", name)) for name in names} == before
    wanted = [
        (f"{k:05d}{i}", uid_of(n))
        for k, shard in enumerate(expected(rows=6))
        for i, n in enumerate(shard)
        if n not in gone
    ]
    assert keys_and_uids(run, manifest) == wanted


def test_without_a_kept_row_there_is_an_empty_manifest(run: Run) -> None:
    assert mix(run, lay_parts(run, [], []), rows=2)["shards"] == []


def test_even_by_bytes(run: Run) -> None:
    """Some 4.6 kB a pair, so 2.2 fit into the least that can be asked for."""
    manifest = mix(run, lay_parts(run, *NUMBERS), bytes=10_240)
    sizes = [one["pairs"] for one in manifest["shards"]]
    assert sum(sizes) == 27
    assert {*sizes} == {2, 3}
    assert keys_and_uids(run, manifest)[0][0] == "00000000000"


def test_a_damaged_image_is_told_by_its_part(run: Run) -> None:
    parts = lay_parts(run, *NUMBERS)
    path = Path(run.path("download", "part-00002.tar"))
    path.write_bytes(path.read_bytes().replace(uid_of(23).encode(), uid_of(24).encode()))
    with pytest.raises(Exception, match=r"part-00002.tar is damaged: expected"):
        mix(run, parts, rows=6)
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(Exception, match=r"part-00002.tar is damaged: it is truncated"):
        mix(run, parts, rows=6)
    path.unlink()
    with pytest.raises(Exception, match=r"part-00002.tar is damaged: it is gone"):
        mix(run, parts, rows=6)
