"""Runs that are browsed, read again where they have changed."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from curate import files
from curate.browse.connection import connect
from curate.browse.questions import Questions
from curate.browse.table import Pairs, table_of
from curate.config import Config
from curate.config import file as config_file
from curate.planning.steps import Steps, steps_of
from curate.rundir import revocations
from curate.rundir.borrowed import open_run
from curate.rundir.directory import Run
from curate.schema import Stage

if TYPE_CHECKING:
    from curate.finding.map import Map
    from curate.finding.search import Search

Stamp = tuple[int, int] | None
_AT_ONCE = 2
"""Questions that are answered at once: each takes all cores."""


@dataclass(frozen=True)
class Opened:
    """A run as it stood when it was opened."""

    run: Run
    config: Config
    steps: Steps
    pairs: Pairs

    @property
    def name(self) -> str:
        """The last part of where it is."""
        return self.run.root.rstrip("/").rpartition("/")[2]

    @property
    def has_images(self) -> bool:
        """Whether it fetches images, which lie in its own folder."""
        return Stage.DOWNLOAD in self.steps.stages

    @property
    def entries(self) -> str | None:
        """Where its entries are counted; None where they are not."""
        url = self.run.path(Stage.BALANCE, "entries.parquet")
        return url if files.exists(url) else None


@dataclass(frozen=True)
class State:
    """All runs as they stood."""

    version: str
    runs: tuple[Opened, ...]
    questions: Questions
    thumbnails: dict[tuple[int, ...], bytes] = field(default_factory=dict)
    spans: dict[tuple[int, ...], tuple[int, int]] = field(default_factory=dict)  # of images in tars
    searches: "dict[int, Search]" = field(default_factory=dict)
    maps: "dict[int, Map]" = field(default_factory=dict)
    near: dict[tuple[int, str], dict[str, float]] = field(default_factory=dict)  # what was found
    searching: threading.Lock = field(default_factory=threading.Lock)


@dataclass
class Shelf:
    """The runs at some URLs."""

    urls: Sequence[str]
    _state: State | None = None
    _stamps: list[Stamp] = field(default_factory=list)
    _opening: threading.Lock = field(default_factory=threading.Lock)

    def state(self, *, anew: bool = False) -> State:
        """The runs as they stand: read again where one was changed since, or `anew`.

        Raises
        ------
        CurateError
            Where one is none, is damaged, or a revocation of it was interrupted.
        """
        with self._opening:
            stamps = [stamp for url in self.urls for stamp in _stamps(url)]
            if self._state is None or anew or stamps != self._stamps:
                self._state = None
                self._state = self._open(stamps)
                self._stamps = stamps
            return self._state

    def _open(self, stamps: list[Stamp]) -> State:
        runs = []
        for url in self.urls:
            run = open_run(url, for_few=True)
            config = config_file.load(run.path("config.yaml"))
            steps = steps_of(config)
            runs.append(Opened(run, config, steps, table_of(run, steps)))
        stand = [[(x.verdict, x.stage, x.parts) for x in one.pairs.branches] for one in runs]
        roots = [root for one in runs for root in (one.run.root, one.run.source) if root]
        turns = threading.Semaphore(_AT_ONCE)
        questions = Questions(tuple(one.pairs for one in runs), connect(roots), turns)
        return State(files.digest_of(stamps, stand), tuple(runs), questions)


def _stamps(url: str) -> Iterator[Stamp]:
    """What changes when a run does: its state and revocations, and those of its source."""
    root = files.absolute(url).rstrip("/")
    source = Run.at(url).source
    for one in filter(None, (root, source)):
        for name in ("run.json", revocations.FILE):
            path = files.join(one, name)
            yield files.stamp(path) if files.exists(path) else None
