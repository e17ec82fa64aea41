"""The numbers of a run: all that the page, the figures and the cards say, and nothing else.

Facts are a function of what the run's stages counted of its files; the seconds stand apart from the
rest because they alone differ between two runs of the same configuration.
"""

from dataclasses import asdict, dataclass

import pyarrow as pa

from curate import files, schema
from curate.config import Config
from curate.finding.map import Map, draw_map
from curate.formats import format_of
from curate.ops.images.encoder import KINDS
from curate.ops.selection.sweeping import Sweep
from curate.planning.steps import Steps, steps_of
from curate.reasons import DropReason
from curate.report import (
    denied,
    distributions,
    domains,
    duplicates,
    entries,
    labels,
    ledger,
    meanings,
    optouts,
    perspectives,
    selection,
    sources,
    sweeps,
)
from curate.report.counted import Counted, counted
from curate.report.hosts import Hosts
from curate.report.origin import Origin, origin_of
from curate.rundir.directory import Run, totals
from curate.schema import Stage
from curate.summaries.tallies import Example, First


@dataclass(frozen=True)
class StageFacts:
    """Counts of one stage."""

    stage: str
    parts: int
    rows: int  # pairs that came in
    kept: int
    dropped: int
    dead: int


@dataclass(frozen=True)
class Check:
    """An equation that has to hold if no pair was lost."""

    stage: str
    claim: str
    left: int
    right: int

    @property
    def holds(self) -> bool:
        """Whether both sides are equal."""
        return self.left == self.right


@dataclass(frozen=True)
class Shard:
    """One tar of the output."""

    name: str
    pairs: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Facts:
    """A run in numbers; what did not run is None or empty."""

    pairs: int  # in the pool
    kept: int
    shards: tuple[Shard, ...] | None
    origin: Origin
    funnel: tuple[StageFacts, ...]
    checks: tuple[Check, ...]
    dropped: tuple[ledger.Reason, ...]
    dead: tuple[ledger.Reason, ...]
    languages: tuple[distributions.Language, ...]
    captions: distributions.Captions
    images: distributions.Images | None
    hosts: Hosts | None
    duplicates: duplicates.Duplicates | None
    meanings: meanings.Meanings | None
    map: Map | None  # where embeddings are stored
    rules: tuple[selection.RuleFacts, ...]
    scores: tuple[selection.Scores, ...]
    labels: tuple[labels.Labels, ...]
    words: tuple[denied.Words, ...]
    sources: tuple[sources.Source, ...]  # of captions, where pairs may have several
    balance: entries.Balance | None
    perspectives: tuple[perspectives.Perspective, ...]  # of an adaptive balance
    sweep: Sweep | None
    examples: tuple[Example, ...]  # kept pairs
    seconds: dict[str, float]  # of work, over all workers, by stage
    written: str  # what is to be said of a set where not each pair is taken once
    domains: domains.Domains | None
    opt_outs: optouts.OptOuts | None
    volume: distributions.Volume  # of the set
    columns: pa.Schema  # of the parts after the last stage

    def image_endings(self, config: Config) -> tuple[str, ...]:
        """What the names of the shards' images end in, most often what is encoded here does."""
        endings: list[str] = [config.download.encode_format]
        if config.download.keeps and self.images and self.brings_images:
            formats = {one.image_format for one in self.images.formats if one.kept}
            endings += [x for x, kind in KINDS.items() if kind in formats and x not in endings]
        return tuple(endings)

    @property
    def brings_images(self) -> bool:
        """Whether some of the pool's files hold images."""
        return any(format_of(one.format or "").brings_images for one in self.origin.inputs)

    def to_json(self) -> dict[str, object]:
        """The facts as a JSON document."""
        document = asdict(self)
        del document["columns"]
        for check, one in zip(document["checks"], self.checks, strict=True):
            check["holds"] = one.holds
        return document


