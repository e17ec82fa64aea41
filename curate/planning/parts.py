"""RUN/input/parts.json: the parts of a pool, and what is known of its files."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from curate import files
from curate.config import Config
from curate.errors import DamagedError
from curate.planning.inputs import Contents, Input, Known
from curate.rundir.directory import Part, Run

FORMAT = 4
"""Raised when the copies change shape, so that older ones are made again."""


@dataclass(frozen=True)
class Cut:
    """The parts of a pool, and what of it could not be read."""

    parts: tuple[Part, ...]
    rows: tuple[int, ...]  # of each input file
    bad: tuple[str, ...] = ()  # the first row that cannot be read, in words
    bad_rows: int = 0
    unreadable: tuple[str, ...] = ()  # a message for each file that cannot, or not to its end


def write_parts(
    run: Run, found: Cut, inputs: tuple[Input, ...], *, contents: Contents, digests: Sequence[str]
) -> None:
    """Write parts.json, with the content of the pool's files.

    `digests` are those of the pool as of each wave; of one that has grown also its files are noted.
    """
    paths = [one["path"] for one in inputs]
    stored = {**document_of(found), "format": FORMAT, "digest": digests[-1], "paths": paths,
              "contents": contents.known}  # fmt: skip
    if len(digests) > 1:
        stored |= {"digests": list(digests), "inputs": list(inputs)}
    files.write_document(run.path("input", "parts.json"), stored)


def pool_digest(input_digest: str, config: Config) -> str:
    """The digest of a pool's parts: of its files, and of the columns that travel with them."""
    kept = config.input.columns.kept
    return files.digest_of(input_digest, kept) if kept else input_digest


def parts_digest(run: Run) -> str | None:
    """The digest of a run's parts; None where it has none."""
    url = run.path("input", "parts.json")
    with suppress(DamagedError):
        if files.exists(url):
            return str(files.read_document(url).get("digest"))
    return None


def note_copies(run: Run, held: dict[str, files.Content]) -> None:
    """Update in parts.json the content of the run's own copies of the pool, given by name."""
    url = run.path("input", "parts.json")
    found = files.read_document(url)
    now = [
        {**part, "copy": held.get(name_of(part["path"]), part["copy"])}
        if part.get("copy")
        else part
        for part in found["parts"]
    ]
    files.write_document(url, {**found, "parts": now})


def read_parts(run: Run, inputs: tuple[Input, ...], input_digest: str) -> Cut | None:
    """The parts that stand; None where they are none, or of another pool, or a copy is damaged.

    `input_digest` may be that of an earlier wave of `inputs`.
    """
    found = _stored(run, inputs, input_digest)
    whole = cut_of(run, found) if found else None
    return whole if whole and are_whole(whole, files.sizes(run.path("input"))) else None


def standing_cuts(
    run: Run, inputs: tuple[Input, ...], input_digest: str, *, sizes: Mapping[str, int]
) -> dict[str, dict[str, Any]]:
    """The cut of each file of the pool of which no copy is damaged, by path.

    `sizes` are those of the copies. None where rows could not be read: it is not noted of which file.
    """
    found = _stored(run, inputs, input_digest)
    if found is None or found["bad_rows"] or found["unreadable"]:
        return {}
    parts: dict[str, list[dict[str, Any]]] = {path: [] for path in found["paths"]}
    for part in found["parts"]:
        path = found["paths"][_file_of(part["path"])] if part["staged"] else part["path"]
        parts[path].append({**part, "index": len(parts[path])})
    documents = {
        path: document_of(Cut((), (rows,))) | {"parts": parts[path]}
        for path, rows in zip(found["paths"], found["rows"], strict=True)
    }
    return {path: one for path, one in documents.items() if are_whole(cut_of(run, one), sizes)}


def _stored(run: Run, inputs: tuple[Input, ...], input_digest: str) -> dict[str, Any] | None:
    """The content of parts.json; None where it is not of this pool."""
    url = run.path("input", "parts.json")
    if not files.exists(url):
        return None
    try:
        found = files.read_document(url)
    except DamagedError:
        return None  # split again
    if found.get("format") != FORMAT:
        return None
    if found.get("digest") != input_digest:
        if input_digest not in found.get("digests", ()):
            return None
        found = _until(found, wave=found["digests"].index(input_digest))
    in_place = any(part["images"] or not part["staged"] for part in found["parts"])
    if in_place and found["paths"] != [one["path"] for one in inputs[: len(found["paths"])]]:
        return None  # the pool has moved
    return found


def _until(found: dict[str, Any], *, wave: int) -> dict[str, Any]:
    """The content of parts.json without later waves, nor what could not be read: the run tells that."""
    n = sum(one.get("wave", 0) <= wave for one in found["inputs"])
    parts = [part for part in found["parts"] if part.get("wave", 0) <= wave]
    none = {"bad": [], "bad_rows": 0, "unreadable": []}
    return {**found, **none, "parts": parts, "paths": found["paths"][:n], "rows": found["rows"][:n]}


def are_whole(found: Cut, sizes: Mapping[str, int]) -> bool:
    """Whether the copies of a cut have the sizes that were written, by what there is, by name."""
    return all(sizes.get(name_of(x.path)) == x.copy.size for x in found.parts if x.copy)


def document_of(found: Cut) -> dict[str, Any]:
    """A `Cut` as a document."""
    return {**vars(found), "parts": [vars(part) for part in found.parts]}


def cut_of(run: Run, found: dict[str, Any]) -> Cut:
    """A `Cut` that was made a document; its copies have the path that the run has today."""
    parts = tuple(
        Part(**{
            **part,
            "path": run.path("input", name_of(part["path"])) if part["staged"] else part["path"],
            "copy": files.Content(*part["copy"]) if part.get("copy") else None,
        })
        for part in found["parts"]
    )  # fmt: skip
    return Cut(
        parts, tuple(found["rows"]), tuple(found["bad"]), found["bad_rows"],
        tuple(found["unreadable"]),
    )  # fmt: skip


def stored_inputs(run: Run) -> list[Input]:
    """The files of the pool as they were noted with the parts; none of a pool that has not grown."""
    url = run.path("input", "parts.json")
    with suppress(DamagedError):
        if files.exists(url):
            held: list[Input] = files.read_document(url).get("inputs", [])
            return held
    return []


def known_contents(run: Run) -> dict[str, Known]:
    """What was noted of the contents of the pool's files when the parts of a run were cut."""
    url = run.path("input", "parts.json")
    with suppress(DamagedError):
        if files.exists(url):
            known = files.read_document(url).get("contents", {})
            return {path: Known(*one) for path, one in known.items()}
    return {}


def name_of(path: str) -> str:
    """The name of a copy, from its path."""
    return path.rpartition("/")[2]


def _file_of(path: str) -> int:
    """The number of the file in the pool that a copy is of."""
    return int(name_of(path).split("-")[1])


def source_of(run: Run, part: Part) -> tuple[str, int]:
    """The file of the pool that a part is of, and how many of its rows come before the part."""
    if not part.staged:
        return part.path, part.start
    found = files.read_document(run.path("input", "parts.json"))

    of_file = _file_of(part.path)
    before = (
        one["rows"]
        for one in found["parts"]
        if one["index"] < part.index and one["staged"] and _file_of(one["path"]) == of_file
    )
    return found["paths"][of_file], sum(before)
