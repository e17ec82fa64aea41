"""ALIP's gates: what a pair's caption, and one that a model wrote, count in the losses of a training.

Source: ALIP: Adaptive Language-Image Pre-training with Synthetic Caption (arXiv 2308.08428), and its
authors' code. Their means run along with a training, which changes the model under them; here they are
those of the pool under one model.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import fsum
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


class Means(NamedTuple):
    """The mean cosines of a pool: H of ALIP."""

    text_caption: float  # of a pair's own caption and the other one
    image_text: float
    image_caption: float


@dataclass(frozen=True)
class Gates:
    """The gates of some pairs, shape (n,) each."""

    sample: Floats  # W_s, at most 1: below it where the two captions agree less than in the mean
    text: Floats  # W_t, of the pair's own caption: 1 where W_s is
    caption: Floats  # W_c, of the other one: likewise

    @property
    def weights(self) -> tuple[Floats, Floats]:
        """What the loss of image and own caption counts, and that of image and other caption."""
        return self.sample * self.text, self.sample * self.caption


def gates(
    text_caption: ArrayLike,
    image_text: ArrayLike,
    image_caption: ArrayLike,
    *,
    means: Means,
    gamma_sample: float = 2.0,
    gamma_pair: float = 2.0,
) -> Gates:
    """ALIP's gates of pairs, given three cosines of each, shape (n,); NaN where one of them is.

    >>> found = gates([0.3], [0.1], [0.4], means=Means(0.4, 0.2, 0.35))
    >>> [round(float(x[0]), 5) for x in (found.sample, found.text, found.caption)]
    [0.81873, 0.81873, 1.10517]
    """
    of = np.stack([np.asarray(x, np.float64) for x in (text_caption, image_text, image_caption)])
    beyond = of - np.array(means)[:, np.newaxis]
    beyond[:, np.isnan(of).any(axis=0)] = np.nan
    sample = np.minimum(np.exp(gamma_sample * beyond[0]), 1.0)
    text, caption = (np.where(sample == 1, 1.0, np.exp(gamma_pair * x)) for x in beyond[1:])
    return Gates(sample, text, caption)


class Sums(NamedTuple):
    """The sums of the cosines of the pairs of a part that have all three, and how many these are."""

    pairs: int
    text_caption: float
    image_text: float
    image_caption: float


def sums_of(*cosines: ArrayLike) -> Sums:
    """Those of pairs with these three cosines, shape (n,) each; correctly rounded, in any order."""
    rows = np.stack([np.asarray(x, np.float64) for x in cosines])
    rows = rows[:, np.isfinite(rows).all(axis=0)]
    return Sums(rows.shape[1], *(fsum(x) for x in rows))


def means_of(parts: Iterable[Sums]) -> Means:
    """The means over all parts; zeros where no pair has all three, which nothing asks for then."""
    each = list(parts)
    n = sum(x.pairs for x in each) or 1
    return Means(*(fsum(x[at] for x in each) / n for at in (1, 2, 3)))
