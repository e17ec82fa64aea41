"""What a run will do: the pool cut into parts, a digest for each step, and what stands already.

A step's digest covers its own settings and the digests of all steps before it, so a changed setting
makes exactly the steps that depend on it stale. Settings that change nothing in the output (where to
connect, how many at once, which runner) are in no digest.
"""

import difflib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import pyarrow as pa

from curate import files, schema
from curate.config import Config, FurtherScore, Model, Rule, Scorer, is_file_name
from curate.cutting import cut, find_inputs, pool_format
from curate.errors import CurateError
from curate.ops.blocklists import read_block_lists
from curate.ops.clip import ClipModel, known_models, known_tags, known_width
from curate.ops.contamination import read_evaluation
from curate.ops.measures import MeasureSpec
from curate.ops.optout import read_list
from curate.ops.tables import read_entries
from curate.ops.vectors import target_files
from curate.revocations import check_settled
from curate.run import ANNOTATED, PART_STAGES, Part, Run
from curate.schema import Stage

FORMAT = 2
"""Raised when the files that a step writes change, so that older ones are made again."""

_FETCH_KEYS = {"max_bytes", "max_pixels", "max_pixels_per_byte", "max_redirects", "opt_out", "robots",
               "image_size", "resize_mode", "only_if_bigger", "upscale_interpolation",
               "downscale_interpolation", "fast_decode", "skip_reencode", "disable_all_reencoding",
               "keep_exif", "encode_format", "encode_quality", "perceptual_hash"}  # fmt: skip
_SCORE_KEYS = {"model", "pretrained", "precision", "batch_size", "compile", "embeddings"}
PARSER = "en_core_web_sm"
"""The parser of captions where none is named."""
EVALUATION_KEY = "evaluation set "
_RULE_STAGES = (Stage.PREPARE, Stage.DOWNLOAD, Stage.SCORE)
_FEW_RULES = ("uid", "url", "caption", "matches", "sha256", "tar_offset", "tar_size", "cluster")
"""Columns that hardly a rule is over."""


@dataclass(frozen=True)
class StepDigest:
    """`own`: the step's settings alone; `chain`: with all that came before."""

    own: str
    chain: str


@dataclass(frozen=True)
class Plan:
    """A checked run, ready to be built into a graph."""

    config: Config
    run: Run
    parts: tuple[Part, ...]
    stages: tuple[Stage, ...]  # those that run, in flow order
    digests: dict[str, StepDigest]  # by folder
    inputs: tuple[dict[str, Any], ...]
    input_digest: str
    retry_failed: bool = False  # fetch again what failed for a reason that may have passed
    blocked: dict[str, int] = field(default_factory=dict)  # hashes on the block lists, by kind

    def rules(self, stage: Stage) -> tuple[Rule, ...]:
        """The select rules that apply at the end of `stage`."""
        return tuple(r for r in self.config.select if rule_stage(r, self.config) is stage)

    def upstream(self, stage: Stage) -> str:
        """The folder of the parts that `stage` reads."""
        before = [s for s in PART_STAGES if s in self.stages]
        position = before.index(stage) if stage in before else len(before)
        return str(before[position - 1]) if position else ""

    def columns(self, stage: Stage) -> pa.Schema:
        """The columns of a part after `stage`."""
        return schema.after(stage, enabled=self.stages, added=added_columns(self.config))


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


def added_columns(config: Config) -> dict[Stage, pa.Schema]:
    """The columns that each enabled stage adds, in flow order."""
    added = dict(schema.ADDED)
    if config.prepare.words_in is not None:
        added[Stage.PREPARE] = schema.LISTED
    if config.dedup.keep_captions:
        added[Stage.DEDUP] = pa.schema([*schema.DEDUP, *schema.OTHER_CAPTIONS])
    if config.balance is not None and config.balance.wfpp is not None:
        added[Stage.BALANCE] = schema.WFPP
    further = [*(config.score.also if config.score and runs_model(config) else ()), *config.scores]
    added[Stage.SCORE] = schema.scores(further, clip=runs_model(config), derived=derived_of(config))
    return {stage: added[stage] for stage in enabled_stages(config) if stage in added}


