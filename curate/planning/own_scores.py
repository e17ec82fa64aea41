"""Scores that users write: what their code says of itself, checked before anything starts."""

import difflib
import inspect
import re
from collections.abc import Callable, Mapping
from typing import get_args

import pyarrow as pa

from curate import schema
from curate.config import COLUMN_NAME, Config, FurtherScore
from curate.errors import CurateError
from curate.imported import imported, version_of
from curate.ops.scores.batch import EMBEDDINGS, IMAGE
from curate.ops.scores.kinds import BESIDE, batch_size_of, builtin, columns_of, reads_of, refused
from curate.ops.scores.scoring import ScoreSpec
from curate.planning.tables import tables, with_types
from curate.schema import Kind

KIND = "python"
"""The kind of these scores."""


def own_scores(config: Config) -> dict[str, FurtherScore]:
    """The scores of `config` that users write."""
    return {name: one for name, one in config.scores.items() if one.kind == KIND}


def of_embeddings(config: Config) -> dict[str, FurtherScore]:
    """The scores of the project's own that are made of stored embeddings."""
    return {name: one for name, one in config.scores.items() if one.kind in BESIDE}


def beside(config: Config) -> dict[str, FurtherScore]:
    """Those whose columns stand in folders of their own: joined tables, what is made of embeddings,
    then what users write."""
    return tables(config) | of_embeddings(config) | own_scores(config)


def is_beside(further: FurtherScore) -> bool:
    """Whether its columns stand in a folder of its own."""
    return further.kind in BESIDE or further.call is not None or further.path is not None


def with_columns(config: Config) -> Config:
    """`config` with the columns that each score of a user's declares: what reads a run later needs none
    of their code.

    Raises
    ------
    CurateError
        Where a score cannot be imported, or does not say what it has to.
    """
    scores = dict(config.scores)
    for name, further in own_scores(config).items():
        columns = {one.name: str(one.type) for one in own_spec(name, further).columns}
        named = {x: _NAMES.get(kind, kind) for x, kind in columns.items()}
        scores[name] = further.model_copy(update={"columns": named})
    for name, further in tables(config).items():
        scores[name] = with_types(name, further)
    return config.model_copy(update={"scores": scores}) if scores else config


_NAMES = {"float": "float32", "double": "float64"}


def own_columns(name: str, further: FurtherScore) -> pa.Schema:
    """The columns of a score that is `beside`, as `with_columns` left them."""
    if further.kind in BESIDE:
        return columns_of(further.kind, name=name, options=further.own)
    named: Mapping[str, str] = further.typed or {name: "float32"}
    return pa.schema([(x, pa.type_for_alias(kind)) for x, kind in named.items()])


def own_spec(name: str, further: FurtherScore) -> ScoreSpec:
    """What to load for a score that a user writes.

    Raises
    ------
    CurateError
        Where it cannot be imported, its options do not fit it, or it does not say what it has to.
    """
    key = f"scores.{name}"
    found = imported(str(further.call), key=f"{key}.call")
    called = f"{key}: {further.call}"
    _check_options(found, further.options, key=f"{key}.options", called=str(further.call))
    _check_called(found, called=called)
    reads = getattr(found, "reads", ())
    if not isinstance(reads, tuple | list) or not all(isinstance(x, str) for x in reads):
        raise CurateError(f"{called}: reads is {reads!r}; expected names, as in ('image', 'width')")
    size = getattr(found, "batch_size", 1)
    if not isinstance(size, int) or size < 1:
        raise CurateError(f"{called}: batch_size is {size!r}; expected a whole number over 0")
    return ScoreSpec(
        key,
        str(further.call),
        _declared(found, further, name, called=called),
        reads=reads_of(found),
        options=further.options,
        batch_size=further.batch_size or batch_size_of(found),
        version=version_of(found),
    )


def spec_of(name: str, further: FurtherScore, **more: object) -> ScoreSpec:
    """What to load for a further score; `more` are options that do not stand in its settings."""
    if further.call is not None:
        return own_spec(name, further)
    return builtin(further.kind, name=name, **(further.own | more))


