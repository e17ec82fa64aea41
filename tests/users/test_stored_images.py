"""Pools that bring their images along: what a trainer finds in the shards, and what is scored there."""

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from curate.files import shipped
from curate.rundir.directory import SCORED, Run
from tests.e2e import conftest as e2e
from tests.e2e.conftest import Command

curate = e2e.curate

Member = tuple[str, bytes]
GREY = np.asarray(Image.open("tests/data/astronaut.jpg").convert("L").resize((96, 64)))
COLOUR = np.asarray(Image.open("tests/data/astronaut.jpg").convert("RGB").resize((400, 300)))


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def deep(pixels: Any, ending: str, *flags: int) -> bytes:
    return bytes(cv2.imencode(ending, pixels, list(flags))[1].tobytes())


def on_its_side() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(Image.fromarray(COLOUR), "JPEG", exif=exif)


def pictures() -> dict[str, bytes]:
    """Files by name; `grey_…` all show the same."""
    wide = GREY.astype(np.uint16) * 257
    return {
        "grey_8.png": deep(GREY, ".png"),
        "grey_16.png": deep(wide, ".png"),
        "grey_16.tif": deep(wide, ".tiff"),
        "grey_16_big_endian.tif": saved(Image.fromarray(wide.astype(">u2")), "TIFF"),
        "grey_32.tif": saved(Image.fromarray(wide.astype(np.int32)), "TIFF"),
        "grey_share.tif": saved(Image.fromarray((GREY / 255).astype(np.float32)), "TIFF"),
        "grey_float.tif": saved(Image.fromarray(GREY.astype(np.float32)), "TIFF"),
        "grey_rgb_16.png": deep(np.dstack([wide] * 3), ".png"),
        "grey_rgba_16.png": deep(np.dstack([*[wide] * 3, np.full_like(wide, 65535)]), ".png"),
        "photo.jpg": saved(Image.fromarray(COLOUR), "JPEG", quality=90),
        "progressive.jpg": saved(Image.fromarray(COLOUR), "JPEG", progressive=True),
        "print.jpg": saved(Image.fromarray(COLOUR).convert("CMYK"), "JPEG"),
        "side.jpg": on_its_side(),
        "web.webp": saved(Image.fromarray(COLOUR), "WEBP"),
        "bit.png": saved(Image.fromarray(GREY > 99), "PNG"),
        "palette.png": saved(Image.fromarray(COLOUR).quantize(16), "PNG", transparency=0),
        "clear.png": saved(Image.fromarray(np.dstack([COLOUR, COLOUR[..., 0]])), "PNG"),
        "moves.gif": saved(Image.fromarray(COLOUR).quantize(64), "GIF"),
    }


def write_tar(path: Path, members: list[Member]) -> None:
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def run(curate: Command, folder: Path, pool: str, **keys: Any) -> dict[str, dict[str, Any]]:
    """What the shards hold by caption: the columns, the file's name and content."""
    document = {
        "input": {"paths": pool, "max_dead_fraction": 0},
        "dedup": {"enabled": False},
        **keys,
    }
    (folder / "c.yaml").write_text(yaml.safe_dump(document))
    done = curate("run", "c.yaml", "--out", "run", cwd=folder)
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, Any]] = {}
    with tarfile.open(folder / "run/shards/00000.tar") as archive:
        members = {m.name: archive.extractfile(m).read() for m in archive}  # type: ignore[union-attr]
    for name, content in members.items():
        key, _, ending = name.partition(".")
        if ending not in ("txt", "json"):
            columns = json.loads(members[f"{key}.json"])
            found[columns["caption"]] = {**columns, "ending": ending, "content": content}
    return found


SETTINGS: dict[str, dict[str, Any]] = {
    "as they come": {},
    "as png": {"encode_format": "png", "encode_quality": 1, "resize_mode": "no"},
    "kept in png": {"skip_reencode": True, "encode_format": "png", "encode_quality": 1,
                    "resize_mode": "no"},
    "never encoded": {"disable_all_reencoding": True},
}  # fmt: skip


