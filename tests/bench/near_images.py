"""What near-equality of images finds and what it merges that it should not, on real pictures.

The pictures are the demo's, or those below the folder that the environment's IMAGES names
(IMAGES_MOST of them at most, drawn by a seed). Byte duplicates must all meet; of each of 200 pictures,
copies at JPEG qualities 30 to 95, at half the size and as WebP are planted. What would be merged among
the pictures themselves is compared by another measure: the mean difference of their thumbnails of 16
by 16 colours. Those that differ stand in ``runs/bench/near_images.png``, each beside its original.
"""

import os
import random
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate.files import shipped
from curate.ops import components
from curate.ops.duplicates import DedupRule, Meeting, copies, edges_of, holding_edges, keys_of, pack
from curate.ops.images import ImageEncoder, StoredImage

TARGET = Path("runs/bench/near_images.png")
PLANTED = 200
DIFFERENT = 6.0  # of 255, mean over a thumbnail's channels
COLUMNS, CELL = 6, 100

Pixels = NDArray[np.uint8]


def pixels_of(content: bytes) -> Pixels:
    """What the pipeline stores of a file."""
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    bytes_: Pixels = pixels.astype(np.uint8)
    return bytes_


def encoded(pixels: Pixels, ending: str, *flags: int) -> bytes:
    return bytes(cv2.imencode(ending, pixels, flags)[1].tobytes())


