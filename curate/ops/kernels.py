"""numba, and where it keeps the kernels that it has compiled.

A cached kernel contains the kernels that it calls, also those of other modules, so it is stale as soon
as one of their sources changes. numba itself checks only the file that defines the kernel.
"""

import hashlib
import os
import re
from functools import cache
from pathlib import Path

import llvmlite
import numba as nb
from numba.core import caching

from curate import caches
from curate.errors import CurateError

__all__ = ["nb"]

_PACKAGE = Path(__file__).parents[1]
_OURS = re.compile(rb"^from curate\.([a-z_.]+) import", re.MULTILINE)


@cache
def stamp() -> str:
    """A digest of all sources that kernels are made of, and of the compiler's version.

    Those are the modules with kernels and what these import: constants are compiled in.
    """
    sources = {path: path.read_bytes() for path in sorted(_PACKAGE.rglob("*.py"))}
    open_ = [path for path, source in sources.items() if b"@nb.njit" in source]
    seen = set(open_)
    while open_:
        for name in _OURS.findall(sources[open_.pop()]):
            path = _PACKAGE.joinpath(*name.decode().split(".")).with_suffix(".py")
            if path in sources and path not in seen:
                seen.add(path)
                open_.append(path)
    digest = hashlib.sha256(f"{nb.__version__} {llvmlite.__version__}".encode())
    for path in sorted(seen):
        digest.update(str(path.relative_to(_PACKAGE)).encode() + b"\0" + sources[path])
    return digest.hexdigest()


class _Locator(caching._CacheLocator):  # type: ignore[misc, unused-ignore]
    """Folder and freshness of a kernel of this package; numba keeps the processor's kind apart."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def get_cache_path(self) -> str:
        return self._folder

    def get_source_stamp(self) -> str:
        return stamp()

    def get_disambiguator(self) -> str:
        return "kernel"  # not the line, so that a changed one takes the place of the old

    @classmethod
    def from_function(cls, py_func: object, py_file: str) -> "_Locator | None":
        """The first folder that can be written to: numba's own variable, beside the source, a cache."""
        if not Path(py_file).is_relative_to(_PACKAGE):
            return None
        inside = cls.get_suitable_cache_subpath(py_file)
        asked = nb.config.CACHE_DIR
        folders = [os.path.join(asked, inside)] if asked else []
        folders.append(os.path.join(os.path.dirname(py_file), "__pycache__"))
        folders.append(os.path.join(caches.folder(), "curate", "kernels", inside))
        for folder in folders:
            found = cls(folder)
            try:
                found.ensure_cache_path()
            except OSError:
                continue
            return found
        raise CurateError(
            f"compiled kernels can be written to none of {', '.join(folders)}: set NUMBA_CACHE_DIR to"
            " a folder that can be written to"
        )


def _save(self: caching.FunctionCache, signature: object, compiled: object) -> None:
    try:
        _numbas_save(self, signature, compiled)
    except OSError:  # a full disk: the kernel is used all the same, and compiled again next time
        self.disable()


_numbas_save = caching.FunctionCache.save_overload
caching.FunctionCache.save_overload = _save
caching.CacheImpl._locator_classes.insert(0, _Locator)
