"""A rule of `select`."""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field, model_validator

from curate.config.model import Model, Positive
from curate.config.paths import FilePath

_CLUSTERS = "drop_clusters"


class Rule(Model):
    """Keeps the pairs whose `column` satisfies all given conditions; a null satisfies none.

    `any_of` and `all_of` hold further rules in place of a column, and need a `name`.
    """

    name: str = Field("", description="in the ledger; default: the column")
    column: str | None = Field(
        None, description="the column to judge; docs/reference.md lists them"
    )
    min: float | None = Field(None, description="lowest value to keep")
    max: float | None = Field(None, description="highest value to keep")
    between: tuple[float, float] | None = Field(None, description="lowest and highest to keep")
    in_: tuple[bool | str | int | float, ...] | None = Field(
        None, alias="in", description="values to keep"
    )
    not_in: tuple[bool | str | int | float, ...] | None = Field(
        None, description="values not to keep"
    )
    same_as: str | None = Field(
        None,
        description="keep where this other column has the same value, such as a hash of the pool's",
    )
    matches: str | None = Field(
        None,
        min_length=1,
        description="keep texts in which this regular expression (RE2) is found anywhere; ^ and $ for"
        " the whole text, (?i) for any case",
    )
    not_matches: str | None = Field(
        None, min_length=1, description="keep texts in which it is found nowhere"
    )
    contains_any: FilePath | None = Field(
        None,
        min_length=1,
        description="keep texts with a word or phrase of this list, one a line or a JSON array: white"
        "-space separated words, whatever their case, one after the other",
    )
    in_file: FilePath | None = Field(
        None,
        min_length=1,
        description="keep the values in this list: one a line, or a .csv or .tsv with a column of the"
        " column's name; of one with a column `keep`, those with yes there",
    )
    not_in_file: FilePath | None = Field(
        None,
        min_length=1,
        description="keep what is not in such a list; of a table with a column `drop`, those with yes"
        " there are dropped. With the column visual_cluster: clusters that somebody has looked at",
    )
    drop_clusters: FilePath | None = Field(
        None,
        min_length=1,
        description="in short for the column visual_cluster with not_in_file: the clusters of images"
        " that this list names are dropped",
    )
    top_fraction: float | None = Field(
        None, gt=0, le=1, description="of the pairs that reach the stage, highest first"
    )
    top: Positive | None = Field(
        None,
        description="so many of the pairs that reach the stage, highest first; of equal ones the same"
        " ones on every run, by a hash of the uid",
    )
    per: str | None = Field(
        None,
        description="take top_fraction, or top, of each group with the same value in this column",
    )
    every: Positive | None = Field(
        None, description="keep whole numbers that this divides: with cluster_rank every N-th pair"
    )
    any_of: tuple["Rule", ...] | None = Field(
        None, description="rules of which one has to hold, in place of a column"
    )
    all_of: tuple["Rule", ...] | None = Field(
        None, description="rules that all have to hold, in place of a column"
    )

    @model_validator(mode="before")
    @classmethod
    def _in_full(cls, given: object) -> object:
        if not isinstance(given, dict) or given.get(_CLUSTERS) is None:
            return given
        full = {"name": _CLUSTERS, **given}
        url = full.pop(_CLUSTERS)
        if {"column", "not_in_file"} & given.keys():
            raise ValueError("drop_clusters stands for `column` and not_in_file: give it alone")
        return {**full, "column": "visual_cluster", "not_in_file": url}

    @model_validator(mode="after")
    def _something(self) -> "Rule":
        conditions = (
            self.min, self.max, self.between, self.in_, self.not_in, self.same_as, self.matches,
            self.not_matches, self.contains_any, self.in_file, self.not_in_file, self.top_fraction,
            self.top, self.every,
        )  # fmt: skip
        given = [condition for condition in conditions if condition is not None]
        forms = [self.column, self.any_of, self.all_of]
        if sum(form is not None for form in forms) != 1 or (given and self.column is None):
            raise ValueError("a rule is over one `column`, or else has one of any_of and all_of")
        if self.column is not None and not given:
            raise ValueError(
                "a rule needs one of min, max, between, in, not_in, same_as, matches, not_matches,"
                " contains_any, in_file, not_in_file, top_fraction, top, every (or any_of, all_of)"
            )
        if self.per is not None and self.top_fraction is None and self.top is None:
            raise ValueError("`per` needs top_fraction or top, whose groups it names")
        for low, high, what in ((self.min, self.max, "min {} is over max {}"),
                                (*(self.between or (None, None)), "between {} and {}")):  # fmt: skip
            if low is not None and high is not None and low > high:
                raise ValueError(f"{what.format(f'{low:g}', f'{high:g}')}: nothing could be kept")
        for key, rules in (("any_of", self.any_of), ("all_of", self.all_of)):
            if rules is not None and not rules:
                raise ValueError(f"{key} holds no rule")
            for rule in rules or ():
                if rule.name not in ("", _CLUSTERS):
                    raise ValueError(
                        f"{rule.name!r} is inside {key}: only the outer rule has a name"
                    )
        return self

    @property
    def label(self) -> str:
        """The rule's name in the ledger."""
        return self.name or self.column or ""

    def leaves(self) -> Iterator["Rule"]:
        """The rules over one column in this rule, or the rule itself."""
        if self.column is not None:
            yield self
        for rule in (*(self.any_of or ()), *(self.all_of or ())):
            yield from rule.leaves()

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the rule reads, those of `per` and `same_as` included."""
        named = [name for leaf in self.leaves() for name in (leaf.column, leaf.same_as, leaf.per)]
        return tuple(dict.fromkeys(name for name in named if name is not None))

    @property
    def of_text(self) -> dict[str, str]:
        """The conditions over texts, by key."""
        keys = {"matches": self.matches, "not_matches": self.not_matches,
                "contains_any": self.contains_any}  # fmt: skip
        return {key: asked for key, asked in keys.items() if asked is not None}

    @property
    def lists(self) -> dict[Literal["keep", "drop"], str]:
        """The lists of values, by what becomes of these."""
        given: dict[Literal["keep", "drop"], str | None]
        given = {"keep": self.in_file, "drop": self.not_in_file}
        return {mark: path for mark, path in given.items() if path is not None}

    @property
    def has_quantile(self) -> bool:
        """Whether the rule has a quantile, which depends on all pairs."""
        return any(leaf.top_fraction or leaf.top for leaf in self.leaves())
