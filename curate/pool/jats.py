"""An article in JATS, the XML of PubMed Central (``.nxml``): its figures, and what is said of them.

Nothing outside the document is read: its document type names files that are not opened, and one that
declares entities of its own, which could grow without end, is refused. Entities of the document type's
public sets, such as ``&alpha;``, are taken by their names in HTML, which has them from the same sets.
"""

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from html.entities import html5
from xml.etree.ElementTree import Element, ParseError, TreeBuilder, XMLParser

ARTICLE_BYTES = 1 << 25
"""Bytes of an article, at most."""

_ENTITIES = {name[:-1]: text for name, text in html5.items() if name.endswith(";")}
_UNBOUND_PREFIX = 27
_PREFIXES = "".join(
    f' xmlns:{prefix}="{url}"'
    for prefix, url in (
        ("xlink", "http://www.w3.org/1999/xlink"),
        ("mml", "http://www.w3.org/1998/Math/MathML"),
        ("ali", "http://www.niso.org/schemas/ali/1.0/"),
        ("xsi", "http://www.w3.org/2001/XMLSchema-instance"),
    )
).encode()
"""What the document type declares of an article that does not say so itself."""
_DEEPEST = 500
_CITED = 200_000  # characters of the paragraphs that cite a figure, at most
_TEXT = 1_000  # of any other text but a caption


@dataclass(frozen=True)
class Figure:
    """A figure of an article that has a graphic."""

    graphic: str  # as the article names its file
    caption: str | None  # None where there is none
    figure: str | None  # its id in the article
    label: str | None  # such as "Figure 1"
    mentions: str | None  # the paragraphs that cite it, a blank line between two


@dataclass(frozen=True)
class Article:
    """What is known of an article."""

    pmc: str | None  # PMC and digits
    pmid: str | None
    doi: str | None
    title: str | None
    license: str | None  # the URL of the licence, else what is said of it
    figures: tuple[Figure, ...]  # in the order of the document


def read_article(content: bytes) -> Article:
    """The article in a file.

    Raises
    ------
    ValueError
        Where it is no well-formed XML or no article, or declares entities.
    """
    root = _parsed(content)
    if root.tag != "article":
        raise ValueError(f"it begins with <{str(root.tag)[:40]}>, not with <article>")
    parents = _parents(root)
    ids = {
        str(one.get("pub-id-type")): _line(one)[:_TEXT]
        for one in _front(root)
        if one.tag == "article-id"
    }
    pmc = re.fullmatch(r"(?:PMC)?([0-9]+)(?:\.[0-9]+)?", ids.get("pmcid") or ids.get("pmc") or "")
    mentions = _mentions(root, parents)
    return Article(
        pmc=pmc and f"PMC{pmc[1]}",
        pmid=ids.get("pmid") or None,
        doi=ids.get("doi") or None,
        title=_first(_front(root), "article-title"),
        license=_license(root),
        figures=tuple(_figures(root, parents, mentions)),
    )


def image_names(graphic: str) -> Iterator[str]:
    """The names that a graphic's file may have in the package of its article, likeliest first.

    PubMed Central's are the name in the article and ``.jpg``; some articles name the file as a whole.
    None where the name leads out of the package.

    >>> list(image_names("a.g001")), list(image_names("f/a.tif")), list(image_names("../a"))
    (['a.g001.jpg', 'a.g001'], ['f/a.tif.jpg', 'f/a.tif', 'f/a.jpg'], [])
    """
    name = posixpath.normpath(graphic.strip().replace("\\", "/")) if graphic.strip() else ".."
    if name.startswith(("/", "../")) or name in ("..", ".") or "://" in graphic:
        return
    stem, dot, ending = name.rpartition(".")
    yield f"{name}.jpg"
    yield name
    if dot and stem and ending.lower() in ("tif", "tiff", "eps", "gif", "png", "jpeg", "svg"):
        yield f"{stem}.jpg"


def _parsed(content: bytes) -> Element:
    plain = content.replace(b"\0", b"") if content[:4].count(0) else content  # UTF-16
    if b"<!ENTITY" in plain:
        raise ValueError("it declares entities of its own, which are not expanded")
    try:
        return _tree(content)
    except ParseError as error:
        if error.code == _UNBOUND_PREFIX:
            declared = re.sub(rb"<article\b", lambda tag: tag[0] + _PREFIXES, content, count=1)
            try:
                return _tree(declared)
            except ParseError as again:
                error = again
        raise ValueError(f"no well-formed XML: {error}") from None


