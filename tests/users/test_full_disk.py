"""A disk that is full, read-only or limited, under a run or under what a command writes beside one."""

import os
import resource
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from curate import files
from curate.files import shipped
from tests.users.runs import refused, small_run, well

FULL = "No space left on device: make room on its disk; the same command then goes on\n"
READ_ONLY = (
    "Read-only file system: let its disk be written to, or give another path;"
    " the same command then goes on\n"
)
PICTURES = shipped("pipelines/demo/pool")


def mount(*arguments: str) -> None:
    """Mount, or skip the test where this is not allowed."""
    if os.geteuid():
        pytest.skip("only root may mount a disk")
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")


def resize(disk: Path, size: str) -> None:
    """Let a disk be of another size."""
    mount("-o", f"remount,size={size}", str(disk))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """An empty disk of one page."""
    found = tmp_path / "disk"
    found.mkdir()
    mount("-t", "tmpfs", "-o", "size=4k", "none", str(found))
    yield found
    subprocess.run(["umount", "--lazy", str(found)], check=True)  # a run that failed holds files


@contextmanager
def files_of(at_most: int) -> Iterator[None]:
    """Let no file grow beyond so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (at_most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def made(run: Path) -> dict[str, bytes]:
    """What a run is for: the files that hold pairs, by name."""
    found = [path for ending in ("parquet", "tar", "npy") for path in run.rglob(f"*.{ending}")]
    return {str(path.relative_to(run)): path.read_bytes() for path in found}


def test_a_run_on_a_full_disk_goes_on_when_there_is_room(disk: Path, small: Path) -> None:
    blamed = []
    for size in ("4k", "600k", "1600k", "2600k"):
        resize(disk, size)
        with pytest.raises(AssertionError) as ended:  # of `well`, with what the command said
            small_run(disk.parent, out=disk / "run")
        said = str(ended.value).splitlines()[0]
        blamed.append(said)
        assert said.startswith(f"error {disk}/run/"), said
        assert f"{said}\n".endswith(FULL), said
        assert not list(disk.rglob(".*.tmp"))
    assert "/input/" in blamed[0]
    assert "/shards/" in blamed[2]
    assert "/report/" in blamed[3]
    resize(disk, "8m")
    assert made(small_run(disk.parent, out=disk / "run")) == made(small)


def test_a_disk_that_is_read_only_is_named(disk: Path, run: Path) -> None:
    mount("-o", "remount,ro", str(disk))
    out, words = str(disk / "pairs.npy"), str(disk / "hashes.parquet")
    assert refused("subset", str(run), "--npy", out) == f"error {out}: {READ_ONLY}"
    assert refused("hash", str(PICTURES), "--out", words) == f"error {words}: {READ_ONLY}"
    entries = str(disk / "entries.txt")
    told = refused("metadata", "build", "--numbers", "--out", entries)
    assert told == f"error {entries}: {READ_ONLY}"
    told = refused("demo", "--out", str(disk / "run"))
    assert told.startswith(f"error {disk}/run")
    assert told.endswith(READ_ONLY)


def test_a_disk_that_is_full_is_named_and_the_same_command_goes_on(disk: Path, run: Path) -> None:
    (disk / "other").write_bytes(bytes(4096))
    out, words = str(disk / "pairs.npy"), str(disk / "hashes.parquet")
    assert refused("subset", str(run), "--npy", out) == f"error {out}: {FULL}"
    assert refused("hash", str(PICTURES), "--out", words) == f"error {words}: {FULL}"
    assert sorted(os.listdir(disk)) == ["other"]
    resize(disk, "1m")
    well("subset", str(run), "--npy", out)
    assert files.read_array(out).size


def test_a_full_disk_of_temporary_files_is_not_taken_for_that_of_the_run(
    disk: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = tmp_path / "words.txt"
    words.write_text("".join(f"word{i:06d} of{i:06d}\n" for i in range(40_000)))
    monkeypatch.setattr(tempfile, "tempdir", str(disk))
    (disk / "other").write_bytes(bytes(4096))
    out = str(tmp_path / "out.npy")
    assert refused("subset", str(run), "--npy", out) == f"error {disk} (TMPDIR): {FULL}"
    assert not os.path.exists(out)
    build = ("metadata", "build", "--captions", str(words), "--min-count", "1", "--memory-mb", "1",
             "--out", str(tmp_path / "entries.txt"))  # fmt: skip
    assert refused(*build) == f"error {disk} (TMPDIR): {FULL}"
    assert os.listdir(disk) == ["other"]
    resize(disk, "32m")
    well("subset", str(run), "--npy", out)
    well(*build)


def test_a_limit_of_a_files_size_is_named(run: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "out.npy")
    with files_of(at_most=100):
        told = refused("subset", str(run), "--npy", out)
    assert told.startswith("error ")
    assert "File too large: raise the limit of a file's size (ulimit -f)" in told
    assert not os.path.exists(out)


def test_where_no_folder_takes_temporary_files_the_remedy_is_named(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/proc"])
    told = "error No usable temporary directory found in ['/proc']: make room in one, or set TMPDIR"
    assert told in refused("subset", str(run), "--npy", str(tmp_path / "out.npy"))
    assert told in refused("demo", "--out", str(tmp_path / "another"))
