"""Readers: what each line means, and one-line errors where a file cannot be what it should."""

import gzip
from collections import defaultdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.errors import CurateError
from curate.metadata import sources


def write(path: Path, content: str | bytes) -> str:
    content = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return str(path)


def plain(path: str) -> list[str]:
    return [entry for block in sources.plain(path) for entry in block.to_pylist()]


@pytest.mark.parametrize("name", ["list.txt", "list.txt.gz"])
def test_a_plain_list(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, "\ufeffred\r\n\n  a fox \n\xa0\nblue")
    assert plain(path) == ["red", "a fox", "blue"]


def test_lines_span_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "_BLOCK", 3)
    path = write(tmp_path / "list.txt", "one\nzwölf\n\nthree hundred\n日本")
    assert plain(path) == ["one", "zwölf", "three hundred", "日本"]


def test_a_line_that_is_no_text_is_left_out(tmp_path: Path) -> None:
    path = write(tmp_path / "words.txt", b"red 3\nbl\xffue 4\nfox 5\n")
    rows = sources.Rows(path, sources.COUNTED)
    found = [entry for entries, _ in sources.counted(rows) for entry in entries.to_pylist()]
    assert (found, rows.skipped) == (["red", "fox"], 1)


@pytest.mark.parametrize("mark", ["\t", " ", ","])
def test_counts(tmp_path: Path, mark: str) -> None:
    text = f"word{mark}count\nthe{mark}23135851162\n\ud7ffx{mark}7\nfox{mark}-3\nfox{mark}1.5\n"
    rows = sources.Rows(write(tmp_path / "words.gz", text), sources.COUNTED)
    found = [
        pair
        for entries, counts in sources.counted(rows)
        for pair in zip(entries.to_pylist(), counts.to_pylist(), strict=True)
    ]
    assert found == [("the", 23135851162), ("\ud7ffx", 7)]
    assert rows.skipped == 3, "the header, and counts that are none"


def test_pairs(tmp_path: Path) -> None:
    text = "new york 7\nnew\tyork\t5\nnew,york,3\nnew york city 4\nyork 2\n"
    rows = sources.Rows(write(tmp_path / "pairs.txt", text), sources.PAIRS)
    [(entries, counts)] = sources.pairs(rows)
    assert entries.to_pylist() == ["new york"] * 3
    assert counts.to_pylist() == [7, 5, 3]
    assert rows.skipped == 2


PAGEVIEWS = """en Main_Page 80 0
en Red_fox 49 0
en Red_fox 50 0
en.m Red_fox 60 0
de Fuchs 90 0
en Talk:Fox 90 0
"" Fox 90 0
en broken
en Fox 20 0
en Fox 60 0
"""


@pytest.mark.parametrize(
    ("domains", "least", "expected"),
    [
        (("en",), 50, {"Main Page": 80, "Red fox": 50, "Fox": 60}),
        (("en", "en.m"), 1, {"Main Page": 80, "Red fox": 159, "Fox": 80}),
        (("de",), 50, {"Fuchs": 90}),
    ],
)
def test_pageviews(
    tmp_path: Path, domains: tuple[str, ...], least: int, expected: dict[str, int]
) -> None:
    path = write(tmp_path / "pageviews-20200101-000000.gz", PAGEVIEWS)
    assert sources.title_kind(path) is sources.TitleKind.PAGEVIEWS
    rows = sources.Rows(path, sources.VIEWS)
    found: dict[str, int] = defaultdict(int)
    for titles, views in sources.pageviews(rows, domains=domains, min_row_views=least):
        for title, count in zip(titles.to_pylist(), views.to_pylist(), strict=True):
            found[title] += count
    assert found == expected
    assert rows.skipped == 1


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Red fox\n", sources.TitleKind.PLAIN),
        ("Blade Runner 2049\n", sources.TitleKind.PLAIN),
        ("Red fox\t12\n", sources.TitleKind.COUNTED),
        ("", sources.TitleKind.PLAIN),
    ],
)
def test_kinds_of_titles(tmp_path: Path, text: str, kind: sources.TitleKind) -> None:
    assert sources.title_kind(write(tmp_path / "titles.txt", text)) is kind


HEADER = "  1 This software\n  2 WordNet 3.0 Copyright 2006 by Princeton University.\n"


