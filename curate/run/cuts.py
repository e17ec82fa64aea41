"""The cuts that a run's quantile rules led to: ``RUN/records/STAGE/quantiles.json``."""

from typing import Any

from curate import files
from curate.ops.selection.quantiles import Cut, Cuts, Quantile
from curate.run.directory import Run
from curate.schema import Stage

FILE = "quantiles.json"


def write_cuts(cuts: Cuts, *, target: str, digest: str) -> Cuts:
    """Write `cuts`, which the parts under `digest` led to, to the file `target`."""
    document = [
        {
            "column": quantile.column,
            "top_fraction": quantile.fraction,
            "per": quantile.per,
            "group": group,
            "pairs": cut.pairs,
            "cut": cut.value,
            "digest": digest,
        }
        for (quantile, group), cut in cuts.items()
    ]
    files.write_json(target, document)
    return cuts


def read_cuts(run: Run, stage: Stage) -> Cuts:
    """The cuts that the run took at `stage`; none where no rule asked for one."""
    return {
        (Quantile(one["column"], one["top_fraction"], one["per"]), one["group"]): Cut(
            one["pairs"], one["cut"]
        )
        for one in _stored(run, stage)
    }


def cuts_stand(run: Run, stage: Stage, *, digest: str) -> bool:
    """Whether the run took cuts at `stage` that are those of the parts under `digest`."""
    return {one.get("digest") for one in _stored(run, stage)} == {digest}


def _stored(run: Run, stage: Stage) -> list[dict[str, Any]]:
    url = run.path(stage, FILE)
    found: list[dict[str, Any]] = files.read_json(url) if files.exists(url) else []
    return found
