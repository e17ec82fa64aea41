"""Why pairs left: reasons with examples, a part at a time."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc

from curate import files
from curate.config import Config
from curate.report.wording import explain
from curate.run.directory import Run
from curate.schema import Stage

EXAMPLES = 4
"""Pairs shown for each reason."""


Key = tuple[int, str, str, str]
"""The identity of a pair, as several may have one uid: part, uid, URL and caption."""


@dataclass(frozen=True)
class Example:
    """One pair, and the part in which its image may be found."""

    part: int
    uid: str
    url: str
    caption: str
    reason: str = ""
    value: str = ""  # what the decision rested on

    @property
    def key(self) -> Key:
        """The identity of the pair."""
        return self.part, self.uid, self.url, self.caption


@dataclass(frozen=True)
class Reason:
    """All pairs that left a stage for one reason."""

    stage: str
    reason: str
    pairs: int
    share: float  # of the pool
    explanation: str
    examples: tuple[Example, ...]


def rows_left(run: Run, stage: Stage, *, kind: str) -> Iterator[tuple[int, pa.Table]]:
    """Index and rows of each ledger part of `stage`; `kind` is ``dropped`` or ``dead``."""
    present = set(files.names(run.path(kind, stage)))

    def read(index: int) -> pa.Table | None:
        is_there = f"part-{index:05d}.parquet" in present
        return run.rows(f"{kind}/{stage}", index) if is_there else None

    for index, table in run.each(run.done(stage), read):
        if table is not None:
            yield index, table


def smallest(table: pa.Table, *, part: int, n: int, reason: str, value: str) -> list[Example]:
    """The `n` pairs of `table` with the smallest uids.

    `reason` and `value` are the names of the columns that fill these fields, or empty.
    """
    keys = [(name, "ascending") for name in ("uid", "url", "caption")]
    first = pc.sort_indices(table, sort_keys=keys)[:n]
    wanted = ["uid", "url", "caption", *filter(None, (reason, value))]
    return [
        Example(
            part=part,
            uid=row["uid"] or "",
            url=row["url"] or "",
            caption=row["caption"] or "",
            reason=row.get(reason) or "",
            value=row.get(value) or "",
        )
        for row in table.select(wanted).take(first).to_pylist()
    ]


def merged(examples: Iterable[Example], *, n: int) -> list[Example]:
    """The `n` examples with the smallest uids."""
    return sorted(examples, key=lambda e: (e.uid, e.part, e.url, e.caption))[:n]


def reasons(
    run: Run, counts: dict[Stage, dict[str, int]], *, pool: int, kind: str, config: Config
) -> tuple[tuple[Reason, ...], dict[Stage, int]]:
    """Reasons, most frequent first, and the rows that each stage's ledger holds.

    `counts` are the pairs of each reason by stage, from the records; `kind` is ``dropped`` or
    ``dead``.
    """
    column, value = ("reason", "value") if kind == "dropped" else ("error", "detail")
    found = []
    ledgered = {}
    for stage, by_reason in counts.items():
        examples: dict[str, list[Example]] = {}
        ledgered[stage] = 0
        for index, table in rows_left(run, stage, kind=kind):
            ledgered[stage] += len(table)
            for reason in pc.unique(table[column]).to_pylist():
                rows = table.filter(pc.equal(table[column], reason))
                more = smallest(rows, part=index, n=EXAMPLES, reason=column, value=value)
                examples[reason] = merged([*examples.get(reason, []), *more], n=EXAMPLES)
        found += [
            Reason(
                stage=stage,
                reason=reason,
                pairs=pairs,
                share=pairs / pool if pool else 0.0,
                explanation=explain(reason, config=config),
                examples=tuple(examples.get(reason, ())),
            )
            for reason, pairs in by_reason.items()
        ]
    found.sort(key=lambda r: (-r.pairs, list(Stage).index(Stage(r.stage)), r.reason))
    return tuple(found), ledgered


def kept_examples(run: Run, stage: Stage, *, n: int) -> tuple[Example, ...]:
    """The `n` pairs with the smallest uids among those that `stage` kept."""
    examples: list[Example] = []
    read = partial(run.rows, stage, columns=["uid", "url", "caption"])
    for index, table in run.each(run.done(stage), read):
        examples = merged([*examples, *smallest(table, part=index, n=n, reason="", value="")], n=n)
    return tuple(examples)
