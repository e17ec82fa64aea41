"""The commands. Every message a person reads is one line that names the thing and the remedy."""

import inspect
import logging
import os
import re
import sys
import traceback
import warnings
from importlib.metadata import version as version_of
from typing import Annotated

import typer

from curate import files
from curate.commands import (
    balancing,
    browsing,
    clusters,
    comparing,
    concepts,
    exporting,
    finding,
    hashing,
    jobs,
    metadata,
    peeking,
    planning,
    publishing,
    recipes,
    revoking,
    scoring,
    subset,
    verifying,
    warming,
)
from curate.commands.process import end, heed_signals, open_stream
from curate.commands.running import loaded, run_config
from curate.commands.terminal import (
    BEAM_OPTIONS,
    Force,
    Out,
    Set,
    Workers,
    beam_options,
    one_line_errors,
    out_console,
    reporting,
    tell_incomplete,
    with_engine,
)
from curate.config import LOCAL_RUNNER
from curate.config import file as config_file
from curate.errors import CurateError
from curate.reasons import FETCH_FAILURES, TRANSIENT
from curate.rundir.directory import DISTRIBUTION, Run

app = typer.Typer(
    help="From a raw pool of (image URL, caption) pairs to balanced WebDataset shards and a report.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"curate {version_of(DISTRIBUTION)}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks and engine logs.")
    ] = False,
) -> None:
    os.environ["CURATE_DEBUG"] = "1" if debug else ""
    if not debug:
        logging.getLogger("apache_beam").setLevel(logging.CRITICAL)
        logging.getLogger().setLevel(logging.ERROR)
        warnings.filterwarnings("ignore")


@app.command(context_settings=BEAM_OPTIONS)
def run(
    context: typer.Context,
    config: Annotated[str, typer.Argument(help="A YAML file; see `curate config`.")],
    out: Out = None,
    workers: Workers = None,
    set_: Set = None,
    retry_failed: Annotated[
        bool,
        typer.Option(
            "--retry-failed",
            help="Fetch again what failed for a reason that may have passed: timeouts, 5xx, DNS, …",
        ),
    ] = False,
    retry: Annotated[
        str | None,
        typer.Option(
            "--retry",
            metavar="REASON,…",
            help="Fetch again what failed for these reasons, as in --retry forbidden_address,timeout.",
        ),
    ] = None,
    force: Force = False,
    detach: Annotated[
        bool, typer.Option("--detach", help="Submit the job to its engine, and leave it there.")
    ] = False,
) -> None:
    """Run a pipeline, or go on with it: what is done in the run directory is not done again.

    A finished run's failures are tried again with: curate run RUN/config.yaml --retry-failed

    Options after -- go to Beam, as in: curate run c.yaml --out gs://b/run -- --runner=DataflowRunner
    """
    with one_line_errors():
        options = beam_options(context)
        settings = loaded(config, overrides=tuple(set_ or ()), out=out)
        settings = with_engine(settings, workers=workers, options=options)
        again = frozenset(TRANSIENT if retry_failed else ()) | _reasons(retry)
        if again and not settings.download.enabled:
            option = "--retry-failed" if retry_failed else "--retry"
            raise CurateError(f"{option}: download.enabled is false in this configuration")
        if detach and settings.beam.runner == LOCAL_RUNNER:
            raise CurateError("--detach: a local run goes on in this command; no job could be left")
        run_config(settings, options=options, retry_failed=again, force=force, detach=detach)


@app.command()
def demo(
    context: typer.Context,
    out: Annotated[str, typer.Option("--out", help="The run directory.")] = "runs/demo",
    workers: Workers = None,
    set_: Set = None,
    force: Force = False,
) -> None:
    """Run the pipeline on the pool that ships with curate, served on a loopback port.

    Needs no network: real pictures and captions, and the bad neighbours they have on the web.
    """
    from curate.commands.demo import demo_config, serve

    with one_line_errors(), serve() as addresses:
        settings = demo_config(addresses, out=out, overrides=tuple(set_ or ()))
        settings = with_engine(settings, workers=workers, options=beam_options(context))
        run_config(settings, options=[], force=force)


def _reasons(text: str | None) -> frozenset[str]:
    found = frozenset(text.split(",")) if text is not None else frozenset()
    if unknown := sorted(found - FETCH_FAILURES):
        raise CurateError(
            f"--retry {text}: {unknown[0]!r} is no failure of a download; these are:"
            f" {', '.join(sorted(FETCH_FAILURES))}"
        )
    return found


@app.command()
def report(run_directory: Annotated[str, typer.Argument(metavar="RUN")]) -> None:
    """Write the report of a run again, from the files in its directory."""
    from curate.commands.progress import tell_report
    from curate.report.write import write_report
    from curate.rundir.borrowed import open_run

    with one_line_errors():
        found = Run.at(run_directory)
        with reporting(found):
            open_run(run_directory)
            tell_incomplete(found)
            settings = config_file.load(found.path("config.yaml"))
            tell_report(out_console, write_report(found, settings))


@app.command(name="config")
def show_config(
    recipe: Annotated[
        str | None, typer.Option(help="A recipe of `curate recipes`, or demo.")
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Print every key with its default and what it means.")
    ] = False,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema.")] = False,
) -> None:
    """Print a configuration to start from, for a pool of your own; or a recipe, or all keys."""
    from curate.commands.reference import full_config

    with one_line_errors():
        if full:
            print(full_config(), end="")
            return
        if schema:
            print(config_file.json_schema())
            return
        if recipe in (None, "demo"):
            print(files.shipped(f"pipelines/{recipe or 'start'}.yaml").read_text(), end="")
            return
        known = config_file.recipes()
        if recipe not in known:
            raise CurateError(f"--recipe {recipe}: unknown; the recipes are: {', '.join(known)}")
        print(known[recipe].read_text(), end="")


recipes.add_to(app)
planning.add_to(app)
balancing.add_to(app)
revoking.add_to(app)
comparing.add_to(app)
subset.add_to(app)
browsing.add_to(app)
exporting.add_to(app)
verifying.add_to(app)
peeking.add_to(app)
finding.add_to(app)
clusters.add_to(app)
concepts.add_to(app)
publishing.add_to(app)
hashing.add_to(app)
scoring.add_to(app)
warming.add_to(app)
jobs.add_to(app)
app.add_typer(metadata.app, name="metadata")
for _command in (*app.registered_commands, *metadata.app.registered_commands):
    # Typer keeps the line breaks of a docstring, in the middle of sentences.
    _text = inspect.cleandoc(getattr(_command.callback, "__doc__", None) or "")
    _command.help = re.sub(r"(?<!\n)\n(?!\n)", " ", _text)


def main() -> None:
    """The entry point of the `curate` command."""
    sys.stdout = open_stream(1)
    heed_signals()
    try:
        app()
    except SystemExit as ended:
        end(ended.code if isinstance(ended.code, int) else int(ended.code is not None))
    except Exception:  # noqa: BLE001 - shown as the interpreter would, which would then wait
        traceback.print_exc()
        end(1)


if __name__ == "__main__":
    main()
