"""The whole pipeline on one screen: a plan becomes one Beam graph.

    parts -> prepare -> download -> dedup -> score -> balance -> shards
                        fetch,      (all     annotate, (all       (all
                        select      parts)   select    parts)     parts)

An element is a part; what a stage makes travels through the part's files. So any contiguous run of
stages is a graph of its own: that of a rebalanced run begins at balance.
"""

from typing import Any

import apache_beam as beam

from curate import config as configuration
from curate import files, schema
from curate.config import LOCAL_RUNNER, Config
from curate.ops.duplicates.graph import DedupRule
from curate.ops.scores.clip import embedding_prefix
from curate.planning.asked import (
    added_columns,
    clip_model,
    derived_of,
    image_encoder,
    measure_spec,
    measured,
    runs_model,
    sized_by_pool,
)
from curate.planning.cutting import most_dead
from curate.planning.digests import score_folder
from curate.planning.inputs import pool_format
from curate.planning.plan import Plan
from curate.run.directory import ANNOTATED
from curate.schema import Stage
from curate.stages.balance import Balance, BalanceStep, Target
from curate.stages.dedup.dedup import Dedup, DedupStep
from curate.stages.dedup.forests import Spread
from curate.stages.derived.nearest import NearestTarget, NearestTargetStep
from curate.stages.derived.neg_clip_loss import NegClipLoss, NegClipLossStep
from curate.stages.derived.simcore import SimCore, SimCoreStep
from curate.stages.derived.similarity import NormSimStep, SimilarityStep
from curate.stages.download import FetchStep
from curate.stages.meanings.semantic import FindDuplicates, SemanticStep
from curate.stages.part import TakePart
from curate.stages.prepare import Prepare, PrepareStep
from curate.stages.score.measure import JoinStep, MeasureStep
from curate.stages.score.model import ScoreStep, TakeScores
from curate.stages.select import Select, SelectDownload, SelectScore
from curate.stages.shards import Shards, ShardStep
from curate.stages.unwanted import Evaluations, Lists
from curate.stages.wfpp import Wfpp, WfppStep
from curate.web.fetch import FetchPolicy


def build(pipeline: beam.Pipeline, plan: Plan, *, clustered: bool = False) -> None:
    """Add the graph of `plan` to `pipeline`.

    `clustered` says that dedup's verdicts stand and need not be computed.
    """
    stages = [stage for stage in plan.stages if plan.run.makes(stage)]
    parts: Any = pipeline | "Parts" >> beam.Create(plan.parts)  # which spreads them, too
    if Stage.PREPARE in stages:
        parts |= "Prepare" >> Prepare(prepare_step(plan))
    if Stage.DOWNLOAD in stages:
        parts |= "Fetch" >> beam.ParDo(TakePart(fetch_step(plan)))
        parts |= "Select images" >> Select(select_step(plan, Stage.DOWNLOAD))
    if Stage.DEDUP in stages:
        spread = Spread.over(sum(part.rows for part in plan.parts))
        parts |= "Dedup" >> Dedup(dedup_step(plan), spread=spread, clustered=clustered)
    if Stage.SCORE in stages:
        for name, measure in measure_steps(plan).items():
            take = beam.ParDo(TakePart(measure))
            parts |= f"Measure {name}" >> (
                hinted(take, plan.config) if measure.measure.clip else take
            )
        if not runs_model(plan.config):
            parts |= "Join scores" >> beam.ParDo(TakePart(join_step(plan)))
        for name, step in score_steps(plan).items():
            parts |= f"Score {name}".strip() >> hinted(beam.ParDo(TakeScores(step)), plan.config)
        for name, column in derived_columns(plan).items():
            parts |= f"Derive {name}" >> column
        parts |= "Select scores" >> select_scores(plan)
    if Stage.BALANCE in stages:
        if plan.config.balance and plan.config.balance.wfpp:
            parts |= "Balance" >> Wfpp(wfpp_step(plan))
        else:
            parts, _ = parts | "Balance" >> Balance(balance_step(plan))
    if Stage.SHARDS in stages:
        _ = parts | "Shards" >> Shards(shard_step(plan))


def build_score(pipeline: beam.Pipeline, plan: Plan, *, name: str) -> None:
    """Add the further score `name` alone, over parts that stand."""
    parts = pipeline | "Parts" >> beam.Create(plan.parts)
    step = TakeScores(score_step(plan, name))
    _ = parts | f"Score {name}" >> hinted(beam.ParDo(step), plan.config)


