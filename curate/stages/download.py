"""download: url -> the image in the part's tar, with its sizes and hash.

`FetchStep` writes an outcome for every pair to ``download/annotated``; `select` then drops those that
failed and those that the image rules drop. A retry fetches the part again; rows of an earlier run
under the same image settings are taken over without a request.
"""

import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import IO, Any, ClassVar

import pyarrow as pa

from curate import files, schema
from curate.ops.decoder import isolated
from curate.ops.fetch import FetchPolicy, fetch
from curate.ops.images import ImageEncoder, Refusal, StoredImage
from curate.ops.tar import TarWriter, read_member
from curate.run import Part, Run
from curate.schema import Stage
from curate.stages.part import PartOutput, PartStep

SUCCESS = "success"


def member_name(uid: str, encode_format: str) -> str:
    """The name of a pair's image in its part's tar."""
    return f"{uid}.{encode_format}"


def read_images(run: Run, part: int, rows: pa.Table, *, encode_format: str) -> Iterator[bytes]:
    """The stored image of each row of a part, in order; `rows` has uid, tar_offset, tar_size."""
    with files.open_read(run.part(Stage.DOWNLOAD, part, "tar")) as tar:
        columns = (rows[name].to_pylist() for name in ("uid", "tar_offset", "tar_size"))
        for uid, offset, size in zip(*columns, strict=True):
            name = member_name(uid, encode_format)
            yield read_member(tar, name=name, offset=offset, size=size)


@dataclass
class _Spool:
    """Images in the order in which they came, on local disk until the part is complete."""

    file: IO[bytes]
    rows: dict[int, dict[str, Any]] = field(default_factory=dict)
    places: dict[int, tuple[int, int]] = field(default_factory=dict)

    def put(self, row: int, columns: dict[str, Any], content: bytes) -> None:
        self.places[row] = (self.file.seek(0, 2), len(content))
        self.file.write(content)
        self.rows[row] = columns

    def get(self, row: int) -> bytes:
        offset, size = self.places[row]
        self.file.seek(offset)
        return self.file.read(size)


@dataclass(frozen=True)
class FetchStep(PartStep):
    """Fetch, check, resize and store the images of one part."""

    stage: ClassVar[Stage] = Stage.DOWNLOAD
    annotates: ClassVar[bool] = True

    policy: FetchPolicy
    encoder: ImageEncoder
    decode_timeout: float = 60.0  # seconds

    def process(self, part: Part, *sides: Any) -> PartOutput:
        """Images go to a local spool as they come, then to the tar in the order of the rows."""
        table = self.incoming(part)
        uids, urls = table["uid"].to_pylist(), table["url"].to_pylist()
        encoding = isolated(self.encoder, timeout=self.decode_timeout)
        with tempfile.TemporaryFile() as file, encoding as encode:
            spool = _Spool(file)
            reused = self._take_over(part, uids, spool)
            missing = [row for row in range(len(uids)) if row not in spool.rows]
            for got in fetch(
                [urls[row] for row in missing], uids=[uids[row] for row in missing],
                policy=self.policy,
            ):  # fmt: skip
                image = Refusal(got.reason, got.detail) if got.reason else encode(got.content)
                spool.put(missing[got.index], *_columns(image))
            annotated = self._write_tar(part, uids, spool)
        stored = sum(size for _, size in spool.places.values())
        return PartOutput(annotated, figures={"reused": reused, "stored_bytes": stored})

    def _take_over(self, part: Part, uids: list[str], spool: _Spool) -> int:
        old = self.reusable(part)
        if old is None:
            return 0
        rows = {uid: row for row, uid in enumerate(uids)}
        with files.open_read(self.run.part(self.stage, part.index, "tar")) as tar:
            for columns in old.to_pylist():
                uid = columns.pop("uid")
                row = rows.pop(uid, None)
                if row is None:
                    continue
                content = b""
                if columns["outcome"] == SUCCESS:
                    name = member_name(uid, self.encoder.encode_format)
                    offset, size = columns["tar_offset"], columns["tar_size"]
                    try:
                        content = read_member(tar, name=name, offset=offset, size=size)
                    except tarfile.ReadError:
                        continue  # a run killed here left a newer tar: this image is fetched again
                spool.put(row, columns, content)
        return len(spool.rows)

    def _write_tar(self, part: Part, uids: list[str], spool: _Spool) -> pa.Table:
        rows = []
        with files.atomic_write(self.run.part(self.stage, part.index, "tar")) as file:
            tar = TarWriter(file)
            for row, uid in enumerate(uids):
                columns = {**spool.rows[row], "uid": uid}
                if columns["outcome"] == SUCCESS:
                    content = spool.get(row)
                    columns["tar_size"] = len(content)
                    name = member_name(uid, self.encoder.encode_format)
                    columns["tar_offset"] = tar.add(name, content)
                rows.append(columns)
            tar.end()
        return pa.Table.from_pylist(rows, schema=schema.FETCHED)


def _columns(image: StoredImage | Refusal) -> tuple[dict[str, Any], bytes]:
    if isinstance(image, Refusal):
        return {"outcome": str(image.reason), "detail": image.detail or None}, b""
    columns = asdict(image)
    content = columns.pop("content")
    sides = (image.original_width, image.original_height)
    derived = {"smaller_side": min(sides), "aspect": max(sides) / min(sides)}
    return {"outcome": SUCCESS, **columns, **derived}, content
