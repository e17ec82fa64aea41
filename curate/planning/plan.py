"""What a run will do: the parts of the pool, its steps and a digest for each."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import cache, partial
from typing import Any

from curate import files
from curate.clock import spent
from curate.config import LOCAL_RUNNER, Config
from curate.errors import CurateError, DamagedError
from curate.formats import AUTO, FORMATS
from curate.machine import allow_requests
from curate.ops.scores.visual import digest_of
from curate.planning.assets import check_assets, check_block_lists
from curate.planning.cutting import cut
from curate.planning.digests import StepDigest, chain
from curate.planning.growing import Grown, digests_of, identity, in_order, wave_of
from curate.planning.inputs import (
    Contents,
    Input,
    check_readers,
    find_inputs,
    find_pool,
    pool_format,
)
from curate.planning.own_scores import check_own_scores, with_columns
from curate.planning.parts import known_contents, parts_digest, pool_digest
from curate.planning.pool_columns import with_column_types
from curate.planning.reading import Readings, read_once
from curate.planning.rules import check_lists, check_numbers, check_prefer, check_soft_cap
from curate.planning.spreading import Over, here
from curate.planning.steps import Steps, before_own, steps_of
from curate.pool.own import version_of_reader
from curate.rundir import lock
from curate.rundir.borrowed import target_options
from curate.rundir.damage import damaged_documents
from curate.rundir.directory import SCORED, Part, Run
from curate.rundir.revocations import check_settled
from curate.rundir.scratch import NOTES, VISUAL
from curate.schema import Stage

_LATER = ("blur_boxes", "headless", "image", "image_folders", "tags")
"""Fields of a pool's format that its digest holds only where they are set."""


@dataclass(frozen=True)
class Plan:
    """A checked run, ready to be built into a graph."""

    config: Config
    run: Run
    parts: tuple[Part, ...]
    steps: Steps
    digests: dict[str, StepDigest]  # by folder
    inputs: tuple[Input, ...]
    input_digest: str
    retry_failed: frozenset[str] = frozenset()  # fetch again what failed for one of these reasons
    blocked: dict[str, int] = field(default_factory=dict)  # hashes on the block lists, by kind
    notes: tuple[str, ...] = ()  # what was left out of the pool's folders
    damaged: tuple[str, ...] = ()  # files of the run that were made again for the plan, by name
    grown: str | None = None  # the digest of the pool, where it has grown since its first wave
    new: int = 0  # files of the pool with which no command began before, the last of `inputs`
    stands: int | None = None  # the last wave that stays, where later ones are taken back
    earlier: tuple[dict[str, StepDigest], ...] = ()
    """The digests as of each earlier wave, under the settings of the plan."""


def make_plan(config: Config, *, over: Over = here) -> Plan:
    """Check everything that can be checked before work starts, and split the pool into parts.

    What reads whole files of the pool is done `over` whoever has the time.

    Raises
    ------
    CurateError
        Naming the input, option or file that is at fault.
    """
    if not config.out:
        raise CurateError("no output folder: give --out RUN or the key `out`")
    run = _opened(config.out)
    run.list_ahead()
    damaged = damaged_documents(run)
    pool_of = cache(partial(find_pool, config))
    config = with_columns(with_column_types(config, pool=pool_of, over=over))
    steps = steps_of(config)
    check_lists(config.select, steps.added)
    if config.dedup.enabled:
        check_prefer(config.dedup.prefer, steps.added)
    if config.balance is not None and config.balance.soft_cap is not None:
        check_soft_cap(config.balance.soft_cap.column, steps.added)
    if Stage.DOWNLOAD in steps.stages and config.beam.runner == LOCAL_RUNNER:
        allow_requests(config.download.concurrency)
    assets = check_assets(config) | check_own_scores(config, before_own(config))
    found_pool = pool_of()
    _check_free(run, config)
    if parts_digest(run) is None:  # else the pool was read before
        check_readers(found_pool)
    blocked = check_block_lists(config)
    with spent("contents"):
        readings = Readings(known_contents(run), {})
        if _is_new(run):
            readings = read_once(run, found_pool, config, over=over)
        contents = Contents.of(found_pool, before=readings.contents, over=over)
    pooled = in_order(run, found_pool, find_inputs(found_pool, contents))
    inputs = pooled.inputs
    if pooled.new:
        check_readers(pooled.pool)
    reader = _reader_version(run, config)
    input_digest = _first_digest(inputs, config, reader)
    as_of = digests_of(inputs, input_digest)
    _check_input(run, input_digest, config, as_of=as_of)
    check_settled(run)
    with spent("cutting"):
        found = cut(
            run, inputs, config, digests=as_of, pool=pooled.pool, contents=contents, over=over,
            cuts=readings.cuts,
        )  # fmt: skip
    for one, rows in zip(inputs, found.rows, strict=True):
        one["rows"] = rows
        if reader:
            one["reader"] = reader
    # A file without rows is none that anything depends on.
    later = digests_of([one for one in inputs if one["rows"]], input_digest)[1:]
    *earlier, digests = (
        chain(steps, config, assets, start=input_digest, grown=one) for one in (None, *later)
    )
    _check_clusters(config, digests)
    return Plan(
        config, run, found.parts, steps, digests, inputs, input_digest, blocked=blocked,
        notes=found_pool.notes, damaged=damaged, grown=later[-1] if later else None,
        new=pooled.new, stands=pooled.stands, earlier=tuple(earlier),
    )  # fmt: skip


