"""Tags cut out of texts, and the entries that they are, against the definition a row at a time."""

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.ops.text.tags import ids_of, listed_ids, split_tags, union

words = st.sampled_from(["a", "b c", " a", "long_hair", "", "  ", "é", "A", "x,y", "[", "1"])


@pytest.mark.parametrize(
    ("text", "separator", "tags"),
    [
        ("a, b ,, a", ",", ["a", "b", "a"]), ('["a", " b c "]', None, ["a", "b c"]),
        ('["a,b"]', ",", ["a,b"]), ("[]", None, []), ("", None, []), (None, None, []),
        ("a; b", ",", ["a; b"]), ("1girl long_hair", " ", ["1girl", "long_hair"]),
        ("[x], y", ",", ["[x]", "y"]), ("[1, true, null, 0.5]", None, ["1", "true", "0.5"]),
        ("a||b|c", "||", ["a", "b|c"]), ("a", None, None), ("[a", None, None), ('[["a"]]', None, None),
        ('{"a": 1}', None, None), ("  \n", ",", []),
    ],
)  # fmt: skip
def test_a_text_is_cut_into(text: str | None, separator: str | None, tags: Any) -> None:
    found = split_tags(pa.array([text], pa.string()), separator=separator)
    assert found.bad.tolist() == [tags is None]
    assert found.tags.to_pylist() == (tags or [])


@given(rows=st.lists(st.tuples(st.booleans(), st.lists(words, max_size=5)), max_size=8))
@settings(max_examples=200, deadline=None)
def test_lists_and_texts_beside_each_other(rows: list[tuple[bool, list[str]]]) -> None:
    texts = [json.dumps(tags) if as_list else "|".join(tags) for as_list, tags in rows]
    expected = [(i, x.strip()) for i, (_, tags) in enumerate(rows) for x in tags if x.strip()]
    found = split_tags(pa.chunked_array([pa.array(texts, pa.string())]), separator="|")
    assert list(zip(found.rows.tolist(), found.tags.to_pylist(), strict=True)) == expected
    assert not found.bad.any()


@given(
    tags=st.lists(st.lists(words, max_size=5), max_size=8),
    entries=st.lists(words.filter(bool), unique=True, max_size=9),
    ignore_case=st.booleans(),
)
@settings(max_examples=200, deadline=None)
def test_ids_are_of_equal_entries(
    tags: list[list[str]], entries: list[str], ignore_case: bool
) -> None:
    def same(one: str) -> str:
        return one.lower() if ignore_case else one

    rows = np.repeat(np.arange(len(tags)), [len(x) for x in tags])
    flat = pa.array([y for x in tags for y in x], pa.string())
    ids = ids_of(flat, entries=entries, ignore_case=ignore_case)
    found = listed_ids(rows, ids, n=len(tags)).to_pylist()
    of: dict[str, int] = {}
    for place, entry in enumerate(entries):
        of.setdefault(same(entry), place)
    assert found == [sorted({of[same(x)] for x in row if same(x) in of}) for row in tags]
    concepts = [place // 2 for place in range(len(entries))]
    shared = listed_ids(
        rows, ids_of(flat, entries=entries, ids=concepts, ignore_case=ignore_case), n=len(tags)
    )
    assert shared.to_pylist() == [sorted({concepts[x] for x in row}) for row in found]
    both = union(pa.chunked_array([shared]), pa.array(found, shared.type))
    expected = [sorted({*x, *y}) for x, y in zip(shared.to_pylist(), found, strict=True)]
    assert both.to_pylist() == expected
