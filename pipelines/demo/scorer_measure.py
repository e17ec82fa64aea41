"""How well the demo's scorer tells matched captions from shuffled ones."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from open_clip import CLIP
from scorer_pairs import MEASURED_LANGUAGES, Pair
from scorer_text import Corpus, encode_rows
from torch.nn import functional

SHUFFLES = 10


@dataclass(frozen=True, kw_only=True)
class Indexed:
    """Pairs as rows: of the feature matrix, of the corpus, and of concepts."""

    pictures: torch.Tensor
    captions: torch.Tensor
    concepts: torch.Tensor


def image_vectors(model: CLIP, features: torch.Tensor, *, dropout: float) -> torch.Tensor:
    """Unit vectors of trunk features through the model's image head."""
    kept = functional.dropout(features, dropout, training=dropout > 0)
    return functional.normalize(model.visual.head(kept), dim=-1)


@torch.inference_mode()
def measure(
    model: CLIP,
    *,
    pairs: Sequence[Pair],
    indexed: Indexed,
    features: torch.Tensor,
    corpus: Corpus,
) -> dict[str, float]:
    """AUC of matched against shuffled captions for every source and language of held-out pairs."""
    figures: dict[str, float] = {}
    for source in ("tuxpaint", "openclipart", "emoji"):
        for language in ("en", *MEASURED_LANGUAGES):
            chosen = [
                pair.held_out and (pair.source, pair.language) == (source, language)
                for pair in pairs
            ]
            rows = torch.tensor(chosen).nonzero().squeeze(1)
            if not len(rows):
                continue
            images = image_vectors(model, features[indexed.pictures[rows]], dropout=0.0)
            texts = encode_rows(model, indexed.captions[rows], corpus=corpus)
            similarity = images @ texts.T
            concepts = indexed.concepts[rows]
            figures[f"{source} {language}"] = round(shuffled_auc(similarity, concepts=concepts), 3)
    return figures


def shuffled_auc(similarity: torch.Tensor, *, concepts: torch.Tensor) -> float:
    """Chance that a matched pair scores above a shuffled one of another concept.

    >>> shuffled_auc(torch.eye(4), concepts=torch.arange(4))
    1.0
    """
    generator = torch.Generator().manual_seed(0)
    rows = torch.arange(len(concepts))
    shuffled: list[torch.Tensor] = []
    for _ in range(SHUFFLES):
        order = torch.randperm(len(concepts), generator=generator)
        shuffled.append(similarity[rows, order][concepts != concepts[order]])
    negatives = torch.cat(shuffled).sort().values
    below = torch.searchsorted(negatives, similarity.diagonal().contiguous())
    up_to = torch.searchsorted(negatives, similarity.diagonal().contiguous(), right=True)
    return float((below + up_to).double().mean() / (2 * len(negatives)))
