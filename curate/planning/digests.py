"""A digest for each step of a run: what its output depends on, and nothing else.

A step's digest covers its own settings and the digests of all steps before it, so a changed setting
makes exactly the steps that depend on it stale. Settings that change nothing in the output (where to
connect, how many at once, which runner) are in no digest.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

from curate import files, schema
from curate.config import OF_FOUND, Alip, Config, FurtherScore, Scorer, VisualCluster, weights_of
from curate.config.paths import with_paths
from curate.ops.scores.batch import EMBEDDINGS
from curate.ops.scores.kinds import BESIDE
from curate.planning.asked import (
    clip_model,
    headed,
    keeps_unmatched,
    measured,
    runs_model,
    sized_by_pool,
)
from curate.planning.steps import Kind, Step, Steps

FORMAT = 4
"""Raised when the files that a step writes change, so that older ones are made again."""

Assets = Mapping[str, str]
"""Digests of files beside the input by their paths (`planning.assets`)."""


@dataclass(frozen=True)
class StepDigest:
    """`own`: the step's settings alone; `chain`: with all that came before."""

    own: str
    chain: str


def chain(
    steps: Steps, config: Config, assets: Assets, *, start: str, grown: str | None = None,
    only: Callable[[Step], bool] = bool,
) -> dict[str, StepDigest]:  # fmt: skip
    """The digest of each step by its folder; `start` is that of what comes before the first.

    Of a pool that has grown `start` is the digest of its first wave, and `grown` that of all: a part
    depends on the others from the first step on that gathers them. Steps that `only` is false of are
    left out.
    """
    digests = {}
    more: list[object] = [grown] if grown else []
    for step in steps:
        if step.kind is Kind.CUTS or not only(step):
            continue  # cuts follow from the rules, and the step that applies these depends on them
        own, beside = _OWN[step.kind](step, config, assets), _beside(step, config, assets)
        if more and step.gathers:
            start, more = files.digest_of(start, *more), []
        if grown and step.kind is Kind.DEDUP and not config.dedup.prefer_earlier:
            beside.append("waves are equal")
        start = files.digest_of(FORMAT, step.folder, own, start, *beside)
        digests[step.folder] = StepDigest(files.digest_of(FORMAT, step.folder, own), start)
    return digests


def scorer_settings(scorer: Scorer, assets: Assets) -> list[object]:
    """What the scores of a model depend on, whatever they are called."""
    files_of = {key: assets.get(getattr(scorer, key) or "") for key in ("model", "pretrained")}
    return [scorer.model_dump(include=set(Scorer.model_fields)), files_of]


def _content(path: str | None, assets: Assets) -> str | None:
    return assets.get(path) if path else None


def _rules(step: Step, assets: Assets) -> list[object]:
    by_content = [with_paths(rule, lambda one: assets.get(one.path, "")) for rule in step.rules]
    return [rule.model_dump(by_alias=True, exclude_none=True) for rule in by_content]


def _sets(config: Config, assets: Assets) -> list[str]:
    against = config.decontaminate.against if config.decontaminate else ()
    return sorted(assets.get(path, "") for path in set(against))


def _prepare(step: Step, config: Config, assets: Assets) -> object:
    prepare = config.prepare
    unsure, lid = prepare.unsure, _content(prepare.language_model, assets)
    uids = _content(prepare.uids_in, assets)
    return [
        prepare.languages,
        {x: _content(path, assets) for x, path in prepare.metadata.items()},
        _content(prepare.words_in, assets), _rules(step, assets), config.input.columns.kept,
        unsure and unsure.model_dump(),
        *([uids] if uids else ()),
        *(["model", lid] if lid else ()),
        *(["ignore_case"] if prepare.ignore_case else ()),
        *([["counts as", sorted(prepare.counts_as.items())]] if prepare.counts_as else ()),
        *([prepare.spacing] if prepare.spacing == "released" else ()),
        *([["tags", tags.model_dump()]] if (tags := config.input.columns.tags) else ()),
        *(["sized"] if sized_by_pool(config) else ()),
        *(["unmatched"] if prepare.metadata and keeps_unmatched(config) else ()),
        *([_captions(config, assets)] if config.captions else ()),
    ]  # fmt: skip


def _captions(config: Config, assets: Assets) -> list[object]:
    draws = [config.seed] if config.caption.choose == "draw" else []
    sources = [
        [name, x.on, x.key, x.column, _content(x.path, assets)]
        for name, x in config.captions.items()
    ]
    return [
        "captions",
        sources,
        weights_of(config.captions),
        config.caption.choose == "draw",
        draws,
    ]


def _fetch(step: Step, config: Config, assets: Assets) -> object:
    return config.download.digested("fetch")


def _select_images(step: Step, config: Config, assets: Assets) -> object:
    if (against := config.decontaminate) is None:
        return _rules(step, assets)
    own = against.model_dump(exclude={"against", "embedding_similarity"})
    return [_rules(step, assets), own, _sets(config, assets)]


def _measure(step: Step, config: Config, assets: Assets) -> object:
    further = step.settings
    if not isinstance(further, FurtherScore):
        raise AssertionError(f"{step.folder} has no score")
    code = assets.get(f"code {step.name}", "")
    embedded = not EMBEDDINGS.isdisjoint(code.split())
    model = config.score if further.kind == "masked_clip" or embedded else None
    with_model = [scorer_settings(model, assets)[1:], _run_as(model)] if model else []
    if further.call is not None:
        return [further.model_dump(include={"call", "options", "columns"}), code, with_model]
    if further.kind in BESIDE:
        found = {key: x for key, x in further.own.items() if key not in OF_FOUND}
        return [further.kind, found, code, with_model]
    return [further.model_dump(include={"kind", "parser", "weights", "activation"}), with_model]