def derived_of(config: Config) -> Mapping[str, Model]:
    """What is made of the embeddings that the first model of `config` stores, by column."""
    return config.score.derived if config.score and runs_model(config) else {}


def rule_stage(rule: Rule, config: Config) -> Stage:
    """The first stage that applies rules and after which all columns of `rule` exist.

    Prepare, which reads the pool as it goes, takes no quantile: that is for the next such stage.

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
            if not rule.has_quantile or stage is not Stage.PREPARE:
                return stage
    if rule.has_quantile and known.keys() >= set(rule.columns):
        raise CurateError(
            f"select rule {rule.label!r}: a top_fraction is taken after download or score, and"
            " neither runs here"
        )
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
            try:
                pa.array(values or (), kind)
            except (pa.ArrowException, TypeError):
                raise CurateError(
                    f"{where} {key} {list(values or ())} does not fit {leaf.column}, which is {kind}"
                ) from None
        if leaf.per and (
            pa.types.is_nested(known[leaf.per]) or pa.types.is_floating(known[leaf.per])
        ):
            raise CurateError(
                f"{where} per {leaf.per}: expected a column of words, whole numbers or true and"
                f" false, not of {known[leaf.per]}"
            )


def make_plan(config: Config) -> Plan:
    """Check everything that can be checked before work starts, and cut the pool into parts.

    Raises
    ------
    CurateError
        Naming the input, option or file that is at fault.
    """
    if not config.out:
        raise CurateError("no output folder: give --out RUN or the key `out`")
    run = Run(files.absolute(config.out))
    stages = enabled_stages(config)
    for rule in config.select:
        rule_stage(rule, config)
    assets = check_assets(config)
    inputs = find_inputs(config)
    pool = pool_format(config)
    input_digest = files.digest_of(
        [
            [x["digest"], x["format"], x["name"] if x["format"] == "webdataset" else ""]
            for x in inputs
        ],
        config.part_rows,
        asdict(pool) | {"format": None},
    )
    _check_out(run, input_digest)
    check_settled(run)
    blocked = check_block_lists(config)
    found = cut(run, inputs, config, input_digest=input_digest)
    inputs = tuple({**one, "rows": n} for one, n in zip(inputs, found.rows, strict=True))
    plan = Plan(config, run, found.parts, stages, {}, inputs, input_digest, blocked=blocked)
    digests = chain(step_settings(plan, assets), start=input_digest, beside=conditions(config))
    return replace(plan, digests=digests)


def check_assets(config: Config) -> dict[str, str]:
    """Digests of the files beside the input that the output depends on."""
    digests = check_metadata(config)
    if config.download.opt_out_list and config.download.enabled:
        digests["opt_out_list"] = _check_list(config.download.opt_out_list)
    if config.decontaminate is not None:
        digests |= check_evaluations(config.decontaminate.against)
    if config.score is not None and config.download.enabled:
        for name, scorer in config.score.scorers.items():
            digests |= _check_scorer(scorer, name=name)
        for name, derived in config.score.derived.items():
            digests |= _check_target(derived, name=name)
    for name, further in config.scores.items():
        digests |= _check_further(further, config, name=name)
    return digests


def _check_further(further: FurtherScore, config: Config, *, name: str) -> dict[str, str]:
    """The digest of a head's file, once it is known that what the score needs is there and fits."""
    where = f"scores.{name}"
    _check_name(name, where=where)
    if config.score and name in config.score.also:
        raise CurateError(f"{where}: score.also.{name} has that name; give another")
    if further.weights is None:
        try:
            measure_spec(further, config).check()
        except CurateError as error:
            raise CurateError(f"{where}: {error}") from None
        return {}
    from curate.ops.heads import load_head

    url = files.absolute(further.weights)
    try:
        head = load_head(url, activation=further.activation)
    except CurateError as error:
        raise CurateError(f"{where}.weights: {error}") from None
    model = config.score.model if config.score else ""
    if (width := known_width(model)) and width != head.width:
        raise CurateError(
            f"{where}.weights: {further.weights} is a head on {head.width} values, the embeddings of"
            f" {model} have {width}"
        )
    return {f"weights {name}": files.content_digest(url)}


def _check_name(name: str, *, where: str) -> None:
    taken = (*schema.after(Stage.BALANCE, enabled=Stage).names, *schema.DERIVED.names, ANNOTATED)
    if name in taken:
        raise CurateError(f"{where}: {name} is taken by another column; give another name")


