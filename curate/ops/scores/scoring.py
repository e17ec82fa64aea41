"""The protocol of scores: a class or function over batches of pairs, with declared columns.

Its attributes: `columns`, the type of each output column by name; `reads`, its inputs beside the
captions; `batch_size`; `version`. A class is constructed once a process with its options and then
called; a function is called with its options. The scores that come with the project and those of users
are loaded, called and checked here in the same way.
"""

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from inspect import isclass
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate.errors import CurateError
from curate.imported import fault, imported
from curate.ops.scores.batch import EMBEDDINGS, IMAGE, Batch
from curate.reasons import ErrorCode

BATCH = 64
"""Pairs in one call, unless a score has a `batch_size`."""
_ENOUGH = 16  # failures without one success after which the run ends

Values = Sequence[object] | NDArray[np.generic]
"""A value a pair; None where there is none."""
_FAILED = (pa.field("error", pa.string()), pa.field("detail", pa.string()))


class Score(Protocol):
    """A loaded score."""

    def __call__(self, batch: Batch) -> Values | Mapping[str, Values]:
        """A value for each pair, or several columns of such by name."""


@dataclass(frozen=True)
class ScoreSpec:
    """A score to load, its options and columns; `key` is its key in the configuration."""

    key: str
    call: str  # module:class or function
    columns: pa.Schema
    reads: tuple[str, ...] = (IMAGE,)
    options: Mapping[str, object] = field(default_factory=dict)
    batch_size: int = BATCH
    version: str = ""
    kind: str = ""  # of a score that comes with the project
    needs: tuple[tuple[str, str], ...] = ()  # packages, and the message if one is missing
    remedy: str = ""  # for an error in loading although the packages are installed

    @property
    def called(self) -> str:
        """The score as messages name it."""
        return f"{self.key}: {self.kind or self.call}"

    @property
    def looks(self) -> bool:
        """Whether the score depends on the image."""
        return not {IMAGE, *EMBEDDINGS}.isdisjoint(self.reads)

    @property
    def read_columns(self) -> tuple[str, ...]:
        """The columns that the score reads."""
        return tuple(x for x in self.reads if x not in (IMAGE, *EMBEDDINGS))

    @property
    def schema(self) -> pa.Schema:
        """The columns of `Loaded`'s tables: the score's, and ErrorCode and detail of a failure."""
        return pa.schema([*self.columns, *_FAILED])

    def settled(self, found: pa.Table) -> pa.Table:
        """What an earlier run found, as options that need no computing have it now.

        The class of such a score says so by a static method `settled(found, options)`.
        """
        settle: Callable[..., pa.Table] | None = None
        if self.kind:
            settle = getattr(imported(self.call, key=self.key), "settled", None)
        return settle(found, self.options) if settle else found

    def check(self) -> None:
        """Raise a CurateError that says what to install if a package is missing."""
        for package, told in self.needs:
            if find_spec(package) is None:
                raise CurateError(f"{self.key}: {told}")

    def load(self) -> "Loaded":
        """The score of this process, loaded once however many threads ask.

        Raises
        ------
        CurateError
            Where it cannot be imported or constructed.
        """
        same = repr((self.key, self.call, self.version, sorted(self.options.items())))
        with _loading:
            if same not in _loaded:
                _loaded[same] = Loaded(self)
            return _loaded[same]


_loading = threading.Lock()
_loaded: "dict[str, Loaded]" = {}


