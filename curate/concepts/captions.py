"""The captions of a part's pairs: those that they came with, and those that are in the set."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from curate.concepts.names import Concepts
from curate.ops.captions import flattened, pairs_of

COLUMN = "captions"


@dataclass(frozen=True)
class Named:
    """The matches of some pairs: row and number of each, each once, ascending."""

    names: tuple[NDArray[np.int64], NDArray[np.int64]]
    concepts: tuple[NDArray[np.int64], NDArray[np.int64]]


def named_in(pairs: pa.Table, concepts: Concepts, *, written: bool) -> Named:
    """The names and concepts in the captions of each row: any of them counts, once.

    With `written` those count that are in the set: a caption that was left out is not, and one that
    a duplicate lent is. Else those count that the pair itself came with.
    """
    texts, owners = pairs["caption"], None
    if COLUMN in pairs.column_names:
        each, starts = flattened(pairs[COLUMN])
        counts = pc.is_null(each.field("reason")) if written else _own(each)
        owners = pairs_of(starts)[np.asarray(counts)]
        of_lists = each.field("caption").filter(counts)
        alone = np.flatnonzero(
            np.diff(starts) == 0
        )  # it left before its captions were put together
        texts = pa.concat_arrays([of_lists, texts.take(pa.array(alone)).combine_chunks()])
        owners = np.concatenate([owners, alone])
    names = concepts.matcher.names_in(texts, owners=owners)
    return Named(names, concepts.matcher.concepts_of(*names)[:2])


def _own(each: pa.StructArray) -> pa.Array:
    """Which captions their pair came with."""
    if each.type.get_field_index("uid") < 0:
        return pa.array(np.ones(len(each), np.bool_))
    return pc.is_null(each.field("uid"))
