"""`curate score`: a further model's score for the pairs of a finished run."""

from typing import Annotated

import typer

from curate.commands.terminal import (
    BEAM_OPTIONS,
    Workers,
    beam_options,
    check_seen_by_workers,
    debugging,
    one_line_errors,
    out_console,
    with_engine,
)
from curate.run.directory import Run
from curate.run.lock import locked


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
        engine = with_engine(settings, workers=workers, context=context).beam
        of_model = [(f"--{one.key}", one.path) for one in paths_in(scorer)]
        check_seen_by_workers(engine, [("RUN", run_directory), *of_model])
        plan = rescore.make_plan(run_directory, scorer, name=name, beam=engine)
        n, rows = len(plan.parts), sum(part.rows for part in plan.parts)
        out_console.print(f"{rows:,} pairs in {n:,} part{'s' * (n > 1)}: score {name}")
        with progress.watch(out_console, plan, Standing({}, {}, clustered=False)):
            rescore.execute(plan, name=name, extra=beam_options(context), debug=debugging())
        found = plan.run
        options = " ".join(["--out", found.root, *rescore.settings(scorer, name=name)])
        out_console.print(
            f"score   {rescore.summary(plan, name=name)}\n"
            "To have it as a column and in rules, in a set that replaces this one:"
            f" curate run {found.path('config.yaml')} {options} --force"
        )


def add_to(app: typer.Typer) -> None:
    """Add this command to `app`."""
    app.command(context_settings=BEAM_OPTIONS)(score)
