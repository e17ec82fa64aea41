"""Counts of concepts as files: a table of names, a document of concepts, the name of each."""

import io
import json
from typing import Any

import pyarrow as pa
from pyarrow import csv

from curate import files
from curate.concepts.counting import Frequencies

ENDINGS = (".csv", ".parquet", ".json")
"""Of the files that `write_counts` writes."""


def write_counts(found: Frequencies, url: str) -> None:
    """Write the counts as the ending of `url` says: a row a name; in JSON a concept and its names."""
    if url.lower().endswith(".json"):
        files.write_bytes(url, _json(documents(found)))
    else:
        write_rows(found.table, url)


def write_rows(table: pa.Table, url: str) -> None:
    """Write a table as parquet or, by its name, as CSV."""
    if url.lower().endswith(".parquet"):
        files.write_table(url, table)
        return
    written = io.BytesIO()
    csv.write_csv(table, written)
    files.write_bytes(url, written.getvalue())


def write_named(found: Frequencies, url: str) -> None:
    """Write the most frequent name of each concept, as a JSON object."""
    files.write_bytes(url, _json(found.named()))


def _json(document: dict[str, Any]) -> bytes:
    return (json.dumps(document, ensure_ascii=False, indent=1) + "\n").encode()


def documents(found: Frequencies) -> dict[str, dict[str, Any]]:
    """Each concept with its counts and its names, the most frequent concept first."""
    concepts, prompts = found.concepts, found.named()
    starts, counts = concepts.starts.tolist(), found.of_names.tolist()
    told: dict[str, dict[str, Any]] = {}
    for at in found.rarest[::-1].tolist():
        concept, own = concepts.concepts[at], range(starts[at], starts[at + 1])
        pool, kept = found.of_concepts[at].tolist()
        told[concept] = {
            "name": prompts[concept], "pool": pool, "kept": kept,
            "share": float(concepts.shares[at]),
            "frequency": float(found.frequency[at, 0]),
            "kept_frequency": float(found.frequency[at, 1]),
            "tail": bool(found.tail[at]),
            "names": {concepts.names[x]: {"pool": counts[x][0], "kept": counts[x][1]} for x in own},
        }  # fmt: skip
    return told
