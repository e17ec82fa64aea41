"""A finished set published, and published again: what a repository has already is not sent."""

import re
from collections.abc import Callable

from curate import files
from curate.checking import runs
from curate.checking.sets import find
from curate.checking.task import Options
from curate.checking.verify import check_all, check_together, default_workers
from curate.errors import CurateError
from curate.publishing.contents import Changes, batches, changes, contents
from curate.publishing.hub import Repository
from curate.rundir.directory import MANIFEST, Run

_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


def check_name(name: str) -> None:
    """Raise a CurateError where `name` is none of a repository."""
    if not _REPOSITORY.fullmatch(name):
        raise CurateError(f"--repo {name}: expected USER/NAME, or ORGANIZATION/NAME")


def check_run(run: Run) -> None:
    """Raise a CurateError where a run is not finished, holds revoked pairs, or has problems.

    Its tars are walked through, and compared with the lists by counts and sizes. A set has a pair.
    """
    problems = [*runs.check_run(run, hashes=False)]
    if not problems:
        found, quick = find([run.root]), Options(hashes=False)
        if not found.tasks:
            raise CurateError(f"{run.root} is not published: its set is empty")
        problems += found.problems
        shards = []
        workers = default_workers(found.tasks, quick)
        for one in check_all(found.tasks, quick, workers=workers):
            problems += one.problems
            one.problems = []
            shards.append(one)
        problems += check_together(shards, found.tasks)[1]
    if problems:
        more = (
            f" (and {len(problems) - 1:,} more: curate verify {run.root})" if problems[1:] else ""
        )
        raise CurateError(f"{run.root} is not published: {problems[0].line()}{more}")


def publish(run: Run, to: Repository, *, private: bool, tell: Callable[[str], None]) -> Changes:
    """Have a repository hold the set of a run; what was sent and removed.

    Raises
    ------
    CurateError
        Where the run's checks do not hold, the repository has a set of somebody else's, or the hub
        refuses something.
    """
    check_run(run)
    to.create(private=private)
    there = to.files()
    items = contents(run, address=to.address)
    todo = changes(items, there)
    new = {one.name for one in todo.send}
    tars = {name for name in there if name.endswith(".tar")}
    if tars and MANIFEST not in there and not tars & {one.name for one in items} - new:
        raise CurateError(
            f"{to.name} holds tars, and no {MANIFEST}: a set that curate did not publish; give another"
            " --repo or --revision"
        )
    tell(
        f"{todo.same:,} files are there; {len(todo.send):,} to send, {len(todo.remove):,} to remove"
    )
    commits = [*batches(todo.send)] or ([[]] if todo.remove else [])
    for k, some in enumerate(commits, start=1):
        remove = todo.remove if k == len(commits) else ()
        size = sum(one.size for one in some)
        to.commit(some, remove, message=f"Set of curate, {k} of {len(commits)}")
        tell(f"commit {k}/{len(commits)}: {len(some):,} files, {size / 1e6:,.1f} MB")
    return todo


def had_revocations(run: Run) -> bool:
    """Whether pairs were taken out of a run, which earlier commits may hold."""
    return files.exists(run.path("revoked.parquet")) or bool(run.state().get("revoked"))
