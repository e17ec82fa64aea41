"""The (image, caption) pairs that the demo's scorer is trained and measured on.

Three sources, each from unpacked packages: openclipart (public domain), emoji (the captions of
emojibase-data with the drawings of three vendors) and the stamps of Tux Paint. A pair is held out
by a hash of its caption (openclipart) or of its emoji; stamps are held out always.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from openclipart import keyed_hash, png_size, read_drawings

EMOJI_VENDORS = (
    "emoji-datasource-google/img/google/64/{code}.png",
    "emoji-datasource-twitter/img/twitter/64/{code}.png",
    "@lobehub/fluent-emoji-3d/assets/{code}.webp",
)
EMOJI_LOCALES = ("de", "en", "en-gb", "es", "es-mx", "fr", "it", "nl", "pt", "zh")
MEASURED_LANGUAGES = ("es", "fr", "zh")


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A picture, one caption of it, and whether training may see them."""

    picture: Path
    caption: str
    language: str
    source: str
    concept: str
    """What is shown: all drawings and captions of one emoji share it."""
    held_out: bool


def is_held_out(key: str) -> bool:
    """One key in eight, by hash."""
    return int(keyed_hash(f"held out {key}"), 16) % 8 == 0


def openclipart_pairs(root: Path, *, pool: Path) -> Iterator[Pair]:
    """Yield distinct drawings under `root`; those of the demo `pool` are left out altogether.

    Left out as well: what shares bytes or caption with the pool, the 1,378 generated stars, and
    renderings above 4 megapixels.
    """
    rows = (pool / "sources.tsv").read_text(encoding="utf-8").splitlines()[1:]
    pool_keys = {row.split("\t")[1] for row in rows}
    drawings = list(read_drawings(root / "png", svg_root=root / "svg"))
    seen = {digest(drawing.png) for drawing in drawings if drawing.key in pool_keys}
    pool_captions = {drawing.caption.lower() for drawing in drawings if drawing.key in pool_keys}
    for drawing in drawings:
        width, height = png_size(drawing.png)
        caption = drawing.caption.lower()
        if (
            drawing.folder == "shapes/stars"
            or not drawing.public_domain
            or not drawing.caption
            or caption in pool_captions
            or width * height > 4_000_000
        ):
            continue
        mark = digest(drawing.png)
        if mark in seen:
            continue
        seen.add(mark)
        yield Pair(
            picture=drawing.png,
            caption=drawing.caption,
            language="en",
            source="openclipart",
            concept=caption,
            held_out=is_held_out(caption),
        )


def emoji_pairs(node_modules: Path) -> Iterator[Pair]:
    """Yield each emoji in ten locales and three drawings; one emoji is in one split only."""
    for locale in EMOJI_LOCALES:
        table = node_modules / "emojibase-data" / locale / "data.json"
        for emoji in json.loads(table.read_text(encoding="utf-8")):
            code = emoji["hexcode"].lower()
            tags = [tag for tag in emoji.get("tags", []) if tag != emoji["label"]]
            caption = emoji["label"] + (": " + ", ".join(tags) if tags else "")
            for vendor in EMOJI_VENDORS:
                names = (code, f"{code}-fe0f", code.replace("-fe0f", ""))
                pictures = [node_modules / vendor.format(code=name) for name in names]
                picture = next((path for path in pictures if path.exists()), None)
                if picture:
                    yield Pair(
                        picture=picture,
                        caption=caption,
                        language=locale,
                        source="emoji",
                        concept=code,
                        held_out=is_held_out(code),
                    )


def tuxpaint_pairs(stamps: Path) -> Iterator[Pair]:
    """Yield the stamps in English and in the measured languages, all held out."""
    for text in sorted(stamps.rglob("*.txt")):
        picture = text.with_suffix(".png")
        lines = text.read_text(encoding="utf-8", errors="replace").splitlines()
        if not picture.exists() or not lines:
            continue
        captions = {"en": lines[0].strip()}
        for line in lines[1:]:
            match = re.match(r"(es|fr|zh)(?:_CN)?\.utf8=(.+)", line)
            if match:
                captions[match[1]] = match[2].strip()
        for language, caption in captions.items():
            if caption:
                yield Pair(
                    picture=picture,
                    caption=caption,
                    language=language,
                    source="tuxpaint",
                    concept=captions["en"],
                    held_out=True,
                )


def digest(path: Path) -> str:
    """SHA-256 of the file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
