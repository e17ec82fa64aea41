"""Words that images deny, against the text tower's pass over the same captions as the scorer makes it.

The reference embeds captions padded to the model's context, in batches of the same size. The captions
are the demo's; then ones that fill the context, which no tower can be spared. ViT-B-32 has random
weights: nothing can be downloaded here, and the time does not depend on them. Figures are processor
time, the least of some rounds.
"""

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from curate import files
from curate.ops.scores.batch import Batch
from curate.ops.scores.clip import ClipModel
from curate.ops.scores.misaligned import MisalignedWords
from curate.ops.scores.texts import embed_texts, text_tower

SCORER = "shipped://pipelines/demo/scorer/curate-mini"
ROUNDS = 2


def seconds(call: Callable[[], object]) -> float:
    """Processor seconds of a call, the least of `ROUNDS`."""
    found = []
    for _ in range(ROUNDS):
        started = time.process_time()
        call()
        found.append(time.process_time() - started)
    return min(found)


def told(name: str, model: ClipModel, captions: list[str]) -> None:
    """Print both for a model."""
    tower, score = text_tower(model), MisalignedWords(model, "words", -5e-5)
    width = embed_texts(tower, [""]).shape[1]
    drawn = np.random.default_rng(0).normal(size=(len(captions), width)).astype(np.float32)
    batch = Batch(captions, image_embeddings=drawn)
    score(batch)
    plain = seconds(lambda: embed_texts(tower, captions))
    words = seconds(lambda: score(batch))
    each = 1000 / len(captions)
    print(
        f"  {name}: text pass {plain * each:.1f} ms a caption, words {words * each:.1f} ms:"
        f" {words / plain:.2f} of it on top"
    )


def main() -> None:
    """The demo's scorer and ViT-B-32, over captions of the demo and over long ones."""
    import open_clip

    lines = files.shipped("pipelines/demo/pool/pool.jsonl").read_text().splitlines()
    captions = [json.loads(line)["caption"] for line in lines][:96]
    long = ["two dogs and a cat sit in front of an old house " * 8] * 32
    with tempfile.TemporaryDirectory() as folder:
        weights = str(Path(folder, "weights.pt"))
        torch.manual_seed(0)
        torch.save(open_clip.create_model("ViT-B-32").state_dict(), weights)
        for name, model in (
            ("curate-mini", ClipModel(f"{SCORER}.json", f"{SCORER}.safetensors")),
            ("ViT-B-32", ClipModel("ViT-B-32", weights)),
        ):
            told(f"{name}, {len(captions)} captions of the demo", model, captions)
            told(f"{name}, {len(long)} captions beyond the context", model, long)
