"""The page in a browser: what people do with it, and what captions that mean harm cannot."""

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.browse.conftest import LONG
from tests.browse.served import Served
from tests.users.runs import pairs

sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")
expect = sync_api.expect


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@contextmanager
def opened(browser: Any, served: Served, fields: str = "", **options: Any) -> Iterator[Any]:
    """The page, which asks nobody but its server, logs no error and stays what it is."""
    context = browser.new_context(**options)
    page = context.new_page()
    page.set_default_timeout(20_000)
    asked: list[str] = []
    wrong: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda said: wrong.extend([said.text] * (said.type in ("error", "warning"))))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("dialog", lambda dialog: wrong.append(dialog.message))
    page.goto(served.link)
    if fields:
        page.goto(f"http://127.0.0.1:{served.port}/?{fields}")
    page.wait_for_selector("#grid[aria-label]:not([aria-busy]) li, #empty:not([hidden])")
    yield page
    page.wait_for_load_state("networkidle")
    assert wrong == []
    assert {url.split("/")[2] for url in asked} == {f"127.0.0.1:{served.port}"}
    assert "owned" not in page.title()
    context.close()


def cards(page: Any) -> Any:
    return page.locator("#grid > li")


def count(page: Any) -> Any:
    return page.locator("#count strong")


def test_filter_sort_search_and_go_back(browser: Any, served: Served, run: Path) -> None:
    kept = pairs(run)
    with opened(browser, served) as page:
        assert "token" not in page.url
        page.locator("#outcome .kept > button").click()
        expect(count(page)).to_have_text(str(len(kept)))
        page.select_option("#sort", "original_width")
        expect(page.locator("#order")).to_have_text(re.compile("highest"))
        widest = max(x["original_width"] for x in kept)
        expect(cards(page).first).to_contain_text(f"original_width {widest}")
        page.locator("#order").click()
        narrowest = min(x["original_width"] for x in kept)
        expect(cards(page).first).to_contain_text(f"original_width {narrowest}")
        page.keyboard.press("Escape")
        page.locator("#order").evaluate("(one) => one.blur()")
        page.keyboard.press("/")
        page.keyboard.type("Black")
        page.keyboard.press("Enter")
        said = [x for x in kept if "black" in x["caption"].lower()]
        expect(count(page)).to_have_text(str(len(said)))
        expect(cards(page)).to_have_count(len(said))
        expect(page.locator("#chips")).to_contain_text("“Black”")
        address = page.url
        page.locator("#chips button").first.click()
        expect(page).not_to_have_url(address)
        page.go_back()
        expect(count(page)).to_have_text(str(len(said)))
        expect(page.locator("#q")).to_have_value("Black")
        page.reload()
        expect(count(page)).to_have_text(str(len(said)))
        page.fill("#q", "nothing of that kind")
        expect(page.locator("#empty")).to_contain_text("No pair is like that.")
        page.locator("#empty button").click()
        expect(cards(page)).to_have_count(60)
        page.locator("#more").scroll_into_view_if_needed()
        expect(cards(page)).to_have_count(sum(x["pairs"] for x in served.ask("groups")))


def test_bars_entries_and_ranges_are_filters(browser: Any, served: Served) -> None:
    with opened(browser, served) as page:
        page.select_option("#column", "caption_chars")
        bar = page.locator("#histogram .bar[title*=' pair']:not([title*=': 0 '])").first
        pairs_of = re.search(r": (\d+) pair", bar.get_attribute("title"))
        bar.click()
        assert pairs_of
        expect(page.locator("#chips li")).to_have_count(3)
        assert int(count(page).text_content()) >= int(pairs_of[1])
        page.locator("#chips .clear").click()
        page.locator("summary", has_text="entry").click()
        page.get_by_label("Find an entry").fill("symb")
        page.locator("details .value", has_text="symbol").first.click()
        expect(page.locator("#chips")).to_contain_text("entry symbol")
        expect(cards(page).first).to_be_visible()
        page.locator("#chips button").first.click()
        page.get_by_label("Column of numbers").select_option("caption_words")
        page.locator("input[name=max]").fill("3")
        page.locator(".range button").click()
        few = served.all_pairs(("max.caption_words", 3))
        expect(count(page)).to_have_text(str(len(few)))
        page.locator("input[name=max]").fill("three")
        page.locator(".range button").click()
        expect(count(page)).to_have_text(str(len(few)))


