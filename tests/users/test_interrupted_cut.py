"""Workers that read a pool of many files are interrupted: what they have read stands."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from curate import files
from curate import imported as own_code
from curate.errors import CurateError
from curate.planning import cutting
from curate.planning.parts import Cut
from curate.planning.uncut import Uncut
from curate.running import noting
from curate.running.noting import noted
from tests import many
from tests.store import PROTOCOL, CountedStore, counted_store
from tests.users.runs import document, refused, well

N = 40
READER = """
import json, os, time
import pyarrow as pa


def read(path):
    with open({log!r}, "a") as log:
        log.write(f"{{os.getpid()}} {{path}}\\n")
    time.sleep(0.2)
    return pa.Table.from_pylist([json.loads(line) for line in open(path)])
"""
TIME = 120


class Pool:
    """A pool that is read slowly, and by whom."""

    def __init__(self, folder: Path) -> None:
        self.log, self.run = folder / "log", folder / "run"
        given = many.lay(folder, "own", N)
        (folder / "theirs.py").write_text(READER.format(log=str(self.log)))
        self.files = sorted(map(str, (folder / "pool").iterdir()))
        settings = {"input": given, "download": {"enabled": False}, "dedup": {"enabled": False}}
        self.config = folder / "my.yaml"
        self.config.write_text(json.dumps(settings))
        self.command = ("plan", str(self.config), "--out", str(self.run), "--workers", "2")

    def reads(self, *, but_by: int) -> list[tuple[int, str]]:
        """Process and file of each read since it was asked last, without those of the launcher."""
        lines = [line.split() for line in self.log.read_text().splitlines()]
        return [(int(pid), path) for pid, path in lines if int(pid) != but_by]

    def noted(self) -> set[str]:
        """The files whose cut stands."""
        found = noted(str(self.run / "input/found")).values()
        copies = [document["parts"][0]["path"] for _, document in found]
        return {self.files[int(path.split("/file-")[1].split("-")[0])] for path in copies}

    def interrupted(
        self, end: Callable[[subprocess.Popen[str], int], None]
    ) -> tuple[int, str, set[str]]:
        """Exit code and message of the command, and the files it read, if `end` ends it midway."""
        self.log.write_text("")
        code = "from curate import cli; cli.main()"
        launcher = subprocess.Popen(
            [sys.executable, "-c", code, *self.command], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, cwd=self.config.parent,
        )  # fmt: skip
        known, until = self.noted() if self.run.exists() else set(), time.monotonic() + TIME
        while len(self.noted() - known) < 6:
            assert launcher.poll() is None, launcher.communicate()
            assert time.monotonic() < until
            time.sleep(0.05)
        end(launcher, self.reads(but_by=launcher.pid)[-1][0])
        said = launcher.communicate(timeout=TIME)[1]
        return launcher.returncode, said, {path for _, path in self.reads(but_by=launcher.pid)}


def test_what_was_read_before_an_interruption_is_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = Pool(tmp_path)
    code, said, _ = pool.interrupted(lambda _, worker: os.kill(worker, signal.SIGKILL))
    first = pool.noted()
    assert code == 1
    assert re.fullmatch(
        r"error worker \d of 2 \(process \d+\) ended by SIGKILL, reading the pool's files, .*\.rows: .*"
        r" the same command goes on\n",
        said,
    ), said
    code, said, read = pool.interrupted(lambda launcher, _: launcher.send_signal(signal.SIGINT))
    second = pool.noted()
    assert code == 130
    assert said.startswith("stopped; what is done is kept. Resume with: curate plan")
    assert not read & first
    assert second > first

    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(own_code, "_folders", [])
    pool.log.write_text("")
    (pool.run / "input/file-00039-00009.parquet").write_bytes(b"of a cut with smaller parts")
    said = well(*pool.command)
    assert f"{N} files, 0 MB; {len(second)} of them stand from before" in said
    read = {path for _, path in pool.reads(but_by=os.getpid())}
    assert read == set(pool.files) - second
    tables = [pq.read_table(path) for path in sorted(pool.run.glob("prepare/*.parquet"))]
    urls = [url for table in tables for url in table["url"].to_pylist()]
    assert urls == [many.row(k, i)["url"] for k in range(N) for i in range(many.ROWS)]
    names = {path.name for path in (pool.run / "input").iterdir()}
    assert names == {"parts.json", *(f"file-{k:05d}-00000.parquet" for k in range(N))}
    assert len(document(pool.run / "input/parts.json")["contents"]) == N
    assert not files.exists(str(pool.run / "input/found"))


def test_what_was_read_stands_in_a_store_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few, last = 20, 12
    given = many.lay(tmp_path, "csv", few)
    config = tmp_path / "my.yaml"
    config.write_text(json.dumps({"input": given, "download": {"enabled": False}}))
    command = ("plan", str(config), "--out", f"{PROTOCOL}://b/run")
    read: list[str] = []
    cut_file = cutting._cut_file

    def broken(file: Uncut, **more: Any) -> Cut:
        read.append(file.path)
        if len(read) == last:
            raise CurateError("the disk is full")
        return cut_file(file, **more)

    monkeypatch.setattr(cutting, "_cut_file", broken)
    monkeypatch.setattr(noting, "EVERY", 0.0)
    monkeypatch.setattr(noting, "SHARE", 0.0)
    with counted_store():
        assert "the disk is full" in refused(*command)
        well(*command)
        names = [name for name in CountedStore.objects if name.startswith("b/run/input/")]
    assert len(read) == few + 1
    assert Counter(read).most_common(1) == [(read[last - 1], 2)]
    assert len(names) == few + 1
