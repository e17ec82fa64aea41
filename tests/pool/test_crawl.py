"""Pages to candidates: URLs, texts and the choice among them; records good, broken and cut off."""

import gzip
import io
import json
import re
from contextlib import suppress
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from curate.pool.candidates import (
    CAPTION_CHARS,
    FIGURE_DEPTH,
    NESTED,
    PAGE_IMAGES,
    SHORT,
    URL_CHARS,
    Candidate,
    Text,
    choose,
    decode_page,
    image_url,
    page_candidates,
    resolve,
    srcset,
    wat_candidates,
)
from curate.pool.crawl import BrokenRecord, read_crawl
from curate.pool.records import HEADER_BYTES
from curate.pool.rows import PoolFormat
from curate.pool.tables import read_batches

PAGE = "http://x.example/a/b/page.html?q=1"


def candidate(url: str, **texts: str) -> Candidate:
    return Candidate(url, tuple(Text(source, text) for source, text in texts.items()))


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("c.jpg", "http://x.example/a/b/c.jpg"), ("/c.jpg", "http://x.example/c.jpg"),
        ("../../../c.jpg", "http://x.example/c.jpg"), ("//y.example/c", "http://y.example/c"),
        ("https://y.example/c", "https://y.example/c"), ("?v=2", "http://x.example/a/b/page.html?v=2"),
        ("  c\n.jpg\t", "http://x.example/a/b/c.jpg"), ("HTTP://Y.example/c", "http://Y.example/c"),
        ("data:image/gif;base64,AA", None), ("javascript:void(0)", None), ("blob:http://x/1", None),
        ("http:///c.jpg", "http://x.example/c.jpg"), ("http://[::1/c.jpg", None),
        ("ftp://x.example/c.jpg", None), ("file:///etc/passwd", None),
    ],
)  # fmt: skip
def test_relative_urls_are_joined_and_what_is_not_on_the_web_is_none(
    url: str, found: str | None
) -> None:
    assert resolve(url, PAGE) == found


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("", []), (" , ,", []), ("a.jpg", ["a.jpg"]), ("a.jpg 2x, b.jpg", ["a.jpg", "b.jpg"]),
        ("a 100w, b 300w, c 200w", ["b", "c", "a"]), ("a,b c.jpg", ["a,b"]),
        ("a 1.5x,b 3x ,\n c 2x", ["b", "c", "a"]), ("a 300w, b 300w", ["a", "b"]),
        ("a,, b", ["a", "b"]), ("http://x/y,z/w.jpg 1x, q 2x", ["q", "http://x/y,z/w.jpg"]),
        ("a 100w 50h, b 90w 80h", ["a", "b"]), ("a nonsense, b 2x", ["b", "a"]),
    ],
)  # fmt: skip
def test_srcset_largest_first(value: str, found: list[str]) -> None:
    assert srcset(value) == found


names = st.text(st.sampled_from("abz/.,:?=-_"), min_size=1, max_size=8).filter(
    lambda name: not name.startswith(",") and not name.endswith(",")
)


@given(st.lists(st.tuples(names, st.integers(1, 3000)), max_size=6), st.sampled_from("wx"))
def test_any_srcset_is_read_back(images: list[tuple[str, int]], unit: str) -> None:
    written = ", ".join(f"{name} {size}{unit}" for name, size in images)
    assert srcset(written) == [name for name, _ in sorted(images, key=lambda one: -one[1])]


@pytest.mark.parametrize(
    ("attributes", "found"),
    [
        ({"src": "s.jpg"}, "s.jpg"), ({"src": "s.gif", "data-src": "d.jpg"}, "d.jpg"),
        ({"src": "s", "srcset": "m 2x, l 3x", "data-src": "d"}, "l"),
        ({"src": "s", "srcset": "p 1x", "data-srcset": "m 640w, l 960w"}, "l"),
        ({"src": "s", "srcset": "data:image/gif;base64,AA 1w"}, "s"),
        ({"src": "s", "data-original": "o"}, "o"), ({"src": "s", "data-lazy-src": "z"}, "z"),
        ({"src": None}, None), ({}, None), ({"src": "data:,x", "alt": "a"}, None),
    ],
)  # fmt: skip
def test_the_url_of_an_image(attributes: dict[str, str | None], found: str | None) -> None:
    assert image_url(attributes, PAGE) == (found and f"http://x.example/a/b/{found}")


