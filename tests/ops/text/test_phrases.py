"""Words and phrases in texts, against Python's own split."""

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from curate.ops.text.phrases import Phrases

WORD = st.sampled_from(["a", "b", "Ab", "c", "É", "x,"])
SPACE = st.sampled_from([" ", "  ", "\t", "\u00a0"])
PHRASE = st.lists(WORD, min_size=1, max_size=3).map(" ".join)
TEXT = st.lists(st.one_of(WORD, SPACE), max_size=12).map("".join)


@given(st.lists(PHRASE, min_size=1, max_size=4), st.lists(st.none() | TEXT, max_size=6))
def test_a_phrase_is_its_words_one_after_the_other(
    phrases: list[str], texts: list[str | None]
) -> None:
    def holds(text: str | None) -> bool | None:
        if text is None:
            return None
        words = text.lower().split()
        asked = [phrase.lower().split() for phrase in phrases]
        return any(words[i : i + len(one)] == one for one in asked for i in range(len(words)))

    found = Phrases(phrases).are_in(pa.array(texts, pa.string()))
    assert found.to_pylist() == [holds(text) for text in texts]
