"""`curate hash`: the hashes of an evaluation set, for `decontaminate`."""

from typing import Annotated

import typer

from curate.commands.terminal import one_line_errors, out_console
from curate.errors import CurateError


def hash_(
    sets: Annotated[
        list[str],
        typer.Argument(
            metavar="SET...",
            help="Folders of images, images, WebDataset .tar files, captions as .parquet or .txt.",
        ),
    ],
    out: Annotated[str, typer.Option("--out", metavar="FILE", help="The .parquet to write.")],
    config: Annotated[
        str | None,
        typer.Option(metavar="CONFIG", help="Also embed the images as a run of this config does."),
    ] = None,
) -> None:
    """Hash an evaluation set, so that a run can drop the pairs that are in it.

    The file holds an item a row: its name, hashes of its image and of its caption, and neither of
    them. A run takes it as: decontaminate: {against: [FILE]}. With the run's --config it has
    embeddings too, for decontaminate.embedding_similarity.
    """
    from curate.config import file as config_file
    from curate.evaluation import Embedder, hash_sets

    with one_line_errors():
        if not out.endswith(".parquet"):
            raise CurateError(f"--out {out}: expected the name of a .parquet file")
        embedder = Embedder.of(config_file.load(config)) if config else None
        found = hash_sets(tuple(sets), out=out, embedder=embedder)
        embedded = f", {found.embedded:,} embeddings" if found.embedded is not None else ""
        out_console.print(
            f"{found.items:,} items, {found.images:,} images"
            f" ({found.images - found.perceptual:,} of them without a perceptual hash),"
            f" {found.captions:,} captions{embedded}  {out}"
        )


def add_to(app: typer.Typer) -> None:
    """Add this command to `app`."""
    app.command(name="hash")(hash_)
