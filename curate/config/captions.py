"""Settings of `captions` and `caption`: further captions of a pair, and which of them is its own."""

from collections.abc import Mapping
from typing import Literal

from pydantic import Field, model_validator

from curate.config.derived import Derived
from curate.config.model import Model
from curate.config.paths import FilesPath

ORIGINAL = "original"
"""The source of a pair's own caption."""
MOST_LENT = 16
"""Captions of its duplicates that a pair has, at most."""


class CaptionSource(Model):
    """Further captions: of a table, of a column of the pool, or of duplicates that dedup drops.

    `original` is the pair's own.
    """

    path: FilesPath | None = Field(
        None,
        description="a table of captions: a file, folder, glob or range in any format of a pool that is"
        " a table. All of its rows with a pair's key are captions of the pair",
    )
    on: Literal["uid", "url"] = Field(
        "uid", description="what the table is joined by: the uid of a pair, or its URL"
    )
    key: str | None = Field(
        None, description="the table's column of uids or URLs; default: as `on` says"
    )
    column: str | None = Field(
        None,
        description="the column of captions, in the table (default: caption), or without one in the"
        " pool",
    )
    duplicates: bool = Field(
        False,
        description="the captions of the pairs that dedup drops for the pair, each text once: at most"
        f" {MOST_LENT}, the first by what decides who stays",
    )
    weight: float | None = Field(
        None,
        ge=0,
        description="share of the draws; default: an equal one, and for `original` what the others"
        " leave of 1. Of a pair without some of the sources the others share what theirs was",
    )


class Alip(Derived):
    """ALIP's gates: the column `caption_weights`, what the loss of each of two captions counts."""

    of: str = Field(
        examples=["ofa"],
        description="the source of the captions that are weighed beside the pairs' own; of several of a"
        " pair the first",
    )
    gamma_sample: float = Field(
        2, gt=0, description="of the gate of the pair, by how its two captions agree"
    )
    gamma_pair: float = Field(
        2, gt=0, description="of the gates of the captions, by how each agrees with the image"
    )


class Caption(Model):
    """Which of a pair's captions is `caption`, and the text in the shards."""

    choose: Literal["all", "draw", "best"] = Field(
        "all",
        description="all: its own, or the first that is left. draw: one by the sources' weights, seeded"
        " by the uid. best: the one with the highest score. The others stand beside it in any case",
    )
    by: str = Field(
        "clip_score", description="with best: clip_score, or the name of a model of score.also"
    )
    join: str | None = Field(
        None,
        min_length=1,
        description="put this between all captions of a pair that are left, its own first: that is the"
        " text in the shards. Rules, scores and the balance go by its own before",
    )
    alip: Alip | None = Field(
        None,
        description="weights for a trainer's two losses, beside the captions; needs score.model",
    )

    @model_validator(mode="after")
    def _joins_all(self) -> "Caption":
        if self.join is not None and self.choose != "all":
            raise ValueError(
                f"join puts all captions together, and choose is {self.choose}: leave one out"
            )
        return self


def weights_of(captions: Mapping[str, CaptionSource]) -> dict[str, float]:
    """The weight of each source, that of the pair's own caption first.

    >>> weights_of({"recap": CaptionSource(path="x", weight=0.5), "title": CaptionSource(column="t")})
    {'original': 0.166666666667, 'recap': 0.5, 'title': 0.333333333333}
    """
    names = [name for name in captions if name != ORIGINAL]
    equal = 1 / (len(names) + 1)
    given = {name: captions[name].weight for name in names}
    weights = {name: equal if weight is None else weight for name, weight in given.items()}
    own = captions[ORIGINAL].weight if ORIGINAL in captions else None
    first = max(0.0, 1 - sum(weights.values())) if own is None else own
    return {name: round(x, 12) for name, x in {ORIGINAL: first, **weights}.items()}
