"""The cuts that a run's quantile rules led to: ``RUN/records/STAGE/quantiles.json``."""

from typing import Any

from curate import files
from curate.errors import AbsentError, DamagedError
from curate.ops.selection.quantiles import Cut, Cuts, Quantile
from curate.rundir.directory import Run
from curate.schema import Stage

FILE = "quantiles.json"
_KEYS = {"column", "top_fraction", "per", "group", "pairs", "cut"}


def write_cuts(cuts: Cuts, *, target: str, digest: str) -> Cuts:
    """Write `cuts`, which the parts under `digest` led to, to the file `target`."""
    document = [
        {
            "column": quantile.column,
            "top_fraction": quantile.fraction,
            **({"top": quantile.top, "tie": cut.tie} if quantile.top else {}),
            "per": quantile.per,
            "group": group,
            "pairs": cut.pairs,
            "cut": cut.value,
            "digest": digest,
        }
        for (quantile, group), cut in cuts.items()
    ]
    files.write_document(target, {"cuts": document})
    return cuts


def read_cuts(run: Run, stage: Stage) -> Cuts:
    """The cuts that the run took at `stage`; none where no rule asked for one.

    Raises
    ------
    DamagedError
        Where the file is not what was written.
    """
    return {
        (
            Quantile(one["column"], one["top_fraction"], one["per"], top=one.get("top", 0)),
            one["group"],
        ): Cut(one["pairs"], one["cut"], one.get("tie", 0))
        for one in _stored(run.path(stage, FILE))
    }


def cuts_stand(run: Run, stage: Stage, *, digest: str) -> bool:
    """Whether the run took cuts at `stage` that are those of the parts under `digest`."""
    return {one.get("digest") for one in _stored(run.path(stage, FILE))} == {digest}


def _stored(url: str) -> list[dict[str, Any]]:
    try:
        found: Any = files.read_json(url)
    except AbsentError:
        return []
    if not isinstance(found, list):  # older runs have the list alone
        found = files.checked_document(url, found).get("cuts")
    if not isinstance(found, list) or not all(
        isinstance(one, dict) and one.keys() >= _KEYS for one in found
    ):
        raise DamagedError(url, "it holds no cuts")
    return found
