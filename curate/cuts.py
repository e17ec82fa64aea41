"""The cuts that a run's quantile rules led to: ``RUN/STAGE/quantiles.json``."""

from collections.abc import Mapping
from typing import Any

from curate import files
from curate.ops.quantiles import Cuts, Group, Quantile
from curate.run import Run
from curate.schema import Stage

FILE = "quantiles.json"


def write_cuts(cuts: Cuts, *, target: str) -> None:
    """Write `cuts` to the file `target`."""
    document = [
        {
            "column": quantile.column,
            "top_fraction": quantile.fraction,
            "per": quantile.per,
            "group": group,
            "pairs": cut.pairs,
            "cut": cut.value,
        }
        for (quantile, group), cut in cuts.items()
    ]
    files.write_json(target, document)


def read_cuts(run: Run, stage: Stage) -> Mapping[Group, float | int]:
    """The cuts that the run took at `stage`; none where no rule asked for one."""
    url = run.path(stage, FILE)
    found: list[dict[str, Any]] = files.read_json(url) if files.exists(url) else []
    return {
        (Quantile(one["column"], one["top_fraction"], one["per"]), one["group"]): one["cut"]
        for one in found
    }
