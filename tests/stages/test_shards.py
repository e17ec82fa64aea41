"""shards: every kept row once and in order, in files that other tools read."""

import hashlib
import io
import itertools
import json
import tarfile
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
import webdataset
from apache_beam.options.pipeline_options import PipelineOptions
from hypothesis import given
from hypothesis import strategies as st

from curate import files, schema
from curate.config import Shards as Settings
from curate.revoking.shards import rewrite_shards
from curate.rundir import revocations
from curate.rundir.directory import Part, Run
from curate.rundir.shards import ShardRecord
from curate.schema import Stage
from curate.stages.shards.cut import Shard, Sizes, Slice, cut
from curate.stages.shards.shards import Shards
from curate.stages.shards.write import ShardStep
from tests.stages.rundir import lay, lay_images, uid_of

COLUMNS = schema.after(Stage.DEDUP, enabled=[Stage.PREPARE, Stage.DOWNLOAD, Stage.DEDUP])


@given(kept=st.lists(st.integers(0, 12), max_size=8), rows=st.integers(1, 15), shuffle=st.randoms())
def test_a_cut_holds_every_kept_row_once_and_in_order(
    kept: list[int], rows: int, shuffle: Any
) -> None:
    parts = [Part(i, "pool.parquet", 0, 99, kept=n) for i, n in enumerate(kept)]
    shuffle.shuffle(parts)
    shards = list(cut(parts, Settings(rows=rows), sizes=never))
    assert [shard.index for shard in shards] == list(range(-(-sum(kept) // rows)))
    sizes = [sum(piece.rows for piece in shard.slices) for shard in shards]
    assert sizes[:-1] == [rows] * (len(shards) - 1)
    assert all(0 < size <= rows for size in sizes)
    held = [
        (piece.part, row)
        for shard in shards
        for piece in shard.slices
        for row in range(piece.start, piece.start + piece.rows)
    ]
    assert held == [(part, row) for part, n in enumerate(kept) for row in range(n)]


def never(parts: list[Part]) -> list[Sizes]:
    raise AssertionError("no cut by rows asks for sizes")


@given(
    sizes=st.lists(st.lists(st.integers(1, 40_000), max_size=9), max_size=6),
    limit=st.integers(10_240, 120_000),
)
def test_a_shard_by_bytes_holds_as_many_rows_as_fit(sizes: list[list[int]], limit: int) -> None:
    """Against a loop over single rows."""
    wanted: list[int] = []
    held = 0
    for size in (-(-x // 512) * 512 + 4096 for x in itertools.chain(*sizes)):
        if held and held + size <= limit:
            wanted[-1] += 1
        else:
            wanted, held = [*wanted, 1], 0
        held += size
    parts = [Part(i, "p", 0, 99, kept=len(x)) for i, x in enumerate(sizes)]
    shards = cut(
        parts, Settings(bytes=limit), sizes=lambda parts: (np.array(sizes[x.index]) for x in parts)
    )
    assert [sum(piece.rows for piece in shard.slices) for shard in shards] == wanted


@given(
    pairs=st.integers(0, 200), rows=st.integers(1, 60), multiple=st.integers(1, 8),
)  # fmt: skip
def test_even_shards_differ_by_a_pair_and_are_a_multiple(
    pairs: int, rows: int, multiple: int
) -> None:
    parts = [Part(i, "p", 0, 99, kept=n) for i, n in enumerate([pairs // 3, pairs - pairs // 3])]
    shards = cut(parts, Settings(rows=rows, multiple_of=multiple), sizes=never)
    sizes = [sum(piece.rows for piece in shard.slices) for shard in shards]
    assert sum(sizes) == pairs
    assert not sizes or 0 <= max(sizes) - min(sizes) <= 1
    assert len(sizes) % multiple == 0 or len(sizes) == pairs < multiple * -(-pairs // rows)
    assert all(0 < size <= rows for size in sizes)


def test_a_shard_begins_where_the_last_one_ended() -> None:
    parts = [Part(i, "p", 0, 9, kept=n) for i, n in enumerate([5, 0, 4])]
    assert list(cut(parts, Settings(rows=3), sizes=never)) == [
        Shard(0, (Slice(0, 0, 3),)), Shard(1, (Slice(0, 3, 2), Slice(2, 0, 1))),
        Shard(2, (Slice(2, 1, 3),)),
    ]  # fmt: skip


def content(number: int) -> bytes:
    """What stands for an image: the step copies it without a look."""
    return f"image {number} ".encode() * (number + 1)


def lay_parts(run: Run, *parts: list[int]) -> list[Part]:
    """Parts with numbered pairs, whose tars also hold an image that was dropped later."""
    rows = []
    for index, numbers in enumerate(parts):
        images = {uid_of(n): content(n) for n in numbers}
        places = lay_images(run, index, {uid_of(900): b"dropped", **images})
        rows.append(
            [
                {"uid": uid_of(n), "url": f"http://x.example/{n}", "caption": f"Bild № {n}, 图",
                 "language": "de", "matches": [1, n], "width": 3, "height": 2, "aspect": 1.5,
                 "tar_offset": places[uid_of(n)][0], "tar_size": places[uid_of(n)][1]}
                for n in numbers
            ]
        )  # fmt: skip
    return lay(run, "dedup", rows, COLUMNS)


def shard(run: Run, parts: list[Part], *, rows: int, digest: str = "d") -> dict[str, Any]:
    """Run the stage; the manifest."""
    step = ShardStep(
        run=run, reads="dedup", digest=digest, settings=Settings(rows=rows), encode_format="jpg"
    )
    with beam.Pipeline(options=PipelineOptions(["--runner=FnApiRunner"])) as pipeline:
        pipeline | beam.Create(parts[::-1]) | Shards(step)
    manifest: dict[str, Any] = files.read_document(run.path("shards", "manifest.json"))
    return manifest


def members(path: str) -> dict[str, bytes]:
    found = {}
    with tarfile.open(path) as archive:
        for member in archive:
            assert (member.mtime, member.uid, member.gid, member.mode) == (0, 0, 0, 0o644)
            file = archive.extractfile(member)
            assert file is not None
            found[member.name] = file.read()
    return found


def test_a_shard_holds_image_text_and_json_of_each_pair(run: Run) -> None:
    shard(run, lay_parts(run, [1, 2], [], [3, 4, 5]), rows=3)
    places = {"00000": [1, 2, 3], "00001": [4, 5]}
    for name, numbers in places.items():
        expected: dict[str, bytes] = {}
        table = files.read_table(run.path("shards", f"{name}.parquet"))
        rows = table.to_pylist()
        inner = ("tar_offset", "tar_size", "stored_sha256")
        shown_columns = [name for name in COLUMNS.names if name not in inner]
        assert table.schema.names == ["key", "status", "error_message", *shown_columns]
        for i, (n, row) in enumerate(zip(numbers, rows, strict=True)):
            key = f"{name}{i}"
            assert (row["key"], row["status"], row["error_message"]) == (key, "success", None)
            assert (row["uid"], row["matches"]) == (uid_of(n), [1, n])
            shown = {k: v for k, v in row.items() if k != "matches"}
            for field in COLUMNS:  # of the same type in each: no null where others have a text
                if field.type == pa.string() and field.name in shown:
                    shown[field.name] = shown[field.name] or ""
            expected[f"{key}.jpg"] = content(n)
            expected[f"{key}.txt"] = f"Bild № {n}, 图".encode()
            expected[f"{key}.json"] = json.dumps(shown, ensure_ascii=False).encode()
        found = members(run.path("shards", f"{name}.tar"))
        assert found == expected
        assert list(found) == list(expected)


def test_keys_have_as_many_digits_as_the_last_row_of_a_full_shard_needs(run: Run) -> None:
    parts = lay_parts(run, [1, 2])
    for rows, key in ((1, "000010"), (10, "000001"), (11, "0000001")):
        shard(run, parts, rows=rows, digest=f"{rows}")
        name = "00001" if rows == 1 else "00000"
        keys = files.read_table(run.path("shards", f"{name}.parquet"))["key"].to_pylist()
        assert keys[-1] == key


def test_the_manifest_states_size_and_digest_of_each_tar(run: Run) -> None:
    manifest = shard(run, lay_parts(run, [1, 2], [3, 4, 5]), rows=2)
    listed: list[dict[str, Any]] = []
    for name, pairs in (("00000", 2), ("00001", 2), ("00002", 1)):
        tar = files.read_bytes(run.path("shards", f"{name}.tar"))
        digest = hashlib.sha256(tar).hexdigest()
        beside = (
            list(files.content_of(files.read_bytes(run.path("shards", f"{name}{ending}"))))
            for ending in (".parquet", "_stats.json")
        )
        listed.append(
            {"name": name, "pairs": pairs, "bytes": len(tar), "sha256": digest}
            | dict(zip(("parquet", "stats"), beside, strict=True))
        )
        stats = files.read_json(run.path("shards", f"{name}_stats.json"))
        assert stats["count"] == stats["successes"] == pairs
        assert (stats["failed_to_download"], stats["failed_to_resize"]) == (0, 0)
        assert stats["status_dict"] == {"success": pairs}
    assert manifest == {
        "pairs": 5, "bytes": sum(x["bytes"] for x in listed), "digest": "d", "shards": listed,
    }  # fmt: skip


def test_shards_past_five_digits_are_listed_in_order(run: Run) -> None:
    step = ShardStep(
        run=run, reads="dedup", digest="d", settings=Settings(rows=1), encode_format="jpg"
    )
    records = [ShardRecord(Shard(i, ()).name, 1, 1, "") for i in (100_000, 99_999, 7)]
    listed = files.read_json(step.manifest(records))["shards"]
    assert [x["name"] for x in listed] == ["00007", "99999", "100000"]


def test_what_a_larger_run_left_is_removed(run: Run) -> None:
    shard(run, lay_parts(run, [1, 2, 3, 4]), rows=1)
    files.write_bytes(run.path("shards", "00002.tar.0a1b2c3d.tmp"), b"killed")
    manifest = shard(run, lay_parts(run, [1, 2, 3]), rows=2, digest="e")
    assert [x["name"] for x in manifest["shards"]] == ["00000", "00001"]
    assert files.names(run.path("shards")) == [
        "00000.parquet", "00000.tar", "00000_stats.json",
        "00001.parquet", "00001.tar", "00001_stats.json", "manifest.json",
        "sizes.json",
    ]  # fmt: skip


def test_without_a_kept_row_there_is_an_empty_manifest(run: Run) -> None:
    shard(run, lay_parts(run, [1]), rows=2)
    manifest = shard(run, lay_parts(run, [], []), rows=2, digest="e")
    assert manifest == {"pairs": 0, "bytes": 0, "digest": "e", "shards": []}
    assert files.names(run.path("shards")) == ["manifest.json", "sizes.json"]


def test_a_shard_is_left_alone_if_its_statistics_match(run: Run) -> None:
    parts = lay_parts(run, [1, 2], [3])
    first = shard(run, parts, rows=2)
    tars = [Path(run.path("shards", f"{name}.tar")) for name in ("00000", "00001")]
    made = [tar.read_bytes() for tar in tars]
    standing = bytes(len(made[0]))
    for tar in tars:
        tar.write_bytes(standing)
    files.remove(run.path("shards", "00001_stats.json"))  # killed before its end
    assert shard(run, parts, rows=2) == first
    assert [tar.read_bytes() for tar in tars] == [standing, made[1]]
    shard(run, parts, rows=2, digest="e")  # other settings
    assert [tar.read_bytes() for tar in tars] == made
    tars[0].write_bytes(standing)
    shard(run, lay_parts(run, [1], [3, 2]), rows=2, digest="e")  # another cut of the parts
    assert list(members(str(tars[0])).values())[3] == content(3)


def test_a_shard_that_is_not_whole_is_written_again(run: Run) -> None:
    parts = lay_parts(run, [1, 2], [3, 4], [5, 6])
    first = shard(run, parts, rows=2)
    made = [files.read_bytes(run.path("shards", f"0000{n}.tar")) for n in range(3)]
    files.remove(run.path("shards", "00000.tar"))
    files.write_bytes(run.path("shards", "00001.tar"), made[1][:-512])
    files.remove(run.path("shards", "00002.parquet"))
    assert shard(run, parts, rows=2) == first
    assert [files.read_bytes(run.path("shards", f"0000{n}.tar")) for n in range(3)] == made
    assert files.read_table(run.path("shards", "00002.parquet"))["uid"].to_pylist() == [
        uid_of(5), uid_of(6),
    ]  # fmt: skip


def revoke(run: Run, numbers: list[int]) -> None:
    rows = {("uid", uid_of(n)) for n in numbers}
    rewrite_shards(run, revocations.write(run, rows))


def keys_and_uids(run: Run, manifest: dict[str, Any]) -> list[tuple[str, str]]:
    names = [one["name"] for one in manifest["shards"]]
    tables = [files.read_table(run.path("shards", f"{name}.parquet")) for name in names]
    columns = [table.select(["key", "uid"]).to_pydict().values() for table in tables]
    return [pair for column in columns for pair in zip(*column, strict=True)]


@pytest.mark.parametrize("gone", [[3, 4], [1, 2, 7], [1, 2, 3, 4, 5, 6, 7, 8]])
def test_shards_keep_their_keys_where_whole_ones_were_revoked(run: Run, gone: list[int]) -> None:
    everything = list(range(1, 9))
    shard(run, lay_parts(run, everything), rows=2)
    revoke(run, gone)
    lists = ["manifest.json", "sizes.json"]
    names = [name for name in files.names(run.path("shards")) if name not in lists]
    before = {name: files.read_bytes(run.path("shards", name)) for name in names}

    left = [n for n in everything if n not in gone]
    manifest = shard(run, lay_parts(run, left), rows=2)
    assert {name: files.read_bytes(run.path("shards", name)) for name in names} == before
    assert files.names(run.path("shards")) == [*names, *lists]
    keys = [f"0000{(n - 1) // 2}{(n - 1) % 2}" for n in left]
    assert keys_and_uids(run, manifest) == list(zip(keys, map(uid_of, left), strict=True))


def test_no_pair_is_lost_or_twice_there_where_a_shard_vanished_after_a_revocation(run: Run) -> None:
    """The slices that stand were of the parts before: none of them may be believed."""
    shard(run, lay_parts(run, list(range(1, 9))), rows=2)
    revoke(run, [1])
    for ending in (".tar", ".parquet", "_stats.json"):
        files.remove(run.path("shards", f"00003{ending}"))
    manifest = shard(run, lay_parts(run, list(range(2, 9))), rows=2)
    assert [uid for _, uid in keys_and_uids(run, manifest)] == [uid_of(n) for n in range(2, 9)]


def test_the_webdataset_library_reads_them(run: Run) -> None:
    shard(run, lay_parts(run, [1, 2], [3, 4, 5]), rows=2)
    urls = [run.path("shards", f"{i:05d}.tar") for i in range(3)]
    samples = list(webdataset.WebDataset(urls, shardshuffle=False))
    assert [sample["__key__"] for sample in samples] == [
        "000000", "000001", "000010", "000011", "000020",
    ]  # fmt: skip
    assert [sample["jpg"] for sample in samples] == [content(n) for n in (1, 2, 3, 4, 5)]
    assert [sample["txt"].decode() for sample in samples][3] == "Bild № 4, 图"
    documents = [json.load(io.BytesIO(sample["json"])) for sample in samples]
    assert [x["uid"] for x in documents] == [uid_of(n) for n in (1, 2, 3, 4, 5)]
    parquet = [files.read_table(run.path("shards", f"{i:05d}.parquet")) for i in range(3)]
    keys = pa.concat_tables(parquet)["key"].to_pylist()
    assert keys == [x["key"] for x in documents] == [sample["__key__"] for sample in samples]