def test_the_keyboard_opens_a_pair_and_walks(browser: Any, served: Served) -> None:
    with opened(browser, served) as page:
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowRight")
        second = cards(page).nth(1).locator(".caption").text_content()
        third = cards(page).nth(2).locator(".caption").text_content()
        page.keyboard.press("Enter")
        expect(page.locator("#pair-title")).to_have_text(second)
        expect(page.locator(".story > li").first).to_contain_text("prepare")
        page.keyboard.press("ArrowRight")
        expect(page.locator("#pair-title")).to_have_text(third)
        page.keyboard.press("Escape")
        expect(page.locator("#pair")).to_be_hidden()
        expect(cards(page).nth(2).locator(".open")).to_be_focused()
        page.keyboard.press("x")
        expect(page.locator("#picked")).to_contain_text("1 picked")
        page.keyboard.press("?")
        expect(page.locator("#dialog")).to_contain_text("walk through its cluster")
        page.keyboard.press("Escape")
        expect(page.locator("#dialog")).to_be_hidden()


def test_a_cluster_is_walked(browser: Any, served: Served, run: Path) -> None:
    with opened(browser, served, "is.reason=duplicate_caption") as page:
        cards(page).first.locator(".open").click()
        members = page.locator(".members button")
        expect(members.first).to_contain_text("stays")
        seen = set()
        for _ in range(members.count()):
            page.keyboard.press("ArrowDown")
            seen.add(page.locator("dl.ids code").first.text_content())
        assert len(seen) == members.count() > 1
        page.get_by_role("button", name="in the grid").click()
        expect(cards(page)).to_have_count(len(seen))
        expect(page.locator("#chips")).to_contain_text("cluster of")


def test_a_selection_is_saved(browser: Any, served: Served, run: Path) -> None:
    with opened(browser, served, "is.verdict=kept") as page:
        page.keyboard.press("s")
        page.locator("#name").fill("kept pairs")
        page.get_by_role("button", name="Save", exact=True).click()
        expect(page.locator("#dialog")).to_contain_text(f"{len(pairs(run))} uids in")
        listed = (served.selections / "kept pairs.txt").read_text().split()
        assert listed == sorted({x["uid"] for x in pairs(run)})
        page.locator("#dialog button").click()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("x")
        page.locator("#save").click()
        page.locator("#name").fill("kept pairs")
        page.get_by_role("button", name="Save", exact=True).click()
        page.get_by_role("button", name="Replace it").click()
        expect(page.locator("#dialog")).to_contain_text("1 uid in")
        page.locator("#dialog button").click()
        page.locator("#save").click()
        with page.expect_download() as download:
            page.get_by_role("link", name="Download").click()
        assert Path(download.value.path()).read_text().split() == listed
        page.keyboard.press("Escape")


def test_two_runs_are_compared(browser: Any, served: Served, run: Path, other: Path) -> None:
    gained = {x["uid"] for x in pairs(other)} - {x["uid"] for x in pairs(run)}
    with opened(browser, served) as page:
        page.get_by_label("In other").select_option("differs")
        expect(count(page)).to_have_text(str(len(gained)))
        expect(cards(page)).to_have_count(len(gained))
        expect(cards(page).first.locator(".fate")).to_have_text("other kept")
        cards(page).first.locator(".open").click()
        sides = page.locator(".sides section")
        expect(sides.nth(0)).to_contain_text("sampled_out")
        expect(sides.nth(1)).to_contain_text("shards written")
        sides.nth(1).get_by_role("button").click()
        expect(page.locator("#runs [aria-current]")).to_have_text("other")
        expect(page.locator(".place")).to_contain_text("in the shard")


