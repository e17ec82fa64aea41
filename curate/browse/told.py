"""What the page shows of pairs, as JSON: cards of many, and the whole story of one."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, TypeAlias

from curate.browse import distributions
from curate.browse.near import can_search
from curate.browse.opened import Opened, State
from curate.browse.pictures import remember
from curate.browse.questions import Page, Place, Record
from curate.browse.selection import DUPLICATE, Selection
from curate.browse.table import OWN, PICTURE
from curate.errors import CurateError
from curate.finished.explain import Story, stories
from curate.finished.seen import sights
from curate.ops.hashing import uniform
from curate.planning.asked import words_of
from curate.report.wording import explain
from curate.rundir.damage import incomplete
from curate.schema import MATCHES, Stage

if TYPE_CHECKING:
    from curate.finding.map import Map

Json: TypeAlias = "str | int | float | bool | Sequence[Json] | dict[str, Json] | None"
_SHORT = 600
"""Characters of a text on a card."""
_MEMBERS = 48
"""Pairs of a cluster that are shown side by side."""
_FOUND = 20


def runs(state: State) -> Json:
    """What there is to browse, and by what it can be filtered."""
    return {
        "version": state.version,
        "runs": [
            {
                "name": one.name,
                "root": one.run.root,
                "notice": incomplete(one.run),
                "images": one.has_images,
                "entries": one.entries is not None,
                "near": can_search(one),
                "stages": [str(x) for x in one.steps.stages if x not in (Stage.SHARDS, Stage.REPORT)],
                "columns": [
                    {"name": x.name, "kind": x.kind, "meaning": x.meaning}
                    for x in one.pairs.columns.values()
                ],
            }
            for one in state.runs
        ],
    }  # fmt: skip


def cards(state: State, run: int, page: Page, *, near: Mapping[str, float]) -> dict[str, Json]:
    """A page of pairs, each with what became of it in the other runs.

    Pairs that were looked for as `near` to something come the nearest first, where all are there.
    """
    rows = state.questions.details(run, page.places)
    uids = [str(row["uid"]) for row in rows if row["uid"]]
    others = [i for i in range(len(state.runs)) if i != run]
    fates = {i: state.questions.fates(i, uids) for i in others}
    found = []
    for place, row in zip(page.places, rows, strict=False):
        remember(state, run, place, row)
        told = _card(place, row)
        told["near"] = near.get(str(row["uid"]))
        told["fates"] = {str(i): _fate(fates[i].get(str(row["uid"]))) for i in others}
        found.append(told)
    if near and page.is_whole:
        found.sort(key=lambda one: -near.get(str(one["uid"]), 0.0))
    return {"version": state.version, "pairs": found, "after": page.after}


def concepts(state: State, run: int, found: "Map") -> Json:
    """The clusters of a map, each with cards of the pairs nearest to its centre."""
    told: list[Json] = []
    for one in found.concepts:
        places = [
            place
            for example in one.examples
            for place in state.questions.places(run, example.uid)
            if place.part == example.part
        ]
        page = cards(state, run, Page(places, None), near={})
        told.append(
            {
                "words": list(one.words), "pairs": one.pairs, "kept": one.kept, "score": one.score,
                "left": {**one.left}, "cards": page["pairs"],
            }
        )  # fmt: skip
    return {
        "version": state.version, "pairs": found.pairs, "scored": found.scored,
        "column": found.column, "concepts": told,
    }  # fmt: skip


def _card(place: Place, row: Record) -> dict[str, Json]:
    own = {one.name for one in OWN}
    return {
        "id": "/".join(map(str, place)),
        "picture": row["tar_size"] is not None,
        **{name: _short(row[name]) for name in own},
        "columns": {
            x: _short(y) for x, y in row.items() if x not in (*own, *PICTURE, MATCHES)
        },
    }  # fmt: skip


def _short(value: object) -> Json:
    if isinstance(value, str):
        return value if len(value) <= _SHORT else f"{value[:_SHORT]}…"
    return value if isinstance(value, int | float) else None


def _fate(row: Record | None) -> Json:
    return {name: _short(value) for name, value in row.items()} if row else None


def groups(state: State, run: int, selection: Selection) -> Json:
    """How many pairs there are of each verdict, stage and reason, and what the reasons mean."""
    config = state.runs[run].config
    return [
        {"verdict": verdict, "stage": stage, "reason": reason, "pairs": n,
         "why": explain(reason, config=config) if reason else ""}
        for verdict, stage, reason, n in state.questions.groups(run, selection)
    ]  # fmt: skip


def histogram(state: State, run: int, selection: Selection, column: str) -> Json:
    """The distribution of a column; entries by name."""
    found = distributions.histogram(state.questions, run, selection, column)
    told: dict[str, Json] = {**asdict(found)}
    bars = [{x: y for x, y in one._asdict().items() if y is not None} for one in found.bars]
    if column == "entry":
        names = {
            str(x["id"]): x["entry"] for x in _named(state, run, [str(x.value) for x in found.bars])
        }
        bars = [{**bar, "name": names.get(str(bar["value"]))} for bar in bars]
    return {**told, "bars": bars}


def entries(state: State, run: int, text: str, ids: Sequence[str]) -> Json:
    """Entries with a text in them, those that most pairs match first; or those with these ids."""
    if ids:
        return _named(state, run, ids)
    return _rows(state.questions.entries(_counted(state.runs[run]), text=text, limit=_FOUND))


def _named(state: State, run: int, ids: Sequence[str]) -> list[dict[str, Json]]:
    wanted = [(language, int(number)) for language, _, number in (x.rpartition(":") for x in ids)]
    if not wanted or state.runs[run].entries is None:
        return []
    return _rows(state.questions.entries(_counted(state.runs[run]), ids=wanted))


def _counted(opened: Opened) -> str:
    if (url := opened.entries) is None:
        raise CurateError(f"{opened.run.root}: no entries are counted in this run")
    return url


def _rows(found: Sequence[Record]) -> list[dict[str, Json]]:
    return [
        {"id": f"{row['language']}:{row['entry_id']}", **{x: _short(y) for x, y in row.items()}}
        for row in found
    ]


def story(state: State, run: int, uid: str) -> Json:
    """All that is known of the pairs with a uid: of each its story, its picture and its cluster."""
    opened = state.runs[run]
    places = state.questions.places(run, uid)
    rows = state.questions.details(run, places, MATCHES, *sights(opened.config))
    found = []
    for one in stories(opened.run, uid):
        at = next((i for i, x in enumerate(places) if _is_of(rows[i], x, one)), None)
        told: dict[str, Json] = {**asdict(one), "entries": [], "cluster": None, "draw": None}
        told["words"] = [f"{name}_words" for name in words_of(opened.config)]
        if at is not None:
            told |= {"card": _card(places.pop(at), rows[at]), **_more(state, run, rows.pop(at))}
        found.append(told)
    return found


def _is_of(row: Record, place: Place, one: Story) -> bool:
    last = [x for x in one.chapters if x.stage != Stage.SHARDS][-1]
    return place.part == one.part and (row["stage"], row["reason"] or "") == (
        last.stage,
        last.reason,
    )


def _more(state: State, run: int, row: Record) -> dict[str, Json]:
    """The entries of a pair, its cluster, and the number that was drawn for it."""
    opened, uid = state.runs[run], str(row["uid"])
    told: dict[str, Json] = {}
    if isinstance(matches := row[MATCHES], list):
        named = _named(state, run, [f"{row['language']}:{x}" for x in matches])
        seen = next((row[x] for x in sights(opened.config)), None)
        if isinstance(seen, list):
            named = [{**one, "seen": one["entry_id"] in seen} for one in named]
        told["entries"] = named
    reason = str(row["reason"] or "")
    size = row.get("cluster_size")
    by_meaning = opened.config.semdedup is not None
    if reason.startswith(DUPLICATE) or by_meaning or (isinstance(size, int) and size > 1):
        survivor = str(row["value"]) if reason.startswith(DUPLICATE) else uid
        page = state.questions.page(run, Selection(cluster=survivor), limit=_MEMBERS)
        members = state.questions.details(run, page.places)
        shown = [_card(x, y) for x, y in zip(page.places, members, strict=False)]
        shown.sort(key=lambda one: str(one["reason"] or "").startswith(DUPLICATE))
        told["cluster"] = {"survivor": survivor, "more": page.after is not None, "pairs": shown}
    balance = opened.config.balance
    if row["stage"] == Stage.BALANCE and balance and not (balance.wfpp or balance.soft_cap):
        told["draw"] = float(uniform([uid], seed=opened.config.seed)[0])
    return told