def variants(content: bytes) -> dict[str, bytes]:
    """Copies of a picture as the web makes them; on white, as most of it shows what is transparent."""
    stored = ImageEncoder(resize_mode="no", encode_format="png", encode_quality=1)(content)
    assert isinstance(stored, StoredImage)
    pixels = pixels_of(stored.content)
    size = (max(1, pixels.shape[1] // 2), max(1, pixels.shape[0] // 2))
    quality = cv2.IMWRITE_JPEG_QUALITY
    return {
        **{f"jpeg {q}": encoded(pixels, ".jpg", quality, q) for q in (30, 50, 70, 95)},
        "half size": encoded(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), ".png"),
        "webp 75": encoded(pixels, ".webp", cv2.IMWRITE_WEBP_QUALITY, 75),
    }


def merged(rows: pa.Table, rule: DedupRule) -> NDArray[np.int64]:
    """The original of each picture, itself where it is one: as the stage finds it."""
    edges = [components.no_edges()]
    for keys in keys_of(rows, "image", rule):
        for _, packed in pack(keys, part=0, partitions=1):
            found = edges_of([packed], how=keys.meeting, partitions=1)
            exact = keys.meeting is Meeting.EQUAL
            edges.append(found if exact else holding_edges(rows, found, "image", rule))
    nodes = components.members(components.merge(edges))
    chosen = rows.take(pa.array(nodes[:, 0])).append_column("component", pa.array(nodes[:, 1]))
    labels = components.members(components.forest(copies(chosen, rule)))
    first = np.arange(len(rows))
    first[labels[:, 0]] = labels[:, 1]
    return first


def load() -> tuple[list[Path], pa.Table, list[Pixels]]:
    """The pictures that can be read, their rows, and their colours in small."""
    folder = Path(os.environ.get("IMAGES") or shipped("pipelines/demo/pool/images"))
    paths = sorted(p for p in folder.rglob("*") if p.suffix in (".png", ".jpg", ".webp"))
    most = int(os.environ.get("IMAGES_MOST", "2500"))
    paths = sorted(random.Random(1).sample(paths, most)) if len(paths) > most else paths
    encode = ImageEncoder()
    rows: list[dict[str, object]] = []
    found: list[Path] = []
    small: list[Pixels] = []
    for path in paths:
        image = encode(path.read_bytes())
        if isinstance(image, StoredImage):
            found.append(path)
            rows.append({"row": len(rows), "uid": path.name, "sha256": image.sha256,
                         "phash": image.phash, "caption_chars": 0,
                         "pixels": image.original_width * image.original_height})  # fmt: skip
            pixels = pixels_of(image.content)
            small.append(
                cv2.resize(pixels, (16, 16), interpolation=cv2.INTER_AREA).astype(np.uint8)
            )
    return found, pa.Table.from_pylist(rows), small


def planted(paths: list[Path], rows: pa.Table, rule: DedupRule) -> bool:
    """Print the share of planted copies of each kind that go for their picture; whether it will do."""
    seen = [k for k, value in enumerate(rows["phash"].to_pylist()) if value]
    chosen = random.Random(2).sample(seen, min(PLANTED, len(seen)))
    encode, total, hits = ImageEncoder(), Counter[str](), Counter[str]()
    for k in chosen:
        own = rows.slice(k, 1)
        for kind, content in variants(paths[k].read_bytes()).items():
            image = encode(content)
            total[kind] += 1
            if isinstance(image, StoredImage):
                copy = own.to_pylist()[0] | {"row": 1, "sha256": image.sha256, "phash": image.phash}
                two = pa.Table.from_pylist([own.to_pylist()[0] | {"row": 0}, copy], rows.schema)
                hits[kind] += int(merged(two, rule)[1] == 0)
    for kind, n in total.items():
        print(f"  {kind:10} {hits[kind] / n:8.3f} of {n} copies found  (at least 0.95)")
    return all(hits[kind] >= 0.95 * n for kind, n in total.items())


def sheet(pairs: list[tuple[Path, Path]]) -> None:
    """Draw pairs of pictures side by side."""
    lines = -(-len(pairs) // COLUMNS)
    canvas = np.full((max(1, lines) * (CELL + 8), COLUMNS * (2 * CELL + 16), 3), 128, np.uint8)
    encode = ImageEncoder(image_size=CELL, resize_mode="border", only_if_bigger=False)
    for n, pair in enumerate(pairs):
        y, x = n // COLUMNS * (CELL + 8), n % COLUMNS * (2 * CELL + 16)
        for side, path in enumerate(pair):
            image = encode(path.read_bytes())
            assert isinstance(image, StoredImage)
            at = x + side * CELL
            canvas[y : y + CELL, at : at + CELL] = pixels_of(image.content)
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_bytes(encoded(canvas, ".png"))


def main() -> None:
    """Byte duplicates, planted copies, and what else is merged."""
    distance = int(os.environ.get("IMAGE_DISTANCE", "24"))
    rule = DedupRule(policy=("image",), image_distance=distance)
    paths, rows, small = load()
    first = merged(rows, rule)
    files = rows["sha256"].to_pylist()
    leader: dict[str, int] = {}
    equal = [(leader.setdefault(one, k), k) for k, one in enumerate(files)]
    apart = sum(first[i] != first[k] for i, k in equal)
    near = [(int(i), k) for k, i in enumerate(first) if i != k and files[i] != files[k]]
    off = np.array([np.abs(small[i].astype(int) - small[k]).mean() for i, k in near])
    wrong = [pair for pair, by in zip(near, off, strict=True) if by > DIFFERENT]
    repeated = sum(i != k for i, k in equal)
    print(
        f"  {len(paths):,} pictures, {rows['phash'].null_count:,} without a hash; {distance} bits"
    )
    print(f"  byte duplicates    {repeated:,}, of which {apart} were not found  (0)")
    print(f"  near duplicates    {len(near):,}, of which {len(wrong):,} differ in their thumbnails")
    print(f"  largest cluster    {max(Counter(first.tolist()).values())}")
    found = planted(paths, rows, rule)
    sheet([(paths[k], paths[i]) for i, k in random.Random(3).sample(wrong, min(60, len(wrong)))])
    print(f"  those that differ are drawn in {TARGET}")
    if apart or not found:
        raise SystemExit("a byte duplicate or too many copies were not found")