@pytest.mark.parametrize(
    ("texts", "chosen"),
    [
        ({"alt": "a red fox"}, "a red fox"), ({"title": "a title", "alt": "a red fox"}, "a red fox"),
        ({"alt": "fox", "title": "a title"}, "a title"),
        ({"alt": "fox", "title": "a title", "figcaption": "a caption"}, "a caption"),
        ({"alt": "fox", "title": "cat!"}, "cat!"), ({"title": "cat", "alt": "fox"}, "fox"),
        ({"alt": "12345", "title": "a longer title"}, "12345"),
    ],
)  # fmt: skip
def test_one_text_is_chosen(texts: dict[str, str], chosen: str) -> None:
    assert choose(candidate("u", **texts).texts) == chosen


@given(st.lists(st.builds(Text, st.sampled_from(["alt", "title", "figcaption"]),
                          st.text(min_size=1, max_size=8)), min_size=1, max_size=5))  # fmt: skip
def test_the_choice_is_one_of_the_texts_and_short_only_if_all_are(texts: list[Text]) -> None:
    chosen = choose(tuple(texts))
    assert chosen in [text for _, text in texts]
    longest = max(len(text) for _, text in texts)
    assert len(chosen) >= min(SHORT, longest)


HTML = """<!doctype html><body>
<figure><a><img src=1.jpg alt=" A  fox\n in &quot;snow&quot; "></a><img src=2.jpg>
<figcaption>Two <b>animals</b></figcaption></figure>
<img src=3.jpg alt="" title="Only a title"><img src=4.jpg alt=""><img alt="No URL">
<IMG SRC="1.jpg" ALT="The same fox again"><img src=1.jpg alt="The same fox again">
<picture><source srcset="5.webp 2x"><img src="5.jpg" alt="Five"></picture>
<script>document.write('<img src=6.jpg alt="Six">')</script><!-- <img src=7.jpg alt=Seven> -->
<img src=8.jpg alt="Unclosed"""


def test_the_candidates_of_a_page() -> None:
    base = "http://x.example/a/b/"
    assert page_candidates(HTML, page=PAGE) == [
        Candidate(f"{base}1.jpg", (
            Text("alt", 'A fox in "snow"'), Text("figcaption", "Two animals"),
            Text("alt", "The same fox again"))),
        candidate(f"{base}2.jpg", figcaption="Two animals"),
        candidate(f"{base}3.jpg", title="Only a title"),
        candidate(f"{base}5.jpg", alt="Five"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("base", "found"),
    [
        ("/c/", "http://x.example/c/i.png"), ("https://y.example/d/e", "https://y.example/d/i.png"),
        ("", "http://x.example/a/b/i.png"), ("data:text/plain,x", "http://x.example/a/b/i.png"),
        ("../", "http://x.example/a/i.png"),
    ],
)  # fmt: skip
def test_the_base_of_a_page_is_respected(base: str, found: str) -> None:
    html = f'<base target=_top><base href="{base}"><base href="/late/"><img src=i.png alt=text>'
    assert page_candidates(html, page=PAGE) == [candidate(found, alt="text")]
    head = {"Base": base}
    links = [{"path": "IMG@/src", "url": "i.png", "alt": "text"}]
    assert wat_candidates(extract(links, Head=head)) == [candidate(found, alt="text")]


words = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=12)
paths = st.from_regex(r"[a-z0-9/._~-]{1,12}", fullmatch=True)


@given(st.lists(st.tuples(paths, words, words), max_size=5))
@settings(deadline=None)
def test_what_is_written_into_a_page_is_read_from_it(images: list[tuple[str, str, str]]) -> None:
    html = "".join(
        f'<p>before<img alt="{escape(alt)}" src="{escape(path)}" title="{escape(title)}"></p>'
        for path, alt, title in images
    )
    expected: dict[str, list[tuple[str, str]]] = {}
    for path, alt, title in images:
        url = urljoin(PAGE, path)
        if not urlsplit(url).netloc:
            continue
        for one in (("alt", " ".join(alt.split())), ("title", " ".join(title.split()))):
            texts = expected.setdefault(url, [])
            if one[1] and one not in texts:
                texts.append(one)
    found = {one.url: list(one.texts) for one in page_candidates(html, page=PAGE)}
    assert found == {url: texts for url, texts in expected.items() if texts}


