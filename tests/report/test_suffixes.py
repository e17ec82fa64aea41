"""Registrable domains against the test data of publicsuffix.org."""

import pytest

from curate.report.suffixes import Suffixes, shipped

# host, registrable domain; a host that is a suffix itself stands for itself
PUBLISHED = """
com com
example.com example.com
b.example.com example.com
a.b.example.com example.com
uk.com uk.com
a.b.example.uk.com example.uk.com
test.ac test.ac
biz biz
jp jp
www.test.jp test.jp
ac.jp ac.jp
www.test.ac.jp test.ac.jp
www.test.kyoto.jp test.kyoto.jp
ide.kyoto.jp ide.kyoto.jp
a.b.ide.kyoto.jp b.ide.kyoto.jp
c.kobe.jp c.kobe.jp
a.b.c.kobe.jp b.c.kobe.jp
www.city.kobe.jp city.kobe.jp
ck ck
test.ck test.ck
a.b.test.ck b.test.ck
www.www.ck www.ck
us us
www.test.us test.us
www.test.ak.us test.ak.us
www.test.k12.ak.us test.k12.ak.us
a.食狮.com.cn 食狮.com.cn
www.食狮.公司.cn 食狮.公司.cn
www.xn--85x722f.xn--55qx5d.cn xn--85x722f.xn--55qx5d.cn
example.example example.example
a.b.example.example example.example
"""


@pytest.mark.parametrize("line", PUBLISHED.strip().splitlines())
def test_published(line: str) -> None:
    host, expected = line.split()
    suffixes = shipped()
    assert suffixes is not None
    assert suffixes.registrable(host) == expected


@pytest.mark.parametrize("host", ["127.0.0.1", "[2001:db8::1]", "localhost", "", "." * 300, "a..b"])
def test_what_is_no_domain_does_no_harm(host: str) -> None:
    suffixes = Suffixes.of("// comment\n\ncom\n*.ck\n!www.ck\n")
    assert isinstance(suffixes.registrable(host), str)


def test_an_address_stands_for_itself() -> None:
    assert Suffixes.of("com").registrable("127.0.0.1") == "127.0.0.1"
    assert Suffixes.of("com").registrable("Example.com.".lower()) == "example.com"
