"""Code of users: a reader or a score by its name in a configuration, as `my_package.readers:Coyo`."""

import difflib
import hashlib
import importlib
import inspect
import os
import re
import sys
import sysconfig
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from curate.errors import CurateError

IMPORT_NAME = r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*"
"""The pattern of such a name."""
_folders: list[str] = []  # in which modules are looked for, after Python's own path
_used: set[str] = set()
_NOT_THEIRS = (
    str(Path(__file__).parent),
    sysconfig.get_path("stdlib"),
    sysconfig.get_path("purelib"),
)


def is_import_name(text: str) -> bool:
    """Whether `text` reads as a module and what is in it.

    >>> [is_import_name(x) for x in ("readers:Coyo", "my_package.readers:Coyo", "readers.Coyo")]
    [True, True, False]
    """
    return re.fullmatch(IMPORT_NAME, text) is not None


def look_in(folder: str) -> None:
    """Look for modules in a folder too, once any is imported, after all places of Python's own.

    Worker processes of a local run get the path of the process that starts them (`curate.parent`).
    """
    if folder not in _folders:
        _folders.append(folder)


def imported(name: str, *, key: str) -> Callable[..., Any]:
    """The function or class of a `name` that the configuration has at `key`.

    Raises
    ------
    CurateError
        Where its module is not there or cannot be imported, or has no such function or class.
    """
    module_name, _, attribute = name.partition(":")
    sys.path.extend(folder for folder in _folders if folder not in sys.path)
    importlib.invalidate_caches()
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # theirs, which may raise anything
        if isinstance(error, ModuleNotFoundError) and f"{module_name}.".startswith(
            f"{error.name}."
        ):
            looked = f" (looked in {', '.join(_folders)} too)" if _folders else ""
            raise CurateError(
                f"{key}: {name}: no module {error.name!r}{looked}: install its package, put its file"
                " beside the configuration, or its folder into PYTHONPATH or beam.python_path"
            ) from None
        raise CurateError(f"{key}: {name}: it cannot be imported: {fault(error)}") from error
    top = sys.modules[module_name.partition(".")[0]]
    _used.update(
        map(os.path.dirname, getattr(top, "__path__", [getattr(top, "__file__", "") or ""]))
    )
    found = getattr(module, attribute, None)
    if found is None:
        near = difflib.get_close_matches(attribute, dir(module), n=1)
        hint = f", did you mean {near[0]!r}?" if near else ""
        where = getattr(module, "__file__", None) or module_name
        raise CurateError(f"{key}: {name}: {where} has no {attribute!r}{hint}")
    if not callable(found):
        raise CurateError(
            f"{key}: {name}: expected a function or a class, found {type(found).__name__}"
        )
    result: Callable[..., Any] = found
    return result


def folders_used() -> tuple[str, ...]:
    """Those of the folders to look in that something was imported from."""
    return tuple(folder for folder in _folders if folder in _used)


def version_of(found: Callable[..., object]) -> str:
    """The version of a function or class: what its `version` says, else a digest of its source file.

    Raises
    ------
    CurateError
        Where it has neither.
    """
    version = getattr(found, "version", None)
    if isinstance(version, str | int):
        return str(version)
    try:
        source = Path(inspect.getfile(_defined(found)))
        return hashlib.sha256(source.read_bytes()).hexdigest()
    except (TypeError, OSError):
        raise CurateError(
            f"{_called(found)}: nothing tells its version: give it an attribute `version`, a text that"
            " you change where its results do"
        ) from None


def fault(error: BaseException, *, of: Callable[..., object] | None = None) -> str:
    """What users' code raised, in a line that ends in where: in `of`'s file if any of it was there.

    >>> try:
    ...     fault(int("seven"))
    ... except ValueError as error:
    ...     print(fault(error).partition(" (")[0])
    ValueError: invalid literal for int() with base 10: 'seven'
    """
    said = str(error).strip().splitlines()
    told = f"{type(error).__name__}: {said[0]}" if said else type(error).__name__
    frames = [x for x in traceback.extract_tb(error.__traceback__) if x.filename[:1] != "<"]
    own = [x for x in frames if of and x.filename == _file(of)]
    theirs = [x for x in frames if not x.filename.startswith(_NOT_THEIRS)]
    at = [*frames[-1:], *theirs[-1:], *own[-1:]][-1:]
    if isinstance(error, SyntaxError) or not at:  # which says so itself
        return told
    return f"{told} ({at[0].filename}, line {at[0].lineno})"


def _defined(found: Callable[..., object]) -> Any:
    """What is written down somewhere: of an instance its class, of what a decorator wrapped this."""
    whole: Any = inspect.unwrap(getattr(found, "func", found))  # that of a `functools.partial`
    return whole if inspect.isclass(whole) or inspect.isroutine(whole) else type(whole)


def _file(found: Callable[..., object]) -> str:
    try:
        return inspect.getfile(_defined(found))
    except (TypeError, OSError):
        return ""


def _called(found: Callable[..., object]) -> str:
    one = _defined(found)
    return f"{one.__module__}:{one.__qualname__}"
