"""From a raw pool of (image URL, caption) pairs to balanced WebDataset shards and a report."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from curate import caches
from curate.errors import CurateError

caches.choose()

if TYPE_CHECKING:
    from curate.config import Config
    from curate.library.making import read_config, run
    from curate.library.opened import OpenedRun
    from curate.library.opened import open as open
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
    "Config",
    "CurateError",
    "Matcher",
    "OpenedRun",
    "entry_probs",
    "keep_probability",
    "minhash_signatures",
    "p_to_t",
    "pair_uids",
    "read_config",
    "run",
    "shingle_hash",
    "t_for_size",
    "t_to_p",
    "uniform",
]

# No ``import *`` brings `open`, which would hide Python's own.

_BALANCING = "ops.selection.balancing"
_MODULES = {
    "Batch": "ops.scores.batch",
    "Config": "config",
    "Matcher": "ops.text.matching",
    "OpenedRun": "library.opened",
    "entry_probs": _BALANCING,
    "keep_probability": _BALANCING,
    "minhash_signatures": "ops.duplicates.minhash",
    "open": "library.opened",
    "p_to_t": _BALANCING,
    "pair_uids": "ops.hashing",
    "read_config": "library.making",
    "run": "library.making",
    "shingle_hash": "ops.duplicates.minhash",
    "t_for_size": _BALANCING,
    "t_to_p": _BALANCING,
    "uniform": "ops.hashing",
}


def __getattr__(name: str) -> Any:
    """What takes long to import comes when it is asked for: no command's ``--help`` waits for it."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"curate.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *_MODULES]
