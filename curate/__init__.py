"""From a raw pool of (image URL, caption) pairs to balanced WebDataset shards and a report."""

from curate.errors import CurateError
from curate.ops.balancing import (
    entry_probs,
    keep_probability,
    p_to_t,
    t_for_size,
    t_to_p,
)
from curate.ops.hashing import pair_uids, uniform
from curate.ops.matching import Matcher
from curate.ops.minhash import minhash_signatures, shingle_hash

__all__ = [
    "CurateError",
    "Matcher",
    "entry_probs",
    "keep_probability",
    "minhash_signatures",
    "p_to_t",
    "pair_uids",
    "shingle_hash",
    "t_for_size",
    "t_to_p",
    "uniform",
]
