"""Somebody's packed files: cut off, damaged, padded, of several members, under another name."""

import bz2
import gzip
import io
import json
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.errors import CurateError
from curate.files.unpacking import GARBAGE, Unpacked
from curate.pool.rows import PoolFormat
from curate.pool.tables import read_batches, read_entries
from tests.e2e.conftest import Command

PACKS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress, "bz2": lambda x: bz2.compress(x, 1), "xz": lzma.compress,
    "zst": zstandard.compress,
}  # fmt: skip
ROWS = [
    (f"http://pics.example/{i}.jpg", f"a house number {i * 7919 % 99991}") for i in range(20_000)
]
AUTO = PoolFormat("auto", "url", "caption")


def text(form: str) -> bytes:
    if form == "jsonl":
        return b"".join(json.dumps({"url": u, "caption": c}).encode() + b"\n" for u, c in ROWS)
    quote, mark = ('"', ",") if form == "csv" else ("", "\t")
    rows = (f"{quote}{u}{quote}{mark}{quote}{c}{quote}\n" for u, c in [("url", "caption"), *ROWS])
    return "".join(rows).encode()


def until_it_breaks(path: Path) -> tuple[list[tuple[str, str]], str]:
    rows: list[tuple[str, str]] = []
    try:
        for table in read_batches(str(path), pool=AUTO):
            rows += zip(table["url"].to_pylist(), table["caption"].to_pylist(), strict=True)
    except CurateError as error:
        return rows, str(error)
    return rows, ""


@pytest.mark.parametrize("ending", PACKS)
@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl"])
def test_a_packed_file_that_is_cut_off_gives_its_whole_rows_and_is_reported(
    tmp_path: Path, form: str, ending: str
) -> None:
    packed = PACKS[ending](text(form))
    path = tmp_path / f"pool.{form}.{ending}"
    path.write_bytes(packed[: len(packed) * 2 // 3])
    rows, said = until_it_breaks(path)
    assert rows == ROWS[: len(rows)]
    assert len(rows) > 9_000
    assert said.startswith(
        f"{path}: cannot be read as {form}: the file ends inside its {ending} data"
    )
    assert "fetch or pack it again" in said


@pytest.mark.parametrize("ending", PACKS)
@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl"])
def test_members_padding_and_garbage_are_read_as_the_tools_read_them(
    tmp_path: Path, form: str, ending: str
) -> None:
    path, content, pack = tmp_path / f"pool.{form}.{ending}", text(form), PACKS[ending]
    half = content.index(b"\n", len(content) // 2) - 7  # a row lies in both members
    members = pack(content[:half]) + pack(b"") + pack(content[half:])
    for behind in (b"", bytes(70_000), b"garbage", bytes(9) + members[:1] * 0 + b"x" * 999):
        path.write_bytes(members + behind)
        assert until_it_breaks(path) == (ROWS, "")
    for behind in (b"x" + pack(b"lost"), b"x" * (GARBAGE + 1)):
        path.write_bytes(members + behind)
        rows, said = until_it_breaks(path)
        assert rows == ROWS
        assert "it is damaged there" in said


@pytest.mark.parametrize("ending", PACKS)
def test_a_byte_that_was_flipped_is_reported(tmp_path: Path, ending: str) -> None:
    packed = bytearray(PACKS[ending](text("tsv")))
    packed[len(packed) // 2] ^= 0x55
    path = tmp_path / f"pool.tsv.{ending}"
    path.write_bytes(packed)
    assert f"its {ending} data is damaged" in until_it_breaks(path)[1]


@pytest.mark.parametrize("ending", PACKS)
def test_the_content_says_how_a_file_is_packed(tmp_path: Path, ending: str) -> None:
    for name in ("pool.tsv", "pool.tsv.gz"):
        (tmp_path / name).write_bytes(PACKS[ending](text("tsv")))
        assert until_it_breaks(tmp_path / name) == (ROWS, "")
    (tmp_path / f"pool.tsv.{ending}").write_bytes(text("tsv"))
    said = until_it_breaks(tmp_path / f"pool.tsv.{ending}")[1]
    assert said.endswith(f": it is not packed, though its name ends in .{ending}")


@given(st.sampled_from(list(PACKS)), st.lists(st.binary(max_size=3_000), max_size=4), st.data())
@settings(max_examples=150, deadline=None)
def test_every_byte_up_to_the_break_is_read(ending: str, contents: list[bytes], data: Any) -> None:
    whole = b"".join(contents)
    packed = [PACKS[ending](content) for content in contents]
    boundaries = [sum(map(len, packed[:i])) for i in range(len(packed) + 1)]
    cut = data.draw(st.integers(0, boundaries[-1]))
    file = Unpacked(io.BytesIO(b"".join(packed)[:cut]))
    if cut < 10 and cut not in boundaries:
        return  # what tells how it is packed is not there
    found = b""
    try:
        while block := file.read(data.draw(st.integers(1, 5_000))):
            found += block
        is_cut = False
    except ValueError:
        is_cut = True
    last = max(i for i, at in enumerate(boundaries) if at <= cut)
    assert whole.startswith(found)
    assert found.startswith(b"".join(contents[:last]))
    assert is_cut == (cut not in boundaries)


def test_a_window_of_gigabytes_is_refused_with_a_remedy(tmp_path: Path) -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=30)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    path = tmp_path / "pool.tsv.zst"
    path.write_bytes(packer.compress(text("tsv")) + packer.flush())
    assert "takes over 128 MB: pack it again with a smaller window" in until_it_breaks(path)[1]


@pytest.mark.parametrize("ending", PACKS)
def test_an_entry_list_may_be_packed(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"entries.txt.{ending}"
    path.write_bytes(PACKS[ending](b"red fox\nfox\n"))
    assert read_entries(str(path)).entries == ["red fox", "fox"]
    path.write_bytes(PACKS[ending](b"red fox\nfox\n")[:-3])
    with pytest.raises(
        CurateError, match=f"entries.txt.{ending}: the file ends inside its {ending}"
    ):
        read_entries(str(path))


def test_a_pool_that_is_cut_off_through_the_command_line(tmp_path: Path, curate: Command) -> None:
    pool = tmp_path / "pool"
    pool.mkdir()
    for ending, pack in PACKS.items():
        packed = pack(text("tsv"))
        (pool / f"a.tsv.{ending}").write_bytes(packed[: len(packed) * 2 // 3])
    (tmp_path / "c.yaml").write_text(f"input: {{paths: {pool}}}\ndownload: {{enabled: false}}\n")
    asked = ("run", str(tmp_path / "c.yaml"), "--out", str(tmp_path / "run"))
    done = curate(*asked)
    assert done.returncode == 1
    assert "1 of 4 input files cannot be read, more than input.max_dead_fraction 0.1" in done.stderr
    done = curate(*asked, "--set", "input.max_dead_fraction=1", "--set", "dedup.enabled=false")
    assert done.returncode == 0, done.stderr
    dead = list((tmp_path / "run/dead/prepare").glob("*.parquet"))
    told = [x for part in dead for x in pq.read_table(part)["detail"].to_pylist()]
    assert len([x for x in told if "the file ends inside its" in x and "rows)" in x]) == 4
