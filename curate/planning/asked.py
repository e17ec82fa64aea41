"""What a configuration asks for: its stages, the columns that they add, where each rule applies."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from curate import schema
from curate.config import Config, Download, FurtherScore, Model, Rule, Scorer
from curate.errors import CurateError
from curate.ops.images.encoder import ImageEncoder
from curate.ops.scores.clip import ClipModel
from curate.ops.scores.measures import MeasureSpec
from curate.schema import Stage

PARSER = "en_core_web_sm"
"""The parser of captions where none is named."""
_RULE_STAGES = (Stage.PREPARE, Stage.DOWNLOAD, Stage.SCORE)
_FEW_RULES = ("uid", "url", "caption", "matches", "sha256", "tar_offset", "tar_size",
              "stored_sha256", "cluster")  # fmt: skip
"""Columns that hardly a rule is over."""


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


def runs_model(config: Config) -> bool:
    """Whether image and caption are scored by an open_clip model."""
    return config.download.enabled and config.score is not None


def measured(config: Config) -> dict[str, FurtherScore]:
    """The further scores that have a step of their own; heads are part of the model's."""
    return {name: one for name, one in config.scores.items() if one.kind != "head"}


def measure_spec(further: FurtherScore, config: Config) -> MeasureSpec:
    """What to load for a further score."""
    parser = (further.parser or PARSER) if further.kind in ("relations", "actions") else None
    return MeasureSpec(
        further.kind, parser, clip_model(config.score)
        if further.kind == "masked_clip" and config.score else None,
    )  # fmt: skip


def clip_model(scorer: Scorer) -> ClipModel:
    """What to load for a scorer."""
    return ClipModel(**scorer.model_dump(include=set(ClipModel.__dataclass_fields__)))


def image_encoder(download: Download, **more: Any) -> ImageEncoder:
    """What makes the stored form of an image; `more` are fields that no setting of theirs gives."""
    given = download.model_dump(include=set(ImageEncoder.__dataclass_fields__))
    return ImageEncoder(**(given | {"image_size": download.stored_size} | more))


def added_columns(config: Config) -> dict[Stage, pa.Schema]:
    """The columns that each enabled stage adds, in flow order."""
    added = dict(schema.ADDED)
    added[Stage.PREPARE] = schema.prepared(
        listed=config.prepare.words_in is not None,
        boxed=config.input.columns.blur_boxes is not None,
        kept=config.input.columns.kept,
        sized=sized_by_pool(config),
    )
    if config.download.faces:
        added[Stage.DOWNLOAD] = pa.schema([*schema.DOWNLOAD, *schema.FACES])
    if config.dedup.keep_captions:
        added[Stage.DEDUP] = pa.schema([*schema.DEDUP, *schema.OTHER_CAPTIONS])
    if config.balance is not None and config.balance.wfpp is not None:
        added[Stage.BALANCE] = schema.WFPP
    further = [*(config.score.also if config.score and runs_model(config) else ()), *config.scores]
    added[Stage.SCORE] = schema.scores(further, clip=runs_model(config), derived=derived_of(config))
    return {stage: added[stage] for stage in enabled_stages(config) if stage in added}


def sized_by_pool(config: Config) -> bool:
    """Whether rules are over sizes of images that nobody fetches: those are the pool's own."""
    asked = {name for rule in config.select for name in rule.columns}
    return not config.download.enabled and not asked.isdisjoint(schema.SIZED.names)


def derived_of(config: Config) -> Mapping[str, Model]:
    """What is made of the embeddings that the first model of `config` stores, by column."""
    if config.score is None or not runs_model(config):
        return {}
    sets = config.decontaminate
    if sets is None or sets.embedding_similarity is None:
        return config.score.derived
    return {**config.score.derived, schema.SIMILARITY: sets}


def rules_at(stage: Stage, config: Config) -> tuple[Rule, ...]:
    """The select rules that apply at the end of `stage`."""
    return tuple(rule for rule in config.select if rule_stage(rule, config) is stage)


