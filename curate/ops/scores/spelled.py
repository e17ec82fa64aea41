"""The words of a caption, and which of a model's tokens spell each.

A word is what stands between white space; ``.`` and ``,`` are words of their own. A tokenizer cleans
a text before it cuts it (broken encodings, HTML entities, case), and words are followed through that:
where they are the same, each knows its characters in the caption; where not, they are searched for.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

_WORD = re.compile(r"[.,]|[^\s.,]+")
_KNOWN = 1 << 16  # words whose clean form, and tokens, are kept

_Span = tuple[int, int]


class BytePairs(Protocol):
    """open_clip's own tokenizer, as far as it is read here."""

    pat: Any  # a pattern of the package regex
    byte_encoder: Mapping[int, str]
    encoder: Mapping[str, int]
    eot_token_id: int
    context_length: int
    clean_fn: Callable[[str], str]

    def bpe(self, token: str) -> str:
        """The tokens of a coded word, a space between two."""


@dataclass(frozen=True)
class Word:
    """A word of a caption; `first` and `stop` are the places of its tokens, the first token's being 0.

    `start` and `end` are its characters in the caption, None where cleaning has moved them.
    """

    text: str
    start: int | None
    end: int | None
    first: int
    stop: int

    @property
    def is_punctuation(self) -> bool:
        """Whether it has no other characters than punctuation."""
        return all(unicodedata.category(char)[0] == "P" for char in self.text)


class Speller:
    """Finds the words of captions that stand behind a `prefix`, as a tokenizer reads the two together.

    Examples
    --------
    >>> from open_clip.tokenizer import SimpleTokenizer
    >>> found = Speller(SimpleTokenizer(), prefix="A photo depicts ").words("Two dachshunds, asleep")
    >>> [(word.text, word.start, word.first, word.stop) for word in found]
    [('Two', 0, 4, 5), ('dachshunds', 4, 5, 8), (',', 14, 8, 9), ('asleep', 16, 9, 10)]
    """

    def __init__(self, tokenizer: BytePairs, *, prefix: str) -> None:
        self._tokenizer = tokenizer
        self._prefix = prefix
        self._clean = lru_cache(_KNOWN)(tokenizer.clean_fn)
        self._pieces = lru_cache(_KNOWN)(self._pieces_of)

    def words(self, caption: str) -> list[Word]:
        """The words that have a token, in order; the prefix's are left out.

        Places count the token that begins a text. A token that spells the end of one word and the
        beginning of the next (as in ``),``) is of the first. What is beyond the model's context, or
        behind an end of text that the caption spells out, is left out, too: of a word, its tokens.
        """
        text = self._prefix + caption
        cleaned = self._tokenizer.clean_fn(text)
        places, spans = self._followed(text, cleaned)
        first, stop = [0] * len(spans), [0] * len(spans)
        word, token = -1, 0
        for match in self._tokenizer.pat.finditer(cleaned):
            for piece, offset in self._pieces(match[0]):
                token += 1
                if piece == self._tokenizer.eot_token_id or (
                    token > self._tokenizer.context_length - 2
                ):
                    return self._told(caption, cleaned, places, spans, first, stop)
                at = word
                while at + 1 < len(spans) and spans[at + 1][0] <= match.start() + offset:
                    at += 1
                if at != word:
                    word, first[at] = at, token
                stop[word] = token + 1
        return self._told(caption, cleaned, places, spans, first, stop)

    def _told(
        self,
        caption: str,
        cleaned: str,
        places: list[_Span | None],
        spans: list[_Span],
        first: list[int],
        stop: list[int],
    ) -> list[Word]:
        before = len(self._prefix)
        own = len(_WORD.findall(self._prefix))
        found = []
        for at in range(own, len(spans)):
            if not stop[at]:
                continue
            place = places[at]
            if place is None:
                word = Word(cleaned[slice(*spans[at])], None, None, first[at], stop[at])
            else:
                start, end = place[0] - before, place[1] - before
                word = Word(caption[start:end], start, end, first[at], stop[at])
            found.append(word)
        return found

    def _followed(self, text: str, cleaned: str) -> tuple[list[_Span | None], list[_Span]]:
        """The characters of each word in `text`, and in `cleaned`."""
        words: list[_Span | None] = []
        spans: list[_Span] = []
        built: list[str] = []
        last = end = 0
        for match in _WORD.finditer(text):
            form = self._clean(match[0])
            if not form:
                continue
            if built and match.start() > last:
                built.append(" ")
                end += 1
            built.append(form)
            words.append(match.span())
            spans.append((end, end + len(form)))
            last, end = match.end(), end + len(form)
        if "".join(built) == cleaned:
            return words, spans
        spans = [match.span() for match in _WORD.finditer(cleaned)]
        lowered, at = text.lower(), 0
        words = []
        for start, end in spans:
            found = (
                lowered.find(cleaned[start:end].lower(), at) if len(lowered) == len(text) else -1
            )
            words.append((found, found + end - start) if found >= 0 else None)
            at = max(at, found + end - start)
        return words, spans

    def _pieces_of(self, text: str) -> tuple[tuple[int, int], ...]:
        """The tokens of one match of the tokenizer's pattern, each with its first character's place."""
        tokenizer = self._tokenizer
        chars = [at for at, char in enumerate(text) for _ in char.encode()]
        coded = "".join(tokenizer.byte_encoder[byte] for byte in text.encode())
        found, byte = [], 0
        for piece in tokenizer.bpe(coded).split(" "):
            found.append((tokenizer.encoder[piece], chars[byte]))
            byte += len(piece.removesuffix("</w>"))
        return tuple(found)
