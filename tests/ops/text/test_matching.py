"""The matcher against MetaCLIP's definition, written out naively, and against pyahocorasick."""

import pickle
import random
import string
from typing import Any

import ahocorasick
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.ops.strings import buffers
from curate.ops.text.classifier import load
from curate.ops.text.matching import (
    NO_SPACE_LANGUAGES,
    Matcher,
    needs_no_space,
    released_needs_no_space,
)
from curate.ops.text.trie import ROOM, Trie, fill

ACUTE = "e\N{COMBINING ACUTE ACCENT}"
THAI = "\N{THAI CHARACTER KO KAI}\N{THAI CHARACTER SARA I}"
FAMILY = "👨\N{ZERO WIDTH JOINER}👩"
NASTY = [
    *" ,.;:?!`\t\n\r", "  ", "a", "A", "b", "ab", "é", ACUTE, "中", "文", "、", "カ", THAI, "ກ", "ម",
    "မ", "ཀ", "🐈", FAMILY, "-", "(", "”", "\N{NO-BREAK SPACE}", "\N{IDEOGRAPHIC SPACE}",
    "\0", "\x1f", "\N{ZERO WIDTH SPACE}", "𠀀",
]  # fmt: skip
any_character = st.characters(codec="utf-8")
nasty_texts = st.lists(st.sampled_from(NASTY), max_size=10).map("".join)


def spaced(caption: str) -> str:
    for mark in ",.;:?!`":
        caption = caption.replace(mark, f" {mark} ")
    for blank in "\t\n\r":
        caption = caption.replace(blank, " ")
    return f" {caption} "


def naive(captions: list[str], entries: list[str], *, no_space: bool = False) -> list[list[int]]:
    needles: dict[str, int] = {}
    for i, entry in enumerate(entries):
        before = "" if no_space and needs_no_space(entry[0]) else " "
        after = "" if no_space and needs_no_space(entry[-1]) else " "
        if entry not in entries[:i]:
            needles[before + entry + after] = i
    return [[i for needle, i in needles.items() if needle in spaced(text)] for text in captions]


def matched(entries: list[str], caption: str, *, no_space: bool = False) -> list[str]:
    [ids] = Matcher(entries, no_space=no_space).match(pa.array([caption])).to_pylist()
    return [entries[i] for i in ids]


@pytest.mark.parametrize(
    ("caption", "entry", "matches"),
    [
        ("a red fox", "red", True),
        ("a red fox", "Red", False),
        ("a Red fox", "red", False),
        ("redder", "red", False),
        ("red", "red", True),
        ("red,fox", "red", True),
        ("red,fox", "fox", True),
        ("red,fox", "red fox", False),
        ("red,fox", "red , fox", True),
        ("red, fox", "red , fox", False),  # the mark's own space and the caption's: two spaces
        ("red, fox", "red ,  fox", True),
        ("a  b", "a b", False),
        ("a  b", "a  b", True),
        ("a  b", "a", True),
        ("a b", "a  b", False),
        ("a\tb", "a b", True),
        ("a\nb", "a b", True),
        ("a\rb", "a b", True),
        ("a\r\nb", "a b", False),
        ("a\r\nb", "a  b", True),
        ("a\vb", "a", False),
        ("a\N{NO-BREAK SPACE}b", "a", False),
        ("(red)", "red", False),
        ("(red)", "(red)", True),
        ("don't", "don't", True),
        ("e.g.", "e.g.", False),  # a mark inside an entry must be spaced there as well
        ("e.g.", "e . g .", True),
        ("e.g.", "e . g . ", True),
        ("e.g.", "e . g", True),
        ("a.", ".", True),
        ("a.", "a .", True),
        ("...", ". .", False),
        ("...", ".  .", True),
        ("it is `quoted`", "quoted", True),
        ("why?!", "? !", False),
        ("why?!", "?  !", True),
        ("café", f"caf{ACUTE}", False),  # no Unicode normalisation
        ("", "a", False),
        ("", " ", False),
        (" ", " ", True),
        ("a ", "a ", True),
        ("a", "a ", False),
        (" a", " a", True),
        ("🐈 cat", "🐈", True),
        ("🐈cat", "🐈", False),
        ("\0 a", "\0", True),
    ],
)
def test_an_entry_matches_between_two_spaces_of_the_spaced_caption(
    caption: str, entry: str, matches: bool
) -> None:
    assert (f" {entry} " in spaced(caption)) is matches, "the table itself must be right"
    assert matched([entry], caption) == [entry] * matches


