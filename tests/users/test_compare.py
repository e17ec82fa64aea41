"""`curate compare`: what became of the same pairs in two runs, and what both sets hold."""

import json
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from playwright.sync_api import sync_playwright

import curate
from curate import files
from curate.config import Balance, Columns, Config, Download, Input, Prepare, Rule
from tests.users.runs import document, moved, refused, well

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
SCREENS: tuple[tuple[Literal["light", "dark"], int], ...] = (("light", 1200), ("dark", 400))
HOSTILE = '<script>alert(1)</script>" onerror="alert(2) \u202e'
Key = tuple[str | None, ...]


@pytest.fixture(scope="module")
def other(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small run under another threshold, another t and another policy."""
    run = moved(small, tmp_path_factory.mktemp("other") / "run2")
    well(
        "run", str(run / "config.yaml"), "--force", "--set", "dedup.policy=pair",
        "--set", "select=[{name: short_caption, column: caption_chars, min: 40}]",
        "--set", "balance.t=5",
    )  # fmt: skip
    return run


@pytest.fixture(scope="module")
def said(small: Path, other: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of the comparison, and what the command said."""
    out = tmp_path_factory.mktemp("compare") / "page"
    return out, well("compare", str(small), str(other), "--out", str(out))


def ends(run: Path | str) -> dict[str, list[Key]]:
    """Stage, verdict and reason of the pairs of each uid, by the table of all."""
    found: dict[str, list[Key]] = {}
    table = curate.open(run).table("all").to_arrow(["uid", "stage", "verdict", "reason"])
    for row in table.to_pylist():
        stage = None if row["verdict"] == "kept" else row["stage"]
        found.setdefault(row["uid"], []).append((row["verdict"], stage, row["reason"]))
    return found


def adds_up(out: Path, a: Path | str, b: Path | str) -> dict[str, Any]:
    """compare.json, whose matrix is that of the pairs and whose sums are those of both funnels."""
    found: dict[str, Any] = document(out / "compare.json")
    changed = pq.read_table(out / "changed.parquet").to_pylist()
    matrix = {
        tuple(
            (cell[x]["verdict"], cell[x]["stage"] or None, cell[x]["reason"] or None) for x in "ab"
        ): cell["pairs"]
        for cell in found["matrix"]
    }
    for side, run in enumerate((a, b)):
        sums = Counter[Key]()
        for key, n in matrix.items():
            sums[key[side]] += n
        absent = sums.pop(("absent", None, None), 0)
        stages = [x for x in curate.open(run).funnel if x.stage != "shards"]
        assert sums.total() == stages[0].in_
        assert sums.total() + absent == sum(matrix.values())
        assert sums["kept", None, None] == stages[-1].kept == found["runs"][side]["kept"]
        by_stage = {(x.stage, reason): n for x in stages for reason, n in x.reasons.items()}
        assert {key[1:]: n for key, n in sums.items() if key[2]} == by_stage
    listed = Counter(
        tuple((row[f"verdict_{x}"], row[f"stage_{x}"], row[f"reason_{x}"]) for x in "ab")
        for row in changed
    )
    assert listed == {key: n for key, n in matrix.items() if key[0] != key[1]}
    assert found["pairs"]["changed"] == len(changed)
    return found


def test_every_changed_pair_is_listed_and_the_sums_are_those_of_both_funnels(
    small: Path, other: Path, said: tuple[Path, str]
) -> None:
    out, words = said
    found = adds_up(out, small, other)
    before, after = ends(small), ends(other)
    changed = pq.read_table(out / "changed.parquet").to_pylist()
    alone = {uid for uid in before if len(before[uid]) == 1}
    assert {x["uid"] for x in changed} & alone == {
        uid for uid in alone if before[uid] != after[uid]
    }
    for row in changed:
        for side, run in (("a", before), ("b", after)):
            assert (row[f"verdict_{side}"], row[f"stage_{side}"], row[f"reason_{side}"]) in run[
                row["uid"]
            ]
        assert row["url"]
        assert row["caption"] is not None
    assert [x["key"] for x in found["settings"]] == ["balance.t", "dedup.policy", "select"]
    sides = found["pairs"]
    assert (
        f"kept by both {sides['kept_by_both']:,}, by A alone {sides['kept_by_the_first_only']:,}"
        in words
    )
    assert re.search(r"balance: sampled_out +kept", words)
    assert f"page    {out}/index.html" in words
    overlay = {x["column"]: x for x in found["distributions"]["overlays"]}["caption_chars"]
    assert overlay["pairs"] == [x["kept"] for x in found["runs"]]
    assert all(sum(shares) == pytest.approx(1) for shares in overlay["shares"])
    kept = pq.read_table(small / "balance")["caption_chars"].to_numpy()
    assert overlay["means"][0] == pytest.approx(kept.mean())
    entries = pq.read_table(small / "entries/entries.parquet").to_pylist()
    counts = {row["entry"]: row["kept"] for row in entries}
    assert found["distributions"]["entries"]
    assert all(x["a"] == counts[x["name"]] for x in found["distributions"]["entries"])


def test_from_python_it_is_the_same(small: Path, other: Path, said: tuple[Path, str]) -> None:
    found = curate.open(small).compare(curate.open(other))
    theirs = pq.read_table(said[0] / "changed.parquet")
    assert found.changed.to_arrow().equals(theirs)
    changed = curate.open(small).compare(str(other)).changed  # which holds the files
    assert changed.select("uid").to_arrow()["uid"].equals(theirs["uid"])
    assert sum(found.matrix["pairs"]) == curate.open(small).funnel.stages[0].in_
    assert found.funnel["kept after"][0] == "pool"
    assert {"funnels", "caption_chars"} <= {*found.figures}
    assert found.figure("funnels").to_dict()["title"] == "Pairs left after each stage"
    assert "balance: sampled_out" in repr(found)
    assert Path(found.page).exists()
    with pytest.raises(curate.CurateError, match="the comparison has funnels, "):
        found.figure("nothing")


def test_its_page_shows_pairs_that_changed_side(said: tuple[Path, str]) -> None:
    page = (said[0] / "index.html").read_text()
    assert page.count("<figure") >= 4
    assert page.count('<img src="data:image/webp;base64,') >= 5
    assert "keeps, <b" in page
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in page
    assert not re.search(r"(src|href)=\"(?!data:|#|http://pictures\.example/)", page)
    assert "<script" not in page


def test_with_itself_nothing_has_changed(small: Path, tmp_path: Path) -> None:
    same = tmp_path / "same"
    files.write_bytes(str(same / "x"), b"")
    said = refused("compare", str(small), str(small), "--out", str(tmp_path / "c"))
    assert "both runs are the same" in said
    copy = moved(small, tmp_path / "copy")
    words = well("compare", str(small), str(copy), "--out", str(tmp_path / "c"))
    assert "changed " in words
    assert "(0 pairs)" in words
    assert "Every pair came to the same end" in (tmp_path / "c/index.html").read_text()
    assert "holds other files (x)" in refused("compare", str(small), str(copy), "--out", str(same))
    assert "no run here" in refused("compare", str(small), str(same), "--out", str(tmp_path / "d"))
    assert "holds other files" in refused("compare", str(small), str(copy), "--out", str(copy))
    assert not (tmp_path / "d").exists()


def pool(path: Path, rows: list[tuple[str | None, str | None]]) -> Config:
    """A configuration over a pool of these URLs and captions; the uids are its own."""
    urls, captions = ([x[k] for x in rows] for k in (0, 1))
    uids = [f"{99 if 'new' in (x or '') else len(x or '') % 7:032x}" for x in captions]
    columns = {
        "url": pa.array(urls, pa.string()),
        "caption": pa.array(captions, pa.string()),
        "uid": uids,
    }
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table(columns), path)
    words = path.parent / "words.txt"
    words.write_text("red\nfox\ndog\n")
    return Config(
        input=Input(paths=(str(path),), columns=Columns(url="url", caption="caption", uid="uid"),
                    max_dead_fraction=1),
        prepare=Prepare(metadata={"en": str(words)}),
        download=Download(enabled=False),
        part_rows=7,
    )  # fmt: skip


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The comparison of two pools with repeated uids, dead rows and hostile captions.

    Without images and scores; one run is in a store, and one is not balanced.
    """
    tmp_path = tmp_path_factory.mktemp("hostile")
    rows: list[tuple[str | None, str | None]] = [
        (f"http://x{k % 3}.example/{k}.jpg", f"a red fox number {'x' * (k % 9)} {HOSTILE}")
        for k in range(20)
    ]
    rows += [(None, "a red dog"), ("http://y.example/1.jpg", "ein Hund"), ("nonsense", "a dog")]
    first = curate.run(pool(tmp_path / "a/pool.parquet", rows), out=tmp_path / "a/run")
    more = [*rows[5:], ("http://z.example/9.jpg", "a quite new red fox")]
    config = pool(tmp_path / "b/pool.parquet", more)
    config = config.model_copy(
        update={"select": (Rule(column="caption_chars", min=70),), "balance": Balance(t=4)}
    )
    second = curate.run(config, out="memory://compared/run")
    out = tmp_path / "out"
    well("compare", first.root, second.root, "--out", str(out))
    adds_up(out, first.root, second.root)
    yield out
    files.remove("memory://compared")


def test_of_two_pools(hostile: Path) -> None:
    found = document(hostile / "compare.json")
    assert any(x["a"]["verdict"] == "dead" for x in found["matrix"])
    assert any(x["a"]["verdict"] == "absent" for x in found["matrix"])
    assert any(x["b"]["verdict"] == "absent" for x in found["matrix"])
    assert {x["name"] for x in found["distributions"]["hosts"]} <= {
        "x0.example", "x1.example", "x2.example", "y.example", "z.example"
    }  # fmt: skip
    page = (hostile / "index.html").read_text()
    assert "&lt;script&gt;" in page
    assert "<script" not in page
    assert not re.search(r"<[^>]*\bonerror=\"alert", page)
    assert "not in the pool" in page


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt install chromium")
def test_a_browser_asks_for_nothing_and_runs_nothing(hostile: Path) -> None:
    """On a desk and on a telephone, light and dark, the page fits and a caption stays text."""
    url = (hostile / "index.html").as_uri()
    asked: list[str] = []
    said: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for scheme, width in SCREENS:
            page = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 900})
            page.on("request", lambda one: asked.append(one.url))
            page.on("console", lambda one: said.append(one.text))
            page.on("dialog", lambda one: said.append(one.message))
            page.goto(url)
            page.evaluate("document.querySelectorAll('details').forEach(x => x.open = true)")
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert HOSTILE[:20] in page.inner_text("#pairs")
            assert page.locator("script").count() == 0
        browser.close()
    assert [x for x in asked if not x.startswith("data:")] == [url] * len(SCREENS)
    assert said == []


def test_a_run_that_is_not_finished(small: Path, run: Path, tmp_path: Path) -> None:
    for folder in ("shards", "balance", "records/balance", "entries"):
        files.remove(str(run / folder))
    state = json.loads((run / "run.json").read_text())
    state = {x: y for x, y in state.items() if x != files.CHECK}
    files.write_document(str(run / "run.json"), {**state, "state": "interrupted", "files": {}})
    well("compare", str(small), str(run), "--out", str(tmp_path / "c"))
    found = document(tmp_path / "c/compare.json")
    assert found["runs"][1]["kept"] == 0
    pending = sum(x["pairs"] for x in found["matrix"] if x["b"]["verdict"] == "pending")
    assert pending == curate.open(small).table("dedup").count_rows()
    assert "B is not complete" in (tmp_path / "c/index.html").read_text()