def _check_clusters(config: Config, digests: Mapping[str, StepDigest]) -> None:
    """That lists of clusters are of those that the run has, or will find."""
    asked = config.score.visual_cluster if config.score else None
    step = digests.get(files.join(SCORED, VISUAL))
    if asked is None or step is None:
        return
    given = asked.centroids
    stamp = digest_of(files.absolute(given)) if given else step.chain
    check_numbers(config.select, stamp=stamp, key="score.visual_cluster.centroids")


def grown_pool(run: Run, config: Config, *, over: Over = here) -> Grown:
    """The files of the configured pool as a run that stands would go on with them; nothing is written.

    Raises
    ------
    CurateError
        As :func:`make_plan` for what the run has not of its pool, or has otherwise.
    """
    pool = find_pool(config)
    contents = Contents.of(pool, before=known_contents(run), over=over)
    found = in_order(run, pool, find_inputs(pool, contents))
    check_readers(found.pool)
    first = _first_digest(found.inputs, config, _reader_version(run, config))
    _check_input(run, first, config, as_of=digests_of(found.inputs, first))
    return found


def _first_digest(inputs: Sequence[Input], config: Config, reader: str) -> str:
    """That of the files that a run began with, and of how they are read."""
    return files.digest_of(
        [identity(one) for one in inputs if not wave_of(one)],
        config.part_rows,
        {
            key: name
            for key, name in asdict(pool_format(config)).items()
            if key != "keep" and (name or key not in _LATER)
        }
        | {"format": reader or None},
    )


def _is_new(run: Run) -> bool:
    """Whether nothing stands of the run but what it may have read of its pool."""
    return not set(files.names(run.root)) - {"input", lock.NAME} and parts_digest(run) is None


def _opened(out: str) -> Run:
    """The run at `out`; where run.json is lost or damaged, the other files show its layout."""
    try:
        run = Run.to(out)
        if run.state():
            return run
    except DamagedError:
        run = Run(files.absolute(out).rstrip("/"))
    known = run.path("records"), run.path("input")
    older = not files.exists(known[0]) and files.exists(files.join(run.root, Stage.PREPARE))
    return replace(run, layout=1) if older and files.exists(known[1]) else run


def _state(run: Run, input_digest: str, config: Config, *, as_of: Sequence[str]) -> dict[str, Any]:
    """The content of run.json; where that is lost, of a new one if the parts are of this input."""
    lost: DamagedError | None = None
    try:
        if state := run.state():
            return state
    except DamagedError as error:
        lost = error
    known = {pool_digest(one, config) for one in as_of}
    if parts_digest(run) in known and files.exists(run.path(Stage.PREPARE)):
        run.begin(input_digest=input_digest)
        return run.state()
    if lost:
        raise CurateError(
            f"{lost}; without it nothing tells what {run.root} is a run of: give another --out, or"
            " remove that folder"
        )
    return {}


def _reader_version(run: Run, config: Config) -> str:
    """The version of the reader that the pool's format is, empty where it is none of users'.

    Where it cannot be imported it is the version that split the pool: the run has copies of the rows.
    """
    try:
        return version_of_reader(config.input.format)
    except CurateError:
        with suppress(DamagedError):
            for one in run.state().get("inputs", ()):
                if one["format"] == config.input.format and "reader" in one:
                    return str(one["reader"])
        raise


def _check_free(run: Run, config: Config) -> None:
    """Raise where the folder holds something else than a run of a pool."""
    with suppress(DamagedError):  # told later
        state = run.state()
        if source := state.get("source"):
            options = target_options(config.balance)
            raise CurateError(
                f"{run.root} is a rebalance of {source}, which has its pairs, images and scores; to"
                f" balance again: curate rebalance {source} --out {run.root}{options}, for all else:"
                f" curate run {files.join(source, 'config.yaml')}, and for a run of its own give"
                " another --out"
            )
        if not state and parts_digest(run) is None and not _is_new(run):
            raise CurateError(f"{run.root} is not empty and holds no run; give another --out")


def _check_input(run: Run, input_digest: str, config: Config, *, as_of: Sequence[str]) -> None:
    """Raise where the first wave of the run is another; `as_of` are the pool's digests, by wave."""
    state = _state(run, input_digest, config, as_of=as_of)
    if state and state.get("input_digest") != input_digest:
        files.remove(run.path("input", NOTES))
        own = "" if config.input.format in (AUTO, *FORMATS) else "another version of its reader, "
        raise CurateError(
            f"{run.root} holds a run over another input (or {own}other part_rows or columns); give"
            " another --out, or remove that folder"
        )
    if not state and set(files.names(run.root)) - {"input", lock.NAME}:
        raise CurateError(f"{run.root} is not empty and holds no run; give another --out")
