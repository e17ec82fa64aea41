"""A pool that grows: the files that a run has, in its order, and behind them those that came since.

The files that come together are a wave; that of a new run is wave 0. Files are known by what they hold,
so they may move and change their order; the parts of a file keep their indices, as later ones follow.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from curate import files
from curate.errors import CurateError, DamagedError
from curate.formats import format_of
from curate.planning.inputs import Input, Pool
from curate.planning.parts import stored_inputs
from curate.rundir.directory import Run
from curate.rundir.scratch import NOTES
from curate.schema import Stage

_NAMED = 3


@dataclass(frozen=True)
class Grown:
    """The files of a pool in the order of its run."""

    pool: Pool
    inputs: tuple[Input, ...]  # those of the pool, each with its wave
    new: int = 0  # of them, which no command began with before
    stands: int | None = None
    """The last wave that stays, where files of later ones, which were never finished, are gone."""


def wave_of(one: Input) -> int:
    """The wave that a file came with."""
    return one.get("wave", 0)


def in_order(run: Run, pool: Pool, inputs: Sequence[Input]) -> Grown:
    """The files of a pool as a run goes on with them.

    A wave that was never finished may be taken back: what is left of its files comes as a new one.

    Raises
    ------
    CurateError
        Where a file is gone of which the run holds rows.
    """
    held, settled = _held(run)
    if not held:
        return Grown(pool, tuple(inputs))
    found, lost = _matched(held, inputs)
    stands = None
    if lost and all(wave_of(one) > settled for one in lost):
        held, stands = [one for one in held if wave_of(one) <= settled], settled
        found, lost = _matched(held, inputs)
    if lost:
        files.remove(run.path("input", NOTES))
        raise CurateError(_lost(run, lost))
    known = set(found)
    found += (new := [k for k in range(len(inputs)) if k not in known])
    wave = max(map(wave_of, held)) + 1
    names = {one["name"] for one in held}
    ordered: list[Input] = []
    for k, place in enumerate(found):
        one = inputs[place]
        if k < len(held):
            one = {**one, "name": held[k]["name"]}
            before = wave_of(held[k])
        else:
            if one["name"] in names and format_of(one["format"]).names_pairs:
                one = {**one, "name": one["path"]}
            before = wave
        ordered.append({**one, "wave": before} if before else one)
    pool = replace(
        pool,
        files=tuple(pool.files[k] for k in found),
        names=tuple(one["name"] for one in ordered),
    )
    return Grown(pool, tuple(ordered), len(new), stands)


def digests_of(inputs: Sequence[Input], first: str) -> tuple[str, ...]:
    """The digest of the pool as of each wave, given that of the `first`."""
    found = [first]
    for wave in range(1, max(map(wave_of, inputs), default=0) + 1):
        later = [[*identity(x), wave_of(x)] for x in inputs if 0 < wave_of(x) <= wave]
        found.append(files.digest_of(first, later))
    return tuple(found)


def identity(one: Input) -> list[str]:
    """What the rows of a file depend on: its content, its format, and its name where that matters."""
    name = one["name"] if format_of(one["format"]).names_pairs else ""
    return [one["digest"], one["format"], name]


def _held(run: Run) -> tuple[list[Input], int]:
    """The files that the run was begun with, and the last wave with which it was finished."""
    with suppress(DamagedError):
        if held := run.state().get("inputs"):
            return held, run.state().get("settled", 0)
    held = stored_inputs(run) if files.exists(run.path(Stage.PREPARE)) else []
    return held, max(map(wave_of, held), default=0)


def _matched(held: Sequence[Input], inputs: Sequence[Input]) -> tuple[list[int], list[Input]]:
    """The place of each file among `inputs`, and those that are not there; each is taken once."""
    places: dict[tuple[str, str], list[int]] = {}
    for k, one in enumerate(inputs):
        places.setdefault((one["digest"], one["format"]), []).append(k)
    paths = {one["path"]: k for k, one in enumerate(inputs)}
    found: dict[int, int] = {}
    taken: set[int] = set()
    for same_path in (True, False):
        for number, one in enumerate(held):
            here = places.get((one["digest"], one["format"]), [])
            if number in found or (same_path and paths.get(one["path"]) not in here):
                continue
            free = [paths[one["path"]]] if same_path else here
            named = format_of(one["format"]).names_pairs
            for k in free:
                path = f"/{inputs[k]['path']}"
                if k not in taken and (not named or path.endswith(f"/{one['name'].lstrip('/')}")):
                    found[number] = k
                    taken.add(k)
                    break
    return [found[x] for x in sorted(found)], [x for k, x in enumerate(held) if k not in found]


def _lost(run: Run, lost: Sequence[Input]) -> str:
    rows = sum(one.get("rows", 0) for one in lost)
    told = ", ".join(one["path"] for one in lost[:_NAMED])
    more = f" and {len(lost) - _NAMED:,} more" if len(lost) > _NAMED else ""
    return (
        f"{run.root} holds a run over another input: {rows:,} of its rows came from {told}{more}, no"
        " longer in the pool, or not as it was; put it back (new rows go in a file of their own, and"
        f" curate revoke {run.root} --list FILE takes pairs out), or give another --out"
    )