markup = st.lists(st.sampled_from(
    ["<img ", "src=", "'", '"', ">", "alt=x", "<figure>", "<figcaption>", "</", "<base href=", "//[",
     "srcset=", "a 1w,", "\x00", "&#x0;", "é", "<svg>", "<table>", "<!--", "data:,", " "]
), max_size=30).map("".join)  # fmt: skip


@given(markup)
@settings(max_examples=150, deadline=None)
def test_any_markup_gives_candidates_on_the_web_with_texts(html: str) -> None:
    for one in page_candidates(html, page=PAGE):
        assert urlsplit(one.url).scheme.lower() in ("http", "https")
        assert one.texts
        assert all(text == " ".join(text.split()) != "" for _, text in one.texts)


def extract(links: Any, **html: Any) -> dict[str, Any]:
    """A page's WAT document."""
    metadata = {"HTML-Metadata": {"Links": links, **html}}
    return {
        "Envelope": {
            "WARC-Header-Metadata": {"WARC-Target-URI": PAGE},
            "Payload-Metadata": {"HTTP-Response-Metadata": metadata},
        }
    }


def test_the_candidates_of_an_extract() -> None:
    links = [
        {"path": "IMG@/src", "url": "1.jpg", "alt": "A  fox", "title": "T"},
        {"path": "A@/href", "url": "2.jpg", "text": "A link"},
        {"path": "IMG@/srcset", "url": "s.jpg 1x, l.jpg 2x", "alt": "Sizes"},
        {"path": "IMG@/data-src", "url": "/3.jpg", "alt": "Late"},
        {"path": "IMG@/src", "url": "4.jpg", "alt": ""},
        {"path": "IMG@/src", "url": "data:,x", "alt": "Inline"},
        {"path": "IMG@/longdesc", "url": "5.html", "alt": "No image"},
        {"path": "IMG@/src", "url": "1.jpg", "alt": "Again"},
        {"path": "IMG@/src", "url": None, "alt": "x"}, {"path": "IMG@/src", "alt": "x"},
        {"url": "6.jpg"}, "nonsense", None, {"path": 7, "url": "7.jpg"},
        {"path": "IMG@/src", "url": "8.jpg", "alt": 8},
    ]  # fmt: skip
    base = "http://x.example/a/b/"
    assert wat_candidates(extract(links)) == [
        Candidate(f"{base}1.jpg", (Text("alt", "A fox"), Text("title", "T"), Text("alt", "Again"))),
        candidate(f"{base}l.jpg", alt="Sizes"),
        candidate("http://x.example/3.jpg", alt="Late"),
    ]


documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just(PAGE),
    lambda x: st.lists(x, max_size=3) | st.dictionaries(st.sampled_from(
        ["Envelope", "WARC-Header-Metadata", "WARC-Target-URI", "Payload-Metadata", "Links", "Head",
         "HTTP-Response-Metadata", "HTML-Metadata", "Base", "path", "url", "alt"]), x, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(documents)
def test_a_document_of_any_shape_is_no_error(document: Any) -> None:
    assert isinstance(wat_candidates(document), list)
    assert wat_candidates(extract(document)) == []


@pytest.mark.parametrize(
    ("content", "header", "text"),
    [
        ("é€".encode(), "text/html; charset=UTF-8", "é€"), ("é".encode("latin-1"), "", "\ufffd"),
        ("é€".encode("cp1252"), "text/html; charset=ISO-8859-1", "é€"),
        (b"<meta charset='windows-1251'>" + "лис".encode("cp1251"), "", "лис"),
        (b'<META http-equiv=x content="text/html; charset=shift_jis">' + "狐".encode("sjis"), "", "狐"),
        (b"<meta charset=koi8-r>" + "é".encode(), "text/html;charset=\"utf-8\"", "é"),
        ("\ufeffé".encode(), "text/html; charset=latin-1", "é"),
        ("é".encode(), "text/html; charset=nonsense", "é"), ("é".encode(), "x; charset=hex", "é"),
        ("é".encode(), "x; charset=idna", "é"), ("é".encode(), "x; charset=undefined", "é"),
    ],
)  # fmt: skip
def test_the_charset_of_a_page(content: bytes, header: str, text: str) -> None:
    assert re.sub("<.*?>", "", decode_page(content, content_type=header)) == text


@given(st.binary(max_size=60), st.text(max_size=20))
def test_any_bytes_are_a_page_in_any_charset(content: bytes, name: str) -> None:
    decode_page(content, content_type=f"text/html; charset={name}").encode()


def crawl(*, packed: bool = True, pages: int = 3) -> bytes:
    """A WARC of some pages; each has one image."""
    file = io.BytesIO()
    writer = WARCWriter(file, gzip=packed)
    writer.write_record(writer.create_warcinfo_record("f.warc", {"software": "test"}))
    for number in range(pages):
        body = f'<img src="{number}.png" alt="image {number}">'.encode() + b"<p>filler</p>" * 500
        headers = [("Content-Type", "text/html"), ("Content-Encoding", "gzip")]
        http = StatusAndHeaders("200 OK", headers, protocol="HTTP/1.1")
        payload = io.BytesIO(gzip.compress(body, mtime=0))
        record = writer.create_warc_record(PAGE, "response", payload=payload, http_headers=http)
        writer.write_record(record)
    return file.getvalue()


def pages_of(content: bytes) -> tuple[list[str], str]:
    """The texts found, and how the file ended."""
    found = []
    try:
        for page in read_crawl(io.BytesIO(content)):
            assert not isinstance(page, BrokenRecord)
            found += [one.texts[0].text for one in page]
    except ValueError as error:
        return found, str(error)
    return found, ""


WHOLE = [f"image {number}" for number in range(3)]


@pytest.mark.parametrize("packed", [True, False])
def test_a_crawl_packed_or_not_and_even_in_one_piece(packed: bool) -> None:
    assert pages_of(crawl(packed=packed)) == (WHOLE, "")
    assert pages_of(gzip.compress(crawl(packed=False))) == (WHOLE, "")
    assert pages_of(crawl(packed=packed) + bytes(512) * packed) == (WHOLE, "")


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("missing", [6, 40, 90, 200])
def test_a_crawl_that_is_cut_off_says_so_after_its_whole_pages(packed: bool, missing: int) -> None:
    found, end = pages_of(crawl(packed=packed)[:-missing])
    assert found == WHOLE[: len(found)]
    assert len(found) >= 1
    assert "the file ends inside " in end


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"not a crawl at all\n" * 9, id="plain"),
        pytest.param(gzip.compress(b"nor this\n" * 9), id="packed"),
    ],
)
def test_what_is_no_crawl(content: bytes) -> None:
    found, end = pages_of(content)
    assert found == []
    assert end
    assert len(end) <= 80
    assert end.isascii()


def test_records_that_are_no_pages_are_skipped_and_broken_ones_told() -> None:
    file = io.BytesIO()
    writer = WARCWriter(file, gzip=True)

    def write(
        kind: str, body: bytes, *, status: str = "200 OK", served: str = "", of: str = ""
    ) -> None:
        http = StatusAndHeaders(status, [("Content-Type", served)], protocol="HTTP/1.1")
        record = writer.create_warc_record(
            PAGE, kind, payload=io.BytesIO(body), warc_content_type=of,
            http_headers=http if served else None,
        )  # fmt: skip
        writer.write_record(record)

    page = b"<img src=1.png alt=one>"
    write("response", page, served="text/html", status="404 Not Found")
    write("response", page, served="image/png")
    write("request", b"GET / HTTP/1.1\r\n\r\n", of="application/http; msgtype=request")
    write("response", page, served="application/xhtml+xml; charset=utf-8")
    write("resource", page.replace(b"1", b"2"), of="text/html")
    write("metadata", b"fetchTimeMs: 5", of="application/warc-fields")
    write("metadata", b'{"Envelope": ', of="application/json")
    write("metadata", b"[" * 100_000, of="application/json")
    links = [{"path": "IMG@/src", "url": "3.png", "alt": "one"}]
    write("metadata", json.dumps(extract(links)).encode(), of="application/json")
    file.seek(0)
    base = "http://x.example/a/b/"
    found = list(read_crawl(file))
    assert [one for one in found if not isinstance(one, BrokenRecord)] == [
        [candidate(f"{base}{k}.png", alt="one")] for k in (1, 2, 3)
    ]
    broken = [one for one in found if isinstance(one, BrokenRecord)]
    assert [(one.number, one.page) for one in broken] == [(7, PAGE), (8, PAGE)]
    assert broken[0].problem == "Expecting value: line 1 column 14 (char 13)"


