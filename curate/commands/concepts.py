"""`curate concepts`: how often the names of concepts occur in a run's pool, and in what it kept."""

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from curate import files
from curate.commands.counting import Phases
from curate.commands.terminal import (
    Workers,
    error_console,
    many,
    one_line_errors,
    out_console,
    reading,
    tell_incomplete,
)
from curate.errors import CurateError

if TYPE_CHECKING:
    from curate.concepts.counting import Frequencies
    from curate.concepts.names import Concepts

_SHOWN = 12
"""Concepts of either end that the terminal shows."""
_PHASE = "concepts"
_EVERY = 0.5  # seconds between two looks at how far it is


def concepts(
    run_directory: Annotated[str, typer.Argument(metavar="RUN", help="A run.")],
    names: Annotated[
        str,
        typer.Option(
            "--names",
            metavar="FILE",
            help="The names of each concept: JSON {concept: [names]}, a CSV, or lines with a tab.",
        ),
    ],
    out: Annotated[
        str | None,
        typer.Option("--out", metavar="FILE", help="Write all counts, as .csv, .parquet or .json."),
    ] = None,
    prompts: Annotated[
        str | None,
        typer.Option(
            "--prompts", metavar="FILE", help="Write the most frequent name of each, as JSON."
        ),
    ] = None,
    export: Annotated[
        str | None,
        typer.Option(
            "--export",
            metavar="FILE",
            help="Write the uids of the pool's pairs that have a name, as .npy for `prepare.uids_in`.",
        ),
    ] = None,
    workers: Workers = None,
) -> None:
    """Count how often concepts occur in the captions of a run's pool, and of what it kept.

    A caption has a name where its words stand there side by side, in any case. Each pair counts once,
    whether it was kept or dropped. The rarest fifth of the concepts is their tail.
    """
    from curate.concepts.counting import frequencies
    from curate.concepts.names import read_names
    from curate.concepts.writing import ENDINGS, write_counts, write_named
    from curate.ops.selection.uids import save_subset
    from curate.rundir.borrowed import open_run

    with one_line_errors():
        if workers is not None and workers < 1:
            raise CurateError(f"--workers {workers}: expected 1 or more")
        if out is not None and not out.lower().endswith(ENDINGS):
            raise CurateError(f"--out {out}: expected a name that ends in {', '.join(ENDINGS)}")
        if export is not None and not export.lower().endswith(".npy"):
            raise CurateError(f"--export {export}: expected a name that ends in .npy")
        run = open_run(run_directory, for_few=True)
        listed = read_names(files.absolute(names))
        tell_shared(listed)
        with reading(run):
            tell_incomplete(run)
            things = {_PHASE: "parts"}
            with Phases(error_console, every=_EVERY, things=things) as phases:
                seen = partial(phases.seen, _PHASE)
                found = frequencies(
                    run, listed, uids=export is not None, threads=workers, seen=seen
                )
        for table in _tables(found):
            out_console.print(table)
        _tell(found)
        if out is not None:
            write_counts(found, files.absolute(out))
            out_console.print(f"counts   {out}  ({many(len(listed.names), 'name')})")
        if prompts is not None:
            write_named(found, files.absolute(prompts))
            out_console.print(f"prompts  {prompts}  ({many(len(listed.concepts), 'concept')})")
        if export is not None:
            pairs = save_subset(files.absolute(export), found.uids)
            out_console.print(f"uids     {export}  ({pairs:,})")


def tell_shared(concepts: "Concepts") -> None:
    """Say on the terminal which names two concepts have."""
    shared = concepts.shared()
    for name, first, later in shared[:_SHOWN]:
        what = f"concept {first!r} has it twice" if first == later else f"{first!r} and {later!r}"
        error_console.print(f"the same name: {name!r}: {what}")
    if len(shared) > _SHOWN:
        error_console.print(f"the same name: {len(shared) - _SHOWN:,} more")


def _tables(found: "Frequencies") -> list[Table]:
    """The most frequent concepts, and the rarest; one table of all where these are few."""
    order = found.rarest[::-1].tolist()
    if len(order) <= 2 * _SHOWN:
        return [_table(found, order, title="concepts, the most frequent first")]
    return [
        _table(
            found, order[:_SHOWN], title=f"the most frequent {_SHOWN} of {len(order):,} concepts"
        ),
        _table(found, order[-_SHOWN:], title=f"the rarest {_SHOWN}"),
    ]


def _table(found: "Frequencies", some: list[int], *, title: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, header_style="bold", pad_edge=False)
    for heading in ("concept", "pool", "kept", "", "most frequent name", "pairs", "of names"):
        is_number = heading in ("pool", "kept", "pairs", "of names")
        table.add_column(heading, justify="right" if is_number else "left", no_wrap=True)
    starts = found.concepts.starts
    for at in some:
        prompt = int(found.prompts[at])
        pool, kept = found.frequency[at].tolist()
        table.add_row(
            found.concepts.concepts[at],
            f"{pool:,.0f}",
            f"{kept:,.0f}",
            "tail" if found.tail[at] else "",
            found.concepts.names[prompt],
            f"{int(found.of_names[prompt, 0]):,}",
            f"{int(starts[at + 1] - starts[at]):,}",
        )
    return table


def _tell(found: "Frequencies") -> None:
    """Print what is kept of the tail and of the others, and which concepts are not there at all."""
    all_, kept = found.pairs
    out_console.print(f"{many(all_, 'pair')} in the pool, {kept:,} kept")
    for named, which in (("tail", found.tail), ("others", ~found.tail)):
        pool, stays = found.of_concepts[which].sum(axis=0).tolist()
        share = f", {stays / pool:.1%}" if pool else ""
        n = int(which.sum())
        out_console.print(
            f"{named:8} {many(n, 'concept')}: {pool:,} matches, {stays:,} kept{share}"
        )
    if absent := int((found.of_concepts[:, 0] == 0).sum()):
        out_console.print(f"absent   {many(absent, 'concept')}: no caption has any of their names")


def add_to(app: typer.Typer) -> None:
    """Add this command to `app`."""
    app.command()(concepts)
