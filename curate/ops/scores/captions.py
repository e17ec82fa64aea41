"""What a caption says, by a parser of English and a classifier of profanity.

CAT (DiHT, arXiv 2301.02280, section 3.1) asks of a caption a relation on an object and an action. Its
parser is not public; here spaCy's dependency tree is read with these rules:

- an *object* is a noun or a name;
- a *relation* on it is an attribute (adjective, participle, number, noun of a compound excepted), a
  verb that it is the subject or object of, or a preposition that ties it to another object or verb;
- an *action* is a verb, participles included, that is no auxiliary and no copula.
"""

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from curate.ops.scores.batch import Batch

if TYPE_CHECKING:
    from spacy.tokens import Doc, Token

_OBJECTS = frozenset({"NOUN", "PROPN"})
_ATTRIBUTES = frozenset({"amod", "acl", "nummod", "acomp", "relcl"})
_OF_VERB = frozenset({"nsubj", "nsubjpass", "dobj", "dative", "agent", "attr"})


def count(doc: "Doc") -> tuple[int, int]:
    """The most relations on one object of a parsed caption, and its actions."""
    relations: dict[int, int] = {}

    def relate(token: "Token") -> None:
        if token.pos_ in _OBJECTS:
            relations[token.i] = relations.get(token.i, 0) + 1

    actions = 0
    for token in doc:
        if token.pos_ == "VERB" and token.dep_ not in ("aux", "auxpass"):
            actions += 1
        if token.dep_ in _ATTRIBUTES:
            relate(token.head)
            if token.dep_ == "acomp":  # "the car is red": of the verb's subject
                for other in token.head.lefts:
                    relate(other)
        elif token.dep_ in _OF_VERB and token.head.pos_ in ("VERB", "AUX"):
            relate(token)
        elif token.dep_ == "pobj":
            relate(token)
            relate(token.head.head)
    return max(relations.values(), default=0), actions


class Parser:
    """A spaCy pipeline by its package's name; the counts of its last captions are cached.

    Examples
    --------
    >>> Parser("en_core_web_sm").counts(["a dog chases a ball"])  # doctest: +SKIP
    array([[1., 1.]], dtype=float32)
    """

    def __init__(self, package: str) -> None:
        import spacy

        self._nlp = spacy.load(package, exclude=["ner", "lemmatizer", "senter"])
        self.counts = lru_cache(maxsize=1)(self._counts)

    def _counts(self, captions: tuple[str, ...]) -> NDArray[np.float32]:
        found = [count(doc) for doc in self._nlp.pipe(captions)]
        return np.array(found, np.float32).reshape(-1, 2)


@lru_cache(maxsize=2)
def parser_of(package: str) -> Parser:
    """The parser of this process."""
    return Parser(package)


class _Parsed:
    """A count of each caption; asked for a whole part at once, so that both counts share one pass."""

    reads = ()
    batch_size = 1_000_000
    _at: int

    def __init__(self, parser: str) -> None:
        self._parser = parser_of(parser)

    def __call__(self, batch: Batch) -> NDArray[np.float32]:
        """Counts, shape (n,)."""
        return self._parser.counts(tuple(batch.captions))[:, self._at]


class Relations(_Parsed):
    """The most relations on one object of each caption."""

    _at = 0


class Actions(_Parsed):
    """The number of actions in each caption."""

    _at = 1


class Profanity:
    """The probability that a caption is profane, by alt-profanity-check (English)."""

    reads = ()
    batch_size = 1_000_000

    def __call__(self, batch: Batch) -> NDArray[np.float32]:
        """Probabilities, shape (n,)."""
        from profanity_check import predict_prob

        return np.asarray(predict_prob(list(batch.captions)), np.float32)