def _check_target(derived: object, *, name: str) -> dict[str, str]:
    """The digest of a target set's files, by ``target NAME``."""
    target = getattr(derived, "target", None)
    if target is None:
        return {}
    try:
        found = target_files(files.absolute(target))
    except CurateError as error:
        raise CurateError(f"score.{name}.target: {error}") from None
    return {f"target {name}": files.digest_of([files.content_digest(url) for url in found])}


def _check_scorer(scorer: Scorer, *, name: str) -> dict[str, str]:
    """The digests of a scorer's files, by ``KEY NAME``."""
    where = f"score.also.{name}" if name else "score"
    _check_name(name, where=where)
    digests = {}
    for key in ("model", "pretrained"):
        value = getattr(scorer, key)
        if is_file_name(value):
            if not files.exists(value):
                raise CurateError(f"{where}.{key}: {value}: no such file")
            digests[f"{key} {name}"] = files.content_digest(value)
    if not scorer.model.startswith("hf-hub:"):
        if not is_file_name(scorer.model):
            _nearest(scorer.model, known_models(), where=f"{where}.model", what="no model")
        if scorer.pretrained is None:
            raise CurateError(
                f"{where}.pretrained: {scorer.model} needs weights: an open_clip tag, or the path of"
                " a checkpoint"
            )
        if not is_file_name(scorer.model) and not is_file_name(scorer.pretrained):
            _nearest(
                scorer.pretrained, known_tags(scorer.model), where=f"{where}.pretrained",
                what=f"for {scorer.model} no weights",
            )  # fmt: skip
    return digests


def _check_list(path: str) -> str:
    url = files.absolute(path)
    try:
        read_list(url)
    except CurateError as error:
        raise CurateError(f"download.opt_out_list: {error}") from None
    return files.content_digest(url)


def check_metadata(config: Config) -> dict[str, str]:
    """Digests of each language's entry list and of `words_in`, once it is known that they read."""
    digests = {}
    for language, path in sorted(config.prepare.metadata.items()):
        url = files.absolute(path)
        try:
            read_entries(url)
        except CurateError as error:
            raise CurateError(f"prepare.metadata.{language}: {error}") from None
        digests[language] = files.content_digest(url)
    if words_in := config.prepare.words_in:
        url = files.absolute(words_in)
        if not files.exists(url):
            raise CurateError(
                f"prepare.words_in: {words_in}: no such file; see curate metadata words -h"
            )
        if not files.read_bytes(url).strip():
            raise CurateError(f"prepare.words_in: {words_in}: there is no word in it")
        digests["words_in"] = files.content_digest(url)
    return digests


def check_evaluations(paths: tuple[str, ...]) -> dict[str, str]:
    """The digests of files of hashes, once it is known that they can be read."""
    digests = {}
    for path in paths:
        url = files.absolute(path)
        read_evaluation(url)
        digests[EVALUATION_KEY + path] = files.content_digest(url)
    return digests


def check_block_lists(config: Config) -> dict[str, int]:
    """Hashes on the block lists by kind, once it is known that they can be read."""
    if not config.download.enabled or not config.download.block_lists:
        return {}
    hashes = read_block_lists(tuple(map(files.absolute, config.download.block_lists)))
    return {kind: len(found) for kind, found in hashes.items() if len(found)}


def _nearest(value: str, known: list[str], *, where: str, what: str) -> None:
    if value not in known:
        near = difflib.get_close_matches(value, known, n=3, cutoff=0.5)
        hint = f"; nearest: {', '.join(near)}" if near else ""
        raise CurateError(f"{where}: open_clip has {what} {value!r}{hint}")


def _check_out(run: Run, input_digest: str) -> None:
    state = run.state()
    if state and state.get("input_digest") != input_digest:
        raise CurateError(
            f"{run.root} holds a run over another input (or other part_rows or columns); give"
            " another --out, or remove that folder"
        )
    if not state and set(files.names(run.root)) - {"input"}:
        raise CurateError(f"{run.root} is not empty and holds no run; give another --out")


