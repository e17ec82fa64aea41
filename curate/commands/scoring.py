"""`curate score` and `curate annotate`: further columns for the pairs of a finished run."""

import re
from typing import Annotated, Literal

import typer

from curate.commands.terminal import (
    BEAM_OPTIONS,
    Workers,
    beam_options,
    check_seen_by_workers,
    debugging,
    many,
    one_line_errors,
    out_console,
    with_engine,
)
from curate.errors import CurateError
from curate.rundir.directory import Run
from curate.rundir.lock import locked


def score(
    context: typer.Context,
    run_directory: Annotated[str, typer.Argument(metavar="RUN", help="A complete run.")],
    model: Annotated[
        str, typer.Option(help="An open_clip name, an hf-hub: id, or the path of a config.")
    ],
    pretrained: Annotated[
        str | None, typer.Option(help="An open_clip tag or the path of a checkpoint.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="The score's column; default: from the model's name.")
    ] = None,
    embeddings: Annotated[
        bool, typer.Option("--embeddings", help="Store the embeddings (fp16) beside the scores.")
    ] = False,
    workers: Workers = None,
) -> None:
    """Score the pairs of a run with a further model; nothing else is computed again.

    The scores go to RUN/annotated/score/NAME; the rest of RUN is not changed. A `curate run` with that
    model in its configuration reuses them: the command is printed. Options after -- go to Beam.
    """
    from curate.commands import progress
    from curate.config import Scorer
    from curate.config import file as config_file
    from curate.config.paths import paths_in
    from curate.finished import rescore
    from curate.planning.resume import Standing

    with one_line_errors(), locked(Run.at(run_directory).root):
        name = name or rescore.column_name(model)
        scorer = Scorer(model=model, pretrained=pretrained, embeddings=embeddings)
        settings = config_file.load(Run.at(run_directory).path("config.yaml"))
        engine = with_engine(settings, workers=workers, options=beam_options(context)).beam
        of_model = [(f"--{one.key}", one.path) for one in paths_in(scorer)]
        check_seen_by_workers(engine, [("RUN", run_directory), *of_model])
        plan = rescore.make_plan(run_directory, scorer, name=name, beam=engine)
        n, rows = len(plan.parts), sum(part.rows for part in plan.parts)
        out_console.print(f"{many(rows, 'pair')} in {many(n, 'part')}: score {name}")
        with progress.watch(out_console, plan, Standing({}, {}, clustered=False)):
            rescore.execute(plan, name=name, extra=beam_options(context), debug=debugging())
        found = plan.run
        options = " ".join(["--out", found.root, *rescore.settings(scorer, name=name)])
        out_console.print(
            f"score   {rescore.summary(plan, name=name)}\n"
            "To have it as a column and in rules, in a set that replaces this one:"
            f" curate run {found.path('config.yaml')} {options} --force"
        )


def annotate(
    context: typer.Context,
    run_directory: Annotated[str, typer.Argument(metavar="RUN", help="A complete run.")],
    table: Annotated[
        str,
        typer.Option(metavar="FILE", help="parquet, csv, tsv or jsonl; a folder or glob of them."),
    ],
    on: Annotated[Literal["uid", "url"], typer.Option(help="What it is joined by.")] = "uid",
    key: Annotated[
        str | None, typer.Option(help="The table's column of those; default: as --on says.")
    ] = None,
    columns: Annotated[
        str | None, typer.Option(metavar="A,B,...", help="Those wanted; default: all but the key.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="What it is called here; default: from the file's name.")
    ] = None,
    workers: Workers = None,
) -> None:
    """Join a table of scores or labels to the pairs of a run, as columns for rules.

    They go to RUN/annotated/score/NAME; the rest of RUN is not changed. A `curate run` with that table
    in its configuration takes them over: the command is printed. Of rows with the same key the last
    counts, and a pair without a row has nulls. Options after -- go to Beam.
    """
    from curate.config import COLUMN_NAME, FurtherScore
    from curate.config import file as config_file
    from curate.finished import rescore

    with one_line_errors(), locked(Run.at(run_directory).root):
        wanted = tuple(columns.split(",")) if columns is not None else None
        for column in wanted or ():
            if not re.match(COLUMN_NAME, column):
                raise CurateError(
                    f"--columns {column}: expected small letters, digits and _, a letter first"
                )
        further = FurtherScore(kind="table", path=table, on=on, key=key, columns=wanted)
        name = name or rescore.table_name(table)
        settings = config_file.load(Run.at(run_directory).path("config.yaml"))
        engine = with_engine(settings, workers=workers, options=beam_options(context)).beam
        check_seen_by_workers(engine, [("RUN", run_directory), ("--table", table)])
        plan, repeats = rescore.annotate(
            run_directory, further, name=name, beam=engine, extra=beam_options(context),
            debug=debugging(),
        )  # fmt: skip
        n, pairs = rescore.matched(plan)
        (step,) = plan.steps
        out_console.print(
            f"annotate {plan.run.path(step.folder)}  ({n:,} of {pairs:,} pairs have a row:"
            f" {', '.join(step.columns.names)})"
        )
        if repeats:
            out_console.print(f"{repeats:,} rows have the key of an earlier row, and count for it")
        found = plan.run
        options = " ".join(["--out", found.root, *rescore.settings(further, name=name)])
        out_console.print(
            "To have them as columns and in rules, in a set that replaces this one:"
            f" curate run {found.path('config.yaml')} {options} --force"
        )


def add_to(app: typer.Typer) -> None:
    """Add these commands to `app`."""
    app.command(context_settings=BEAM_OPTIONS)(score)
    app.command(context_settings=BEAM_OPTIONS)(annotate)
