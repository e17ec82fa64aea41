"""Which tokens spell each word: by open_clip's own tokenizer, and by the words cut one by one."""

import random

import pytest
from open_clip.tokenizer import SimpleTokenizer

from curate.ops.scores.attribution import TEMPLATE
from curate.ops.scores.spelled import Speller, Word

TOKENIZER = SimpleTokenizer(context_length=32)
SPELLER = Speller(TOKENIZER, prefix=TEMPLATE)
FIRST = 4  # the first token of a caption: one begins the text, three are the template's


def tokens(caption: str) -> list[int]:
    found: list[int] = TOKENIZER([TEMPLATE + caption])[0].tolist()
    return found


def spelled(caption: str, word: Word) -> list[int]:
    return tokens(caption)[word.first : word.stop]


def text_of(caption: str, word: Word) -> str:
    decoded: str = TOKENIZER.decode(spelled(caption, word))
    return decoded.strip()


def test_each_word_has_its_characters_and_its_tokens() -> None:
    caption = "Two dachshunds, asleep on a sofa."
    words = SPELLER.words(caption)
    assert [word.text for word in words] == [
        "Two",
        "dachshunds",
        ",",
        "asleep",
        "on",
        "a",
        "sofa",
        ".",
    ]
    assert [(word.start, word.end) for word in words[:3]] == [(0, 3), (4, 14), (14, 15)]
    assert [text_of(caption, word) for word in words] == [word.text.lower() for word in words]
    assert words[0].first == FIRST
    assert words[1].stop - words[1].first > 1
    assert [word.text for word in words if word.is_punctuation] == [",", "."]


def test_words_take_all_tokens_in_order_as_if_each_were_alone() -> None:
    """The published mapping: so many tokens for each word as it has alone."""
    drawn = random.Random(0)
    some = ["dog", "dachshund", "isn't", "blue-green", "2", "1998", "caf\u00e9", "\u72ac", "X-ray",
            "U", "\U0001f436", "\u043a\u043e\u0442", ".", ",", "!", "(old)", "AT&T",
            "Stra\u00dfe"]  # fmt: skip
    for _ in range(300):
        caption = " ".join(drawn.choices(some, k=drawn.randint(1, 8)))
        at = FIRST
        for word in SPELLER.words(caption):
            alone = TOKENIZER.encode(word.text)
            assert (word.first, word.stop) == (at, min(at + len(alone), 31))
            assert spelled(caption, word) == alone[: 31 - at]
            at = word.stop


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("caf&eacute; &amp; bar", [("caf&eacute;", "caf\u00e9"), ("&amp;", "&"), ("bar", "bar")]),
        (
            "sch\u00c3\u00b6n gr\u00fcn",
            [("sch\u00c3\u00b6n", "sch\u00f6n"), ("gr\u00fcn", "gr\u00fcn")],
        ),
        ("a\tb\u00a0 c", [("a", "a"), ("b", "b"), ("c", "c")]),
        ("\u201cquoted\u201d Word", [("\u201cquoted\u201d", '" quoted "'), ("Word", "word")]),
        ("<b>bold</b>", [("<b>bold</b>", "< b > bold </ b >")]),
        ("", []),
        (" . ", [(".", ".")]),
    ],
)
def test_words_are_followed_through_cleaning(caption: str, expected: list[tuple[str, str]]) -> None:
    words = SPELLER.words(caption)
    assert [(word.text, text_of(caption, word)) for word in words] == expected
    assert all(caption[word.start : word.end] == word.text for word in words)


def test_a_token_of_two_words_is_of_the_first() -> None:
    caption = "the end.) of (it), yes"
    words = SPELLER.words(caption)
    assert [(word.text, text_of(caption, word)) for word in words] == [
        ("the", "the"), ("end", "end"), (".", ".)"), ("of", "of"), ("(it)", "( it ),"), ("yes", "yes")
    ]  # fmt: skip


def test_where_cleaning_moves_words_they_are_searched_for() -> None:
    caption = "Voil\u00c3\u00a0 tout, ami"  # the space is half of a letter
    words = SPELLER.words(caption)
    assert [(word.text, word.start, word.end) for word in words] == [
        ("voil\u00e0", None, None), ("tout", 7, 11), (",", 11, 12), ("ami", 13, 16)
    ]  # fmt: skip


def test_what_is_beyond_the_context_is_left_out() -> None:
    words = SPELLER.words(" ".join(["word"] * 40))
    assert len(words) == 31 - FIRST
    assert words[-1].stop == 31
    cut = SPELLER.words(" ".join(["word"] * 26) + " dachshunds")[-1]
    assert (cut.text, cut.first, cut.stop) == ("dachshunds", 30, 31)
    ended = SPELLER.words("a dog <end_of_text> a cat")
    assert [word.text for word in ended] == ["a", "dog"]