def rule_stage(rule: Rule, config: Config) -> Stage:
    """The first stage that applies rules and after which all columns of `rule` exist.

    Raises
    ------
    CurateError
        Where no such stage runs, or a condition does not fit its column.
    """
    known: dict[str, pa.DataType] = {}
    added = added_columns(config)
    for stage, columns in added.items():
        known |= {field.name: field.type for field in columns}
        if stage in _RULE_STAGES and known.keys() >= set(rule.columns):
            _check_rule(rule, known)
            return stage
    last = [stage for stage in added if stage in _RULE_STAGES][-1]
    usable = schema.after(last, enabled=added, added=added).names
    missing = next(name for name in rule.columns if name not in usable)
    if missing in known:
        raise CurateError(
            f"select rule {rule.label!r}: {missing} comes too late; the last rules of this run apply"
            f" after {last}"
        )
    near = difflib.get_close_matches(missing, usable, n=1, cutoff=0.75)
    hint = f", did you mean {near[0]!r}?" if near else ""
    raise CurateError(
        f"select rule {rule.label!r}: no column {missing!r} in this run{hint}; known: "
        + ", ".join(name for name in usable if name not in _FEW_RULES)
        + "; a column of the pool has to be named in input.columns.keep"
    )


def check_prefer(config: Config) -> None:
    """That dedup has the columns of `dedup.prefer`, and that they can be compared.

    Raises
    ------
    CurateError
        Naming the column, and those there are.
    """
    if not config.dedup.enabled:
        return
    added = added_columns(config)
    before = [stage for stage in added if stage in (Stage.PREPARE, Stage.DOWNLOAD)]
    known = {field.name: field.type for stage in before for field in added[stage]}
    usable = [name for name, kind in known.items() if _compares(kind) and name not in _FEW_RULES]
    for name in (column.removeprefix("-") for column in config.dedup.prefer):
        if name in usable:
            continue
        if any(name in columns.names for columns in added.values()):
            told = f"{name} is no number" if name in known else f"{name} is made after dedup"
        else:
            near = difflib.get_close_matches(name, usable, n=1, cutoff=0.75)
            hint = f", did you mean {near[0]!r}?" if near else ""
            told = f"no column {name!r} in this run{hint}"
        raise CurateError(
            f"dedup.prefer: {told}; columns of numbers before dedup: {', '.join(usable)}; a column"
            " of the pool has to be named in input.columns.keep"
        )


def _compares(kind: pa.DataType) -> bool:
    return any(
        is_a(kind) for is_a in (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean)
    )


def _check_rule(rule: Rule, known: dict[str, pa.DataType]) -> None:
    """That each condition of `rule` fits its column; `known` are the types of the columns."""
    where = f"select rule {rule.label!r}:"
    for leaf in rule.leaves():
        kind = known[str(leaf.column)]
        if pa.types.is_nested(kind):
            raise CurateError(f"{where} {leaf.column} is a list")
        compared = (leaf.min, leaf.max, leaf.between, leaf.top_fraction)
        is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
        if not is_number and any(bound is not None for bound in compared):
            raise CurateError(f"{where} {leaf.column} is not a number")
        for key, values in (("in", leaf.in_), ("not_in", leaf.not_in)):
            if not _fit(values or (), kind):
                raise CurateError(
                    f"{where} {key} {list(values or ())} does not fit {leaf.column}, which is {kind}"
                )
        if leaf.same_as and not _comparable(kind, known[leaf.same_as]):
            raise CurateError(
                f"{where} {leaf.column} is {kind} and {leaf.same_as} {known[leaf.same_as]}: they are"
                " never the same"
            )
        if leaf.per and (
            pa.types.is_nested(known[leaf.per]) or pa.types.is_floating(known[leaf.per])
        ):
            raise CurateError(
                f"{where} per {leaf.per}: expected a column of words, whole numbers or true and"
                f" false, not of {known[leaf.per]}"
            )


def _fit(values: Sequence[object], kind: pa.DataType) -> bool:
    """Whether a column of this type can hold `values`; Arrow would cut 3.5 down to a whole 3."""
    try:
        held = pa.array(values, kind)
    except (pa.ArrowException, TypeError, OverflowError):
        return False
    return not pa.types.is_integer(kind) or held.to_pylist() == list(values)


def _comparable(one: pa.DataType, other: pa.DataType) -> bool:
    def is_number(kind: pa.DataType) -> bool:
        return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))

    return bool(one.equals(other)) or (is_number(one) and is_number(other))
