"""Meta CLIP 2's balance over 25 languages against its definition in plain Python."""

import gzip
import json
import re
import unicodedata
from collections import Counter
from fractions import Fraction
from html import unescape
from pathlib import Path
from typing import Any, NamedTuple

import fasttext
import pytest
import yaml

from curate import files
from curate.report.page import percent, significant
from tests.e2e.conftest import Command, read_json

POOL = Path(__file__).parents[1] / "data" / "multilingual.jsonl.gz"
NO_SPACES = {"ja", "th", "zh"}
REFERENCE_T = 5

Entries = dict[str, list[str]]


class Matches(NamedTuple):
    """What a language's entries match."""

    pairs: int  # that match any
    counts: Counter[str]


def written_in(row: dict[str, str]) -> str:
    """The ISO code of the language that a caption was written in."""
    language = row["url"].split("/")[3]
    return {"nb": "no"}.get(language, language)


def entries_of(rows: list[dict[str, str]]) -> Entries:
    """Each language's labels and keywords, and, where words are spaced, its words."""
    found: dict[str, set[str]] = {}
    for row in rows:
        language = written_in(row)
        names = found.setdefault(language, set())
        names.update(row["caption"].split(", "))
        if language not in NO_SPACES:
            names.update(row["caption"].replace(",", " ").split())
    return {language: sorted(names - {""}) for language, names in sorted(found.items())}


def bounded(entry: str, language: str) -> str:
    """The text that a spaced caption holds where `entry` matches."""

    def space(character: str) -> str:
        scripts = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "IDEOGRAPHIC", "FULLWIDTH")
        by_name = unicodedata.name(character, "").startswith(scripts)
        free = by_name or unicodedata.category(character).startswith("P")
        return "" if language in NO_SPACES and free else " "

    return space(entry[0]) + entry + space(entry[-1])


def match(rows: list[dict[str, str]], entries: Entries) -> dict[str, Matches]:
    """Count by the definition; a caption's language is what fastText says."""
    model = fasttext.load_model(str(files.shipped("curate/data/lid.176.ftz"))).f
    wanted = {x: [(e, bounded(e, x)) for e in names] for x, names in entries.items()}
    pairs, counts = Counter[str](), {language: Counter[str]() for language in entries}
    for row in rows:
        [(_, label)] = model.predict(row["caption"] + "\n", 1, 0.0, "strict")
        language = label.removeprefix("__label__")
        spaced = "".join(f" {c} " if c in ",.;:?!`" else c for c in f" {row['caption']} ")
        found = [entry for entry, text in wanted.get(language, ()) if text in spaced]
        pairs[language] += bool(found)
        if found:
            counts[language].update(found)
    return {language: Matches(pairs[language], counts[language]) for language in entries}


def t_to_p(counts: Counter[str], t: float) -> Fraction:
    return Fraction(sum(n for n in counts.values() if n < t), counts.total())


def p_to_t(counts: Counter[str], p: Fraction) -> int:
    """The count whose inclusive share of all matches, counts ascending, is nearest p."""
    running, nearest = 0, list[tuple[Fraction, int]]()
    for n in sorted(counts.values()):
        running += n
        nearest.append((abs(Fraction(running, counts.total()) - p), n))
    return min(nearest)[1]


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    return [json.loads(line) for line in gzip.decompress(POOL.read_bytes()).splitlines()]


@pytest.fixture(scope="module")
def run(
    rows: list[dict[str, str]], curate: Command, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The run directory of the pool, balanced with the entry lists of its own words."""
    folder = tmp_path_factory.mktemp("worldwide")
    metadata = {}
    for language, names in entries_of(rows).items():
        metadata[language] = f"{folder}/{language}.txt"
        Path(metadata[language]).write_text("\n".join(names) + "\n", encoding="utf-8")
    settings = {
        "input": {"paths": str(POOL)}, "part_rows": 1000, "prepare": {"metadata": metadata},
        "download": {"enabled": False}, "dedup": {"enabled": False},
        "balance": {"t": REFERENCE_T, "reference": "en"},
    }  # fmt: skip
    (folder / "run.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    done = curate("run", str(folder / "run.yaml"), "--out", str(folder / "run"))
    assert done.returncode == 0, done.stderr
    return folder / "run"


@pytest.fixture(scope="module")
def matches(rows: list[dict[str, str]]) -> dict[str, Matches]:
    return match(rows, entries_of(rows))


def test_every_entry_of_every_language_is_counted(run: Path, matches: dict[str, Matches]) -> None:
    table = files.read_table(str(run / "entries" / "entries.parquet")).to_pylist()
    found: dict[str, Counter[str]] = {language: Counter() for language in matches}
    for row in table:
        if row["count"]:
            found[row["language"]][row["entry"]] = row["count"]
    for language, expected in matches.items():
        assert found[language] == expected.counts, language


def test_the_p_of_english_is_carried_to_every_language(
    run: Path, matches: dict[str, Matches]
) -> None:
    thresholds = read_json(run / "records" / "balance" / "thresholds.json")
    p = t_to_p(matches["en"].counts, REFERENCE_T)
    assert 0.3 < p < 0.9
    expected: dict[str, dict[str, Any]] = {}
    for language, (pairs, counts) in matches.items():
        t = REFERENCE_T if language == "en" else p_to_t(counts, p)
        share = float(t_to_p(counts, t))
        expected[language] = {"t": t, "p": share, "pairs": pairs, "matches": counts.total(),
                              "largest": max(counts.values())}  # fmt: skip
    assert len(expected) >= 20
    assert {x: {k: v for k, v in found.items() if k != "entries"} for x, found in
            thresholds.items()} == expected  # fmt: skip
    print({language: one["t"] for language, one in expected.items()})
    assert len({one["t"] for one in expected.values()}) > 3, "t is carried, not copied"
    assert min(matches[x].counts.total() for x in expected) > 300


def test_the_report_has_a_row_a_language(run: Path, matches: dict[str, Matches]) -> None:
    page = (run / "report" / "index.html").read_text(encoding="utf-8")
    section = page.partition('<section id="balance">')[2].partition("</tbody>")[0]
    found = [
        [unescape(re.sub("<[^>]+>", "", cell)) for cell in re.findall(r"<td.*?</td>", row)]
        for row in section.split("<tr>")[2:]
    ]
    thresholds = read_json(run / "records" / "balance" / "thresholds.json")
    ordered = sorted(matches, key=lambda x: (-matches[x].counts.total(), x))
    assert [[row[i] for i in (0, 1, 2, 3, 5)] for row in found] == [
        [x, significant(thresholds[x]["t"]), percent(thresholds[x]["p"]),
         f"{matches[x].pairs:,}", f"{matches[x].counts.total():,}"]
        for x in ordered
    ]  # fmt: skip
