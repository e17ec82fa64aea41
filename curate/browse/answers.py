"""What the page asks the server, a function a question."""

import json
from collections.abc import Callable
from typing import TypeAlias

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from curate.browse import pictures, saved, told
from curate.browse.connection import Cell
from curate.browse.opened import Shelf, State
from curate.browse.questions import Place
from curate.browse.selection import Selection, parsed
from curate.errors import CurateError, hidden
from curate.files.stores import told as told_of_store

Answer: TypeAlias = Callable[[Request], Response]
_LONGEST = 20_000_000  # bytes of what the page sends


class Save(BaseModel):
    """A list to be saved: the pairs that were picked, or else all of a selection."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str
    run: int
    fields: list[tuple[str, str]] = []
    uids: list[str] | None = None
    replace: bool = False


def routes() -> list[Route]:
    """All questions, by path."""
    asked: dict[str, Answer] = {
        "/api/runs": _runs,
        "/api/pairs": _pairs,
        "/api/groups": _groups,
        "/api/histogram": _histogram,
        "/api/entries": _entries,
        "/api/pair": _pair,
        "/api/uids": _uids,
        "/image/{version}/{run:int}/{branch:int}/{part:int}/{row:int}": _image,
    }
    found = [Route(path, _safe(answer)) for path, answer in asked.items()]
    return [*found, Route("/api/selections", _save, methods=["POST"])]


def _safe(answer: Answer) -> Answer:
    """An answer; what it cannot give is said in words."""

    def safe(request: Request) -> Response:
        try:
            with told_of_store():
                return answer(request)
        except CurateError as error:
            return JSONResponse({"error": hidden(str(error))}, status_code=400)

    return safe


def _shelf(request: Request) -> Shelf:
    shelf: Shelf = request.app.state.shelf
    return shelf


def _asked(request: Request) -> tuple[State, int, Selection]:
    state = _shelf(request).state()
    run = _of(state, request.query_params.get("run", "0"))
    fields = request.query_params.multi_items()
    return state, run, _selection(state, run, fields)


def _selection(state: State, run: int, fields: list[tuple[str, str]]) -> Selection:
    return parsed(fields, state.runs[run].pairs, run=run, runs=len(state.runs))


def _of(state: State, number: str) -> int:
    if not number.isdecimal() or int(number) >= len(state.runs):
        raise CurateError(f"run={number}: there are {len(state.runs)}, from 0")
    return int(number)


def _runs(request: Request) -> Response:
    return JSONResponse(told.runs(_shelf(request).state(anew=True)))


def _pairs(request: Request) -> Response:
    state, run, selection = _asked(request)
    asked = request.query_params
    page = state.questions.page(
        run, selection, sort=asked.get("sort", ""), descending=asked.get("order") == "desc",
        after=_after(asked.get("after", "")),
    )  # fmt: skip
    return JSONResponse(told.cards(state, run, page))


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


def _groups(request: Request) -> Response:
    return JSONResponse(told.groups(*_asked(request)))


def _histogram(request: Request) -> Response:
    return JSONResponse(told.histogram(*_asked(request), request.query_params.get("column", "")))


def _entries(request: Request) -> Response:
    state = _shelf(request).state()
    run = _of(state, request.query_params.get("run", "0"))
    ids = request.query_params.getlist("id")
    return JSONResponse(told.entries(state, run, request.query_params.get("q", ""), ids))


def _pair(request: Request) -> Response:
    state = _shelf(request).state()
    uid = request.query_params.get("uid", "")
    run = _of(state, request.query_params.get("run", "0"))
    found: list[told.Json] = []
    for i in range(len(state.runs)):
        try:
            found.append({"stories": told.story(state, i, uid)})
        except CurateError as error:
            if i == run and len(state.runs) == 1:
                raise
            found.append({"error": str(error)})
    return JSONResponse({"version": state.version, "runs": found})


def _uids(request: Request) -> Response:
    state, run, selection = _asked(request)
    name = f"{state.runs[run].name}.txt".encode("ascii", "replace").decode().replace('"', "?")
    return StreamingResponse(
        saved.lines(state.questions.uids(run, selection)),
        media_type="text/plain",
        headers={"content-disposition": f'attachment; filename="{name}"'},
    )


async def _save(request: Request) -> Response:
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > _LONGEST:
            return JSONResponse({"error": "the list is too long"}, status_code=413)
    try:
        save = Save.model_validate_json(body)
    except ValidationError as error:
        return JSONResponse({"error": error.errors()[0]["msg"]}, status_code=400)

    def written(request: Request) -> Response:
        state = _shelf(request).state()
        run = _of(state, str(save.run))
        if save.uids is not None:
            uids = iter(saved.chosen(save.uids))
        else:
            uids = state.questions.uids(run, _selection(state, run, save.fields))
        folder = request.app.state.selections
        path, pairs = saved.save(folder, save.name, uids, replace=save.replace)
        return JSONResponse({"path": path, "pairs": pairs})

    return await run_in_threadpool(_safe(written), request)


def _image(request: Request) -> Response:
    """An image by where its pair stands, in the runs as the page knows them."""
    state, at = _shelf(request).state(), request.path_params
    if at["version"] != state.version:
        return Response("The run has changed.", status_code=410)
    run, place = at["run"], Place(at["branch"], at["part"], at["row"])
    if run >= len(state.runs):
        return Response(status_code=404)
    if "small" in request.query_params:
        made = pictures.small(state, run, place)
        return Response(made, media_type=pictures.WEBP) if made else Response(status_code=404)
    whole = pictures.whole(state, run, place)
    return Response(whole[0], media_type=whole[1]) if whole else Response(status_code=404)
