"""Articles: what their figures are, which file is whose, and what is said of what cannot be read."""

import gzip
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.errors import CurateError
from curate.pool.articles import KINDS, bundles
from curate.pool.jats import ARTICLE_BYTES, Article, read_article
from curate.pool.rows import PoolFormat
from curate.pool.stored import Place, read_places
from curate.pool.tables import column_kinds, read_batches
from curate.reasons import DropReason, ErrorCode
from tests.pool.packages import DOCTYPE, XLINK, article, figure, folder, package, picture

JATS = PoolFormat("jats", "url", "caption", keep=tuple((name, "string") for name in KINDS))


def rows(*paths: Path) -> list[dict[str, Any]]:
    members = [str(path) for path in paths]
    return [
        row
        for table in read_batches(members[0], pool=JATS, members=members)
        for row in table.to_pylist()
    ]


def images(found: list[dict[str, Any]]) -> list[bytes | None]:
    places = [
        (k, Place(x["file"], x["offset"], x["size"])) for k, x in enumerate(found) if x["file"]
    ]
    got = dict(read_places(places))
    return [got.get(k) for k in range(len(found))]


def of(body: str, *, head: str = "") -> Article:
    return read_article(f"{head}<article {XLINK}><body>{body}</body></article>".encode())


def captions(body: str) -> list[str | None]:
    return [one.caption for one in of(body).figures]


def test_the_example_of_a_caption() -> None:
    """Also where the article leaves the prefix to its document type."""
    example = (
        "<fig><caption><title>T.</title><p>Two <b>rats</b>.</p></caption>"
        '<graphic xlink:href="a"/></fig>'
    )
    assert captions(example) == ["T.Two rats."]
    (found,) = read_article(f"<article><body>{example}</body></article>".encode()).figures
    assert (found.caption, found.graphic, found.figure) == ("T.Two rats.", "a", None)


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ('<fig><graphic xlink:href="a"/></fig>', [None]),
        ('<fig><caption/><graphic xlink:href="a"/></fig>', [""]),
        ("<fig><caption><p>no graphic</p></caption><p>code</p></fig>", []),
        ("<fig><caption><p>x</p></caption><media xlink:href='a.mp4'/></fig>", []),
        ('<fig><caption><p>x</p></caption><graphic id="no-name"/></fig>', []),
        # several graphics: the first
        ('<fig><caption><p>x</p></caption><alternatives><graphic xlink:href="a"/>'
         '<graphic xlink:href="b"/></alternatives></fig>', ["x"]),
        # each figure of a group has its own caption, and none that of the group
        ('<fig-group><caption><p>all</p></caption><fig><caption><p>A</p></caption>'
         '<graphic xlink:href="a"/></fig><fig><graphic xlink:href="b"/></fig></fig-group>',
         ["A", None]),
        ('<boxed-text><caption><p>box</p></caption><sec><fig><graphic xlink:href="a"/><caption>'
         "<p>inner</p></caption></fig></sec></boxed-text>", ["inner"]),
        ('<fig><caption><p>outer</p></caption><p><fig><caption><p>inner</p></caption>'
         '<graphic xlink:href="a"/></fig></p><graphic xlink:href="b"/></fig>', ["outer", "inner"]),
        # no figures
        ('<table-wrap><caption><p>t</p></caption><graphic xlink:href="t"/></table-wrap>', []),
        ('<disp-formula><graphic xlink:href="e"/></disp-formula><p><inline-graphic xlink:href="i"/>'
         "</p>",
         []),
        ('<fig><caption><p>a<!-- a comment --><?note?>b &lt; c &#945;</p></caption>'
         '<graphic xlink:href="a"/></fig>', ["ab < c α"]),
        ('<fig><caption>\n <p>one</p>\n <p>two</p>\n</caption><graphic xlink:href="a"/></fig>',
         ["one\n two"]),
    ],
)  # fmt: skip
def test_captions(body: str, found: list[str | None]) -> None:
    assert captions(body) == found


def test_what_is_known_of_an_article() -> None:
    whole = article(
        figure("F1", "rats", label="Figure 1"), figure("F2", "as in <xref rid='F1'>1</xref>"), pmc=77,
        body='<p>First <bold>see <xref ref-type="fig" rid="F1">Fig. 1</xref></bold>,\n twice'
        ' <xref ref-type="fig" rid="F1">1</xref>.</p><p>Both <xref ref-type="fig" rid="F1 F2"/>.</p>'
        '<p>None <xref ref-type="table" rid="F1"/>.</p>',
    )  # fmt: skip
    found = read_article(whole)
    assert (found.pmc, found.pmid, found.doi, found.title) == (
        "PMC77",
        "1077",
        "10.1/77",
        "Of rats",
    )
    assert found.license == "https://creativecommons.org/licenses/by/4.0/"
    one, two = found.figures
    assert (one.figure, one.label) == ("F1", "Figure 1")
    assert one.mentions == "First see Fig. 1, twice 1.\n\nBoth ."
    assert (two.figure, two.label, two.mentions) == ("F2", None, "Both .")


