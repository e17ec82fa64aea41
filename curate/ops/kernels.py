"""numba, and the compiled kernels: what they are compiled for, and where they are kept.

A kernel contains the kernels that it calls and the constants that it reads, also those of other
modules; numba's own cache checks only the file that defines it, and mixes up signatures that two
processes compile at once. Here a compiled kernel is named by all that it is made of. It stands in the
folder of its *generation*, the sources of all kernels and the version of the compiler, which every
checkout with these sources shares; its own name has its signature, the processor's kind and the values
of its constants. So nothing there can be stale.
"""

import hashlib
import os
import pickle
import re
import secrets
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from functools import cache
from importlib import import_module
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from types import FunctionType, ModuleType, UnionType
from typing import Annotated, Any, TypeAlias, TypeVar, Union, get_args, get_origin, get_type_hints

import llvmlite
import numba as nb
import numpy as np
from llvmlite.binding import get_host_cpu_features
from numba.core import caching, dispatcher, serialize
from numba.core.base import BaseContext
from numba.core.compiler import CompileResult
from numba.core.runtime import rtsys
from numba.np.numpy_support import from_dtype
from numpy.typing import NDArray

from curate import caches
from curate.errors import CurateError

__all__ = ["Frozen", "FrozenRows", "Rows", "nb"]

T = TypeVar("T", bound=np.generic)
_FROZEN = "not writable"
Rows: TypeAlias = Annotated[NDArray[T], 2]
"""An array of two dimensions as the argument of a kernel; one without a mark has one."""
Frozen: TypeAlias = Annotated[NDArray[T], _FROZEN]
"""An array of one dimension that may not be written to, such as a view of Arrow's."""
FrozenRows: TypeAlias = Annotated[NDArray[T], 2, _FROZEN]
"""The same of two dimensions."""

_PACKAGE = Path(__file__).parents[1]
_SOURCE = re.compile(rb"^@(?:nb\.njit|intrinsic|overload)\b", re.MULTILINE)
_KERNEL = re.compile(rb"^@nb\.njit\(.*cache=True.*\)\ndef (\w+)", re.MULTILINE)
_DIGEST = hashlib.sha256().digest_size


_SHARED = "x86-64-v3"
_NEEDS = ("avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe")
if nb.config.CPU_NAME == _SHARED and not all(map(get_host_cpu_features().get, _NEEDS)):
    # An image's kernels are for this kind, and this machine is older: it compiles its own.
    nb.config.CPU_NAME = nb.config.CPU_FEATURES = None


def modules() -> list[str]:
    """The names of the modules that have kernels of their own, the longest first."""
    found = [path for path, source in _sources() if _KERNEL.search(source)]
    found.sort(key=lambda path: -path.stat().st_size)
    return [
        ".".join(("curate", *path.relative_to(_PACKAGE).with_suffix("").parts)) for path in found
    ]


def compile_everything() -> tuple[int, int]:
    """Compile all kernels, in a process a core; how many there are, and how many stood already."""
    names = modules()
    cores = min(len(os.sched_getaffinity(0)), len(names))
    with ProcessPoolExecutor(cores, mp_context=get_context("spawn")) as processes:
        found = list(processes.map(compile_all, names))
    return sum(n for n, _ in found), sum(stood for _, stood in found)


def compile_all(module: str) -> tuple[int, int]:
    """Compile the kernels of a module, each for what its arguments are annotated as; both as above."""
    found = import_module(module)
    source = Path(str(found.__file__)).read_bytes()
    kernels = [getattr(found, name.decode()) for name in _KERNEL.findall(source)]
    n = stood = 0
    for kernel in kernels:
        for signature in _signatures(kernel.py_func):
            kernel.compile(signature)
            n += 1
        stood += sum(kernel.stats.cache_hits.values())
    return n, stood


def _signatures(function: FunctionType) -> Iterator[tuple[Any, ...]]:
    """The types of a kernel's arguments, of each member of a union."""
    hints = get_type_hints(function, include_extras=True)
    hints.pop("return")
    return product(*map(_types, hints.values()))


def _types(hint: Any) -> list[Any]:
    """The types of numba that an annotation stands for; arrays are contiguous.

    >>> _types(Rows[np.uint8]), _types(int | np.float32)
    ([Array(uint8, 2, 'C', False, aligned=True)], [int64, float32])
    """
    if get_origin(hint) in (Union, UnionType):
        return [found for one in get_args(hint) for found in _types(one)]
    hint, *marks = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    if get_origin(hint) is np.ndarray:
        dtype = get_args(get_args(hint)[1])[0]
        dims = next((mark for mark in marks if isinstance(mark, int)), 1)
        return [nb.types.Array(from_dtype(np.dtype(dtype)), dims, "C", readonly=_FROZEN in marks)]
    if issubclass(hint, tuple):
        fields = get_type_hints(hint, include_extras=True).values()
        return [nb.types.BaseTuple.from_types(each, hint) for each in product(*map(_types, fields))]
    return [from_dtype(np.dtype(hint))]


@cache
def generation() -> str:
    """A digest of the sources of all modules with kernels, and of what compiles them."""
    versions = (nb.__version__, llvmlite.__version__, np.__version__, sys.implementation.cache_tag)
    digest = hashlib.sha256(repr(versions).encode())
    for path, source in _sources():
        digest.update(str(path.relative_to(_PACKAGE)).encode() + b"\0" + source + b"\0")
    return digest.hexdigest()[:32]


