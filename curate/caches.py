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


def folders() -> list[str]:
    """Where curate keeps what it makes once: CURATE_CACHE, where that is set, then the user's cache.

    What the first does not have, or does not take, such as that of an image, is for the next.
    """
    user = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    found = [os.path.join(user, "curate")]
    if asked := os.environ.get("CURATE_CACHE"):
        found.insert(0, os.path.abspath(asked))
    if os.path.isdir(found[-1]) and not _writable(found[-1]):  # made by root, say
        found.append(os.path.join(fallback(), "kept"))
    return found


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
