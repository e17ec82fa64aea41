"""Words, pairs and PMI against dictionaries that follow the definition a character at a time."""

import json
import math
import string
import unicodedata
from collections import Counter
from itertools import pairwise

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate import Matcher, files
from curate.metadata.ngrams import NgramCounts, lift
from curate.ops.text.matching import needs_no_space

MARKS = ",.;:?!`"


def punctuation(text: str) -> bool:
    return all(c in string.punctuation or unicodedata.category(c).startswith("P") for c in text)


def spaced(text: str) -> list[str]:
    for c in "\t\n\r":
        text = text.replace(c, " ")
    for c in MARKS:
        text = text.replace(c, f" {c} ")
    return text.split(" ")


def expected(texts: list[str]) -> tuple[Counter[str], Counter[str]]:
    words: Counter[str] = Counter()
    pairs: Counter[str] = Counter()
    for text in texts:
        before = None
        for word in spaced(text):
            if punctuation(word):
                before = None
                continue
            words[word] += 1
            if before is not None:
                pairs[f"{before} {word}"] += 1
            before = word
    return words, pairs


def expected_by_character(texts: list[str]) -> tuple[Counter[str], Counter[str]]:
    words: Counter[str] = Counter()
    pairs: Counter[str] = Counter()
    for text in texts:
        runs: list[list[str]] = [[]]  # words that touch
        after = "break"
        for c in text:
            if c.isspace() or punctuation(c):
                runs.append([])
                after = "break"
            elif needs_no_space(c) and not unicodedata.category(c).startswith("M"):
                runs[-1].append(c)
                after = "character"
            elif after == "letter" or (after == "character" and needs_no_space(c)):
                runs[-1][-1] += c
            else:
                runs[-1].append(c)
                after = "letter"
        for run in runs:
            words.update(run)
            pairs.update(f"{a} {b}" for a, b in pairwise(run))
    return words, pairs


def counted(
    texts: list[str | None], *, memory: int = 1 << 20, by_character: bool = False
) -> tuple[Counter[str], Counter[str]]:
    ngrams = NgramCounts(memory=memory, by_character=by_character)
    half = len(texts) // 2
    ngrams.add(pa.array(texts[:half], pa.string()))
    ngrams.add(pa.array(texts[half:], pa.large_string()))
    ngrams.flush()
    found = []
    for counts in (ngrams.words, ngrams.pairs):
        table = counts.table()
        found.append(Counter(dict(zip(*table.to_pydict().values(), strict=True))))
        assert counts.total == found[-1].total()
        counts.close()
    return found[0], found[1]


def captions(name: str) -> list[str]:
    path = files.shipped(f"pipelines/demo/pool/{name}")
    return [json.loads(line)["caption"] for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("memory", [1 << 10, 1 << 30])
@pytest.mark.parametrize("name", ["pairs.jsonl", "other_languages.jsonl"])
def test_real_captions(name: str, memory: int) -> None:
    texts = captions(name)
    words, pairs = expected(texts)
    assert len(pairs) > 50
    assert counted([*texts], memory=memory) == (words, pairs)


TEXTS = st.lists(
    st.text(alphabet=st.sampled_from("ab é日本กิ，。 \t\n,.-'\u3000🎉"), max_size=12)
    | st.text(max_size=8),
    max_size=12,
)


@settings(deadline=None)
@given(texts=TEXTS)
def test_any_text(texts: list[str]) -> None:
    assert counted([*texts], memory=1 << 8) == expected(texts)


@settings(deadline=None)
@given(texts=TEXTS)
def test_any_text_by_character(texts: list[str]) -> None:
    found = counted([*texts], memory=1 << 8, by_character=True)
    assert found == expected_by_character(texts)


def test_a_pair_stands_where_the_matcher_finds_it() -> None:
    texts = ["red fox", "red  fox", "red, fox", "red - fox", "a red\tfox.", "Red fox", "red fox's"]
    [pairs] = [counted([*texts])[1]]
    hits = Matcher(["red fox"]).match(pa.array(texts)).to_pylist()
    assert pairs["red fox"] == sum(hit == [0] for hit in hits) == 2


def test_characters_touch() -> None:
    words, pairs = counted(["東京タワー、東京 都", "กิน iPhone手机"], by_character=True)
    assert words["東"] == words["京"] == 2
    assert pairs["東 京"] == 2
    assert "、" not in words
    assert "京 東" not in pairs, "a mark stands between"
    assert "京 都" not in pairs, "a space stands between"
    assert words["กิ"] == 1, "with its combining vowel"
    assert pairs["iPhone 手"] == pairs["手 机"] == 1


def test_nulls_and_a_text_larger_than_the_table() -> None:
    long = " ".join(f"w{i} x" for i in range(5000))
    words, pairs = counted([None, "", long, None, long, "w1 x"], memory=1 << 8)
    assert words["x"] == 10001
    assert len(words) == 5001
    assert (pairs["w1 x"], pairs["x w1"]) == (3, 2)


def test_pmi_is_that_of_the_definition() -> None:
    texts = captions("pairs.jsonl")
    ngrams = NgramCounts(memory=1 << 20)
    ngrams.add(pa.array(texts))
    ngrams.flush()
    words, pairs = expected(texts)
    table = ngrams.pairs.table()
    found = lift(table, words=ngrams.words.table(), total=ngrams.words.total)
    total = sum(words.values())
    for pair, value in zip(table["entry"].to_pylist(), found, strict=True):
        x, y = pair.split(" ")
        pmi = math.log2(pairs[pair] * total) - math.log2(words[x] * words[y])  # as NLTK computes it
        assert math.log2(value) == pytest.approx(pmi, abs=1e-9)
        assert pmi <= math.log2(total) + 1e-9, "which no pair exceeds"


def test_an_unknown_word_has_no_pmi() -> None:
    pairs = pa.table({"entry": ["a b", "a c"], "count": [2, 2]})
    words = pa.table({"entry": ["a", "b"], "count": [4, 2]})
    assert lift(pairs, words=words, total=64).tolist() == [16.0, 0.0]