def _declared(
    found: Callable[..., object], further: FurtherScore, name: str, *, called: str
) -> pa.Schema:
    columns = getattr(found, "columns", None)
    if columns is None:
        return own_columns(name, further)
    kinds = get_args(Kind)
    if not isinstance(columns, Mapping) or not columns:
        raise CurateError(
            f"{called}: columns is {columns!r}; expected types by name, as in {{'{name}': 'float32'}}"
        )
    for column, kind in columns.items():
        if not isinstance(column, str) or not re.match(COLUMN_NAME, column):
            raise CurateError(
                f"{called}: column {column!r}: expected small letters, digits and _, a letter first"
            )
        if kind not in kinds:
            raise CurateError(
                f"{called}: column {column!r} is {kind!r}; expected one of {', '.join(kinds)}"
            )
    return pa.schema([(column, pa.type_for_alias(kind)) for column, kind in columns.items()])


def _check_options(
    found: Callable[..., object], options: Mapping[str, object], *, key: str, called: str
) -> None:
    """That a class can be constructed, or a function called, with options of these names."""
    batch = () if inspect.isclass(found) else (_BATCH,)
    try:
        signature = inspect.signature(found)
    except ValueError:
        return  # written in another language, it does not say
    try:
        signature.bind(*batch, **options)
    except TypeError as error:
        known = [x.name for x in signature.parameters.values() if x.kind in _BY_NAME][len(batch) :]
        near = [x for name in options if name not in known
                for x in difflib.get_close_matches(name, known, n=1)]  # fmt: skip
        hint = (
            f", did you mean {near[0]!r}?" if near else f"; it takes {', '.join(known) or 'none'}"
        )
        raise CurateError(f"{key}: {called}: {error}{hint}") from None


def _check_called(found: Callable[..., object], *, called: str) -> None:
    """That the instances of a class can be called with a batch."""
    if not inspect.isclass(found):
        return
    if not any("__call__" in vars(one) for one in found.__mro__):
        raise CurateError(
            f"{called}: the class {found.__name__} has no method `__call__(self, batch)`, so nothing"
            " can be asked of it"
        )
    call: object = found.__call__
    if inspect.isfunction(call):
        try:
            inspect.signature(call).bind(found, _BATCH)
        except TypeError as error:
            raise CurateError(
                f"{called}: the class {found.__name__} is to have a method `__call__(self, batch)`:"
                f" {error}"
            ) from None


_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_BATCH = None
"""What stands for a batch where only its place in a call counts."""


def check_own_scores(config: Config, before: pa.Schema) -> dict[str, str]:
    """The digest of each score after the model's by ``code NAME``, once it has what it reads.

    `before` are the columns of a pair before those `beside`.

    Raises
    ------
    CurateError
        Where a column is not there, has the name of another, or images or embeddings are not there.
    """
    known = check_table_columns(config, before)
    digests = {}
    for name, further in (of_embeddings(config) | own_scores(config)).items():
        spec = spec_of(name, further)
        if IMAGE in spec.reads and not config.download.enabled:
            raise CurateError(
                f"{spec.called} reads images: enable download, or let it say `reads = ()`"
            )
        stored = config.download.enabled and config.score is not None and config.score.embeddings
        if EMBEDDINGS.intersection(spec.reads) and not stored:
            raise CurateError(
                f"{spec.called} reads embeddings: set score.model and score.embeddings: true"
            )
        told = config.score and refused(further.kind, model=config.score.model)
        if told:
            raise CurateError(f"{spec.called}: {told}")
        for column in spec.read_columns:
            if column not in known:
                raise CurateError(f"{spec.called} reads {_unknown(column, known)}")
        for column in spec.columns.names:
            if column in known or column in schema.OWN:
                raise CurateError(
                    f"{spec.called}: {column} is taken by another column; give another name"
                )
        known += spec.columns.names
        digests[f"code {name}"] = f"{spec.version} {' '.join(spec.reads)}"
    return digests


def check_table_columns(config: Config, before: pa.Schema) -> list[str]:
    """The columns of a pair once it has those of tables; CurateError where a name is taken."""
    known = list(before.names)
    for name, table in tables(config).items():
        for column in own_columns(name, table).names:
            if column in known or column in schema.OWN:
                raise CurateError(
                    f"scores.{name}.columns: {column} is taken by another column; name the wanted ones"
                    " without it, or give it another name in the table"
                )
            known.append(column)
    return known


def _unknown(column: str, known: list[str]) -> str:
    names = [*known, IMAGE, *sorted(EMBEDDINGS)]
    near = difflib.get_close_matches(column, names, n=1, cutoff=0.75)
    hint = "; a column of the pool has to be named in input.columns.keep"
    if near:
        hint = f", did you mean {near[0]!r}?"
    return f"no column {column!r} that is there before it{hint}"
