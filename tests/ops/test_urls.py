"""One spelling for URLs that name the same thing, and none for those that do not."""

from urllib.parse import parse_qsl, urlsplit

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from curate.ops.urls import TRACKING, normalise_url, normalise_urls


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        ("http://example.org/a.jpg", "http://example.org/a.jpg"),
        ("HTTP://Example.ORG/A.jpg", "http://example.org/A.jpg"),
        ("http://example.org", "http://example.org/"),
        ("http://example.org?w=2", "http://example.org/?w=2"),
        ("http://example.org:80/a", "http://example.org/a"),
        ("https://example.org:443/a", "https://example.org/a"),
        ("https://example.org:80/a", "https://example.org:80/a"),
        ("http://example.org:443/a", "http://example.org:443/a"),
        ("http://example.org:8080/a", "http://example.org:8080/a"),
        ("http://example.org:/a", "http://example.org/a"),
        ("http://example.org/a#top", "http://example.org/a"),
        ("http://example.org/a#", "http://example.org/a"),
        ("http://example.org/a?", "http://example.org/a"),
        ("http://example.org/a?utm_source=x", "http://example.org/a"),
        ("http://example.org/a?w=2&utm_source=x&h=3&fbclid=y", "http://example.org/a?w=2&h=3"),
        ("http://example.org/a?b=1&a=2", "http://example.org/a?b=1&a=2"),
        ("http://example.org/a?w=2&w=2", "http://example.org/a?w=2&w=2"),
        ("http://example.org/a?q=&w", "http://example.org/a?q=&w"),
        ("http://example.org/a?utmost=1&gclids=2", "http://example.org/a?utmost=1&gclids=2"),
        ("http://example.org/a%20b?c=%2F", "http://example.org/a%20b?c=%2F"),
        ("http://[2001:DB8::1]:80/a", "http://[2001:db8::1]/a"),
        ("http://[2001:DB8::1]:81/a", "http://[2001:db8::1]:81/a"),
        ("http://example.org/a/../b//c", "http://example.org/a/../b//c"),
        ("http://bücher.example/ä", "http://bücher.example/ä"),
    ],
)
def test_the_one_spelling(url: str, normal: str) -> None:
    assert normalise_url(url) == normal


@pytest.mark.parametrize("url", ["http://[half", "http://example.org:99999/", "http://a:b/c"])
def test_what_is_no_url_stays_as_it_is(url: str) -> None:
    assert normalise_url(url) == url


@pytest.mark.parametrize(
    "query", ["w=2", "flag", "q=a%20b", "q=a+b", "q=%FF", "a=1;b=2", "q=é", ""]
)
def test_a_tracking_parameter_changes_nothing(query: str) -> None:
    url = f"https://example.org/a.jpg?{query}"
    for name in (*TRACKING, "utm_source", "utm_medium", "utm_"):
        for more in (f"{name}=1", f"{name}=", name):
            joined = f"{url}&{more}" if query else f"{url}{more}"
            assert normalise_url(joined) == normalise_url(url)
            first = f"https://example.org/a.jpg?{more}&{query}" if query else f"{url}{more}"
            assert normalise_url(first) == normalise_url(url)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("http://example.org/a", "https://example.org/a"),
        ("http://example.org/a", "http://example.org/A"),
        ("http://example.org/a", "http://example.org/a/"),
        ("http://example.org/a?w=1", "http://example.org/a?w=2"),
        ("http://example.org/a?q=%FE&utm_id=1", "http://example.org/a?q=%FF&utm_id=1"),
        ("http://example.org/a?q=a%2Bb&utm_id=1", "http://example.org/a?q=a+b&utm_id=1"),
        ("http://example.org/a?x=1&y=2&utm_id=1", "http://example.org/a?x=1%26y=2&utm_id=1"),
        ("http://example.org/a?q&utm_id=1", "http://example.org/a&utm_id=1"),
    ],
)
def test_urls_that_differ_stay_apart(one: str, other: str) -> None:
    assert normalise_url(one) != normalise_url(other)


hosts = st.sampled_from(
    ["example.org", "Example.ORG", "a-b.c", "[::1]", "[2001:DB8::2]", "bücher.de"]
)
parts = st.text("aZ9/.%-_~é中 &=+:@!", max_size=8)
queries = st.lists(
    st.tuples(
        st.sampled_from(["w", "q", "utm_x", "fbclid", "UTM_X", "a%20b", ""]),
        st.sampled_from(["", "1", "a%20b", "a+b", "%FF", "=", "é", "%26"]),
        st.sampled_from(["=", ""]),
    ),
    max_size=4,
).map(lambda pairs: "&".join(k + (eq + v if eq else "") for k, v, eq in pairs))
web_urls = st.builds(
    "{}://{}{}/{}{}{}".format,
    st.sampled_from(["http", "https", "HTTP", "hTTps"]),
    hosts,
    st.sampled_from(["", ":80", ":443", ":8080", ":"]),
    parts,
    queries.map(lambda query: f"?{query}" if query else ""),
    st.sampled_from(["", "#", "#top"]),
)


@given(url=web_urls)
@settings(max_examples=300)
def test_normalising_twice_is_normalising_once(url: str) -> None:
    normal = normalise_url(url)
    assert normalise_url(normal) == normal


@given(url=web_urls)
@settings(max_examples=300)
def test_only_case_port_fragment_and_tracking_go(url: str) -> None:
    before, after = urlsplit(url), urlsplit(normalise_url(url))
    assert after.scheme == before.scheme.lower()
    assert after.hostname == before.hostname
    standard = {"http": 80, "https": 443}[after.scheme]
    assert (after.port or standard) == (before.port or standard)
    assert after.port != standard
    assert (after.path, after.fragment) == (before.path or "/", "")
    wanted = [
        (name, value)
        for name, value in parse_qsl(before.query, keep_blank_values=True, errors="surrogateescape")
        if name not in TRACKING and not name.startswith("utm_")
    ]
    assert parse_qsl(after.query, keep_blank_values=True, errors="surrogateescape") == wanted, (
        "the other parameters stay, in their order"
    )


@given(
    urls=st.lists(web_urls | st.text(st.characters(codec="utf-8"), max_size=20), max_size=8),
    cut=st.integers(0, 8),
)
@example(urls=["http://example.org/a\nb", "http://example.org/a\n", "http://example.org"], cut=1)
@settings(max_examples=300, deadline=None)
def test_a_column_is_normalised_url_by_url(urls: list[str], cut: int) -> None:
    expected = [normalise_url(url) for url in urls]
    assert normalise_urls(pa.array(urls, pa.string())).to_pylist() == expected
    chunked = pa.chunked_array([["x", *urls[:cut]], urls[cut:]], pa.string()).slice(1)
    assert normalise_urls(chunked).to_pylist() == expected
    assert normalise_urls(pa.array(urls, pa.large_string())).to_pylist() == expected


def test_an_empty_column() -> None:
    assert normalise_urls(pa.chunked_array([], pa.string())).to_pylist() == []
    assert normalise_urls(pa.array([], pa.string())).to_pylist() == []