def hinted(transform: Any, config: Config) -> Any:
    """Ask for an accelerator, for this transform alone, wherever workers are rented.

    The local runner would start a second set of worker processes for a step with hints.
    """
    if config.score is None or config.beam.runner == LOCAL_RUNNER:
        return transform
    return transform.with_resource_hints(
        accelerator=config.score.accelerator,
        min_ram=config.score.min_ram,
        max_active_bundles_per_worker="1",
    )


def _common(plan: Plan, stage: Stage, folder: str | None = None) -> dict[str, Any]:
    digest = plan.digests[folder or stage]
    return {
        "run": plan.run, "reads": plan.upstream(stage), "digest": digest.chain, "own": digest.own,
    }  # fmt: skip


def prepare_step(plan: Plan) -> PrepareStep:
    """The step that reads the pool."""
    prepare = plan.config.prepare
    metadata = {x: files.absolute(path) for x, path in prepare.metadata.items()}
    return PrepareStep(
        **_common(plan, Stage.PREPARE),
        pool=pool_format(plan.config),
        languages=prepare.languages,
        metadata=metadata,
        words_in=files.absolute(prepare.words_in) if prepare.words_in else None,
        uids_in=files.absolute(prepare.uids_in) if prepare.uids_in else None,
        language_model=files.absolute(prepare.language_model) if prepare.language_model else None,
        unsure=(prepare.unsure.below, prepare.unsure.language) if prepare.unsure else None,
        ignore_case=prepare.ignore_case,
        rules=plan.rules(Stage.PREPARE),
        sized=sized_by_pool(plan.config),
        max_dead=most_dead(
            sum(part.rows for part in plan.parts), fraction=plan.config.input.max_dead_fraction
        ),
    )


def fetch_step(plan: Plan) -> FetchStep:
    """The step that fetches images."""
    download = plan.config.download
    hashed = download.perceptual_hash or "pdq" in plan.blocked
    return FetchStep(
        **_common(plan, Stage.DOWNLOAD, files.join(Stage.DOWNLOAD, ANNOTATED)),
        policy=FetchPolicy(
            **download.model_dump(include=set(FetchPolicy.__dataclass_fields__) - {"proxy"}),
            proxy=download.proxy,  # with its password, which no dump has
        ),
        encoder=image_encoder(download, perceptual_hash=hashed, md5="md5" in plan.blocked),
        keep=download.keeps,
        lists=Lists(tuple(map(files.absolute, download.block_lists)), download.block_distance),
        retry_failed=plan.retry_failed,
        decode_timeout=download.decode_timeout,
    )


def select_step(plan: Plan, stage: Stage) -> SelectDownload | SelectScore:
    """The step that applies the rules of `stage`."""
    config = plan.config
    common = {**_common(plan, stage), "rules": plan.rules(stage), "columns": plan.columns(stage)}
    if stage is Stage.DOWNLOAD:
        return SelectDownload(**common, evaluations=evaluations(config))
    added = added_columns(config)[Stage.SCORE].names
    sets = config.decontaminate
    return SelectScore(
        **common,
        scores=tuple(name for name in added if name not in schema.DERIVED.names),
        contaminated_from=sets.embedding_similarity if sets else None,
        semantic=config.semdedup is not None,
    )


def select_scores(plan: Plan) -> Select:
    """The transform that applies the score rules, and semantic deduplication where it is asked for."""
    step = select_step(plan, Stage.SCORE)
    asked = plan.config.semdedup
    if asked is None or not isinstance(step, SelectScore):
        return Select(step)
    semantic = SemanticStep(
        **_common(plan, Stage.SCORE, score_folder(schema.SEMANTIC)),
        **asked.model_dump(),
        select=step,
        seed=plan.config.seed,
    )
    return Select(step, before=lambda parts, sides: (
        parts | "Duplicates" >> FindDuplicates(semantic, sides=sides)))  # fmt: skip


def evaluations(config: Config) -> Evaluations | None:
    """The evaluation sets that no pair may come from."""
    if (found := config.decontaminate) is None:
        return None
    paths = tuple(map(files.absolute, found.against))
    return Evaluations(paths, **found.model_dump(exclude={"against", "embedding_similarity"}))


def dedup_step(plan: Plan) -> DedupStep:
    """The step that drops duplicates."""
    dedup = plan.config.dedup
    return DedupStep(
        **_common(plan, Stage.DEDUP),
        rule=DedupRule(**dedup.model_dump(exclude={"enabled"})),
        columns=plan.columns(Stage.DEDUP),
    )


