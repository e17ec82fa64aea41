"""Some samples of a set, in the terminal and as a contact sheet, whatever their captions hold."""

import json
import re
from pathlib import Path

import pytest
from PIL import Image

from tests.checking.planting import cut_off, members, pack, picture, tar_of
from tests.users.runs import curate, document, moved, pairs, refused, well

HOSTILE = {
    "screen": "\x1b[2J\x1b]0;title\x07gone",
    "rtl": "\u202egnp.exe\u2066 harmless",
    "long": "word " * 20_000,
    "one": "x" * 100_000,
    "html": '<script>alert(1)</script><img src=x onerror="alert(1)">',
    "quotes": "\" ' onerror=alert(1) {{ 7 * 7 }} [bold]not markup[/bold]",
    "lines": "a\nb\r\nc\u2028d",
    "wide": "日本語の説明" * 100,
}


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A tar whose captions are hostile, without JSON, and with images that are none."""
    path = tmp_path / "set" / "0.tar"
    path.parent.mkdir()
    some = []
    for k, (key, caption) in enumerate(HOSTILE.items()):
        some += [(f"{key}.jpg", b"no" if k % 3 == 2 else picture(40 + k, 30)),
                 (f"{key}.txt", caption.encode())]  # fmt: skip
    some += [
        ("\x1b[31mkey.jpg", picture(9, 9)),
        ("\x1b[31mkey.txt", b"caf\xe9"),
        ("bare.json", b"{"),
    ]
    pack(path, some)
    return path


def test_the_first_samples_are_shown(small: Path) -> None:
    lines = well("peek", str(small), "4").splitlines()
    rows = pairs(small)[:4]
    for line, row in zip(lines, rows, strict=True):
        size = f"{row['width']}x{row['height']}"
        assert line.split("  ")[0] == row["key"]
        assert size in line
        assert line.endswith((row["caption"], "…"))
    assert well("peek", str(small / "shards"), "4").splitlines() == lines
    assert len(well("peek", str(small)).splitlines()) == 10


def test_samples_that_are_drawn_are_those_of_the_seed(small: Path) -> None:
    one, again, other = (
        well("peek", str(small), "8", "--random", seed).splitlines() for seed in ("1", "1", "2")
    )
    assert one == again != other
    assert len({*one}) == len(one) == 8
    every = len(pairs(small))
    found = well("peek", str(small), str(10 * every), "--random", "1").splitlines()
    assert len(found) == len({*found}) == every, "none twice"


def test_scores_are_shown(whole: Path) -> None:
    with_score = re.compile(r"  -?\d\.\d{3}  ")
    assert all(map(with_score.search, well("peek", str(whole)).splitlines()))


def test_hostile_captions_stay_text_on_one_line(hostile: Path) -> None:
    said = well("peek", str(hostile), "20")
    lines = said.splitlines()
    assert len(lines) == len(HOSTILE) + 2
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028]", said)
    assert max(map(len, lines)) <= 160
    assert "\\u001b[2J" in said
    assert "\\u202egnp" in said
    assert "[bold]not markup[/bold]" in said
    assert "not_an_image" in said
    assert lines[-1].startswith("bare")
    assert "no image" in lines[-1]


def test_hostile_captions_do_no_harm_on_a_sheet(hostile: Path, tmp_path: Path) -> None:
    page = tmp_path / "sheet.html"
    assert str(page) in well("peek", str(hostile), "20", "--sheet", str(page))
    html = page.read_text()
    assert len(html) < 60_000
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert "{{ 7 * 7 }}" in html
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", html)
    assert html.count("<img ") == sum(k % 3 != 2 for k in range(len(HOSTILE))) + 1
    assert {*re.findall(r'src="(.{10})', html)} == {"data:image"}
    assert "default-src 'none'" in html
    for name in ("sheet.png", "sheet.jpg"):
        well("peek", str(hostile), "20", "--sheet", str(tmp_path / name))
        with Image.open(tmp_path / name) as found:
            found.load()
            assert found.width > 1000


def test_a_set_that_is_broken_is_shown_up_to_there(small: Path, tmp_path: Path) -> None:
    run = moved(small, tmp_path / "run")
    cut_off(run / "shards")
    total = sum(document(run / "shards/sizes.json").values())
    shown = well("peek", str(run), str(total)).splitlines()
    assert 0 < len(shown) < total
    some = [
        (x, b"[" * 100_000 if x.endswith("json") else c)
        for x, c in members(tar_of(small / "shards"))
    ]
    pack(tar_of(run / "shards"), some)
    assert len(well("peek", str(run), "3").splitlines()) == 3


def test_what_cannot_be_shown_is_said_in_a_line(small: Path, tmp_path: Path) -> None:
    assert "no .tar in it" in refused("peek", str(small / "report"))
    assert "no such file" in refused("peek", str(tmp_path / "nowhere"))
    (tmp_path / "empty").mkdir()
    assert "no .tar in it" in refused("peek", str(tmp_path / "empty"))
    assert "expected 1 or more" in refused("peek", str(small), "0")
    told = refused("peek", str(small), "--sheet", str(tmp_path / "sheet.gif"))
    assert ".html, .png, .jpg" in told
    assert curate("peek", str(small), "many").returncode == 2
    (tmp_path / "x.tar").write_bytes(json.dumps({}).encode())
    told = refused("peek", str(tmp_path / "x.tar"), "--sheet", str(tmp_path / "sheet.html"))
    assert (
        f"{tmp_path}/x.tar: no sample can be read; check it by: curate verify {tmp_path}/x.tar"
        in told
    )
    assert not (tmp_path / "sheet.html").exists()
