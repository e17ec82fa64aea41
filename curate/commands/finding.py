"""`curate find` and `curate index`: the pairs nearest to a text or an image; embeddings for others."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from curate import files
from curate.commands.terminal import (
    error_console,
    many,
    one_line_errors,
    out_console,
    reading,
    tell_incomplete,
)
from curate.errors import CurateError
from curate.reasons import RULE_PREFIX

if TYPE_CHECKING:
    from curate.finding.search import Found, Which


_MANY = 200_000
"""Vectors whose index takes a while to build."""
_WIDE = 60  # characters of a caption


class By(StrEnum):
    """What of a pair is compared with what is looked for."""

    IMAGE = "image"
    CAPTION = "caption"
    BOTH = "both"


def find(
    run_directory: Annotated[str, typer.Argument(metavar="RUN", help="A run.")],
    text: Annotated[str | None, typer.Argument(help="What to look for, in words.")] = None,
    image: Annotated[
        str | None, typer.Option("--image", metavar="FILE", help="An image to look for instead.")
    ] = None,
    k: Annotated[int, typer.Option("-k", help="Pairs to find.")] = 20,
    by: Annotated[
        By,
        typer.Option(
            help="What of a pair is compared: its image, its caption, or the mean of both."
        ),
    ] = By.IMAGE,
    kept: Annotated[bool, typer.Option("--kept", help="Only pairs that were kept.")] = False,
    dropped: Annotated[
        bool, typer.Option("--dropped", help="Only pairs that were dropped once they were scored.")
    ] = False,
    all_: Annotated[bool, typer.Option("--all", help="Both; the default.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print them as JSON.")] = False,
    export: Annotated[
        str | None,
        typer.Option(
            "--export",
            metavar="FILE",
            help="Write their uids, for `revoke --list`; as .npy for `prepare.uids_in`.",
        ),
    ] = None,
) -> None:
    """Show the pairs of a run nearest to a text or an image, and what became of each.

    The run has to store embeddings (score.embeddings: true); texts and images are embedded by its own
    model. The index is built by the first search, beside the embeddings.
    """
    from curate.finding.search import Search
    from curate.ops.selection.uids import save_uids
    from curate.rundir.borrowed import open_run

    with one_line_errors():
        if kept + dropped + all_ > 1:
            raise CurateError("give one of --kept, --dropped and --all")
        which: Which = "kept" if kept else "dropped" if dropped else "all"
        if text is not None and image is not None:
            raise CurateError("give a text to look for or --image FILE, not both")
        if image is None and not (text or "").strip():
            raise CurateError('give a text to look for, as in "a red bicycle", or --image FILE')
        content = _image(image) if image is not None else None
        run = open_run(run_directory, for_few=True)
        with reading(run):
            tell_incomplete(run)
            search = Search(run)
            if (n := search.missing(by.value)) > _MANY:
                error_console.print(f"building the index of {n:,} vectors, once ...")
            found = search.nearest(text=text, image=content, k=k, by=by.value, which=which)
        if export is not None:
            save_uids(files.absolute(export), [one.uid for one in found])
        if as_json:
            print(json.dumps([asdict(one) for one in found], indent=2))
        else:
            out_console.print(_table(found, column=search.embeddings.column))
            if export is not None:
                out_console.print(f"uids  {export}  ({len({x.uid for x in found}):,})")


class Format(StrEnum):
    """What `curate index` writes."""

    CLIP_RETRIEVAL = "clip-retrieval"
    FAISS = "faiss"
    LANCE = "lance"
    PARQUET = "parquet"


def index(
    run_directory: Annotated[str, typer.Argument(metavar="RUN", help="A run.")],
    format_: Annotated[
        Format,
        typer.Option(
            "--format",
            help="clip-retrieval: embeddings, metadata and indexes as its back end loads them. faiss:"
            " an index of images, one of captions, and the pair of each row. lance, parquet: tables.",
        ),
    ],
    out: Annotated[str, typer.Option("--out", metavar="DIR", help="The new folder.")],
    kept: Annotated[bool, typer.Option("--kept", help="Only pairs that were kept.")] = False,
) -> None:
    """Write the embeddings that a run stores for other tools, with what became of each pair.

    What --out holds is a copy, which nothing changes afterwards: after `curate revoke` write it again.
    """
    from curate.finding.search import Search
    from curate.finding.writing import write
    from curate.rundir.borrowed import open_run

    with one_line_errors():
        run = open_run(run_directory)
        tell_incomplete(run)
        with reading(run):
            rows = write(Search(run), format_.value, out, kept=kept)
        out_console.print(f"{format_}  {out}  ({many(rows, 'pair')})")


def _image(path: str) -> bytes:
    from curate.ops.images.levels import trainer_pixels

    content = files.read_bytes(files.absolute(path))
    if trainer_pixels(content) is None:
        raise CurateError(f"--image {path}: it is no image that can be decoded")
    return content


def _table(found: Sequence["Found"], *, column: str) -> Table:
    """The pairs in a table: how near, what became of them, where they lie."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("near", column, "verdict", "shard, key", "uid", "caption"):
        right = heading in ("near", column)
        table.add_column(heading, justify="right" if right else "left", no_wrap=True)
    for one in found:
        told = one.reason.removeprefix(RULE_PREFIX)
        verdict = one.verdict if not one.reason else f"{one.verdict} by {one.stage}: {told}"
        table.add_row(
            f"{one.similarity:.3f}",
            "-" if one.score is None else f"{one.score:.3f}",
            verdict,
            f"{one.shard} {one.key}" if one.shard else "-",
            one.uid,
            _short(one.caption or "(no caption)"),
        )
    return table


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _WIDE else f"{text[: _WIDE - 1]}…"


def add_to(app: typer.Typer) -> None:
    """Add these commands to `app`."""
    app.command()(find)
    app.command()(index)
