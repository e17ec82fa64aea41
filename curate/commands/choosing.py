"""The best pairs of concepts, for `curate subset --concepts`: what is asked for, and what is said."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from curate import files
from curate.commands.concepts import tell_shared
from curate.commands.counting import Phases
from curate.commands.terminal import error_console, many, out_console
from curate.config import Config
from curate.errors import CurateError
from curate.rundir.directory import PART_STAGES, Run
from curate.schema import Stage

if TYPE_CHECKING:
    from curate.concepts.best import Asked, Best, By

_EVERY = 0.5  # seconds between two looks at how far it is
_THINGS = {"captions": "parts", "prompts": "prompts", "pairs": "parts"}


@dataclass(frozen=True)
class Targets:
    """Where the pairs are written to."""

    npy: str | None  # their uids, as a subset file
    table: str | None
    out: str | None  # the folder of their shards

    def check(self, *, workers: int | None) -> None:
        """Raise a CurateError where there is none, or one that cannot be written."""
        if self.npy is self.table is self.out is None:
            raise CurateError("give --npy FILE, --table FILE or --out DIR, to write the pairs to")
        if self.table is not None and not self.table.lower().endswith((".csv", ".parquet")):
            raise CurateError(
                f"--table {self.table}: expected a name that ends in .csv or .parquet"
            )
        if self.out is not None and files.names(files.absolute(self.out)):
            raise CurateError(f"--out {self.out} is not empty; give another, or remove it")
        if workers is not None and workers < 1:
            raise CurateError(f"--workers {workers}: expected 1 or more")


def asked_for(*, per: int, by: "By", least: float, side: int, templates: Sequence[str]) -> "Asked":
    """What is taken of each concept, by the options of the same names."""
    from curate.concepts.best import Asked
    from curate.concepts.prompts import check_templates, imagenet_templates

    if per < 1:
        raise CurateError(f"--per {per}: expected 1 or more")
    if not -1 <= least <= 1:
        raise CurateError(f"--min-similarity {least}: a cosine is from -1 to 1")
    if side < 0:
        raise CurateError(f"--min-side {side}: expected pixels, 0 or more")
    check_templates(templates)
    return Asked(per, by, least, side, tuple(templates) or imagenet_templates())


def write_best(
    run: Run,
    config: Config,
    named: str,
    asked: "Asked",
    *,
    stage: str,
    to: Targets,
    workers: int | None,
) -> None:
    """Choose the best pairs of the concepts in the file `named`, write them, and say how many."""
    from curate.concepts.best import best
    from curate.concepts.copies import write_copies
    from curate.concepts.names import read_names
    from curate.concepts.writing import write_rows
    from curate.finding.stored import stored_embeddings
    from curate.finished.indexes import pairs_of
    from curate.ops.selection.uids import halves, save_subset
    from curate.planning.steps import enabled_stages

    stages = [x for x in PART_STAGES if x in enabled_stages(config)]
    if stage not in (Stage.SCORE, Stage.BALANCE):
        raise CurateError(f"--stage {stage}: --concepts takes what score or balance kept")
    if to.out is not None:
        if stage != stages[-1]:
            raise CurateError(
                f"--out {to.out}: the shards hold what {stages[-1]} kept; leave out --stage {stage}"
            )
        pairs_of(run)
    embeddings = stored_embeddings(run, config)
    concepts = read_names(files.absolute(named))
    tell_shared(concepts)
    with Phases(error_console, every=_EVERY, things=_THINGS) as phases:
        found = best(embeddings, concepts, asked, stage=stage, threads=workers, seen=phases.seen)
    _tell(found, asked)
    n = many(len(found.uids), "pair")
    if to.npy is not None:
        save_subset(files.absolute(to.npy), halves(found.table["uid"]))
        out_console.print(f"uids    {to.npy}  ({n})")
    if to.table is not None:
        write_rows(found.table, files.absolute(to.table))
        out_console.print(f"table   {to.table}  ({many(len(found.table), 'row')})")
    if to.out is not None:
        shards, pairs = write_copies(run, found.table, to.out, rows=config.shards.rows)
        out_console.print(f"shards  {to.out}  ({many(shards, 'shard')}, {many(pairs, 'pair')})")


def _tell(found: "Best", asked: "Asked") -> None:
    """Print how many concepts are full, and name the others with what there is of them."""
    concepts = found.concepts.concepts
    few = np.flatnonzero(found.taken < asked.per).tolist()
    full = len(concepts) - len(few)
    out_console.print(
        f"{many(full, 'concept')} of {len(concepts):,} with {many(asked.per, 'pair')}, by {asked.by};"
        f" {many(len(found.table) - len(found.uids), 'pair')} of several concepts more than once"
    )
    if few:
        told = ", ".join(f"{concepts[at]} {found.taken[at]:,}" for at in few)
        out_console.print(f"too few: {told}")
