"""`curate subset`: pairs of a run's set, as uids for the tools of DataComp, or the best of concepts."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from curate.commands.choosing import Targets, asked_for, write_best
from curate.commands.terminal import (
    Workers,
    one_line_errors,
    out_console,
    reading,
    tell_incomplete,
)
from curate.errors import CurateError
from curate.rundir.directory import PART_STAGES, Run, earlier
from curate.schema import Stage

if TYPE_CHECKING:
    from curate.config import Config

_PER, _LEAST_SIDE = 500, 85  # those of `curate.concepts.best`, which is imported when it is used
_OF_CONCEPTS = "With --concepts: "


class By(StrEnum):
    """What of a pair is compared with a class prompt."""

    CAPTION = "caption"
    IMAGE = "image"


def subset(
    run_directory: Annotated[str, typer.Argument(metavar="RUN", help="A run.")],
    npy: Annotated[
        str | None, typer.Option("--npy", metavar="FILE", help="The file to write.")
    ] = None,
    stage: Annotated[
        str | None, typer.Option(help="Pairs that this stage kept; default: the run's last.")
    ] = None,
    list_: Annotated[
        str | None,
        typer.Option(
            "--list", metavar="FILE", help="Of these, the pairs whose uids it has, one a line."
        ),
    ] = None,
    concepts: Annotated[
        str | None,
        typer.Option(
            "--concepts",
            metavar="FILE",
            help="Of these, the best pairs of each concept whose names stand in the file, which is one"
            " of `curate concepts`.",
        ),
    ] = None,
    per: Annotated[int, typer.Option(help=f"{_OF_CONCEPTS}pairs of each, at most.")] = _PER,
    by: Annotated[
        By,
        typer.Option(
            help=f"{_OF_CONCEPTS}what is compared with the concept's prompt, a pair's caption or image."
        ),
    ] = By.CAPTION,
    least: Annotated[
        float, typer.Option("--min-similarity", help=f"{_OF_CONCEPTS}the least cosine.")
    ] = 0.0,
    side: Annotated[
        int,
        typer.Option(
            "--min-side",
            help=f"{_OF_CONCEPTS}the least shorter side of the image as fetched, pixels.",
        ),
    ] = _LEAST_SIDE,
    template: Annotated[
        list[str] | None,
        typer.Option(
            help=f'{_OF_CONCEPTS}a template of prompts, as "a photo of a {{}}."; repeatable. Default:'
            " OpenAI's 80 of ImageNet."
        ),
    ] = None,
    table: Annotated[
        str | None,
        typer.Option(
            "--table",
            metavar="FILE",
            help=f"{_OF_CONCEPTS}write concept, rank, cosine, name and pair, as .csv or .parquet.",
        ),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            metavar="DIR",
            help=f"{_OF_CONCEPTS}copy the pairs out of RUN's shards.",
        ),
    ] = None,
    workers: Workers = None,
) -> None:
    """Write the uids of a run's kept pairs as a DataComp subset file.

    They are unique and sorted, in an .npy file of dtype u8,u8: upper and lower half of the 128-bit uid.

    With --concepts only the pairs that are nearest to a concept, among those whose captions name it:
    so many of each. What --out holds is a copy, which nothing changes afterwards.
    """
    from curate.config import file as config_file
    from curate.finished.subset import write_subset
    from curate.ops.selection.uids import open_subset
    from curate.rundir.borrowed import open_run

    with one_line_errors():
        targets = Targets(npy=npy, table=table, out=out)
        asked = None
        if concepts is not None:
            asked = asked_for(
                per=per, by=by.value, least=least, side=side, templates=template or ()
            )
            targets.check(workers=workers)
            if list_ is not None:
                raise CurateError(f"--list {list_} does not go with --concepts; leave out one")
        elif npy is None:
            raise CurateError("give --npy FILE, the file to write; or --concepts FILE")
        elif table or out:
            raise CurateError(f"{'--table' if table else '--out'} needs --concepts FILE")
        only = open_subset(list_) if list_ else None
        run = open_run(run_directory)
        config = config_file.load(run.path("config.yaml"))
        chosen = _stage(run, run_directory, config, stage)
        tell_incomplete(run)
        if concepts is not None and asked is not None:
            with reading(run):
                write_best(run, config, concepts, asked, stage=chosen, to=targets, workers=workers)
            return
        assert npy is not None
        written = write_subset(run, chosen, npy, only=only)
        of_list = f" and in {list_}" if list_ else ""
        out_console.print(f"{written.pairs:,} pairs kept by {chosen}{of_list}  {npy}")
        if written.uids > written.pairs:
            out_console.print(f"{written.uids:,} uids: each pair as often as it was drawn")
        elif repeated := written.pairs - written.uids:
            out_console.print(
                f"{written.uids:,} uids: {repeated:,} pairs have the uid of another, which is listed"
                " once"
            )


def _stage(run: Run, named: str, config: "Config", stage: str | None) -> str:
    """The stage whose kept pairs are meant, which is done for all parts."""
    from curate.planning.steps import enabled_stages

    stages = [str(one) for one in PART_STAGES if one in enabled_stages(config)]
    chosen = stage or stages[-1]
    if chosen not in stages:
        raise CurateError(f"--stage {chosen}: this run has {', '.join(stages)}")
    parts = run.state()["parts"]
    done = len(run.done(chosen)) - earlier(run, Stage(chosen))
    if done != parts:
        raise CurateError(
            f"{named}: {chosen} is done for {done} of {parts} parts; go on with it"
            f" first: curate run {run.path('config.yaml')}"
        )
    return chosen


def add_to(app: typer.Typer) -> None:
    """Add this command to `app`."""
    app.command()(subset)
