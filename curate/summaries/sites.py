"""What is counted of the web: the set's pairs by host, and opt-outs by what asked for them."""

import pyarrow as pa
import pyarrow.compute as pc

from curate.ops.urls import host_names
from curate.reasons import LISTED
from curate.schema import Column
from curate.summaries.tallies import BY_HOST, HOST_COLUMNS, summed

IN_THE_SET = "in the set"
"""The outcome by host of a pair that the last stage keeps; its bytes are those of the original."""
NO_HOST = ""
"""The host of such a pair whose URL has none."""
LONGEST = 253
"""Characters of a host at most; what is longer is no name, and is cut."""
LIST = "list"
"""The signal of a pair that an opt-out list names; of others it is the ledger's value."""


def in_the_set(kept: pa.Table) -> pa.Table:
    """Pairs and bytes by host of the pairs that the last stage keeps."""
    ones = pa.repeat(1, len(kept))
    hosts = pc.utf8_slice_codeunits(pc.fill_null(host_names(kept["url"]), NO_HOST), 0, LONGEST)
    sizes = pc.fill_null(kept["image_bytes"].cast(pa.int64()), 0)
    columns = [hosts, pa.repeat(IN_THE_SET, len(kept)), ones, sizes]
    return summed(pa.table(columns, [*HOST_COLUMNS]), BY_HOST)


def signals(values: Column) -> Column:
    """What asked that an image is not used, of the ledger's values; all entries of lists are one."""
    return pc.if_else(pc.fill_null(pc.starts_with(values, LISTED), False), LIST, values)