@pytest.fixture(scope="module")
def shards(curate: Command, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What is stored of `pictures` under each of `SETTINGS`."""
    made: dict[str, Any] = {}
    scorer = shipped("pipelines/demo/scorer")

    def of(setting: str) -> dict[str, dict[str, Any]]:
        if setting not in made:
            folder = tmp_path_factory.mktemp("pool")
            members = [
                (name, content)
                for file, picture in pictures().items()
                for name, content in (
                    (f"{file.replace('.', '_')}.{file.partition('.')[2]}", picture),
                    (f"{file.replace('.', '_')}.txt", f"an astronaut, {file}".encode()),
                )
            ]
            write_tar(folder / "pool.tar", members)
            score = {
                "model": str(scorer / "curate-mini.json"),
                "pretrained": str(scorer / "curate-mini.safetensors"), "embeddings": True,
            }  # fmt: skip
            found = run(curate, folder, "pool.tar", download=SETTINGS[setting], score=score)
            with np.load(Run(str(folder / "run")).part(SCORED, 0, "npz")) as stored:
                (vectors,) = (stored[x] for x in stored if x.endswith("_img"))
            for one, vector in zip(found.values(), vectors, strict=True):
                one["vector"] = vector
            made[setting] = {x.removeprefix("an astronaut, "): one for x, one in found.items()}
        stored_as: dict[str, dict[str, Any]] = made[setting]
        return stored_as

    return of


def trained_on(content: bytes) -> Any:
    """What webdataset and open_clip make of a file."""
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)


@pytest.mark.parametrize("setting", ["as they come", "as png", "kept in png"])
def test_pictures_of_sixteen_bits_are_not_white_for_who_trains_on_them(
    shards: Any, setting: str
) -> None:
    found = shards(setting)
    assert len(found) == len(pictures())
    for name, one in found.items():
        if name.startswith("grey_"):
            seen = trained_on(one["content"])
            assert np.abs(seen - GREY[..., np.newaxis]).mean() < 3, name


@pytest.mark.parametrize("setting", sorted(SETTINGS))
def test_what_is_scored_and_hashed_is_what_is_stored(shards: Any, setting: str) -> None:
    found = shards(setting)
    plain = found["grey_8.png"]
    for name, one in found.items():
        if name.startswith("grey_"):
            assert float(one["vector"] @ plain["vector"]) > 0.98, name
            bits = int(one["phash"], 16) ^ int(plain["phash"], 16)
            assert bits.bit_count() <= 6, name


def test_stored_images_stay_byte_for_byte(shards: Any) -> None:
    found, sent = shards("as they come"), pictures()
    encoded = {name for name, one in found.items() if one["content"] != sent[name]}
    assert encoded == {x for x in sent if x.startswith("grey_1") or x.endswith((".tif", ".gif"))}
    for name, one in found.items():
        assert one["ending"] == ("jpg" if name in encoded else name.partition(".")[2]), name
        assert (one["width"], one["height"]) == Image.open(io.BytesIO(one["content"])).size, name


def test_with_all_encoding_off_every_byte_stays(shards: Any) -> None:
    for name, one in shards("never encoded").items():
        assert one["content"] == pictures()[name]
        assert one["ending"] == "jpg"  # as img2dataset calls them then


def img2dataset_shard(folder: Path) -> tuple[list[bytes], list[str]]:
    """Two images of 400 x 300, as img2dataset leaves them, made of larger ones; and their hashes."""
    images = [saved(Image.fromarray(np.roll(COLOUR, 40 * k, axis=1)), "JPEG") for k in range(2)]
    hashes = [hashlib.sha256(b"%d" % k).hexdigest() for k in range(2)]
    folder.mkdir()
    write_tar(
        folder / "00000.tar",
        [(f"00000000{k}.{x}", c) for k in range(2) for x, c in (("jpg", images[k]), ("txt", b"x"))],
    )
    table = {
        "key": ["000000000", "000000001"], "status": ["success"] * 2,
        "url": [f"http://x.example/{k}" for k in range(2)],
        "caption": [f"a picture of an astronaut, {k}" for k in range(2)],
        "width": [400, 400], "height": [300, 300], "original_width": [4000, 4400],
        "original_height": [3000, 3300], "sha256": hashes,
    }  # fmt: skip
    pq.write_table(pa.table(table), folder / "00000.parquet")
    (folder / "00000_stats.json").write_text("{}")
    return images, hashes


@pytest.mark.parametrize("size", [None, 128])
def test_a_folder_of_img2dataset_keeps_its_bytes_sizes_and_hashes(
    curate: Command,
    tmp_path: Path,
    size: int | None,
) -> None:
    images, hashes = img2dataset_shard(tmp_path / "pool")
    rules = [{"column": "smaller_side", "min": 3100}]
    download = {"image_size": size} if size else {}
    found = run(curate, tmp_path, "pool", download=download, select=rules)
    (one,) = found.values()
    assert one["caption"].endswith("1"), "rules are over the sizes of the originals"
    assert (one["original_width"], one["original_height"]) == (4400, 3300)
    assert one["sha256"] == hashes[1]
    assert (one["content"] == images[1]) == (size is None)
    assert one["height"] == (size or 300)
    again = curate("run", "run/config.yaml", "--set", "download.max_pixels=1000000",
                   "--force", cwd=tmp_path)  # fmt: skip
    assert again.returncode == 0, again.stderr
    assert pq.read_table(tmp_path / "run/shards/00000.parquet").num_rows == 1


def test_what_a_pool_brings_is_checked_blurred_and_blocked_like_the_rest(
    curate: Command,
    tmp_path: Path,
) -> None:
    images, _ = img2dataset_shard(tmp_path / "pool")
    (tmp_path / "blocked").write_text(hashlib.sha256(images[0]).hexdigest() + "\n")
    half = saved(Image.fromarray(COLOUR), "JPEG")[:5000]
    face = Path("tests/data/astronaut.jpg").read_bytes()
    bomb = deep(np.zeros((3000, 3000, 3), np.uint8), ".webp", cv2.IMWRITE_WEBP_QUALITY, 101)
    write_tar(
        tmp_path / "more.tar",
        [
            ("a.jpg", half), ("a.txt", b"half"), ("b.jpg", face), ("b.txt", b"a face"),
            ("c.webp", bomb), ("c.txt", b"a bomb"),
        ],
    )  # fmt: skip
    download = {"faces": "blur", "block_lists": ["blocked"]}
    document = {"input": {"paths": ["pool", "more.tar"]}, "dedup": {"enabled": False},
                "download": download}  # fmt: skip
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(document))
    done = curate("run", "c.yaml", "--out", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    parts = sorted((tmp_path / "run/dropped/download").glob("*.parquet"))
    gone = {row["caption"]: row["reason"] for p in parts for row in pq.read_table(p).to_pylist()}
    assert gone == {
        "half": "truncated", "a bomb": "decompression_bomb",
        "a picture of an astronaut, 0": "blocked",
    }  # fmt: skip
    with tarfile.open(tmp_path / "run/shards/00000.tar") as archive:
        sharp = [archive.extractfile(m).read() for m in archive if m.name.endswith("jpg")]  # type: ignore[union-attr]
    assert face not in sharp
    assert len(sharp) == 2
