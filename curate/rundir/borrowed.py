"""What a rebalanced run reads from its source, and whether that is what it was made of.

A rebalanced run has no parts of the stages before balance: its report, its stories and its images come
from those of its source. Its run.json says under `borrowed`, for each of these stages, what stood when
it was made: a digest of the settings that led there, and one of the pairs.
"""

from contextlib import AbstractContextManager, nullcontext

from curate import files
from curate.config import Balance
from curate.config import file as config_file
from curate.errors import CurateError
from curate.rundir import damage
from curate.rundir.directory import BORROWED, PART_STAGES, Run, part_index
from curate.rundir.lock import locked
from curate.rundir.revocations import check_settled
from curate.schema import Stage

Borrowed = dict[str, list[str]]
"""Of each stage with parts: a digest of what led to them, and one of what they hold."""

FEW = 256
"""Parts of a run that is checked whole, whatever is read of it."""


def borrowed_by(run: Run) -> Borrowed | None:
    """The digest of what `run` reads from its source today; None for a run without a source."""
    if run.source is None:
        return None
    source = Run.to(run.source)
    retries = source.state().get("retries", 0)
    found = {}
    for stage in (stage for stage in PART_STAGES if stage in BORROWED):
        records = source.record_table(stage)
        if not len(records) and not source.done(stage):
            continue
        sizes = files.sizes(source.path(stage)).items()
        written = [
            n for name, n in sizes if name.endswith(".parquet") and part_index(name) is not None
        ]
        led = files.digest_of(sorted(records["digest"].unique().to_pylist()), retries)
        counts = zip(*(records[x].to_pylist() for x in ("part", "rows", "kept")), strict=True)
        holds = files.digest_of([*counts], written)
        found[str(stage)] = [led, holds]
    return found


def changed(run: Run, *, settings_only: bool = False) -> list[str]:
    """The stages of its source that are not what `run` was made of; none where it has no source.

    With `settings_only`, those with other pairs under the same settings are left out: pairs were
    revoked there.
    """
    was = Run(run.root).state().get("borrowed")
    now = borrowed_by(run) if was else None
    if not was or now is None:
        return []
    last = 1 if settings_only else 2
    names = [str(stage) for stage in PART_STAGES if str(stage) in {**was, **now}]
    return [x for x in names if was.get(x, [])[:last] != now.get(x, [])[:last]]


def check(run: Run, *, settings_only: bool = False) -> None:
    """Refuse a rebalanced run whose source has changed since, or holds pairs no longer or still.

    Raises
    ------
    CurateError
        Naming the source, what changed there and the command that makes the run again.
    """
    if stages := changed(run, settings_only=True):
        source = Run.at(str(run.source))
        state = source.state().get("state")
        so_far = "" if state == "complete" else f" and is not complete (its state is {state})"
        raise CurateError(
            f"{run.root} was made of {run.source}, which has changed since ({', '.join(stages)})"
            f"{so_far}; make it again: {again(run)}"
        )
    if settings_only:
        return
    check_settled(run)
    if stages := changed(run):
        raise CurateError(
            f"{run.root} was made of {run.source}, which holds other pairs by now"
            f" ({', '.join(stages)}); make it again: {again(run)}"
        )


def again(run: Run) -> str:
    """The command that makes a rebalanced run once more."""
    balance = config_file.load(files.join(run.root, "config.yaml")).balance
    return f"curate rebalance {run.source} --out {run.root}{target_options(balance)} --force"


def target_options(balance: Balance | None) -> str:
    """The options of `curate rebalance` that ask for a balance.

    >>> target_options(Balance(t=20_000))
    ' --t 20000'
    """
    given: dict[str, float] = balance.model_dump(include={"t", "p", "size"}) if balance else {}
    return "".join(f" --{x} {y:.12g}" for x, y in given.items() if y is not None)


def open_run(url: str, *, for_few: bool = False) -> Run:
    """The run at `url`, for those who read it: what it holds, and its source, are what it says.

    Who reads few parts (`for_few`) of many checks these (`damage.check_part`).

    Raises
    ------
    CurateError
        Where a revocation was interrupted, its source is another by now, or a file is damaged.
    """
    run = Run.at(url)
    check_settled(run) if run.source is None else check(run)
    if not for_few or run.state().get("parts", 0) <= FEW:
        damage.check(run)
    return run


def source_kept(run: Run) -> AbstractContextManager[None]:
    """Keep commands that change it out of the source of `run` while the block reads it."""
    return locked(run.source, shared=True) if run.source else nullcontext()


def clear(run: Run) -> None:
    """Remove what a rebalanced run made of another state of its source, revoked pairs included."""
    for stage in (Stage.BALANCE, Stage.SHARDS, Stage.REPORT):
        for folder in run.folders(stage):
            files.remove(folder)
