"""Runs made from Python: `curate.run`."""

import logging
import os
import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

from curate import files
from curate.commands.running import loaded, run_config
from curate.commands.terminal import debugging, with_engine
from curate.config import Config
from curate.errors import CurateError
from curate.imported import look_in
from curate.library.opened import OpenedRun, open
from curate.library.plain import one_line
from curate.reasons import FETCH_FAILURES

_REMEDY = "give force=True to replace it; to keep it, move it away first or give another out"


def run(
    config: Config | str | os.PathLike[str],
    *,
    out: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    retry: Collection[str] = (),
    force: bool = False,
    options: Sequence[str] = (),
) -> OpenedRun:
    """Run a pipeline, or go on with it, and open the run: `curate run` from Python.

    Parameters
    ----------
    config
        A `Config`, or the path of a YAML file.
    out
        The run directory, a path or any fsspec URL; by default the configuration's own.
    workers
        Local worker processes.
    retry
        Reasons for which a fetch failed, which is tried again, as ``["timeout", "http_5xx"]``.
    force
        Whether a finished set in that folder is replaced by another.
    options
        Of Beam, as ``["--runner=DataflowRunner", …]``.

    Raises
    ------
    CurateError
        Whatever stands in the way, in a line that names the thing and the remedy.
    """
    where = None if out is None else os.fspath(out)
    with one_line("curate.run"), _quiet():
        settings = _settings(config, where)
        if not settings.out:
            raise CurateError("no output folder: give out=RUN or the configuration's key `out`")
        if unknown := sorted({*retry} - FETCH_FAILURES):
            raise CurateError(
                f"retry: {unknown[0]!r} is no failure of a download; these are:"
                f" {', '.join(sorted(FETCH_FAILURES))}"
            )
        if retry and not settings.download.enabled:
            raise CurateError("retry: download.enabled is false in this configuration")
        settings = with_engine(settings, workers=workers, options=options)
        run_config(
            settings, options=[*options], retry_failed=frozenset(retry), force=force, remedy=_REMEDY
        )
        return open(str(settings.out))


def read_config(
    path: str | os.PathLike[str], *, overrides: Sequence[str] = (), out: str | None = None
) -> Config:
    """The configuration in a YAML file, with ``KEY=VALUE`` on top of it as `--set` takes them.

    Raises
    ------
    CurateError
        Where it is not valid: it names the key, the file and the line.
    """
    with one_line(os.fspath(path)):
        return loaded(os.fspath(path), overrides=tuple(overrides), out=out)


def _settings(config: Config | str | os.PathLike[str], out: str | None) -> Config:
    if not isinstance(config, Config):
        return loaded(os.fspath(config), out=out)
    for folder in (*config.beam.python_path, os.getcwd()):
        if (local := files.local_path(files.absolute(folder))) is not None:
            look_in(local)
    return config if out is None else config.model_copy(update={"out": out})


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what the engine logs and warns of off the screen, as the commands do."""
    if debugging():
        yield
        return
    loggers = {
        logging.getLogger("apache_beam"): logging.CRITICAL,
        logging.getLogger(): logging.ERROR,
    }
    before = {logger: logger.level for logger in loggers}
    try:
        for logger, level in loggers.items():
            logger.setLevel(level)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in before.items():
            logger.setLevel(level)
