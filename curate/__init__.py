"""From a raw pool of (image URL, caption) pairs to balanced WebDataset shards and a report."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from curate import caches
from curate.errors import CurateError

caches.choose()

if TYPE_CHECKING:
    from curate.ops.duplicates.minhash import minhash_signatures, shingle_hash
    from curate.ops.hashing import pair_uids, uniform
    from curate.ops.scores.batch import Batch
    from curate.ops.selection.balancing import (
        entry_probs,
        keep_probability,
        p_to_t,
        t_for_size,
        t_to_p,
    )
    from curate.ops.text.matching import Matcher

__all__ = [
    "Batch",
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

_MODULES = {
    "Batch": "scores.batch",
    "Matcher": "text.matching",
    "minhash_signatures": "duplicates.minhash",
    "pair_uids": "hashing",
    "shingle_hash": "duplicates.minhash",
    "uniform": "hashing",
}


def __getattr__(name: str) -> Any:
    """The kernels come when they are asked for: no command's ``--help`` waits for their compiler."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"curate.ops.{_MODULES.get(name, 'selection.balancing')}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
