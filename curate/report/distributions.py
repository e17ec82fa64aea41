"""How captions, languages and images are spread before and after: counts on fixed grids.

Every value is counted on a fine grid, a part at a time, so memory does not grow with the pool; the
bars of a histogram are unions of the grid's cells.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from curate import files
from curate.run.directory import ANNOTATED, Run
from curate.schema import Stage

BARS = 40
"""Most bars of a histogram."""


@dataclass(frozen=True)
class Histogram:
    """Bars from edge to edge; `open_ended` if the last one also holds everything above it."""

    edges: tuple[float, ...]  # (bars + 1,)
    before: tuple[int, ...]  # (bars,)
    after: tuple[int, ...]  # (bars,); a subset of `before`
    open_ended: bool


@dataclass(frozen=True)
class Spread:
    """A quantity before and after: median (of the grid's cells) and histogram."""

    median_before: float | None
    median_after: float | None
    histogram: Histogram


@dataclass(frozen=True)
class Language:
    """Pairs of a language."""

    language: str
    unwanted: int  # dropped by prepare for their language
    prepared: int  # kept by prepare
    kept: int  # at the end


@dataclass(frozen=True)
class Format:
    """Stored images by their original format."""

    image_format: str
    stored: int
    kept: int  # at the end


@dataclass(frozen=True)
class Captions:
    """Lengths after prepare and at the end."""

    chars: Spread
    words: Spread


@dataclass(frozen=True)
class Images:
    """Stored images (before) and those in the final set (after)."""

    stored: int
    original_bytes: int
    stored_bytes: int
    smaller_side: Spread  # of the original, pixels
    aspect: Spread  # larger over smaller side of the original
    formats: tuple[Format, ...]
    with_faces: int | None = None  # stored images in which faces were found; None if nobody looked
    faces: int = 0  # in these


class Grid:
    """Counts of values in `cells` cells of `step` from `start`; the last takes what lies above."""

    def __init__(self, *, start: float, step: float, cells: int) -> None:
        self.start, self.step = start, step
        self.before = np.zeros(cells, np.int64)
        self.after = np.zeros(cells, np.int64)

    def add(self, column: pa.ChunkedArray, counts: NDArray[np.int64]) -> None:
        """Count the finite values of `column` in `counts`, which is `before` or `after`."""
        values = column.drop_null().to_numpy().astype(np.float64)
        values = values[np.isfinite(values)]
        cells = np.floor((values - self.start) / self.step + 1e-6).astype(np.int64)
        counts += np.bincount(np.clip(cells, 0, len(counts) - 1), minlength=len(counts))

    def spread(self) -> Spread:
        """Medians, and at most `BARS` bars that leave the highest hundredth to the last one."""
        total = int(self.before.sum())
        filled = np.flatnonzero(self.before)
        low, high = (int(filled[0]), int(filled[-1])) if total else (0, 0)
        within = int(np.searchsorted(np.cumsum(self.before), 0.99 * total))
        open_ended = high > low + 1.5 * max(within - low, BARS)
        last = within if open_ended else high
        width = _nice(max(1, -(-(last + 1 - low) // BARS)))
        low -= low % width
        bars = (last - low) // width + 1
        cells = np.arange(len(self.before))
        bar = np.clip((cells - low) // width, 0, bars - 1)
        before = np.bincount(bar, weights=self.before, minlength=bars)
        after = np.bincount(bar, weights=self.after, minlength=bars)
        edges = self.start + self.step * (low + width * np.arange(bars + 1))
        return Spread(
            median_before=self._median(self.before),
            median_after=self._median(self.after),
            histogram=Histogram(
                edges=tuple(round(float(edge), 6) for edge in edges),
                before=tuple(int(n) for n in before),
                after=tuple(int(n) for n in after),
                open_ended=open_ended,
            ),
        )

    def _median(self, counts: NDArray[np.int64]) -> float | None:
        total = int(counts.sum())
        if not total:
            return None
        cell = int(np.searchsorted(np.cumsum(counts), (total + 1) // 2))
        return round(self.start + self.step * cell, 6)


def _nice(width: int) -> int:
    """The smallest of 1, 2, 5, 10, 20, 50, ... that is at least `width`."""
    scale = 1
    while True:
        for factor in (1, 2, 5):
            if factor * scale >= width:
                return factor * scale
        scale *= 10


def captions_and_languages(
    run: Run, final: Stage, *, unwanted: dict[str, int]
) -> tuple[Captions, tuple[Language, ...]]:
    """Caption lengths and languages after prepare and after `final`.

    `unwanted` are the pairs that prepare dropped for their language, by language.
    """
    chars = Grid(start=0, step=1, cells=100_000)
    words = Grid(start=0, step=1, cells=20_000)
    prepared, kept = Counter[str](), Counter[str]()
    columns = ["language", "caption_chars", "caption_words"]
    for table in run.tables(Stage.PREPARE, columns):
        chars.add(table["caption_chars"], chars.before)
        words.add(table["caption_words"], words.before)
        prepared.update(_counts(table["language"]))
    for table in run.tables(final, columns):
        chars.add(table["caption_chars"], chars.after)
        words.add(table["caption_words"], words.after)
        kept.update(_counts(table["language"]))
    found = {*prepared, *unwanted}
    languages = [Language(n, unwanted.get(n, 0), prepared[n], kept[n]) for n in found]
    languages.sort(key=lambda one: (-one.kept, -one.prepared, -one.unwanted, one.language))
    return Captions(chars.spread(), words.spread()), tuple(languages)


def unwanted_languages(table: pa.Table) -> dict[str, int]:
    """Rows of a ledger part that were dropped for their language, by language."""
    rows = table.filter(pc.equal(table["reason"], "language"))
    return _counts(rows["value"])


UNKNOWN = "?"
"""What stands for no language, of a caption in which the model finds no word."""


def _counts(column: pa.ChunkedArray) -> dict[str, int]:
    return {row["values"] or UNKNOWN: row["counts"] for row in pc.value_counts(column).to_pylist()}


def images(run: Run, final: Stage, *, has_faces: bool = False) -> Images:
    """Sizes, shapes and formats of the stored images and of those in the final set.

    `has_faces` says that the download looked for faces.
    """
    side = Grid(start=0, step=1, cells=65_536)
    aspect = Grid(start=1.0, step=0.05, cells=2_000)
    original_bytes = stored_bytes = 0
    stored, kept = Counter[str](), Counter[str]()
    columns = ["outcome", "smaller_side", "aspect", "image_bytes", "image_format", "tar_size"]
    columns += ["faces"] if has_faces else []
    with_faces = faces = 0
    for table in run.tables(files.join(Stage.DOWNLOAD, ANNOTATED), columns):
        rows = table.filter(pc.equal(table["outcome"], "success"))
        side.add(rows["smaller_side"], side.before)
        aspect.add(rows["aspect"], aspect.before)
        stored.update(_counts(rows["image_format"]))
        original_bytes += pc.sum(rows["image_bytes"]).as_py() or 0
        stored_bytes += pc.sum(rows["tar_size"]).as_py() or 0
        if has_faces:
            with_faces += pc.sum(pc.greater(rows["faces"], 0)).as_py() or 0
            faces += pc.sum(rows["faces"]).as_py() or 0
    for table in run.tables(final, ["smaller_side", "aspect", "image_format"]):
        side.add(table["smaller_side"], side.after)
        aspect.add(table["aspect"], aspect.after)
        kept.update(_counts(table["image_format"]))
    formats = sorted(stored, key=lambda name: (-stored[name], name))
    return Images(
        stored=int(side.before.sum()),
        original_bytes=original_bytes,
        stored_bytes=stored_bytes,
        smaller_side=side.spread(),
        aspect=aspect.spread(),
        formats=tuple(Format(name, stored[name], kept[name]) for name in formats),
        with_faces=with_faces if has_faces else None,
        faces=faces,
    )