def _sources() -> list[tuple[Path, bytes]]:
    found = ((path, path.read_bytes()) for path in sorted(_PACKAGE.rglob("*.py")))
    return [(path, source) for path, source in found if _SOURCE.search(source)]


def _constants(kernel: FunctionType, seen: set[FunctionType]) -> Iterator[str]:
    """The values of what a kernel, and those that it calls, read of their modules and of others."""
    seen.add(kernel)
    names = dict.fromkeys((*kernel.__code__.co_names, *kernel.__code__.co_freevars))
    found = [(name, kernel.__globals__.get(name)) for name in names]
    for of, module in list(found):
        if isinstance(module, ModuleType):
            found += [(f"{of}.{name}", getattr(module, name, None)) for name in names]
    for name, value in found:
        if isinstance(value, dispatcher.Dispatcher):
            if value.py_func not in seen:
                yield from _constants(value.py_func, seen)
        elif isinstance(value, np.ndarray):
            yield f"{name} {value.dtype} {value.shape} {value.tobytes().hex()}"
        elif isinstance(value, bool | int | float | complex | str | bytes | tuple | np.generic):
            yield f"{name} {value!r}"


def kept_in() -> Path:
    """The folder in which kernels are kept.

    Raises
    ------
    CurateError
        Where none can be written to.
    """
    for folder in _folders():
        if os.access(folder, os.W_OK | os.X_OK):
            return folder
    raise CurateError(
        f"{_folders()[0]}: nothing can be written there; set CURATE_CACHE to a folder for what is"
        " compiled"
    )


@cache
def _folders() -> tuple[Path, ...]:
    """Where kernels of this generation are looked for, and kept where it can be written to."""
    return tuple(_settled(Path(root, "kernels")) for root in caches.folders())


def _settled(root: Path) -> Path:
    """The folder of this generation in `root`; those that no package here is of any more are removed.

    A file a package, in `root/used`, says which generation it is of: the packages of an environment
    and its next version have the same file.
    """
    folder = root / generation()
    name = hashlib.sha256(f"{_PACKAGE}\n{sys.prefix}".encode()).hexdigest()[:16]
    mine, told = root / "used" / name, f"{generation()}\n{_PACKAGE}\n"
    with suppress(OSError):  # it cannot be written to: what is there is used all the same
        if mine.exists() and mine.read_text() == told:
            folder.mkdir(exist_ok=True)
            return folder
        mine.parent.mkdir(parents=True, exist_ok=True)
        _write(mine, told.encode())
        folder.mkdir(exist_ok=True)
        others = {x for x in root.iterdir() if x.name != mine.parent.name}
        for (
            one
        ) in mine.parent.iterdir():  # after the folders: who makes one has a file here already
            used, _, package = one.read_text().partition("\n")
            if os.path.exists(package.strip()):
                others.discard(root / used)
            else:
                one.unlink(missing_ok=True)
        for old in others:
            shutil.rmtree(old, ignore_errors=True)
    return folder


def _write(path: Path, content: bytes) -> None:
    """Write a file that is never seen half."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        part.write_bytes(content)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


class _Kept(caching._Cache):  # type: ignore[misc, unused-ignore]
    """One kernel's compiled forms: a file for each signature and kind of processor."""

    def __init__(self, function: FunctionType) -> None:
        self._function = function
        self.enable()

    @property
    def cache_path(self) -> str:
        return str(_folders()[0])

    def load_overload(self, sig: object, target_context: BaseContext) -> CompileResult | None:
        """What is kept for a signature; None where there is nothing, or a damaged file.

        That needs numba's runtime, but none of its implementations of Python and NumPy, which take
        half a second to load; the compiler loads them itself.
        """
        rtsys.initialize(target_context)
        name = self._file(sig, target_context.codegen())
        for folder in _folders() if self._enabled else ():
            with suppress(OSError):
                content = Path(folder, name).read_bytes()
                if hashlib.sha256(content[_DIGEST:]).digest() == content[:_DIGEST]:
                    payload = pickle.loads(content[_DIGEST:])
                    return CompileResult._rebuild(target_context, *payload)
        return None

    def save_overload(self, sig: object, data: CompileResult) -> None:
        """Keep it, in the first folder that takes it; where none does, it is used all the same."""
        if not self._enabled or data.lifted or data.library.has_dynamic_globals:
            return
        payload = serialize.dumps(data._reduce())
        for folder in _folders():
            with suppress(OSError):
                _write(
                    folder / self._file(sig, data.codegen),
                    hashlib.sha256(payload).digest() + payload,
                )
                return

    def _file(self, sig: object, codegen: Any) -> str:
        told = repr((sig, codegen.magic_tuple(), [*_constants(self._function, set())]))
        name = f"{self._function.__module__.removeprefix('curate.')}.{self._function.__qualname__}"
        return f"{name}-{hashlib.sha256(told.encode()).hexdigest()[:16]}.kernel"

    def enable(self) -> None:
        self._enabled = True

    def disable(self) -> None:
        self._enabled = False

    def flush(self) -> None:
        """Nothing: a generation goes as a whole."""


def _cache_of(function: FunctionType) -> caching._Cache:
    ours = Path(function.__code__.co_filename).is_relative_to(_PACKAGE)
    return _Kept(function) if ours else _numbas(function)


_numbas = caching.FunctionCache
dispatcher.FunctionCache = _cache_of  # type: ignore[attr-defined, unused-ignore]
