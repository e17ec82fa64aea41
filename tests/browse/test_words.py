"""Words that images deny, as the page of a pair marks them: text, whatever the caption holds."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.browse.served import Served, serving
from tests.browse.test_page import browser, expect, opened, pytestmark  # noqa: F401
from tests.users.runs import small_run
from tests.users.test_misaligned_words import SCORE

CAPTIONS = {
    "images/0101.jpg": "<img src=x onerror=document.title='owned'> a red fox, <b>two</b> cars",
    "images/0108.jpg": "\U0001f98a\U0001f98a a fox beside caf&eacute; tables and \U0001f697 cars",
    "images/0104.jpg": "a red \u202egpj.exe\u202c fox and a boat",
    "images/0105.jpg": "a fox " + "and another fox " * 200,
    "images/0106.jpg": "fox \u05e9\u05d5\u05e2\u05dc \u05d0\u05d3\u05d5\u05dd and a tree",
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("words")
    rows = [{"url": f"http://pictures.example/{x}", "caption": y} for x, y in CAPTIONS.items()]
    (folder / "few.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return small_run(
        folder, *SCORE, "--set", f"input.paths={folder / 'few.jsonl'}", "--set", "balance.t=1000",
        "--set", "scores.denied={kind: misaligned_words, below: -0.0005}",
        "--set", "prepare.unsure={below: 0.99, language: en}",
    )  # fmt: skip


@pytest.fixture(scope="module")
def judged(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(run, selections=tmp_path_factory.mktemp("of") / "lists") as found:
        yield found


def found(run: Path) -> list[dict[str, Any]]:
    rows = pq.read_table(run / "annotated/score/denied").to_pylist()
    told = {x["uid"]: x["caption"] for x in pq.read_table(run / "dedup").to_pylist()}
    return [{**row, "caption": told[row["uid"]]} for row in rows]


def test_marks_are_the_words_that_were_found(judged: Served, run: Path, browser: Any) -> None:  # noqa: F811
    rows = found(run)
    assert {row["caption"] for row in rows} == {x.strip() for x in CAPTIONS.values()}
    marks = 0
    for row in rows:
        words = [one for one in row["denied_words"] if one["misaligned"]]
        with opened(browser, judged, f"pair={row['uid']}") as page:
            page.wait_for_selector("#pair .story")
            title = page.locator("#pair-title")
            if not any(ord(x) in range(0x2028, 0x202F) for x in row["caption"]):
                start = row["caption"][:2000]
                assert (title.text_content() or "").startswith(start)
                marked = title.locator("mark").all_text_contents()
                assert marked == [row["caption"][x["start"] : x["end"]] for x in words]
            expect(title.locator("img, b, script")).to_have_count(0)
            listed = page.locator("#pair .words")
            expect(listed.locator("bdi, mark")).to_have_count(len(row["denied_words"]))
            expect(listed.locator("mark")).to_have_count(len(words))
            expect(page.get_by_text("Marked words: the image denies them.")).to_have_count(
                int(bool(words))
            )
            assert "denied_words" not in (page.locator("#pair .story").text_content() or "")
        marks += len(words)
    assert marks > 3
