"""The builder from its files to the list and its manifest, and through the command line."""

import dataclasses
import hashlib
import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from curate import files
from curate.cli import app
from curate.errors import CurateError
from curate.metadata.build import Inputs, build
from curate.metadata.recipe import RECIPES, Limits
from curate.pool.tables import read_entries
from tests.metadata.test_ngrams import captions, expected
from tests.metadata.test_sources import PAGEVIEWS, wordnet_folder, write

POOL = str(files.shipped("pipelines/demo/pool/pairs.jsonl"))
NUMBERS = [str(i) for i in range(100)]


def built(
    tmp_path: Path, *, recipe: str = "v1", language: str = "en", memory: int = 1 << 20,
    limits: dict[str, Any] | None = None, **inputs: Any,
) -> tuple[list[str], dict[str, Any]]:  # fmt: skip
    out = tmp_path / "lists" / "x.txt"
    chosen: Limits = dataclasses.replace(RECIPES[recipe], **(limits or {}))
    build(Inputs(**inputs), limits=chosen, language=language, out=str(out), memory=memory)
    manifest = json.loads((out.parent / "MANIFEST.json").read_text())
    entries = out.read_text(encoding="utf-8").splitlines()
    assert entries == list(read_entries(str(out)).entries), "as the pipeline reads it"
    return entries, manifest["x.txt"]


def test_every_source_in_its_order(tmp_path: Path) -> None:
    words = "fox\t900\nred\t800\n7\t700\nentity\t600\nnew\t500\nyork\t400\nrare\t99\n!\t999\n"
    entries, record = built(
        tmp_path,
        numbers=True,
        lists=(write(tmp_path / "own.txt", "galore\nmy own thing\n"),),
        wordnet=(wordnet_folder(tmp_path / "wordnet"),),
        unigrams=(write(tmp_path / "words.tsv", words),),
        bigrams=(
            write(tmp_path / "pairs.txt", "new york 390\nred fox 30\nred york 4\nold fox 9\n"),
        ),
        titles=(write(tmp_path / "views", PAGEVIEWS), write(tmp_path / "views2", PAGEVIEWS)),
        licences={"titles": "CC0"},
    )
    assert entries == [
        *NUMBERS,
        *("galore", "my own thing"),
        *("entity", "new york", "st"),
        *("fox", "red", "new", "york"),
        *("Main Page", "Fox", "Red fox"),
    ]
    assert record["entries"] == len(entries)
    content = "".join(f"{entry}\n" for entry in entries).encode()
    assert record["sha256"] == hashlib.sha256(content).hexdigest()

    def tally(*numbers: int) -> dict[str, int]:
        names = ["offered", "below", "unfit", "duplicate", "over", "taken"]
        return dict(zip(names, numbers, strict=True))

    assert record["sources"] == {
        "numbers": tally(100, 0, 0, 0, 0, 100),
        "list": tally(2, 0, 0, 0, 0, 2),
        "wordnet": tally(4, 0, 0, 1, 0, 3),
        "unigrams": tally(8, 1, 1, 2, 0, 4),
        "bigrams": tally(4, 4, 0, 0, 0, 0),
        "titles": tally(3, 0, 0, 0, 0, 3),
    }
    assert record["lowest"] == {"unigram_count": 400.0, "bigram_pmi": None, "title_views": 100.0}
    assert record["licences"] == {
        "wordnet": "WordNet 3.0 licence (Princeton University)",
        "titles": "CC0",
    }
    read = {(file["source"], file["name"]): file for file in record["inputs"]}
    assert len(read) == 9
    assert read["unigrams", "words.tsv"] == {
        "source": "unigrams",
        "name": "words.tsv",
        "bytes": len(words),
        "sha256": hashlib.sha256(words.encode()).hexdigest(),
        "skipped_lines": 0,
    }
    assert read["titles", "views"]["skipped_lines"] == 1


