"""`curate plan`: what a run would fetch and keep, from the text of its pool alone."""

import shlex
import time
from typing import Annotated

import typer

from curate import files
from curate.commands.predicting import tell_prediction
from curate.commands.running import run_plan
from curate.commands.terminal import (
    BEAM_OPTIONS,
    Out,
    Set,
    Workers,
    beam_options,
    check_seen_by_workers,
    named_in,
    one_line_errors,
    out_console,
    over_workers,
    with_engine,
)
from curate.config import LOCAL_RUNNER, Caption, Config, Dedup
from curate.config import file as config_file
from curate.errors import CurateError, hidden
from curate.rundir.directory import Run, totals
from curate.rundir.lock import locked
from curate.running.recruits import ahead
from curate.schema import MATCHES, Stage

_OF_TEXT = ("url", "caption", "strict")


def plan(
    context: typer.Context,
    config: Annotated[str, typer.Argument(help="A YAML file; see `curate config`.")],
    out: Out = None,
    workers: Workers = None,
    set_: Set = None,
    like: Annotated[
        str | None,
        typer.Option(
            metavar="RUN", help="Predict time, bytes and costs by what this run measured."
        ),
    ] = None,
    pairs: Annotated[
        float | None,
        typer.Option(
            metavar="N", help="With --like: pairs of the pool, as in 1e9; else its files tell."
        ),
    ] = None,
    gpus: Annotated[
        int | None,
        typer.Option(help="With --like: GPUs that models run on. Default: as many as in RUN."),
    ] = None,
    prices: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="With --like: a YAML file of what things cost, such as"
            " shipped://curate/data/prices.yaml, whose numbers are made up.",
        ),
    ] = None,
) -> None:
    """Tell how many pairs a run would fetch, and how many balancing would keep; nothing is fetched.

    Runs the text stages alone, and shows other values of t. A `curate run` with the same --out then
    continues from there. Options after -- go to Beam. Where --out is a run with images whose pool has
    grown, it tells what the addition will cost, and the run stays as it is.

    With --like RUN, a finished run of this configuration over a sample of the pool, nothing is run at
    all: it tells what each stage will keep, how long it will take with --workers, and what it costs.
    """
    from curate.commands.adding import tell_addition
    from curate.finished.advice import advice
    from curate.planning.asked import runs_model
    from curate.planning.based import pooled
    from curate.planning.own_scores import check_own_scores, with_columns
    from curate.planning.plan import make_plan
    from curate.planning.pool_columns import with_column_types
    from curate.planning.steps import before_own

    with one_line_errors():
        started = time.monotonic()
        whole = with_engine(
            config_file.load(config, overrides=tuple(set_ or ()), out=out),
            workers=workers,
            options=beam_options(context),
        )
        if like is not None:
            tell_prediction(whole, like, pairs=pairs, gpus=gpus, prices=prices)
            return
        for option, value in (("pairs", pairs), ("gpus", gpus), ("prices", prices)):
            if value is not None:
                raise CurateError(
                    f"--{option} {value}: needs --like RUN, a finished run to predict by"
                )
        check_seen_by_workers(whole.beam, named_in(whole))
        if not whole.out:
            raise CurateError("no output folder: give --out RUN or the key `out`")
        run = Run.at(whole.base) if whole.base else Run.to(whole.out)
        stays, place = whole.base is not None or _has_images(run), whole.out
        whole = pooled(whole)
        with locked(place), ahead(whole.beam, out=place):
            over = over_workers(whole, beam_options(context))
            typed = with_columns(with_column_types(whole, over=over))
            if stays:
                if not tell_addition(typed, run, over=over):
                    raise CurateError(
                        f"{run.root} is a run that a plan would make stale in part, and its pool has"
                        " not grown; give another --out. To see what another t would keep of it: curate"
                        " sweep"
                    )
                _tell_how_to_go_on(config, whole, set_, workers, context)
                return
            check_own_scores(typed, before_own(typed))
            wanted, left_out = text_alone(typed)
            run_plan(
                make_plan(wanted, over=over),
                options=beam_options(context), started=started,
                force=whole.download.enabled, remedy="give another --out",
            )  # fmt: skip
            prepared = totals(run, Stage.PREPARE)
            pairs = prepared["kept"]
            out_console.print(
                f"\n{pairs:,} of {prepared['rows']:,} pairs would be fetched"
                + (f"; not judged here: {', '.join(left_out)}" if left_out else "")
            )
            for line in advice(run, wanted):
                out_console.print(line)
            if runs_model(whole) and whole.beam.runner == LOCAL_RUNNER:
                out_console.print(_where_models_run(whole))
            if wanted.balance is not None and wanted.prepare.metadata and pairs:
                _show_other_ts(run)
        _tell_how_to_go_on(config, whole, set_, workers, context)


