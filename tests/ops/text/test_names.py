"""Names of concepts in captions, against the published example and the definition in plain Python."""

import random
import re
import unicodedata

import numpy as np
import pyarrow as pa
import pytest

from curate.ops.text.names import NameMatcher, as_words

EXAMPLE = [
    "A night snake on sand", "Night-snakes at night", "snake at night", "the NIGHT_SNAKE logo",
    "night'snake", "Midnight snake", "tiger shark", "Hypsiglena: night snake hypsiglena",
]  # fmt: skip
"""The captions of the worked example."""


def test_the_worked_example() -> None:
    matcher = NameMatcher(["night snake", "hypsiglena"], concepts=[0, 0])
    rows, names = matcher.names_in(pa.array(EXAMPLE))
    of = [
        [int(row) + 1 for row, name in zip(rows, names, strict=True) if name == x] for x in (0, 1)
    ]
    assert of == [[1, 4, 8], [8]]
    rows, concepts, first = matcher.concepts_of(rows, names)
    assert ((rows + 1).tolist(), concepts.tolist(), first.tolist()) == (
        [1, 4, 8],
        [0, 0, 0],
        [0, 0, 0],
    )


def words(text: str) -> list[str]:
    """The definition: quotation marks deleted, letters and digits, no case, no diacritics of Latin."""
    plain = ""
    for sign in text.replace("'", "").replace('"', ""):
        base = unicodedata.normalize("NFD", sign)[0]
        is_latin = unicodedata.name(base, "").startswith("LATIN")
        plain += (
            (base if is_latin else sign).upper().lower()
        )  # one by one: a final sigma is a sigma
    return re.findall(r"[^\W_]+", plain)


def has(caption: str, name: str) -> bool:
    found, wanted = words(caption), words(name)
    return any(found[i : i + len(wanted)] == wanted for i in range(len(found)))


MARKS = [" ", " ", " ", "  ", "-", "_", ", ", ";", "'", '"', "’", "/", " & ", "\t", "(", ") ", "—"]
SIGNS = ["red", "RED", "fox", "Fox", "café", "CAFÉ", "cafe", "ñu", "ели", "ёж", "№", "7", "x²", "ΛΌΓΟΣ",
         "λόγος", "s", "the", "foxes", "画", "赤い狐"]  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
def test_matches_are_those_of_the_definition(seed: int) -> None:
    draw = random.Random(seed)

    def text(most: int) -> str:
        parts = [draw.choice(SIGNS) + draw.choice(MARKS) for _ in range(draw.randint(1, most))]
        return draw.choice(["", "“"]) + "".join(parts)

    captions = [text(9) for _ in range(300)]
    names = [name for name in (text(3) for _ in range(60)) if words(name)]
    concepts = sorted(draw.randrange(20) for _ in names)
    matcher = NameMatcher(names, concepts=concepts)
    rows, found = matcher.names_in(pa.array(captions))
    pairs = list(zip(rows.tolist(), found.tolist(), strict=True))
    assert pairs == [
        (i, k)
        for i, caption in enumerate(captions)
        for k, name in enumerate(names)
        if has(caption, name)
    ]
    assert {x for _, x in pairs} != set()
    of = matcher.concepts_of(rows, found)
    firsts: dict[tuple[int, int], int] = {}
    for row, name in pairs:
        firsts.setdefault((row, concepts[name]), name)
    assert list(zip(*(x.tolist() for x in of), strict=True)) == [
        (*key, name) for key, name in sorted(firsts.items())
    ]


def test_a_row_of_several_captions_counts_once() -> None:
    matcher = NameMatcher(["fox", "red fox", "Fox!"], concepts=[0, 1, 1])
    captions = pa.array(["a fox", "a red fox", None, "fox"])
    rows, names = matcher.names_in(captions, owners=np.array([5, 5, 5, 2]))
    assert list(zip(rows.tolist(), names.tolist(), strict=True)) == [
        (2, 0), (2, 2), (5, 0), (5, 1), (5, 2),
    ]  # fmt: skip


def test_a_script_without_spaces_is_one_word_to_its_next_mark() -> None:
    assert as_words(["赤い狐、雪"]).to_pylist() == ["赤い狐 雪"]
    assert as_words(pa.array([None, "", " ' "])).to_pylist() == [None, "", ""]