def test_captions_that_mean_harm_are_text(browser: Any, served: Served) -> None:
    with opened(browser, served, "q=fox") as page:
        shown = page.locator("#grid .caption").all_text_contents()
        assert any(x.startswith("<script>document.title") for x in shown)
        assert any(x.startswith('" onerror="') for x in shown)
        assert any(x.startswith("<img src=x") for x in shown)
        assert page.locator("#grid script, #grid [onerror], #grid a").count() == 0
        override = page.locator("#grid .control").first
        expect(override).to_have_text("RLO")
        assert "\u202e" not in "".join(shown)
        isolated = override.locator("xpath=..").evaluate(
            "(one) => getComputedStyle(one).unicodeBidi"
        )
        assert isolated in ("isolate", "plaintext")
        cards(page).filter(has_text="javascript").or_(
            cards(page).filter(has_text="a red fox at night")
        ).first.locator(".open").click()
        expect(page.locator(".about .url")).to_have_text("javascript:document.title='owned'")
        assert page.locator(".about .url a").count() == 0
        page.keyboard.press("Escape")
        cards(page).filter(has_text="<img src=x").first.locator(".open").click()
        link = page.locator(".about .url a")
        assert link.get_attribute("rel") == "noreferrer noopener nofollow"
        assert link.get_attribute("href").endswith("owned'</script>")
        page.keyboard.press("Escape")
        cards(page).filter(has_text="red fox red fox").first.locator(".open").click()
        said = page.locator("#pair-title")
        expect(said).to_contain_text(f"Show all {len(LONG.strip()):,} characters")
        assert len(said.text_content()) < 3000
        said.get_by_role("button").click()
        expect(said).to_have_text(LONG.strip())


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_has_all_of_it(browser: Any, served: Served, scheme: str) -> None:
    size = {"width": 400, "height": 800}
    with opened(browser, served, viewport=size, color_scheme=scheme) as page:
        page.get_by_role("button", name="Filters").click()
        page.locator("#outcome .kept > button").click()
        expect(page.locator("#chips")).to_contain_text("verdict: kept")
        assert page.evaluate("document.documentElement.scrollWidth") <= 400
        cards(page).first.locator(".open").click()
        expect(page.locator(".story > li").first).to_be_visible()
        assert page.evaluate("document.querySelector('#pair').scrollWidth") <= 400
        colour = page.evaluate("getComputedStyle(document.querySelector('#pair')).backgroundColor")
        assert (colour == "rgb(255, 255, 255)") == (scheme == "light")


def test_a_server_that_is_gone_is_told_of(browser: Any, run: Path, tmp_path: Path) -> None:
    from tests.browse.served import serving

    context = browser.new_context()
    page = context.new_page()
    with serving(run, selections=tmp_path) as served:
        page.goto(served.link)
        page.wait_for_selector("#grid li")
        page.goto("about:blank")
        page.go_back()
        page.wait_for_selector("#grid li")
    page.locator("#outcome .kept > button").click()
    expect(page.locator("#notice")).to_contain_text("is `curate browse` still running?")
    context.close()


def test_everything_has_a_name(browser: Any, served: Served) -> None:
    unnamed = """() => [...document.querySelectorAll("button, input, select, a, dialog[open]")]
        .filter((one) => one.checkVisibility() && !(one.ariaLabel || one.labels?.length || one.title
            || one.textContent.trim() || one.getAttribute("aria-labelledby")))
        .map((one) => one.outerHTML)"""
    with opened(browser, served) as page:
        assert page.evaluate(unnamed) == []
        cards(page).first.locator(".open").click()
        expect(page.locator(".story > li").first).to_be_visible()
        assert page.evaluate(unnamed) == []
        assert json.loads(page.evaluate("JSON.stringify(history.length)")) > 1
