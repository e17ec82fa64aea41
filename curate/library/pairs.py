"""The pairs of a run one by one, with their images."""

import html
import io
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.dataset as ds

from curate.finished.tables import FATE, Fates
from curate.library.plain import cell
from curate.library.tables import told_of_columns
from curate.schema import Stage

if TYPE_CHECKING:
    from PIL.Image import Image

SHEET = 24
"""Pairs of a sheet in a notebook."""
_AT_ONCE = 64  # pairs whose images are read together
_NEVER_NULL = ("uid", "url", "caption")


@dataclass(frozen=True)
class Pair:
    """One pair of the pool, and what became of it."""

    uid: str
    url: str | None
    caption: str | None
    part: int
    stage: str  # where it left, or how far it came
    verdict: str  # kept, dropped, dead; or pending, in a run that is not finished
    reason: str | None  # of a pair that left
    value: str | None  # what the decision rested on
    columns: dict[str, Any] = field(repr=False)  # all else that is known of it, by column
    stored: bytes | None = field(default=None, repr=False)  # its image's file, where it was stored

    @cached_property
    def image(self) -> "Image | None":
        """Its image; None where it was not stored, or cannot be decoded."""
        from PIL import Image, UnidentifiedImageError

        if self.stored is None:
            return None
        try:
            found = Image.open(io.BytesIO(self.stored))
            found.load()
        except (UnidentifiedImageError, OSError, Image.DecompressionBombError):
            return None
        return found

    @property
    def why(self) -> str:
        """What became of it, in a line."""
        told = f"{self.verdict} at {self.stage}"
        if self.reason:
            told += f": {self.reason}" + (f" = {self.value}" if self.value else "")
        return told

    def _repr_html_(self) -> str:
        return sheet([self])


class Pairs:
    """Pairs of a run, read while one goes over them; in a notebook the first of them as a sheet."""

    def __init__(
        self,
        fates: Fates,
        *,
        uids: Collection[str] | None,
        limit: int | None,
        where: ds.Expression | None,
    ) -> None:
        self._fates, self._limit, self._where = fates, limit, where
        self._uids: pa.Array | None = None
        if uids is not None:  # also those of a column of Arrow's
            texts = (str(x.as_py() if isinstance(x, pa.Scalar) else x).lower() for x in uids)
            self._uids = pa.array([*dict.fromkeys(texts)], pa.string())

    def __iter__(self) -> Iterator[Pair]:
        root, names = self._fates.run.root, self._fates.schema.names
        with told_of_columns(f"{root}: pairs", names, self._where):
            yield from islice(self._each(), self._limit)

    def _each(self) -> Iterator[Pair]:
        from curate.rundir.pictures import FOLDER
        from curate.summaries.groups import parts_with

        run = self._fates.run
        parts: Collection[int] | None = None
        if self._uids is not None:
            parts = {*parts_with(run, Stage.PREPARE, self._uids.to_pylist())}
        has_images = frozenset(run.done(FOLDER))
        for index, table in self._fates.tables(parts=parts):
            found = table
            if self._uids is not None:
                found = found.filter(ds.field("uid").isin(self._uids))
            if self._where is not None:
                found = found.filter(self._where)
            for start in range(0, len(found), _AT_ONCE):
                yield from self._with_images(
                    found.slice(start, _AT_ONCE), index, index in has_images
                )

    def _with_images(self, table: pa.Table, part: int, has_images: bool) -> Iterator[Pair]:
        from curate.rundir.pictures import stored_images  # whose hashes are compiled

        rows = table.to_pylist()
        stored: dict[tuple[str, ...], bytes] = {}
        names = [tuple(row[x] for x in _NEVER_NULL) for row in rows]
        if has_images:
            whole = {x for x in names if None not in x}
            several = bool(self._fates.config.captions)
            stored |= dict(stored_images(self._fates.run, part, whole, several=several))
        for row, name in zip(rows, names, strict=True):
            told = {x: row.pop(x) for x in FATE.names}
            yield Pair(**told, columns=row, stored=stored.get(name))

    def _repr_html_(self) -> str:
        found = [*islice(self, SHEET + 1)]
        more = len(found) > SHEET
        return sheet(found[:SHEET]) + ("<p>… and more</p>" if more else "")


def sheet(pairs: Collection[Pair]) -> str:
    """Pairs side by side, as HTML: a small image, the caption, and what became of each."""
    return (
        f"<div style='display: flex; flex-wrap: wrap; gap: 12px'>{''.join(map(_card, pairs))}</div>"
    )


def _card(pair: Pair) -> str:
    from curate.report.thumbnails import SIDE, data_uri

    uri = data_uri(pair.stored) if pair.stored else None
    picture = f"<img src='{uri}' style='max-height: {SIDE}px'>" if uri else "<i>no image stored</i>"
    caption = html.escape(cell(pair.caption or "(not kept)"))
    colour = {"kept": "#2563eb", "dropped": "#b45309", "dead": "#b91c1c"}.get(
        pair.verdict, "#64748b"
    )
    return (
        "<figure style='width: 150px; margin: 0; font-size: 12px; overflow-wrap: anywhere'>"
        f"{picture}<figcaption dir='auto'>{caption}<br>"
        f"<span style='color: {colour}'>{html.escape(cell(pair.why))}</span></figcaption></figure>"
    )
