"""The protocol of scores: what one may give, how a mistake is told, what becomes of failures."""

from collections.abc import Mapping
from inspect import isclass, signature
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pytest

import curate
from curate.config import FurtherScore
from curate.errors import CurateError
from curate.imported import imported
from curate.ops.scores.batch import EMBEDDINGS, IMAGE, Batch
from curate.ops.scores.kinds import KINDS, builtin
from curate.ops.scores.scoring import Loaded, ScoreSpec

COLUMNS = pa.schema(
    [("number", pa.float32()), ("whole", pa.int64()), ("flag", pa.bool_()), ("text", pa.string())]
)
GOOD: dict[str, object] = {
    "number": [1, 2.5],
    "whole": [3, None],
    "flag": [True, False],
    "text": ["a", None],
}


def giving(found: object) -> Loaded:
    return Loaded(ScoreSpec("scores.mine", f"{__name__}:gives", COLUMNS, options={"found": found}))


def gives(batch: Batch, found: object) -> object:
    return found


def halves(batch: Batch, of: Mapping[str, int]) -> list[float]:
    """The lengths of captions, which must not be empty; those that were asked for are counted."""
    seen.append(len(batch))
    return [of["all"] / len(caption) for caption in batch.captions]


seen: list[int] = []


@pytest.fixture(autouse=True)
def none_seen() -> None:
    seen.clear()


@pytest.mark.parametrize(
    "form",
    [
        GOOD,
        {name: tuple(values) for name, values in GOOD.items()},  # type: ignore[arg-type]
        {**GOOD, "number": np.array([1, 2.5]), "flag": np.array([True, False])},
        {**GOOD, "number": [np.float64(1), np.array(2.5)], "flag": [np.bool_(True), False]},
        {**GOOD, "number": pa.array([1, 2.5]), "text": pa.array(["a", None])},
    ],
)
def test_columns_in_whatever_holds_values(form: object) -> None:
    found = giving(form)(Batch(["x", "y"]))
    assert found.schema.names == [*COLUMNS.names, "error", "detail"]
    assert found.select(COLUMNS.names).to_pydict() == GOOD
    assert found["error"].null_count == 2


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"number": [1.0]}, "expected 2 values of float for 'number', it gave 1"),
        ({"number": 1.0}, "expected 2 values of float for 'number', it gave float"),
        ({"number": np.ones((2, 1))}, "for 'number', it gave [1.0] (list)"),
        ({"number": ["1", "2"]}, "for 'number', it gave '1' (str)"),
        ({"number": [True, False]}, "for 'number', it gave True (bool)"),
        ({"whole": [1.5, 2]}, "expected 2 values of int64 for 'whole', it gave 1.5 (float)"),
        ({"whole": [2**70, 2]}, "for 'whole', it gave a value that cannot be stored"),
        ({"flag": [1, 0]}, "expected 2 values of bool for 'flag', it gave 1 (int)"),
        ({"text": [b"a", b"b"]}, "expected 2 values of string for 'text', it gave b'a' (bytes)"),
        ({"text": ["a", "\ud800"]}, "for 'text', it gave a value that cannot be stored"),
        ({"text": "ab"}, "for 'text', it gave str"),
        ({"more": [1, 2]}, "expected no other columns than number, whole, flag, text, it gave 'more'"),
    ],
)  # fmt: skip
def test_what_is_not_what_was_declared_is_named(change: dict[str, object], told: str) -> None:
    with pytest.raises(CurateError) as raised:
        giving(GOOD | change)(Batch(["x", "y"]))
    assert f"scores.mine: {__name__}:gives: " in str(raised.value)
    assert told in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_column_that_is_missing_and_one_column_for_several_are_named() -> None:
    rest = {name: values for name, values in GOOD.items() if name != "flag"}
    with pytest.raises(CurateError, match="a column 'flag', it gave one with number, whole, text"):
        giving(rest)(Batch(["x", "y"]))
    with pytest.raises(CurateError, match="a mapping with number, whole, flag, text, it gave list"):
        giving([1, 2])(Batch(["x", "y"]))


def test_what_is_not_finite_is_an_error_of_the_pair_and_none_is_not() -> None:
    found = giving(GOOD | {"number": [float("nan"), None]})(Batch(["x", "y"]))
    assert found["error"].to_pylist() == ["score_not_finite", None]
    assert found["detail"].to_pylist() == ["scores.mine: number is nan", None]


