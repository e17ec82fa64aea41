"""`curate warm`: the kernels compiled before the first run, as an image and a set-up do it."""

import time

import typer

from curate.commands.terminal import one_line_errors, out_console


def warm() -> None:
    """Compile all kernels for this machine, in as many processes as it has cores.

    A first run needs them, and would compile one after the other. They are kept in the folder
    CURATE_CACHE, or else in the user's cache (~/.cache/curate), for this version of curate, of its
    compiler and this kind of processor. Where they stand already there is nothing to do.
    """
    with one_line_errors():
        from curate.ops import kernels

        started = time.monotonic()
        folder = kernels.kept_in()
        n, stood = kernels.compile_everything()
        told = f"{n - stood} of them compiled in {time.monotonic() - started:.1f} s"
        out_console.print(f"{n} kernels, {told if n > stood else 'all of them stood'}  {folder}")


def add_to(app: typer.Typer) -> None:
    """Make this a command of `app`."""
    app.command()(warm)