def score_steps(plan: Plan) -> dict[str, ScoreStep]:
    """The steps that run models, by the name of the score; the nameless last one joins the others."""
    score = plan.config.score if runs_model(plan.config) else None
    return {name: score_step(plan, name) for name in (score.scorers if score else ())}


def measure_steps(plan: Plan) -> dict[str, MeasureStep]:
    """The steps of further scores that are not heads, by the name of the score."""
    config = plan.config
    return {
        name: MeasureStep(
            **_common(plan, Stage.SCORE, score_folder(name)),
            name=name,
            measure=measure_spec(further, config),
            encode_format=config.download.encode_format,
        )
        for name, further in measured(config).items()
    }


def join_step(plan: Plan) -> JoinStep:
    """The step that joins further scores where no model runs."""
    common = _common(plan, Stage.SCORE, score_folder(""))
    return JoinStep(**common, joined=tuple(measured(plan.config)))


def score_step(plan: Plan, name: str) -> ScoreStep:
    """The step that runs the model of a score."""
    score = plan.config.score
    if score is None:
        raise AssertionError("score is not configured")
    scorer = score.scorers[name]
    return ScoreStep(
        **_common(plan, Stage.SCORE, score_folder(name)),
        model=clip_model(scorer),
        encode_format=plan.config.download.encode_format,
        name=name,
        embeddings=embedding_prefix(scorer.model) if scorer.embeddings else "",
        joined=() if name else (*score.also, *measured(plan.config)),
        heads=()
        if name
        else tuple(
            (head, files.absolute(one.weights), one.activation)
            for head, one in plan.config.scores.items()
            if one.weights
        ),
    )


def derived_columns(plan: Plan) -> dict[str, Any]:
    """The transforms that make columns of stored embeddings, by column."""
    found: dict[str, Any] = {}
    for name, asked in derived_of(plan.config).items():
        common = _common(plan, Stage.SCORE, score_folder(name))
        if isinstance(asked, configuration.NormSim):
            target = files.absolute(asked.target)
            norm_sim = NormSimStep(**common, target=target, norm=asked.norm)
            found[name] = beam.ParDo(TakePart(norm_sim))
        elif isinstance(asked, configuration.Decontaminate):
            paths = tuple(map(files.absolute, asked.against))
            found[name] = beam.ParDo(TakePart(SimilarityStep(**common, sets=paths)))
        elif isinstance(asked, configuration.NearestTarget):
            settings = asked.model_dump() | {"target": files.absolute(asked.target)}
            near = NearestTargetStep(**common, **settings, seed=plan.config.seed)
            found[name] = NearestTarget(near)
        elif isinstance(asked, configuration.SimCore):
            settings = asked.model_dump() | {"target": files.absolute(asked.target)}
            found[name] = SimCore(SimCoreStep(**common, **settings, seed=plan.config.seed))
        else:
            loss = NegClipLossStep(**common, **asked.model_dump(), seed=plan.config.seed)
            found[name] = NegClipLoss(loss)
    return found


def balance_step(plan: Plan) -> BalanceStep:
    """The step that samples."""
    if plan.config.balance is None:
        raise AssertionError("balance is not configured")
    return BalanceStep(
        **_common(plan, Stage.BALANCE),
        target=Target(**plan.config.balance.model_dump(exclude={"wfpp"})),
        metadata={x: files.absolute(p) for x, p in plan.config.prepare.metadata.items()},
        seed=plan.config.seed,
        columns=plan.columns(Stage.BALANCE),
    )


def wfpp_step(plan: Plan) -> WfppStep:
    """The step that prunes pairs of frequent words, in the balance's place."""
    if plan.config.balance is None or plan.config.balance.wfpp is None:
        raise AssertionError("balance.wfpp is not configured")
    return WfppStep(
        **_common(plan, Stage.BALANCE),
        **plan.config.balance.wfpp.model_dump(),
        columns=plan.columns(Stage.BALANCE),
    )


def shard_step(plan: Plan) -> ShardStep:
    """The step that writes shards."""
    return ShardStep(
        run=plan.run,
        reads=plan.upstream(Stage.SHARDS),
        digest=plan.digests[Stage.SHARDS].chain,
        rows=plan.config.shards.rows,
        encode_format=plan.config.download.encode_format,
        kept=plan.config.download.keeps and not plan.config.download.disable_all_reencoding,
    )
