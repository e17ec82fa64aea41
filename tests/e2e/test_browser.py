"""The report as a browser lays it out: on a desk and on a telephone, without a request outside.

Of the demo's report it is asked how it is laid out; what happens where one points at a figure is
tried in that of a made-up run, most of whose texts are hostile.
"""

import html
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, sync_playwright

from curate.report.write import write_report
from curate.schema import Stage
from tests.e2e.conftest import Command
from tests.report import conftest as made

CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="Chromium is not installed: apt install chromium"
)

FRAME = """<!DOCTYPE html><meta charset="utf-8"><body style="margin:0">
<iframe id="page" src="{page}" style="width:{width}px;height:900px;border:0"></iframe>
<pre id="found"></pre>
<script>
const frame = document.getElementById("page");
frame.onload = () => setTimeout(() => {{
  const page = frame.contentDocument, root = page.documentElement, wide = [];
  const scrolls = (node) => {{
    for (let one = node.parentElement; one && one !== page.body; one = one.parentElement)
{{
      const style = frame.contentWindow.getComputedStyle(one);
      if (style.overflowX === "auto" && style.backgroundImage.includes("gradient")) return true;
    }}
    return false;
  }};
  const span = (node) => [node.getBoundingClientRect().left, node.getBoundingClientRect().right];
  const figures = [...page.querySelectorAll(".figures figure")].map((x) => span(x)[1] - span(x)[0]);
  for (const node of page.body.querySelectorAll("table, svg, img, figure, section, p"))
    if (node.getBoundingClientRect().right > root.clientWidth + 1 && !scrolls(node))
      wide.push(node.tagName + " " + node.className + " " + node.textContent.trim().slice(0, 40));
  const requests = frame.contentWindow.performance.getEntriesByType("resource").map((x) => x.name);
  document.getElementById("found").textContent = JSON.stringify({{
    alarm: span(page.querySelector(".alarm")), column: span(page.querySelector("section")), figures,
    scroll: root.scrollWidth, client: root.clientWidth, wide, title: page.title,
    requests: requests.filter((x) => !x.startsWith("data:")),
    images: [...page.images].filter((x) => !(x.complete && x.naturalWidth)).map((x) => x.alt),
  }});
}}, 300);
</script>"""


