"""What the project's extras bring: packages that a plain run does without."""

from importlib.util import find_spec

from curate.errors import CurateError


def install(extra: str) -> str:
    """The command that installs an extra.

    >>> install("crawls")
    "pip install 'curate-clip[crawls]'"
    """
    return f"pip install 'curate-clip[{extra}]'"


def require(package: str, *, by: str, command: str) -> None:
    """Raise a CurateError that says what to install where a package is missing that `by` needs."""
    try:
        found = find_spec(package)
    except ModuleNotFoundError:  # of a package in another
        found = None
    if found is None:
        raise CurateError(f"{by} needs the package {package}: {command}")
