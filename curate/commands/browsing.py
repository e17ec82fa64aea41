"""`curate browse`: a local page over runs."""

from typing import Annotated

import typer

from curate.commands.terminal import one_line_errors, out_console, tell_incomplete
from curate.rundir.directory import Run


def browse(
    run_directories: Annotated[list[str], typer.Argument(metavar="RUN…", help="Runs.")],
    port: Annotated[int, typer.Option(help="A port of this machine; 0 takes a free one.")] = 0,
    no_open: Annotated[
        bool, typer.Option("--no-open", help="Print the link, and open no browser.")
    ] = False,
    selections: Annotated[
        str,
        typer.Option(metavar="DIR", help="The folder that lists of pairs are saved to."),
    ] = ".",
) -> None:
    """Look at the pairs of a run, kept and dropped, in a browser: filter, sort, search, compare.

    The page is served on this machine alone, to the browser that has its link, until Ctrl-C.
    """
    from curate.browse.connection import needed

    with one_line_errors():
        needed()

        from curate.browse.server import serve

        for directory in run_directories:
            tell_incomplete(Run.at(directory))

        def say(link: str) -> None:
            out_console.print(f"{link}\nCtrl-C ends it", soft_wrap=True)

        try:
            serve(run_directories, port=port, opens=not no_open, selections=selections, say=say)
        except KeyboardInterrupt:
            out_console.print("ended")


def add_to(app: typer.Typer) -> None:
    """Add this command to `app`."""
    app.command()(browse)
