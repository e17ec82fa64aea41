"""A small run over the demo's pictures, made through the command line, and what one looks for in it."""

import io
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from curate import cli, files
from curate.commands import terminal
from curate.files import content, documents, shipped
from tests.users.dying import died

SMALL = [i for k in range(30) for i in (2 * k, 2 * k + 1, 440 + k)]
"""Of the demo's pool: every third is a bad neighbour, which no server has or of which half comes."""


def curate(*arguments: str, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    """Run `curate ARGUMENTS` in this process."""
    said = io.StringIO()
    with chdir(cwd or "."), patch.object(terminal.error_console, "_file", said):
        done = CliRunner().invoke(cli.app, arguments, catch_exceptions=False)
    stderr = said.getvalue() + done.stderr
    return subprocess.CompletedProcess(arguments, done.exit_code, done.stdout, stderr)


def well(*arguments: str) -> str:
    """What `curate ARGUMENTS` says, which has to end well."""
    done = curate(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def refused(*arguments: str) -> str:
    """The one line with which `curate ARGUMENTS` is refused."""
    done = curate(*arguments)
    assert done.returncode == 1, done.stdout
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def small_run(folder: Path, *options: str, out: Path | None = None) -> Path:
    """A finished run of three parts without a model, in `folder`, or at `out`."""
    run = out or folder / "run"
    pool = shipped("pipelines/demo/pool/pool.jsonl").read_text().splitlines()
    (folder / "pool.jsonl").write_text("\n".join(pool[i] for i in SMALL) + "\n")
    well(
        "demo", "--out", str(run), "--set", f"input.paths={folder / 'pool.jsonl'}",
        "--set", "part_rows=30", "--set", "shards.rows=10", "--set", "score=null",
        "--set", "select=[{name: short_caption, column: caption_chars, min: 5}]",
        "--set", "balance.t=1", *options,
    )  # fmt: skip
    return run


def moved(run: Path, to: Path) -> Path:
    """A copy of a run that may be gone on with."""
    shutil.copytree(run, to)
    path = to / "config.yaml"
    path.write_text(path.read_text().replace(f"out: {run}\n", f"out: {to}\n"))
    return to


def document(path: Path) -> Any:
    """The JSON document at `path`."""
    return json.loads(path.read_text())


def pairs(run: Path) -> list[dict[str, Any]]:
    """The pairs in the shards of a run."""
    found = [pq.read_table(path).to_pylist() for path in sorted(run.glob("shards/*.parquet"))]
    return [row for rows in found for row in rows]


@contextmanager
def at_each_write(see: Callable[[str], None]) -> Iterator[None]:
    """Call `see` with the URL of each file that a command in this process is about to write."""
    write = files.atomic_write

    def seen(url: str, **how: bool) -> Any:
        see(url)
        return write(url, **how)

    with pytest.MonkeyPatch.context() as patch_of:
        for module in (files, content, documents):
            patch_of.setattr(module, "atomic_write", seen)
        yield


def interrupted(*arguments: str, after: str) -> None:
    """Start `curate ARGUMENTS` in a process of its own, which dies where it writes `after`."""
    status, said = died(*arguments, after=after)
    assert status == 9, said
