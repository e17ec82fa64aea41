"""Settings of `balance`."""

from typing import Literal

from pydantic import Field, model_validator

from curate.config.model import Fraction, Model, Positive
from curate.schema import MATCHES


def column_of(on: str) -> str:
    """The column with the ids, of a language's entries, that a balance `on` this is of."""
    return on


class Wfpp(Model):
    """Pruning by word frequency (WFPP), which needs no metadata."""

    fraction: Fraction = Field(
        examples=[0.5], description="of the pairs to keep: those whose words are rarest"
    )
    threshold: float = Field(
        1e-7,
        gt=0,
        lt=1,
        description="relative frequency in all captions above which a word counts as frequent",
    )


class SoftCap(Model):
    """Soft cap sampling (FLYT): draws by the softmax of a score that each draw of a pair lowers."""

    size: Positive = Field(examples=[128_000_000], description="draws in all, repeats included")
    column: str = Field(
        examples=["quality"],
        description="the score: a column of numbers, as logits are; a pair without one is not drawn",
    )
    penalty: float = Field(
        0.15, ge=0, description="what is subtracted from a pair's score whenever it is drawn"
    )


class Balance(Model):
    """MetaCLIP balancing by one of `t`, `p` and `size`, or `wfpp` or `soft_cap` in its place."""

    t: float | None = Field(
        None, gt=0, description="matches of an entry above which it is sampled down"
    )
    p: Fraction | None = Field(None, description="share of the matches in the tail")
    size: Positive | None = Field(None, description="expected number of pairs to keep")
    wfpp: Wfpp | None = Field(None, description="prune pairs of frequent words, without metadata")
    soft_cap: SoftCap | None = Field(
        None, description="draw pairs by a score, with repeats: the column `weight`"
    )
    on: str = Field(
        MATCHES,
        description="what is counted and sampled by: `matches`, all entries that the caption holds; or"
        " the name of a score of kind entities, those of them that the image shows",
    )
    reference: str = Field("en", description="the language whose t is given; its p goes to others")
    write: Literal["kept", "all"] = Field(
        "kept",
        description="kept: what the sampling leaves out is dropped. all: every pair is written, with"
        " its `keep_probability`, for a trainer that samples by any t (docs/training.md)",
    )

    @property
    def by_entries(self) -> bool:
        """Whether pairs are sampled by the counts of their entries."""
        return self.wfpp is None and self.soft_cap is None

    @property
    def column(self) -> str:
        """The column with the ids, of a language's entries, that are counted and sampled by."""
        return column_of(self.on)

    @property
    def writes_all(self) -> bool:
        """Whether pairs that the sampling leaves out are written, too."""
        return self.write == "all"

    @property
    def is_online(self) -> bool:
        """Whether it is left to the trainer which pairs are taken, by the counts of their entries."""
        return self.writes_all and self.by_entries

    @model_validator(mode="after")
    def _exactly_one(self) -> "Balance":
        others = sum(x is not None for x in (self.t, self.p, self.size, self.wfpp))
        if self.soft_cap and others:
            raise ValueError("soft_cap stands in the place of t, p, size and wfpp")
        if not self.soft_cap and others != 1:
            raise ValueError("give exactly one of t, p, size and wfpp")
        if not self.by_entries and self.on != MATCHES:
            other = "wfpp" if self.wfpp else "soft_cap"
            raise ValueError(f"on: {self.on} goes with t, p or size: {other} goes by no entries")
        if self.wfpp and self.writes_all:
            raise ValueError(
                "write: all goes with t, p, size or soft_cap: wfpp keeps by rank, not at random"
            )
        return self
