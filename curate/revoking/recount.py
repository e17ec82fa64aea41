"""The record of a part counted again from its files, after pairs were taken out of these."""

from collections import Counter
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from curate import files
from curate.config import Config
from curate.config.paths import paths_in
from curate.errors import CurateError
from curate.ops.captions import FIGURE, score_figures
from curate.ops.captions import figures as figures_of_captions
from curate.planning.asked import counts_as
from curate.planning.steps import Kind, Steps
from curate.reasons import TRANSIENT, reached_rules
from curate.rundir.cuts import read_cuts
from curate.rundir.directory import DRAWS, TRANSIENT_ROWS, Run
from curate.schema import Stage
from curate.stages.balance import drawn_figures
from curate.stages.prepare import languages_of, measures
from curate.stages.select import failures, rule_figures, with_errors


def recount(
    run: Run, config: Config, steps: Steps, *, stage: Stage, folder: str, index: int
) -> None:
    """Make the record of a part at a step say what its files hold; without one, nothing is done.

    `steps` are those of `config`. What a step did (seconds, rows that were
    taken over or tried again) stays as it was.
    """
    record = run.record(folder, index)
    if record is None:
        return
    kept = files.read_table(run.part(folder, index))
    dropped: Counter[str] = Counter()
    dead: Counter[str] = Counter()
    figures = dict(record.figures)
    if folder == stage:
        dropped.update(files.read_table(run.ledger(stage, index))["reason"].to_pylist())
        if files.exists(broken := run.dead(stage, index)):
            dead.update(files.read_table(broken)["error"].to_pylist())
        figures |= _figures_of_rules(run, config, steps, stage=stage, index=index, kept=kept)
    if any(name.startswith(f"{FIGURE} ") for name in figures):
        of_scores = stage is Stage.SCORE
        figures = {x: n for x, n in figures.items() if not x.startswith(f"{FIGURE} ")}
        figures |= score_figures(kept) if of_scores else figures_of_captions(kept)
    if "matches" in figures:
        figures["matches"] = pc.sum(pc.list_value_length(kept["matches"])).as_py() or 0
    if "stored_bytes" in figures:
        figures["stored_bytes"] = pc.sum(kept["tar_size"]).as_py() or 0
    if stage is Stage.BALANCE and config.balance and config.balance.is_online:
        figures = drawn_figures(kept, seed=config.seed)
    if DRAWS in figures:
        figures[DRAWS] = pc.sum(kept["weight"]).as_py() or 0
    if TRANSIENT_ROWS in figures:
        figures[TRANSIENT_ROWS] = sum(x in TRANSIENT for x in kept["outcome"].to_pylist())
    now = replace(
        record,
        rows=len(kept) + dropped.total() + dead.total(),
        kept=len(kept),
        dropped=dict(sorted(dropped.items())),
        dead=dict(sorted(dead.items())),
        figures=figures,
        wrote={
            name: files.content_again(run.path(name), old) for name, old in record.wrote.items()
        },
    )
    if now != record:
        run.write_record(folder, index, now)


def _figures_of_rules(
    run: Run, config: Config, steps: Steps, *, stage: Stage, index: int, kept: pa.Table
) -> dict[str, float]:
    """What each rule drops by itself, of the pairs that reached the rules of `stage`.

    Nothing where their columns, or the lists of words that they name, cannot be had any more.
    """
    rules = steps.rules.get(stage, ())
    names = list(dict.fromkeys(name for rule in rules for name in rule.columns))
    lists = [one.path for rule in rules for one in paths_in(rule)]
    if not rules or not all(map(files.exists, lists)):
        return {}
    if stage is Stage.PREPARE:
        words_in = config.prepare.words_in
        if words_in is not None and not files.exists(words_in):
            return {}
        ledger = files.read_table(run.ledger(stage, index))
        ledger = ledger.filter(_reached_rules(ledger))
        captions = ledger["caption"].combine_chunks()
        unsure = config.prepare.unsure
        told = (unsure.below, unsure.language) if unsure else None
        try:
            languages = languages_of(
                captions, model=config.prepare.language_model, unsure=told,
                as_another=counts_as(config),
            )  # fmt: skip
        except CurateError:
            return {}  # the model's file, or the package that runs it, is not here any more
        again = {**languages, **measures(captions, words_in=words_in)}
        for name in set(names) & again.keys():
            ledger = ledger.append_column(name, again[name])
        if not set(names) <= set(ledger.column_names):
            return {}  # columns of the pool, of pairs that were dropped
        reached = pa.concat_tables([table.select(names) for table in (kept, ledger)])
    else:
        pairs = files.read_table(run.part(steps.upstream(stage), index))
        found = run.annotated(stage, index, beside=steps.beside(stage))
        if not found["uid"].equals(pairs["uid"]):
            return {}  # a run that is not finished
        scores = () if stage is Stage.DOWNLOAD else steps.needed
        if stage is Stage.SCORE:
            measured = [step.folder for step in steps.of(Kind.MEASURE)]
            found = with_errors(found, run, index, folders=measured)
        for name in found.drop_columns("uid").column_names:
            pairs = pairs.append_column(name, found[name])
        ledger = files.read_table(run.ledger(stage, index))
        others = ledger["uid"].filter(pc.invert(_reached_rules(ledger))).combine_chunks()
        left = pc.invert(pc.is_in(pairs["uid"], value_set=others))
        sound = pc.is_null(failures(pairs, scores=scores))
        reached = pairs.filter(pc.and_(left, sound))
    try:
        return rule_figures(reached, rules, cuts=read_cuts(run, stage))
    except CurateError:
        return {}  # a list of a rule is no list any more


def _reached_rules(ledger: pa.Table) -> pa.Array:
    """Which rows of a ledger were dropped by a rule of the stage, or after its rules."""
    return pa.array(map(reached_rules, ledger["reason"].to_pylist()), pa.bool_())