def laid_out(page: Path, *, width: int, folder: Path) -> dict[str, Any]:
    """What Chromium says of `page` in a window of `width` pixels."""
    frame = folder / f"frame-{width}.html"
    frame.write_text(FRAME.format(page=page.as_uri(), width=width))
    done = subprocess.run(
        [str(CHROMIUM), "--headless=new", "--no-sandbox", "--disable-gpu",
         "--allow-file-access-from-files", f"--user-data-dir={folder}/profile",
         "--virtual-time-budget=10000", f"--window-size={max(width, 800)},1000", "--dump-dom",
         frame.as_uri()],
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    found = re.search(r'<pre id="found">(.+?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stderr[-2000:]
    told: dict[str, Any] = json.loads(html.unescape(found[1]))
    return told


@pytest.fixture(scope="module")
def warned(demo_run: Path, curate: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a run that is warned of: its t leaves no pair out."""
    run = tmp_path_factory.mktemp("browser") / "run"
    done = curate("rebalance", str(demo_run), "--out", str(run), "--t", "500")
    assert done.returncode == 0, done.stderr
    return run / "report/index.html"


@pytest.mark.parametrize("width", [1280, 420])
def test_the_report_fits_the_window_and_asks_nobody(
    warned: Path, tmp_path: Path, width: int
) -> None:
    """What is wider than the window scrolls in a box with shadows: nothing is cut without a sign."""
    told = laid_out(warned, width=width, folder=tmp_path)
    assert told["alarm"] == pytest.approx(told["column"], abs=1)
    assert max(told["figures"]) - min(told["figures"]) < 1
    assert told["client"] <= width
    assert told["wide"] == []
    assert told["scroll"] <= told["client"]
    assert told["requests"] == []
    assert told["images"] == []


EVIL = (
    "</text></svg><script>harmed = 1</script><img src=x onerror='harmed = 1'>\" onload=\"harmed = 1"
)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a run that tries what it can, of some hundred pairs."""
    fates = [
        made.Fate(
            made.uid(i), EVIL if i % 5 == 0 else "cat " * (1 + i % 4),
            url=f"http://h{i % 9}.de/{i}.jpg", size=(2000, 200 + i * (i > 80)), score=(i % 40) / 100,
        )
        for i in range(1, 120)
    ]  # fmt: skip
    left: dict[str, Any] = {"stage": Stage.DOWNLOAD, "value": EVIL}
    fates += [
        made.Fate(made.uid(200), EVIL, url="http://a.de/" + "x" * 500, reason=f"rule:{EVIL}", **left),
        made.Fate(made.uid(201), EVIL, url="javascript:alert(1)", reason="opted_out", **left),
        made.Fate(made.uid(202), "cat", url=f"http://{EVIL}.de/a.jpg", reason="http_404", **left),
        made.Fate(made.uid(203), "\u202egnp.exe " + "y" * 100_000, url=f"http://{EVIL}.de/b.jpg"),
        *(made.Fate(made.uid(300 + i), "cat", url="http://b.de/a.jpg", reason=reason, **left)
          for i, reason in enumerate(["decompression_bomb", "forbidden_address", "timeout", "dns"])),
    ]  # fmt: skip
    root = str(tmp_path_factory.mktemp("hostile") / "run")
    run = made.write_run(root, [fates], enabled=made.STAGES, entries={"en": [EVIL, "cat"]})
    return Path(write_report(run, made.config()))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium."""
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


Opened = Callable[..., Any]


@pytest.fixture
def opened(browser: Browser, hostile: Path) -> Opened:
    """Open the hostile report; afterwards nothing was asked for, and nothing went wrong."""

    @contextmanager
    def open_page(*, width: int = 1280, **how: Any) -> Iterator[Page]:
        context = browser.new_context(viewport={"width": width, "height": 900}, **how)
        page, wrong = context.new_page(), []
        page.on("console", lambda x: wrong.append(x.text))
        page.on("pageerror", lambda x: wrong.append(str(x)))
        page.on("dialog", lambda x: wrong.append(x.message))
        page.on("request", lambda x: None if x.url.startswith("data:") else wrong.append(x.url))
        page.goto(hostile.as_uri())
        yield page
        assert wrong == [hostile.as_uri()]
        context.close()

    return open_page


def settled(page: Page, found: Locator) -> Locator:
    """`found`, in view, and nothing scrolls any more."""
    found.scroll_into_view_if_needed()
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return found


def lines(page: Page) -> list[str]:
    """What is said where one points; nothing where nothing is."""
    return page.locator(".tip p").all_inner_texts() if page.locator(".tip").is_visible() else []


def test_a_figure_tells_its_values_where_one_points(opened: Opened) -> None:
    with opened() as page:
        figure = settled(page, page.locator("#images figure").first)
        box = figure.locator("svg").first.bounding_box()
        page.mouse.move(
            box["x"] + box["width"] / 2, box["y"] + 30
        )  # over no bar: its column counts
        name, before, after = lines(page)
        assert re.fullmatch(r"pixels: \d+ to under \d+", name)
        assert re.fullmatch(r"all stored images: \d+", before)
        assert re.fullmatch(r"in the final set: \d+", after)
        figure.get_by_label("log axis").check()
        box = figure.locator(".logarithmic svg").bounding_box()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 30)
        assert lines(page) == [name, before, after]
        assert not figure.locator(".linear").is_visible()
        page.mouse.move(5, 5)
        assert lines(page) == []


def test_keys_go_through_a_figure(opened: Opened) -> None:
    with opened() as page:
        figure = page.locator("#funnel figure svg").first
        figure.focus()
        said = []
        for key in ("ArrowDown", "ArrowDown", "ArrowUp", "Escape"):
            page.keyboard.press(key)
            said.append(lines(page)[:1])
        assert [x[0].partition(":")[0] if x else "" for x in said] == [
            "prepare", "download", "prepare", "",
        ]  # fmt: skip


@pytest.mark.parametrize(("width", "shown"), [(1280, "wide"), (400, "narrow")])
def test_the_flow_can_be_read(opened: Opened, width: int, shown: str) -> None:
    """All that is written is inside, and large enough; a telephone's finger is told what it touches."""
    with opened(width=width, has_touch=True) as page:
        drawn = page.locator(f".flow .{shown} svg")
        assert page.locator(".flow svg:visible").count() == 1
        edge = drawn.bounding_box()
        for text in drawn.locator("text").all():
            box = text.bounding_box()
            assert edge["x"] <= box["x"]
            assert box["x"] + box["width"] <= edge["x"] + edge["width"] + 1, text.inner_html()
            assert box["height"] >= 12
        settled(page, drawn.locator("g text").first).tap()
        assert re.fullmatch(r"[\d,]+ pairs, [\d.]+% of the pool", lines(page)[1])
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= width


def test_without_scripts_and_on_paper_all_is_there(opened: Opened) -> None:
    with opened(java_script_enabled=False) as page:
        shown = page.locator("figure .linear svg:visible").count()
        assert shown == page.locator("figure .linear svg").count() > 5
        page.locator("#images").get_by_label("log axis").first.check()
        assert page.locator("#images .logarithmic svg").first.is_visible()
        page.emulate_media(media="print")
        assert page.locator(".flow svg:visible").count() == 1
        assert not page.locator("#images .log").first.is_visible()


LIGHTNESS = """() => [...document.querySelectorAll("figure text, .flow text, td, p")].map((x) => {
  const of = getComputedStyle(x), colour = x.closest("svg") ? of.fill : of.color;
  return colour.match(/[\\d.]+/g).slice(0, 3).map(Number).reduce((a, b) => a + b) / 765;
})"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_that_is_written_is_dark_on_light_or_light_on_dark(opened: Opened, scheme: str) -> None:
    with opened(color_scheme=scheme) as page:
        found = page.evaluate(LIGHTNESS)
        assert len(found) > 300
        assert max(found) < 0.65 if scheme == "light" else min(found) > 0.5


def test_hostile_texts_do_no_harm(opened: Opened, hostile: Path) -> None:
    with opened() as page:
        assert page.evaluate("window.harmed") is None
        assert page.locator("script").count() == 1
        assert page.locator("img[src=x], [onerror], [onload]").count() == 0
        for text in page.locator(".flow .wide g text:last-child").all():
            settled(page, text).hover()
            assert lines(page)
        assert page.locator(".tip *:not(p)").count() == 0
    assert hostile.stat().st_size < 1_500_000
