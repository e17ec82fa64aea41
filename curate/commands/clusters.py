"""`curate clusters`: the clusters of a run's images, to be looked at and named."""

from typing import Annotated

import typer

from curate import files
from curate.commands.terminal import many, one_line_errors, out_console, reading, tell_incomplete
from curate.errors import CurateError


def clusters(
    run_directory: Annotated[str, typer.Argument(metavar="RUN", help="A run.")],
    out: Annotated[
        str, typer.Option("--out", metavar="DIR", help="The folder of the page and the table.")
    ] = "clusters",
    shown: Annotated[int, typer.Option("--shown", help="Pictures of each cluster.")] = 12,
) -> None:
    """Show the clusters of a run's images (score.visual_cluster), and write a table to fill in.

    A rule keeps or drops what the table says: {column: visual_cluster, in_file: clusters.csv} keeps the
    clusters with yes in the column keep, not_in_file drops those with yes in drop. What is filled in
    stays when the command is run again. The page holds pictures: after `curate revoke` write it again.
    """
    from curate.config import file as config_file
    from curate.finished.clusters import PAGE, TABLE, write_clusters
    from curate.rundir.borrowed import open_run

    with one_line_errors():
        if shown < 0:
            raise CurateError(f"--shown {shown}: expected 0 or more")
        run = open_run(run_directory)
        tell_incomplete(run)
        with reading(run):
            config = config_file.load(run.path("config.yaml"))
            found = write_clusters(run, config, out=files.absolute(out), shown=shown)
        pairs = sum(one.pairs for one in found)
        out_console.print(f"{many(len(found), 'cluster')} of {many(pairs, 'pair')}")
        out_console.print(f"page   {files.join(out, PAGE)}")
        out_console.print(f"table  {files.join(out, TABLE)}")


def add_to(app: typer.Typer) -> None:
    """Add this command to `app`."""
    app.command()(clusters)
