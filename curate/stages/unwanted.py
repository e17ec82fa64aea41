"""What must not be in a run: block-listed and revoked images, pairs of evaluation sets."""

from dataclasses import dataclass
from functools import lru_cache

import pyarrow as pa

from curate.ops.images.encoder import Refusal, StoredImage
from curate.ops.selection.blocklists import BlockList, Hit, read_block_lists
from curate.ops.selection.contamination import Contamination, read_evaluation
from curate.reasons import DropReason
from curate.rundir.directory import Run
from curate.rundir.journal import Columns
from curate.rundir.revocations import load_revocations

HASHES = ("md5", "sha256", "phash")
"""The columns that an image is looked up by."""


@lru_cache(maxsize=1)
def _load(paths: tuple[str, ...], distance: int) -> BlockList:
    """The lists ready for look-up, built once a process."""
    return BlockList(read_block_lists(paths), distance=distance)


@dataclass(frozen=True)
class Lists:
    """The block lists of a run; `open` loads them where they are used."""

    paths: tuple[str, ...] = ()
    distance: int = 31

    def open(self, run: Run) -> "Gate":
        """The lists that images of `run` are looked up in, with the revocations made so far."""
        revoked = load_revocations(run)
        blocked = _load(self.paths, self.distance) if self.paths else None
        return Gate(blocked, revoked.images if revoked else None)


@dataclass(frozen=True)
class Gate:
    """The lists, loaded, that images are looked up in at the download."""

    blocked: BlockList | None
    revoked: BlockList | None

    def verdict(
        self, *, md5: str | None, sha256: str | None, phash: str | None
    ) -> tuple[DropReason, Hit] | None:
        """Why an image with these hashes (hex) must not be stored; None where it may."""
        for reason, lists in (
            (DropReason.REVOKED, self.revoked),
            (DropReason.BLOCKED, self.blocked),
        ):
            hit = lists.find(md5=md5, sha256=sha256, pdq=phash) if lists else None
            if hit:
                return reason, hit
        return None

    def is_stale(self, columns: Columns) -> bool:
        """Whether a row of an earlier run has to be fetched again to be judged."""
        if columns["outcome"] in (DropReason.BLOCKED, DropReason.REVOKED):
            return True  # its image was not kept, and the lists may have changed
        if self.blocked is None or columns.get("sha256") is None:
            return False
        kinds = self.blocked.kinds
        unknown = {"md5": columns.get("md5") is None, "pdq": columns.get("phash_quality") is None}
        return any(unknown[kind] for kind in kinds & unknown.keys())

    def check(self, image: StoredImage | Refusal) -> StoredImage | Refusal:
        """The image as it is, or a refusal that keeps nothing of it but the hash."""
        if isinstance(image, Refusal):
            return image
        stop = self.verdict(md5=image.md5, sha256=image.sha256, phash=image.phash)
        return image if stop is None else Refusal(stop[0], str(stop[1]))


NO_LISTS = Lists()


@lru_cache(maxsize=1)
def _open(paths: tuple[str, ...], distance: int) -> Contamination:
    """The evaluation sets ready for look-up, built once a process."""
    return Contamination(list(map(read_evaluation, paths)), distance=distance)


@dataclass(frozen=True)
class Evaluations:
    """The evaluation sets that no pair of a run may come from."""

    paths: tuple[str, ...]
    image_distance: int
    captions: bool

    def items(self, pairs: pa.Table) -> pa.Array:
        """The name of the item that each pair is, null for the others."""
        return _open(self.paths, self.image_distance).items(pairs, captions=self.captions)
