"""Text that OpenCV wrote into pictures: found, read, compared with the caption, masked."""

from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate import files
from curate.ops.scores.batch import Batch
from curate.ops.scores.clip import ClipModel
from curate.ops.scores.picture_text import (
    MaskedClip,
    TextArea,
    TextOverlap,
    mask_of,
    masked,
    overlap,
)
from tests.ops.images.pictures import encoded

MINI = ClipModel(
    "shipped://pipelines/demo/scorer/curate-mini.json",
    "shipped://pipelines/demo/scorer/curate-mini.safetensors",
    batch_size=2,
)


@lru_cache
def photo() -> Any:
    content = (files.shipped("pipelines/demo/pool/images") / "0004.jpg").read_bytes()
    return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)


def signed(pixels: Any, text: str) -> Any:
    """The picture with a white plate that text is written on."""
    pixels = pixels.copy()
    pixels[20:80] = 255
    cv2.putText(pixels, text, (10, 60), cv2.FONT_HERSHEY_SIMPLEX, 0.9, (0, 0, 0), 2)
    return pixels


@pytest.mark.parametrize(
    ("caption", "lines", "share"),
    [
        ("Grand Opening of the shop", ["GRANDOPENING", "20% off"], 2 / 3),
        ("grand opening", ["Grand", "opening!"], 1.0),
        ("ＧＲＡＮＤ", ["grand"], 1.0),
        ("art of war", ["party of wars"], 0.0),  # no word is long enough to tell
        ("a dog in the garden", [], 0.0),
        ("", ["grand"], 0.0),
        ("grand grand palace", ["GRAND"], 1 / 2),  # a word counts once
        ("grand opening", ["gra", "nd"], 0.0),  # a word does not run over two lines
    ],
)
def test_overlap(caption: str, lines: list[str], share: float) -> None:
    assert overlap(caption, lines) == pytest.approx(share)


@settings(deadline=None)
@given(st.text(max_size=30), st.lists(st.text(max_size=10), max_size=3))
def test_overlap_is_a_share_and_a_caption_overlaps_itself(caption: str, lines: list[str]) -> None:
    assert 0 <= overlap(caption, lines) <= 1
    assert overlap(caption, [caption, *lines]) in (0, 1)


def test_a_mask_takes_the_colour_around_the_text() -> None:
    pixels = np.zeros((60, 100, 3), np.uint8)
    pixels[:, :50], pixels[:, 50:] = (10, 20, 30), (200, 100, 50)
    boxes = [np.array([[x, 20], [x + 10, 20], [x + 10, 30], [x, 30]], np.float32) for x in (10, 70)]
    plain = pixels.copy()
    for box in boxes:
        pixels[mask_of([box], (60, 100)) == 1] = 255
    assert np.array_equal(masked(pixels, boxes), plain)
    everything = np.array([[0, 0], [99, 0], [99, 59], [0, 59]], np.float32)
    assert (masked(pixels, [everything]) == 128).all()


def test_text_is_found_and_read() -> None:
    pytest.importorskip("rapidocr_onnxruntime", reason="pip install --no-deps rapidocr-onnxruntime")
    sign = signed(np.full((160, 256, 3), 200, np.uint8), "GRAND OPENING")
    images = [sign[..., ::-1], np.full((160, 256, 3), 200, np.uint8)]
    dark = np.argwhere((sign < 128).all(axis=2))
    (top, left), (bottom, right) = dark.min(axis=0), dark.max(axis=0)
    ink = (bottom - top) * (right - left) / sign[..., 0].size
    area = TextArea()(Batch(["", ""], images))
    assert ink <= area[0] <= 2 * ink
    assert area[1] == 0
    found = TextOverlap()(Batch(["Grand opening of a shop", "Grand opening"], images))
    assert found == [pytest.approx(2 / 3), 0]


def test_masked_clip_scores_the_picture_without_its_text() -> None:
    """A picture without text has the model's own score; a sign's text moves it, and no more does."""
    pytest.importorskip("rapidocr_onnxruntime", reason="pip install --no-deps rapidocr-onnxruntime")
    plain = photo()
    blank = signed(plain, "")
    pictures = (plain, blank, signed(plain, "GRAND OPENING"))
    captions = ["a grand opening sign"] * 3
    scorer = MINI.load()
    own = [
        scorer(scorer.collate([scorer.prepare(encoded(x, ".png"))], [caption])).scores[0]
        for x, caption in zip(pictures, captions, strict=True)
    ]
    found = MaskedClip(MINI)(Batch(captions, [x[..., ::-1] for x in pictures]))
    assert found[:2].tolist() == own[:2]
    assert abs(found[2] - own[1]) < abs(own[2] - own[1]) / 3
