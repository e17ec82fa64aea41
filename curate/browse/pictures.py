"""The stored image of a pair, small or as it is: read from the run by part and row."""

from curate import files
from curate.browse.opened import State
from curate.browse.questions import Place, Record
from curate.report.thumbnails import webp
from curate.schema import Stage

SIDE = 320
"""Largest side of a small image, pixels: two to a point of the grid's cards."""
_HELD = 2000  # small images that are held in memory
_SPANS = 1 << 16  # places of images in tars
_KINDS = {b"\xff\xd8\xff": "image/jpeg", b"\x89PNG\r\n\x1a\n": "image/png"}
WEBP = "image/webp"


def small(state: State, run: int, place: Place) -> bytes | None:
    """The image at no more than `SIDE` pixels, as WebP; None where there is none that decodes."""
    key = (run, *place)
    if (held := state.thumbnails.get(key)) is not None:
        return held or None
    content = stored(state, run, place)
    made = webp(content, side=SIDE) if content else None
    while len(state.thumbnails) >= _HELD:
        state.thumbnails.pop(next(iter(state.thumbnails)), None)
    state.thumbnails[key] = made or b""
    return made


def whole(state: State, run: int, place: Place) -> tuple[bytes, str] | None:
    """The stored bytes and their type; of a kind that may hold more than pixels, drawn anew."""
    content = stored(state, run, place)
    if content is None:
        return None
    for magic, kind in _KINDS.items():
        if content.startswith(magic):
            return content, kind
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        return content, WEBP
    made = webp(content, side=1 << 12)
    return (made, WEBP) if made else None


def stored(state: State, run: int, place: Place) -> bytes | None:
    """The bytes of an image as they are; None where there is none."""
    opened = state.runs[run]
    if not opened.has_images:
        return None
    if (run, *place) not in state.spans:
        for row in state.questions.details(run, [place]):
            remember(state, run, place, row)
    if (span := state.spans.get((run, *place))) is None:
        return None
    with files.open_read(opened.run.part(Stage.DOWNLOAD, place.part, "tar")) as tar:
        tar.seek(span[0])
        content: bytes = tar.read(span[1])
        return content


def remember(state: State, run: int, place: Place, row: Record) -> None:
    """Keep where the image of a pair lies, so that showing it reads no table again."""
    offset, size = row["tar_offset"], row["tar_size"]
    if isinstance(offset, int) and isinstance(size, int):
        while len(state.spans) >= _SPANS:
            state.spans.pop(next(iter(state.spans)), None)
        state.spans[run, *place] = offset, size
