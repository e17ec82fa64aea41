"""Why pairs left: reasons with examples."""

from collections.abc import Mapping
from dataclasses import dataclass

from curate.config import Config
from curate.report.wording import explain
from curate.schema import Stage
from curate.summaries.tallies import Example, First, Tallies, What


@dataclass(frozen=True)
class Reason:
    """All pairs that left a stage for one reason."""

    stage: str
    reason: str
    pairs: int
    share: float  # of the pool
    explanation: str
    examples: tuple[Example, ...]


def reasons(
    summaries: Mapping[Stage, Tallies],
    counts: Mapping[Stage, dict[str, int]],
    *,
    pool: int,
    kind: First,
    config: Config,
) -> tuple[tuple[Reason, ...], dict[Stage, int]]:
    """Reasons, most frequent first, and the rows that each stage's ledger holds.

    `counts` are the pairs of each reason by stage, from the records; `kind` is that of dropped or of
    dead pairs.
    """
    what = What.LEDGER if kind is First.DROPPED else What.DEAD
    found = [
        Reason(
            stage=stage,
            reason=reason,
            pairs=pairs,
            share=pairs / pool if pool else 0.0,
            explanation=explain(reason, config=config),
            examples=summaries[stage].examples(kind, reason),
        )
        for stage, by_reason in counts.items()
        for reason, pairs in by_reason.items()
    ]
    found.sort(key=lambda r: (-r.pairs, list(Stage).index(Stage(r.stage)), r.reason))
    return tuple(found), {stage: summaries[stage].of_texts(what).total() for stage in counts}
