"""A contact sheet of samples: a page of its own that asks for nothing outside it, or a picture."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import TYPE_CHECKING

from jinja2 import Environment

from curate import files
from curate.checking.content import Seen, look_at_image
from curate.errors import CurateError
from curate.ops.images.levels import trainer_view

if TYPE_CHECKING:
    from PIL.Image import Image

_PIXELS = 100_000_000
"""Of an image that is drawn, at most."""
_SIDE, _ACROSS, _GAP, _LINE = 220, 5, 12, 15  # of a drawn sheet: pixels, and pictures in a row
_LINES, _LETTERS = 3, 36
"""Lines of a caption in a drawn sheet, and characters in each."""
SHEETS = (".html", ".png", ".jpg")
"""What the name of a contact sheet may end in."""
_TEMPLATE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{{ cards|length }} samples</title>
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root { color-scheme: light dark; font: 14px/1.4 system-ui, sans-serif }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(220px, 1fr)); gap: 18px }
body { margin: 18px }
figure { margin: 0; overflow: hidden; overflow-wrap: anywhere }
img, .none { display: block; height: 220px; max-width: 100%; object-fit: contain }
img { object-position: left bottom }
.none { border: 1px dashed gray; width: 218px; box-sizing: border-box }
small { opacity: .7 }
p { margin: 2px 0 }
</style></head><body><main>
{% for card, source in cards %}<figure>
{% if source %}<img src="{{ source }}" alt="">{% else %}<div class="none"></div>{% endif %}
<figcaption><small><bdi>{{ card.key }}</bdi> {{ card.told }}</small>
<p><bdi>{{ card.caption }}</bdi></p></figcaption>
</figure>
{% endfor %}</main></body></html>
"""


@dataclass(frozen=True)
class Card:
    """A sample on a contact sheet; its texts hold nothing but what may be shown."""

    key: str
    told: str  # size and score
    caption: str
    image: bytes | None


def write_sheet(url: str, cards: Sequence[Card]) -> None:
    """Write a contact sheet, as a page or as a picture by what its name ends in.

    Raises
    ------
    CurateError
        Where the name ends in something else.
    """
    ending = next((x for x in SHEETS if url.lower().endswith(x)), None)
    if ending is None:
        raise CurateError(f"--sheet {url}: expected the name of a file in {', '.join(SHEETS)}")
    if ending == ".html":
        content = _page(cards).encode(errors="replace")
    else:
        held = io.BytesIO()
        _drawn(cards).save(held, {".png": "PNG", ".jpg": "JPEG"}[ending])
        content = held.getvalue()
    files.write_bytes(files.absolute(url), content)


def _thumbnail(content: bytes | None) -> "Image | None":
    """A picture of at most `_SIDE` pixels; None where it cannot be decoded, or is a bomb."""
    seen = look_at_image(content, None) if content else None
    if not isinstance(seen, Seen) or content is None or seen.width * seen.height > _PIXELS:
        return None
    picture = trainer_view(content)
    if picture is None:
        return None
    picture.thumbnail((_SIDE, _SIDE))
    return picture


def _drawn(cards: Sequence[Card]) -> "Image":
    from PIL import Image, ImageDraw, ImageFont

    rows = -(-len(cards) // _ACROSS)
    cell = (_SIDE + _GAP, _SIDE + _GAP + _LINE * (_LINES + 1))
    sheet = Image.new("RGB", (_ACROSS * cell[0] + _GAP, max(rows, 1) * cell[1] + _GAP), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=11)
    for k, card in enumerate(cards):
        left, top = _GAP + k % _ACROSS * cell[0], _GAP + k // _ACROSS * cell[1]
        picture = _thumbnail(card.image)
        if picture is None:
            draw.rectangle((left, top, left + _SIDE - 1, top + _SIDE - 1), outline="#bbbbbb")
        else:
            sheet.paste(picture, (left, top + _SIDE - picture.height))
        texts = [
            f"{card.key}  {card.told}",
            *wrap(card.caption, _LETTERS, max_lines=_LINES, placeholder="…"),
        ]
        for line, text in enumerate(texts):
            at = (left, top + _SIDE + 3 + line * _LINE)
            said = text.encode(errors="replace").decode()[: _LETTERS + 4]
            draw.text(at, said, fill="#555555" if not line else "black", font=font)
    return sheet


def _page(cards: Sequence[Card]) -> str:
    def source(card: Card) -> str:
        picture = _thumbnail(card.image)
        if picture is None:
            return ""
        held = io.BytesIO()
        picture.save(held, "WEBP", quality=80)
        return "data:image/webp;base64," + base64.b64encode(held.getvalue()).decode()

    shown = [(card, source(card)) for card in cards]
    return Environment(autoescape=True).from_string(_TEMPLATE).render(cards=shown)
