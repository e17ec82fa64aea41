"""`curate compare`: two runs side by side."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from curate import files
from curate.commands.terminal import many, one_line_errors, out_console, tell_incomplete

if TYPE_CHECKING:
    from curate.comparing.compare import Comparison

_SHOWN = 10  # lines of what changed


def compare(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The first run, A.")],
    other: Annotated[str, typer.Argument(metavar="RUN2", help="The second, B.")],
    out: Annotated[str, typer.Option("--out", help="The folder of the page.")] = "compare",
) -> None:
    """Compare two runs: what only one keeps and why, reason by reason, and what both sets hold.

    They may be two configurations on one pool, or two pools; pairs are joined by uid. Writes
    index.html, compare.json and changed.parquet, which lists every pair whose end is another.
    """
    from curate.comparing.compare import PAGE, PAIRS
    from curate.comparing.write import write_comparison
    from curate.rundir.directory import Run

    with one_line_errors():
        for url in (run, other):
            tell_incomplete(Run.at(url))
        found = write_comparison(run, other, out=files.absolute(out))
        out_console.print(_funnels(found))
        out_console.print(
            f"kept by both {found.count(a=True, b=True):,}, by A alone"
            f" {found.count(a=True, b=False):,}, by B alone {found.count(a=False, b=True):,}, by"
            f" neither {found.count(a=False, b=False):,}"
        )
        if found.changed:
            out_console.print(_changes(found))
        out_console.print(f"changed {files.join(out, PAIRS)}  ({many(found.changed, 'pair')})")
        out_console.print(f"page    {files.join(out, PAGE)}")


def _funnels(found: "Comparison") -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("kept after")
    for name in ("A", "B"):
        table.add_column(name, justify="right")
    kept = [{row.stage: row.kept for row in side.funnel} for side in (found.a, found.b)]
    table.add_row("(pool)", f"{found.a.pairs:,}", f"{found.b.pairs:,}")
    for stage in dict.fromkeys(stage for one in kept for stage in one):
        table.add_row(stage, *(f"{one[stage]:,}" if stage in one else "–" for one in kept))
    return table


def _changes(found: "Comparison") -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("pairs", justify="right")
    table.add_column("in A")
    table.add_column("in B")
    changed = [cell for cell in found.cells if cell.changed]
    changed.sort(key=lambda cell: not cell.changed_side)
    for cell in changed[:_SHOWN]:
        table.add_row(f"{cell.pairs:,}", cell.a.label, cell.b.label)
    if len(changed) > _SHOWN:
        rest = sum(cell.pairs for cell in changed[_SHOWN:])
        table.add_row(f"{rest:,}", "…", f"{len(changed) - _SHOWN} further kinds of change")
    return table


def add_to(app: typer.Typer) -> None:
    """Add this command to `app`."""
    app.command()(compare)