@pytest.mark.parametrize(
    ("terms", "told"),
    [
        ("", None),
        ('<license license-type="open-access"/>', "open-access"),
        ("<license><license-p>Free\n to use</license-p></license>", "Free to use"),
        ('<license><license-p>Under <ext-link xlink:href="http://l.example/by"/></license-p></license>',
         "http://l.example/by"),
        ('<license license-type="x"><ali:license_ref xmlns:ali="http://www.niso.org/schemas/ali/1.0/">'
         "http://l.example/zero</ali:license_ref><license-p>Free</license-p></license>",
         "http://l.example/zero"),
    ],
)  # fmt: skip
def test_a_licence_is_its_address_else_what_is_said(terms: str, told: str | None) -> None:
    front = f"<permissions>{terms}</permissions>" if terms else ""
    assert read_article(article(figure("a", "x"), license=None, front=front)).license == told


def test_the_identity_of_an_article_in_either_spelling() -> None:
    for kind, text in (("pmc", "12"), ("pmcid", "PMC12"), ("pmcid", "PMC12.1"), ("pmc", "PMC12")):
        one = article(pmc=None, front=f'<article-id pub-id-type="{kind}">{text}</article-id>')
        assert read_article(one).pmc == "PMC12", (kind, text)


def test_names_of_the_sets_that_document_types_have() -> None:
    text = '<fig><caption><p>&alpha;&nbsp;&plusmn; 2</p></caption><graphic xlink:href="a"/></fig>'
    (one,) = of(text, head=DOCTYPE).figures
    assert one.caption == "α\u00a0± 2"


BOMB = "<!ENTITY a 'ha'><!ENTITY b '&a;&a;&a;&a;'>"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"<article><body>", "no well-formed XML: no element found"),
        (b"", "no well-formed XML: no element found"),
        (b"\x89PNG", "no well-formed XML"),
        (b"<article>&nowhere;</article>", "no well-formed XML: undefined entity"),
        (b"<html><body/></html>", "it begins with <html>, not with <article>"),
        (f"<!DOCTYPE article [{BOMB}]><article>&b;</article>".encode(), "declares entities of its own"),
        ("<!DOCTYPE article [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><article>&x;</article>"
         .encode("utf-16"), "declares entities of its own"),
        (b"<!DOCTYPE article [<!ENTITY % x SYSTEM 'http://localhost:1/x'> %x;]><article/>",
         "declares entities of its own"),
        (b'<?xml version="1.0" encoding="no-such"?><article/>', "unknown encoding"),
    ],
)  # fmt: skip
def test_what_is_no_article_is_told(content: bytes, told: str) -> None:
    with pytest.raises((ValueError, LookupError), match=told):
        read_article(content)


@settings(deadline=None)
@given(st.binary(max_size=200) | st.text(alphabet="<>&;/ !a'=[]fig", max_size=60).map(str.encode))
def test_any_bytes_are_an_article_or_told(content: bytes) -> None:
    for whole in (content, b"<article>" + content + b"</article>"):
        try:
            assert read_article(whole).figures is not None
        except (ValueError, LookupError):
            continue


@pytest.mark.parametrize(
    ("deep", "name"), [(400, "p"), (600, "p"), (300_000, "p"), (300_000, "fig")]
)
def test_nesting_without_end_is_told(deep: int, name: str) -> None:
    inside = f"{f'<{name}>' * deep}<graphic xlink:href='a'/>{f'</{name}>' * deep}"
    one = f"<fig>{inside}<caption>x</caption></fig>"
    if deep < 500:
        assert captions(one) == ["x"]
    else:
        with pytest.raises(ValueError, match="its elements are nested over 500 deep"):
            captions(one)


def members(pmc: int, *names: str, shade: int = 40, body: str = "") -> dict[str, bytes]:
    """The files of an article whose figures are called so, in a folder of its own."""
    figures = [figure(name, f"rats {name} of {pmc}") for name in names]
    found = {f"PMC{pmc}/{name}.jpg": picture(shade + 10 * k) for k, name in enumerate(names)}
    return {f"PMC{pmc}/main.nxml": article(*figures, pmc=pmc, body=body), **found}


