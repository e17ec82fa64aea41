"""The tables of dedup's verdicts, and the record of them: ``RUN/records/dedup/clusters.json``."""

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from curate import files
from curate.errors import AbsentError, DamagedError
from curate.rundir.directory import CLUSTERS, Run, part_name
from curate.schema import Stage

FILE = "clusters.json"
NAME = files.join(Stage.DEDUP, FILE)
WROTE = "wrote"
"""The key of the content of each table of verdicts, by its name in the run; older runs lack it."""


def document(run: Run) -> dict[str, Any] | None:
    """The content of clusters.json; None where there is no such file."""
    try:
        return files.read_document(run.path(NAME))
    except AbsentError:
        return None


def vouched(run: Run) -> dict[str, files.Content]:
    """The content of each table of verdicts by name, as far as clusters.json lists it."""
    return _vouched(document(run) or {})


def _vouched(found: dict[str, Any]) -> dict[str, files.Content]:
    return {name: files.Content(*content) for name, content in found.get(WROTE, {}).items()}


def vouch(run: Run, held: dict[str, files.Content]) -> None:
    """Record in clusters.json that these tables are to have this content."""
    if held and (found := document(run)):
        files.write_document(run.path(NAME), {**found, WROTE: {**found.get(WROTE, {}), **held}})


def short_tables(run: Run) -> list[str]:
    """The names of the tables that are recorded and are gone or of another size."""
    held = vouched(run)
    return _short(held, files.sizes(run.path(CLUSTERS))) if held else []


def _short(held: dict[str, files.Content], sizes: dict[str, int]) -> list[str]:
    return [name for name, x in held.items() if sizes.get(name.rpartition("/")[2]) != x.size]


def verdicts_stand(run: Run, parts: Iterable[int], *, digest: str) -> bool:
    """Whether the verdicts on these parts are of `digest`, and every table is whole."""
    with suppress(DamagedError):
        found = document(run)
        if found is None or found.get("digest") != digest:
            return False
        held, sizes = _vouched(found), files.sizes(run.path(CLUSTERS))
        urls = (run.part(CLUSTERS, x) for x in parts if part_name(CLUSTERS, x) not in held)
        return not _short(held, sizes) and all(
            files.ends_as_parquet(url, size=sizes.get(url.rpartition("/")[2], 0)) for url in urls
        )
    return False
