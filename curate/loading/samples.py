"""The samples of a WebDataset pipeline, before or after they are decoded."""

import json
from collections.abc import Mapping
from typing import Any

from curate.errors import CurateError

Sample = dict[str, Any]
"""A pair as WebDataset hands it on: `json` is bytes before it is decoded, and a dict after that."""


def columns_of(sample: Sample) -> dict[str, Any]:
    """The columns of a sample's JSON.

    Raises
    ------
    CurateError
        Where the sample has none.
    """
    found = sample.get("json", sample.get(".json"))
    if isinstance(found, bytes | str):
        found = json.loads(found)
    if not isinstance(found, dict):
        raise CurateError(
            f"sample {sample.get('__key__')}: no json; the stage stands before what takes it out"
        )
    return found


def captions_of(pair: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All captions of a pair, given what its JSON, or its row in the parquet, holds.

    Raises
    ------
    CurateError
        Where it has no list of captions.
    """
    if not pair.get("captions"):
        raise CurateError(
            f"sample {pair.get('key')}: no captions in its json; the shards are not of a run with"
            " `captions`"
        )
    return list(pair["captions"])