@pytest.mark.parametrize("form", ["tar.gz", "tgz", "tar", "tar.bz2", "tar.xz", "folder"])
def test_each_figure_is_a_pair_with_its_image(tmp_path: Path, form: str) -> None:
    given = {
        **members(1, "a", "b"),
        "PMC1/paper.pdf": b"%PDF",
        "PMC1/a.gif": picture(1, kind=".gif"),
    }
    if form == "folder":
        made = [x for x in folder(tmp_path / "pool", given).rglob("*") if x.is_file()]
        made = [x for x in made if x.suffix != ".pdf"]
    else:
        mode = {"tar": "w", "tar.bz2": "w:bz2", "tar.xz": "w:xz"}.get(form, "w:gz")
        made = [package(tmp_path / f"PMC1.{form}", given, mode=mode)]
    found = rows(*made)
    assert [(x["url"], x["caption"], x["error"]) for x in found] == [
        ("file:///PMC1/a.jpg", "rats a of 1", None), ("file:///PMC1/b.jpg", "rats b of 1", None),
    ]  # fmt: skip
    assert images(found) == [given["PMC1/a.jpg"], given["PMC1/b.jpg"]]
    assert {x["article"] for x in found} == {"PMC1"}
    assert {x["pmid"] for x in found} == {"1001"}
    assert [x["figure"] for x in found] == ["a", "b"]
    assert column_kinds(str(made[0]), pool=JATS) == KINDS


def test_several_articles_in_one_package_keep_to_their_own_images(tmp_path: Path) -> None:
    given = {**members(2, "a", shade=60), **members(1, "a", shade=10)}
    found = rows(package(tmp_path / "all.tar.gz", given))
    assert [x["url"] for x in found] == ["file:///PMC1/a.jpg", "file:///PMC2/a.jpg"]
    assert images(found) == [given["PMC1/a.jpg"], given["PMC2/a.jpg"]]


def test_which_file_a_graphic_is(tmp_path: Path) -> None:
    named = {
        "plain": "plain.jpg", "dots.g001": "dots.g001.jpg", "whole.jpg": "whole.jpg",
        "drawn.tif": "drawn.jpg", "both": "both.jpg", "UPPER": "upper.JPG", "in/deep": "in/deep.jpg",
        "shot.png": "shot.png",
    }  # fmt: skip
    lost = ["gone", "../secret", "/secret", "PMC2/a", "http://x.example/a.jpg", "thumb"]
    figures = [figure(f"f{k}", "x", graphic=x) for k, x in enumerate([*named, *lost])]
    given = {f"PMC1/{file}": picture(k) for k, file in enumerate(named.values())}
    others = {"secret.jpg": picture(1), "PMC1/both.gif": picture(2), "PMC1/thumb.gif": picture(3)}
    given |= {**others, **members(2, "a"), "PMC1/x.nxml": article(*figures)}
    for made in ([package(tmp_path / "one.tar.gz", given)],
                 [x for x in folder(tmp_path / "pool", given).rglob("*") if x.is_file()]):  # fmt: skip
        found = [x for x in rows(*made) if x["article"] == "PMC1"]
        whole, missing = found[: len(named)], found[len(named) :]
        assert [x["url"] for x in whole] == [f"file:///PMC1/{x}" for x in named.values()]
        assert images(whole) == [given[f"PMC1/{x}"] for x in named.values()]
        assert [(x["error"], x["detail"], x["file"]) for x in missing] == [
            (DropReason.NO_IMAGE_FILE, name, None) for name in lost
        ]


def test_an_article_without_an_id_is_called_by_its_file(tmp_path: Path) -> None:
    whole = article(figure("a", "x"), pmc=None).replace(
        b'pub-id-type="pmid"', b'pub-id-type="other"'
    )
    plain = whole.replace(b'pub-id-type="doi"', b'pub-id-type="other"')
    for content, called in ((whole, "10.1/None"), (plain, "rats-2019")):
        given = {"rats-2019.nxml": content, "a.jpg": picture(1)}
        (found,) = rows(package(tmp_path / f"{len(content)}.tar.gz", given))
        assert found["url"] == f"file:///{called}/a.jpg"


