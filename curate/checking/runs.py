"""What is wrong with a run beside its shards: its state, and the files that its records vouch for."""

import hashlib
from collections.abc import Iterator

import pyarrow.compute as pc

from curate import files
from curate.checking.kinds import Kind, Problem
from curate.errors import AbsentError, CurateError, DamagedError
from curate.rundir.damage import (
    changed_content,
    damaged_documents,
    find_damage,
    missing_records,
    steps,
)
from curate.rundir.directory import ANNOTATED, MANIFEST, Run
from curate.rundir.revocations import check_settled
from curate.schema import Stage


def check_run(run: Run, *, hashes: bool) -> Iterator[Problem]:
    """The problems of a run; with `hashes` those of the content of its files, too."""
    yield from check_state(run)
    told: set[str] = set()
    documents = damaged_documents(run) if run.makes(Stage.PREPARE) else ()
    for name in [*find_damage(run, steps(run)).names, *documents]:
        told.add(url := run.path(name))
        is_there = files.exists(url)
        yield _of(run, url, "it is not what was written" if is_there else "it is gone")
    for error in [*missing_records(run), *(changed_content(run) if hashes else ())]:
        if error.url not in told:
            told.add(error.url)
            yield _of(run, error.url, str(error).removeprefix(f"{error.url} is damaged: "))
    if hashes:
        yield from _images(run, told)


def check_state(run: Run) -> Iterator[Problem]:
    """Whether the run is finished, and free of what was revoked from it."""
    state = run.state()
    if state.get("state") != "complete":
        yield Problem(Kind.UNFINISHED, "run.json", what=f"its state is {state.get('state')}")
    elif not files.exists(run.path(Stage.SHARDS, MANIFEST)):
        yield Problem(Kind.UNFINISHED, f"{Stage.SHARDS}/{MANIFEST}", what="there is none")
    try:
        check_settled(run)
    except DamagedError as error:
        yield _of(run, error.url, "it is not what was written")
    except CurateError as error:
        yield Problem(Kind.REVOCATION, "revoked.parquet", what=str(error).partition(";")[0])


def _of(run: Run, url: str, what: str) -> Problem:
    return Problem(Kind.RUN_FILE, url.removeprefix(f"{run.root}/"), what=what)


def _images(run: Run, told: set[str]) -> Iterator[Problem]:
    """Images of parts that are not those that were stored."""
    folder = files.join(Stage.DOWNLOAD, ANNOTATED)
    if not run.makes(Stage.DOWNLOAD):
        return
    for part in run.done(folder):
        url = run.part(Stage.DOWNLOAD, part, "tar")
        wanted = ["uid", "tar_offset", "tar_size", "stored_sha256"]
        try:
            rows = run.rows(folder, part, present=wanted)
            if url in told or "stored_sha256" not in rows.column_names:
                continue
            rows = rows.filter(pc.is_valid(rows["stored_sha256"]))
            with files.open_read(url) as tar:
                for row in rows.to_pylist():
                    tar.seek(row["tar_offset"])
                    content = tar.read(row["tar_size"])
                    if hashlib.sha256(content).hexdigest() != row["stored_sha256"]:
                        yield _of(
                            run, url, f"the image of {row['uid']} is not the one that was stored"
                        )
        except (AbsentError, DamagedError):
            continue  # told already
