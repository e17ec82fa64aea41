"""The walk through a tar against `tarfile`, and over tars that are damaged at random."""

import io
import random
import tarfile
from pathlib import Path

import pytest

from curate.checking import walk
from curate.checking.kinds import Kind
from curate.checking.shard import check
from curate.checking.task import Options, Task
from curate.checking.walk import Fault, Member, Walk

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
NAMES = ["a.jpg", "ä/ö.txt", "x" * 96 + ".png", "x" * 95 + ".png", "d" * 90 + "/" + "e" * 80 + ".json",
         "./1.jpg", "no ending", "1.2.3.json"]  # fmt: skip


def written(form: int, sizes: list[int], names: list[str], *, time: float = 0) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
        for name, size in zip(names, sizes, strict=True):
            one = tarfile.TarInfo(name)
            one.size, one.mtime = size, time
            tar.addfile(one, io.BytesIO(bytes([size % 251]) * size))
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        link = tarfile.TarInfo("link.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "a.jpg"
        tar.addfile(link)
    return buffer.getvalue()


def walked(content: bytes) -> tuple[list[tuple[Member, bytes | None]], list[Fault]]:
    found = list(Walk(io.BytesIO(content), size=len(content)))
    members = [one for one in found if not isinstance(one, Fault)]
    return members, [one for one in found if isinstance(one, Fault)]


@pytest.mark.parametrize("piece", [512, 3000, 1 << 20])
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("time", [0, 1.5])  # pax writes an extended header for each member then
def test_members_are_those_of_tarfile(
    monkeypatch: pytest.MonkeyPatch, form: str, piece: int, time: float
) -> None:
    monkeypatch.setattr(walk, "PIECE", piece)
    random.seed(piece)
    sizes = [random.choice([0, 1, 511, 512, 513, 5000]) for _ in range(200)]
    long = [] if form == "ustar" else ["x" * 97 + ".png", "y" * 300 + "ß.jpg"]
    names = [random.choice(NAMES + long) for _ in sizes]
    content = written(FORMATS[form], sizes, names, time=time)
    seen: list[bytes] = []
    found = list(Walk(io.BytesIO(content), size=len(content), see=seen.append))
    assert b"".join(seen) == content, "all bytes are seen, in order"
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        wanted = [(x.name, x.offset_data, x.size, x.isreg()) for x in tar if x.isreg() or x.issym()]
    ours = []
    for one in found:
        assert not isinstance(one, Fault)
        member, bytes_ = one
        ours.append((member.name, member.start, member.size, member.is_file))
        if bytes_ is not None:
            assert bytes_ == content[member.start : member.start + member.size]
    assert ours == wanted


def test_a_member_over_the_limit_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk, "PIECE", 1024)
    monkeypatch.setattr(walk, "MOST", 4096)
    content = written(tarfile.USTAR_FORMAT, [10, 50_000, 20], ["a.jpg", "b.mp4", "c.txt"])
    members, faults = walked(content)
    assert [(x.name, x.size, y is None) for x, y in members] == [
        ("a.jpg", 10, False), ("b.mp4", 50_000, True), ("c.txt", 20, False), ("link.jpg", 0, True),
    ]  # fmt: skip
    assert faults == []
    (fault,) = walked(content[:30_000])[1]
    assert (fault.kind, fault.name) == (Kind.TRUNCATED_TAR, "b.mp4")


def test_sizes_in_base_256_and_signed_sums_are_read() -> None:
    one = tarfile.TarInfo("a.jpg")
    one.size = 700
    header = bytearray(one.tobuf(tarfile.USTAR_FORMAT))
    header[124:136] = b"\x80" + (700).to_bytes(11, "big")
    header[300] = 0xC3
    header[148:156] = b" " * 8
    signed = sum(x - 256 if x > 127 else x for x in header)
    header[148:156] = b"%06o\0 " % signed
    content = bytes(header) + bytes(1024) + bytes(10240)
    members, faults = walked(content)
    assert [(x.name, x.size) for x, _ in members] == [("a.jpg", 700)]
    assert faults == []


@pytest.mark.parametrize("seed", range(60))
def test_a_random_wound_is_told_and_ends_nothing(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    sizes = [rng.choice([1, 600, 4000]) for _ in range(30)]
    names = [f"{k:04d}.{x}" for k in range(10) for x in ("jpg", "json", "txt")]
    content = bytearray(
        written(FORMATS[rng.choice([*FORMATS])], sizes, names, time=rng.choice([0, 1.5]))
    )
    match seed % 4:
        case 0:
            content = content[: rng.randrange(len(content))]
        case 1:
            for _ in range(rng.randrange(1, 40)):
                content[rng.randrange(len(content))] = rng.randrange(256)
        case 2:
            at = rng.randrange(len(content))
            content[at : at + 3000] = rng.randbytes(rng.randrange(3000))
        case 3:
            content = bytearray(rng.randbytes(rng.randrange(40_000)))
    path = tmp_path / "0.tar"
    path.write_bytes(content)
    found = check(Task(str(path), "0.tar"), Options())
    assert found.problems or content == b""
    members, _ = walked(bytes(content))
    for member, bytes_ in members:
        if bytes_ is not None:
            assert bytes_ == content[member.start : member.start + member.size]
