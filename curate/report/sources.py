"""The sources of captions of a run whose pairs may have several: what each of them brings."""

from collections.abc import Mapping
from dataclasses import dataclass

from curate.config import Config, weights_of
from curate.ops.captions import FIGURE
from curate.reasons import RULE_PREFIX
from curate.rundir.directory import Totals
from curate.schema import Stage

_LEFT = "left "


@dataclass(frozen=True)
class Source:
    """What there is of a source of captions, of the pairs that prepare kept."""

    source: str
    weight: float
    pairs: int  # with a caption of it that was not left out
    captions: int  # of it, that were not
    chars: float | None  # of such a caption, in the mean
    words: float | None  # likewise
    entries: float | None  # that it matches, likewise
    score: float | None  # likewise, where a model has seen it
    left: dict[str, int]  # captions that were left out, by reason
    chosen: int  # pairs of the last stage before balancing whose caption is of it


def sources(config: Config, counts: Mapping[Stage, Totals]) -> tuple[Source, ...]:
    """The sources in the order of the configuration, the pairs' own captions first."""
    if not config.captions:
        return ()
    prepared = counts[Stage.PREPARE]["figures"]
    scored = counts[Stage.SCORE]["figures"] if Stage.SCORE in counts else {}
    return tuple(
        _source(name, weight, prepared, scored)
        for name, weight in weights_of(config.captions).items()
    )


def _source(
    name: str, weight: float, prepared: Mapping[str, float], scored: Mapping[str, float]
) -> Source:
    told = f"{FIGURE} {name} "
    found = {x.removeprefix(told): n for x, n in prepared.items() if x.startswith(told)}
    judged = {x.removeprefix(told): n for x, n in scored.items() if x.startswith(told)}
    n = int(found.get("captions", 0))
    means = {x: found[x] / n if n else None for x in ("chars", "words", "entries") if x in found}
    reasons = {x.removeprefix(_LEFT): int(n) for x, n in found.items() if x.startswith(_LEFT)}
    of_model = any(x.startswith(f"{FIGURE} ") for x in scored)
    return Source(
        name,
        weight,
        int(found.get("pairs", 0)),
        n,
        means.get("chars"),
        means.get("words"),
        means.get("entries"),
        judged["score"] / judged["scored"] if judged.get("scored") else None,
        {x.removeprefix(RULE_PREFIX): n for x, n in sorted(reasons.items())},
        int((judged if of_model else found).get("chosen", 0)),
    )
