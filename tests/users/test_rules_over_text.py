"""Rules over texts: a regular expression, a list of words and phrases."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.users.runs import document, refused, well

CAPTIONS = ["a RED  fox in snow", "redfox", "stock photo 12 of a fox", "a red house", "snow", "sun"]
RULES = (
    "select=[{name: stock, column: caption, not_matches: '(?i)Stock PHOTO [0-9]+'},"
    " {name: seen, any_of: [{column: caption, contains_any: LIST},"
    " {column: url, matches: '/3[.]jpg$'}]}, {name: free, column: license, matches: '^CC|^$'}]"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of text alone."""
    found = tmp_path_factory.mktemp("rules")
    urls = [f"http://p.example/{i}.jpg" for i in range(len(CAPTIONS))]
    table = {"url": urls, "caption": CAPTIONS, "license": ["CC-BY", "", "", "", None, "CC0"]}
    pq.write_table(pa.table(table), found / "pool.parquet")
    (found / "list.txt").write_text("red fox\nSNOW\n")
    (found / "c.yaml").write_text(
        f"input: {{paths: {found}/pool.parquet, columns: {{keep: [license]}}}}\n"
        f"download: {{enabled: false}}\ndedup: {{enabled: false}}\nout: {found}/run\n"
    )
    well("run", str(found / "c.yaml"), "--set", RULES.replace("LIST", f"{found}/list.txt"))
    return found


def kept(folder: Path) -> list[str]:
    """The captions that the run keeps."""
    table = pq.read_table(folder / "run/prepare/part-00000.parquet")
    found: list[str] = table["caption"].to_pylist()
    return found


def test_they_keep_what_they_say_and_the_reasons_tell_why(folder: Path) -> None:
    assert kept(folder) == ["a RED  fox in snow", "a red house"]
    dropped = pq.read_table(folder / "run/dropped/prepare/part-00000.parquet").to_pylist()
    assert [(x["reason"], x["value"]) for x in dropped] == [
        ("rule:stock", "stock photo 12"),
        ("rule:seen", "caption=redfox, url=http://p.example/1.jpg"),
        ("rule:seen", "caption=sun, url=http://p.example/5.jpg"), ("rule:free", None),
    ]  # fmt: skip
    rules = document(folder / "run/report/report.json")["rules"]
    assert [(x["rule"], x["dropped"], x["alone"], x["only"]) for x in rules] == [
        ("stock", 1, 1, 0), ("seen", 2, 3, 2), ("free", 1, 1, 1)
    ]  # fmt: skip
    assert rules[0]["asks"] == 'caption is no text that matches "(?i)Stock PHOTO [0-9]+"'
    assert f"a word or phrase of {folder}/list.txt or url is a text" in rules[1]["asks"]


def test_another_list_at_that_path_makes_the_pairs_anew(folder: Path) -> None:
    again = str(folder / "run/config.yaml")
    (folder / "list.txt").write_text('["red fox"]')
    well("run", again, "--force")
    assert kept(folder) == ["a RED  fox in snow", "a red house"]
    rules = document(folder / "run/report/report.json")["rules"]
    assert [(x["dropped"], x["alone"], x["only"]) for x in rules] == [
        (1, 1, 0),
        (3, 4, 2),
        (0, 1, 0),
    ]
    (folder / "gone.txt").write_text("http://p.example/3.jpg\n")
    well("revoke", str(folder / "run"), "--list", str(folder / "gone.txt"))
    assert kept(folder) == ["a RED  fox in snow"]


@pytest.mark.parametrize(
    ("rule", "told"),
    [("{column: caption, matches: '(?=a)'}",
      "'caption': matches '(?=a)': no regular expression of RE2: invalid perl operator: (?="),
     ("{column: caption, not_matches: ''}", "not_matches"),
     ("{column: caption_words, matches: a}", "matches is over texts, and caption_words is int32"),
     ("{column: caption, contains_any: /gone.txt}", "select.contains_any: /gone.txt: no such file"),
     ("{column: caption, contains_any: ''}", "contains_any"),
     ("{column: url, in_file: /gone.txt}", "select.in_file: /gone.txt: no such file"),
     ("{column: url, in_file: EMPTY}", "select.in_file: EMPTY: it marks no value"),
     ("{column: caption_words, not_in_file: LIST}", "'red fox' is no value of caption_words, which is"),
     ("{column: language_score, in_file: LIST}", "a list is of texts or whole numbers, and language")],
)  # fmt: skip
def test_what_cannot_be_asked_is_refused_in_a_line(folder: Path, rule: str, told: str) -> None:
    path, out = str(folder / "c.yaml"), str(folder / "other")
    lists = {"LIST": folder / "told.txt", "EMPTY": folder / "told.csv"}
    lists["LIST"].write_text("red fox\n")
    lists["EMPTY"].write_text("url,keep\n")
    for name, file in lists.items():
        rule, told = rule.replace(name, str(file)), told.replace(name, str(file))
    assert told in refused("run", path, "--out", out, "--set", f"select=[{rule}]")
