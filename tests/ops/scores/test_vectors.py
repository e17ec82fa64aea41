"""Columns of stored embeddings against the definitions written out, pair by pair."""

import math
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.errors import CurateError
from curate.ops.scores import vectors as vectors_module
from curate.ops.scores.vectors import (
    draw_batches,
    draw_blocks,
    nearest,
    neg_clip_loss,
    norm_sim,
    read_target,
    unit,
)

seeds = st.integers(0, 2**32 - 1)


def vectors(n: int, *, seed: int, width: int = 4) -> Any:
    return unit(np.random.default_rng(seed).normal(size=(n, width)))


def loss_by_hand(image: Any, text: Any, i: int, tau: float) -> float:
    def s(a: int, b: int) -> float:
        return math.fsum(float(x) * float(y) for x, y in zip(image[a], text[b], strict=True))

    n = len(image)
    by_text = math.log(math.fsum(math.exp(s(i, j) / tau) for j in range(n)))
    by_image = math.log(math.fsum(math.exp(s(j, i) / tau) for j in range(n)))
    return s(i, i) - tau / 2 * (by_text + by_image)


@settings(max_examples=25, deadline=None)
@given(n=st.integers(1, 12), seed=seeds, tau=st.sampled_from([0.01, 0.07, 1.0]))
def test_the_loss_is_that_of_the_definition(n: int, seed: int, tau: float) -> None:
    image, text = vectors(n, seed=seed), vectors(n, seed=seed + 1)
    found = neg_clip_loss(image, text, tau=tau)
    assert found.dtype == np.float32
    expected = [loss_by_hand(image, text, i, tau) for i in range(n)]
    assert found == pytest.approx(expected, abs=2e-6)


def test_the_loss_of_a_pair_alone_is_nought_and_of_equals_the_share_of_each() -> None:
    one = vectors(1, seed=1)
    assert neg_clip_loss(one, vectors(1, seed=2), tau=0.01)[0] == pytest.approx(0, abs=1e-6)
    same = np.repeat(one, 8, axis=0)
    assert neg_clip_loss(same, same, tau=0.01) == pytest.approx([-0.01 * math.log(8)] * 8, abs=1e-6)


def test_the_loss_goes_over_a_large_batch_in_pieces() -> None:
    n = 2048 + 700
    image, text = vectors(n, seed=3), vectors(n, seed=4)
    cosines = image.astype(np.float64) @ text.T.astype(np.float64)
    rows = [np.log(np.exp(m / 0.01).sum(axis=1)) for m in (cosines, cosines.T)]
    expected = np.diag(cosines) - 0.005 * (rows[0] + rows[1])
    assert np.abs(neg_clip_loss(image, text, tau=0.01) - expected).max() < 2e-6


@settings(max_examples=25, deadline=None)
@given(n=st.integers(1, 9), m=st.integers(1, 9), seed=seeds)
def test_norms_of_the_cosines_to_a_target(n: int, m: int, seed: int) -> None:
    pool, target = vectors(n, seed=seed), vectors(m, seed=seed + 1).astype(np.float16)
    cosines = pool.astype(np.float64) @ target.T.astype(np.float64)
    highest = [max(row) for row in cosines]
    roots = [math.sqrt(sum(x * x for x in row)) for row in cosines]
    assert norm_sim(pool, target, norm="max") == pytest.approx(highest, abs=1e-6)
    assert norm_sim(pool, target, norm=2) == pytest.approx(roots, abs=1e-6)


@pytest.mark.parametrize("norm", ["max", 2])
def test_a_large_target_is_taken_in_blocks(norm: Literal["max", 2]) -> None:
    pool, target = vectors(20, seed=5), vectors(16_384 + 100, seed=6).astype(np.float16)
    cosines = pool @ target.T.astype(np.float32)
    expected = cosines.max(axis=1) if norm == "max" else np.sqrt((cosines**2).sum(axis=1))
    assert norm_sim(pool, target, norm=norm) == pytest.approx(expected, rel=1e-5)


def uids(n: int) -> pa.Array:
    return pa.array([f"{i:032x}" for i in range(n)])


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 90), size=st.integers(1, 40), seed=st.integers(0, 2**64 - 1))
def test_batches_hold_every_row_once_whatever_the_order_of_rows(
    n: int, size: int, seed: int
) -> None:
    batches = draw_batches(uids(n), size=size, seed=seed)
    assert sorted(np.concatenate(batches).tolist()) == list(range(n))
    lengths = [len(batch) for batch in batches]
    assert max(lengths) - min(lengths) <= 1
    assert len(lengths) == max(round(n / size), 1)
    backwards = draw_batches(uids(n)[::-1], size=size, seed=seed)
    assert [[n - 1 - i for i in batch] for batch in backwards] == [b.tolist() for b in batches]


