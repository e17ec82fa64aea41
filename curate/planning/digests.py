"""A digest for each step of a run: what its output depends on, and nothing else.

A step's digest covers its own settings and the digests of all steps before it, so a changed setting
makes exactly the steps that depend on it stale. Settings that change nothing in the output (where to
connect, how many at once, which runner) are in no digest.
"""

from dataclasses import asdict, dataclass

from curate import files, schema
from curate.config import Config, Scorer
from curate.config.paths import with_paths
from curate.planning.asked import (
    clip_model,
    derived_of,
    enabled_stages,
    measured,
    rules_at,
    runs_model,
    sized_by_pool,
)
from curate.run.directory import ANNOTATED
from curate.schema import Stage

FORMAT = 4
"""Raised when the files that a step writes change, so that older ones are made again."""


@dataclass(frozen=True)
class StepDigest:
    """`own`: the step's settings alone; `chain`: with all that came before."""

    own: str
    chain: str


def step_settings(config: Config, assets: dict[str, str]) -> dict[str, object]:
    """What the output of each step depends on, by its folder, in flow order.

    `assets` are digests of files by their paths (`assets.content_digests`).
    """
    stages = enabled_stages(config)

    def rules(stage: Stage) -> list[object]:
        by_content = [
            with_paths(rule, lambda one: assets.get(one.path, ""))
            for rule in rules_at(stage, config)
        ]
        return [rule.model_dump(by_alias=True, exclude_none=True) for rule in by_content]

    def content(path: str | None) -> str | None:
        return assets.get(path) if path else None

    against = config.decontaminate
    sets = sorted(assets.get(path, "") for path in set(against.against if against else ()))
    metadata = {x: content(path) for x, path in sorted(config.prepare.metadata.items())}
    uids, words = content(config.prepare.uids_in), content(config.prepare.words_in)
    unsure, lid = config.prepare.unsure, content(config.prepare.language_model)
    settings: dict[str, object] = {
        Stage.PREPARE: [
            config.prepare.languages, metadata, words, rules(Stage.PREPARE),
            config.input.columns.kept, unsure and unsure.model_dump(),
            *([uids] if uids else ()),
            *(["model", lid] if lid else ()),
            *(["ignore_case"] if config.prepare.ignore_case else ()),
            *(["sized"] if sized_by_pool(config) else ()),
        ]
    }  # fmt: skip
    if Stage.DOWNLOAD in stages:
        settings[files.join(Stage.DOWNLOAD, ANNOTATED)] = config.download.digested("fetch")
        settings[Stage.DOWNLOAD] = rules(Stage.DOWNLOAD)
        if against:
            own = against.model_dump(exclude={"against", "embedding_similarity"})
            settings[Stage.DOWNLOAD] = [rules(Stage.DOWNLOAD), own, sets]
    if Stage.DEDUP in stages:
        settings[Stage.DEDUP] = config.dedup.model_dump()
    if Stage.SCORE in stages:
        for name, further in measured(config).items():
            model = config.score if further.kind == "masked_clip" else None
            with_model = (
                [scorer_settings(model, assets)[1:], asdict(clip_model(model))] if model else []
            )
            settings[score_folder(name)] = [further.model_dump(), with_model]
        scorers = config.score.scorers if config.score and runs_model(config) else {}
        for name, scorer in scorers.items():
            settings[score_folder(name)] = scorer_settings(scorer, assets)
        if not scorers:
            settings[score_folder("")] = list(config.scores)
        derived_columns = derived_of(config)
        for name, derived in derived_columns.items():
            if name == schema.SIMILARITY:
                settings[score_folder(name)] = sets
                continue
            target = content(getattr(derived, "target", None))
            settings[score_folder(name)] = [
                derived.model_dump(exclude={"target"}), target, config.seed
            ]  # fmt: skip
        by_rules = rules(Stage.SCORE)
        if schema.SIMILARITY in derived_columns and config.decontaminate:
            by_rules.append(config.decontaminate.embedding_similarity)
        if config.semdedup is not None:
            settings[score_folder(schema.SEMANTIC)] = [
                config.semdedup.model_dump(), by_rules, config.seed
            ]  # fmt: skip
        settings[Stage.SCORE] = by_rules
    if config.balance is not None:
        settings[Stage.BALANCE] = [config.balance.model_dump(), config.seed]
    if Stage.SHARDS in stages:
        settings[Stage.SHARDS] = config.shards.model_dump()
    return {str(folder): own for folder, own in settings.items()}


def conditions(config: Config, assets: dict[str, str]) -> dict[str, object]:
    """What else a step's output depends on, though its rows can be used again where it changes."""
    found: dict[str, object] = {}
    if (download := config.download).enabled:
        asked = download.digested("judge")
        lists = sorted(assets[x] for x in download.block_lists)
        blocked = [lists, download.block_distance] if lists else []
        folder = files.join(Stage.DOWNLOAD, ANNOTATED)
        found[folder] = [asked, assets.get(download.opt_out_list or ""), blocked]
    heads = {name: x for name, x in config.scores.items() if x.weights is not None}
    if heads:
        found[score_folder("")] = [
            [name, x.activation, assets[str(x.weights)]] for name, x in heads.items()
        ]
    return found


def score_folder(name: str) -> str:
    """Where the scores of the model of this name stand; without a name, those of the first."""
    folder = files.join(Stage.SCORE, ANNOTATED)
    return files.join(folder, name) if name else folder


def scorer_settings(scorer: Scorer, assets: dict[str, str]) -> list[object]:
    """What the scores of a model depend on, whatever they are called."""
    files_of = {key: assets.get(getattr(scorer, key) or "") for key in ("model", "pretrained")}
    return [scorer.model_dump(include=set(Scorer.model_fields)), files_of]


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
