"""The pairs nearest to a text, or to a pair's image, where the run stores embeddings."""

from typing import TYPE_CHECKING

from curate.browse.opened import Opened, State
from curate.browse.pictures import stored
from curate.errors import CurateError
from curate.rundir.lock import locked

if TYPE_CHECKING:
    from curate.finding.map import Map
    from curate.finding.search import Search

NEAREST = 240
"""Pairs that are found."""
TEXT, LIKE = "text", "like"
"""What stands before what is looked for: a text, or the uid of a pair."""
_HELD = 64  # questions whose answers are held


def can_search(opened: Opened) -> bool:
    """Whether a run stores embeddings of its images."""
    from curate.finding.stored import embeddings_of

    found = embeddings_of(opened.run, opened.config)
    return found is not None and bool(found.parts)


def nearest(state: State, run: int, wanted: str) -> dict[str, float]:
    """The uids of the nearest pairs, the nearest first, with the cosine of each.

    The first search of a run builds its index, beside its embeddings.

    Raises
    ------
    CurateError
        Where the run stores no embeddings, its model cannot be loaded, or the pair has no image.
    """
    with state.searching:
        if (held := state.near.get((run, wanted))) is not None:
            return held
        kind, _, value = wanted.partition(":")
        if kind == TEXT and value.strip():
            text, image = value.strip(), None
        elif kind == LIKE:
            text, image = None, _image(state, run, value)
        else:
            raise CurateError(f"near={wanted[:80]}: expected {TEXT}:WORDS or {LIKE}:UID")
        opened = state.runs[run]
        with locked(opened.run.source or opened.run.root, shared=True):
            pairs = _search(state, run).nearest(text=text, image=image, k=NEAREST)
        found: dict[str, float] = {}
        for one in pairs:
            found.setdefault(one.uid, one.similarity)
        while len(state.near) >= _HELD:
            state.near.pop(next(iter(state.near)))
        state.near[run, wanted] = found
        return found


def map_of(state: State, run: int) -> "Map":
    """Clusters of the run's images, as its report shows them.

    Raises
    ------
    CurateError
        Where the run stores no embeddings.
    """
    from curate.finding.map import draw_map

    with state.searching:
        if run not in state.maps:
            opened = state.runs[run]
            if (found := draw_map(opened.run, opened.config)) is None:
                raise CurateError(f"{opened.name} stores no embeddings to draw a map of")
            state.maps[run] = found
        return state.maps[run]


def _search(state: State, run: int) -> "Search":
    from curate.finding.search import Search

    if run not in state.searches:
        state.searches[run] = Search(state.runs[run].run)
    return state.searches[run]


def _image(state: State, run: int, uid: str) -> bytes:
    for place in state.questions.places(run, uid):
        if content := stored(state, run, place):
            return content
    raise CurateError(f"near={LIKE}:{uid[:80]}: there is no such pair with an image")
