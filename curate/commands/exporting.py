"""`curate export`: a finished set for other loaders than those that read tars."""

from enum import StrEnum
from typing import Annotated

import typer

from curate.commands.terminal import many, one_line_errors, out_console, tell_incomplete
from curate.errors import CurateError
from curate.rundir.lock import locked


class Format(StrEnum):
    """What `curate export` writes."""

    WIDS = "wids"
    ENERGON = "energon"
    MDS = "mds"
    LANCE = "lance"


def export(
    run_directory: Annotated[str, typer.Argument(metavar="RUN", help="A run.")],
    format_: Annotated[
        Format,
        typer.Option(
            "--format",
            help="wids and energon: indexes beside the tars; mds and lance: the pairs in files of"
            " their own.",
        ),
    ],
    out: Annotated[
        str | None, typer.Option("--out", metavar="DIR", help="Of mds and lance: the new folder.")
    ] = None,
) -> None:
    """Write the finished set of a run for a further loader.

    An index lies in RUN/shards and is written again by `curate revoke`; a run that replaces its set
    removes it. What --out holds is a copy, which nothing changes afterwards.
    """
    from curate.finished.export import WRITERS
    from curate.finished.export import export as write
    from curate.finished.indexes import INDEXES, pairs_of
    from curate.rundir.borrowed import open_run

    with one_line_errors():
        beside = INDEXES.get(format_)
        if beside and out is not None:
            raise CurateError(
                f"--out {out}: {format_} is an index beside the tars; leave out --out"
            )
        run = open_run(run_directory)
        tell_incomplete(run)
        if beside:
            beside.check(run)
            with locked(run.root):
                pairs = pairs_of(run)
                beside.write(run)
            out_console.print(
                f"{format_:7} {run.path('shards', beside.name)}  ({many(pairs, 'pair')})"
            )
            return
        if out is None:
            raise CurateError(f"--format {format_} needs --out DIR, a new folder for its files")
        WRITERS[format_].check()
        with locked(run.root, shared=True):
            pairs = write(run, format_, out)
        out_console.print(f"{format_:7} {out}  ({many(pairs, 'pair')})")


def add_to(app: typer.Typer) -> None:
    """Add this command to `app`."""
    app.command()(export)
