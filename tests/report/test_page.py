"""The page as a browser would take it apart: no requests, nothing unescaped, the right numbers."""

import base64
import hashlib
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pytest

from curate import files
from curate.config import Config
from curate.finding.map import Concept, Map
from curate.report import page
from curate.report.distributions import Language
from curate.report.facts import StageFacts, collect
from curate.report.figures import draw
from curate.report.ledger import Reason
from curate.report.thumbnails import thumbnails
from curate.report.wording import POLICIES, alarms
from curate.report.write import write_report
from curate.rundir.directory import Counts, Run
from curate.schema import Stage
from curate.summaries.tallies import Example


class Page(HTMLParser):
    """Tags with attributes, and the text of each table row."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self._cell = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self._cell = True

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._cell = False

    def handle_data(self, data: str) -> None:
        if self._cell:
            self.rows[-1][-1] += data.strip()

    def values(self, attribute: str) -> list[str]:
        return [attrs[attribute] or "" for _, attrs in self.tags if attribute in attrs]


def hash_of(script: str) -> str:
    """A script as a policy names it."""
    digest = hashlib.sha256(script.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def decoded(content: bytes) -> Any:
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    return pixels


@pytest.fixture
def html(reported_run: Run) -> str:
    return files.read_bytes(reported_run.path(Stage.REPORT, "index.html")).decode()


def test_files(reported_run: Run, html: str) -> None:
    assert files.names(reported_run.path(Stage.REPORT)) == [
        "aspect.png", "caption_chars.png", "caption_words.png", "clip_score-de.png",
        "clip_score-en.png", "clip_score.png", "croissant.json",
        "cumulative-en.png", "datacard.md", "domains.parquet", "funnel.png", "hosts.parquet",
        "index.html", "rank-de.png", "rank-en.png", "report.json", "smaller_side.png",
        "training_summary.md",
    ]  # fmt: skip
    png = files.read_bytes(reported_run.path(Stage.REPORT, "funnel.png"))
    assert decoded(png).shape[1] > 1000
    assert len(html) < 400_000


def test_nothing_is_requested(html: str) -> None:
    found = Page(html)
    assert not {"link", "iframe", "object", "video"} & {tag for tag, _ in found.tags}
    assert all(value.startswith("data:image/") for value in found.values("src"))
    assert "@import" not in html
    assert re.findall(r"url\((?!#)", html) == []
    (script,) = re.findall(r"<script[^>]*>(.*?)</script>", html, re.DOTALL)
    assert not {"fetch(", "XMLHttpRequest", "innerHTML", "eval("} & set(
        re.findall(r"\w+\(?", script)
    )
    (policy,) = [a["content"] for t, a in found.tags if t == "meta" and "http-equiv" in a]
    assert policy == (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src '{hash_of(script)}'; base-uri 'none'; form-action 'none'"
    )


def test_captions_and_urls_are_escaped(html: str) -> None:
    assert "<script>" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt; cat" in html
    links = [value for value in Page(html).values("href") if not value.startswith("#")]
    assert links
    assert all(value.startswith("https://") for value in links)


def test_ids_are_unique(html: str) -> None:
    found = Page(html)
    assert [i for i, n in Counter(found.values("id")).items() if n > 1] == []
    wanted = {value[1:] for value in found.values("href") if value.startswith("#")}
    assert wanted <= set(found.values("id"))


def test_funnel_table(html: str) -> None:
    rows = {row[0]: row for row in Page(html).rows if len(row) == 9}
    assert rows["prepare"][2:] == ["14", "10", "3", "1", "71.4%", "2.0 s", "✓"]
    assert rows["balance"][2:] == ["5", "4", "1", "0", "80.0%", "2.0 s", "✓"]
    assert rows["shards"][2:] == ["4", "4", "0", "0", "100%", "–", "✓"]
    assert "Every pair is accounted for: 17 checks hold." in html


def test_balance_tables(html: str) -> None:
    rows = Page(html).rows
    assert ["en", "2", "33.3%", "4", "3", "6", "5", "4", "1", "2", "1"] in rows
    assert ["1", "cat", "en", "4", "0.500", "3", "75.0%", ""] in rows


def test_policies_and_the_entries_that_duplicates_skewed(html: str) -> None:
    rows = Page(html).rows
    assert ["pair", POLICIES["pair"], "yes", "not looked at", ""] in rows
    assert ["1", "cat", "en", "7", "5", "1", "28.6%", ""] in rows


def test_failed_checks_are_loud(full_run: Run, full_config: Config) -> None:
    files.remove(full_run.part(Stage.DEDUP, 1, "json"))
    html = files.read_bytes(write_report(full_run, full_config)).decode()
    assert "2 of 17 checks fail: pairs are unaccounted for." in html
    rows = {row[0]: row[-1] for row in Page(html).rows if len(row) == 9}
    assert (rows["download"], rows["dedup"], rows["score"]) == ("✓", "✗", "✗")


def test_sections_of_what_did_not_run_are_absent(
    text_run: Run, text_config: Config, unbalanced_run: Run, unbalanced_config: Config
) -> None:
    def sections(run: Run, config: Config) -> list[str]:
        found = Page(files.read_bytes(write_report(run, config)).decode())
        return [attrs["id"] or "" for tag, attrs in found.tags if tag == "section"]

    assert sections(text_run, text_config) == [
        "funnel", "kept", "dropped", "dead", "balance", "duplicates", "captions", "origin"
    ]  # fmt: skip
    assert sections(unbalanced_run, unbalanced_config) == [
        "funnel", "kept", "dropped", "dead", "rules", "scores", "images", "hosts", "captions",
        "origin",
    ]  # fmt: skip


def test_a_second_report_replaces_the_first(
    full_run: Run, full_config: Config, unbalanced_config: Config
) -> None:
    url = write_report(full_run, full_config)
    first = files.read_bytes(url)
    assert files.read_bytes(write_report(full_run, full_config)) == first
    write_report(full_run, unbalanced_config)
    assert "rank-en.png" not in files.names(full_run.path(Stage.REPORT))


def test_an_empty_pool(full_config: Config, tmp_path: Any) -> None:
    run = Run(str(tmp_path / "empty"))
    assert "The pool was empty." in files.read_bytes(write_report(run, full_config)).decode()


def test_faces_are_told_where_they_were_looked_for(full_run: Run, full_config: Config) -> None:
    assert "found" not in _section(full_run, full_config, "images")
    for index in (0, 1):
        url = full_run.part("download/annotated", index)
        table = files.read_table(url)
        faces = [2 if i == 1 else 0 for i in range(len(table))]
        files.write_table(url, table.append_column("faces", pa.array(faces, pa.int32())))
    download = full_config.download.model_copy(update={"faces": "blur"})
    config = full_config.model_copy(update={"download": download})
    assert "4 faces were found and blurred, in 2 of the images." in _section(
        full_run, config, "images"
    )


def _section(run: Run, config: Config, name: str) -> str:
    facts = collect(run, config)
    page_text = page.render(facts, figures={}, thumbnails={}, config=config, name="r")
    return page_text[page_text.index(f'id="{name}"') :].partition("</section>")[0]


def shown_of(row: dict[str, Any]) -> Example:
    return Example(0, row["uid"], row["url"], row["caption"])


def test_thumbnails_of_stored_images(full_run: Run, full_config: Config) -> None:
    shown = page.examples(collect(full_run, full_config))
    found = thumbnails(full_run, shown)
    by_uid = {int(uid, 16): uri for (_, uid, _, _), uri in found.items()}
    assert sorted(by_uid) == [1, 2, 3, 7, 9, 11, 12, 13, 14]
    assert len(found) == len(by_uid)
    kind, content = by_uid[2].split(",")
    assert kind == "data:image/webp;base64"
    pixels = decoded(base64.b64decode(content))
    assert pixels.shape == (40, 60, 3)
    np.testing.assert_allclose(pixels.reshape(-1, 3).mean(0), [32, 0, 0], atol=6)


def test_large_images_shrink(full_run: Run) -> None:
    wide = cv2.imencode(".png", np.full((100, 960, 3), 128, np.uint8))[1].tobytes()
    table = files.read_table(full_run.part("download/annotated", 0)).slice(0, 1)
    table = table.set_column(table.column_names.index("tar_offset"), "tar_offset", [[0]])
    table = table.set_column(table.column_names.index("tar_size"), "tar_size", [[len(wide)]])
    files.write_table(full_run.part("download/annotated", 0), table)
    files.write_bytes(full_run.part("download", 0, "tar"), wide)
    first = files.read_table(full_run.part("prepare", 0)).to_pylist()[0]
    (uri,) = thumbnails(full_run, [shown_of(first)]).values()
    assert decoded(base64.b64decode(uri.split(",")[1])).shape == (10, 96, 3)


def test_pairs_of_one_uid_have_pictures_of_their_own(full_run: Run) -> None:
    """The second pair of part 0 takes the uid of the first; URL and caption still tell them apart."""
    url = full_run.part("download/annotated", 0)
    table = files.read_table(url)
    rows = files.read_table(full_run.part("prepare", 0)).to_pylist()[:2]
    uid = rows[0]["uid"]
    uids = [uid, uid, *table["uid"].to_pylist()[2:]]
    files.write_table(url, table.set_column(table.column_names.index("uid"), "uid", [uids]))
    shown = [shown_of(row | {"uid": uid}) for row in rows]
    unknown = shown_of(rows[0] | {"url": "https://other.example"})
    found = thumbnails(full_run, [*shown, unknown])
    assert list(found) == [one.key for one in shown]
    colours = [
        decoded(base64.b64decode(uri.split(",")[1])).reshape(-1, 3).mean(0)
        for uri in found.values()
    ]
    np.testing.assert_allclose(colours, [[16, 0, 0], [32, 0, 0]], atol=6)


def test_figures_share_no_ids(reported_run: Run, full_config: Config) -> None:
    drawn = draw(collect(reported_run, full_config))
    ids = [i for one in drawn.values() for i in set(re.findall(r'id="([^"]+)"', one.svg))]
    assert len(ids) == len(set(ids))
    for one in drawn.values():
        assert set(re.findall(r"url\(#([^)]+)\)", one.svg)) <= set(ids)


def test_figures_say_how_one_points_at_them(reported_run: Run, full_config: Config) -> None:
    """At columns, at rows or at marks; what they say is text, in lines."""
    words = ('<b>"', "cat")
    concepts = tuple(Concept(words, 9, i, {}, 0.5, i, i % 2, ()) for i in range(1, 5))
    found = replace(
        collect(reported_run, full_config), map=Map(36, 10, 99, 2, "clip_score", concepts)
    )
    drawn = {name: page.drawing(one) for name, one in draw(found).items()}
    along = {name: re.findall(r'data-along="(\w+)"', svg)[0] for name, svg in drawn.items()}
    assert {along.pop("funnel"), along.pop("map")} == {"y", "both"}
    assert set(along.values()) == {"x"}
    tips = {name: Page(svg).values("data-tip") for name, svg in drawn.items()}
    assert tips["map"][0].split("\n") == ['<b>", cat', "9 pairs", "11.1% kept"]
    assert tips["funnel"][0].split("\n") == [
        "prepare: 14 pairs",
        "kept: 10",
        "dropped: 3",
        "dead: 1",
    ]
    assert all(tips.values())


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.0, "0%"), (1e-5, "<0.1%"), (0.1234, "12.3%"), (0.99999, ">99.9%"), (1.0, "100%")],
)
def test_percent(share: float, text: str) -> None:
    assert page.percent(share) == text


@pytest.mark.parametrize(
    ("x", "text"), [(None, "–"), (20_000.0, "20,000"), (1234.5, "1,234"), (0.123456, "0.1235")]
)
def test_significant(x: float | None, text: str) -> None:
    assert page.significant(x) == text


@pytest.mark.parametrize(("n", "text"), [(999, "999 bytes"), (12_345_678, "12.3 MB")])
def test_size(n: int, text: str) -> None:
    assert page.size(n) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.25, "0.2 s"), (75, "1 min 15 s"), (7300, "2 h 01 min")]
)
def test_duration(seconds: float, text: str) -> None:
    assert page.duration(seconds) == text


def test_the_title_names_the_run(reported_run: Run, html: str) -> None:
    name = reported_run.root.rsplit("/", 1)[-1]
    assert f"<title>{name}: 14 pairs in, 4 kept" in html


def test_rare_languages_share_a_row() -> None:
    def language(name: str, *counts: int) -> Language:
        return Language(name, *counts)

    en, fr = language("en", 0, 900, 850), language("fr", 200, 0, 0)
    rare = [language("de", 1, 9, 1), language("cy", 0, 1, 0)]
    assert page.folded([en, fr, *rare]) == [en, fr, language("2 others, under 1% each", 1, 10, 1)]
    assert page.folded([en, fr, rare[0]]) == [en, fr, rare[0]]
    assert page.folded([]) == []


def counts(rows: int, kept: int, dropped: dict[str, int]) -> Counts:
    return Counts(rows=rows, kept=kept, dropped=dropped, dead={})


def test_a_set_that_one_reason_emptied_is_alarming(text_config: Config) -> None:
    """What is shown on the terminal and on top of the page, and what is not."""
    stages = {"prepare": counts(300, 300, {}),
              "download": counts(300, 0, {"forbidden_address": 300})}  # fmt: skip
    first, second = alarms(stages, config=text_config)
    assert first == "No pair was kept: the set is empty."
    assert second.startswith("forbidden_address took 300 of the 300 pairs that entered download. ")
    assert "download.connect_to: {HOST: ADDRESS:PORT}" in second
    most = {"prepare": counts(300, 29, {"language": 271})}
    assert [x.partition(" took")[0] for x in alarms(most, config=text_config)] == ["language"]
    assert alarms({"prepare": counts(300, 30, {"language": 270})}, config=text_config) == []
    assert alarms({"balance": counts(300, 3, {"sampled_out": 297})}, config=text_config) == []
    rules = {"select": [{"column": "clip_score", "top_fraction": 0.05},
                        {"name": "low", "column": "clip_score", "min": 2}]}  # fmt: skip
    config = Config.model_validate(text_config.model_dump(by_alias=True) | rules)
    for rule, alarming in (("rule:clip_score", False), ("rule:low", True)):
        found = alarms({"score": counts(100, 5, {rule: 95})}, config=config)
        assert bool(found) is alarming


def test_alarms_stand_on_top_of_the_page(full_run: Run, full_config: Config) -> None:
    for stage in (Stage.BALANCE, Stage.SHARDS):
        for folder in full_run.folders(stage):
            files.remove(folder)
    facts = replace(
        collect(full_run, full_config),
        funnel=(StageFacts("prepare", 1, 5, 0, 5, 0),),
        dropped=(Reason("prepare", "language", 5, 1.0, "", ()),),
    )
    html = page.render(facts, figures={}, thumbnails={}, config=full_config, name="r")
    top, _, _ = html.partition("<nav>")
    assert "No pair was kept: the set is empty." in top
    assert "language took 5 of the 5 pairs" in top