@pytest.mark.parametrize(
    ("caption", "entry", "matches"),
    [
        ("黑猫在睡觉", "猫", True),
        ("黑猫在睡觉", "黑猫", True),
        ("黑猫在睡觉", "猫睡", False),
        ("我的iPhone手机", "iPhone", False),  # Latin on both sides needs its spaces
        ("我的 iPhone 手机", "iPhone", True),
        ("我的T恤衫", "T恤", False),
        ("我的 T恤衫", "T恤", True),
        ("卡拉OK厅", "拉OK", False),
        ("卡拉OK 厅", "拉OK", True),
        ("(red)fox", "(red)", True),  # punctuation at both ends needs none
        ("x(red", "(red", True),
        ("x(redder", "(red", False),
        ("ภาษาไทย", "ไทย", True),
        ("ພາສາລາວ", "ລາວ", True),
        ("မြန်မာစာ", "မာ", True),
        ("ភាសាខ្មែរ", "ខ្មែរ", True),
        ("བོད་ཡིག", "ཡིག", True),
        ("かわいいネコ", "ネコ", True),
        ("한국어", "국", False),  # Hangul is written with spaces
        ("猫。犬", "。", True),
        ("猫,犬", "猫,犬", False),
        ("猫,犬", "猫 , 犬", True),
        ("𠀀𠀁", "𠀁", True),
        ("中 国", "中国", False),
        ("a  中", " 中", True),
        ("a 中", " 中", False),
        ("中  b", "中 ", True),
        ("中 b", "中 ", False),
    ],
)
def test_scripts_without_spaces_need_none(caption: str, entry: str, matches: bool) -> None:
    assert matched([entry], caption, no_space=True) == [entry] * matches


@pytest.mark.parametrize(
    ("script", "character", "free"),
    [
        ("CJK", "中", True), ("CJK extension B", "𠀀", True), ("CJK compatibility", "豈", True),
        ("hiragana", "あ", True), ("katakana", "ア", True), ("bopomofo", "ㄅ", True),
        ("half-width katakana", "ｱ", True), ("Thai", "ก", True), ("Lao", "ກ", True),
        ("Burmese", "မ", True), ("Khmer", "ម", True), ("Tibetan", "ཀ", True),
        ("ASCII punctuation", "-", True), ("quotation mark", "”", True), ("dash", "—", True),
        ("inverted mark", "¿", True), ("Arabic comma", "،", True),
        ("Latin", "a", False), ("accented Latin", "é", False), ("digit", "7", False),
        ("Hangul", "한", False), ("Cyrillic", "я", False), ("Arabic", "ع", False),
        ("Devanagari", "क", False), ("emoji", "🐈", False), ("space", " ", False),
        ("symbol", "+", True), ("currency", "$", True),
        ("other currency", "€", False),
    ],
)  # fmt: skip
def test_needs_no_space(script: str, character: str, free: bool) -> None:
    assert needs_no_space(character) is free, script


def test_all_ascii_punctuation_needs_no_space() -> None:
    assert {c for c in map(chr, range(128)) if needs_no_space(c)} == set(string.punctuation)


PUBLISHED = (
    "4E00-9FFF 3400-4DBF 20000-2A6DF 2A700-2EBEF F900-FAFF 2E80-2FFF 0E00-0FFF 1000-109F 1780-17FF"
)
"""Code points that Meta CLIP 2 counts among the scripts without spaces."""


