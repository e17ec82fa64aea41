"""Which caption of a pair a trainer takes in an epoch, and what each of two counts in its losses."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from curate.config import ORIGINAL
from curate.errors import CurateError
from curate.loading.samples import Sample, captions_of, columns_of
from curate.ops import captions as ops
from curate.ops.selection.sampling import seed_of
from curate.schema import CAPTION_WEIGHTS


@dataclass(frozen=True)
class draw_caption:  # noqa: N801 - a stage, as webdataset's own are called
    """A WebDataset stage that gives each pair one of its captions, another one each epoch: `txt`.

    The shards are of a run with `captions`. What a pair is given follows from its uid, the epoch and
    the seed: it is the same in every process, and whatever stands beside the pair.

    Parameters
    ----------
    rule
        ``weights``: by the weights of the sources. In epoch 0, with the run's seed and weights, that
        is what ``caption.choose: draw`` chose. ``laclip``: the original or one of the others, all
        alike; one of fewer than two words counts as the original (LaCLIP). ``turns``: one after the
        other, an epoch each, from one on that is drawn (VeCLIP, of an original and an enriched one).
    weights
        Of the sources, in place of those of the run; one that is not named has none. A pair that has
        captions without a weight alone is given one of these.
    epoch
        The epoch, or a function that tells it, as for `resample`.
    seed
        Of the draws.
    """

    rule: Literal["weights", "laclip", "turns"] = "weights"
    weights: Mapping[str, float] | None = None
    epoch: int | Callable[[], int] = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.rule not in ("weights", "laclip", "turns"):
            raise CurateError(f"draw_caption: expected weights, laclip or turns, not {self.rule!r}")
        if self.weights is not None and self.rule != "weights":
            raise CurateError(f"draw_caption: {self.rule} takes no weights")
        for source, weight in (self.weights or {}).items():
            if not 0 <= weight < float("inf"):
                raise CurateError(f"draw_caption: the weight of {source} is {weight}")

    def __call__(self, samples: Iterable[Sample]) -> Iterator[Sample]:
        """The samples as they come, each with the caption of the epoch."""
        epoch = self.epoch() if callable(self.epoch) else self.epoch
        for sample in samples:
            text = self.of(columns_of(sample), epoch=epoch)
            key = ".txt" if ".txt" in sample else "txt"
            as_bytes = isinstance(sample.get(key), bytes)
            yield {**sample, key: text.encode() if as_bytes else text}

    def of(self, pair: Mapping[str, Any], *, epoch: int) -> str:
        """The caption of a pair in an epoch, given what its JSON, or its row in the parquet, holds.

        Raises
        ------
        CurateError
            Where it has no list of captions.
        """
        known = captions_of(pair)
        at = ops.draws([pair["uid"]], seed=seed_of(self.seed, epoch=epoch))
        if self.rule == "turns":
            first = ops.draws([pair["uid"]], seed=self.seed)[0]
            return str(known[(int(first * len(known)) + epoch) % len(known)]["caption"])
        shares = np.full(len(known), 1 / len(known))
        if self.rule == "weights":
            shares = self._shares(known)
        chosen = known[ops.drawn(shares, np.array([0, len(known)]), at=at)[0]]
        if self.rule == "laclip" and len(chosen["caption"].split(" ")) < _FEWEST_WORDS:
            chosen = next((x for x in known if x["source"] == ORIGINAL), pair)
        return str(chosen["caption"])

    def _shares(self, known: list[dict[str, Any]]) -> NDArray[np.float64]:
        if self.weights is None:
            return np.array([x["weight"] for x in known])
        names = list(dict.fromkeys(x["source"] for x in known))
        sources = np.array([names.index(x["source"]) for x in known])
        of = np.array([self.weights.get(name, 0.0) for name in names])
        all_ = np.ones(len(known), bool)
        return ops.weights(sources, np.zeros(len(known), np.int64), all_, of=of)


_FEWEST_WORDS = 2
"""Of a rewritten caption that LaCLIP takes; they are what stands between spaces, as in its code."""


@dataclass(frozen=True)
class weigh_captions:  # noqa: N801 - a stage, as webdataset's own are called
    """A WebDataset stage that gives each pair both captions of ALIP's gates, and what each counts.

    The shards are of a run with ``caption: {alip: …}``. A sample has `txt`, the pair's own caption,
    ``caption.txt``, the other one, and ``weights.json``, a list of two numbers: what the loss of the
    image with the one, and that with the other, is multiplied by before the mean over the batch. Of
    a pair that has but one of the two it stands in both places: it counts 1 in its own, and 0 in the
    other.
    """

    def __call__(self, samples: Iterable[Sample]) -> Iterator[Sample]:
        """The samples as they come, each with two captions and their weights."""
        for sample in samples:
            texts, weights = self.of(columns_of(sample))
            dot = "." if ".txt" in sample else ""
            as_bytes = isinstance(sample.get(f"{dot}txt"), bytes)
            first, second = (text.encode() if as_bytes else text for text in texts)
            numbers = json.dumps(weights).encode() if as_bytes else list(weights)
            found = {"txt": first, "caption.txt": second, "weights.json": numbers}
            yield sample | {f"{dot}{name}": value for name, value in found.items()}

    def of(self, pair: Mapping[str, Any]) -> tuple[tuple[str, str], tuple[float, float]]:
        """Both captions of a pair and their weights, given what its JSON, or its row, holds.

        Raises
        ------
        CurateError
            Where it has no list of captions, or these have no weights.
        """
        known = captions_of(pair)
        if pair.get(CAPTION_WEIGHTS) is None:
            raise CurateError(
                f"sample {pair.get('key')}: no {CAPTION_WEIGHTS} in its json; the shards are not of a"
                " run with caption.alip"
            )
        weighed = [
            (one["caption"], float(weight))
            for one, weight in zip(known, pair[CAPTION_WEIGHTS], strict=True)
            if weight is not None
        ]
        if len(weighed) == 2:
            (own, first), (other, second) = weighed
            return (own, other), (first, second)
        only = str(known[0]["caption"])
        is_own = known[0]["source"] == ORIGINAL
        return (only, only), (float(is_own), float(not is_own))
