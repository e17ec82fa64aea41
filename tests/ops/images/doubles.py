"""Encoders that fail as a broken decoder would, on images that ask for it; each says so in its name."""

import os
import signal
import time
from collections.abc import Sequence

from curate.ops.images.boxes import Box
from curate.ops.images.encoder import ImageEncoder, Refusal, StoredImage

ABORT, HANG, RAISE, LAST = b"abort here", b"hang here", b"raise here", b"abort once: "
"""Bytes after the end of an image, which no decoder minds."""


class AbortsHangsOrRaisesOnMarkedImages(ImageEncoder):
    """Encodes as `ImageEncoder` does what bears no mark."""

    def __call__(self, content: bytes, *, blur: Sequence[Box] = ()) -> StoredImage | Refusal:
        if content.endswith(ABORT):
            os.abort()
        if content.endswith(HANG):
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(600)
        if content.endswith(RAISE):
            raise ValueError("raised on purpose")
        flag = content.partition(LAST)[2]
        if flag and not os.path.exists(flag):
            open(flag, "w").close()
            os.abort()
        return super().__call__(content, blur=blur)


class CannotBeLoadedInAnotherProcess:
    """Its pickled form fails to load."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (_fail, ("no such encoder",))

    def __call__(self, content: bytes, *, blur: Sequence[Box] = ()) -> StoredImage | Refusal:
        raise AssertionError("never called")


def _fail(message: str) -> None:
    raise RuntimeError(message)
