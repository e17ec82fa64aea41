"""The embeddings that a run stores: which of its models they are of, and how rows of them are read."""

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import IO

import numpy as np
from numpy.typing import NDArray

from curate import files
from curate.config import Config, Scorer
from curate.errors import CurateError, DamagedError
from curate.ops.scores.vectors import Stored, stored_vectors
from curate.planning.asked import runs_model
from curate.rundir.directory import SCORED, Run
from curate.schema import SCORE

IMAGE, TEXT = "img", "txt"
"""What is embedded: the image of a pair, or its caption."""
_FEW = 64
"""Rows of a part that are read one by one, at most."""


@dataclass(frozen=True)
class Embeddings:
    """The embeddings of one model of a run, a file a part."""

    run: Run
    folder: str
    scorer: Scorer
    column: str  # of the model's score

    def url(self, part: int) -> str:
        """Where those of a part are stored."""
        return self.run.part(self.folder, part, "npz")

    @cached_property
    def parts(self) -> list[int]:
        """The parts whose embeddings are stored, ascending."""
        return self.run.done(self.folder)

    def all_of(self, part: int, kind: str = IMAGE) -> Stored:
        """Those of all scored rows of a part, (n, width); not finite where there is none.

        The width is 0 where the part has no rows.
        """
        with files.open_read(self.url(part)) as file, np.load(file) as found:
            return stored_vectors(found, kind=kind)

    def width(self, part: int) -> int:
        """The length of the vectors of a part; 0 where it has no rows."""
        with files.open_read(self.url(part)) as file:
            return _place(file, IMAGE, self.url(part))[1]

    @cached_property
    def any_width(self) -> int:
        """That of all parts with rows; 0 where none has any."""
        return next(filter(None, map(self.width, self.parts)), 0)

    def rows(self, part: int, rows: Sequence[int], kind: str = IMAGE) -> NDArray[np.float32]:
        """Those of some rows of a part, (len(rows), width)."""
        if len(rows) > _FEW:
            return self.all_of(part, kind)[rows].astype(np.float32)
        with files.open_read(self.url(part)) as file:
            start, width = _place(file, kind, self.url(part))
            found = np.empty((len(rows), width), np.float32)
            for at, row in enumerate(rows):
                file.seek(start + 2 * width * row)
                found[at] = np.frombuffer(file.read(2 * width), "<f2")
        return found


def _place(file: IO[bytes], kind: str, url: str) -> tuple[int, int]:
    """Where the values of a matrix begin in an .npz, and its width: NumPy stores it as it is."""
    with zipfile.ZipFile(file) as packed:
        (member,) = [x for x in packed.infolist() if x.filename.endswith(f"_{kind}.npy")]
    file.seek(member.header_offset + 26)
    lengths = np.frombuffer(file.read(4), "<u2")  # of the member's name and its extra field
    file.seek(member.header_offset + 30 + int(lengths.sum()))
    np.lib.format.read_magic(file)
    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    if dtype != np.dtype("<f2") or member.compress_type != zipfile.ZIP_STORED:
        raise DamagedError(url, "its embeddings are not as curate stores them")
    return file.tell(), int(shape[1])


def embeddings_of(run: Run, config: Config) -> Embeddings | None:
    """Those of the first model that stores them; None where none does."""
    if config.score is None or not runs_model(config):
        return None
    first = {"": config.score, **config.score.also}
    for name, scorer in first.items():
        if scorer.embeddings:
            folder = files.join(SCORED, name) if name else SCORED
            return Embeddings(run, folder, scorer, name or SCORE.names[0])
    return None


def stored_embeddings(run: Run, config: Config) -> Embeddings:
    """Those of the first model that stores them.

    Raises
    ------
    CurateError
        Where none does; it names the command that stores them.
    """
    found = embeddings_of(run, config)
    if found is not None and found.parts:
        return found
    owner = run.source or run.root
    again = f"curate run {files.join(owner, 'config.yaml')}"
    if config.score is None:
        again += " --set score='{model: ViT-B-32, pretrained: laion2b_s34b_b79k, embeddings: true}'"
    elif found is None:
        again += " --set score.embeddings=true"
    if not config.download.enabled:
        again += " --set download.enabled=true"
    if found is None:
        again += " --force"  # the shards are written anew
    raise CurateError(f"{run.root}: no embeddings of its images are stored; store them by: {again}")


def spread(parts: Sequence[int], *, n: int) -> list[int]:
    """At most `n` of some parts, evenly spread over them.

    >>> spread(range(10), n=4), spread([3, 5], n=4)
    ([0, 2, 5, 7], [3, 5])
    """
    return [parts[i * len(parts) // n] for i in range(n)] if len(parts) > n else [*parts]