# What is made to take long: each of these took minutes to days before there was a bound.


def test_a_srcset_of_any_length_is_read_in_one_go() -> None:
    digits = "1" * 1_000_000
    assert srcset(f"a {digits}w, b 2x {digits}.{digits}, c {digits}") == ["b", "a", "c"]
    assert srcset("," * 1_000_000) == []
    assert srcset("a," * 1_000_000) == ["a," * 999_999 + "a"]
    assert len(srcset("a 1x, " * 100_000)) == 100_000


def test_images_and_captions_of_a_page_are_read_up_to_a_number() -> None:
    page = "".join(f"<img src={i} alt=cat>" for i in range(PAGE_IMAGES + 5))
    assert len(page_candidates(page, page=PAGE)) == PAGE_IMAGES
    links = [{"path": "IMG@/src", "url": str(i), "alt": "cat"} for i in range(PAGE_IMAGES + 5)]
    assert len(wat_candidates(_extract(links))) == PAGE_IMAGES
    [one] = wat_candidates(_extract([{**link, "url": "a", "alt": link["url"]} for link in links]))
    assert len(one.texts) == PAGE_IMAGES


def _extract(links: list[dict[str, str]]) -> dict[str, Any]:
    payload = {"HTTP-Response-Metadata": {"HTML-Metadata": {"Links": links}}}
    header = {"WARC-Target-URI": PAGE}
    return {"Envelope": {"WARC-Header-Metadata": header, "Payload-Metadata": payload}}


@pytest.mark.parametrize("inside", [FIGURE_DEPTH - 1, FIGURE_DEPTH])
def test_a_figure_is_looked_for_up_to_a_depth(inside: int) -> None:
    divs = "<div>" * inside
    page = f"<figure><figcaption>A cat</figcaption>{divs}<img src=a>"
    assert bool(page_candidates(page, page=PAGE)) is (inside < FIGURE_DEPTH)


def test_figures_in_figures_have_their_own_caption() -> None:
    page = """<figure><img src=a><figure><img src=b><figcaption>inner</figcaption></figure>
        <figcaption>outer</figcaption></figure><figcaption>none</figcaption><img src=c>"""
    found = {
        one.url[-1]: [text.text for text in one.texts] for one in page_candidates(page, page=PAGE)
    }
    assert found == {"a": ["inner"], "b": ["inner"]}


def test_captions_are_read_to_their_bound_once() -> None:
    words = "word " * 1_000_000
    page = f"<figure><figcaption>{words}</figcaption>{'<img src=a>' * PAGE_IMAGES}</figure>"
    [one] = page_candidates(page, page=PAGE)
    assert one.texts == (Text("figcaption", words[:CAPTION_CHARS].strip()),)


@pytest.mark.parametrize(
    "tag",
    ["<div>", "<figure><figcaption>x<img src=a>", "<B class=x></i>", "<div><!--</div>-->",
     "<div a = '</div>' b=\"</div>\">", "<div><script>'</div>'</SCRIPT>", "<div><title></div></title>",
     "<div it's='>'>"],
)  # fmt: skip
def test_a_page_that_is_nested_without_end_is_refused_before_it_is_parsed(tag: str) -> None:
    with pytest.raises(ValueError, match="more than 5,000 elements in each other"):
        page_candidates(tag * 300_000, page=PAGE)


def test_a_long_page_that_is_not_nested_is_read() -> None:
    page = "<ul>" + "<li><p><b>x</b><br><img src=a alt=cat></p>" * (NESTED + 1) + "</ul>"
    assert page_candidates(page, page=PAGE) == [candidate("http://x.example/a/b/a", alt="cat")]


