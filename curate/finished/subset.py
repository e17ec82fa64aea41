"""A run's kept pairs as a DataComp subset file: each uid once, sorted, ``.npy`` of dtype ``u8,u8``.

The two fields are the upper and the lower half of the 128-bit uid. Uids are spooled to local disk
by their leading bits and sorted a bucket at a time, so memory does not grow with the run.
"""

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.lib.format import write_array_header_1_0

from curate import files
from curate.files.stores import told_of_temporary
from curate.ops.selection.uids import DTYPE, halves
from curate.run.directory import Run

_TOGETHER = 1 << 22
"""Uids that are sorted at once, about."""


class Subset(NamedTuple):
    """What a subset file lists."""

    pairs: int
    uids: int  # fewer, where pairs have the same one


def write_subset(run: Run, folder: str, target: str) -> Subset:
    """Write the uids of the pairs that `folder` of the run kept to `target`, each once.

    DataComp's resharder copies a sample as often as its uid is listed.
    """
    total = sum(record.kept for _, record in run.records(folder))
    bits = max(0, (total - 1) // _TOGETHER).bit_length()
    with files.atomic_write(target) as file, ExitStack() as held:
        with told_of_temporary(), ExitStack() as stack:
            spool = held.enter_context(tempfile.TemporaryDirectory())
            buckets = [Path(spool, f"{i}") for i in range(1 << bits)]
            opened = [stack.enter_context(bucket.open("wb")) for bucket in buckets]
            for table in run.tables(folder, columns=["uid"]):
                uids = halves(table["uid"])
                place = uids[:, 0] >> np.uint64(64 - bits) if bits else np.zeros(len(uids))
                for i in np.unique(place):
                    opened[int(i)].write(uids[place == i].tobytes())
        written = 0
        for bucket in buckets:
            found = np.fromfile(bucket, DTYPE)
            found = found[np.lexsort((found["f1"], found["f0"]))]
            first = np.ones(len(found), np.bool_)
            first[1:] = found[1:] != found[:-1]
            found[first].tofile(bucket)
            written += int(first.sum())
        header = {"descr": DTYPE.descr, "fortran_order": False, "shape": (written,)}
        write_array_header_1_0(file, header)
        for bucket in buckets:
            file.write(bucket.read_bytes())
    return Subset(total, written)
