"""`curate subset`: the kept pairs of a run for the tools of DataComp."""

from typing import Annotated

import typer

from curate.commands.terminal import one_line_errors, out_console, tell_incomplete
from curate.errors import CurateError
from curate.rundir.directory import PART_STAGES, earlier
from curate.schema import Stage


def subset(
    run_directory: Annotated[str, typer.Argument(metavar="RUN", help="A run.")],
    npy: Annotated[str, typer.Option("--npy", metavar="FILE", help="The file to write.")],
    stage: Annotated[
        str | None, typer.Option(help="Pairs that this stage kept; default: the run's last.")
    ] = None,
    list_: Annotated[
        str | None,
        typer.Option(
            "--list", metavar="FILE", help="Of these, the pairs whose uids it has, one a line."
        ),
    ] = None,
) -> None:
    """Write the uids of a run's kept pairs as a DataComp subset file.

    They are unique and sorted, in an .npy file of dtype u8,u8: upper and lower half of the 128-bit uid.
    """
    from curate.config import file as config_file
    from curate.finished.subset import write_subset
    from curate.ops.selection.uids import open_subset
    from curate.planning.steps import enabled_stages
    from curate.rundir.borrowed import open_run

    with one_line_errors():
        only = open_subset(list_) if list_ else None
        run = open_run(run_directory)
        config = config_file.load(run.path("config.yaml"))
        stages = [str(one) for one in PART_STAGES if one in enabled_stages(config)]
        chosen = stage or stages[-1]
        if chosen not in stages:
            raise CurateError(f"--stage {chosen}: this run has {', '.join(stages)}")
        parts = run.state()["parts"]
        done = len(run.done(chosen)) - earlier(run, Stage(chosen))
        if done != parts:
            raise CurateError(
                f"{run_directory}: {chosen} is done for {done} of {parts} parts; go on with it"
                f" first: curate run {run.path('config.yaml')}"
            )
        tell_incomplete(run)
        found = write_subset(run, chosen, npy, only=only)
        of_list = f" and in {list_}" if list_ else ""
        out_console.print(f"{found.pairs:,} pairs kept by {chosen}{of_list}  {npy}")
        if found.uids > found.pairs:
            out_console.print(f"{found.uids:,} uids: each pair as often as it was drawn")
        elif repeated := found.pairs - found.uids:
            out_console.print(
                f"{found.uids:,} uids: {repeated:,} pairs have the uid of another, which is listed once"
            )


def add_to(app: typer.Typer) -> None:
    """Add this command to `app`."""
    app.command()(subset)