@pytest.mark.parametrize(
    "piece", ["<!--", '<b ="', "<b ='\" ", "< ", "<script ", "<script>", "<b <", '="']
)
def test_no_markup_takes_long_to_tell_whether_it_is_nested(piece: str) -> None:
    with suppress(ValueError):
        page_candidates("<p>" + piece * 500_000 + "<img src=a alt=cat>" * 2, page=PAGE)


def test_a_url_longer_than_its_bound_leads_to_nothing() -> None:
    long = "a/" * (URL_CHARS // 2)
    assert resolve(long, "http://x.example/") is not None
    assert resolve(long + "a", "http://x.example/") is None
    assert resolve("a", f"http://x.example/{long}") is None


def test_a_charset_behind_a_million_blanks() -> None:
    blanks = " " * 1_000_000
    assert decode_page(b"\xe9", content_type=f"text/html; charset={blanks}latin-1") == "\ufffd"
    assert decode_page(b"\xe9", content_type="text/html; charset= ' latin-1'") == "é"


_RECORD = (
    b"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: http://a.example/\r\n"
    b"Content-Length: %d\r\n\r\n"
)


@pytest.mark.parametrize(
    "content",
    [b"WARC/1.0\r\nX: " + b"a" * 4_000_000, b"WARC/1.0" + b"a" * 4_000_000,
     b"WARC/1.0\r\nX: y\r\n" + b"a: b\r\n" * 700_000],
    ids=["field", "first line", "fields"],
)  # fmt: skip
def test_a_header_of_a_record_is_read_up_to_a_size(content: bytes) -> None:
    class Counting(io.BytesIO):
        taken = 0

        def read(self, size: int | None = -1, /) -> bytes:
            block = super().read(size)
            self.taken += len(block)
            return block

    file = Counting(content)
    with pytest.raises(ValueError, match="a header of over 1 MB"):
        list(read_crawl(file))
    assert file.taken < HEADER_BYTES + (1 << 17)


def test_what_is_no_page_may_be_longer_than_a_header() -> None:
    body = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n\r\n" + b"x" * (3 * HEADER_BYTES)
    other = (_RECORD % len(body)).replace(b"response", b"resource") + body + b"\r\n\r\n"
    page = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<img src=a alt=cat>"
    last = _RECORD % len(page) + page + b"\r\n\r\n"
    content = (_RECORD % len(body) + body + b"\r\n\r\n" + other) * 2 + last
    assert list(read_crawl(io.BytesIO(content))) == [[candidate("http://a.example/a", alt="cat")]]


# Records that are odd.


def test_half_a_surrogate_pair_spoils_its_url_and_no_more(tmp_path: Path) -> None:
    links = [
        {"path": "IMG@/src", "url": "a", "alt": "bad \ud83d half"},
        {"path": "IMG@/src", "url": "b\udc00", "alt": "two"},
        {"path": "IMG@/src", "url": "c", "alt": "three"},
    ]
    body = json.dumps(_extract(links)).encode()
    head = _RECORD.replace(b"response", b"metadata\r\nContent-Type: application/json")
    (tmp_path / "a.wat").write_bytes((head % len(body) + body + b"\r\n\r\n") * 2)
    pool = PoolFormat(format="auto", url="url", caption="caption")
    [table] = read_batches(str(tmp_path / "a.wat"), pool=pool)
    folder = "http://x.example/a/b/"
    good = [(f"{folder}a", "bad \ufffd half", None), (f"{folder}c", "three", None)]
    found = [(row["url"], row["caption"], row["error"]) for row in table.to_pylist()]
    assert found[:4] == good * 2
    assert [row[2] for row in found[4:]] == ["bad_row"] * 2
    [first, _] = [detail for detail in table["detail"].to_pylist() if detail]
    assert first.endswith(f"row 1: half a surrogate pair in the URL {folder}b\ufffd")


def test_a_response_of_nowhere_is_a_broken_record() -> None:
    page = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<img src=http://a.example/b alt=cat>"
    record = _RECORD % len(page) + page + b"\r\n\r\n"
    nowhere = record.replace(b"WARC-Target-URI: http://a.example/\r\n", b"")
    good = [candidate("http://a.example/b", alt="cat")]
    found = list(read_crawl(io.BytesIO(record + nowhere + record)))
    assert found == [good, BrokenRecord(2, "", "a response without WARC-Target-URI"), good]