def test_pmi_decides_of_pairs(tmp_path: Path) -> None:
    total = 900 + 800 + 500 + 400 + 97_400
    words = "fox\t900\nred\t800\nnew\t500\nyork\t400\nthe\t97400\n"
    pairs = "new york 390\nred fox 30\nthe fox 800\nred york 4\nred red 200\n"
    inputs: dict[str, Any] = {
        "unigrams": (write(tmp_path / "words.tsv", words),),
        "bigrams": (write(tmp_path / "pairs.txt", pairs),),
    }
    entries, record = built(tmp_path, **inputs)
    assert entries[-2:] == ["new york", "red red"], "195 and 31 times as often as by chance"
    assert record["lowest"]["bigram_pmi"] == pytest.approx(
        math.log2(200 * total / 800**2), abs=1e-6
    )
    entries, _ = built(tmp_path, limits={"min_pmi": 2.0, "min_bigram_count": 1}, **inputs)
    assert entries[-3:] == ["new york", "red red", "red fox"]
    entries, _ = built(tmp_path, limits={"min_pmi": 30.0}, **inputs)
    assert entries[-1] == "york", "30 bits need a text of a billion words"
    counts = (write(tmp_path / "own.tsv", "red\t30\nfox\t30\nnew\t390\nyork\t390\nthe\t9000\n"),)
    entries, _ = built(tmp_path, pmi_unigrams=counts, **inputs)
    assert entries[-1] == "red fox", "seen 30 times, of 30: the counts of its own text"
    assert "new york" not in entries


@pytest.mark.parametrize("memory", [1 << 10, 1 << 30])
def test_captions_of_a_pool(tmp_path: Path, memory: int) -> None:
    entries, record = built(
        tmp_path, captions=(POOL,), memory=memory, limits={"min_count": 3, "min_bigram_count": 2}
    )
    words, pairs = expected(captions("pairs.jsonl"))
    total = words.total()

    def pmi(pair: str) -> float:
        x, y = pair.split(" ")
        return pairs[pair] * total / (words[x] * words[y])

    unigrams = sorted((w for w in words if words[w] >= 3), key=lambda w: (-words[w], w.encode()))
    strong = (p for p in pairs if pairs[p] >= 2 and pmi(p) >= 30)
    bigrams = sorted(strong, key=lambda p: (-pmi(p), p.encode()))
    assert len(bigrams) > 20
    assert entries == unigrams + bigrams
    assert record["sources"]["unigrams"]["offered"] == len(words)
    assert record["sources"]["bigrams"]["offered"] == len(pairs)


def test_pairs_join_in_languages_without_spaces(tmp_path: Path) -> None:
    path = write(tmp_path / "c.txt", "東京 タ\n東京 タ\n" * 3 + "山川 海空\n" * 40)
    entries, _ = built(
        tmp_path, recipe="v2", language="ja", captions=(path,), limits={"min_pmi": 1.0}
    )
    assert set(entries) >= {"東京", "山川", "海空"}
    assert "京タ" not in entries


def test_plain_titles_count_in_their_order(tmp_path: Path) -> None:
    titles = write(tmp_path / "t.txt", "".join(f"Title {i}\n" for i in range(100, 0, -1)))
    entries, record = built(tmp_path, recipe="v2", titles=(titles,))
    assert entries == [f"Title {i}" for i in range(100, 24, -1)], "the first 76 %"
    assert record["lowest"] == {}
    entries, _ = built(tmp_path, titles=(write(tmp_path / "c.tsv", "A b\t71\nC\t69\nD\t80\n"),))
    assert entries == ["D", "A b"]


def test_lists_share_a_manifest(tmp_path: Path) -> None:
    for name in ("de.txt", "cs.txt"):
        inputs = Inputs(numbers=True)
        out = str(tmp_path / name)
        build(inputs, limits=RECIPES["v2"], language=name[:2], out=out, memory=1 << 20)
    manifest = json.loads((tmp_path / "MANIFEST.json").read_text())
    assert [(name, manifest[name]["language"]) for name in manifest] == [
        ("cs.txt", "cs"),
        ("de.txt", "de"),
    ]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "no source given"),
        ({"bigrams": ("b",)}, "--bigrams need the word counts"),
        ({"bigrams": ("b",), "captions": ("c",)}, "the PMI of two texts"),
        ({"unigrams": ("u",), "pmi_unigrams": ("u",)}, "give those too"),
        ({"captions": ("nowhere/*.txt",)}, r"--captions nowhere/\*\.txt: no such file"),
        ({"unigrams": ("nowhere.txt",)}, r"nowhere\.txt: no such file"),
        ({"lists": ("EMPTY",)}, "EMPTY: no entry in it"),
        ({"titles": ("PLAIN", "VIEWS")}, r"PLAIN \(plain\), .*VIEWS \(pageviews\)"),
        ({"unigrams": ("RARE",)}, "no entry passed the limits"),
    ],
)
def test_errors_name_the_thing(tmp_path: Path, inputs: dict[str, Any], message: str) -> None:
    content = {"EMPTY": "\n", "PLAIN": "A title\n", "VIEWS": "en Fox 90 0\n", "RARE": "fox 1\n"}
    there = {name: write(tmp_path / name, text) for name, text in content.items()}
    given: dict[str, Any] = {
        key: tuple(there.get(name, name) for name in paths) for key, paths in inputs.items()
    }
    with pytest.raises(CurateError, match=message):
        built(tmp_path, **given)
    assert not (tmp_path / "lists").exists()