def test_a_damaged_article_or_package_is_one_row_that_names_it(tmp_path: Path) -> None:
    good = package(tmp_path / "PMC1.tar.gz", members(1, "a"))
    cut = package(tmp_path / "PMC2.tar.gz", members(2, "a", "b"))
    cut.write_bytes(cut.read_bytes()[:-90])
    torn = {**members(3, "a"), "PMC3/main.nxml": article(figure("a", "x"))[:-9]}
    three = package(tmp_path / "PMC3.tar.gz", {**torn, **members(30, "a")})
    none = package(tmp_path / "PMC4.tar.gz", {"PMC4/a.jpg": picture(3)})
    text = tmp_path / "PMC5.tar.gz"
    text.write_bytes(b"not a tar")
    nested = package(tmp_path / "PMC6.tar.gz", {"PMC7.tar.gz": good.read_bytes()})
    long = {"PMC8/main.nxml": b"<article>" + b" " * ARTICLE_BYTES, "PMC8/a.jpg": picture(3)}
    eight = package(tmp_path / "PMC8.tar.gz", long)
    found = rows(good, cut, three, none, text, nested, eight)
    assert [x["url"] for x in found if x["error"] is None] == [
        "file:///PMC1/a.jpg", "file:///PMC30/a.jpg",
    ]  # fmt: skip
    bad = [x for x in found if x["error"]]
    assert {x["error"] for x in bad} == {ErrorCode.UNREADABLE_FILE}
    told = [x["detail"].removeprefix(f"{tmp_path}/") for x in bad]
    assert told[0].startswith("PMC2.tar.gz: the file ends inside its gz data")
    assert told[1].startswith("PMC3.tar.gz: PMC3/main.nxml: no well-formed XML")
    assert told[2] == "PMC4.tar.gz: there is no article (.nxml) in it"
    assert told[3] == "PMC5.tar.gz: no tar that can be read: truncated header"
    assert told[4].startswith("PMC6.tar.gz: it holds packages, such as PMC7.tar.gz")
    assert told[5] == f"PMC8.tar.gz: PMC8/main.nxml: it has over {ARTICLE_BYTES >> 20} MB"
    assert len(told) == 6


def test_a_package_that_has_changed_since_is_named(tmp_path: Path) -> None:
    """A tar that is not packed is read as well, whatever its name is."""
    path = package(tmp_path / "PMC1.tar.gz", members(1, "a"), mode="w")
    found = rows(path)
    assert images(found) == [picture(40)]
    path = package(path, members(1, "a"))
    assert images(found) == [picture(40)]
    whole = path.read_bytes()
    path.write_bytes(whole[:-80])
    with pytest.raises(CurateError, match=r"PMC1.tar.gz: the file ends inside its gz data"):
        images(found)
    package(path, {"PMC1/x.nxml": article()})
    with pytest.raises(CurateError, match=r"PMC1.tar.gz: .* it has changed since the run began"):
        images([x | {"offset": x["offset"] + 1_000_000} for x in found])


def test_a_caption_without_end_and_a_path_without_end(tmp_path: Path) -> None:
    long = f"{'a/' * 50_000}a.jpg"
    given = {
        "PMC1/x.nxml": article(figure("a", "x" * 1_000_001), figure("b", "y", graphic=long[:-4]))
    }
    given |= {"PMC1/a.jpg": picture(1), f"PMC1/{long}": picture(2)}
    one, other = rows(package(tmp_path / "PMC1.tar.gz", given))
    assert (one["error"], one["caption"]) == (ErrorCode.BAD_ROW, None)
    assert one["detail"] == "PMC1: a: a caption of over 1,000,000 bytes"
    assert other["error"] == DropReason.NO_IMAGE_FILE


def test_folders_of_articles_are_read_together_and_packages_by_themselves(tmp_path: Path) -> None:
    paths = ["p/PMC2.tar.gz", "p/PMC1/a.jpg", "p/PMC1/main.nxml", "p/PMC1/figs/b.jpg", "p/far.jpg",
             "p/PMC3/main.nxml.gz", "p/PMC3/c.jpg"]  # fmt: skip
    (one,) = bundles(paths)
    assert one == ["p/PMC1/a.jpg", "p/PMC1/figs/b.jpg", "p/PMC1/main.nxml", "p/PMC2.tar.gz",
                   "p/PMC3/c.jpg", "p/PMC3/main.nxml.gz"]  # fmt: skip
    many = [f"p/PMC{k:05d}.tar.gz" for k in range(4_001)]
    assert [len(one) for one in bundles(many)] == [2_000, 2_000, 1]
    given = members(1, "a")
    given["PMC1/main.nxml.gz"] = gzip.compress(given.pop("PMC1/main.nxml"))
    made = folder(tmp_path, given)
    (found,) = rows(*(x for x in made.rglob("*") if x.is_file()))
    assert found["url"] == "file:///PMC1/a.jpg"
