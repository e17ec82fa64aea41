"""The report as a browser lays it out: on a desk and on a telephone, without a request outside."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Command

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
