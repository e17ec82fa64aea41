"""Pairs that are looked for by what their images show, where the run stores embeddings."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from curate.finding.search import search
from curate.rundir.directory import Run
from tests.browse.served import Served, serving
from tests.browse.test_page import browser, cards, expect, opened
from tests.users.runs import document, small_run

_ = browser  # a fixture
SCORER = "shipped://pipelines/demo/scorer/curate-mini"


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    score = f"{{model: {SCORER}.json, pretrained: {SCORER}.safetensors, embeddings: true}}"
    return small_run(tmp_path_factory.mktemp("embedded"), "--set", f"score={score}")


@pytest.fixture(scope="module")
def served(embedded: Path, run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(embedded, run, selections=tmp_path_factory.mktemp("lists")) as found:
        yield found


def test_the_nearest_come_first_and_filters_hold(served: Served, embedded: Path) -> None:
    found = search(Run.at(str(embedded)), text="a flag", k=240)
    shown = served.ask("pairs", ("near", "text:a flag"))["pairs"]
    assert [row["uid"] for row in shown] == [one.uid for one in found]
    assert [row["near"] for row in shown] == [one.similarity for one in found]
    kept = served.ask("pairs", ("near", "text:a flag"), ("is.verdict", "kept"))["pairs"]
    assert [row["uid"] for row in kept] == [one.uid for one in found if one.verdict == "kept"]
    groups = served.ask("groups", ("near", "text:a flag"))
    assert sum(row["pairs"] for row in groups) == len(found)
    by_score = served.ask("pairs", ("near", "text:a flag"), ("sort", "clip_score"))["pairs"]
    assert sorted(row["uid"] for row in by_score) == sorted(one.uid for one in found)


def test_a_pair_is_nearest_to_itself(served: Served) -> None:
    (first, *_) = served.ask("pairs", ("near", "text:a flag"))["pairs"]
    like = served.ask("pairs", ("near", f"like:{first['uid']}"))["pairs"]
    assert like[0]["uid"] == first["uid"]
    assert like[0]["near"] > 0.99 > like[1]["near"]


def test_the_map_is_that_of_the_report(served: Served, embedded: Path) -> None:
    found, report = served.ask("map"), document(embedded / "report/report.json")["map"]
    assert [one["words"] for one in found["concepts"]] == [x["words"] for x in report["concepts"]]
    assert sum(one["pairs"] for one in found["concepts"]) == found["pairs"] == report["pairs"]
    for one in found["concepts"]:
        assert one["pairs"] == one["kept"] + sum(one["left"].values())
        assert all(card["picture"] for card in one["cards"])
    assert "stores no embeddings" in served.refused("map", ("run", 1))


@pytest.mark.parametrize(
    ("fields", "said"),
    [({"near": "a flag"}, "expected text:WORDS or like:UID"),
     ({"near": "text: "}, "expected text:WORDS or like:UID"),
     ({"near": "like:../x"}, "no such pair with an image"),
     ({"near": "text:a", "run": "1"}, "embeddings")],
)  # fmt: skip
def test_what_cannot_be_looked_for_is_said(
    served: Served, fields: dict[str, str], said: str
) -> None:
    assert said in served.refused("pairs", *fields.items())


def test_the_search_box_looks_at_images_and_a_pair_has_more_like_it(
    browser: Any, served: Served
) -> None:
    first, *_ = served.ask("pairs", ("near", "text:a red fruit"))["pairs"]
    with opened(browser, served) as page:
        page.get_by_label("Search for").select_option("near")
        page.get_by_label("Search captions").fill("a red fruit")
        page.keyboard.press("Enter")
        expect(page.locator("#chips")).to_contain_text("like “a red fruit”")
        expect(cards(page).first.locator(".facts")).to_contain_text("nearness")
        expect(cards(page).first).to_contain_text(first["caption"][:20])
        page.reload()
        expect(page.get_by_label("Search captions")).to_have_value("a red fruit")
        cards(page).first.locator(".open").click()
        page.get_by_role("button", name="More like this").click()
        expect(page.locator("#chips")).to_contain_text(f"like the image of {first['uid'][:8]}")
        expect(cards(page).first).to_contain_text(first["caption"][:20])
        assert re.search(r"near=like", page.url)
        page.get_by_role("button", name="Map…").click()
        pictures = page.locator("#map .sheet button")
        expect(pictures.first.locator("img")).to_be_visible()
        assert page.locator("#map article").count() == len(served.ask("map")["concepts"])
        pictures.last.click()
        expect(page.locator("#map")).to_be_hidden()
        expect(page.locator("#chips")).to_contain_text("like the image of")
        page.get_by_role("navigation", name="Runs").get_by_role("button").nth(1).click()
        expect(page.get_by_label("Search for")).to_be_hidden()
