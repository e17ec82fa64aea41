"""The embedding of each concept: the mean over its names and templates, as a unit vector."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from curate.concepts.names import Concepts
from curate.config import Scorer
from curate.errors import CurateError
from curate.ops.ahead import together
from curate.ops.scores.devices import visible
from curate.ops.scores.texts import filled
from curate.ops.scores.vectors import Vectors, unit
from curate.planning.asked import clip_model

SLOT = "{}"
"""Where a template has the name."""


def imagenet_templates() -> tuple[str, ...]:
    """OpenAI's templates for ImageNet, as open_clip has them."""
    from open_clip.zero_shot_metadata import OPENAI_IMAGENET_TEMPLATES

    return tuple(template(SLOT) for template in OPENAI_IMAGENET_TEMPLATES)


def check_templates(templates: Sequence[str]) -> None:
    """Raise a CurateError where a template has no place for the name."""
    for template in templates:
        if SLOT not in template:
            raise CurateError(f"--template {template!r}: it needs {SLOT} where the name goes")


def class_prompts(
    scorer: Scorer,
    concepts: Concepts,
    wanted: NDArray[np.int64],
    *,
    templates: Sequence[str],
    seen: Callable[[int, int], None] = lambda done, of: None,
) -> Vectors:
    """The class prompt of each concept of `wanted`, by the model of a run, (wanted, width).

    It is the mean of the unit vectors of all names in all templates, scaled to length 1. `seen` is
    told how many prompts are embedded, and of how many.

    Source: The Neglected Tails in Vision-Language Models (arXiv 2401.12425), section 5.2.
    """
    starts = concepts.starts
    total = int(np.diff(starts)[wanted].sum()) * len(templates)
    # One device, or a thread a processor: a text's embedding does not depend on the others'.
    model = replace(clip_model(scorer), compile=False).on(visible()[0].torch)
    model.drop_images()
    threads = 1 if model.on_gpu else len(os.sched_getaffinity(0))
    seen(0, total)

    def prompts() -> Iterator[tuple[int, str]]:
        for at, concept in enumerate(wanted.tolist()):
            for name in concepts.names[starts[concept] : starts[concept + 1]]:
                yield from ((at, prompt) for prompt in filled(templates, name))

    def batches() -> Iterator[list[tuple[int, str]]]:
        left = prompts()
        while batch := [*islice(left, model.batch_size)]:
            yield batch

    def embed(batch: list[tuple[int, str]]) -> tuple[list[int], Vectors]:
        return [at for at, _ in batch], model(model.collate([], [text for _, text in batch])).text

    sums: NDArray[np.float64] | None = None
    done = 0
    for places, vectors in together(embed, batches(), threads=threads):
        if sums is None:
            sums = np.zeros((len(wanted), vectors.shape[1]))
        np.add.at(sums, places, vectors.astype(np.float64))
        done += len(places)
        seen(done, total)
    return unit(np.zeros((0, 0)) if sums is None else sums)
