"""Lists of entries and words as others publish them."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.errors import CurateError
from curate.pool.tables import read_entries
from curate.stages.prepare import load_words
from tests.e2e.conftest import Command


def test_metaclips_metadata_json_is_the_list_that_it_is(tmp_path: Path, curate: Command) -> None:
    table = {"url": [f"http://p.example/{k}.jpg" for k in range(3)],
             "caption": ["a red house by the sea", "a house", "a small fox"]}  # fmt: skip
    pq.write_table(pa.table(table), tmp_path / "a.parquet")
    (tmp_path / "metadata.json").write_text(json.dumps(["red house", "house", "sea", "é", " "]))
    (tmp_path / "c.yaml").write_text(
        "input: {paths: a.parquet}\ndownload: {enabled: false}\nbalance: {t: 5}\n"
        "prepare: {languages: [en], metadata: {en: metadata.json}}\n"
    )
    done = curate("run", "c.yaml", "--out", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    kept = pq.read_table(tmp_path / "run/prepare/part-00000.parquet")
    assert kept["matches"].to_pylist() == [[0, 1, 2], [1]]
    entries = pq.read_table(next((tmp_path / "run").rglob("entries.parquet")))
    assert entries["entry"].to_pylist() == ["red house", "house", "sea", "é"]


@pytest.mark.parametrize("name", ["list.json", "list.txt", "list"])
@pytest.mark.parametrize("indent", [None, 1])
def test_an_array_is_read_by_its_content(tmp_path: Path, name: str, indent: int | None) -> None:
    entries = ["a b", "[", "tab\tin it", "a, b", '"quoted"', "a b"]
    (tmp_path / name).write_text(json.dumps(entries, indent=indent), encoding="utf-8-sig")
    assert read_entries(str(tmp_path / name)) == (entries[:5], entries[:5], None)
    assert "quoted" not in load_words(str(tmp_path / name)).to_pylist()
    assert '"quoted"' in load_words(str(tmp_path / name)).to_pylist()


@pytest.mark.parametrize("first", ["[", "[red] fox", "{", '["a", "b"] is a list'])
def test_an_entry_that_begins_like_json_is_an_entry(tmp_path: Path, first: str) -> None:
    (tmp_path / "list.txt").write_text(f"{first}\nfox\n")
    assert read_entries(str(tmp_path / "list.txt")).entries == [first, "fox"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("l.json", '{"en": ["a"], "de": ["b"]}', "a JSON object with the keys 'en', 'de'"),
        ("l.txt", '{"en": ["a"]}', "a JSON object"),
        ("l.json", '["a", 7]', "item 2 of the JSON array is 7; expected a text"),
        ("l.json", '[["a", "b"]]', r'item 1 of the JSON array is \["a", "b"\]'),
        ("l.json", r'["\ud800"]', "item 1"),
        ("l.json", '["a", ', "cannot be read as JSON"),
        ("l.json", "[" * 100_000, "cannot be read as JSON"),
        ("l.json", "[]", "empty"),
        ("l.txt", "a, b, " * 20_000, "l.txt:1: a line of 120,000 characters .* one entry a line"),
        ("l.txt", "fox\n" + '"a" ' * 5_000, "l.txt:2: a line of 20,000 characters"),
    ],
)  # fmt: skip
def test_what_is_no_list_is_refused_with_a_line(
    tmp_path: Path, name: str, content: str, said: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(CurateError, match=said) as error:
        read_entries(str(tmp_path / name))
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400
