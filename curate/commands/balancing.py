"""`curate sweep` and `curate rebalance`: a finished run balanced with another t."""

import json
import time
from contextlib import ExitStack
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from curate.commands.running import REMEDY, run_plan
from curate.commands.terminal import (
    BEAM_OPTIONS,
    Force,
    Workers,
    beam_options,
    check_seen_by_workers,
    one_line_errors,
    out_console,
    reporting,
    shown,
    with_engine,
)
from curate.config import file as config_file
from curate.errors import CurateError
from curate.rundir.directory import Run
from curate.rundir.lock import locked
from curate.running.recruits import ahead

if TYPE_CHECKING:
    from curate.finished.shares import Shares

RunDirectory = Annotated[str, typer.Argument(metavar="RUN", help="A complete run.")]
Reference = Annotated[
    str | None,
    typer.Option(help="The language whose t is given; its p goes to the others. Default: RUN's."),
]

On = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="What to count: matches, tags, both, or a score of kind entities. Default: as in RUN.",
    ),
]


def rebalance(
    context: typer.Context,
    run_directory: RunDirectory,
    out: Annotated[str, typer.Option("--out", help="The new run directory.")],
    t: Annotated[float | None, typer.Option(help="Pairs an entry before it is sampled.")] = None,
    p: Annotated[float | None, typer.Option(help="Share of the matches in the tail.")] = None,
    size: Annotated[int | None, typer.Option(help="Expected number of pairs to keep.")] = None,
    reference: Reference = None,
    on: On = None,
    workers: Workers = None,
    force: Force = False,
) -> None:
    """Write the shards of another t, p or size from the matches and images of a run.

    Nothing is downloaded or scored. RUN is not changed, and the new run reads its parts from it.
    Options after -- go to Beam.
    """
    with one_line_errors():
        rebalanced(
            run_directory, out=out, t=t, p=p, size=size, reference=reference, on=on, workers=workers,
            options=beam_options(context), force=force,
        )  # fmt: skip


def rebalanced(
    run_directory: str,
    *,
    out: str,
    t: float | None,
    p: float | None,
    size: int | None,
    reference: str | None,
    on: str | None,
    workers: int | None,
    options: list[str],
    force: bool,
    remedy: str = REMEDY,
) -> None:
    """What `curate rebalance` does."""
    from curate.finished import rebalance as rebalancing

    with ExitStack() as held:
        started = time.monotonic()
        asked = Run.at(run_directory)
        root = asked.source or asked.root
        rebalancing.check_apart(root, out)
        held.enter_context(locked(root, shared=True))
        held.enter_context(locked(out))
        source = rebalancing.open_source(run_directory)
        engine = with_engine(source.config, workers=workers, options=options).beam
        lists = source.config.prepare.metadata.items()
        named = [("RUN", source.run.root), ("--out", out)]
        check_seen_by_workers(engine, [*named, *((f"prepare.metadata.{x}", y) for x, y in lists)])
        held.enter_context(ahead(engine, out=out))
        balance = rebalancing.target(
            t=t, p=p, size=size, reference=reference or source.reference, on=source.on(on)
        )
        planned = rebalancing.make_plan(
            source,
            balance=balance,
            out=out,
            beam=engine,
        )
        run_plan(planned, options=options, started=started, force=force, remedy=remedy)


def sweep(
    run_directory: RunDirectory,
    t: Annotated[str | None, typer.Option(metavar="T,T,...", help="Default: 1,2,5,10,...")] = None,
    size: Annotated[
        str | None, typer.Option(metavar="N,N,...", help="Expected numbers of pairs to keep.")
    ] = None,
    reference: Reference = None,
    on: On = None,
    share: Annotated[
        str | None,
        typer.Option(
            metavar="R,R,...",
            help="Not of t, but of balance.adaptive: shares r, each for all its perspectives.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, not tables.")] = False,
) -> None:
    """Show what other values of t would keep, from the matches of a run; no image is read.

    The numbers also go to RUN/report/sweep.json and into the report. Of a run that is balanced by
    perspectives (balance.adaptive), or with --share, what other shares would keep is shown alone.
    """
    from curate.commands.progress import tell_report
    from curate.finished import sweep as sweeping
    from curate.finished.rebalance import open_source
    from curate.report.sweeps import notes, tables
    from curate.report.write import write_report

    with one_line_errors():
        run = Run.at(run_directory)
        if share is not None and (t is not None or size is not None):
            raise CurateError("give --share, or --t and --size: they are of different balances")
        with reporting(run):
            if share is not None or (t is None and size is None and is_adaptive(run)):
                show_shares(run, _numbers(share, option="--share"), as_json=as_json)
                return
            found = sweeping.sweep(
                open_source(run_directory),
                ts=_numbers(t, option="--t"),
                sizes=_numbers(size, option="--size"),
                reference=reference,
                on=on,
            )
            url = sweeping.write(run, found)
            report = write_report(run, config_file.load(run.path("config.yaml")))
        if as_json:
            print(shown(json.dumps(asdict(found), ensure_ascii=False)))
            return
        for table in tables(found):
            out_console.print(table)
        for note in notes(found, sizes=_numbers(size, option="--size")):
            out_console.print(note)
        out_console.print(f"sweep   {url}")
        tell_report(out_console, report)


def is_adaptive(run: Run) -> bool:
    """Whether a run is balanced by perspectives."""
    balance = config_file.load(run.path("config.yaml")).balance
    return balance is not None and balance.adaptive is not None


def show_shares(run: Run, shares: list[float], *, as_json: bool) -> None:
    """Print what such a balance would keep at these shares, or at some where none is given."""
    from curate.finished.rebalance import open_source
    from curate.finished.shares import expected

    found = expected(open_source(run.root, matched=not is_adaptive(run)), shares=shares)
    if as_json:
        print(shown(json.dumps(found.to_json(), ensure_ascii=False)))
    else:
        out_console.print(table_of_shares(found))


def table_of_shares(found: "Shares") -> Table:
    """What is expected at each share of a balance by perspectives, for the terminal."""
    rule = f"more than {found.n_p} to pass, alpha {found.alpha:g}"
    table = Table(
        title=f"{found.pairs:,} pairs; {rule}", title_justify="left", box=None,
        header_style="bold", pad_edge=False,
    )  # fmt: skip
    names = list((found.own or found.points[0]).shares)
    for name in ("share r", *(f"tau {x}" for x in names), "pairs kept", "of all"):
        table.add_column(name, justify="right", overflow="fold")
    for at in (*found.points, *([found.own] if found.own else [])):
        shares = [*dict.fromkeys(f"{at.shares[x]:g}" for x in names)]
        said = " ".join(f"{at.shares[x]:g}" for x in names) if len(shares) > 1 else shares[0]
        own = " (RUN)" if at is found.own else ""
        table.add_row(
            f"{said}{own}", *(f"{at.taus[x]:,}" for x in names), f"{at.pairs:,.1f}",
            f"{at.pairs / found.pairs:.1%}" if found.pairs else "",
        )  # fmt: skip
    return table


def _numbers(text: str | None, *, option: str) -> list[float]:
    try:
        return [float(x) for x in text.split(",")] if text is not None else []
    except ValueError:
        raise CurateError(f"{option} {text}: expected numbers separated by commas") from None


def add_to(app: typer.Typer) -> None:
    """Add these commands to `app`."""
    app.command(context_settings=BEAM_OPTIONS)(rebalance)
    app.command()(sweep)