def test_every_character_of_the_paper_needs_no_space() -> None:
    for span in PUBLISHED.split():
        low, high = (int(end, 16) for end in span.split("-"))
        assert all(needs_no_space(chr(point)) for point in range(low, high + 1)), span
    marks = "，。、；：？！“”‘’（）【】《》〈〉「」『』～—"
    assert all(needs_no_space(mark) for mark in marks)


def test_the_languages_without_spaces_are_those_of_the_paper_and_of_the_language_model() -> None:
    published = {"bo", "dz", "ja", "km", "lo", "my", "ryu", "th", "zh"}
    assert NO_SPACE_LANGUAGES - published == {"wuu", "yue"}
    assert published <= NO_SPACE_LANGUAGES
    labels = set(load("shipped://curate/data/lid.176.ftz").labels)
    assert {"wuu", "yue", "zh"} <= labels


RELEASED = [
    ("\u30ef", False), ("\u3042", False), ("\u3105", False), ("\uff21", False),  # kana, bopomofo, A
    ("\u732b", True), ("\u3400", True), ("\u4dbf", True), ("\u4dc0", False), ("\u9fff", True),
    ("\ua000", False), ("\uf900", True), ("\U00020000", True), ("\U0002a6e0", False),
    ("\U0002a700", True), ("\U0002ebef", True), ("\U00030000", False), ("\u2e7f", False),
    ("\u2e80", True), ("\u2fe0", False), ("\u2ff0", True), ("\u3005", False), ("\u0e01", True),
    ("\u0dff", False), ("\u0fff", True), ("\u109f", True), ("\u10a0", False), ("\u1780", True),
    ("\u19e0", False), ("!", True), ("~", True), ("a", False), ("\u00e9", False), ("\u00bf", False),
    ("\u3001", True), ("\u30fb", False), ("\u2014", True), ("\u2013", False), ("\uff5e", True),
    ("\uff0e", False), ("\u300f", True), ("\u3014", False),
]  # fmt: skip


@pytest.mark.parametrize(("character", "free"), RELEASED)
def test_where_entries_need_no_space_in_the_released_code(character: str, free: bool) -> None:
    assert released_needs_no_space(character) is free


def test_the_released_rule_is_by_characters_in_any_list() -> None:
    def found(entries: list[str], caption: str, no_space: Any) -> list[str]:
        [ids] = Matcher(entries, no_space=no_space).match([caption]).to_pylist()
        return [entries[i] for i in ids]

    japanese = ["\u30ef\u30a4\u30f3", "\u8d64", "\u8d64\u30ef\u30a4\u30f3"]
    assert found(japanese, "\u8d64\u30ef\u30a4\u30f3\u3067\u3059", True) == japanese
    assert found(japanese, "\u8d64\u30ef\u30a4\u30f3\u3067\u3059", "released") == [japanese[1]]
    assert found(japanese, "\u8d64\u30ef\u30a4\u30f3 \u3067\u3059", "released") == japanese[1:]
    assert found(japanese, "\u8d64 \u30ef\u30a4\u30f3 \u3067\u3059", "released") == japanese[:2]
    english = ["C++", "red", "(a)"]
    assert found(english, "C++11 in red(a)b", "released") == ["C++", "(a)"]
    assert found(english, "C++11 in red(a)b", False) == []
    assert found(english, "a red C++ (a)", False) == english


@given(
    entries=st.lists(nasty_texts.filter(bool), max_size=12),
    captions=st.lists(nasty_texts, max_size=6),
)
@settings(max_examples=300, deadline=None)
def test_agrees_with_the_released_rule(entries: list[str], captions: list[str]) -> None:
    entries = entries + [text[i : i + 3] for text in captions for i in range(0, len(text), 2)]
    expected = []
    for text in captions:
        found = set()
        for entry in entries:
            before = "" if released_needs_no_space(entry[0]) else " "
            after = "" if released_needs_no_space(entry[-1]) else " "
            if before + entry + after in spaced(text):
                found.add(entries.index(entry))
        expected.append(sorted(found))
    matcher = Matcher(entries, no_space="released")
    assert matcher.match(pa.array(captions, pa.string())).to_pylist() == expected


