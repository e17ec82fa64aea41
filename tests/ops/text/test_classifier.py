"""The classifier against fastText itself, on real captions of many languages and on made-up text."""

import gzip
import json
import struct
from pathlib import Path
from typing import Any

import fasttext
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate import files
from curate.errors import CurateError
from curate.ops.text import classifier

LID = "shipped://curate/data/lid.176.ftz"
MULTILINGUAL = Path(__file__).parents[2] / "data" / "multilingual.jsonl.gz"
any_line = st.text(st.characters(codec="utf-8", exclude_characters="\n"), max_size=80)


@pytest.fixture(scope="module")
def model() -> classifier.Classifier:
    return classifier.load(LID)


@pytest.fixture(scope="module")
def library() -> Any:
    return fasttext.load_model(str(files.shipped(LID.removeprefix("shipped://"))))


def predicted(model: classifier.Classifier, lines: list[str]) -> list[str]:
    return [model.labels[i] for i in classifier.predict(model, pa.array(lines, pa.string()))[0]]


def of_library(library: Any, lines: list[str]) -> list[str]:
    return [labels[0].removeprefix("__label__") for labels in library.predict(lines)[0]]


def test_real_captions_of_many_languages(model: classifier.Classifier, library: Any) -> None:
    with gzip.open(MULTILINGUAL, "rt", encoding="utf-8") as file:
        lines = [json.loads(line)["caption"].replace("\n", " ") for line in file]
    found = predicted(model, lines)
    assert found == of_library(library, lines)
    probabilities = np.concatenate(library.predict(lines)[1])
    ours = classifier.predict(model, pa.array(lines))[1]
    np.testing.assert_allclose(ours, np.minimum(probabilities, 1), rtol=1e-6)
    assert ours.min() < 0.2 < 0.99 < ours.max()
    assert len(set(found)) > 25


@given(lines=st.lists(any_line, min_size=1, max_size=8))
@settings(max_examples=300, deadline=None)
def test_any_text(model: classifier.Classifier, library: Any, lines: list[str]) -> None:
    assert predicted(model, lines) == of_library(library, lines)
    found = [x[0] if len(x) else 0 for x in library.predict(lines)[1]]
    ours = classifier.predict(model, pa.array(lines, pa.string()))[1]
    np.testing.assert_allclose(ours, np.minimum(found, 1), rtol=1e-6)


def test_words_that_the_model_treats_in_its_own_way(
    model: classifier.Classifier, library: Any
) -> None:
    lines = ["</s>", "der </s> the the the", "__label__en", "__label__xx Hund", "__label__ Hund",
             "\0\v\f\t\r", "", " ", "a" * 5_000, "\u3000", "ein\0Hund", "de in and la"]  # fmt: skip
    assert predicted(model, lines) == of_library(library, lines)


def test_labels_are_those_of_the_library(model: classifier.Classifier, library: Any) -> None:
    assert model.labels == [label.removeprefix("__label__") for label in library.get_labels()]
    assert model.output.shape == (176, 16)
    assert np.count_nonzero(model.children[:176] >= 0) == 0


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "another loss"])
def test_another_file_is_one_clear_error(tmp_path: Path, damage: str) -> None:
    good = files.read_bytes(LID)
    content = {
        "empty": b"",
        "text": b"hello",
        "cut": good[: len(good) // 2],
        "another loss": good[:32] + struct.pack("<i", 3) + good[36:],
    }[damage]
    path = tmp_path / "model.ftz"
    path.write_bytes(content)
    with pytest.raises(CurateError, match=r"model\.ftz: not a quantised fastText classifier"):
        classifier.load(str(path))