def test_batches_are_others_under_another_seed() -> None:
    first, second = (draw_batches(uids(100), size=50, seed=seed) for seed in (1, 2))
    assert 10 < len(np.intersect1d(first[0], second[0])) < 40


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(st.integers(0, 50), max_size=30), size=st.integers(1, 400), seed=seeds)
def test_blocks_hold_every_part_with_rows_once(rows: list[int], size: int, seed: int) -> None:
    blocks = draw_blocks(rows, size=size, seed=seed)
    assert sorted(part for block in blocks for part in block) == [
        part for part, n in enumerate(rows) if n
    ]
    held = [sum(rows[part] for part in block) for block in blocks]
    assert all(n < 2 * size + max(rows) for n in held)
    if sum(rows) <= size:
        assert len(blocks) <= 1


def test_unit_vectors_of_what_has_no_direction_are_zero() -> None:
    rows = np.array([[3, 4], [0, 0], [np.nan, 1], [np.inf, 1]], np.float16)
    assert unit(rows).tolist() == [[pytest.approx(0.6), pytest.approx(0.8)], [0, 0], [0, 0], [0, 0]]


def test_a_target_is_read_from_an_array_an_archive_and_a_folder(tmp_path: Path) -> None:
    image, text = vectors(5, seed=7), vectors(5, seed=8)
    np.save(tmp_path / "one.npy", image * 3)
    (tmp_path / "run").mkdir()
    for index, rows in enumerate((slice(0, 2), slice(2, 5))):
        part = {"uid": np.array(["a"] * 5)[rows], "b32_img": image[rows], "b32_txt": text[rows]}
        np.savez(tmp_path / f"run/part-{index:05d}.npz", **part)
    (tmp_path / "run/part-00000.json").write_text("{}")
    lost = np.vstack([image, np.full((1, 4), np.nan)])
    np.savez(tmp_path / "plain.npz", features=lost)
    expected = image.astype(np.float16)
    for name in ("one.npy", "run", "run/part-*.npz", "plain.npz"):
        found = read_target(str(tmp_path / name))
        assert found.dtype == np.float16
        assert np.abs(found.astype(np.float32) - expected).max() < 1e-3, name


def test_a_target_that_is_none_is_named(tmp_path: Path) -> None:
    def said(name: str) -> str:
        with pytest.raises(CurateError) as caught:
            read_target(str(tmp_path / name))
        return str(caught.value)

    assert said("gone.npy").endswith("gone.npy: no .npy or .npz of embeddings here")
    (tmp_path / "text.npy").write_text("hello")
    assert "text.npy: not a file of embeddings" in said("text.npy")
    np.save(tmp_path / "flat.npy", np.ones(3))
    assert "flat.npy: not a file of embeddings" in said("flat.npy")
    np.savez(tmp_path / "two.npz", a=np.ones((2, 2)), b=np.ones((2, 2)))
    assert "expected one matrix among its arrays a, b" in said("two.npz")
    np.save(tmp_path / "empty.npy", np.zeros((3, 2)))
    assert said("empty.npy").endswith("there is no embedding in it")
    (tmp_path / "mixed").mkdir()
    np.save(tmp_path / "mixed/a.npy", np.ones((1, 2)))
    np.save(tmp_path / "mixed/b.npy", np.ones((1, 3)))
    assert "its embeddings are 3 wide, those before 2" in said("mixed")


@given(st.integers(0, 12), st.integers(1, 40), seeds)
@settings(max_examples=40, deadline=None)
def test_nearest_is_the_first_of_the_highest_cosines(n: int, m: int, seed: int) -> None:
    """Small whole numbers, so that many are equal; in blocks of eight targets."""
    random = np.random.default_rng(seed)
    rows, targets = (random.integers(-2, 3, size=(k, 3)).astype(np.float16) for k in (n, m))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vectors_module, "_ROWS", 1)
        at, cosines = nearest(unit(rows), targets)
    for row, number, cosine in zip(unit(rows), at.tolist(), cosines.tolist(), strict=True):
        exact = [math.fsum(float(x) * float(y) for x, y in zip(row, t, strict=True))
                 for t in unit(targets)]  # fmt: skip
        assert number == next(i for i, x in enumerate(exact) if x > max(exact) - 1e-12)
        assert cosine == pytest.approx(exact[number], abs=1e-15)


def test_nearest_does_not_depend_on_what_else_is_asked() -> None:
    random = np.random.default_rng(1)
    targets = random.normal(size=(300, 64)).astype(np.float16)
    rows = unit(np.concatenate([random.normal(size=(500, 64)), targets[:50] + targets[50:100]]))
    whole, cosines = nearest(rows, targets)
    for size in (1, 7, 200):
        parts = [nearest(rows[k : k + size], targets) for k in range(0, len(rows), size)]
        assert np.array_equal(np.concatenate([at for at, _ in parts]), whole)
        assert np.array_equal(np.concatenate([x for _, x in parts]), cosines)
