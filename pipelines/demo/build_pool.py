"""Build the picture pool of the offline demo from the packages openclipart-png and -svg.

    python pipelines/demo/build_pool.py --openclipart usr/share/openclipart \
        --wordnet usr/share/wordnet --out pipelines/demo/pool

Takes about 15 seconds on one core; the same packages and the same Pillow give the same bytes.
Writes ``images/``, ``pairs.jsonl`` and ``sources.tsv``; ``NOTICE`` and ``other_languages.jsonl``
beside them are written by hand.

A drawing enters when it is in the public domain, its caption is English of 3 to 40 words, neither
its bytes nor its caption occur earlier, and nothing about it is unfit for a demo. Candidates are
taken in the order of a keyed hash of their path, at most `--per-folder` from a second-level folder.
"""

import argparse
import hashlib
import json
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from operator import attrgetter
from pathlib import Path

from openclipart import Drawing, keyed_hash, png_size, read_drawings, wordnet_lemmas
from PIL import Image

UNFIT_PATHS = re.compile(
    r"_bw|bw_|jean-?vic|architetto|rolland|led/|semaphore|mime|boating_rules|shapes/stars|special|"
    r"pantyhose|weapons|logos|flags/historic|games/cards|gradients|duplicates|jigsaw|bodypart|"
    r"(flat|lemon|etiquette)-theme"
)
UNFIT_WORDS = re.compile(
    r"\b(nud\w*|naked|sex\w*|breast\w*|bra|panty\w*|penis|condom|gay|stripper|pimp|kill\w*|dead|"
    r"death|blood\w*|gun\w*|shot|bullet\w*|bomb\w*|grenade|sword|weapon\w*|soldier|army|military|"
    r"war|terror\w*|torture|suicide|skull\w*|hangm[ae]n|nazi|swastika|hitler|saddam|lenin|bush|"
    r"luther|communis\w*|anarch\w*|confederate|indian|negro|ku klux|drug\w*|cigar\w*|smok\w*|"
    r"marijuana|cannabis|coke|beer|wine|alcohol|drunk\w*|devil|satan|hell|jesus|crucifi\w*|allah|"
    r"islam\w*|muslim|creation|discordia\w*|cthulhu|lovecraft|yoga|tsunami|hitchhiker\w*|stupid|"
    r"ugly|fat|balmer|microsoft|windows|linux|gnu|tux|urin\w*|toilet|pee|vomit|butt|ass)\b",
    re.IGNORECASE,
)
FUNCTION_WORD = re.compile(
    r"an?|and|are|a[st]|by|for|from|his|her|into|i[nst]|its|o[fnr]|over|that|the|their|there|"
    r"this|to|under|up|what|when|which|while|who|with|your?"
)
FOREIGN_WORD = re.compile(
    r"\b(d[ei]|del|della|des|du|e[lnt]|l[ae]|l[aeo]s|mit|os|pique|rayures|signorina|um|una|une|und)\b"
)
MAX_SIDE = 320
MIN_SIDE = 48