@given(
    entries=st.lists(nasty_texts.filter(bool), max_size=12),
    captions=st.lists(nasty_texts, max_size=6),
    no_space=st.booleans(),
)
@settings(max_examples=600, deadline=None)
def test_agrees_with_the_definition_on_nasty_texts(
    entries: list[str], captions: list[str], no_space: bool
) -> None:
    # Entries cut out of the captions match far more often than entries drawn at random.
    cut = [text[i : i + 3] for text in captions for i in range(0, len(text), 2)]
    entries = entries + cut
    found = Matcher(entries, no_space=no_space).match(pa.array(captions, pa.string()))
    assert found.to_pylist() == naive(captions, entries, no_space=no_space)


@given(
    entries=st.lists(st.text(any_character, min_size=1, max_size=4), max_size=8),
    captions=st.lists(st.text(any_character, max_size=30), max_size=4),
    no_space=st.booleans(),
)
@settings(max_examples=200, deadline=None)
def test_agrees_with_the_definition_on_any_unicode(
    entries: list[str], captions: list[str], no_space: bool
) -> None:
    captions = captions + [f"{captions[0]} {e},{e}{e}" for e in entries] if captions else entries
    found = Matcher(entries, no_space=no_space).match(pa.array(captions, pa.string()))
    assert found.to_pylist() == naive(captions, entries, no_space=no_space)


def _zipf_pool(seed: int, *, entries: int, captions: int) -> tuple[list[str], list[str]]:
    draw = random.Random(seed)
    words = [
        "".join(draw.choices("abcdefghijklmnopqrstuvwxyzé中", k=draw.randint(1, 8)))
        for _ in range(3 * entries)
    ]
    weights = np.cumsum(1 / np.arange(1, len(words) + 1)).tolist()
    phrases: dict[str, None] = {}
    while len(phrases) < entries:
        length = draw.choice((1, 1, 1, 2, 2, 3))
        phrases[" ".join(draw.choices(words, cum_weights=weights, k=length))] = None
    marks = ["", "", "", "", ",", ".", "!", "  ", "\t", " ; "]
    texts = []
    for _ in range(captions):
        drawn = draw.choices(words, cum_weights=weights, k=draw.randint(0, 25))
        texts.append("".join(w + draw.choice(marks) + draw.choice(" " * 9 + "-") for w in drawn))
    return list(phrases), texts


def test_agrees_with_pyahocorasick_as_metaclip_uses_it() -> None:
    entries, captions = _zipf_pool(7, entries=5_000, captions=20_000)
    automaton = ahocorasick.Automaton()
    for i, entry in enumerate(entries):
        automaton.add_word(f" {entry} ", i)
    automaton.make_automaton()
    expected = [sorted({i for _, i in automaton.iter(spaced(text))}) for text in captions]
    found = Matcher(entries).match(pa.array(captions)).to_pylist()
    assert found == expected
    assert sum(map(len, expected)) > 100_000, "a pool in which little matches shows little"


def test_matches_are_a_set_in_ascending_order_of_int32() -> None:
    entries = ["c", "b", "a", "a b", "b a", "a b a"]
    found = Matcher(entries).match(pa.array(["a b a b a c a"] * 2))
    assert found.to_pylist() == [[0, 1, 2, 3, 4, 5]] * 2
    assert found.type == pa.list_(pa.field("element", pa.int32()))
    found.validate(full=True)


def test_long_match_lists_are_sorted_too() -> None:
    entries = [f"w{i}" for i in range(500)]
    caption = " ".join(reversed(entries)) + " " + " ".join(entries)
    assert Matcher(entries).match(pa.array([caption])).to_pylist() == [list(range(500))]


