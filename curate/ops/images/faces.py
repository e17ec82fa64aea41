"""Faces in an image, by YuNet, which ships with the project and runs in OpenCV.

W. Wu, H. Peng, S. Yu, YuNet: A Tiny Millisecond-level Face Detector (2023).
"""

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from curate import files
from curate.ops.images.boxes import Box
from curate.ops.images.levels import to_bytes

if TYPE_CHECKING:
    import cv2
    from cv2.typing import MatLike

MODEL = "curate/data/face_detection_yunet_2023mar.onnx"
_LEAST = 64  # pixels; in a layer of one pixel OpenCV answers what was left in its memory
_SIDE = 640  # pixels; a face must then be of 10, and one that fills the image is found too
_CONFIDENCE = 0.6
_OVERLAP = 0.3
_DIGITS = 4  # of a share: what is written down is exactly what is blurred


def find_faces(pixels: "MatLike") -> list[Box]:
    """The box of each face of an upright image, surest first; for one thread at a time.

    `pixels` have the shape (height, width[, 3]), BGR. What is longer than 640 pixels is looked at in
    that size, so a face is found from about a 64th of the longer side on.
    """
    import cv2

    height, width = pixels.shape[:2]
    shrink = min(1.0, _SIDE / max(height, width))
    size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    seen = to_bytes(pixels)
    if size != (width, height):
        seen = cv2.resize(seen, size, interpolation=cv2.INTER_AREA)
    if seen.ndim == 2 or seen.shape[2] == 1:
        seen = cv2.cvtColor(seen, cv2.COLOR_GRAY2BGR)
    below, right = (max(0, _LEAST - side) for side in seen.shape[:2])
    seen = cv2.copyMakeBorder(seen, 0, below, 0, right, cv2.BORDER_CONSTANT)
    detector = _detector()
    detector.setInputSize(seen.shape[1::-1])
    _, found = detector.detect(seen)
    if found is None:
        return []
    corners = np.concatenate([found[:, :2], found[:, :2] + found[:, 2:4]], axis=1)
    shares = (corners.astype(np.float64) / (*size, *size)).clip(0, 1).round(_DIGITS)
    shares = shares[np.argsort(-found[:, 14], kind="stable")]
    boxes: list[Box] = shares[(shares[:, :2] < shares[:, 2:]).all(axis=1)].tolist()
    return boxes


@cache
def _detector() -> "cv2.FaceDetectorYN":
    import cv2

    model = str(files.shipped(MODEL))
    return cv2.FaceDetectorYN.create(model, "", (_SIDE, _SIDE), _CONFIDENCE, _OVERLAP)