def invoke(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["metadata", "build", *arguments])
    return done.exit_code, done.output


def test_the_command_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    found = []
    for name, memory in (("a", "64"), ("b", "64"), ("c", "1")):
        out = str(tmp_path / name / "pool.txt")
        code, output = invoke(
            *("--captions", POOL, "--numbers", "--min-count", "2", "--min-bigram-count", "2"),
            *("--limit", "400", "--licence", "captions=public domain", "--out", out),
            *("--memory-mb", memory),
        )
        assert code == 0, output
        assert "400 entries" in output
        folder = tmp_path / name
        found.append({f.name: f.read_bytes() for f in folder.iterdir()})
    assert found[0] == found[1] == found[2]
    assert sorted(found[0]) == ["MANIFEST.json", "pool.txt"]
    assert max(Counter(found[0]["pool.txt"].splitlines()).values()) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["--recipe", "v3", "--numbers"],
        ["--numbers", "--limit", "0"],
        ["--numbers", "--licence", "CC0"],
        ["--numbers", "--licence", "books=CC0"],
        ["--numbers", "--memory-mb", "0"],
        [],
    ],
)
def test_the_command_ends_with_1(tmp_path: Path, arguments: list[str]) -> None:
    assert invoke(*arguments, "--out", str(tmp_path / "x.txt"))[0] == 1
    assert not list(tmp_path.iterdir())


CAPTIONS = ["The red fox", "a Red fox", "The red FOX of the north", "red fox", "of the fox"]


def said_of(tmp_path: Path, *options: str) -> tuple[list[str], str]:
    """The list of the captions above, and what the command says of it."""
    pool = write(tmp_path / "captions.txt", "".join(f"{x}\n" for x in CAPTIONS))
    out = tmp_path / "list.txt"
    arguments = ["metadata", "build", "--captions", pool, "--out", str(out), "--min-count", "2"]
    done = CliRunner().invoke(app, [*arguments, *options], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return out.read_text().splitlines(), done.stdout


def test_words_that_differ_in_case_alone_add_up_where_case_is_ignored(tmp_path: Path) -> None:
    assert said_of(tmp_path)[0] == ["fox", "red", "The", "of", "the"]
    folded, _ = said_of(tmp_path, "--ignore-case")
    assert folded == ["fox", "red", "the", "of"]
    assert json.loads((tmp_path / "MANIFEST.json").read_text())["list.txt"]["ignore_case"] is True


def test_stop_words_are_no_entries_and_begin_or_end_no_pair(tmp_path: Path) -> None:
    limits = ("--ignore-case", "--min-pmi", "0", "--min-bigram-count", "2")
    every, _ = said_of(tmp_path, *limits)
    assert {"of the", "the red", "red fox"} <= set(every)
    stop = write(tmp_path / "stop.txt", "The\nof\n")
    left, said = said_of(tmp_path, *limits, "--stop-words", stop)
    assert left == ["fox", "red", "red fox"]
    assert "2 with a stop word left out" in said
    shipped = files.read_bytes("shipped://metadata/stop-words-en.txt").decode().split()
    assert shipped == sorted(set(shipped), key=shipped.index)
    assert {"the", "of", "a"} <= set(shipped)
    assert not {"fox", "red", "one"} & set(shipped)


def test_the_thresholds_and_both_ends_of_the_list_are_shown(tmp_path: Path) -> None:
    _, said = said_of(tmp_path)
    assert "5 of 9: 4 below --min-count 2," in " ".join(said.split())
    assert "first: fox, red, The, of, the" in said
    wide = "".join(f"word{i:02} " * (40 - i) + "\n" for i in range(30))
    pool = write(tmp_path / "wide.txt", wide)
    arguments = ["metadata", "build", "--captions", pool, "--out", str(tmp_path / "wide")]
    said = CliRunner().invoke(app, [*arguments, "--min-count", "15"]).stdout
    assert "first: word00, word01" in said
    assert "word09 …" in said
    assert "last (count 15): word16" in said
    with pytest.raises(CurateError, match="limits: 30 unigrams are below --min-count 100"):
        built(tmp_path, captions=(pool,), limits={"min_pmi": 30.0})
