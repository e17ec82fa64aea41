"""How captions, languages and images are spread before and after: counts on fixed grids.

What was counted of the parts is put on a fine grid, so memory does not grow with the pool; the bars of
a histogram are unions of the grid's cells.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curate.summaries.counting import ASPECT_CELLS, ASPECT_FROM, ASPECT_STEP
from curate.summaries.tallies import Tallies, What

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


@dataclass(frozen=True)
class Volume:
    """How much text the set holds."""

    words: int
    characters: int


class Grid:
    """Counts of values in `cells` cells of `step` from `start`; the last takes what lies above."""

    def __init__(self, *, start: float, step: float, cells: int) -> None:
        self.start, self.step = start, step
        self.before = np.zeros(cells, np.int64)
        self.after = np.zeros(cells, np.int64)

    def add(
        self, values: NDArray[np.float64], pairs: NDArray[np.int64], counts: NDArray[np.int64]
    ) -> None:
        """Count finite values, each for so many pairs, in `counts`, which is `before` or `after`."""
        cells = np.floor((values - self.start) / self.step + 1e-6).astype(np.int64)
        np.add.at(counts, np.clip(cells, 0, len(counts) - 1), pairs)

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


def volume(final: Tallies) -> Volume:
    """The words and characters of the captions of the set; of the longest ones the least."""
    words, chars = (final.values(what) for what in (What.WORDS, What.CHARS))
    return Volume(*(int(values @ counts) for values, counts in (words, chars)))


def captions_and_languages(
    prepared: Tallies, final: Tallies
) -> tuple[Captions, tuple[Language, ...]]:
    """Caption lengths and languages after prepare and after the final stage."""
    chars = Grid(start=0, step=1, cells=100_000)
    words = Grid(start=0, step=1, cells=20_000)
    for grid, what in ((chars, What.CHARS), (words, What.WORDS)):
        grid.add(*prepared.values(what), grid.before)
        grid.add(*final.values(what), grid.after)
    unwanted, before = prepared.of_texts(What.UNWANTED), prepared.of_texts(What.LANGUAGE)
    kept = final.of_texts(What.LANGUAGE)
    found = {*before, *unwanted}
    languages = [Language(name, unwanted[name], before[name], kept[name]) for name in found]
    languages.sort(key=lambda one: (-one.kept, -one.prepared, -one.unwanted, one.language))
    return Captions(chars.spread(), words.spread()), tuple(languages)


def images(fetched: Tallies, final: Tallies, *, has_faces: bool = False) -> Images:
    """Sizes, shapes and formats of the stored images and of those in the final set.

    `has_faces` says that the download looked for faces.
    """
    side = Grid(start=0, step=1, cells=65_536)
    aspect = Grid(start=ASPECT_FROM, step=ASPECT_STEP, cells=ASPECT_CELLS)
    side.add(*fetched.values(What.STORED_SIDE), side.before)
    side.add(*final.values(What.SIDE), side.after)
    for of, what, counts in (
        (fetched, What.STORED_ASPECT, aspect.before), (final, What.ASPECT, aspect.after),
    ):  # fmt: skip
        cells, pairs = of.values(what)
        aspect.add(aspect.start + aspect.step * cells, pairs, counts)
    stored, kept = fetched.of_texts(What.STORED_FORMAT), final.of_texts(What.FORMAT)
    sums = fetched.of_texts(What.SUM)
    formats = sorted(stored, key=lambda name: (-stored[name], name))
    return Images(
        stored=int(side.before.sum()),
        original_bytes=sums["image_bytes"],
        stored_bytes=sums["tar_size"],
        smaller_side=side.spread(),
        aspect=aspect.spread(),
        formats=tuple(Format(name, stored[name], kept[name]) for name in formats),
        with_faces=sums["with_faces"] if has_faces else None,
        faces=sums["faces"] if has_faces else 0,
    )
