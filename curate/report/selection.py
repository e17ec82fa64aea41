"""What the rules select: each one's share in the drops, and the scores with the rules' thresholds."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import pyarrow as pa

from curate import schema
from curate.config import Config
from curate.ops.selection.quantiles import Cuts, quantiles_of
from curate.planning.steps import Steps
from curate.reasons import ALONE, ONLY, reached_rules, rule_reason
from curate.report.distributions import Grid, Spread
from curate.report.sheets import Ends, Sheet, Strip, beside, show
from curate.report.wording import conditions
from curate.rundir.cuts import read_cuts
from curate.rundir.directory import PART_STAGES, Run, Totals
from curate.schema import Stage
from curate.summaries.counting import by_language, group_of
from curate.summaries.tallies import First, Tallies, What

LANGUAGES = 6
"""Languages whose scores are shown by themselves."""

SHEETS = 6
"""Thresholds of a score that are shown with the pairs next to them."""

_CELLS = 400


@dataclass(frozen=True)
class RuleFacts:
    """What one rule does, with the others and without them."""

    rule: str
    stage: str
    asks: str
    pairs: int  # that reached the rules of the stage
    dropped: int  # for this rule: it is the first that they do not satisfy
    alone: int  # that it would drop if it were the only one
    only: int  # that no other rule of the stage drops


@dataclass(frozen=True)
class Threshold:
    """Where a rule on a score cuts."""

    rule: str
    value: float
    keeps: str  # `above` or `below`


@dataclass(frozen=True)
class LanguageScores:
    """The scores of the captions in one language."""

    language: str
    scored: int
    spread: Spread
    thresholds: tuple[Threshold, ...]


@dataclass(frozen=True)
class Scores:
    """One score of all scored pairs (before) and of those that the score stage kept (after)."""

    column: str
    scored: int
    spread: Spread
    thresholds: tuple[Threshold, ...]
    languages: tuple[LanguageScores, ...]  # the most frequent; none where there is but one
    sheets: tuple[Sheet, ...]  # thresholds of all languages, then those of one
    ends: Ends


def rules(steps: Steps, counts: Mapping[Stage, Totals]) -> tuple[RuleFacts, ...]:
    """The rules in the order in which they apply; `counts` are the totals of the stages that ran."""
    found = []
    for stage, one in counts.items():
        left = sum(n for reason, n in one["dropped"].items() if reached_rules(reason))
        reached = one["kept"] + left
        for rule in steps.rules.get(stage, ()):
            dropped = one["dropped"].get(rule_reason(rule.label), 0)
            alone, only = (int(one["figures"].get(x + rule.label, 0)) for x in (ALONE, ONLY))
            asks = conditions(rule)
            found.append(RuleFacts(rule.label, stage, asks, reached, dropped, alone, only))
    return tuple(found)


def scores(run: Run, config: Config, steps: Steps, scored: Tallies) -> tuple[Scores, ...]:
    """The scores of a run whose score stage counted `scored`; `steps` are those of `config`."""
    added, derived = steps.added[Stage.SCORE], steps.beside(Stage.SCORE)
    columns = {field.name: field.type for field in added if schema.is_score(field)}
    ahead = PART_STAGES[: PART_STAGES.index(Stage.SCORE)]
    reads = next(stage for stage in reversed(ahead) if run.done(stage))
    cuts = read_cuts(run, Stage.SCORE)
    grids = {name: _grids(scored, name, kind) for name, kind in columns.items()}
    thresholds = {name: _thresholds(config, name, cuts, language=None) for name in columns}
    languages = {name: _by_language(config, name, cuts, grids[name][1]) for name in columns}
    borders = {name: _borders(thresholds[name], languages[name]) for name in columns}
    strips = [x for name, found in borders.items() for at in found for x in _beside(name, *at)]
    shown = show(run, strips, reads=reads, beside=derived)
    return tuple(
        Scores(
            column=name,
            scored=int(whole.before.sum()),
            spread=whole.spread(),
            thresholds=thresholds[name],
            languages=languages[name],
            sheets=tuple(
                Sheet(cut.rule, cut.value, cut.keeps, language,
                      *(shown[strip] for strip in _beside(name, cut, language)))
                for cut, language in borders[name]
            ),
            ends=Ends(scored.examples(First.HIGHEST, name), scored.examples(First.LOWEST, name)),
        )
        for name, (whole, _) in grids.items()
    )  # fmt: skip


Border = tuple[Threshold, str | None]
"""A threshold, and the language that it is of."""


def _borders(cuts: tuple[Threshold, ...], languages: tuple[LanguageScores, ...]) -> list[Border]:
    """Each threshold once, ascending; those of single languages last. No more than `SHEETS`."""
    found: dict[tuple[float, str, str | None], Border] = {}
    for cut in sorted(cuts, key=lambda one: one.value):
        found.setdefault((cut.value, cut.keeps, None), (cut, None))
    for one in languages:
        for cut in one.thresholds:
            if cut not in cuts:
                found[cut.value, cut.keeps, one.language] = (cut, one.language)
    return list(found.values())[:SHEETS]


def _beside(column: str, cut: Threshold, language: str | None) -> tuple[Strip, Strip]:
    return beside(column, cut.value, keeps=cut.keeps, language=language)


def _grids(scored: Tallies, name: str, kind: pa.DataType) -> tuple[Grid, dict[str, Grid]]:
    """The values of a score, of all captions and by their language."""
    before = {x: scored.values(What.SCORED, of) for x, of in by_language(scored, name).items()}
    found = [values for values, _ in before.values() if len(values)]
    low = min((float(values[0]) for values in found), default=math.inf)
    high = max((float(values[-1]) for values in found), default=-math.inf)
    make = partial(_grid, name, low, high, whole=pa.types.is_integer(kind))
    whole, grids = make(), {language: make() for language in before}
    for language, grid in grids.items():
        after = scored.values(What.SELECTED, group_of(name, language))
        for one in (whole, grid):
            one.add(*before[language], one.before)
            one.add(*after, one.after)
    return whole, grids


def _grid(name: str, low: float, high: float, *, whole: bool) -> Grid:
    """Cells of a round width over the values, at least 1 for whole numbers; one grid for cosines."""
    if name == "clip_score" or low > high:
        return Grid(start=-1.0, step=0.005, cells=_CELLS + 1)
    width = ((high - low) or abs(high) or 1.0) / _CELLS
    power = 10.0 ** math.floor(math.log10(width))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= width)
    if whole:
        step = max(1.0, step)
    start = math.floor(low / step) * step
    return Grid(start=start, step=step, cells=math.floor((high - start) / step) + 2)


def _by_language(
    config: Config, name: str, cuts: Cuts, grids: dict[str, Grid]
) -> tuple[LanguageScores, ...]:
    if len(grids) < 2:
        return ()
    order = sorted(grids, key=lambda language: (-int(grids[language].before.sum()), language))
    return tuple(
        LanguageScores(
            language,
            int(grids[language].before.sum()),
            grids[language].spread(),
            _thresholds(config, name, cuts, language=language),
        )
        for language in order[:LANGUAGES]
    )


def _thresholds(
    config: Config, column: str, cuts: Cuts, *, language: str | None
) -> tuple[Threshold, ...]:
    """The thresholds of the rules; one that is taken per language belongs to that language alone."""
    found = []
    for rule in config.select:
        for leaf in rule.leaves():
            if leaf.column != column:
                continue
            low, high = leaf.between or (None, None)
            found += [Threshold(rule.label, x, "above") for x in (leaf.min, low) if x is not None]
            found += [Threshold(rule.label, x, "below") for x in (leaf.max, high) if x is not None]
            for quantile in quantiles_of([leaf]) if leaf.per in (None, "language") else ():
                cut = cuts.get((quantile, language if leaf.per else None))
                if cut is not None:
                    found.append(Threshold(rule.label, float(cut.value), "above"))
    return tuple(dict.fromkeys(found))