def step_settings(plan: Plan, assets: dict[str, str]) -> dict[str, object]:
    """What the output of each step depends on, by its folder, in flow order."""
    config = plan.config

    def rules(stage: Stage) -> list[object]:
        return [rule.model_dump(by_alias=True) for rule in plan.rules(stage)]

    metadata = {x: digest for x, digest in assets.items() if x in config.prepare.metadata}
    words = assets.get("words_in")
    settings: dict[str, object] = {
        Stage.PREPARE: [config.prepare.languages, metadata, words, rules(Stage.PREPARE)]
    }
    if Stage.DOWNLOAD in plan.stages:
        fetch = config.download.model_dump(include=_FETCH_KEYS)
        opt_outs = {"opt_out_list": assets["opt_out_list"]} if "opt_out_list" in assets else {}
        settings[files.join(Stage.DOWNLOAD, ANNOTATED)] = fetch | opt_outs
        settings[Stage.DOWNLOAD] = rules(Stage.DOWNLOAD)
        if against := config.decontaminate:
            sets = sorted(digest for x, digest in assets.items() if x.startswith(EVALUATION_KEY))
            own = against.model_dump(exclude={"against"})
            settings[Stage.DOWNLOAD] = [rules(Stage.DOWNLOAD), own, sets]
    if Stage.DEDUP in plan.stages:
        settings[Stage.DEDUP] = config.dedup.model_dump()
    if Stage.SCORE in plan.stages:
        for name, further in measured(config).items():
            model = config.score if further.kind == "masked_clip" else None
            with_model = (
                [scorer_settings(model, assets, name="")[1:], asdict(clip_model(model))]
                if (model)
                else []
            )
            settings[score_folder(name)] = [further.model_dump(), with_model]
        scorers = config.score.scorers if config.score and runs_model(config) else {}
        for name, scorer in scorers.items():
            settings[score_folder(name)] = scorer_settings(scorer, assets, name=name)
        if not scorers:
            settings[score_folder("")] = list(config.scores)
        for name, derived in derived_of(config).items():
            target = assets.get(f"target {name}")
            settings[score_folder(name)] = [
                derived.model_dump(exclude={"target"}), target, config.seed
            ]  # fmt: skip
        settings[Stage.SCORE] = rules(Stage.SCORE)
    if config.balance is not None:
        settings[Stage.BALANCE] = [config.balance.model_dump(), config.seed]
    if Stage.SHARDS in plan.stages:
        settings[Stage.SHARDS] = config.shards.model_dump()
    return {str(folder): own for folder, own in settings.items()}


def conditions(config: Config) -> dict[str, object]:
    """What else a step's output depends on, though its rows can be used again where it changes."""
    found: dict[str, object] = {}
    lists = config.download.block_lists if config.download.enabled else ()
    if lists:
        digests = sorted(files.content_digest(files.absolute(path)) for path in lists)
        folder = files.join(Stage.DOWNLOAD, ANNOTATED)
        found[folder] = [digests, config.download.block_distance]
    heads = {name: x for name, x in config.scores.items() if x.weights is not None}
    if heads:
        found[score_folder("")] = [
            [name, x.activation, files.content_digest(files.absolute(str(x.weights)))]
            for name, x in heads.items()
        ]
    return found


def score_folder(name: str) -> str:
    """Where the scores of the model of this name stand; without a name, those of the first."""
    folder = files.join(Stage.SCORE, ANNOTATED)
    return files.join(folder, name) if name else folder


def scorer_settings(scorer: Scorer, assets: dict[str, str], *, name: str) -> list[object]:
    """What the scores of a model depend on, whatever they are called."""
    files_of = {key: assets.get(f"{key} {name}") for key in ("model", "pretrained")}
    return [scorer.model_dump(include=_SCORE_KEYS), files_of]


def chain(
    settings: dict[str, object], *, start: str, beside: dict[str, object] | None = None
) -> dict[str, StepDigest]:
    """The digest of each step by its folder; `start` is that of what comes before the first.

    `beside` is what counts in a step's chain and not among its own settings.
    """
    digests = {}
    for folder, own in settings.items():
        more = [beside[folder]] if beside and folder in beside else []
        start = files.digest_of(FORMAT, folder, own, start, *more)
        digests[folder] = StepDigest(files.digest_of(FORMAT, folder, own), start)
    return digests
