"""The configuration of a run: one frozen tree of settings, validated before anything starts.

Each section has a module; small ones, and the checks across sections, are here.
"""

from typing import Annotated, Literal

from pydantic import ByteSize, Field, model_validator

from curate.config.balance import OF_TAGS, Adaptive, Balance, Wfpp
from curate.config.captions import ORIGINAL, Alip, Caption, CaptionSource, weights_of
from curate.config.derived import NearestTarget, NegClipLoss, NormSim, SimCore, VisualCluster
from curate.config.download import Download
from curate.config.duplicates import Decontaminate, Dedup, SemDedup
from curate.config.model import COLUMN_NAME, ImportName, Model, Positive
from curate.config.paths import CodePath, PlacePath, is_file_name
from curate.config.pool import Columns, Input, Prepare, Unsure
from curate.config.rule import Rule
from curate.config.scoring import ENTITIES, OF_FOUND, FurtherScore, Score, Scorer
from curate.schema import MATCHES, OF_SEVERAL, kept_name

_OF_IMAGES = ("head", "prompts", "nsfw", "text_area", "noise", "blur", "brightness", "contrast",
              "shuffled_patches", "table")  # fmt: skip
"""Kinds of further scores that look at no caption."""

__all__ = [
    "COLUMN_NAME",
    "ENTITIES",
    "LOCAL_RUNNER",
    "OF_FOUND",
    "ORIGINAL",
    "Adaptive",
    "Alip",
    "Balance",
    "Beam",
    "Caption",
    "CaptionSource",
    "Columns",
    "Config",
    "Decontaminate",
    "Dedup",
    "Download",
    "FurtherScore",
    "ImportName",
    "Input",
    "Model",
    "NearestTarget",
    "NegClipLoss",
    "NormSim",
    "Prepare",
    "Rule",
    "Score",
    "Scorer",
    "SemDedup",
    "Shards",
    "SimCore",
    "Unsure",
    "VisualCluster",
    "Wfpp",
    "is_file_name",
    "weights_of",
]

LOCAL_RUNNER = "FnApiRunner"


class Shards(Model):
    """WebDataset output."""

    rows: Positive = Field(10_000, description="pairs a shard")
    bytes: ByteSize | None = Field(
        None, ge=10_240, description="about what a shard takes, in place of rows; as in 500MB"
    )
    order: Literal["pool", "mixed"] = Field(
        "pool",
        description="`pool`: as the pairs came, those of a site beside each other; `mixed`: over the"
        " whole pool, by `seed`, so that a trainer need not shuffle, in even shards",
    )
    multiple_of: Positive | None = Field(
        None,
        description="even shards: all hold as many pairs, but for one, and their number is a multiple"
        " of this, of ranks times loader processes",
    )

    rewrite: bool = Field(
        False,
        description="of a set that grows: true cuts all shards anew; false leaves those it has, but for"
        " pairs that leave them, and writes the others to new shards behind them. Shards that are mixed"
        " or even, or say how likely a pair is kept (balance.write: all), are cut anew in any case",
    )

    @property
    def is_even(self) -> bool:
        """Whether all shards hold as many pairs, but for one."""
        return self.order == "mixed" or self.multiple_of is not None


class Beam(Model):
    """The Beam runner; nothing here changes the output."""

    runner: str = Field(LOCAL_RUNNER, description="name of a Beam runner; this one is local")
    workers: Positive = Field(1, description="local worker processes")
    options: tuple[str, ...] = Field((), description="further Beam options, as on a command line")
    python_path: tuple[CodePath, ...] = Field(
        (),
        description="folders to import modules of your own from, after Python's own path; the folder of"
        " this file is one of them",
    )


