"""How far a run is that goes on: the records and journals of its parts, followed while they come."""

import os
import time
from collections.abc import Iterable
from contextlib import suppress

from curate import files
from curate.errors import CurateError
from curate.planning.plan import Plan
from curate.rundir.directory import ANNOTATED, JOURNAL, PartRecord, part_index
from curate.rundir.journal import grown
from curate.schema import Stage

FETCHED = files.join(Stage.DOWNLOAD, ANNOTATED)
"""The folder of what was fetched."""

_APART = 10.0  # seconds between two looks at a folder of a store, which counts and bills them
_EFFORT = 20  # of the time, a look at a folder of this machine takes at most one in so many
_PAGE = 1000  # parts that a store lists in one request; of more, a sample is asked for
_SAMPLE, _ASKED = 100, 10  # parts of the sample; those of them asked for in one look


class _Changes:
    """Which folders of this machine may have changed since they were asked for last."""

    def __init__(self) -> None:
        self._known: dict[str, float] = {}

    def __call__(self, folder: str) -> bool:
        """Whether names in it may have come or gone; so it is for a second after each."""
        try:
            changed = os.stat(str(files.local_path(folder))).st_mtime
        except OSError:  # there is none yet
            return False
        if self._known.get(folder) == changed:
            return False
        if time.time() - changed > 1.0:
            self._known[folder] = changed
        return True


class Records:
    """Records of parts done meanwhile, which are looked for as often as it is cheap."""

    def __init__(self, plan: Plan) -> None:
        self._plan, self._run = plan, plan.run
        self._is_near = files.local_path(plan.run.root) is not None
        parts = [part.index for part in plan.parts]
        is_large = not self._is_near and len(parts) > _PAGE
        self._sample = parts[:: len(parts) // _SAMPLE] if is_large else []
        self.weight = len(parts) / len(self._sample) if is_large else 1.0
        self.expected = len(self._sample or parts)
        self._changes = _Changes()
        self._due: dict[str, float] = {}  # when each folder may be looked at again
        self._asked: dict[str, int] = {}  # where in the sample the next look begins

    def new(self, folder: str, seen: set[int]) -> dict[int, PartRecord]:
        """Those that stand at a step and are not `seen`, by part; of a large run those of a sample."""
        started = time.monotonic()
        if started < self._due.get(folder, 0.0):
            return {}
        where = self._run.part(folder, 0, "json").rpartition("/")[0]
        if self._is_near and not self._changes(where):
            return {}
        found = {}
        for index in self._candidates(folder, seen):
            record = self._run.record(folder, index)
            if record and record.digest == self._plan.digests[folder].chain:
                found[index] = record
        now = time.monotonic()
        self._due[folder] = now + ((now - started) * _EFFORT if self._is_near else _APART)
        return found

    def _candidates(self, folder: str, seen: set[int]) -> Iterable[int]:
        if not self._sample:
            return set(self._run.done(folder)) - seen
        left = [index for index in self._sample if index not in seen]
        begin = self._asked.get(folder, 0) % max(len(left), 1)
        self._asked[folder] = begin + _ASKED
        return [*left[begin:], *left[:begin]][:_ASKED]


class Journals:
    """Pairs fetched or scored of parts that are not done, of a run directory on this machine."""

    def __init__(self, plan: Plan) -> None:
        self._plan, self._run = plan, plan.run
        self._parts = {part.index for part in plan.parts}
        self._local = files.local_path(plan.run.root) is not None
        self._rows: dict[tuple[str, int], int] = {}  # that come in, by folder and part
        self._read: dict[str, tuple[int, int]] = {}  # records of a file, and where they end
        self._changes = _Changes()
        self._listed: dict[str, dict[int, str]] = {}  # journals, by folder and part
        self.forget()
        self.before = self.pairs(FETCHED, set())

    def forget(self) -> None:
        """Remove those that serve for counting alone, of parts whose workers were stopped or killed."""
        for folder in self._plan.steps.folders:
            for journal in self._of(folder).values() if folder != FETCHED else ():
                with suppress(OSError):  # its worker removes it just now
                    files.remove(journal)

    def pairs(self, folder: str, done: set[int]) -> dict[int, int]:
        """By part, at most as many as it has."""
        found: dict[int, int] = {}
        for index, journal in self._of(folder).items():
            if index in self._parts - done:
                read = (self._follow(files.join(journal, x)) - 1 for x in files.names(journal))
                found[index] = max(0, min(sum(read), self.rows(folder, index)))
        return found

    def rows(self, folder: str, index: int) -> int:
        """Pairs of a part that come into the step of `folder`; known once the stage before is done."""
        if (folder, index) not in self._rows:
            before = self._plan.steps.upstream(Stage(folder.split("/")[0]))
            if record := self._run.record(before, index):
                self._rows[folder, index] = record.kept
        return self._rows.get((folder, index), 0)

    def _of(self, folder: str) -> dict[int, str]:
        """The journals in `folder`, by part."""
        if not self._local or ANNOTATED not in folder:
            return {}
        url = self._run.path(folder)
        if self._changes(url):
            names = (name for name in files.names(url) if name.endswith(f".{JOURNAL}"))
            found = ((part_index(name), files.join(url, name)) for name in names)
            self._listed[folder] = {index: x for index, x in found if index is not None}
        return self._listed.get(folder, {})

    def _follow(self, url: str) -> int:
        records, end = self._read.get(url, (0, 0))
        try:
            with files.open_read(url) as file:
                more, end = grown(file, end)
        except CurateError:  # its part was done a moment ago
            return 1
        self._read[url] = records + more, end
        return records + more