def _table(step: Step, config: Config, assets: Assets) -> object:
    if not isinstance(step.settings, FurtherScore):
        raise AssertionError(f"{step.folder} has no table")
    content = _content(step.settings.path, assets)
    return [step.settings.model_dump(include={"on", "key", "columns"}), content]


def _run_as(scorer: Scorer) -> object:
    """How a model is run, but for the number of processes that have it."""
    return {key: x for key, x in asdict(clip_model(scorer)).items() if key != "workers"}


def _model(step: Step, config: Config, assets: Assets) -> object:
    if not isinstance(step.settings, Scorer):
        raise AssertionError(f"{step.folder} has no scorer")
    return scorer_settings(step.settings, assets)


def _derive(step: Step, config: Config, assets: Assets) -> object:
    if step.name == schema.SIMILARITY:
        return _sets(config, assets)
    if isinstance(step.settings, VisualCluster) and step.settings.centroids:
        return _content(step.settings.centroids, assets)
    if isinstance(step.settings, Alip):
        return step.settings.model_dump()
    own = step.settings and step.settings.model_dump(exclude={"target"})
    target = _content(getattr(step.settings, "target", None), assets)
    return [own, target, config.seed]


def _score_rules(step: Step, config: Config, assets: Assets) -> list[object]:
    sets = config.decontaminate
    if runs_model(config) and sets and sets.embedding_similarity is not None:
        return [*_rules(step, assets), sets.embedding_similarity]
    return _rules(step, assets)


def _meanings(step: Step, config: Config, assets: Assets) -> object:
    return [_dumped(step), _score_rules(step, config, assets), config.seed]


def _balance(step: Step, config: Config, assets: Assets) -> object:
    asked = config.balance
    if asked is None:
        raise AssertionError("balance is not configured")
    later: list[object] = [asked.write] if asked.writes_all else []
    if asked.on != schema.MATCHES:
        later.append(["on", asked.on])
    if asked.soft_cap:
        later.append(asked.soft_cap.model_dump())
    if asked.adaptive:
        later.append(asked.adaptive.model_dump(exclude={"parser"}))
    own = asked.model_dump(exclude={"write", "soft_cap", "on", "adaptive"})
    return [own, config.seed, *later]


def _nouns(step: Step, config: Config, assets: Assets) -> object:
    return step.settings and step.settings.model_dump(include={"parser"})


def _dedup(step: Step, *_: object) -> object:
    """Without what tells of a pool that has grown alone."""
    return step.settings and step.settings.model_dump(exclude={"prefer_earlier"})


def _shards(step: Step, config: Config, assets: Assets) -> object:
    """The rows alone where nothing else is set, as before there were other ways to cut."""
    shards = config.shards
    own: dict[str, object] = {"bytes": shards.bytes} if shards.bytes else {"rows": shards.rows}
    if shards.multiple_of is not None:
        own["multiple_of"] = shards.multiple_of
    if config.captions and config.caption.join is not None:
        own["join"] = config.caption.join
    return own | ({"mixed": config.seed} if shards.order == "mixed" else {})


def _dumped(step: Step, *_: object) -> object:
    return step.settings and step.settings.model_dump()


_OWN: dict[Kind, Callable[[Step, Config, Assets], object]] = {
    Kind.PREPARE: _prepare,
    Kind.FETCH: _fetch,
    Kind.SELECT_IMAGES: _select_images,
    Kind.DEDUP: _dedup,
    Kind.MEASURE: _measure,
    Kind.TABLE: _table,
    Kind.MODEL: _model,
    Kind.JOIN: lambda step, config, assets: [*measured(config), *headed(config)],
    Kind.DERIVE: _derive,
    Kind.ENTITIES: _measure,
    Kind.MEANINGS: _meanings,
    Kind.SELECT_SCORES: _score_rules,
    Kind.NOUNS: _nouns,
    Kind.BALANCE: _balance,
    Kind.ADAPTIVE: _balance,
    Kind.SHARDS: _shards,
}
"""What the output of a step depends on, of its own settings."""


def _beside(step: Step, config: Config, assets: Assets) -> list[object]:
    """What else a step's output depends on, though its rows can be used again where it changes."""
    if step.kind is Kind.FETCH:
        download = config.download
        asked = download.digested("judge")
        lists = sorted(assets[x] for x in download.block_lists)
        blocked = [lists, download.block_distance] if lists else []
        return [[asked, assets.get(download.opt_out_list or ""), blocked]]
    if step.kind in (Kind.MODEL, Kind.JOIN) and not step.name:
        gates = ["agreement"] if config.caption.alip else []
        heads = [
            [name, x.activation, assets[x.weights]]
            for name, x in config.scores.items()
            if x.weights is not None
        ]
        return [*([heads] if heads else []), *gates]
    if step.kind is Kind.MEASURE and isinstance(step.settings, FurtherScore):
        follows = {key: x for key, x in step.settings.own.items() if key in OF_FOUND}
        return [follows] if follows else []
    return []
