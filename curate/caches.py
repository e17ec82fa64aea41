"""Where the libraries may keep what they make once: chosen before any of them is imported.

A container often runs as a user that has no home, or none that can be written to. What stands in a
home is used all the same, such as credentials and checkpoints.
"""

import os
import pwd
import stat
import tempfile
from functools import cache

_LIBRARIES = {"HF_HOME": "huggingface", "TORCH_HOME": "torch"}
"""Folders of checkpoints in ``~/.cache``, by the variable that names each."""


def choose() -> None:
    """Point the environment to folders that can be written to, where the home offers none."""
    home = os.path.expanduser("~")  # stays "~" where neither the environment nor the system has one
    wanted = os.environ.get("XDG_CACHE_HOME") or os.path.join(home, ".cache")
    if os.path.isabs(wanted) and _writable(wanted if os.path.isdir(wanted) else home):
        return
    if not os.path.isdir(home):
        os.environ["HOME"] = fallback()
    os.environ["XDG_CACHE_HOME"] = os.path.join(fallback(), ".cache")
    os.environ.setdefault("MPLCONFIGDIR", os.path.join(fallback(), "matplotlib"))
    for variable, name in _LIBRARIES.items():
        if os.path.isdir(found := os.path.join(wanted, name)):
            os.environ.setdefault(variable, found)
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:  # `getpass` asks the environment first
        os.environ.setdefault("LOGNAME", f"uid{os.getuid()}")


def folder() -> str:
    """The folder of this user's caches."""
    return os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")


def _writable(path: str) -> bool:
    return os.path.isdir(path) and os.access(path, os.W_OK | os.X_OK)


@cache
def fallback() -> str:
    """A folder among the temporary ones, the same for each process of this user and no other's."""
    path = os.path.join(tempfile.gettempdir(), f"curate-{os.getuid()}")
    os.makedirs(path, mode=0o700, exist_ok=True)
    found = os.lstat(path)
    ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
    # Compiled kernels are code: a folder that somebody else has made there is not trusted.
    return path if ours and not found.st_mode & 0o022 else tempfile.mkdtemp(prefix="curate-")
