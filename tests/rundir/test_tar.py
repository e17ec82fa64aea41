"""The tar writer against the standard library's, and members read back from where they stand."""

import hashlib
import io
import tarfile

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from curate.rundir.tar import TarWriter, _header, read_member

names = st.text("abcdef0123456789-_", min_size=1, max_size=40).map(lambda stem: f"{stem}.jpg")
contents = st.binary(max_size=40) | st.integers(500, 1100).map(lambda n: bytes([n % 251]) * n)


def written(files: dict[str, bytes]) -> tuple[bytes, dict[str, int], str]:
    file = io.BytesIO()
    tar = TarWriter(file)
    offsets = {name: tar.add(name, content) for name, content in files.items()}
    digest = tar.end()
    assert tar.size == len(file.getvalue())
    return file.getvalue(), offsets, digest


def by_tarfile(files: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in files.items():
            header = tarfile.TarInfo(name)
            header.size, header.mode, header.mtime, header.uid, header.gid = (
                len(content), 0o644, 0, 0, 0,
            )  # fmt: skip
            archive.addfile(header, io.BytesIO(content))
    return file.getvalue()


def members(content: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        return {m.name: file.read() for m in archive if (file := archive.extractfile(m))}


@given(files=st.dictionaries(names, contents, max_size=12))
@settings(max_examples=150, deadline=None)
def test_bytes_are_tarfiles_and_offsets_find_the_contents(files: dict[str, bytes]) -> None:
    tar, offsets, digest = written(files)
    assert tar == by_tarfile(files)
    assert digest == hashlib.sha256(tar).hexdigest()
    assert len(tar) % tarfile.RECORDSIZE == 0
    assert members(tar) == files
    for name, content in files.items():
        at = offsets[name]
        assert tar[at : at + len(content)] == content
        found = read_member(io.BytesIO(tar), name=name, offset=at, size=len(content))
        assert found == content


@given(name=st.text(min_size=1, max_size=60), size=st.integers(0, (1 << 33) - 1))
@example(name="n" * 100, size=(1 << 33) - 1)
@example(name="n" * 101, size=1 << 33)
@example(name="caf\udce9", size=1)
@settings(max_examples=300, deadline=None)
def test_headers_are_tarfiles(name: str, size: int) -> None:
    expected = tarfile.TarInfo(name)
    expected.size, expected.mode = size, 0o644
    try:
        block = expected.tobuf(tarfile.USTAR_FORMAT)
    except ValueError:
        block = expected.tobuf(tarfile.GNU_FORMAT)
    assert _header(name, size) == block


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 8192, 10240])
def test_sizes_around_the_block(size: int) -> None:
    tar, offsets, _ = written({"a": b"x" * size, "b": b"y"})
    assert offsets == {"a": 512, "b": 512 + (size + 511) // 512 * 512 + 512}
    assert tar == by_tarfile({"a": b"x" * size, "b": b"y"})


def test_an_empty_archive_has_no_members() -> None:
    tar, _, _ = written({})
    assert tar == bytes(tarfile.RECORDSIZE)
    assert members(tar) == {}


def test_names_of_more_than_a_hundred_bytes_use_the_prefix() -> None:
    name = "f" * 120 + "/" + "é" * 40 + ".jpg"
    tar, offsets, _ = written({name: b"x"})
    assert members(tar) == {name: b"x"}
    assert read_member(io.BytesIO(tar), name=name, offset=offsets[name], size=1) == b"x"


FILES = {"one.jpg": b"1" * 700, "two.jpg": b"2" * 100}


@pytest.mark.parametrize(
    ("name", "offset", "size", "found"),
    [
        ("two.jpg", 512, 700, "one.jpg of 700 bytes"),  # another member stands there
        ("one.jpg", 512, 699, "one.jpg of 700 bytes"),  # the same name in another run's tar
        ("one.jpg", 512, 701, "one.jpg of 700 bytes"),
        ("one.jpg", 1024, 100, "nothing"),  # in the middle of a content
        ("one.jpg", 10 * 10240, 100, "nothing"),  # behind the end
        ("one.jpg", 20480, 1, "nothing"),
        ("one.jpg", 4096, 1, "nothing"),  # zeros at the end
    ],
)
def test_a_table_that_does_not_belong_to_the_tar_is_found_out(
    name: str, offset: int, size: int, found: str
) -> None:
    tar, offsets, _ = written(FILES)
    assert offsets == {"one.jpg": 512, "two.jpg": 2048}
    message = rf"^expected {name} of {size} bytes at offset {offset}, found {found}$"
    with pytest.raises(tarfile.ReadError, match=message):
        read_member(io.BytesIO(tar), name=name, offset=offset, size=size)


def test_a_tar_that_ends_inside_the_member_is_found_out() -> None:
    tar, _, _ = written(FILES)
    with pytest.raises(tarfile.ReadError, match=r"2048, found 50 of them$"):
        read_member(io.BytesIO(tar[: 2048 + 50]), name="two.jpg", offset=2048, size=100)
