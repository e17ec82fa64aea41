"""`curate recipes`: the shipped recipes by what they are for."""

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from curate.commands.terminal import one_line_errors, out_console
from curate.config import file as config_file
from curate.errors import CurateError

_LINE = "# For: "


class Purpose(StrEnum):
    """What a recipe is for: the word of the second line of its header, `# For: WORD`."""

    BALANCE = "balance"
    FILTER = "filter"
    DEDUPLICATE = "deduplicate"
    CAPTIONS = "captions"
    DOMAINS = "domains"

    @property
    def heading(self) -> str:
        """What stands over the recipes of this purpose."""
        return _HEADINGS[self]


_HEADINGS = {
    Purpose.BALANCE: "Balance: less of what is common, all of what is rare",
    Purpose.FILTER: "Filter: the better pairs",
    Purpose.DEDUPLICATE: "Deduplicate: one of the pairs that show or mean the same",
    Purpose.CAPTIONS: "Captions: several of a pair, and which one is trained on",
    Purpose.DOMAINS: "Domains: pairs of one subject, source or type of image",
}


@dataclass(frozen=True)
class Recipe:
    """What the header of a recipe says first: its name, its purpose and one sentence."""

    name: str
    purpose: Purpose
    sentence: str


def recipe_at(path: Path) -> Recipe:
    """The first two lines of a recipe's header: one sentence, then `# For: PURPOSE`.

    Raises
    ------
    CurateError
        Where the second line names none of the purposes.
    """
    sentence, line = [*path.read_text(encoding="utf-8").splitlines(), "", ""][:2]
    purpose = line.removeprefix(_LINE)
    if not line.startswith(_LINE) or purpose not in list(Purpose):
        raise CurateError(
            f"{path}: its second line is {line!r}; expected {_LINE!r} and one of"
            f" {', '.join(Purpose)}"
        )
    return Recipe(path.stem, Purpose(purpose), sentence.lstrip("# "))


def recipes(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, not a list.")] = False,
) -> None:
    """List the published recipes that ship with curate, by what they are for."""
    with one_line_errors():
        known = [recipe_at(path) for path in config_file.recipes().values()]
        if as_json:
            print(json.dumps([asdict(one) for one in known], ensure_ascii=False, indent=1))
            return
        width = max(len(one.name) for one in known)
        for purpose in Purpose:
            out_console.print(Text(purpose.heading, style="bold"))
            for one in known:
                if one.purpose is purpose:
                    line = Text(f"  {one.name:{width}}  {one.sentence}")
                    line.truncate(out_console.width, overflow="ellipsis")
                    out_console.print(line)
            out_console.print()
        out_console.print("To start from one: curate config --recipe NAME > my.yaml")


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(recipes)