@pytest.mark.parametrize("no_space", [False, True])
def test_entries_nested_three_hundred_deep(no_space: bool) -> None:
    word = "中" if no_space else "a"
    glue = "" if no_space else " "
    entries = [glue.join([word] * (depth + 1)) for depth in range(300)]
    captions = [glue.join([word] * n) for n in (0, 1, 2, 150, 299, 300, 301, 700)]
    found = Matcher(entries, no_space=no_space).match(pa.array(captions)).to_pylist()
    assert found == [list(range(min(n, 300))) for n in (0, 1, 2, 150, 299, 300, 301, 700)]


def test_a_repeated_entry_has_the_first_id() -> None:
    assert Matcher(["x", "y", "x"]).match(pa.array(["x y"])).to_pylist() == [[0, 1]]
    assert Matcher(["猫", "y", "猫"], no_space=True).match(pa.array(["猫"])).to_pylist() == [[0]]


def test_a_megabyte_caption() -> None:
    draw = random.Random(3)
    caption = "".join(draw.choice("ab, \té中") for _ in range(1_000_000))
    entries = ["a", "b", "ab", "a b", "b  ,", "é", "中 a", "a b ab", "absent"]
    found = Matcher(entries).match(pa.array(["a", caption, ""])).to_pylist()
    assert found == naive(["a", caption, ""], entries)
    assert 8 not in found[1]
    assert len(found[1]) == 8


def test_nulls_and_empty_captions_match_nothing() -> None:
    captions = pa.array([None, "red", "", None, "red"])
    found = Matcher(["red"]).match(captions)
    assert found.to_pylist() == [[], [0], [], [], [0]]
    assert found.null_count == 0


def test_no_captions_and_no_entries() -> None:
    assert Matcher(["a"]).match(pa.array([], pa.string())).to_pylist() == []
    assert Matcher([]).match(pa.array(["a", "中"])).to_pylist() == [[], []]
    assert Matcher([], no_space=True).match(pa.array(["a"])).to_pylist() == [[]]
    assert len(Matcher([])) == 0


_TEXTS = ["a fox", "", "red fox", None, "fox, red", "中 fox", "foxes"]
_FOUND = [[1], [], [0, 1], [], [0, 1], [1], []]


@pytest.mark.parametrize(
    "captions",
    [
        pa.array(_TEXTS),
        pa.array(_TEXTS, pa.large_string()),
        pa.array(["not this", *_TEXTS, "nor fox this"]).slice(1, len(_TEXTS)),
        pa.array([None, *_TEXTS], pa.large_string()).slice(1),
        pa.chunked_array([_TEXTS[:2], _TEXTS[2:]]),
        pa.chunked_array([_TEXTS]),
        pa.chunked_array([_TEXTS[:3], [], _TEXTS[3:]], pa.large_string()).slice(0),
        pa.chunked_array([["fox", *_TEXTS[:2]], [*_TEXTS[2:], "fox"]]).slice(1, len(_TEXTS)),
        pa.array(_TEXTS).dictionary_encode(),
        pa.array(_TEXTS, pa.string_view()),
    ],
    ids=[
        "string", "large_string", "slice", "large_slice", "chunked", "one_chunk", "empty_chunk",
        "chunked_slice", "dictionary", "view",
    ],
)  # fmt: skip
def test_every_arrow_form_of_a_string_column(captions: Any) -> None:
    assert Matcher(["red", "fox"]).match(captions).to_pylist() == _FOUND


def test_a_chunked_array_without_chunks() -> None:
    assert Matcher(["a"]).match(pa.chunked_array([], pa.string())).to_pylist() == []


@pytest.mark.parametrize("no_space", [False, True])
def test_a_pickled_matcher_matches_the_same(no_space: bool) -> None:
    entries, captions = _zipf_pool(1, entries=200, captions=200)
    matcher = Matcher(entries, no_space=no_space)
    copy = pickle.loads(pickle.dumps(matcher))
    texts = pa.array(captions)
    assert copy.match(texts).equals(matcher.match(texts))
    assert (len(copy), copy.nbytes) == (200, matcher.nbytes)