def collect(
    run: Run, config: Config, *, steps: Steps | None = None, found: Counted | None = None
) -> Facts:
    """The facts of the run; `steps` are those of `config`, `found` what `counted` gives."""
    steps = steps or steps_of(config)
    found = found or counted(run, steps)
    stages = list(found.stages)
    counts = {stage: totals(run, stage) for stage in stages}
    pool, final = counts[stages[0]]["rows"], stages[-1]
    (dropped, in_ledger), (dead, in_dead) = (
        ledger.reasons(found.stages, reasons, pool=pool, kind=kind, config=config)
        for kind, reasons in (
            (First.DROPPED, {stage: one["dropped"] for stage, one in counts.items()}),
            (First.DEAD, {stage: one["dead"] for stage, one in counts.items()}),
        )
    )
    last = found.stages[final]
    captions, languages = distributions.captions_and_languages(found.stages[stages[0]], last)
    funnel = [
        StageFacts(
            stage=stage,
            parts=one["parts"],
            rows=one["rows"],
            kept=one["kept"],
            dropped=sum(one["dropped"].values()),
            dead=sum(one["dead"].values()),
        )
        for stage, one in counts.items()
    ]
    shards = _shards(run) if config.download.enabled else None
    if shards is not None:
        kept = sum(shard.pairs for shard in shards)
        funnel.append(StageFacts(Stage.SHARDS, len(shards), counts[final]["kept"], kept, 0, 0))
    origin = origin_of(run, config)
    asked = config.balance
    has_balance = Stage.BALANCE in stages and asked is not None and asked.counts_entries
    return Facts(
        pairs=pool,
        kept=funnel[-1].kept,
        shards=shards,
        origin=origin,
        funnel=tuple(funnel),
        checks=_checks(funnel, origin, in_ledger, in_dead),
        dropped=dropped,
        dead=dead,
        languages=languages,
        captions=captions,
        images=distributions.images(
            found.stages[Stage.DOWNLOAD], last, has_faces=config.download.faces is not None
        )
        if Stage.DOWNLOAD in stages
        else None,
        hosts=found.largest,
        duplicates=duplicates.duplicates(
            run,
            config,
            found.stages[Stage.DEDUP],
            pairs_in=counts[Stage.DEDUP]["rows"],
            dropped=sum(counts[Stage.DEDUP]["dropped"].values()),
        )
        if Stage.DEDUP in stages
        else None,
        meanings=meanings.meanings(run) if config.semdedup and Stage.SCORE in stages else None,
        map=draw_map(run, config) if Stage.SCORE in stages else None,
        rules=selection.rules(steps, counts),
        scores=selection.scores(run, config, steps, found.stages[Stage.SCORE])
        if Stage.SCORE in stages
        else (),
        labels=labels.labels(found.stages[Stage.SCORE], steps) if Stage.SCORE in stages else (),
        words=denied.denied(run, config, steps) if Stage.SCORE in stages else (),
        sources=sources.sources(config, counts),
        balance=entries.balance(
            run,
            asked,
            counts[Stage.BALANCE],
            kept_pairs={one.language: one.kept for one in languages},
        )
        if has_balance
        else None,
        perspectives=perspectives.perspectives(run) if Stage.BALANCE in stages else (),
        sweep=sweeps.stored(run, stages),
        examples=last.examples(First.KEPT),
        seconds={str(stage): float(one["seconds"]) for stage, one in counts.items()},
        written=entries.written(run, asked, counts[Stage.BALANCE])
        if Stage.BALANCE in stages
        else "",
        domains=found.sites.facts if found.sites else None,
        opt_outs=optouts.opt_outs(
            found.stages[Stage.DOWNLOAD],
            found.hosts,
            pairs=counts[Stage.DOWNLOAD]["dropped"].get(DropReason.OPTED_OUT, 0),
            asked=config.download,
        )
        if found.hosts is not None
        else None,
        volume=distributions.volume(last),
        columns=schema.after(final, enabled=stages, added=steps.added),
    )


def _checks(
    funnel: list[StageFacts],
    origin: Origin,
    in_ledger: dict[Stage, int],
    in_dead: dict[Stage, int],
) -> tuple[Check, ...]:
    checks = []
    rows_in = [source.rows for source in origin.inputs if source.rows is not None]
    if rows_in and len(rows_in) == len(origin.inputs):
        rows = sum(rows_in)
        checks.append(Check(funnel[0].stage, "rows of the input = pairs in", rows, funnel[0].rows))
    for before, stage in zip([None, *funnel[:-1]], funnel, strict=True):
        if before:
            claim = f"kept by {before.stage} = pairs in"
            checks.append(Check(stage.stage, claim, before.kept, stage.rows))
        gone = stage.dropped + stage.dead
        claim = "pairs in = kept + dropped + dead"
        checks.append(Check(stage.stage, claim, stage.rows, stage.kept + gone))
        if stage.stage in in_ledger:
            found = in_ledger[Stage(stage.stage)] + in_dead[Stage(stage.stage)]
            claim = "rows in the ledger = dropped + dead"
            checks.append(Check(stage.stage, claim, found, gone))
    return tuple(checks)


def _shards(run: Run) -> tuple[Shard, ...] | None:
    url = run.path(Stage.SHARDS, "manifest.json")
    if not files.exists(url):
        return None
    return tuple(
        Shard(one["name"], int(one["pairs"]), int(one["bytes"]), one["sha256"])
        for one in files.read_document(url)["shards"]
    )
