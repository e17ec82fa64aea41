"""The tables of dedup's verdicts, and what vouches for them: ``RUN/records/dedup/clusters.json``."""

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from curate import files
from curate.errors import DamagedError
from curate.run.directory import CLUSTERS, Run, part_name
from curate.schema import Stage

FILE = "clusters.json"
NAME = files.join(Stage.DEDUP, FILE)
WROTE = "wrote"
"""The key that says what each table of verdicts holds, by its name in the run; older runs lack it."""


def document(run: Run) -> dict[str, Any] | None:
    """What stands in clusters.json; None where there is none."""
    url = run.path(NAME)
    return files.read_document(url) if files.exists(url) else None


def vouched(run: Run) -> dict[str, files.Content]:
    """What each table of verdicts holds, by name, as far as clusters.json says."""
    held = (document(run) or {}).get(WROTE, {})
    return {name: files.Content(*content) for name, content in held.items()}


def vouch(run: Run, held: dict[str, files.Content]) -> None:
    """Make clusters.json say that these tables are to hold this."""
    if held and (found := document(run)):
        files.write_document(run.path(NAME), {**found, WROTE: {**found.get(WROTE, {}), **held}})


def short_tables(run: Run, parts: Iterable[int]) -> list[str]:
    """The names of the tables of these parts that are gone or not of their size.

    Of those that nothing vouches for, of an older run, the ones that end before their end.
    """
    held, sizes = vouched(run), files.sizes(run.path(CLUSTERS))
    found = []
    for index in parts:
        name, url = part_name(CLUSTERS, index), run.part(CLUSTERS, index)
        size = sizes.get(url.rpartition("/")[2], 0)
        whole = size == held[name].size if name in held else files.ends_as_parquet(url, size=size)
        if not whole:
            found.append(name)
    return found


def verdicts_stand(run: Run, parts: Iterable[int], *, digest: str) -> tuple[bool, list[str]]:
    """Whether the verdicts on these parts are those of `digest`, and the files that are damaged."""
    with suppress(DamagedError):
        found = document(run)
        if found is None or found["digest"] != digest:
            return False, []
        short = short_tables(run, parts)
        return not short, short
    return False, [NAME]
