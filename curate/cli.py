"""The commands. Every message a person reads is one line that names the thing and the remedy."""

import logging
import os
import shlex
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console

from curate import config as configuration
from curate import files
from curate.config import Config
from curate.errors import CurateError
from curate.run import Run

app = typer.Typer(
    help="From a raw pool of (image URL, caption) pairs to balanced WebDataset shards and a report.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
out_console = Console(highlight=False, soft_wrap=True)
# A descriptor of its own: while a pipeline runs, that of stderr is shut to decoders and workers.
error_console = Console(file=os.fdopen(os.dup(2), "w"), highlight=False, soft_wrap=True)

Out = Annotated[str | None, typer.Option("--out", help="The run directory: a path or fsspec URL.")]
Workers = Annotated[int | None, typer.Option("--workers", "-w", help="Local worker processes.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", metavar="KEY=VALUE", help="Override a key: --set balance.t=50"),
]


@app.callback()
def _common(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks and engine logs.")
    ] = False,
) -> None:
    os.environ["CURATE_DEBUG"] = "1" if debug else ""
    if not debug:
        logging.getLogger("apache_beam").setLevel(logging.CRITICAL)
        logging.getLogger().setLevel(logging.ERROR)
        warnings.filterwarnings("ignore")


@contextmanager
def _one_line_errors() -> Iterator[None]:
    """Show an error as one line; `--debug` shows where it came from."""
    try:
        yield
    except CurateError as error:
        if _debug():
            raise
        error_console.print(f"[bold red]error[/] {_escape(str(error))}")
        raise typer.Exit(1) from None


def _debug() -> bool:
    return bool(os.environ.get("CURATE_DEBUG"))


def _escape(text: str) -> str:
    return text.replace("[", "\\[")


def _run(config: Config, *, beam_options: list[str], command: str) -> None:
    """Plan, run, report; Ctrl-C says how to go on."""
    from curate import execute, plan, progress
    from curate.stages.report import write_report

    started = time.monotonic()
    planned = plan.make_plan(config)
    try:
        standing = execute.prepare_run(planned)
        n = len(planned.parts)
        rows = sum(part.rows for part in planned.parts)
        out_console.print(
            f"{rows:,} pairs in {n:,} part{'s' * (n > 1)}: {' > '.join(planned.stages)}"
        )
        progress.announce(out_console, planned, standing)
        with execute.recorded(planned):
            with progress.watch(out_console, planned, standing):
                execute.execute(planned, standing, extra=beam_options, debug=_debug())
            if not config.download.enabled:
                execute.write_uids(planned)
        report = write_report(planned.run, config)
    except KeyboardInterrupt:
        error_console.print(f"stopped; what is done stays. Go on with: {command}")
        sys.stdout.flush()
        execute.abandon(130)
    progress.summary(out_console, planned.run, report=report, started=started)


def _this_command() -> str:
    return shlex.join(["curate", *sys.argv[1:]])


def _with_workers(config: Config, workers: int | None) -> Config:
    if workers is None:
        return config
    if workers < 1:
        raise CurateError(f"--workers {workers}: expected 1 or more")
    return config.model_copy(update={"beam": config.beam.model_copy(update={"workers": workers})})


@app.command(context_settings={"allow_extra_args": True})
def run(
    context: typer.Context,
    config: Annotated[str, typer.Argument(help="A YAML file; see `curate config`.")],
    out: Out = None,
    workers: Workers = None,
    set_: Set = None,
) -> None:
    """Run a pipeline, or go on with it: what stands in the run directory is not done again.

    Options after -- go to Beam, as in: curate run c.yaml --out gs://b/run -- --runner=DataflowRunner
    """
    with _one_line_errors():
        settings = configuration.load(config, overrides=tuple(set_ or ()), out=out)
        settings = _with_workers(settings, workers)
        extra = [option for option in context.args if option != "--"]
        for option in extra:
            if option.startswith("--runner="):
                chosen = settings.beam.model_copy(update={"runner": option.split("=", 1)[1]})
                settings = settings.model_copy(update={"beam": chosen})
        _run(settings, beam_options=extra, command=_this_command())


@app.command()
def demo(
    out: Annotated[str, typer.Option("--out", help="The run directory.")] = "runs/demo",
    workers: Workers = None,
    set_: Set = None,
) -> None:
    """Run the pipeline on the pool that ships with curate, served on a loopback port.

    Needs no network: real pictures and captions, and the bad neighbours they have on the web.
    """
    from curate.demo import demo_config, serve

    with _one_line_errors(), serve() as addresses:
        settings = demo_config(addresses, out=out, overrides=tuple(set_ or ()))
        _run(_with_workers(settings, workers), beam_options=[], command=_this_command())


@app.command()
def report(run_directory: Annotated[str, typer.Argument(metavar="RUN")]) -> None:
    """Write the report of a run again, from what stands in its directory."""
    from curate.stages.report import write_report

    with _one_line_errors():
        found = Run(files.absolute(run_directory))
        if not found.state():
            raise CurateError(f"{run_directory}: no run here (it has no run.json)")
        settings = configuration.load(found.path("config.yaml"))
        out_console.print(f"report  {write_report(found, settings)}")


@app.command(name="config")
def show_config(
    recipe: Annotated[str | None, typer.Option(help="The recipe to print; default: demo.")] = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema.")] = False,
) -> None:
    """Print a configuration to start from, or the schema of all keys."""
    with _one_line_errors():
        if schema:
            print(configuration.json_schema())
            return
        if recipe is None:
            print(files.shipped("pipelines/demo.yaml").read_text(), end="")
            return
        known = configuration.recipes()
        if recipe not in known:
            raise CurateError(f"--recipe {recipe}: unknown; the recipes are: {', '.join(known)}")
        print(known[recipe].read_text(), end="")


@app.command()
def recipes() -> None:
    """List the published recipes that ship with curate."""
    with _one_line_errors():
        for name, path in configuration.recipes().items():
            first = path.read_text().splitlines()[0].lstrip("# ")
            out_console.print(f"{name:24} {first}")


def main() -> None:
    """The entry point of the `curate` command."""
    app()


if __name__ == "__main__":
    main()
