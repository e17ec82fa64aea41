"""Files of a run's parts, as a revocation finds them: whether they were done or not."""

import io
from contextlib import suppress
from typing import IO

import pyarrow as pa

from curate import files, schema
from curate.errors import AbsentError
from curate.rundir.directory import PART_STAGES, Run, part_index
from curate.rundir.tar import blank_header, blanked
from curate.schema import Stage


def indices_of(run: Run, folder: str) -> list[int]:
    """The parts of which a folder or its ledgers hold any file, whether they are done or not."""
    folders = [run.path(folder)]
    if folder in PART_STAGES:
        beside = run.ledger(Stage(folder), 0), run.dead(Stage(folder), 0)
        folders += [url.rpartition("/")[0] for url in beside]
    indices = {part_index(name) for one in folders for name in files.names(one)}
    return sorted(index for index in indices if index is not None)


def read_or_empty(url: str) -> pa.Table:
    """The rows of a part or a ledger; none where it was never written."""
    with suppress(AbsentError):
        return files.read_table(url)
    return schema.LEDGER.empty_table()


def blank_members(url: str, *, uids: set[str]) -> None:
    """Overwrite the images of `uids` in a part's tar, which is else as it was; nothing else moves."""
    if not files.exists(url):
        return
    with files.open_read(url) as file:
        places = blanked(file, stems=uids)
        if not places:
            return
        file.seek(0)
        with files.atomic_write(url) as target:
            for at, size in places:
                copy(file, target, size=at - file.tell())
                header = blank_header(size)
                target.write(header)
                copy(io.BytesIO(bytes(size)), target, size=size)
                file.seek(at + len(header) + size)
            copy(file, target, size=files.size(url) - file.tell())


def copy(source: IO[bytes], target: IO[bytes], *, size: int) -> None:
    """Copy the next `size` bytes, a megabyte at a time."""
    while size > 0 and (block := source.read(min(size, 1 << 20))):
        target.write(block)
        size -= len(block)
