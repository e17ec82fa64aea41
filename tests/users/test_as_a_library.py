"""What `import curate` gives, with what a user has: lists, pandas, any of Arrow's arrays."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import curate

CAPTIONS = ["a red fox, running", None, "a fox", "redfox", "ein roter Fuchs", ""]
Strings = Callable[[list[Any]], Any]
FORMS: dict[str, Strings] = {
    "list": list,
    "tuple": tuple,
    "generator": lambda x: (one for one in x),
    "numpy": lambda x: np.array(x, object),
    "pandas": pd.Series,
    "pandas with its index": lambda x: pd.Series(x, index=range(7, 7 + len(x))),
    "array": pa.array,
    "large": lambda x: pa.array(x, pa.large_string()),
    "views": lambda x: pa.array(x, pa.string_view()),
    "binary": lambda x: pa.array(x, pa.binary()),
    "dictionary": lambda x: pa.array(x).dictionary_encode(),
    "chunked": lambda x: pa.chunked_array([x[:2], x[2:2], x[2:]], pa.string()),
    "chunked dictionary": lambda x: pa.chunked_array([x[:2], x[2:]], pa.string()).dictionary_encode(),
    "a slice": lambda x: pa.array(["before", *x, "after"])[1:-1],
    "no chunk of large": lambda x: pa.chunked_array([pa.array(x, pa.large_string())]),
}  # fmt: skip


@pytest.mark.parametrize("form", sorted(FORMS))
def test_captions_may_come_in_any_form(form: str) -> None:
    of, arrow = FORMS[form], pa.array(CAPTIONS)
    matcher = curate.Matcher(["red", "red fox", "fox"])
    assert matcher.match(of(CAPTIONS)).to_pylist() == [[0, 1, 2], [], [2], [], [], []]
    assert len(curate.Matcher(of(["red", "red fox", "fox"]), no_space=True)) == 3
    assert curate.pair_uids(of(CAPTIONS), of(CAPTIONS)).equals(curate.pair_uids(arrow, arrow))
    assert np.array_equal(curate.uniform(of(CAPTIONS), seed=3), curate.uniform(arrow, seed=3))
    for unit in ("char", "word"):
        mine = curate.minhash_signatures(of(CAPTIONS), unit=unit)
        assert np.array_equal(mine, curate.minhash_signatures(arrow, unit=unit))


@pytest.mark.parametrize("form", sorted(FORMS))
def test_no_caption_at_all(form: str) -> None:
    assert curate.Matcher(["fox"]).match(FORMS[form]([])).to_pylist() == []


@pytest.mark.parametrize(
    "wrong", ["a fox", b"a fox", 7, None, [1, 2], ["a", 2], pa.array([1]), [["a"]]]
)
def test_what_is_no_list_of_strings_is_said_to_be_none(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"expected (a sequence of str|strings)"):
        curate.Matcher(["fox"]).match(wrong)


MATCHES = [[0, 1, 2], [], None, [2]]
LISTS: dict[str, Strings] = {
    "lists": list,
    "tuples": tuple,
    "sets of ids": lambda x: [one if one is None else np.array(one, np.int64) for one in x],
    "array": lambda x: pa.array(x, pa.list_(pa.int32())),
    "int64": lambda x: pa.array(x, pa.list_(pa.int64())),
    "large list": lambda x: pa.array(x, pa.large_list(pa.int32())),
    "chunked": lambda x: pa.chunked_array([x[:1], x[1:]], pa.list_(pa.int32())),
}  # fmt: skip


@pytest.mark.parametrize("form", sorted(LISTS))
def test_matches_may_be_lists(form: str) -> None:
    probs = curate.entry_probs([120, 3, 40], t=20)
    for given in (probs, list(probs), pa.array(probs)):
        kept = curate.keep_probability(LISTS[form](MATCHES), given)
        np.testing.assert_allclose(kept, [1.0, 0.0, 0.0, 0.5])
    t = curate.t_for_size(LISTS[form](MATCHES), pa.array([120, 3, 40]), size=1.5)
    assert t == pytest.approx(20, rel=0.1)


def test_an_id_without_a_probability_is_no_look_beyond_the_end() -> None:
    for ids in ([3], [-1]):
        with pytest.raises(ValueError, match="but 3 entries"):
            curate.keep_probability([ids], [1, 1, 1])
    with pytest.raises(TypeError, match="a list of entry ids for each pair"):
        curate.keep_probability([1, 2], [1, 1, 1])
    with pytest.raises(ValueError, match="2 URLs, but 1 captions"):
        curate.pair_uids(["a", "b"], ["c"])
