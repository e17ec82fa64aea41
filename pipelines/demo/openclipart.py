"""Drawings and captions of the openclipart 0.18 collection, and the lemmas of WordNet.

openclipart is packaged in two halves: a PNG rendering, and under the same relative path the SVG
source whose RDF block carries title, description, keywords, language and licence. A caption is
``title. description, keyword, keyword``; what the collection's tools left in these fields (hash
addresses, theme names, mail addresses) is not part of it.
"""

import hashlib
import html
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PUBLIC_DOMAIN = re.compile(r"license[^>]*resource=\"[^\"]*public-?domain", re.IGNORECASE)
BOILERPLATE_TITLE = re.compile(
    r"clip ?arts?\b|lemon svg theme|aiga_symbol|etiquette icon|flat icon collection|collection by|"
    r"hotel icons|svg road|gramastar|map symbols$|theme$|^untitled|^card$|^image$|^new |http|"
    r"\.svg$",
    re.IGNORECASE,
)
BOILERPLATE_DESCRIPTION = re.compile(
    r"http|www\.|@|hash\(|inkscape|sodipodi|illustrator|converted|clip ?art|collection|svg|eps|"
    r"license|copyright|public domain|created|drawn by|made (by|with|in)|traced|gradien",
    re.IGNORECASE,
)
BOILERPLATE_KEYWORD = re.compile(
    r"^$|^\W*\d+$|hash|0x|^unsorted$|clip ?art|_theme_|^theme$|architetto|magick|mapsym$|"
    r"@|www|^webpage$|^special$|^special examples$",
    re.IGNORECASE,
)


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """One rendered drawing and what its author wrote about it."""

    key: str
    """Path relative to the collection, without the suffix: ``animals/bugs/ant_01``."""
    png: Path
    caption: str
    creator: str
    language: str
    public_domain: bool

    @property
    def folder(self) -> str:
        """Folder of the drawing in the collection."""
        return self.key.rpartition("/")[0]

    @property
    def rank(self) -> str:
        """A fixed pseudo-random order: sort by it to draw the same sample everywhere."""
        return keyed_hash(self.key)


def keyed_hash(key: str) -> str:
    """Hex digest (16 digits) that depends on nothing but `key`.

    >>> keyed_hash("animals/bugs/ant_01") == keyed_hash("animals/bugs/ant_01")
    True
    """
    return hashlib.blake2b(key.encode(), digest_size=8, person=b"curate-demo").hexdigest()


def read_drawings(png_root: Path, *, svg_root: Path) -> Iterator[Drawing]:
    """Yield every PNG of `png_root` that has an SVG of the same name, in path order."""
    for png in sorted(png_root.rglob("*.png")):
        key = png.relative_to(png_root).with_suffix("").as_posix()
        svg = svg_root / f"{key}.svg"
        if not svg.exists():
            continue
        source = svg.read_text(encoding="utf-8", errors="replace")
        rdf = _first(r"<metadata.*?</metadata>", source)
        subject = _first(r"<dc:subject.*?</dc:subject>", rdf)
        creator = _first(r"<dc:creator.*?</dc:creator>", rdf)
        yield Drawing(
            key=key,
            png=png,
            caption=caption_of(
                key,
                title=_text("dc:title", rdf),
                description=_text("dc:description", rdf),
                keywords=re.findall(r"<rdf:li[^>]*>([^<]*)</rdf:li>", subject),
            ),
            creator=_text("dc:title", creator),
            language=(_text("dc:language", rdf) or "en")[:2].lower(),
            public_domain=bool(PUBLIC_DOMAIN.search(rdf)),
        )


def caption_of(key: str, *, title: str, description: str, keywords: list[str]) -> str:
    """Join the fields of one drawing into a caption free of boilerplate.

    >>> caption_of("animals/bugs/ant_01", title="Lemon SVG theme", description="a red ant.",
    ...            keywords=["", "hash(0x81c8a74)", "insect", "forest_animal"])
    'ant. a red ant, insect, forest animal'
    """
    if not title or BOILERPLATE_TITLE.search(title):
        title = key.rpartition("/")[2]
    parts = [re.sub(r"^aiga |(?<=[a-z]{2})\d+( \d+)?$| \d+$", "", _words(title))]
    if description and not BOILERPLATE_DESCRIPTION.search(description):
        sentence = _words(description).rstrip(".")
        if sentence.lower() not in parts[0].lower():
            parts[0] += f". {sentence}"
    seen = {parts[0].lower()}
    for keyword in map(str.strip, keywords):
        word = "" if BOILERPLATE_KEYWORD.search(keyword) else _words(html.unescape(keyword)).lower()
        if word and word not in seen:
            seen.add(word)
            parts.append(word)
    return ", ".join(part for part in parts if part)


def png_size(png: Path) -> tuple[int, int]:
    """Width and height from the header alone: some drawings are rendered at 600 megapixels."""
    with png.open("rb") as file:
        width, height = struct.unpack(">16x2L", file.read(24))
    return width, height


def wordnet_lemmas(folder: Path) -> set[str]:
    """Every lemma of the WordNet ``data.*`` files, underscores as spaces, case as written there.

    >>> "hot dog" in wordnet_lemmas(Path("usr/share/wordnet"))  # doctest: +SKIP
    True
    """
    lemmas: set[str] = set()
    for name in ("data.adj", "data.adv", "data.noun", "data.verb"):
        for line in (folder / name).read_text(encoding="utf-8").splitlines():
            if line.startswith("  "):
                continue
            fields = line.split(" ")
            count = int(fields[3], 16)
            for lemma in fields[4 : 4 + 2 * count : 2]:
                lemmas.add(re.sub(r"\((a|p|ip)\)$", "", lemma).replace("_", " "))
    return lemmas


def _first(pattern: str, text: str) -> str:
    match = re.search(pattern, text, re.DOTALL)
    return match[0] if match else ""


def _text(tag: str, rdf: str) -> str:
    match = re.search(rf"<{tag}[^>]*>([^<]*)</{tag}>", rdf)
    return " ".join(html.unescape(match[1]).split()) if match else ""


def _words(text: str) -> str:
    return " ".join(re.sub(r"[_\s]+|(?<=\w)-+(?=\w)", " ", text).split())
