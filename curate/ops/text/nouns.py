"""The nouns of captions in English, by a spaCy pipeline."""

from collections.abc import Iterator, Sequence
from functools import lru_cache


class Tagger:
    """A spaCy pipeline by its package's name, without what nouns do not need.

    A noun is a word whose Penn tag begins with NN; it is known by its lemma, whose case is kept.

    Examples
    --------
    >>> list(Tagger("en_core_web_sm").nouns(["Two men and a man see Paris"]))  # doctest: +SKIP
    [['man', 'man', 'Paris']]
    """

    def __init__(self, package: str) -> None:
        import spacy

        self._nlp = spacy.load(package, exclude=["parser", "ner", "senter"])

    def nouns(self, captions: Sequence[str]) -> Iterator[list[str]]:
        """The lemmas of the nouns of each caption, in its order, each as often as it occurs.

        Of a caption that is longer than the pipeline takes, its beginning.
        """
        longest = self._nlp.max_length
        for doc in self._nlp.pipe(caption[:longest] for caption in captions):
            lemmas = (one.lemma_.strip() for one in doc if one.tag_.startswith("NN"))
            yield [lemma for lemma in lemmas if lemma]


@lru_cache(maxsize=1)
def tagger_of(package: str) -> Tagger:
    """The tagger of this process."""
    return Tagger(package)
