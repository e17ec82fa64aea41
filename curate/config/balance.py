"""Settings of `balance`."""

from typing import Literal

from pydantic import Field, model_validator

from curate.config.model import Fraction, Model, Positive
from curate.schema import BOTH, MATCHES, TAGS

OF_TAGS = {"tags": TAGS, "both": BOTH}
"""What a balance may be `on` where the pool has tags, and the column of each."""


def column_of(on: str) -> str:
    """The column with the ids, of a language's entries, that a balance `on` this is of."""
    return OF_TAGS.get(on, on)


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


class Adaptive(Model):
    """Adaptive rebalancing (ADR): entities of a pair from several perspectives, each by its share.

    Of a perspective, tau is the count with which its entities, most frequent first, reach the share of
    all occurrences; an entity that occurs f times passes with tau / f, a perspective if any of its
    entities does.
    """

    entries: Fraction | None = Field(
        None, examples=[0.9], description="share of the entries that captions match"
    )
    pairs: Fraction | None = Field(
        None, examples=[0.75], description="share of the pairs of entries that a caption matches"
    )
    nouns: Fraction | None = Field(
        None, examples=[0.9], description="share of the nouns, of captions in English"
    )
    n_p: int = Field(0, ge=0, description="perspectives of which more have to pass")
    alpha: float = Field(
        1.0, gt=0, le=1, description="with which a pair stays of which enough perspectives pass"
    )
    parser: str = Field(
        "en_core_web_sm",
        pattern=r"^en_\w+$",
        description="package of the spaCy pipeline that finds nouns; it has to be one of English",
    )

    @property
    def perspectives(self) -> tuple[str, ...]:
        """The names of those that are asked for."""
        return tuple(x for x in ("entries", "pairs", "nouns") if getattr(self, x) is not None)

    @property
    def matched(self) -> bool:
        """Whether it is of matched entries, too."""
        return self.entries is not None or self.pairs is not None

    @model_validator(mode="after")
    def _enough(self) -> "Adaptive":
        if not self.perspectives:
            raise ValueError("give at least one of entries, pairs and nouns a share")
        if self.n_p >= (n := len(self.perspectives)):
            raise ValueError(
                f"n_p {self.n_p}: no pair stays, as more than {self.n_p} of {n} perspectives would"
                f" have to pass; give {n - 1} at most"
            )
        return self


class Balance(Model):
    """MetaCLIP balancing by one of `t`, `p` and `size`, or another one in its place."""

    t: float | None = Field(
        None, gt=0, description="matches of an entry above which it is sampled down"
    )
    p: Fraction | None = Field(None, description="share of the matches in the tail")
    size: Positive | None = Field(None, description="expected number of pairs to keep")
    wfpp: Wfpp | None = Field(None, description="prune pairs of frequent words, without metadata")
    soft_cap: SoftCap | None = Field(
        None, description="draw pairs by a score, with repeats: the column `weight`"
    )
    adaptive: Adaptive | None = Field(
        None, description="sample by how frequent entries, pairs of them and nouns are (ADR)"
    )
    on: str = Field(
        MATCHES,
        description="what is counted and sampled by: `matches`, all entries that the caption holds;"
        " `tags`, those that are tags of the pair (input.columns.tags); `both`; or the name of a score"
        " of kind entities, those of the matches that the image shows",
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
        return self.wfpp is None and self.soft_cap is None and self.adaptive is None

    @property
    def counts_entries(self) -> bool:
        """Whether the pairs that match each entry are counted."""
        return self.by_entries or (self.adaptive is not None and self.adaptive.entries is not None)

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
        for name, asked in (("soft_cap", self.soft_cap), ("adaptive", self.adaptive)):
            if asked and others:
                raise ValueError(f"{name} stands in the place of t, p, size and wfpp")
        if self.soft_cap and self.adaptive:
            raise ValueError("give one of soft_cap and adaptive")
        if not (self.soft_cap or self.adaptive) and others != 1:
            raise ValueError("give exactly one of t, p, size and wfpp")
        if not self.by_entries and self.on != MATCHES:
            if self.adaptive:
                raise ValueError(
                    f"on: {self.on} goes with t, p or size: adaptive goes by all matches"
                )
            other = "wfpp" if self.wfpp else "soft_cap"
            raise ValueError(f"on: {self.on} goes with t, p or size: {other} goes by no entries")
        if self.wfpp and self.writes_all:
            raise ValueError(
                "write: all goes with t, p, size or soft_cap: wfpp keeps by rank, not at random"
            )
        if self.adaptive and self.writes_all:
            raise ValueError(
                "write: all goes with t, p, size or soft_cap: a trainer samples by t, and adaptive has"
                " none; leave write out"
            )
        return self