def wordnet_folder(folder: Path) -> str:
    folder.mkdir()
    for pos in ("noun", "verb", "adj", "adv"):
        (folder / f"data.{pos}").write_text(HEADER)
        (folder / f"index.{pos}").write_text(HEADER)
    with (folder / "data.noun").open("a") as file:
        file.write("00001740 03 n 01 entity 0 003 ~ 00001930 n 0000 | that which is\n")
        file.write("00001930 03 n 02 New_York 0 Big_Apple 0 001 @ 00001740 n 0000 | a city\n")
        file.write("00002137 03 n 01 St._Louis 0 001 @ 00001740 n 0000 | a city\n")
        file.write("00002138 03 n 01 .22 0 001 @ 00001740 n 0000 | a firearm\n")
    with (folder / "data.adj").open("a") as file:
        file.write("00003131 00 a 01 galore(ip) 0 001 & 00001740 a 0000 | abundant\n")
    with (folder / "index.noun").open("a") as file:
        file.write("big_apple n 1 1 @ 1 0 00001930\nentity n 1 1 ~ 1 1 00001740\n")
    with (folder / "index.adj").open("a") as file:
        file.write("entity a 1 1 ~ 1 1 00001740\n")
    return str(folder)


def test_wordnet(tmp_path: Path) -> None:
    path = wordnet_folder(tmp_path / "wordnet")
    names = sources.wordnet(path, synset_names=True)
    assert names == ["entity", "new york", "st", "galore"], "as NLTK names synsets, to the period"
    assert sources.wordnet(path, synset_names=False) == ["big apple", "entity"]
    assert sources.wordnet_licence(path) == "WordNet 3.0 licence (Princeton University)"
    (tmp_path / "wordnet" / "index.verb").unlink()
    with pytest.raises(CurateError, match=r"wordnet: no index\.verb in it"):
        sources.wordnet(path, synset_names=False)


def test_multilingual_wordnet(tmp_path: Path) -> None:
    text = "# Wordnet\tfra\thttp://x\tCeCILL\n1-n\tfra:lemma\tpomme_de_terre\n1-n\tfra:def\t0\tx\n"
    path = write(tmp_path / "wn-data-fra.tab", text + "2-n\tlemma\tchat\n")
    assert sources.wordnet(path, synset_names=True) == ["pomme de terre", "chat"]
    assert sources.wordnet(write(tmp_path / "l.txt", "chat\nchien\n"), synset_names=True) == [
        "chat",
        "chien",
    ]
    with pytest.raises(CurateError, match="no entry in it"):
        sources.wordnet(write(tmp_path / "e.txt", "# nothing\n"), synset_names=True)


@pytest.mark.parametrize("name", ["p.parquet", "p.csv", "p.tsv.gz", "p.jsonl", "p.txt"])
def test_texts(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "p.parquet":
        pq.write_table(pa.table({"url": ["u", "v"], "alt": ["a fox", "日本"]}), path)
    elif name == "p.csv":
        write(path, "url,alt\nu,a fox\nv,日本\n")
    elif name == "p.tsv.gz":
        write(path, "url\talt\nu\ta fox\nv\t日本\n")
    elif name == "p.jsonl":
        write(path, '{"url": "u", "alt": "a fox"}\n{"alt": "日本", "n": 3}\n')
    else:
        write(path, "a fox\n日本\n")
    found = [text for block in sources.texts(str(path), column="alt") for text in block.to_pylist()]
    assert [text.strip() for text in found] == ["a fox", "日本"]
    if name != "p.txt":
        with pytest.raises(CurateError, match=f"{name}: no column 'caption' among .*alt"):
            list(sources.texts(str(path), column="caption"))


def test_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(CurateError, match=r"none\.txt: no such file"):
        plain(str(tmp_path / "none.txt"))
    (tmp_path / "p.parquet").write_bytes(b"not parquet")
    with pytest.raises(CurateError, match=r"p\.parquet: cannot be read as parquet: "):
        list(sources.texts(str(tmp_path / "p.parquet"), column="caption"))
    (tmp_path / "w.gz").write_bytes(b"not gzip")
    with pytest.raises(CurateError, match=r"w\.gz: cannot be read as text: "):
        plain(str(tmp_path / "w.gz"))
    path = write(tmp_path / "words.txt", "a list\nof words\n")
    with pytest.raises(CurateError, match=r"words\.txt: no line of it reads: entry count"):
        list(sources.counted(sources.Rows(path, sources.COUNTED)))