class Loaded:
    """A loaded score. Its exceptions become failures of pairs, its results are checked."""

    def __init__(self, spec: ScoreSpec) -> None:
        self._spec = spec
        self._one_by_one = threading.Lock()  # scores need not be thread-safe
        self._worked = False
        self._failures = 0
        spec.check()
        self._found = imported(spec.call, key=spec.key)
        is_class = isclass(self._found)
        try:
            if is_class:
                self._score: Score = self._found(**spec.options)
            else:
                self._score = partial(self._found, **spec.options)
        except CurateError:
            raise
        except Exception as error:
            told = f"{spec.called} cannot be loaded: {_raised(error, by=self._found)}"
            raise CurateError("; ".join(filter(None, [told, spec.remedy]))) from error

    def __call__(self, batch: Batch) -> pa.Table:
        """A row for each pair of `batch`, with the columns of the spec's `schema`.

        Where the score raises, its pairs are tried one by one; those that it raises for get nulls.

        Raises
        ------
        CurateError
            Where the result is not as declared, or the first `_ENOUGH` pairs have all failed.
        """
        with self._one_by_one:
            return self._of(batch)

    def _of(self, batch: Batch) -> pa.Table:
        try:
            found = self._score(batch)
        except CurateError as error:
            raise CurateError(f"{self._spec.called}: {error}") from error
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a score's own code raises
            if len(batch) == 1:
                return self._failure(_raised(error, by=self._found))
        else:
            self._worked = True
            return self._checked(found, len(batch))
        return pa.concat_tables([self._of(batch[i : i + 1]) for i in range(len(batch))])

    def _failure(self, told: str) -> pa.Table:
        told = f"{self._spec.called}: {told}"
        self._failures += 1
        if self._failures >= _ENOUGH:
            self.check_worked(told)
        nothing = [pa.nulls(1, one.type) for one in self._spec.columns]
        return pa.table([*nothing, [str(ErrorCode.SCORE_FAILED)], [told]], schema=self._spec.schema)

    def check_worked(self, told: str) -> None:
        """Raise if no pair has been scored in this process; `told` is the detail of a failure."""
        if not self._worked:
            told = told.removeprefix(f"{self._spec.called}: ")
            raise CurateError(f"{self._spec.called}: it fails for every pair: {told}")

    def _checked(self, found: object, n: int) -> pa.Table:
        """The result `found` for `n` pairs as a table; CurateError if it is not as declared."""
        columns = self._spec.columns
        if not isinstance(found, Mapping):
            if len(columns) != 1:
                raise self._wrong(f"a mapping with {', '.join(columns.names)}", _kind(found))
            found = {columns.names[0]: found}
        for name in columns.names:
            if name not in found:
                told = ", ".join(map(str, found)) or "nothing"
                raise self._wrong(f"a column {name!r}", f"one with {told}")
        for name in found:
            if name not in columns.names:
                raise self._wrong(f"no other columns than {', '.join(columns.names)}", repr(name))
        made = [self._column(found[one.name], one, n) for one in columns]
        errors: list[str | None] = [None] * n
        details: list[str | None] = [None] * n
        for one, values in zip(columns, made, strict=True):
            for at in _not_finite(values):
                errors[at] = errors[at] or str(ErrorCode.SCORE_NOT_FINITE)
                details[at] = details[at] or f"{self._spec.key}: {one.name} is {values[at].as_py()}"
        return pa.table([*made, errors, details], schema=self._spec.schema)

    def _column(self, values: object, column: pa.Field, n: int) -> pa.Array:
        wanted = f"{n} values of {column.type} for {column.name!r}"
        if isinstance(values, pa.Array) and values.type == column.type and len(values) == n:
            return values
        if not isinstance(values, list | tuple):
            try:
                values = np.asarray(values).tolist()
            except (TypeError, ValueError, RuntimeError) as error:
                raise self._wrong(wanted, f"{_kind(values)} ({error})") from None
        if not isinstance(values, list | tuple):
            raise self._wrong(wanted, _kind(values))
        if len(values) != n:
            raise self._wrong(wanted, f"{len(values)}")
        plain = [_plain(value) for value in values]
        for value in () if pa.types.is_nested(column.type) else plain:
            if not _fits(value, column.type):
                raise self._wrong(wanted, f"{_short(value)} ({_kind(value)})")
        if pa.types.is_floating(column.type):
            plain = [float(x) if isinstance(x, int) else x for x in plain]
        try:
            return pa.array(plain, column.type)
        except (pa.ArrowException, OverflowError, UnicodeError) as error:
            raise self._wrong(wanted, f"a value that cannot be stored ({error})") from None

    def _wrong(self, wanted: str, found: str) -> CurateError:
        return CurateError(f"{self._spec.called}: expected {wanted}, it gave {found}")


def _raised(error: Exception, *, by: Callable[..., object]) -> str:
    """What a score raised, and for a file that is not there what to give."""
    told = fault(error, of=by)
    if isinstance(error, FileNotFoundError) and not os.path.isabs(str(error.filename or "")):
        told += "; a relative path goes by the working directory: give an absolute path or a URL"
    return told


def _not_finite(values: pa.Array) -> Iterator[int]:
    if pa.types.is_floating(values.type):
        finite = np.isfinite(values.to_numpy(zero_copy_only=False)) | np.asarray(values.is_null())
        yield from np.flatnonzero(~finite).tolist()


def _plain(value: object) -> object:
    """A NumPy scalar, or a tensor of one value, as a number of Python's."""
    item: Callable[[], object] | None = getattr(value, "item", None)
    if item is None or getattr(value, "ndim", 0) != 0:
        return value
    return item()


def _fits(value: object, kind: pa.DataType) -> bool:
    if value is None:
        return True
    if pa.types.is_string(kind):
        return isinstance(value, str)
    if pa.types.is_boolean(kind):
        return isinstance(value, bool)
    if isinstance(value, bool):
        return False
    return isinstance(value, int | float if pa.types.is_floating(kind) else int)


def _kind(value: object) -> str:
    return type(value).__name__


def _short(value: object) -> str:
    return repr(value).replace("\n", " ")[:60]
