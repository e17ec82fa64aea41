"""Scratch: what steps write to the run while they work, and nothing reads once their parts are done.

It holds hashes, uids and embeddings of single pairs (a centroid may be that of one image alone), so a
run that goes on, and a revocation, begin with removing it: a step that was stopped makes it anew. That
of each generation lies apart, so that what a late worker writes is not read.
Journals of downloads are not among it: what was fetched is taken over.
"""

from curate import files, schema
from curate.run.directory import SCORED, Run
from curate.run.layout import SUMMARIES
from curate.schema import Stage

NOTES = "found"
"""The folder, in that of the pool's copies, of what workers found in its files until it is cut."""

_SCRATCH = {
    str(Stage.DEDUP): "keys",
    files.join(SCORED, schema.SEMANTIC): "work",
    files.join(SCORED, "nearest_target"): "work",
    files.join(SCORED, "simcore"): "work",
    **{files.join(x, SUMMARIES): "work" for x in (Stage.PREPARE, Stage.DEDUP, Stage.SCORE)},
}
"""The folder of what a step needs while it works, in that of the step."""
_EARLIER = {
    files.join(SCORED, schema.SEMANTIC): ("centroids.npy",),
    files.join(SCORED, "nearest_target"): ("samples", "centroids.npz"),
    files.join(SCORED, "simcore"): ("candidates", "centroids.npy", "taken.npz"),
}
"""Names that it had in earlier versions."""


def scratch(run: Run, folder: str, *names: str) -> str:
    """The URL of what the step of `folder` needs while it works, or of the folder of all of it.

    >>> scratch(Run("/run", generation=3), "dedup", "part-00000.keys")
    '/run/keys/3/part-00000.keys'
    """
    return run.path(folder, _SCRATCH[folder], str(run.generation), *names)


def scratch_folders() -> list[str]:
    """The folders of scratch, by name in the run."""
    return [files.join(folder, name) for folder, name in _SCRATCH.items()]


def remove_scratch(run: Run) -> None:
    """Remove what steps that were stopped left in `run`, whether it goes on with them or not."""
    files.remove(run.path("input", NOTES))
    earlier = [files.join(folder, name) for folder, names in _EARLIER.items() for name in names]
    for name in (*scratch_folders(), *earlier):
        if run.makes(Stage(name.partition("/")[0])):
            files.remove(run.path(name))
