"""`curate revoke` and `curate explain`: a list of pairs, or one, in a finished run."""

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.text import Text

from curate.commands.terminal import one_line_errors, out_console, shown, tell_incomplete
from curate.config import file as config_file
from curate.rundir.directory import Run
from curate.rundir.lock import locked

RunDirectory = Annotated[str, typer.Argument(metavar="RUN", help="A run directory.")]


def revoke(
    run_directory: RunDirectory,
    list_: Annotated[
        str | None,
        typer.Option(
            "--list",
            metavar="FILE",
            help="Uids, URLs, hosts or hashes, one a line. Not needed to finish a revocation that was"
            " interrupted.",
        ),
    ] = None,
) -> None:
    """Remove the listed pairs from a run: its parts, images, ledger, shards and report.

    Only files with a listed pair are written again. The ledger keeps the uid of such a pair and nothing
    else, and RUN/revoked.parquet hashes of the list, so that resuming the run does not bring them back.
    """
    from curate.commands.progress import tell_report
    from curate.report.write import write_report
    from curate.revoking import revoke as revoking
    from curate.rundir import borrowed
    from curate.running.owned import take

    with one_line_errors():
        run = Run.at(run_directory)
        with borrowed.source_kept(run), locked(run.root):
            borrowed.check(run, settings_only=True)
            tell_incomplete(run)
            take(run)
            done = revoking.revoke(run, revoking.read_list(list_) if list_ else None)
            for line in revoking.said(done):
                out_console.print(line)
            settings = config_file.load(run.path("config.yaml"))
            tell_report(out_console, write_report(run, settings))


def explain(
    run_directory: RunDirectory,
    pair: Annotated[str, typer.Argument(metavar="UID|URL", help="The pair, or all of a URL.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Trace one pair through the run: its columns at each stage, and where it was dropped and why."""
    from curate.finished import explain as explaining
    from curate.rundir.borrowed import open_run, source_kept

    with one_line_errors():
        run = Run.at(run_directory)
        with source_kept(run):
            tell_incomplete(open_run(run_directory, for_few=True))
            found = explaining.stories(run, pair)
        if as_json:
            stories = [asdict(story) for story in found]
            print(shown(json.dumps(stories, ensure_ascii=False, indent=1)))
            return
        for story in found:
            told = list(explaining.lines(story))
            width = max(len(heading) for heading, _ in told)
            for name, text in told:
                heading = name
                for row in Text(shown(text)).wrap(out_console, out_console.width - width - 2):
                    row.rstrip()
                    out_console.print(Text.assemble((f"{heading:{width}}", "bold"), "  ", row))
                    heading = ""
            out_console.print()


def add_to(app: typer.Typer) -> None:
    """Add these commands to `app`."""
    app.command()(revoke)
    app.command()(explain)
