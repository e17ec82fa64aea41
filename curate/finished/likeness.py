"""What a configuration has in common with that of a finished run, and how much more its pool holds."""

from collections.abc import Iterator
from typing import Any

from curate import files, schema
from curate.config import Config, Download
from curate.config import file as config_file
from curate.errors import CurateError
from curate.finished.measured import Sample
from curate.finished.rebalance import open_source
from curate.finished.sweep import sweep
from curate.formats import format_of
from curate.planning.asked import sized_by_pool
from curate.planning.inputs import PoolFile, find_pool
from curate.planning.spreading import waited_for
from curate.planning.steps import steps_of
from curate.pool.pictures import sizes_of
from curate.rundir.directory import Run
from curate.schema import Stage

_ELSEWHERE = {
    "input.paths",
    "input.format",
    "out",
    "seed",
    "part_rows",
    "shards",
    "beam",
    "balance",
}
"""Keys whose values may differ, since a prediction goes by the configuration's or the pool's own."""


def differences(config: Config, run: Run, sample: Sample) -> list[str]:
    """The keys that `config` has other values of than the run, but those that do not matter here.

    Raises
    ------
    CurateError
        Where one of both has steps that the other has not.
    """
    config = _typed(config, sample.config)
    wanted, had = (set(x.folders) for x in (steps_of(config), sample.steps))
    if wanted != had:
        told = [
            f"{x} {', '.join(sorted(y))}"
            for x, y in (("no", wanted - had), ("also", had - wanted))
            if y
        ]
        raise CurateError(
            f"--like {run.root}: other steps than the configuration has: {' and '.join(told)}; make a"
            " sample run with this configuration first"
        )
    asks = {f"download.{name}" for name, x in Download.changes().items() if x.redoes == "ask"}
    ours, theirs = (dict(_values(config_file.absolute(x))) for x in (config, sample.config))
    return [
        key
        for key in dict.fromkeys([*ours, *theirs])
        if ours.get(key) != theirs.get(key) and not {key, key.split(".")[0]} & (_ELSEWHERE | asks)
    ]


def _typed(config: Config, planned: Config) -> Config:
    """`config` with the types of columns that are found out when a run is planned, as in `planned`."""
    asked, types = config.input.columns, planned.input.columns.kept
    names = {*asked.keep, *(schema.SIDES if sized_by_pool(config) else ())}
    keep = {name: types.get(name, "string") for name in sorted(names)}
    columns = asked.model_copy(update={"keep": keep or asked.keep})
    scores = {
        name: one.model_copy(update={"columns": planned.scores[name].columns})
        if name in planned.scores
        else one
        for name, one in config.scores.items()
    }
    told = {"input": config.input.model_copy(update={"columns": columns}), "scores": scores}
    return config.model_copy(update=told)


def _values(config: Config) -> Iterator[tuple[str, object]]:
    """The values of a configuration, by keys of up to two words."""
    document: dict[str, Any] = config.model_dump(mode="json")
    for name, section in document.items():
        inside = section if isinstance(section, dict) else {"": section}
        yield from ((f"{name}.{key}".rstrip("."), value) for key, value in inside.items())


def pairs_in_pool(config: Config, sample: Sample) -> int:
    """How many pairs the pool of `config` has, by the bytes that a pair of the sample's takes.

    Raises
    ------
    CurateError
        Where the sample has no file of a format.
    """
    pool = find_pool(config).files
    pairs = 0.0
    for one, size in zip(pool, waited_for(_bytes, pool), strict=True):
        rows, held = sample.inputs.get(one.format, (0, 0))
        if not rows or not held:
            raise CurateError(
                f"input.paths: {one.path}: how many pairs it has is not known, since the run given with"
                f" --like read no {one.format or 'such'} files; give their number: --pairs N"
            )
        pairs += size * rows / held
    return max(round(pairs), 1)


def _bytes(one: PoolFile) -> int:
    """The bytes of a file of a pool, as run.json counts them."""
    if format_of(one.format).is_folder:
        return sum(sizes_of(one.companions).values())
    tars = (x for x in one.companions if x.endswith(".tar"))
    return sum(files.size(url) for url in (one.path, *tars))


def share_balanced(config: Config, run: Run, sample: Sample, *, rows: int) -> float | None:
    """The share of its pairs that balancing keeps of a pool of `rows`; None where that is the sample's.

    The counts of entries grow with the pool, so t keeps of it what a smaller t keeps of the sample.
    """
    balance = config.balance
    if balance is None or Stage.BALANCE not in sample.kept:
        return None
    if balance.writes_all:
        return 1.0
    factor, (before, _) = rows / sample.rows, sample.kept[Stage.BALANCE]
    if balance.size is not None:
        return min(balance.size / max(before * factor, 1.0), 1.0)
    if balance.t is None:
        return None
    ts, source = [balance.t / factor], open_source(run.root)
    found = sweep(source, ts=ts, reference=balance.reference, on=balance.on).total
    return found.points[0].pairs / found.pairs if found.pairs else None
