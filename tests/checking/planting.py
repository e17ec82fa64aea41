"""Corruptions, each planted alone in a folder of shards as a run writes them."""

import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.rundir.tar import BLOCK, TarWriter

Members = list[tuple[str, bytes]]
N = 4
"""The sample of a shard that something is done to."""


class Case(NamedTuple):
    """A corruption: what is done to a folder, and the only problem that is to be found."""

    plant: Callable[[Path], None]
    kind: str
    shard: str
    nth: int | None = N  # of the samples of the shard, the one that is named; None: no key


def members(path: Path) -> Members:
    with tarfile.open(path) as tar:
        return [(x.name, tar.extractfile(x).read()) for x in tar]  # type: ignore[union-attr]


def pack(path: Path, some: Members, *, end: bool = True) -> None:
    with open(path, "wb") as file:
        tar = TarWriter(file)
        for name, content in some:
            tar.add(name, content)
        if end:
            tar.end()


def keys(path: Path) -> list[str]:
    return list(dict.fromkeys(name.partition(".")[0] for name, _ in members(path)))


def tar_of(folder: Path, n: int = 0) -> Path:
    return sorted(folder.glob("*.tar"))[n]


def changed(change: Callable[[str, bytes], bytes | None], ending: str) -> Callable[[Path], None]:
    """Have a member of the sample `N` another content, or none."""

    def plant(folder: Path) -> None:
        path = tar_of(folder)
        name = f"{keys(path)[N]}.{ending}"
        some = [(x, change(x, c) if x == name else c) for x, c in members(path)]
        pack(path, [(x, c) for x, c in some if c is not None])

    return plant


def rearranged(arrange: Callable[[Members, str], Members]) -> Callable[[Path], None]:
    """Have the members in another order, or other ones, given the key of the sample `N`."""

    def plant(folder: Path) -> None:
        path = tar_of(folder)
        pack(path, arrange(members(path), keys(path)[N]))

    return plant


def at_header(ending: str, offset: int, value: int) -> Callable[[Path], None]:
    """Have a byte of a header another value."""

    def plant(folder: Path) -> None:
        path = tar_of(folder)
        with tarfile.open(path) as tar:
            start = tar.getmember(f"{keys(path)[N]}.{ending}").offset
        content = bytearray(path.read_bytes())
        content[start + offset] = value
        path.write_bytes(content)

    return plant


def cut_off(folder: Path) -> None:
    path = tar_of(folder)
    with tarfile.open(path) as tar:
        start = tar.getmember(f"{keys(path)[N]}.txt").offset_data
    path.write_bytes(path.read_bytes()[: start + 3])


def cut_in_header(folder: Path) -> None:
    path = tar_of(folder)
    with tarfile.open(path) as tar:
        start = tar.getmember(f"{keys(path)[N]}.jpg").offset
    path.write_bytes(path.read_bytes()[: start + 100])


def without_end(folder: Path) -> None:
    pack(tar_of(folder), members(tar_of(folder)), end=False)


def apart(some: Members, key: str) -> Members:
    (last,) = (x for x in some if x[0] == f"{key}.json")
    return [*(x for x in some if x != last), last]


def swapped(some: Members, key: str) -> Members:
    at = next(k for k, x in enumerate(some) if x[0].startswith(key))
    return [*some[:at], *some[at + 3 : at + 6], *some[at : at + 3], *some[at + 6 :]]


def twice(some: Members, key: str) -> Members:
    return [*some, *((x, c) for x, c in some if x.startswith(key))]


def twice_at_once(some: Members, key: str) -> Members:
    return [x for one in some for x in ([one, one] if one[0] == f"{key}.txt" else [one])]


def in_two_shards(folder: Path) -> None:
    first, second = tar_of(folder), tar_of(folder, 1)
    here, there = keys(first)[N], keys(second)[N]
    some = [(x.replace(there, here), c) for x, c in members(second)]
    pack(second, some)
    table = pq.read_table(second.with_suffix(".parquet"))
    renamed = pc.replace_substring(table["key"], there, here)
    at = table.column_names.index("key")
    pq.write_table(table.set_column(at, "key", renamed), second.with_suffix(".parquet"))
    stats = json.loads(second.with_name(f"{second.stem}_stats.json").read_text())
    for name in ("parquet", "check"):
        stats.pop(name)
    second.with_name(f"{second.stem}_stats.json").write_text(json.dumps(stats))
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["check"]
    manifest["shards"][1] |= {"parquet": None, "stats": None}
    digest = hashlib.sha256(second.read_bytes()).hexdigest()
    manifest["shards"][1] |= {"sha256": digest, "bytes": second.stat().st_size}
    stats |= {"sha256": digest, "bytes": second.stat().st_size}
    second.with_name(f"{second.stem}_stats.json").write_text(json.dumps(stats))
    (folder / "manifest.json").write_text(json.dumps(manifest))


