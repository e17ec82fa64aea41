"""What the page asks the server, a function a question."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict, ValidationError

from curate import files
from curate.browse import pictures, saved, told
from curate.browse.connection import Cell
from curate.browse.near import NEAREST, map_of, nearest
from curate.browse.opened import Shelf, State
from curate.browse.questions import Place
from curate.browse.selection import Selection, parsed
from curate.errors import CurateError, hidden
from curate.files.stores import told as told_of_store

NEAR = "near"
"""The field of what pairs are to be near to."""
LONGEST = 20_000_000
"""Bytes of what the page sends, at most."""


@dataclass(frozen=True)
class Asked:
    """A question."""

    shelf: Shelf
    selections: str  # the folder that lists are saved to
    fields: Sequence[tuple[str, str]]  # of the address
    at: Mapping[str, object]  # of its path
    body: bytes = b""

    def get(self, name: str, default: str = "") -> str:
        """The last value of a field."""
        return dict(self.fields).get(name, default)

    def selected(self) -> tuple[State, int, Selection]:
        """The runs as they stand, which of them is asked about, and which of its pairs."""
        state, run = self.of()
        return state, run, _selection(state, run, self.fields)

    def of(self) -> tuple[State, int]:
        """The runs as they stand, and which of them is asked about."""
        state = self.shelf.state()
        return state, _number(state, self.get("run", "0"))


@dataclass(frozen=True)
class Reply:
    """An answer."""

    said: told.Json = None
    content: bytes | Iterator[bytes] = b""  # in place of JSON, where it is of another kind
    kind: str = "application/json"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


Answer = Callable[[Asked], Reply]
_NOTHING = Reply("There is no image.", status=404)


class Save(BaseModel):
    """A list to be saved: the pairs that were picked, or else all of a selection."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str
    run: int
    fields: list[tuple[str, str]] = []
    uids: list[str] | None = None
    replace: bool = False


def answered(answer: Answer, asked: Asked) -> Reply:
    """An answer; what cannot be given is said in words."""
    try:
        with told_of_store():
            return answer(asked)
    except CurateError as error:
        return Reply({"error": hidden(str(error))}, status=400)


def _selection(state: State, run: int, fields: Sequence[tuple[str, str]]) -> Selection:
    found = parsed(fields, state.runs[run].pairs, run=run, runs=len(state.runs))
    for name, value in fields:
        if name == NEAR:
            found = found.among(nearest(state, run, value))
    return found


def _number(state: State, number: str) -> int:
    if not number.isdecimal() or int(number) >= len(state.runs):
        raise CurateError(f"run={number}: there are {len(state.runs)}, from 0")
    return int(number)


def _runs(asked: Asked) -> Reply:
    return Reply(told.runs(asked.shelf.state(anew=True)))


def _pairs(asked: Asked) -> Reply:
    state, run, selection = asked.selected()
    near = nearest(state, run, asked.get(NEAR)) if asked.get(NEAR) else {}
    if near and not asked.get("sort"):
        page = state.questions.page(run, selection, limit=2 * NEAREST)
        return Reply(told.cards(state, run, page, near=near))
    page = state.questions.page(
        run, selection, sort=asked.get("sort"), descending=asked.get("order") == "desc",
        after=_after(asked.get("after")),
    )  # fmt: skip
    return Reply(told.cards(state, run, page, near=near))


def _after(text: str) -> list[Cell] | None:
    """The row behind which a page begins: its key, where it is sorted, and its place."""
    if not text:
        return None
    try:
        *key, branch, part, row = found = json.loads(text)
        if not all(type(x) is int for x in (branch, part, row)) or len(key) > 1:
            raise ValueError(text)
        if any(not isinstance(x, str | int | float | None) for x in key):
            raise ValueError(text)
    except (ValueError, TypeError, RecursionError):
        raise CurateError(f"after={text[:80]}: this is no place in the list") from None
    return [*found]


def _groups(asked: Asked) -> Reply:
    return Reply(told.groups(*asked.selected()))


def _histogram(asked: Asked) -> Reply:
    return Reply(told.histogram(*asked.selected(), asked.get("column")))


def _entries(asked: Asked) -> Reply:
    ids = [value for name, value in asked.fields if name == "id"]
    return Reply(told.entries(*asked.of(), asked.get("q"), ids))


def _pair(asked: Asked) -> Reply:
    state, run = asked.of()
    found: list[told.Json] = []
    for i in range(len(state.runs)):
        try:
            found.append({"stories": told.story(state, i, asked.get("uid"))})
        except CurateError as error:
            if i == run and len(state.runs) == 1:
                raise
            found.append({"error": str(error)})
    return Reply({"version": state.version, "runs": found})


def _map(asked: Asked) -> Reply:
    state, run = asked.of()
    return Reply(told.concepts(state, run, map_of(state, run)))


def _uids(asked: Asked) -> Reply:
    state, run, selection = asked.selected()
    name = f"{state.runs[run].name}.txt".encode("ascii", "replace").decode().replace('"', "?")
    return Reply(
        content=saved.lines(state.questions.uids(run, selection)),
        kind="text/plain; charset=utf-8",
        headers={"content-disposition": f'attachment; filename="{name}"'},
    )


def _save(asked: Asked) -> Reply:
    try:
        save = Save.model_validate_json(asked.body)
    except ValidationError as error:
        raise CurateError(error.errors()[0]["msg"]) from None
    state = asked.shelf.state()
    run = _number(state, str(save.run))
    path = saved.place(asked.selections, save.name)
    if not save.replace and files.exists(path):
        return Reply({"path": path, "pairs": None})
    if save.uids is not None:
        uids = iter(saved.chosen(save.uids))
    else:
        uids = state.questions.uids(run, _selection(state, run, save.fields))
    return Reply({"path": path, "pairs": saved.save(path, uids)})


def _image(asked: Asked) -> Reply:
    """An image by where its pair stands, in the runs as the page knows them."""
    state, at = asked.shelf.state(), asked.at
    if at["version"] != state.version:
        return Reply("The run has changed.", status=410)
    run, *of = (int(str(at[name])) for name in ("run", "branch", "part", "row"))
    if run >= len(state.runs):
        return _NOTHING
    if "small" in dict(asked.fields):
        made = pictures.small(state, run, Place(*of))
        return Reply(content=made, kind=pictures.WEBP) if made else _NOTHING
    whole = pictures.whole(state, run, Place(*of))
    return Reply(content=whole[0], kind=whole[1]) if whole else _NOTHING


QUESTIONS: dict[str, Answer] = {
    "/api/runs": _runs,
    "/api/pairs": _pairs,
    "/api/groups": _groups,
    "/api/histogram": _histogram,
    "/api/entries": _entries,
    "/api/pair": _pair,
    "/api/map": _map,
    "/api/uids": _uids,
    "/image/{version}/{run:int}/{branch:int}/{part:int}/{row:int}": _image,
}
"""All that is asked, by path."""
ORDERS: dict[str, Answer] = {"/api/selections": _save}
"""What is done, by path."""
