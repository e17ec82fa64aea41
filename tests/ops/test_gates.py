"""ALIP's gates against their definition, a pair at a time."""

from math import exp, isnan, nan

import numpy as np
import pytest

from curate.ops.gates import Means, Sums, gates, means_of, sums_of

MEANS = Means(text_caption=0.4, image_text=0.2, image_caption=0.35)


def naive(
    cosines: tuple[float, float, float], *, gammas: tuple[float, float]
) -> tuple[float, float, float]:
    """W_s, W_t and W_c of one pair."""
    if any(map(isnan, cosines)):
        return nan, nan, nan
    sample = exp(gammas[0] * (cosines[0] - MEANS.text_caption))
    if sample >= 1:
        return 1.0, 1.0, 1.0
    text = exp(gammas[1] * (cosines[1] - MEANS.image_text))
    return sample, text, exp(gammas[1] * (cosines[2] - MEANS.image_caption))


def test_the_worked_example() -> None:
    found = gates([0.4, 0.3], [0.9, 0.1], [0.1, 0.4], means=MEANS)
    assert np.round(found.sample, 5).tolist() == [1.0, 0.81873]
    assert np.round(found.text, 5).tolist() == [1.0, 0.81873]
    assert np.round(found.caption, 5).tolist() == [1.0, 1.10517]
    text, caption = found.weights
    assert text[1] == pytest.approx(0.81873 * 0.81873, abs=1e-5)
    assert caption[1] == pytest.approx(0.81873 * 1.10517, abs=1e-5)


@pytest.mark.parametrize("gammas", [(2.0, 2.0), (1.0, 3.0)])
def test_as_defined(gammas: tuple[float, float]) -> None:
    rows = np.random.default_rng(3).uniform(-1, 1, (500, 3))
    rows[np.random.default_rng(4).random((500, 3)) < 0.05] = nan
    rows[:3] = [[0.4, 0, 0], [0.4 - 1e-12, 0, 0], [0.9, nan, 0.1]]
    found = gates(*rows.T, means=MEANS, gamma_sample=gammas[0], gamma_pair=gammas[1])
    expected = np.array([naive((x, y, z), gammas=gammas) for x, y, z in rows.tolist()])
    for got, column in zip((found.sample, found.text, found.caption), expected.T, strict=True):
        assert np.allclose(got, column, rtol=1e-12, equal_nan=True)


def test_means_are_of_the_pairs_with_all_three_however_they_are_cut() -> None:
    rows = np.random.default_rng(5).normal(size=(1_000, 3)).astype(np.float32)
    rows[::7, 1] = nan
    whole = means_of([sums_of(*rows.T)])
    known = rows[np.isfinite(rows).all(axis=1)].astype(np.float64)
    assert whole == pytest.approx(known.mean(axis=0), rel=1e-12)
    for cuts in ([1], [10, 500], list(range(0, 1_000, 13))):
        parts = [sums_of(*x.T) for x in np.split(rows, cuts)]
        assert means_of(parts) == pytest.approx(whole, rel=1e-13)
        assert means_of(parts) == means_of(parts[::-1])
    assert means_of([Sums(0, 0, 0, 0)]) == (0, 0, 0)
    assert means_of([]) == (0, 0, 0)
