"""What a configuration could change where much of a pool leaves by its text: a look at the ledger."""

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from curate import files
from curate.config import Config
from curate.ops.captions import word_count
from curate.planning.asked import counts_as
from curate.reasons import DropReason
from curate.rundir.directory import Run, totals
from curate.schema import Stage
from curate.stages.prepare import languages_of, match_by_language

_SAMPLE = 50_000
"""Rows of the ledger that are looked at, at most."""
_MUCH, _GAIN = 0.05, 0.01
"""Shares of the pool: what a reason took that is looked into, and what a change keeps that is said."""
_UNSURE = 0.5
_SHORT = 3


@dataclass(frozen=True)
class _Dropped:
    """The captions that one reason took, of which `captions` are the first."""

    captions: pa.Array
    pairs: int

    def scaled(self, kept: pa.Array) -> int:
        """How many of all pairs a mask over `captions` stands for."""
        found = pc.sum(kept).as_py() or 0
        return round(found * self.pairs / len(self.captions)) if len(self.captions) else 0


def advice(run: Run, config: Config) -> Iterator[str]:
    """Lines on `prepare.ignore_case` and `prepare.unsure`, where they would keep pairs that left.

    The figures are counts where the ledger has up to 50,000 rows; else shares of its first, scaled up.
    """
    counts = totals(run, Stage.PREPARE)
    rows = counts["rows"]
    prepare = config.prepare
    unsure = (prepare.unsure.below, prepare.unsure.language) if prepare.unsure else None
    model = files.absolute(prepare.language_model) if prepare.language_model else None
    took = counts["dropped"]

    unmatched = took.get(DropReason.NO_MATCH, 0)
    if unmatched >= _MUCH * rows > 0 and not prepare.ignore_case:
        left = _captions(run, DropReason.NO_MATCH, pairs=unmatched)
        languages = languages_of(
            left.captions, model=model, unsure=unsure, as_another=counts_as(config)
        )["language"]
        metadata = {x: files.absolute(path) for x, path in prepare.metadata.items()}
        folded = match_by_language(
            left.captions, languages, metadata=metadata, ignore_case=True,
            released=prepare.spacing == "released",
        )  # fmt: skip
        gain = left.scaled(pc.greater(pc.list_value_length(folded), 0))
        if gain >= _GAIN * rows:
            yield (
                f"{unmatched:,} pairs match no entry ({unmatched / rows:.0%} of the pool); {gain:,} of"
                " them would if case did not count, as it does for MetaCLIP: prepare.ignore_case: true"
            )
    foreign = took.get(DropReason.LANGUAGE, 0)
    wanted = prepare.languages or tuple(sorted(prepare.metadata))
    if foreign >= _MUCH * rows > 0 and unsure is None and wanted:
        left = _captions(run, DropReason.LANGUAGE, pairs=foreign)
        scores = languages_of(left.captions, model=model, unsure=None)["language_score"]
        short = left.scaled(pc.less_equal(word_count(left.captions), _SHORT))
        gain = left.scaled(pc.less(scores, _UNSURE))
        if gain >= _GAIN * rows:
            yield (
                f"{foreign:,} pairs leave for their language ({foreign / rows:.0%} of the pool),"
                f" {short:,} of them with captions of up to {_SHORT} words, which are often taken for"
                f" another; of {gain:,} the model is not sure: prepare.unsure: {{below: {_UNSURE},"
                f" language: {wanted[0]}}} keeps these"
            )


def _captions(run: Run, reason: str, *, pairs: int) -> _Dropped:
    found = []
    left = _SAMPLE
    for index in run.done(Stage.PREPARE):
        table = files.read_table(run.ledger(Stage.PREPARE, index), columns=["caption", "reason"])
        captions = table["caption"].filter(pc.equal(table["reason"], reason)).slice(0, left)
        found.append(captions.combine_chunks())
        left -= len(captions)
        if not left:
            break
    return _Dropped(pa.concat_arrays(found) if found else pa.array([], pa.string()), pairs)
