"""The files of a new run's pool, read once: digested and cut by whoever reads them."""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from curate import files
from curate.config import Config
from curate.planning.cutting import WHAT, Cutter, cutter_of
from curate.planning.inputs import Known, Pool, stamps_of
from curate.planning.parts import are_whole, cut_of
from curate.planning.spreading import Over, is_much
from curate.planning.uncut import Uncut, check_some, uncut_files
from curate.rundir.directory import Run

Read = tuple[str, dict[str, Any]]
"""The digest of a file and its cut, as a document."""


class Readings(NamedTuple):
    """What is known of files that were read, by path."""

    contents: dict[str, Known]
    cuts: dict[str, dict[str, Any]]


@dataclass(frozen=True)
class _Reader:
    cutter: Cutter

    def __call__(self, file: Uncut) -> Read:
        return files.content_digest(file.path), self.cutter(file)


def read_once(run: Run, pool: Pool, config: Config, *, over: Over) -> Readings:
    """Digest and cut of the pool's files, `over` whoever reads them, for a run that has neither.

    None of files in a store, which knows their digest, of those that others belong to, where there is
    little to read, or where files are read in place.

    Raises
    ------
    CurateError
        As :func:`curate.planning.uncut.check_some`.
    """
    cutter = cutter_of(config)
    alone = [
        one
        for one, (path, beside, _) in zip(uncut_files(run, pool), pool.files, strict=True)
        if not beside and files.local_path(path) is not None
    ]
    paths = [one.path for one in alone]
    stamps = [*stamps_of(paths)]
    weight = sum(size for size, _ in stamps)
    fraction = config.input.max_dead_fraction
    if not is_much(alone, weight=weight) or check_some(
        alone, pool=cutter.pool, size=cutter.rows, weight=weight, fraction=fraction
    ):
        return Readings({}, {})
    keys = [cutter.key(one, *stamp) for one, stamp in zip(alone, stamps, strict=True)]
    stands = partial(_stands, run=run, copies=files.sizes(run.path("input")))
    found = over(_Reader(cutter), alone, what=WHAT, weight=weight, keys=keys, stands=stands)
    readings = Readings({}, {})
    for path, stamp, (digest, document) in zip(paths, stamps, found, strict=True):
        readings.contents[path] = Known(stamp[0], stamp[1], digest)
        readings.cuts[path] = document
    return readings


def _stands(read: Read, *, run: Run, copies: dict[str, int]) -> bool:
    return are_whole(cut_of(run, read[1]), copies)
