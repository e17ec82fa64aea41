"""Scratch: what steps write to the run while they work, and nothing reads once their parts are done.

It holds hashes, uids and embeddings of single pairs (a centroid may be that of one image alone), so a
run that goes on, and a revocation, begin with removing it: a step that was stopped makes it anew. What
parts write lies in a folder of its generation, so that what a late worker wrote is not read.
Journals of downloads are not among it: what was fetched is taken over.
"""

from curate import files, schema
from curate.run.directory import SCORED, Run
from curate.run.layout import SUMMARIES
from curate.schema import Stage

NOTES = "found"
"""The folder, in that of the pool's copies, of what workers found in its files until it is cut."""

TABLES = "tables"
"""The folder, beside it, of tables of the user's that are sorted to be joined."""

KEYS = "keys"
WORK = "work"
SAMPLES = "samples"
CANDIDATES = "candidates"
TAKEN = "taken.npz"
CENTROIDS = "centroids.npy"
HELD = "centroids.npz"

_SCRATCH = {
    str(Stage.DEDUP): (KEYS,),
    files.join(SCORED, schema.SEMANTIC): (WORK, CENTROIDS),
    files.join(SCORED, "nearest_target"): (SAMPLES, HELD),
    files.join(SCORED, "simcore"): (CANDIDATES, CENTROIDS, TAKEN),
    **{files.join(x, SUMMARIES): (WORK,) for x in (Stage.PREPARE, Stage.DEDUP, Stage.SCORE)},
}


def scratch(folder: str) -> tuple[str, ...]:
    """The names, in the folder of a step, of what it needs while it works.

    >>> scratch("dedup"), scratch("prepare")
    (('keys',), ())
    """
    return _SCRATCH.get(folder, ())


def work(run: Run, folder: str, name: str, *names: str) -> str:
    """The URL of what parts write to scratch in the folder of a step, or of the folder of all of it.

    >>> work(Run("/run", generation=3), "dedup", KEYS, "part-00000.keys")
    '/run/keys/3/part-00000.keys'
    """
    return run.path(folder, name, str(run.generation), *names)


def remove_scratch(run: Run) -> None:
    """Remove what steps that were stopped left in `run`, whether it goes on with them or not."""
    files.remove(run.path("input", NOTES))
    files.remove(run.path("input", TABLES))
    for folder in _SCRATCH:
        if run.makes(Stage(folder.partition("/")[0])):
            for name in scratch(folder):
                files.remove(run.path(folder, name))


def remove_laid_by(run: Run) -> None:
    """Remove what was counted of parts and lies by, once it is merged, and the sorted tables."""
    files.remove(run.path("input", TABLES))
    for folder in _SCRATCH:
        if folder.endswith(SUMMARIES) and run.makes(Stage(folder.partition("/")[0])):
            files.remove(run.path(folder, WORK))