class Config(Model):
    """The configuration of a run."""

    input: Input
    out: PlacePath | None = Field(None, description="the run directory, any fsspec URL")
    base: PlacePath | None = Field(
        None,
        description="a finished run that this one begins as a copy of, and grows by the pool of"
        " `input`; it stays as it is",
    )
    seed: int = Field(0, description="of the random sampling")
    part_rows: Positive = Field(
        10_000, le=1_000_000, description="pairs a part, the unit of work and of resume"
    )
    prepare: Prepare = Prepare()
    captions: dict[Annotated[str, Field(pattern=COLUMN_NAME)], CaptionSource] = Field(
        default_factory=dict, description="further captions of the pairs, each by its source's name"
    )
    caption: Caption = Caption()
    download: Download = Download()
    decontaminate: Decontaminate | None = None
    dedup: Dedup = Dedup()
    score: Score | None = None
    scores: dict[Annotated[str, Field(pattern=COLUMN_NAME)], FurtherScore] = Field(
        default_factory=dict, description="further scores, each by the name of its column"
    )
    select: tuple[Rule, ...] = Field(
        (),
        description="rules: each drops the pairs that do not satisfy it, at the first stage that"
        " has its columns",
    )
    semdedup: SemDedup | None = None
    balance: Balance | None = None
    shards: Shards = Shards()
    beam: Beam = Beam()

    @property
    def counted(self) -> tuple[str, ...]:
        """What a balance of the run may be `on`."""
        seen = [name for name, one in self.scores.items() if one.kind == ENTITIES]
        return MATCHES, *(OF_TAGS if self.input.columns.tags else ()), *seen

    @model_validator(mode="after")
    def _languages_have_lists(self) -> "Config":
        by_entries = self.balance if self.balance and self.balance.by_entries else None
        if by_entries and not self.prepare.metadata:
            raise ValueError("balance needs prepare.metadata, an entry list to match captions with")
        if by_entries and by_entries.reference not in self.prepare.metadata:
            have = ", ".join(sorted(self.prepare.metadata))
            raise ValueError(
                f"balance.reference is {by_entries.reference!r} but prepare.metadata has only {have}"
            )
        known = self.counted
        if by_entries and by_entries.on not in known:
            hint = "" if self.input.columns.tags else "; tags and both are of input.columns.tags"
            raise ValueError(
                f"balance.on: no score {by_entries.on!r} of kind {ENTITIES}; known:"
                f" {', '.join(known)}{hint}"
            )
        if self.input.columns.tags and not self.prepare.metadata:
            raise ValueError(
                "input.columns.tags: tags are entries of a list: give one in prepare.metadata, which"
                " may be the list of all tags"
            )
        if self.input.columns.tags and self.captions:
            raise ValueError(
                "input.columns.tags: tags are of a pair, and `captions` are several of one: leave one"
                " of the two out"
            )
        self._perspectives_have_entities()
        for language in self.prepare.languages or ():
            if self.prepare.metadata and language not in self.prepare.metadata:
                raise ValueError(f"prepare.languages: {language!r} has no list in prepare.metadata")
        for language, other in self.prepare.counts_as.items():
            key = f"prepare.counts_as.{language}"
            if language in self.prepare.metadata:
                raise ValueError(
                    f"{key}: {language!r} has a list of its own, prepare.metadata.{language}, which"
                    " nothing would be matched with: leave one of the two out"
                )
            if other not in self.prepare.metadata:
                raise ValueError(f"{key}: {other!r} has no list in prepare.metadata")
        languages = self.prepare.languages or tuple(self.prepare.metadata)
        unsure = self.prepare.unsure
        if unsure and languages and unsure.language not in languages:
            raise ValueError(
                f"prepare.unsure.language: {unsure.language!r} is not among the languages to keep"
                f" ({', '.join(languages)}); to drop such captions, use a rule over language_score"
            )
        return self

    @model_validator(mode="after")
    def _scores_have_what_they_need(self) -> "Config":
        for name, further in self.scores.items():
            may_do_without = further.kind in (
                "relations",
                "actions",
                "profanity",
                "python",
                "table",
            )
            if not self.download.enabled and not may_do_without:
                raise ValueError(f"scores.{name}: {further.kind} needs images; enable download")
            if further.kind == "masked_clip" and self.score is None:
                raise ValueError(
                    f"scores.{name}: masked_clip needs score.model, which scores again"
                )
            if further.kind == "head" and not (self.score and self.score.embeddings):
                raise ValueError(
                    f"scores.{name}: a head needs score.model and score.embeddings: true"
                )
            if further.kind == ENTITIES and not self.prepare.metadata:
                raise ValueError(
                    f"scores.{name}: {ENTITIES} are those of a caption's entries that its image shows:"
                    " set prepare.metadata, an entry list to match captions with"
                )
        return self

    def _perspectives_have_entities(self) -> None:
        asked = self.balance.adaptive if self.balance else None
        if asked is None:
            return
        if asked.matched and not self.prepare.metadata:
            name = next(x for x in asked.perspectives if x != "nouns")
            raise ValueError(
                f"balance.adaptive.{name} is of matched entries: give prepare.metadata, an entry list"
                " to match captions with; or nouns alone"
            )
        if asked.nouns is None:
            return
        languages = self.prepare.languages or tuple(self.prepare.metadata)
        if languages and "en" not in languages:
            kept = ", ".join(languages)
            raise ValueError(
                f"balance.adaptive.nouns is of captions in English, and of those in {kept} none is;"
                " leave it out"
            )
        for key, names in (
            ("input.columns.keep", self.input.columns.keep),
            ("scores", {**self.scores, **(self.score.also if self.score else {})}),
        ):
            if "nouns" in names:
                raise ValueError(f"{key}: `nouns` is a column of balance.adaptive; rename it")

    @model_validator(mode="after")
    def _captions_can_be_chosen(self) -> "Config":
        if not self.captions:
            if self.caption != Caption():
                raise ValueError("caption: there is nothing to choose from; name `captions`")
            return self
        for name, source in self.captions.items():
            given = bool(source.path or source.column or source.duplicates)
            if name == ORIGINAL and given:
                raise ValueError(
                    f"captions.{name} is the pair's own caption, of input.columns.caption: it takes a"
                    " weight alone; give another source another name"
                )
            if name != ORIGINAL and not given:
                raise ValueError(
                    f"captions.{name}: give the `path` of a table, or a `column` of the pool; or"
                    " `duplicates: true`"
                )
            if source.duplicates and (source.path or source.column):
                raise ValueError(
                    f"captions.{name}: `duplicates` are captions of the pool's own pairs; give a table"
                    " or a column another name"
                )
            if source.path is None and (source.on != "uid" or source.key):
                raise ValueError(f"captions.{name}: `on` and `key` are of a table; give its `path`")
        if set(self.captions) == {ORIGINAL}:
            raise ValueError("captions: there is no source beside the pair's own caption")
        if self.caption.choose == "draw" and not any(weights_of(self.captions).values()):
            raise ValueError("caption.choose draw: all weights of `captions` are 0")
        self._duplicates_lend()
        self._alip_has_both()
        self._joins()
        taken = set(map(kept_name, self.input.columns.keep)) | {*self.scores}
        taken |= {*self.score.also} if self.score else set()
        for name in sorted(taken & OF_SEVERAL):
            raise ValueError(
                f"{name} is a column of a run with `captions`: give what is called so another name"
            )
        return self._best_is_known()

    def _joins(self) -> None:
        """That the captions to be joined stay."""
        if self.caption.join is None:
            return
        for name, source in self.captions.items():
            if source.duplicates:
                raise ValueError(
                    f"caption.join: captions of duplicates (captions.{name}) leave pairs again, and"
                    " would stay in the joined text; leave one of the two out"
                )

    def _alip_has_both(self) -> None:
        """That ALIP's gates have the captions that they weigh, and a model that tells of them."""
        if self.caption.alip is None:
            return
        of = self.caption.alip.of
        others = [name for name in self.captions if name != ORIGINAL]
        if of not in others:
            raise ValueError(
                f"caption.alip.of: no source {of!r} of `captions` beside the pair's own; known:"
                f" {', '.join(others)}"
            )
        for name in others:
            if self.captions[name].duplicates:
                raise ValueError(
                    f"caption.alip: captions of duplicates (captions.{name}) leave pairs again, and the"
                    " weights that ALIP's gates gave would be of others; leave one of the two out"
                )
        if self.score is None or not self.download.enabled:
            raise ValueError(
                "caption.alip weighs by a model's cosines: set score.model, with download.enabled"
            )

    def _duplicates_lend(self) -> None:
        """That there are duplicates, and that their captions can leave again, as pairs are revoked."""
        lending = [name for name, source in self.captions.items() if source.duplicates]
        if not lending:
            return
        if len(lending) > 1:
            raise ValueError(
                f"captions.{lending[1]}: {lending[0]} has those of `duplicates` already"
            )
        if not self.dedup.enabled:
            raise ValueError(
                f"captions.{lending[0]}: no duplicates are dropped; set dedup.enabled: true"
            )
        of_texts: dict[str, str] = {f"scores.{x}": one.kind for x, one in self.scores.items()}
        of_texts |= {f"score.derived.{x}": x for x in (self.score.derived if self.score else ())
                     if x == "neg_clip_loss"}  # fmt: skip
        for key, kind in of_texts.items():
            if kind not in _OF_IMAGES:
                raise ValueError(
                    f"{key}: {kind} is of the chosen caption, which with captions.{lending[0]} may"
                    " leave when another pair is revoked; take one of the two out (score.also scores"
                    " all captions)"
                )

    def _best_is_known(self) -> "Config":
        """That the best caption is known before anything depends on which it is."""
        if self.caption.choose != "best":
            if self.caption.by != "clip_score":
                raise ValueError("caption.by is of choose: best")
            return self
        if self.score is None or not self.download.enabled:
            raise ValueError(
                "caption.choose best goes by a score: set score.model, with download.enabled; or choose"
                " draw, or all"
            )
        if self.caption.by not in ("clip_score", *self.score.also):
            known = ", ".join(("clip_score", *self.score.also))
            raise ValueError(f"caption.by: no model's score {self.caption.by!r}; known: {known}")
        for name, further in self.scores.items():
            if further.kind not in _OF_IMAGES:
                raise ValueError(
                    f"scores.{name}: {further.kind} is of a caption, and with caption.choose best that"
                    " is not known yet; choose draw, or all"
                )
        return self

    @model_validator(mode="after")
    def _blurs(self) -> "Config":
        if self.input.columns.blur_boxes and self.download.disable_all_reencoding:
            raise ValueError(
                "input.columns.blur_boxes: download.disable_all_reencoding leaves no image to blur"
            )
        return self

    @model_validator(mode="after")
    def _names_differ(self) -> "Config":
        kept = [kept_name(name) for name in self.input.columns.keep]
        for name in kept:
            if kept.count(name) > 1:
                raise ValueError(f"input.columns.keep: {name!r} would be kept twice")
            if self.balance and self.balance.soft_cap and name == "weight":
                raise ValueError("input.columns.keep: `weight` is a column of balance.soft_cap")
            if name in {**self.scores, **(self.score.also if self.score else {})}:
                raise ValueError(
                    f"input.columns.keep: {name!r} is also the name of a score: rename the score"
                )
        return self

    @model_validator(mode="after")
    def _comparable(self) -> "Config":
        if self.decontaminate and not self.download.enabled:
            raise ValueError("decontaminate needs download.enabled: it looks at images")
        near = self.decontaminate and self.decontaminate.image_distance
        if near and not self.download.perceptual_hash:
            raise ValueError(
                "decontaminate needs download.perceptual_hash; or set decontaminate.image_distance: 0"
            )
        by_embedding = {
            "semdedup": self.semdedup,
            "decontaminate.embedding_similarity": self.decontaminate
            and self.decontaminate.embedding_similarity,
        }
        has_embeddings = self.download.enabled and self.score and self.score.embeddings
        for key, asked in by_embedding.items():
            if asked is not None and not has_embeddings:
                raise ValueError(
                    f"{key} compares stored embeddings: set score.model and score.embeddings: true"
                )
        return self

    @model_validator(mode="after")
    def _rules_are_named(self) -> "Config":
        labels = [rule.label for rule in self.select]
        if "" in labels:
            raise ValueError("a select rule with any_of or all_of needs a `name` for the ledger")
        for label in labels:
            if labels.count(label) > 1:
                raise ValueError(f"two select rules are called {label!r}: give them a `name` each")
        return self