def test_nbytes_counts_the_entries_and_their_tables() -> None:
    entries, _ = _zipf_pool(2, entries=5_000, captions=0)
    size = Matcher(entries).nbytes
    assert 32 * 5_000 < size < 130 * 5_000
    assert Matcher(entries * 2).nbytes > size


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (["a", "", "b"], "entry 1 is empty"),
        ([""], "entry 0 is empty"),
        (["a", "\ud800"], "not valid Unicode"),
    ],
)
@pytest.mark.parametrize("no_space", [False, True])
def test_entries_that_cannot_match_are_errors(
    entries: list[str], message: str, no_space: bool
) -> None:
    with pytest.raises(ValueError, match=message):
        Matcher(entries, no_space=no_space)


def _filled(entries: list[str], *, slots: int) -> tuple[Trie, list[int]]:
    """Tables of `slots` after an attempt to fill them, and what the entries take of each."""
    content = buffers(pa.array(entries, pa.large_string()))
    trie = Trie(
        np.zeros((slots, 4), np.uint64),
        np.zeros((slots, 2), np.uint64),
        np.zeros(slots, np.uint64),
        0,
    )
    return trie, list(fill(*content, np.arange(len(entries)), False, trie))


def test_tables_that_are_too_small_say_so() -> None:
    letters = [chr(ord("a") + i) for i in range(12)]
    assert _filled(letters, slots=16)[1][0] > 16 * ROOM
    trie, taken = _filled(letters, slots=32)
    assert taken == [12, 0, 0, 1]
    assert np.count_nonzero(trie.units[:, 1]) == 12
    chain = " ".join("a" * 13)
    assert _filled([chain], slots=19)[1][1] > 19 * ROOM
    assert _filled([chain], slots=32)[1] == [1, 12, 0, 13]
    assert _filled(["x" * 100], slots=16)[1][2] > 16 * ROOM
    assert _filled(["x" * 100], slots=32)[1] == [1, 0, 14, 1]


@pytest.mark.parametrize("length", [1, 6, 7, 8, 9, 14, 15, 16, 17, 23, 24, 25, 31, 32, 33, 300])
def test_units_that_differ_in_one_byte_are_told_apart(length: int) -> None:
    word = ("abcdefghij" * 30)[:length]
    others = [word[:k] + "X" + word[k + 1 :] for k in sorted({0, length // 2, length - 1})]
    others += [word + "a", word[:-1] or "Z"]
    matcher = Matcher([word, f"{word} {word}"])
    assert matcher.match(pa.array([word, f"{word} {word}"])).to_pylist() == [[0], [0, 1]]
    assert matcher.match(pa.array(others)).to_pylist() == [[]] * len(others)
    for other in others:
        [ids] = matcher.match(pa.array([f"{word} {other} {word}"])).to_pylist()
        assert ids == [0]


def test_a_long_unit_that_shares_a_hash_with_an_entry_does_not_match() -> None:
    one, other = "a" * 40, "b" * 40
    matcher = Matcher([one, other])
    assert matcher.match(pa.array([f"{one} {other}"])).to_pylist() == [[0, 1]]
    units = matcher._tokens.units
    taken = np.flatnonzero(units[:, 1])
    units[taken, 1] = units[taken[::-1], 1]  # each hash now leads to the copy of the other
    assert matcher.match(pa.array([one, other, f"{one} {other}"])).to_pylist() == [[], [], []]


def test_nothing_is_read_beyond_the_end_of_the_captions() -> None:
    text = b"one twos threes"
    entries = ["one", "twos", "threes", "thre"]
    for stop in range(len(text) + 1):
        content = pa.py_buffer(bytearray(text[:stop]))  # exactly as long, without Arrow's padding
        offsets = pa.py_buffer(np.array([0, stop], np.int32).tobytes())
        captions = pa.StringArray.from_buffers(1, offsets, content)
        assert Matcher(entries).match(captions).to_pylist() == naive(
            [text[:stop].decode()], entries
        )
