"""The sources of captions of a run whose pairs may have several: what each of them brings."""

from collections.abc import Mapping
from dataclasses import dataclass

from curate.config import Config, weights_of
from curate.ops.captions import FIGURE
from curate.planning.asked import lending
from curate.reasons import RULE_PREFIX
from curate.rundir.directory import Totals
from curate.schema import Stage

_LEFT = "left "


@dataclass(frozen=True)
class Source:
    """What there is of a source of captions, of the pairs that prepare kept.

    Of what duplicates lend: of the pairs that dedup kept.
    """

    source: str
    weight: float
    pairs: int  # with a caption of it that was not left out
    captions: int  # of it, that were not
    chars: float | None  # of such a caption, in the mean
    words: float | None  # likewise
    entries: float | None  # that it matches, likewise
    score: float | None  # likewise, where a model has seen it
    loss: float | None  # mean of its `caption_weights`, where the gates weigh it
    left: dict[str, int]  # captions that were left out, by reason
    chosen: int  # pairs of the last stage before balancing whose caption is of it


def sources(config: Config, counts: Mapping[Stage, Totals]) -> tuple[Source, ...]:
    """The sources in the order of the configuration, the pairs' own captions first."""
    if not config.captions:
        return ()
    prepared = counts[Stage.PREPARE]["figures"]
    judged = prepared
    for stage in (Stage.DEDUP, Stage.SCORE):
        figures = counts[stage]["figures"] if stage in counts else {}
        judged = figures if any(x.startswith(f"{FIGURE} ") for x in figures) else judged
    lent = lending(config)
    found = counts[Stage.DEDUP]["figures"] if lent and Stage.DEDUP in counts else {}
    return tuple(
        _source(name, weight, found if name == lent else prepared, judged)
        for name, weight in weights_of(config.captions).items()
    )


def _source(
    name: str, weight: float, counted: Mapping[str, float], later: Mapping[str, float]
) -> Source:
    """By what was counted where the source came in, and by the last stage that counted captions."""
    told = f"{FIGURE} {name} "
    found = {x.removeprefix(told): n for x, n in counted.items() if x.startswith(told)}
    judged = {x.removeprefix(told): n for x, n in later.items() if x.startswith(told)}
    n = int(found.get("captions", 0))
    means = {x: found[x] / n if n else None for x in ("chars", "words", "entries") if x in found}
    reasons = {x.removeprefix(_LEFT): int(n) for x, n in found.items() if x.startswith(_LEFT)}
    return Source(
        name,
        weight,
        int(found.get("pairs", 0)),
        n,
        means.get("chars"),
        means.get("words"),
        means.get("entries"),
        judged["score"] / judged["scored"] if judged.get("scored") else None,
        judged["loss"] / judged["weighed"] if judged.get("weighed") else None,
        {x.removeprefix(RULE_PREFIX): n for x, n in sorted(reasons.items())},
        int(judged.get("chosen", 0)),
    )