def _tree(content: bytes) -> Element:
    """The elements, each by its name without a namespace; comments are left out."""
    parser = XMLParser(target=TreeBuilder())
    parser.entity.update(_ENTITIES)
    parser.feed(content)
    root: Element = parser.close()
    for one in root.iter():
        if one.tag.startswith("{"):
            one.tag = one.tag.rpartition("}")[2]
    return root


def _parents(root: Element) -> dict[Element, Element]:
    """The parent of each element; a ValueError where they are nested without end."""
    found: dict[Element, Element] = {}
    level, depth = [root], 0
    while level:
        depth += 1
        if depth > _DEEPEST:
            raise ValueError(f"its elements are nested over {_DEEPEST} deep")
        found.update((child, one) for one in level for child in one)
        level = [child for one in level for child in one]
    return found


def _front(root: Element) -> Iterator[Element]:
    """The elements of what is known of the article itself, not of one within it."""
    for front in root:
        if front.tag == "front":
            for meta in front:
                if meta.tag == "article-meta":
                    yield from meta.iter()
                    return


def _first(elements: Iterator[Element], name: str) -> str | None:
    return next((_line(one)[:_TEXT] or None for one in elements if one.tag == name), None)


def _line(one: Element) -> str:
    """The text of an element on one line."""
    return " ".join("".join(one.itertext()).split())


def _attribute(one: Element, name: str) -> str | None:
    """An attribute of this name, in whatever namespace."""
    found = (x.strip() for key, x in one.items() if key.rpartition("}")[2] == name)
    return next((x[:_TEXT] for x in found), None)


def _license(root: Element) -> str | None:
    told: list[str] = []
    for one in _front(root):
        if one.tag == "license_ref" and _line(one):
            return _line(one)[:_TEXT]
        if one.tag == "license":
            links = (_attribute(x, "href") for x in one.iter() if x.tag != "graphic")
            told += filter(None, [next(filter(None, links), None), _line(one)])
            told += filter(None, [_attribute(one, "license-type")])
    return told[0][:_TEXT] if told else None


def _figures(
    root: Element, parents: dict[Element, Element], mentions: dict[str, list[Element]]
) -> Iterator[Figure]:
    for fig in root.iter("fig"):
        graphic = next((x for x in _own(fig) if x.tag == "graphic"), None)
        name = _attribute(graphic, "href") if graphic is not None else None
        if graphic is None or not name:
            continue
        caption = _caption(graphic, fig, parents)
        text = None if caption is None else "".join(caption.itertext()).strip()
        label = next((_line(x)[:_TEXT] for x in fig if x.tag == "label"), None)
        own = {id(x) for x in fig.iter()}
        cited = (
            _line(p) for p in mentions.get(fig.get("id") or "", ()) if id(p) not in own
        )  # a caption says nothing of itself
        paragraphs = list(dict.fromkeys(filter(None, cited)))
        yield Figure(
            graphic=name, caption=text, figure=_attribute(fig, "id") or None, label=label or None,
            mentions="\n\n".join(paragraphs)[:_CITED] or None,
        )  # fmt: skip


def _own(fig: Element) -> Iterator[Element]:
    """What is in a figure, but not in one within it; in the order of the document."""
    left = [*reversed(fig)]
    while left:
        one = left.pop()
        if one.tag != "fig":
            yield one
            left += reversed(one)


def _caption(graphic: Element, fig: Element, parents: dict[Element, Element]) -> Element | None:
    """The first caption below the parent of the graphic; where that has none, below its parent."""
    at = graphic
    while at is not fig:
        below, at = at, parents[at]
        for one in at:
            if one is not below and (found := _caption_in(one)) is not None:
                return found
    return None


def _caption_in(one: Element) -> Element | None:
    if one.tag == "caption" or one.tag == "fig":
        return one if one.tag == "caption" else None
    return next((x for x in _own(one) if x.tag == "caption"), None)


def _mentions(root: Element, parents: dict[Element, Element]) -> dict[str, list[Element]]:
    """The paragraphs that cite each figure, by its id; the innermost that the citation stands in."""
    found: dict[str, list[Element]] = {}
    for xref in root.iter("xref"):
        if xref.get("ref-type") != "fig":
            continue
        at: Element | None = xref
        while at is not None and at.tag != "p":
            at = parents.get(at)
        if at is not None:
            for rid in (xref.get("rid") or "").split():
                found.setdefault(rid, []).append(at)
    return found
