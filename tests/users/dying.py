"""A command that dies where it writes a certain file, in a process that need not import it first."""

import multiprocessing
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from curate import cli, files, flow
from curate.files import content, documents

_ = flow  # which takes seconds to import: here, before a process is forked


def _die(
    words: str, cwd: str, environ: dict[str, str], arguments: Sequence[str], after: str
) -> NoReturn:
    """Be `curate ARGUMENTS`, and die where it writes `after`; what it says goes to a file."""
    os.environ.clear()
    os.environ.update(environ)
    os.chdir(cwd)
    descriptor = os.open(words, os.O_WRONLY)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    write = files.atomic_write

    def dying(url: str, **how: bool) -> object:
        if after in url:
            os._exit(9)
        return write(url, **how)

    for module in (files, content, documents):
        module.atomic_write = dying  # type: ignore[attr-defined]
    sys.argv = ["curate", *arguments]
    cli.main()
    os._exit(0)


def died(*arguments: str, after: str) -> tuple[int | None, str]:
    """The exit status of `curate ARGUMENTS`, which dies where it writes `after`, and what it said."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    with tempfile.NamedTemporaryFile() as words:
        given = words.name, str(Path.cwd()), dict(os.environ), arguments, after
        process = context.Process(target=_die, args=given)
        process.start()
        process.join(240)
        process.kill()
        process.join()
        return process.exitcode, words.read().decode()
