"""`curate peek`: some samples of a set, in the terminal and as a contact sheet."""

import shlex
from typing import Annotated

import typer
from rich.cells import cell_len, set_cell_size

from curate.commands.terminal import one_line_errors, out_console, shown
from curate.errors import CurateError

_WIDEST = 160
"""Cells of a line, at most: in a file, too."""
_NARROWEST = 20
_LETTERS = 400
"""Characters of a caption on a contact sheet."""


def peek(
    shards: Annotated[
        str,
        typer.Argument(
            metavar="SHARDS|RUN", help="A run, a folder, a glob, {000..099}.tar, a tar."
        ),
    ],
    n: Annotated[int, typer.Argument(metavar="[N]", help="How many samples.")] = 10,
    random: Annotated[
        int | None,
        typer.Option("--random", metavar="SEED", help="Draw them of all, in place of the first."),
    ] = None,
    sheet: Annotated[
        str | None,
        typer.Option(
            "--sheet", metavar="FILE", help="Also write a contact sheet: .html, .png, .jpg."
        ),
    ] = None,
) -> None:
    """Show samples of shards, ours or others': key, size of the image, score, and caption."""
    from curate.checking.peek import drawn, first
    from curate.checking.sets import find
    from curate.checking.sheet import SHEETS, Card, write_sheet

    with one_line_errors():
        if n < 1:
            raise CurateError(f"{n} samples: expected 1 or more")
        if sheet is not None and not sheet.lower().endswith(SHEETS):
            raise CurateError(
                f"--sheet {sheet}: expected the name of a file in {', '.join(SHEETS)}"
            )
        tasks = find([shards]).tasks
        found = first(tasks, n) if random is None else drawn(tasks, n, seed=abs(random))
        if not found:
            check = f"no sample can be read; check it by: curate verify {shlex.quote(shards)}"
            raise CurateError(f"{shards}: {check if tasks else 'the set is empty'}")
        rows = []
        for one in found:
            score = "" if one.score is None else f"{one.score:.3f}"
            rows.append((_fit(one.key, 40), one.size, score, one.text))
        widths = [max((cell_len(row[k]) for row in rows), default=0) for k in range(3)]
        left = min(out_console.width, _WIDEST) - sum(widths) - 6
        for key, size, score, text in rows:
            head = f"{_padded(key, widths[0])}  {size:>{widths[1]}}  {score:>{widths[2]}}"
            out_console.print(f"{head}  {_fit(text, max(left, _NARROWEST))}")
        if sheet is not None:
            cards = [
                Card(
                    shown(one.key),
                    f"{size} {score}".strip(),
                    _one_line(one.text, _LETTERS),
                    one.image,
                )
                for one, (_, size, score, _) in zip(found, rows, strict=True)
            ]
            write_sheet(sheet, cards)
            out_console.print(f"sheet  {sheet}")


def _one_line(text: str, letters: int) -> str:
    """At most so many characters of a text, on one line, none of which does anything but show."""
    line = shown(" ".join(text[: 2 * letters].split()))
    return line if len(line) <= letters else f"{line[: letters - 1]}…"


def _fit(text: str, width: int) -> str:
    """As much of a text as `width` cells of a terminal show."""
    line = _one_line(text, 2 * width)
    return line if cell_len(line) <= width else f"{set_cell_size(line, width - 1)}…"


def _padded(text: str, width: int) -> str:
    return text + " " * (width - cell_len(text))


def add_to(app: typer.Typer) -> None:
    """Add this command to `app`."""
    app.command()(peek)
