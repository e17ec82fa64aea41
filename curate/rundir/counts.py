"""What a trainer samples pairs by: the counts of the entries that they match, beside the shards.

``shards/counts.npz`` is there where all pairs that reached the balance are written: whoever has the
shards alone can take from them what any t keeps.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from curate import files
from curate.rundir.directory import Run
from curate.schema import MATCHES, Stage

COUNTS = "counts.npz"
"""The file beside the shards."""
_ON = "on"
_OF = "of "  # and the language: the name of an array of counts


@dataclass(frozen=True)
class Sampling:
    """The counts of a run's entries, and the draw that its own balance made."""

    counts: dict[str, NDArray[np.int64]]  # by language
    seed: int
    reference: str  # the language whose t is given
    on: str = MATCHES  # the column with the ids of a pair's entries


def of_run(run: Run, *, seed: int, reference: str, on: str) -> Sampling:
    """What the balance of a run counted."""
    table = files.read_table(
        run.path(Stage.BALANCE, "entries.parquet"), columns=["language", "count"]
    )
    counts = {
        language: table["count"].filter(pc.equal(table["language"], language)).to_numpy()
        for language in files.read_json(run.path(Stage.BALANCE, "thresholds.json"))
    }
    return Sampling(counts, seed, reference, on)


def write(run: Run, sampling: Sampling) -> None:
    """Write `COUNTS` beside the shards of a run."""
    arrays: dict[str, Any] = {_OF + x: found for x, found in sampling.counts.items()}
    arrays |= {} if sampling.on == MATCHES else {_ON: sampling.on}
    files.write_arrays(
        run.path(Stage.SHARDS, COUNTS),
        seed=str(sampling.seed), reference=sampling.reference, **arrays,
    )  # fmt: skip


def read(url: str) -> Sampling:
    """What `write` wrote.

    Raises
    ------
    DamagedError
        Where the file is no such one.
    """
    held = files.read_arrays(url)
    counts = {name.removeprefix(_OF): x for name, x in held.items() if name.startswith(_OF)}
    on = str(held[_ON]) if _ON in held else MATCHES
    return Sampling(counts, int(held["seed"]), str(held["reference"]), on)
