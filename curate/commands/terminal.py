"""Shared by all commands: options, consoles, errors as one line, and running a plan to its report."""

import os
import re
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from curate import files
from curate.commands.process import fill_streams, open_stream, status
from curate.config import Beam, Config
from curate.config.paths import paths_in
from curate.errors import CurateError, DamagedError, hidden
from curate.files.stores import told
from curate.machine import faults_named
from curate.rundir.lock import locked
from curate.schema import Stage

if TYPE_CHECKING:
    from curate.planning.spreading import Over
    from curate.rundir.directory import Run

_TRICKS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Control characters, of terminals and of bidirectional text, except tab and line feed."""


def shown(text: str) -> str:
    """`text` with control characters as escapes, which are valid in JSON, too.

    >>> print(shown("a\\x1b[2Jb"))
    a\\u001b[2Jb
    """
    return _TRICKS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


class _Screen(Console):
    """A console that prints captions, URLs and paths literally: no markup, no control characters."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, soft_wrap=True, **settings)

    def render_str(self, text: str, **settings: Any) -> Text:
        return super().render_str(shown(text), **settings)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterator[Segment]:
        for segment in super().render(renderable, options):
            text, style, control = segment
            yield segment if control else Segment(shown(text), style)


fill_streams()
# Where nobody sees it, in a file or another program, no table is cut to a width.
out_console = _Screen(width=None if sys.stdout.isatty() else 10_000)
# A descriptor of its own: while a pipeline runs, that of stderr is shut to decoders and workers.
error_console = _Screen(file=open_stream(os.dup(2)))

Workers = Annotated[int | None, typer.Option("--workers", "-w", help="Local worker processes.")]
Out = Annotated[str | None, typer.Option("--out", help="The run directory: a path or fsspec URL.")]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        "-s",
        metavar="KEY=VALUE",
        help="Override a key: --set balance.t=50. A key with dots of its own, and a whole mapping:"
        " --set download.connect_to='{a.example: 127.0.0.1:80}'",
    ),
]
BEAM_OPTIONS = {"allow_extra_args": True}
"""Settings of a command that passes options after ``--`` to Beam."""


def many(n: int, thing: str) -> str:
    """How many of a thing.

    >>> many(1, "part"), many(2_000, "part")
    ('1 part', '2,000 parts')
    """
    return f"{n:,} {thing}{'s' * (n != 1)}"


@contextmanager
def one_line_errors(code: int = 1) -> Iterator[None]:
    """Print an error, or an interruption, as one line; with `--debug` an error has its traceback.

    `code` is the exit code of an error.
    """
    try:
        with faults_named("this command"), told(to="read or write"):
            yield
    except KeyboardInterrupt:
        error_console.print(f"stopped; what is done is kept. Resume with: {this_command()}")
        raise typer.Exit(status()) from None
    except CurateError as error:
        from curate.rundir.mending import note_damage, remedy

        noted = isinstance(error, DamagedError) and note_damage(error.url)
        if debugging():
            raise
        told_of = str(error)
        if isinstance(error, DamagedError):
            told_of += remedy(error.url, noted=noted)
        line = shown(told_of).replace("\n", "\\n")
        error_console.print(Text.assemble(("error", "bold red"), " ", hidden(line)))
        raise typer.Exit(code) from None


@contextmanager
def reading(run: "Run") -> Iterator[None]:
    """Lock the files of a run, and of its source (shared), while the block reads them."""
    with ExitStack() as held:
        for root in filter(None, (run.source, run.root)):
            held.enter_context(locked(root, shared=True))
        yield


@contextmanager
def reporting(run: "Run") -> Iterator[None]:
    """Lock the files of a run (shared) and its report, while the block reads those and writes this.

    Else a report of a half-finished run could replace that of a run which ends meanwhile.
    """
    with reading(run), locked(run.path(Stage.REPORT)):
        yield


def tell_incomplete(run: "Run") -> None:
    """Print a warning if a run is incomplete, as the numbers of a command are then of a part of it."""
    from curate.rundir.damage import incomplete

    if told_of := incomplete(run):
        error_console.print(Text.assemble(("warning", "bold yellow"), " ", told_of))


def debugging() -> bool:
    """Whether `--debug` was given."""
    return bool(os.environ.get("CURATE_DEBUG"))


def this_command() -> str:
    """The command line as it was typed, without passwords."""
    return hidden(shlex.join(["curate", *sys.argv[1:]]))


def with_engine(config: Config, *, workers: int | None, options: Sequence[str]) -> Config:
    """`config` with `--workers`, and with the runner of Beam's `options`, those after ``--``."""
    chosen: dict[str, object] = {}
    options = [*config.beam.options, *options]
    if workers is not None:
        if workers < 1:
            raise CurateError(f"--workers {workers}: expected 1 or more")
        chosen["workers"] = workers
    for option, following in zip(options, [*options[1:], ""], strict=False):
        name, _, value = option.partition("=")
        if name == "--runner":
            chosen["runner"] = value or following
    return config.model_copy(update={"beam": config.beam.model_copy(update=chosen)})


def check_seen_by_workers(engine: Beam, named: Iterable[tuple[str, str]]) -> None:
    """Raise CurateError where a run on Dataflow has a local path, which its workers cannot read.

    `named` are keys or options with their paths. Workers of other runners may share a disk with this
    machine.
    """
    if engine.runner.rpartition(".")[2].lower() not in ("dataflow", "dataflowrunner"):
        return
    for key, path in named:
        if files.is_here_alone(path):
            raise CurateError(
                f"{key} {path}: Dataflow's workers cannot see the files of this machine;"
                " give a gs:// URL"
            )


def named_in(config: Config) -> list[tuple[str, str]]:
    """The keys of `config` whose files workers read, with their paths."""
    named = [
        (one.key, one.path) for one in paths_in(config) if one.mark.travels and one.key != "out"
    ]
    return [*([("--out", config.out)] if config.out else []), *named]


def beam_options(context: typer.Context) -> list[str]:
    """The options after ``--``."""
    return [option for option in context.args if option != "--"]


def over_workers(config: Config, options: list[str]) -> "Over":
    """What does much work before a run by its workers: see :mod:`curate.running.spread`."""
    from curate.commands.counting import counted
    from curate.running.spread import by_workers

    watch = partial(counted, out_console)
    return by_workers(config, extra=options, debug=debugging(), watch=watch)


Force = Annotated[
    bool, typer.Option("--force", help="Replace a finished set in that folder by another.")
]
