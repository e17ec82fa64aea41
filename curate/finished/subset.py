"""A run's kept pairs as a DataComp subset file: uids, sorted, ``.npy`` of dtype ``u8,u8``.

Each is listed once, or as often as soft cap sampling drew it.

The two fields are the upper and the lower half of the 128-bit uid. Uids are spooled to local disk
by their leading bits and sorted a bucket at a time, so memory does not grow with the run.
"""

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.lib.format import write_array_header_1_0
from numpy.typing import NDArray

from curate import files
from curate.files.stores import told_of_temporary
from curate.ops.selection.uids import DTYPE, halves, is_in_subset
from curate.rundir.directory import Run
from curate.schema import SOFT_CAP

_TOGETHER = 1 << 22
"""Uids that are sorted at once, about."""


class Subset(NamedTuple):
    """What a subset file lists."""

    pairs: int
    uids: int  # fewer, where pairs have the same one; more, where they were drawn several times


def write_subset(
    run: Run, folder: str, target: str, *, only: NDArray[np.uint64] | None = None
) -> Subset:
    """Write the uids of the pairs that `folder` of the run kept to `target`, each once or by weight.

    Where `only` are uids, as `open_subset` gives them, the others are left out. DataComp's resharder
    copies a sample as often as its uid is listed.
    """
    total = sum(record.kept for _, record in run.records(folder))
    pairs = 0
    bits = max(0, (total - 1) // _TOGETHER).bit_length()
    with files.atomic_write(target) as file, ExitStack() as held:
        with told_of_temporary(), ExitStack() as stack:
            spool = held.enter_context(tempfile.TemporaryDirectory())
            buckets = [Path(spool, f"{i}") for i in range(1 << bits)]
            opened = [stack.enter_context(bucket.open("wb")) for bucket in buckets]
            for table in run.tables(folder, present={"uid", *SOFT_CAP.names}):
                uids = halves(table["uid"])
                times = np.ones(len(uids), np.uint64)
                if "weight" in table.column_names:
                    times = table["weight"].to_numpy().astype(np.uint64)
                rows = np.column_stack([uids, times])
                if only is not None:
                    rows = rows[is_in_subset(table["uid"], only)]
                pairs += len(rows)
                place = rows[:, 0] >> np.uint64(64 - bits) if bits else np.zeros(len(rows))
                for i in np.unique(place):
                    opened[int(i)].write(rows[place == i].tobytes())
        written = 0
        for bucket in buckets:
            found = np.fromfile(bucket, np.uint64).reshape(-1, 3)
            found = found[np.lexsort((found[:, 1], found[:, 0]))]
            first = np.ones(len(found), np.bool_)
            first[1:] = (found[1:, :2] != found[:-1, :2]).any(axis=1)
            listed = np.repeat(found[first, :2], found[first, 2].astype(np.int64), axis=0)
            listed.tofile(bucket)
            written += len(listed)
        header = {"descr": DTYPE.descr, "fortran_order": False, "shape": (written,)}
        write_array_header_1_0(file, header)
        for bucket in buckets:
            file.write(bucket.read_bytes())
    return Subset(pairs, written)