def main(argv: Sequence[str] | None = None) -> None:
    """Build the pool as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--openclipart", type=Path, required=True, help="holds png/ and svg/")
    parser.add_argument("--wordnet", type=Path, required=True, help="holds data.noun and others")
    parser.add_argument("--out", type=Path, required=True, help="folder to (re)build")
    parser.add_argument("--count", type=int, default=420, help="number of pictures")
    parser.add_argument("--per-folder", type=int, default=20, help="most pictures of one folder")
    args = parser.parse_args(argv)

    drawings = read_drawings(args.openclipart / "png", svg_root=args.openclipart / "svg")
    lemmas = {lemma.lower() for lemma in wordnet_lemmas(args.wordnet)}
    chosen = list(choose(drawings, lemmas=lemmas, count=args.count, per_folder=args.per_folder))
    if len(chosen) < args.count:
        parser.error(f"only {len(chosen)} drawings qualify, --count asks for {args.count}")
    size = write_pool(chosen, out=args.out)
    print(f"{len(chosen)} pictures, {size / 1e6:.2f} MB in {args.out}")


def choose(
    drawings: Iterator[Drawing], *, lemmas: set[str], count: int, per_folder: int
) -> Iterator[Drawing]:
    """Yield up to `count` fit drawings in rank order, distinct in bytes, looks and caption."""
    seen: set[str | bytes] = set()
    folders: Counter[str] = Counter()
    for drawing in sorted(drawings, key=attrgetter("rank")):
        if sum(folders.values()) == count:
            return
        group = "/".join(drawing.key.split("/")[:-1][:2])
        if folders[group] == per_folder or not is_fit(drawing, lemmas=lemmas):
            continue
        marks: set[str | bytes] = {drawing.caption.lower(), *picture_marks(drawing.png)}
        if len(marks) == 3 and not marks & seen:
            seen |= marks
            folders[group] += 1
            yield drawing


def is_fit(drawing: Drawing, *, lemmas: set[str]) -> bool:
    """Whether licence, folder and caption of `drawing` suit a demo for everyone."""
    words = len(drawing.caption.split())
    return (
        drawing.public_domain
        and drawing.language == "en"
        and 3 <= words <= 40
        and not UNFIT_PATHS.search(drawing.key)
        and not UNFIT_WORDS.search(f"{drawing.key.replace('_', ' ')} {drawing.caption}")
        and is_english(drawing.caption, lemmas=lemmas)
    )


def is_english(caption: str, *, lemmas: set[str]) -> bool:
    """Whether at least 85 % of the words are in `lemmas`, English plurals included.

    >>> is_english("two red apples, fruit", lemmas={"two", "red", "apple", "fruit"})
    True
    >>> is_english("mele rosse, fruit", lemmas={"fruit"})
    False
    """
    caption = caption.lower()
    words = re.findall(r"[^\W\d_]+", caption)
    known = sum(
        bool(FUNCTION_WORD.fullmatch(word))
        or any(re.sub(ending, "", word) in lemmas for ending in ("$", "s$", "es$", "ing$", "e?d$"))
        for word in words
    )
    return caption.isascii() and not FOREIGN_WORD.search(caption) and known >= 0.85 * len(words) > 0


def picture_marks(png: Path) -> tuple[bytes, ...]:
    """SHA-256 of the file and a 16 by 16 grey thumbnail; nothing for an unsuitable shape."""
    if max(png_size(png)) > 1600:
        return ()
    drawn = trim(png)
    if min(drawn.size) < MIN_SIDE or max(drawn.size) > 4 * min(drawn.size):
        return ()
    thumbnail = flatten(drawn.resize((16, 16), reducing_gap=2)).convert("L")
    return hashlib.sha256(png.read_bytes()).digest(), thumbnail.quantize(16).tobytes()


def trim(png: Path) -> Image.Image:
    """Return the picture as RGBA without its transparent margin."""
    with Image.open(png) as picture:
        rgba = picture.convert("RGBA")
    return rgba.crop(rgba.getbbox())


def flatten(rgba: Image.Image) -> Image.Image:
    """Return `rgba` as RGB over white."""
    white = Image.new("RGBA", rgba.size, "white")
    return Image.alpha_composite(white, rgba).convert("RGB")


def write_pool(chosen: Sequence[Drawing], *, out: Path) -> int:
    """Write images and tables of `chosen` under `out`; return the bytes of all images."""
    images = out / "images"
    shutil.rmtree(images, ignore_errors=True)
    images.mkdir(parents=True)
    pairs: list[str] = []
    sources = ["path\tsource\tcreator"]
    for number, drawing in enumerate(sorted(chosen, key=attrgetter("rank")), start=1):
        name = f"images/{number:04d}.{encode(drawing, stem=images / f'{number:04d}')}"
        pairs.append(json.dumps({"path": name, "caption": drawing.caption}))
        sources.append(f"{name}\t{drawing.key}\t{drawing.creator}")
    (out / "pairs.jsonl").write_text("\n".join(pairs) + "\n", encoding="utf-8")
    (out / "sources.tsv").write_text("\n".join(sources) + "\n", encoding="utf-8")
    return sum(image.stat().st_size for image in images.iterdir())


def encode(drawing: Drawing, *, stem: Path) -> str:
    """Write `drawing` scaled down as JPEG (three in four), PNG or WebP; return the suffix."""
    rgba = trim(drawing.png)
    rgba.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
    match int(keyed_hash(f"format {drawing.key}"), 16) % 8:
        case 0:
            rgba.quantize(64, method=Image.Quantize.FASTOCTREE).save(f"{stem}.png", optimize=True)
            return "png"
        case 1:
            rgba.save(f"{stem}.webp", quality=85, method=4)
            return "webp"
        case _:
            flatten(rgba).save(f"{stem}.jpg", quality=88, optimize=True)
            return "jpg"


if __name__ == "__main__":
    main()
