"""Scratch: what steps write to the run while they work, and nothing reads once their parts are done.

It holds hashes, uids and embeddings of single pairs (a centroid may be that of one image alone), so a
run that goes on, and a revocation, begin with removing it: a step that was stopped makes it anew.
Journals of downloads are not among it: what was fetched is taken over.
"""

from curate import files, schema
from curate.run.directory import SCORED, Run
from curate.run.layout import SUMMARIES
from curate.schema import Stage

KEYS = "keys"
WORK = "work"
SAMPLES = "samples"
CANDIDATES = "candidates"
TAKEN = "taken.npz"
CENTROIDS = "centroids.npy"
HELD = "centroids.npz"
NOTES = "found"
"""The folder, in that of the pool's copies, of what workers found in its files until it is cut."""

_SCRATCH = {
    str(Stage.DEDUP): (KEYS,),
    files.join(SCORED, schema.SEMANTIC): (WORK, CENTROIDS),
    files.join(SCORED, "nearest_target"): (SAMPLES, HELD),
    files.join(SCORED, "simcore"): (CANDIDATES, CENTROIDS, TAKEN),
    **{
        files.join(stage, SUMMARIES): (WORK,) for stage in (Stage.PREPARE, Stage.DEDUP, Stage.SCORE)
    },
}


def scratch(folder: str) -> tuple[str, ...]:
    """The names, in the folder of a step, of what it needs while it works.

    >>> scratch("dedup"), scratch("prepare")
    (('keys',), ())
    """
    return _SCRATCH.get(folder, ())


def remove_scratch(run: Run) -> None:
    """Remove what steps that were stopped left in `run`, whether it goes on with them or not."""
    files.remove(run.path("input", NOTES))
    for folder in _SCRATCH:
        if run.makes(Stage(folder.partition("/")[0])):
            for name in scratch(folder):
                files.remove(run.path(folder, name))
