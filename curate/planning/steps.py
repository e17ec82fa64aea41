"""The steps of a run: what a configuration asks for, worked out once.

A step takes every part from the files of the step before to files of its own. `steps_of` lists them in
flow order; a `Plan` holds the list, and the graph, digests, barriers, progress, the report, `explain`
and revocation go over it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum

import pyarrow as pa

from curate import files, schema
from curate.config import ENTITIES, Config, FurtherScore, Model, Rule
from curate.ops.selection.quantiles import quantiles_of
from curate.planning.asked import captions_in, derived_of, measured, runs_model, sized_by_pool
from curate.planning.own_scores import beside, is_beside, own_columns
from curate.planning.rules import stage_of
from curate.rundir.directory import ANNOTATED, PART_STAGES, Run
from curate.schema import Stage


@dataclass(frozen=True)
class Nature:
    """What all steps of a kind have in common."""

    label: str  # in the graph
    annotates: bool = (
        False  # it writes a column for every row under ``STAGE/annotated``, drops none
    )
    gathers: bool = False  # it needs all parts of the step before: a barrier
    has_parts: bool = True  # it writes a record a part
    takes_over: bool = False  # what it found of a pair under the same settings of its own


class Kind(Enum):
    """What a step does: `curate.flow` has a transform for each."""

    PREPARE = Nature("Prepare")
    FETCH = Nature("Fetch", annotates=True, takes_over=True)
    CUTS = Nature("Cuts", gathers=True, has_parts=False)
    SELECT_IMAGES = Nature("Select images")
    DEDUP = Nature("Dedup", gathers=True)
    MEASURE = Nature("Measure", annotates=True, takes_over=True)
    TABLE = Nature("Join table", annotates=True)
    JOIN = Nature("Join scores", annotates=True)
    MODEL = Nature("Score", annotates=True, takes_over=True)
    DERIVE = Nature("Derive", annotates=True)
    ENTITIES = Nature("Look for entries", annotates=True)
    MEANINGS = Nature("Duplicates", annotates=True, gathers=True)
    SELECT_SCORES = Nature("Select scores")
    NOUNS = Nature("Parse", annotates=True, takes_over=True)
    BALANCE = Nature("Balance", gathers=True)
    ADAPTIVE = Nature("Rebalance", gathers=True)
    SHARDS = Nature("Shards", gathers=True, has_parts=False)


@dataclass(frozen=True)
class Step:
    """A step of a run."""

    kind: Kind
    stage: Stage
    name: str = ""  # of a further score, or of a column that is made of embeddings
    settings: Model | None = None  # of the configuration, where it has a section of its own
    rules: tuple[Rule, ...] = ()

    @property
    def folder(self) -> str:
        """The folder of its parts and records: ``STAGE``, ``STAGE/annotated`` or one inside that."""
        if not self.kind.value.annotates:
            return str(self.stage)
        folder = files.join(self.stage, ANNOTATED)
        return files.join(folder, self.name) if self.name else folder

    @property
    def has_parts(self) -> bool:
        """Whether it writes a record a part."""
        return self.kind.value.has_parts

    @property
    def label(self) -> str:
        """Its name in the graph."""
        name = self.stage if self.kind is Kind.CUTS else self.name
        return f"{self.kind.value.label} {name}".strip()

    @property
    def columns(self) -> pa.Schema:
        """The columns in its folder that stand in no other; none where they are joined to others."""
        if self.kind is Kind.DERIVE:
            return pa.schema([schema.DERIVED.field(self.name)])
        if self.kind is Kind.MEANINGS:
            return pa.schema([schema.VERDICT.field(schema.SEMANTIC)])
        further = self.settings
        if isinstance(further, FurtherScore) and is_beside(further):
            return own_columns(self.name, further)
        return pa.schema([])

    @property
    def gathers(self) -> bool:
        """Whether it needs every part of the step before: a barrier."""
        more = getattr(self.settings, "gathers", False)
        return self.kind.value.gathers or more or bool(quantiles_of(self.rules))


@dataclass(frozen=True)
class Steps:
    """What a configuration asks for, in flow order."""

    stages: tuple[Stage, ...]  # that run
    added: Mapping[Stage, pa.Schema]  # the columns that each adds to its parts
    rules: Mapping[Stage, tuple[Rule, ...]]  # that apply at the end of each
    steps: tuple[Step, ...] = field(default=())

    def __iter__(self) -> Iterator[Step]:
        return iter(self.steps)

    def of(self, *kinds: Kind) -> tuple[Step, ...]:
        """The steps of these kinds."""
        return tuple(step for step in self if step.kind in kinds)

    def at(self, folder: str) -> Step:
        """The step that writes the parts of `folder`."""
        return next(step for step in self if step.folder == folder and step.has_parts)

    @property
    def folders(self) -> tuple[str, ...]:
        """The folder of each step with parts."""
        return tuple(step.folder for step in self if step.has_parts)

    def upstream(self, stage: Stage) -> str:
        """The folder of the parts that `stage` reads; empty for the first, which reads the pool."""
        before = [one for one in PART_STAGES if one in self.stages]
        position = before.index(stage) if stage in before else len(before)
        return str(before[position - 1]) if position else ""

    def begun(self, run: Run) -> list[Stage]:
        """The part stages among these that have done parts in a run, in flow order."""
        return [stage for stage in PART_STAGES if stage in self.stages and run.done(stage)]

    def columns(self, stage: Stage) -> pa.Schema:
        """The columns of a part after `stage`."""
        return schema.after(stage, enabled=self.stages, added=self.added)

    @property
    def needed(self) -> tuple[str, ...]:
        """The scores that a pair has to have: those that are joined to each other."""
        beside = {name for one in self.beside(Stage.SCORE).values() for name in one.names}
        return tuple(x for x in self.added[Stage.SCORE].names if x not in beside)

    def beside(self, stage: Stage) -> dict[str, pa.Schema]:
        """Folders with columns of the rows of ``STAGE/annotated`` that stand in no other place."""
        found = {step.folder: step.columns for step in self if step.stage is stage}
        return {folder: columns for folder, columns in found.items() if len(columns)}


def steps_of(config: Config) -> Steps:
    """The steps that `config` asks for.

    Raises
    ------
    CurateError
        Where a rule has no place: it names the rule and the column.
    """
    stages = enabled_stages(config)
    added = {stage: columns for stage, columns in _added(config).items() if stage in stages}
    rules: dict[Stage, tuple[Rule, ...]] = {}
    for rule in config.select:
        stage = stage_of(rule, added)
        rules[stage] = (*rules.get(stage, ()), rule)
    found: list[Step] = []
    for stage in stages:
        found += _steps_at(stage, config, rules.get(stage, ()))
    return Steps(stages, added, rules, tuple(found))


def before_own(config: Config) -> pa.Schema:
    """The columns of a pair before those of scores that stand beside."""
    own = beside(config)
    others = {name: one for name, one in config.scores.items() if name not in own}
    steps = steps_of(config.model_copy(update={"scores": others, "select": ()}))
    last = [x for x in PART_STAGES if x in steps.added and x is not Stage.BALANCE][-1]
    return steps.columns(last)


def enabled_stages(config: Config) -> tuple[Stage, ...]:
    """The stages that `config` asks for, in flow order."""
    images = config.download.enabled
    wanted = {
        Stage.PREPARE: True,
        Stage.DOWNLOAD: images,
        Stage.DEDUP: config.dedup.enabled,
        Stage.SCORE: runs_model(config) or bool(config.scores),
        Stage.BALANCE: config.balance is not None,
        Stage.SHARDS: images,
        Stage.REPORT: True,
    }
    return tuple(stage for stage in Stage if wanted[stage])


def _steps_at(stage: Stage, config: Config, rules: tuple[Rule, ...]) -> list[Step]:
    cuts = [Step(Kind.CUTS, stage, rules=rules)] if quantiles_of(rules) else []
    if stage is Stage.PREPARE:
        return [*cuts, Step(Kind.PREPARE, stage, settings=config.prepare, rules=rules)]
    if stage is Stage.DOWNLOAD:
        fetch = Step(Kind.FETCH, stage, settings=config.download)
        return [fetch, *cuts, Step(Kind.SELECT_IMAGES, stage, rules=rules)]
    if stage is Stage.DEDUP:
        return [Step(Kind.DEDUP, stage, settings=config.dedup)]
    if stage is Stage.SCORE:
        select = Step(Kind.SELECT_SCORES, stage, rules=rules)
        return [*_scores(config), *cuts, *_meanings(config, rules), select]
    if stage is Stage.BALANCE:
        return _balance(config)
    return [Step(Kind.SHARDS, stage, settings=config.shards)] if stage is Stage.SHARDS else []


def _balance(config: Config) -> list[Step]:
    adaptive = config.balance.adaptive if config.balance else None
    if adaptive is None:
        return [Step(Kind.BALANCE, Stage.BALANCE, settings=config.balance)]
    nouns = [Step(Kind.NOUNS, Stage.BALANCE, "nouns", adaptive)]
    sample = Step(Kind.ADAPTIVE, Stage.BALANCE, settings=config.balance)
    return [*(nouns if adaptive.nouns is not None else ()), sample]


def _scores(config: Config) -> Iterator[Step]:
    """One a column; the nameless one puts the columns of all but the derived beside each other."""
    for name, further in measured(config).items():
        yield Step(Kind.MEASURE, Stage.SCORE, name, further)
    scorers = config.score.scorers if config.score and runs_model(config) else {}
    for name, scorer in scorers.items():
        yield Step(Kind.MODEL, Stage.SCORE, name, scorer)
    if not scorers:
        yield Step(Kind.JOIN, Stage.SCORE)
    for name, derived in derived_of(config).items():
        yield Step(Kind.DERIVE, Stage.SCORE, name, derived)
    kinds = {"table": Kind.TABLE, ENTITIES: Kind.ENTITIES}
    for name, own in beside(config).items():
        yield Step(kinds.get(own.kind, Kind.MEASURE), Stage.SCORE, name, own)


def _meanings(config: Config, rules: tuple[Rule, ...]) -> list[Step]:
    if config.semdedup is None:
        return []
    return [Step(Kind.MEANINGS, Stage.SCORE, schema.SEMANTIC, config.semdedup, rules)]


def _added(config: Config) -> dict[Stage, pa.Schema]:
    """The columns that each stage adds, in flow order."""
    added = dict(schema.ADDED)
    added[Stage.PREPARE] = schema.prepared(
        listed=config.prepare.words_in is not None,
        boxed=config.input.columns.blur_boxes is not None,
        kept=config.input.columns.kept,
        sized=sized_by_pool(config),
        captions=captions_in(config),
        tagged=config.input.columns.tags is not None,
    )
    faces = schema.FACES if config.download.faces else ()
    quality = schema.JPEG_QUALITY if config.download.jpeg_quality else ()
    added[Stage.DOWNLOAD] = pa.schema([*schema.DOWNLOAD, *faces, *quality])
    if config.dedup.keep_captions:
        added[Stage.DEDUP] = pa.schema([*schema.DEDUP, *schema.OTHER_CAPTIONS])
    adaptive = config.balance.adaptive if config.balance else None
    if adaptive is not None and adaptive.nouns is not None:
        added[Stage.BALANCE] = pa.schema([*schema.OF_NOUNS, *schema.BALANCE])
    if config.balance is not None and config.balance.wfpp is not None:
        added[Stage.BALANCE] = schema.WFPP
    if config.balance is not None and config.balance.soft_cap is not None:
        added[Stage.BALANCE] = schema.SOFT_CAP
    own = beside(config)
    also = config.score.also if config.score and runs_model(config) else ()
    further = [*also, *(name for name in config.scores if name not in own)]
    scores = schema.scores(further, clip=runs_model(config), derived=derived_of(config))
    columns = [column for name, one in own.items() for column in own_columns(name, one)]
    added[Stage.SCORE] = pa.schema([*scores, *columns])
    return added