def _tell_how_to_go_on(
    config: str, whole: Config, set_: list[str] | None, workers: int | None, context: typer.Context
) -> None:
    changed = [word for one in set_ or () for word in ("--set", one)]
    chosen = [] if workers is None else ["--workers", str(workers)]
    beam = ["--", *options] if (options := beam_options(context)) else []
    words = ["curate", "run", config, "--out", str(whole.out), *changed, *chosen, *beam]
    out_console.print(f"To go on, with the images: {hidden(shlex.join(words))}")


def text_alone(config: Config) -> tuple[Config, tuple[str, ...]]:
    """`config` without all that needs images, and the names of what that leaves out."""
    if not config.download.enabled:
        return config, ()
    from curate.planning.rules import check_prefer
    from curate.planning.steps import steps_of

    steps = steps_of(config)
    if config.dedup.enabled:
        check_prefer(config.dedup.prefer, steps.added)
    told = steps.added[Stage.PREPARE].names
    prefer = tuple(x for x in config.dedup.prefer if x.removeprefix("-") in told)
    of_text = steps.rules.get(Stage.PREPARE, ())
    policies = [name for name in config.dedup.policy if name in _OF_TEXT]
    by_text = config.dedup.enabled and bool(policies)
    dedup = config.dedup.model_copy(update={"prefer": prefer})
    soft_cap = config.balance.soft_cap if config.balance else None
    capped = soft_cap is not None and soft_cap.column not in told
    balance = None if capped else config.balance
    by_sight = balance is not None and balance.column in config.scores
    if balance and by_sight:
        balance = balance.model_copy(update={"on": MATCHES})
    left_out = {
        "links that are dead": True,
        "duplicate images": config.dedup.enabled and set(config.dedup.policy) - {"url", "caption"},
        **{f"dedup.prefer {x}": by_text for x in config.dedup.prefer if x not in prefer},
        "balance.soft_cap": capped,
        "which entries images show (balance.on)": by_sight,
        **{f"rule {x.label}": True for x in config.select if x not in of_text},
        "decontaminate": config.decontaminate,
        "semdedup": config.semdedup,
        "which caption is the best": config.caption.choose == "best",
    }
    changed: dict[str, object] = {
        "download": config.download.model_copy(update={"enabled": False}),
        "balance": balance,
        "decontaminate": None, "score": None, "scores": {}, "semdedup": None, "select": of_text,
        "dedup": dedup if by_text else Dedup(enabled=False),
        "caption": Caption() if config.caption.choose == "best" else config.caption,
    }  # fmt: skip
    return config.model_copy(update=changed), tuple(x for x, is_so in left_out.items() if is_so)


def _where_models_run(config: Config) -> str:
    """A line on the devices of this machine, and how often they load what models."""
    from curate.ops.scores.devices import shared, visible

    score = config.score
    if score is None:
        raise AssertionError("no model")
    models = ", ".join(one.model for one in score.scorers.values())
    found = ", ".join(one.name for one in visible())
    n = config.beam.workers
    if devices := shared(score.workers):
        held = f"in {len(devices)} processes (score.workers) for all workers (beam.workers: {n})"
    else:
        held = f"in each worker (beam.workers: {n})"
    return f"models: {models}, on {found}, {held}"


def _has_images(run: Run) -> bool:
    """Whether a run is there that fetches images: a plan would make part of it stale."""
    url = run.path("config.yaml")
    return files.exists(url) and config_file.load(url).download.enabled


def _show_other_ts(run: Run) -> None:
    from curate.commands.balancing import is_adaptive, show_shares
    from curate.finished import sweep
    from curate.finished.rebalance import open_source
    from curate.report.sweeps import tables
    from curate.report.write import write_report

    if is_adaptive(run):
        show_shares(run, [], as_json=False)
        return
    found = sweep.sweep(open_source(run.root))
    sweep.write(run, found)
    write_report(run, config_file.load(run.path("config.yaml")))
    for table in tables(found):
        out_console.print(table)


def add_to(app: typer.Typer) -> None:
    """Make this a command of `app`."""
    app.command(context_settings=BEAM_OPTIONS)(plan)
