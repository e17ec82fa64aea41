"""A run that is opened: its numbers, tables, pairs, figures and stories."""

import difflib
import os
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow.dataset as ds

from curate import files
from curate.config import Config
from curate.config import file as config_file
from curate.errors import CurateError
from curate.finished.tables import Fates, dataset, held
from curate.library.funnel import Funnel, funnel_of
from curate.library.pairs import Pairs
from curate.library.plain import one_line
from curate.library.tables import Table
from curate.planning.steps import Steps
from curate.rundir.borrowed import open_run, source_kept
from curate.rundir.directory import Run
from curate.schema import DEAD, ENTRIES, LEDGER, Stage

if TYPE_CHECKING:
    from curate.concepts.counting import Frequencies
    from curate.finished.explain import Story
    from curate.library.compared import Compared
    from curate.library.curves import Curves
    from curate.report.charts import Chart, Figure
    from curate.report.facts import Facts

_ENTRIES = files.join(Stage.BALANCE, "entries.parquet")


class OpenedRun:
    """A run directory, for who reads it; opened once more it shows what has changed since."""

    def __init__(self, run: Run) -> None:
        self._run = run

    @property
    def root(self) -> str:
        """The URL of the run directory."""
        return self._run.root

    @cached_property
    def config(self) -> Config:
        """The configuration that it was made with."""
        return config_file.load(self._run.path("config.yaml"))

    @cached_property
    def state(self) -> dict[str, Any]:
        """The content of run.json: state, seed, versions, digests, counts."""
        return self._run.state()

    @property
    def report(self) -> str:
        """The URL of its report."""
        return self._run.path(Stage.REPORT, "index.html")

    @cached_property
    def funnel(self) -> Funnel:
        """What came into each stage, and what became of it."""
        with self._reading():
            return funnel_of(self._run, self._steps)

    @cached_property
    def _fates(self) -> Fates:
        return Fates(self._run, self.config)

    @property
    def _steps(self) -> Steps:
        return self._fates.steps

    def _reading(self) -> Any:
        return one_line(self.root)

    def tables(self) -> list[str]:
        """The names that `table` takes."""
        return ["all", "kept", "dropped", "dead", *map(str, self._fates.stages)]

    def table(self, name: str = "kept", *, columns: Sequence[str] | str | None = None) -> Table:
        """A table of the run, of which nothing is read yet.

        Parameters
        ----------
        name
            ``kept``: the pairs of the set, with all columns; a stage: those that it kept;
            ``dropped`` and ``dead``: those that left, with stage, reason and value; ``all``: every
            pair of the pool, with `verdict` (kept, dropped, dead; pending in a run that is not
            finished) and the columns that are known of it.
        columns
            Some of its columns.

        Raises
        ------
        CurateError
            Where there is no such table or column: it lists those that there are.
        """
        with self._reading():
            found = self._table(name)
        return found if columns is None else found.select(columns)

    def _table(self, name: str) -> Table:
        title = f"{self.root}: table {name!r}"
        stages = {str(stage): stage for stage in self._fates.stages}
        if name == "all":
            fates = self._fates
            return Table(
                title, fates.schema, None, lambda names: (table for _, table in fates.tables(names))
            )
        if name in ("dropped", "dead"):
            verdict: Any = name
            found = [held(self._run, stage, verdict) for stage in stages.values()]
            urls = [url for one in found for url in one.urls]
            columns = LEDGER if name == "dropped" else DEAD
            return Table(title, columns, dataset(urls, columns))
        if name == "kept" and not stages:
            raise CurateError(f"{self.root}: no part is done yet, so nothing is kept")
        if name == "kept":
            name = [*stages][-1]
        if name not in stages:
            near = difflib.get_close_matches(name, self.tables(), n=1)
            meant = f", did you mean {near[0]!r}?" if near else ";"
            raise CurateError(
                f"{self.root}: no table {name!r}{meant} there are {', '.join(self.tables())}"
            )
        one = held(self._run, stages[name], "kept")
        return Table(title, one.schema, dataset(one.urls, one.schema))

    def pairs(
        self,
        uids: Collection[str] | str | None = None,
        *,
        limit: int | None = None,
        where: ds.Expression | None = None,
    ) -> Pairs:
        """Pairs of the pool with their images, kept and dropped, in the order of its parts.

        Parameters
        ----------
        uids
            Only pairs of these; else of all.
        limit
            At most so many.
        where
            Only those of an expression of pyarrow over the columns of ``table("all")``, as in
            ``pc.field("reason") == "rule:clip_score"``.

        Raises
        ------
        CurateError
            For a limit below 0.
        """
        if limit is not None and limit < 0:
            raise CurateError(f"limit {limit}: expected a number of pairs, from 0 on")
        wanted = [uids] if isinstance(uids, str) else uids
        return Pairs(self._fates, uids=wanted, limit=limit, where=where)

    @cached_property
    def _facts(self) -> "Facts":
        from curate.report.facts import collect

        with self._reading(), source_kept(self._run):
            return collect(self._run, self.config, steps=self._steps)

    @cached_property
    def _figures(self) -> "dict[str, Figure]":
        from curate.report.figures import figures

        return figures(self._facts)

    @property
    def figures(self) -> list[str]:
        """The names that `figure` takes."""
        return [*self._figures]

    def figure(self, name: str, *, language: str | None = None) -> "Chart":
        """A figure of the report, as a chart of altair.

        `name` is that of its PNG, without the language where it has one of each: ``rank`` with
        ``language="en"``, or ``rank-en``; the language may be left out where there is but one.

        Raises
        ------
        CurateError
            Where the run has no such figure: it lists those that it has.
        """
        whole = name if language is None else f"{name}-{language}"
        of_name = [x for x in self._figures if x.startswith(f"{name}-")]
        if whole not in self._figures and language is None and len(of_name) == 1:
            whole = of_name[0]
        if whole not in self._figures:
            raise CurateError(
                f"{self.root}: no figure {whole!r}; it has {', '.join(self._figures)}"
            )
        found = self._figures[whole]
        return found.chart.properties(title=found.title)

    def sweep(
        self,
        ts: Sequence[float] = (),
        *,
        sizes: Sequence[float] = (),
        reference: str | None = None,
        on: str | None = None,
    ) -> "Curves":
        """What balancing at each t of `ts`, or to each size, would keep; see `curate sweep`."""
        from curate.finished.rebalance import open_source
        from curate.finished.sweep import sweep
        from curate.library.curves import Curves

        with self._reading():
            source = open_source(self.root)
            return Curves(sweep(source, ts=ts, sizes=sizes, reference=reference, on=on))

    def explain(self, pair: str) -> "tuple[Story, ...]":
        """The story of a pair, by its uid or URL, stage by stage; several may have it.

        ``print(story)`` tells it.
        """
        from curate.finished.explain import stories

        with self._reading(), source_kept(self._run):
            return stories(self._run, pair)

    def concepts(self, names: "Mapping[str, Any] | str | os.PathLike[str]") -> "Frequencies":
        """How often concepts occur in the captions of the pool, and of what was kept.

        `names` are the names of each concept, ``{"ice cream": ["ice cream", "sundae"]}``, or a file of
        `curate concepts`. ``.table`` has a name a row, ``.named()`` the most frequent one of each.

        Raises
        ------
        CurateError
            Where a concept has no name, or a name twice or without a word.
        """
        from curate.concepts.counting import frequencies
        from curate.concepts.names import concepts_of, read_names

        with self._reading():
            if isinstance(names, Mapping):
                listed = concepts_of(names, called="concepts")
            else:
                listed = read_names(files.absolute(os.fspath(names)))
            return frequencies(self._run, listed)

    def rebalance(
        self,
        out: str,
        *,
        t: float | None = None,
        p: float | None = None,
        size: int | None = None,
        reference: str | None = None,
        on: str | None = None,
        workers: int | None = None,
        force: bool = False,
    ) -> "OpenedRun":
        """Write the shards of another t, p or size to a run directory of its own, and open that."""
        from curate.commands.balancing import rebalanced

        with self._reading():
            rebalanced(
                self.root, out=str(out), t=t, p=p, size=size, reference=reference, on=on,
                workers=workers, options=[], force=force,
                remedy="give force=True to replace it, or another out",
            )  # fmt: skip
            return open(str(out))

    def compare(
        self, other: "OpenedRun | str | os.PathLike[str]", *, out: str | None = None
    ) -> "Compared":
        """Compare this run, a, with another, b: pair by pair, and what both sets hold.

        With `out` the page, its numbers and the pairs that changed are written to that folder.
        """
        from curate.library.compared import Compared

        second = other.root if isinstance(other, OpenedRun) else os.fspath(other)
        with self._reading():
            return Compared(self.root, second, out)

    @property
    def entries(self) -> Table:
        """Each concept that was balanced over: its count, probability, and how many were kept.

        Raises
        ------
        CurateError
            Where the run has balanced over none.
        """
        url = self._run.path(_ENTRIES)
        with self._reading():
            if Stage.BALANCE not in self._fates.stages or not files.exists(url):
                raise CurateError(
                    f"{self.root}: it was not balanced over entries; it has no table of them"
                )
            return Table(f"{self.root}: entries", ENTRIES, dataset([url], ENTRIES))

    def __repr__(self) -> str:
        n, kept = (
            (self.funnel.stages[0].in_, self.funnel.stages[-1].kept) if len(self.funnel) else (0, 0)
        )
        return f"<run {self.root}: {n:,} pairs, {kept:,} kept, {self.state.get('state')}>"

    def _repr_html_(self) -> str:
        return self.funnel._repr_html_()


def open(url: str | os.PathLike[str]) -> OpenedRun:
    """The run in a directory, a path or any fsspec URL.

    Raises
    ------
    CurateError
        Where there is no run, or a file of it is damaged, or a revocation was interrupted.
    """
    where = os.fspath(url)
    with one_line(where):
        return OpenedRun(open_run(where, for_few=True))