def test_a_pair_that_fails_fails_alone() -> None:
    spec = ScoreSpec("scores.half", f"{__name__}:halves", pa.schema([("half", pa.float64())]),
                     options={"of": {"all": 1}})  # fmt: skip
    found = spec.load()(Batch(["ab", "", "abcd"]))
    assert found["half"].to_pylist() == [0.5, None, 0.25]
    assert found["error"].to_pylist() == [None, "score_failed", None]
    told = found["detail"][1].as_py()
    assert told.startswith(f"scores.half: {__name__}:halves: ZeroDivisionError: ")
    assert "test_scoring.py, line" in told
    assert seen == [3, 1, 1, 1]
    assert spec.load() is spec.load()


def test_a_score_that_fails_for_every_pair_is_given_up() -> None:
    spec = ScoreSpec("scores.half", f"{__name__}:halves", pa.schema([("half", pa.float64())]),
                     options={"of": {"all": 1}})  # fmt: skip
    with pytest.raises(CurateError, match="fails for every pair: ZeroDivisionError"):
        Loaded(spec)(Batch([""] * 100))
    assert len(seen) < 20
    loaded = Loaded(spec)
    assert loaded(Batch(["a"]))["half"].to_pylist() == [1]
    assert loaded(Batch([""] * 100))["half"].null_count == 100  # it works for others


class Fails:
    def __init__(self, why: str) -> None:
        raise OSError(why)

    def __call__(self, batch: Batch) -> list[float]:
        return []


def test_one_that_cannot_be_constructed_says_why() -> None:
    spec = ScoreSpec("scores.bad", f"{__name__}:Fails", pa.schema([("bad", pa.float32())]),
                     options={"why": "no such file: weights.pt"})  # fmt: skip
    told = f"scores.bad: {__name__}:Fails cannot be loaded: OSError: no such file: weights.pt"
    with pytest.raises(CurateError, match=told):
        spec.load()


@pytest.mark.parametrize("kind", sorted(KINDS.keys() - {"entities"}))  # it has a step of its own
def test_each_kind_of_the_projects_own_is_such_a_score(kind: str) -> None:
    """A class that says what it reads; what it gives is asserted where its package is installed."""
    found = imported(KINDS[kind].call, key="scores.x")
    assert isclass(found)
    assert list(signature(found.__call__).parameters) == ["self", "batch"]
    spec = builtin(kind, name="x")
    assert KINDS[kind].beside == (not EMBEDDINGS.isdisjoint(spec.reads) and kind != "head")
    assert spec.columns.field(0) == pa.field("x", pa.float32())
    assert set(spec.reads) <= {IMAGE, *EMBEDDINGS}
    assert spec.batch_size > 0
    assert kind in get_args(FurtherScore.model_fields["kind"].annotation)


def asks_for_images(batch: Batch) -> list[float]:
    return [float(image.mean()) for image in batch.images]


def asks_for_a_column(batch: Batch) -> object:
    return batch.columns["nsfw"]


def opens(batch: Batch) -> list[str]:
    return [open(caption).read() for caption in batch.captions]


@pytest.mark.parametrize(
    ("name", "given", "told"),
    [
        ("asks_for_images", {}, "batch.images, but `reads` does not name 'image': let it say"
         " `reads = ('image',)`"),
        ("asks_for_a_column", {"images": [np.zeros((2, 2, 3), np.uint8)] * 2},
         "batch.columns['nsfw'], but `reads` does not name 'nsfw': let it say"
         " `reads = ('image', 'nsfw')`"),
    ],
)  # fmt: skip
def test_what_reads_does_not_name_is_told_where_it_is_asked_for(
    name: str, given: dict[str, Any], told: str
) -> None:
    spec = ScoreSpec("scores.mine", f"{__name__}:{name}", pa.schema([("mine", pa.float64())]))
    batch = Batch(["a", "b"], **given)
    assert list(batch.columns) == []
    for asked in (batch, batch[:1]):
        with pytest.raises(CurateError) as raised:
            Loaded(spec)(asked)
        assert str(raised.value) == f"scores.mine: {__name__}:{name}: it asks for {told}"


def test_a_batch_is_made_by_hand_and_cut() -> None:
    vectors = np.eye(2, dtype=np.float32)
    batch = curate.Batch(["a", "b"], columns={"width": [1, 2]}, text_embeddings=vectors)[1:]
    assert (len(batch), batch.captions, batch.columns["width"]) == (1, ["b"], [2])
    assert batch.text_embeddings.tolist() == [[0, 1]]


def test_a_file_that_is_not_there_is_told_with_what_to_give(tmp_path: Path) -> None:
    spec = ScoreSpec("scores.file", f"{__name__}:opens", pa.schema([("file", pa.string())]))
    loaded = Loaded(spec)
    (tmp_path / "there").write_text("x")
    found = loaded(Batch([str(tmp_path / "there"), "none.txt", str(tmp_path / "none.txt")]))
    told = found["detail"].to_pylist()
    assert told[1].endswith("working directory: give an absolute path or a URL")
    assert told[2].endswith(")")
