"""The columns that a run is to keep of its pool: that they exist, and their types."""

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from curate import schema
from curate.config import Config
from curate.errors import CurateError
from curate.formats import AUTO, FORMATS, format_of
from curate.planning.asked import sized_by_pool, text_columns
from curate.planning.inputs import Pool, PoolFile, find_pool
from curate.planning.spreading import MANY, Over, here, waited_for
from curate.pool.kept import common
from curate.pool.own import is_at_hand
from curate.pool.reader import FIRST
from curate.pool.rows import PoolFormat, UnreadableError
from curate.pool.tables import column_kinds
from curate.schema import Kind

_KEY = "input.columns.keep"
_WHAT = "columns of the pool's files"


def with_column_types(
    config: Config, *, pool: Callable[[], Pool] | None = None, over: Over = here
) -> Config:
    """`config` with a type for each column of the pool that is to be kept.

    A column given with its type is looked for until a file has it; one without, in all files. Into
    many files is looked `over` whoever has the time. `pool` finds the files.

    Raises
    ------
    CurateError
        Where no file has a column, or files disagree about its type.
    """
    wanted = config.input.columns.keep
    if sized_by_pool(config) and not set(schema.SIDES) <= set(wanted):
        more = [name for name in schema.SIDES if name not in wanted]
        typed = dict.fromkeys(more, "float64")
        named = {**wanted, **typed} if isinstance(wanted, dict) else (*wanted, *more)
        return with_column_types(_keeping(config, named), pool=pool, over=over)
    texts = text_columns(config)
    if not set(texts.values()) <= set(wanted):
        more = [name for name in dict.fromkeys(texts.values()) if name not in wanted]
        typed = dict.fromkeys(more, "string")
        named = {**wanted, **typed} if isinstance(wanted, dict) else (*wanted, *more)
        return with_column_types(_keeping(config, named), pool=pool, over=over)
    if not wanted:
        return config
    if isinstance(wanted, dict) and not is_at_hand(config.input.format):
        return config  # the run may have copies of the rows; splitting anew needs the file
    seen: dict[str, dict[str, str]] = {}  # of each column each kind, and the first file of it
    loose = False
    found = pool() if pool else find_pool(config)
    for path, form, kinds in _kinds(config, found.files, over=over):
        loose |= format_of(form).loose
        for name, kind in kinds.items():
            seen.setdefault(name, {}).setdefault(kind or "", path)
        if isinstance(wanted, dict) and (loose or wanted.keys() <= seen.keys()):
            return config
    for name in wanted:
        if name not in seen and name in schema.SIDES and sized_by_pool(config):
            raise CurateError(
                f"select: nothing is fetched, so sizes are the pool's, and no input file has a column"
                f" {name!r}; known: {', '.join(sorted(seen))}"
            )
        if name not in seen:
            of = next((key for key, one in texts.items() if one == name), _KEY)
            raise CurateError(_unknown(name, list(seen), key=of))
    if isinstance(wanted, dict):
        return config
    keep = {name: _agreed(name, seen[name]) for name in wanted}
    keep |= dict.fromkeys(texts.values(), "string")
    return _keeping(config, keep)


def _keeping(config: Config, keep: Mapping[str, str] | tuple[str, ...]) -> Config:
    columns = config.input.columns.model_copy(update={"keep": keep})
    return config.model_copy(update={"input": config.input.model_copy(update={"columns": columns})})


def _kinds(
    config: Config, found: Sequence[PoolFile], *, over: Over
) -> Iterator[tuple[str, str, dict[str, str | None]]]:
    """Path, format, and the kind of each column of the pool's files, but for those of no format.

    One after the other: who has seen enough of the first ones looks into no more.
    """
    look = _Look(config.input.format, config.input.columns.by_place)
    at_once = config.input.format in (AUTO, *FORMATS)  # readers of users' are called one by one
    few = found[:MANY]
    looked = waited_for(look, few) if at_once else map(look, few)
    yield from _known(few, looked)
    rest = found[MANY:]
    if rest:
        footers = all(one.format == "parquet" for one in rest)
        weight = FIRST * len(rest)
        looked = waited_for(look, rest) if footers else over(look, rest, what=_WHAT, weight=weight)
        yield from _known(rest, looked)


@dataclass(frozen=True)
class _Look:
    """The kind of each column of a file, None where it cannot be read.

    Whether the run can do without that file is found out when the pool is split into parts.
    """

    form: str
    headless: bool

    def __call__(self, file: PoolFile) -> dict[str, str | None] | None:
        pool = PoolFormat(file.format or self.form, url="", caption="", headless=self.headless)
        try:
            return column_kinds(file.path, pool=pool, members=file.companions)
        except UnreadableError:
            return None


def _known(
    looked_at: Sequence[PoolFile], kinds: Iterable[dict[str, str | None] | None]
) -> Iterator[tuple[str, str, dict[str, str | None]]]:
    for file, found in zip(looked_at, kinds, strict=False):
        if found is not None:
            yield file.path, file.format, found


def _unknown(name: str, known: list[str], *, key: str) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    hint = f", did you mean {near[0]!r}?" if near else ";"
    return f"{key}: no column {name!r} in any input file{hint} known: {', '.join(sorted(known))}"


def _agreed(name: str, kinds: dict[str, str]) -> Kind:
    """The type of a column, given what each file has it as."""
    found = common({kind for kind in kinds if kind}, mixed="")
    if found == "":
        (one, first), (other, second) = [x for x in kinds.items() if x[0]][:2]
        raise CurateError(
            f"{_KEY}: {name!r} is {one} in {first} and {other} in {second}; give its type, as in"
            f" {_KEY}: {{{name}: string}}"
        )
    kind: Kind = found or "string"  # type: ignore[assignment] # the kinds are those of Kind
    return kind
