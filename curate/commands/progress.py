"""The progress of a run on the terminal, and its summary."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from curate import files
from curate.commands.counting import meanwhile
from curate.commands.following import FETCHED, Journals, Records
from curate.commands.process import tell_on_leaving
from curate.commands.terminal import many
from curate.config import Download
from curate.engines.job import Job, Seen, State
from curate.planning.plan import Plan
from curate.planning.resume import Standing
from curate.reasons import RULE_PREFIX, TRANSIENT
from curate.report import entries
from curate.report.wording import UNDRAWN, alarms
from curate.rundir.directory import ANNOTATED, PART_STAGES, Totals, totals
from curate.rundir.held import held_by
from curate.rundir.mending import in_words
from curate.running.owned import Watch
from curate.schema import Stage

_POLL = 0.5  # seconds
_QUIET = 30.0  # seconds between two lines
_PATIENCE = 60.0  # seconds until it is told that no part is done


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        if not task.elapsed or not task.fields["pairs"]:
            return Text("")
        return Text(f"{task.fields['pairs'] / task.elapsed:,.0f} pairs/s", style="dim")


def announce(console: Console, plan: Plan, standing: Standing) -> None:
    """Print the steps that have valid parts, and those whose parts are stale."""
    if line := in_words(plan.run, standing.damaged):
        console.print(line)
    if plan.new:
        last = plan.inputs[-plan.new :]
        rows = sum(one["rows"] for one in last)
        held = held_by(plan.run)
        n = len(held.names) if held else 0
        stay = f"; {many(n, 'shard')} stay{'s' * (n == 1)}, but for pairs that leave" if n else ""
        console.print(f"Grows by {many(len(last), 'file')}: {many(rows, 'row')}{stay}")
    if standing.is_fresh:
        return
    total = len(plan.parts)
    done = [f"{x} {n}/{total}" for x, n in standing.valid.items() if n and ANNOTATED not in x]
    if done:
        console.print(f"Resuming; parts that are done and skipped: {', '.join(done)}")
    looked = [x for x, n in standing.stale.items() if 0 < n == standing.taken_over.get(x)]
    redo = [x for x, n in standing.stale.items() if n and x not in looked]
    if redo:
        console.print(f"Stale (what they depend on changed), so done again: {', '.join(redo)}")
    if looked:
        console.print(
            "Looked through again, where what was found of the same pairs is taken over:"
            f" {', '.join(looked)}"
        )
    if standing.changed:
        _tell_of_failures(console, plan, standing.changed)


def announce_retry(console: Console, plan: Plan, failed: dict[int, int]) -> None:
    """Print how many pairs --retry-failed fetches again; `failed` counts them by part."""
    if failed:
        n, parts = sum(failed.values()), len(failed)
        console.print(f"Fetching again what failed: {many(n, 'pair')} in {many(parts, 'part')}")
    elif not plan.run.done(FETCHED):
        return
    elif plan.retry_failed == TRANSIENT:
        console.print("Nothing to fetch again: no download failed for a transient reason")
    elif plan.retry_failed:
        console.print(f"Nothing to fetch again: no download failed as {_listed(plan.retry_failed)}")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def _tell_of_failures(console: Console, plan: Plan, changed: tuple[str, ...]) -> None:
    """Print the failures that changed settings may mend, as these are not retried by themselves."""
    dropped = totals(plan.run, Stage.DOWNLOAD)["dropped"]
    changes = Download.changes()
    mended = frozenset[str]().union(*(changes[name].mends for name in changed))
    left = {reason: n for reason, n in dropped.items() if reason in mended}
    if left:
        keys = ", ".join(f"download.{name}" for name in changed)
        console.print(
            f"{keys} changed: {many(sum(left.values()), 'pair')} that failed before are not retried"
            f" by that; to fetch them again: --retry {','.join(sorted(left))}"
        )


@contextmanager
def watch(console: Console, plan: Plan, standing: Standing) -> Iterator[Watch]:
    """A bar a stage while the block runs: parts done, pairs a second, time left.

    What is yielded tells of the job on an engine that is not this command.

    The bars read the records in the run directory, so they work with any runner; on a store those of a
    sample where parts are many; in a local run directory also the journals, for the parts in work.
    Where the output is no terminal, such as a file or a job's log, a line is printed every half minute.
    """
    folders = [x for x in plan.steps.folders if x in plan.digests]
    sees = console.is_terminal and not console.is_dumb_terminal
    lines = None if sees else _Lines(console, len(plan.parts))
    columns = (
        TextColumn("{task.description:<18}", markup=False), BarColumn(),
        TextColumn("{task.fields[parts]}/{task.total:.0f} parts", markup=False), _Rate(),
        TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(
        *columns, console=console, transient=True, disable=bool(lines),
        redirect_stderr=False,  # it is closed meanwhile to messages of the engine's threads
    ) as progress:  # fmt: skip
        tasks = {
            folder: progress.add_task(
                folder.replace(f"/{ANNOTATED}", ": fetch" if "down" in folder else ": model"),
                total=len(plan.parts), parts=0, pairs=0, start=False,
            )
            for folder in folders
        }  # fmt: skip
        seen: dict[str, set[int]] = {folder: set() for folder in folders}
        done: Counter[str] = Counter()  # pairs of parts that were done meanwhile
        records, journals = Records(plan), Journals(plan)
        earlier = {folder: standing.valid.get(folder, 0) for folder in folders}

        def look() -> None:
            _advance(progress, tasks, seen, earlier, done, records, journals)
            if lines:
                lines.tell(progress.tasks)

        teller = _Teller(console, begun=lambda: any(seen.values()) or any(done.values()))
        try:
            with meanwhile(look, every=_POLL):
                yield Watch(seen=teller.seen, cancelling=teller.cancelling)
        finally:
            journals.forget()


class _Teller:
    """Lines about a job, where what its engine says of it changes."""

    def __init__(self, console: Console, *, begun: Callable[[], bool]) -> None:
        self._console, self._begun = console, begun
        self._started, self._told = time.monotonic(), ""

    def seen(self, job: Job, found: Seen) -> None:
        """Tell how a job is doing."""
        line = f"{job}: {found.state}" + (f", {found.why}" if found.why else "")
        if found.state is State.RUNNING and not found.why:
            line = ""
            if time.monotonic() - self._started > _PATIENCE and not self._begun():
                line = f"{job}: no part is done yet; it waits where no worker or slot is free"
        if line and line != self._told and not found.state.ended:
            self._console.print(line)
        self._told = line or self._told

    def cancelling(self, job: Job) -> None:
        """Tell that a job is ended, and what a second Ctrl-C does."""
        self._console.print(f"Cancelling {job}; Ctrl-C again leaves it to go on")
        tell_on_leaving(f"{job} may go on: curate status, curate cancel")


class _Lines:
    """The progress as lines, for output that is no terminal."""

    def __init__(self, console: Console, parts: int) -> None:
        self._console, self._parts = console, parts
        self._started = self._told = time.monotonic()

    def tell(self, tasks: Iterable[Task]) -> None:
        """Print a line about the unfinished steps, every `_QUIET` seconds."""
        now = time.monotonic()
        if now - self._told < _QUIET:
            return
        self._told = now
        open_ = [task for task in tasks if task.fields["parts"] < self._parts]
        under_way = [task for task in open_ if task.completed] or open_[:1]
        told = ", ".join(
            f"{task.description} {task.fields['parts']}/{self._parts} parts"
            + (
                f", {many(task.fields['pairs'], 'pair')}"
                if task.completed > task.fields["parts"]
                else ""
            )
            for task in under_way
        )
        self._console.print(f"{now - self._started:,.0f} s: {told or 'writing the shards'}")


def _advance(
    progress: Progress, tasks: dict[str, TaskID], seen: dict[str, set[int]], earlier: dict[str, int],
    done: Counter[str], records: Records, journals: Journals,
) -> None:  # fmt: skip
    for folder, task in tasks.items():
        if len(seen[folder]) == records.expected:
            continue
        new = 0
        before = journals.before if folder == FETCHED else {}
        for index, record in records.new(folder, seen[folder]).items():
            seen[folder].add(index)
            if len(seen[folder]) * records.weight > earlier[folder]:
                new += record.rows - before.get(index, 0)
        under_way = journals.pairs(folder, seen[folder])
        if seen[folder] or under_way:
            progress.start_task(task)
        done[folder] += new
        share = sum(n / journals.rows(folder, index) for index, n in under_way.items() if n)
        parts = len(seen[folder]) * records.weight
        progress.update(
            task, completed=parts + share, parts=round(parts),
            pairs=round(done[folder] * records.weight)
            + sum(n - before.get(index, 0) for index, n in under_way.items()),
        )  # fmt: skip


def funnel(
    stages: Mapping[str, Totals],
    *,
    skips: Callable[[str], bool] = lambda stage: False,
    spent: Mapping[str, float] | None = None,
) -> Table:
    """The counts of all stages as a table: in, kept, dropped by reason, dead, seconds of work.

    The work is that of all workers together, which go on side by side, without the seconds that were
    `spent` on parts that stood already, by stage. `skips` says of which stage nothing was done this
    time: it has none.
    """
    before = spent or {}
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("stage", "in", "kept", "dropped", "dead", "work"):
        table.add_column(name, justify="left" if name == "stage" else "right")
    table.add_column("why", style="dim")
    for stage in (str(s) for s in PART_STAGES if s in stages):
        counts = stages[stage]
        dropped, dead = counts["dropped"], counts["dead"]
        reasons = sorted({**dropped, **dead}.items(), key=lambda pair: (-pair[1], pair[0]))
        why = ", ".join(f"{reason.removeprefix(RULE_PREFIX)} {n:,}" for reason, n in reasons[:6])
        if len(reasons) > 6:
            why += f", {len(reasons) - 6} more"
        table.add_row(
            stage, f"{counts['rows']:,}", f"{counts['kept']:,}", f"{sum(dropped.values()):,}",
            f"{sum(dead.values()):,}",
            "–" if skips(stage) else f"{_work(counts, before.get(stage, 0.0)):,.1f} s", why,
        )  # fmt: skip
    return table


def _work(counts: Totals, spent: float) -> float:
    return max(0.0, counts["seconds"] - spent)


def tried_again(console: Console, plan: Plan, standing: Standing) -> None:
    """Print the outcome of the pairs that were fetched again, if any."""
    records = (plan.run.record(FETCHED, index) for index in standing.failed)
    figures = [record.figures for record in records if record]
    tried, came = (
        int(sum(one.get(name, 0) for one in figures)) for name in ("retried", "recovered")
    )
    if tried:
        console.print(
            f"Of {many(tried, 'pair')} fetched again, {came:,} came and {tried - came:,} failed"
            " again"
        )


def summary(
    console: Console, plan: Plan, *, standing: Standing, report: str, started: float
) -> None:
    """Print the funnel, warnings about it, and the paths of the shards and the report."""
    run = plan.run
    state = run.state()

    def skips(stage: str) -> bool:
        return standing.skips(stage) or not run.makes(Stage(stage))

    console.print(funnel(state["stages"], skips=skips, spent=standing.spent))
    said = alarms(state["stages"], config=plan.config)
    for alarm in [*said, *entries.idle(entries.thresholds(run), plan.config.balance)]:
        console.print(Text.assemble(("warning ", "bold yellow"), alarm))
    if written := entries.written(run, plan.config.balance, state["stages"].get(Stage.BALANCE, {})):
        console.print(f"balance {written}")
    manifest = run.path(Stage.SHARDS, "manifest.json")
    if files.exists(manifest):
        found = files.read_document(manifest)
        n, pairs, size = len(found["shards"]), found["pairs"], found["bytes"] / 1e6
        console.print(
            f"shards  {run.path('shards')}  ({many(n, 'shard')}, {many(pairs, 'pair')},"
            f" {size:,.1f} MB)"
        )
    else:
        last = [stage for stage in PART_STAGES if str(stage) in state["stages"]][-1]
        console.print(f"kept    {run.path(last)}")
    tell_report(console, report)
    work = sum(
        _work(x, standing.spent.get(stage, 0.0))
        for stage, x in state["stages"].items()
        if not skips(stage)
    )
    told = f"; the work of all workers: {work:,.1f} s" if work else ""
    console.print(f"done in {time.monotonic() - started:,.1f} s{told}")


def tell_report(console: Console, report: str) -> None:
    """Print the path of the report, and a warning if it lacks its figures."""
    console.print(f"report  {report}")
    if files.exists(report) and not files.exists(report.removesuffix("index.html") + "funnel.png"):
        console.print(Text.assemble(("warning ", "bold yellow"), UNDRAWN))
