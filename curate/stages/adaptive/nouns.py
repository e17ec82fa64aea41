"""Captions -> their nouns, in a folder of their own: another share or alpha parses none again.

Captions in other languages than English, by the language that prepare found, have none. What an earlier
run found of the same caption with the same parser is taken over.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate import files, schema
from curate.ops.hashing import pair_uids
from curate.ops.text.nouns import tagger_of
from curate.planning.plan import Plan
from curate.planning.steps import Step
from curate.rundir.directory import REUSED, Part
from curate.schema import Stage
from curate.stages.part import PartOutput, PartStep, TakePart, given

_TOGETHER = 256  # captions that are counted as done at once


@dataclass(frozen=True)
class NounsStep(PartStep):
    """The nouns of the captions of one part."""

    stage: ClassVar[Stage] = Stage.BALANCE
    annotates: ClassVar[bool] = True

    parser: str

    @property
    def folder(self) -> str:
        """``annotated/balance/nouns``."""
        return files.join(super().folder, "nouns")

    def process(self, part: Part) -> PartOutput:
        """Parse the captions that are not known yet."""
        table = self.run.rows(self.reads, part, columns=["uid", "caption", "language"])
        languages = pc.fill_null(table["language"], "")
        scored = pair_uids(languages, table["caption"])
        known = self.reusable(part)
        old = known if known is not None else self._nothing()
        at = np.asarray(pc.fill_null(pc.index_in(scored, value_set=old["scored"]), -1)).copy()
        fresh = np.flatnonzero(at < 0)
        rows = table.take(pa.array(fresh))
        with self.counted(part) as journal:
            journal.count(len(table) - len(fresh))
            made = self._parsed(rows, journal.count)
        at[fresh] = len(old) + np.arange(len(fresh))
        lists = pa.concat_tables([old.select(["nouns"]), pa.table([made], schema.OF_NOUNS)])
        nouns = lists["nouns"].take(pa.array(at)).combine_chunks()
        done = pa.table({"uid": table["uid"], "scored": scored, "nouns": nouns}, self._columns())
        return PartOutput(done, figures={REUSED: float(len(table) - len(fresh))})

    def _columns(self) -> pa.Schema:
        return pa.schema([("uid", pa.string()), ("scored", pa.string()), *schema.OF_NOUNS])

    def _nothing(self) -> pa.Table:
        return self._columns().empty_table()

    def _parsed(self, rows: pa.Table, count: Callable[[int], None]) -> pa.Array:
        """The nouns of each row; none of what is not in English."""
        found: list[list[str]] = [[] for _ in range(len(rows))]
        here = np.flatnonzero(np.asarray(pc.equal(pc.fill_null(rows["language"], ""), "en")))
        count(len(rows) - len(here))
        if len(here):
            captions = rows["caption"].take(pa.array(here)).to_pylist()
            for k, nouns in enumerate(tagger_of(self.parser).nouns(captions), start=1):
                found[here[k - 1]] = nouns
                if k % _TOGETHER == 0 or k == len(here):
                    count(k % _TOGETHER or _TOGETHER)
        return pa.array(found, schema.OF_NOUNS.field("nouns").type)


def transform(plan: Plan, step: Step) -> beam.PTransform:
    """Parts -> parts whose captions are parsed; a map."""
    adaptive = plan.config.balance.adaptive if plan.config.balance else None
    if adaptive is None:
        raise AssertionError("balance.adaptive is not configured")
    return beam.ParDo(TakePart(NounsStep(**given(plan, step), parser=adaptive.parser)))