def without_tables(folder: Path) -> None:
    """As others have them: tars alone."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.suffix != ".tar":
            path.unlink()


def bare(plant: Callable[[Path], None]) -> Callable[[Path], None]:
    def both(folder: Path) -> None:
        without_tables(folder)
        plant(folder)

    return both


def picture(width: int, height: int) -> bytes:
    return bytes(cv2.imencode(".jpg", np.full((height, width, 3), 90, np.uint8))[1])


def bad_huffman(_: str, content: bytes) -> bytes:
    """A JPEG whose header and end stand, and whose tables are none."""
    at = content.index(b"\xff\xc4")
    return content[: at + 5] + b"\xff" * 16 + content[at + 21 :]


def padding(folder: Path) -> None:
    path = tar_of(folder)
    with tarfile.open(path) as tar:
        one = tar.getmember(f"{keys(path)[N]}.txt")
    content = bytearray(path.read_bytes())
    assert one.size % BLOCK
    content[one.offset_data + one.size] = 7
    path.write_bytes(content)


def longer(folder: Path) -> None:
    with open(tar_of(folder), "ab") as file:
        file.write(bytes(10240))


def other_sizes(folder: Path) -> None:
    path = folder / "sizes.json"
    found = json.loads(path.read_text())
    path.write_text(json.dumps(found | {tar_of(folder).name: 99}))


def other_stats(folder: Path) -> None:
    path = tar_of(folder).with_name(f"{tar_of(folder).stem}_stats.json")
    found = json.loads(path.read_text())
    del found["check"]
    path.write_text(json.dumps(found | {"successes": 99}))


def other_table(change: Callable[[pa.Table], pa.Table]) -> Callable[[Path], None]:
    def plant(folder: Path) -> None:
        path = tar_of(folder).with_suffix(".parquet")
        pq.write_table(change(pq.read_table(path)), path)

    return plant


def other_caption(table: pa.Table) -> pa.Table:
    captions = table["caption"].to_pylist()
    captions[N] = "the caption of another pair"
    at = table.column_names.index("caption")
    return table.set_column(at, "caption", pa.array(captions))


def half_a_table(folder: Path) -> None:
    (folder / "00000.parquet").write_bytes(b"PAR1")


def concatenated(folder: Path) -> None:
    path = tar_of(folder)
    with open(path, "ab") as file:
        buffer = io.BytesIO()
        tar = TarWriter(buffer)
        tar.add("more.jpg", picture(9, 9))
        tar.end()
        file.write(buffer.getvalue())


def linked(folder: Path) -> None:
    path = tar_of(folder)
    with tarfile.open(path, "a") as tar:
        one = tarfile.TarInfo("link.jpg")
        one.type, one.linkname = tarfile.SYMTYPE, keys(path)[N] + ".jpg"
        tar.addfile(one)


def no_tar(folder: Path) -> None:
    tar_of(folder).write_bytes(b"<html>404</html>" * 100)


def packed(folder: Path) -> None:
    import gzip

    path = tar_of(folder)
    path.write_bytes(gzip.compress(path.read_bytes()))


def gone(folder: Path) -> None:
    tar_of(folder, 1).unlink()


def one_more(folder: Path) -> None:
    some = [(x.replace(".", "x."), c) for x, c in members(tar_of(folder))]
    pack(folder / "00099.tar", some)


def old_index(folder: Path) -> None:
    shards = json.loads((folder / "manifest.json").read_text())["shards"]
    listed = [
        {"url": f"{x['name']}.tar", "nsamples": x["pairs"], "filesize": x["bytes"],
         "sha256": x["sha256"] if k else "0" * 64, "md5sum": ""} for k, x in enumerate(shards)
    ]  # fmt: skip
    (folder / "index.json").write_text(json.dumps({"shardlist": listed}))


def old_energon(folder: Path) -> None:
    sizes = json.loads((folder / "sizes.json").read_text())
    (folder / ".nv-meta").mkdir()
    counts = sizes | {tar_of(folder).name: 3}
    (folder / ".nv-meta" / ".info.json").write_text(json.dumps({"shard_counts": counts}))


def hashed(folder: Path) -> None:
    """A table with the hashes of the stored files, but for one."""
    without_tables(folder)
    path = tar_of(folder)
    images = {x.partition(".")[0]: c for x, c in members(path) if x.endswith(".jpg")}
    hashes = [hashlib.sha256(c).hexdigest() for c in images.values()]
    hashes[N] = "0" * 64
    pq.write_table(pa.table({"key": [*images], "sha256": hashes}), path.with_suffix(".parquet"))


FIRST = "00000.tar"
CASES = {
    "truncated": Case(cut_off, "truncated_tar", FIRST),
    "truncated in a header": Case(cut_in_header, "truncated_tar", FIRST, None),
    "end blocks missing": Case(without_end, "no_end_of_archive", FIRST, None),
    "damaged header": Case(at_header("txt", 3, ord("x")), "damaged_header", FIRST, None),
    "damaged size": Case(at_header("jpg", 130, ord("7")), "damaged_header", FIRST),
    "damaged checksum": Case(at_header("json", 149, ord("7")), "damaged_header", FIRST),
    "no text": Case(changed(lambda *_: None, "txt"), "missing_member", FIRST),
    "no json": Case(changed(lambda *_: None, "json"), "missing_member", FIRST),
    "no image": Case(changed(lambda *_: None, "jpg"), "missing_image", FIRST),
    "a page for an image": Case(changed(lambda *_: b"<html>", "jpg"), "not_an_image", FIRST),
    "an empty image": Case(changed(lambda *_: b"", "jpg"), "not_an_image", FIRST),
    "half an image": Case(
        changed(lambda _, c: c[: len(c) // 2], "jpg"), "truncated_image", FIRST
    ),
    "undecodable": Case(changed(bad_huffman, "jpg"), "undecodable_image", FIRST),
    "another's image": Case(changed(lambda *_: picture(40, 41), "jpg"), "image_size", FIRST),
    "not UTF-8": Case(changed(lambda *_: b"caf\xe9", "txt"), "caption_not_utf8", FIRST),
    "empty caption": Case(changed(lambda *_: b" \n", "txt"), "empty_caption", FIRST),
    "half a json": Case(changed(lambda _, c: c[:-9], "json"), "bad_json", FIRST),
    "a list for a json": Case(changed(lambda *_: b"[]", "json"), "bad_json", FIRST),
    "another's caption": Case(changed(lambda *_: b"other", "txt"), "caption_differs", FIRST),
    "a key twice": Case(rearranged(twice), "duplicate_key", FIRST),
    "a member twice": Case(rearranged(twice_at_once), "duplicate_key", FIRST),
    "a key in two shards": Case(in_two_shards, "key_in_two_shards", "00001.tar"),
    "members apart": Case(rearranged(apart), "members_apart", FIRST),
    "out of order": Case(rearranged(swapped), "unsorted", FIRST, N + 1),
    "out of order, no table": Case(bare(rearranged(swapped)), "unsorted", FIRST),
    "sizes.json": Case(other_sizes, "count", FIRST, None),
    "statistics": Case(other_stats, "count", FIRST, None),
    "a byte of padding": Case(padding, "hash", FIRST, None),
    "longer": Case(longer, "bytes", FIRST, None),
    "another caption in the table": Case(
        other_table(other_caption), "table_differs", "00000.parquet"
    ),
    "a row less": Case(
        other_table(lambda x: pa.concat_tables([x[:N], x[N + 1 :]])), "table_keys", "00000.parquet"
    ),
    "half a table": Case(
        half_a_table,
        "table_unreadable", "00000.parquet", None,
    ),
    "hash of an image": Case(hashed, "image_hash", FIRST),
    "two tars in one": Case(concatenated, "behind_end", FIRST, None),
    "a link": Case(linked, "stray_member", FIRST, None),
    "no tar": Case(no_tar, "unreadable", FIRST, None),
    "packed": Case(packed, "unreadable", FIRST, None),
    "a tar gone": Case(gone, "missing_file", "00001.tar", None),
    "a tar more": Case(one_more, "unlisted_file", "00099.tar", None),
    "an old wids index": Case(old_index, "stale_index", FIRST, None),
    "an old Energon index": Case(old_energon, "stale_index", FIRST, None),
}  # fmt: skip
