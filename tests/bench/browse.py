"""`curate browse` over 1,000,000 pairs: the demo's parts again and again, with uids of their own.

The server is a process of its own. Told are the seconds of each question that its page asks, and the
server's peak memory.
"""

import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

import psutil
import pyarrow as pa
import pyarrow.compute as pc

from curate import files
from curate.config import file as config_file
from curate.planning.steps import steps_of
from curate.rundir.directory import PART_STAGES, PartRecord, Run
from curate.schema import Stage
from curate.summaries.counting import Counting
from curate.summaries.groups import refresh
from tests.users.runs import document, well

PAIRS = int(os.environ.get("CURATE_BENCH_PAIRS", "1000000"))
_AGAIN = 20  # how often the demo's pairs are in a part


def made_up(demo: Path, to: Path, *, pairs: int) -> Path:
    """A run of at least so many pairs: those of the finished run `demo`, repeated."""
    was = Run.to(str(demo))
    state = document(demo / "run.json")
    tar, starts = _one_tar(was, state["parts"])
    size = _AGAIN * state["stages"]["prepare"]["rows"]
    parts = -(-pairs // size)
    run = Run.to(str(to))
    to.mkdir(parents=True)
    config = (demo / "config.yaml").read_text().replace(f"out: {demo}\n", f"out: {to}\n")
    (to / "config.yaml").write_text(config)
    for step in state["steps"]:
        _repeat(was, run, step, parts, starts)
    for k in range(parts):
        target = Path(run.part(Stage.DOWNLOAD, k, "tar"))
        if k % 1000:
            os.link(run.part(Stage.DOWNLOAD, k - 1, "tar"), target)
        else:
            target.write_bytes(tar)
    entries = Path(run.path(Stage.BALANCE, "entries.parquet"))
    entries.parent.mkdir(parents=True)
    shutil.copy(was.path(Stage.BALANCE, "entries.parquet"), entries)
    state |= {"parts": parts, "files": {}}
    files.write_document(str(to / "run.json"), state)
    steps = steps_of(config_file.load(str(to / "config.yaml")))
    for stage in (stage for stage in PART_STAGES if stage in steps.stages):
        refresh(run, Counting.of(steps, stage))
    return to


def _one_tar(run: Run, parts: int) -> tuple[bytes, list[int]]:
    """The images of all parts, and where those of each begin."""
    tar, starts = b"", []
    for index in range(parts):
        starts.append(len(tar))
        tar += files.read_bytes(run.part(Stage.DOWNLOAD, index, "tar"))
    return tar, starts


def _repeat(was: Run, run: Run, step: str, parts: int, starts: list[int]) -> None:
    """The files of a step for each part."""
    stage = Stage(step.partition("/")[0])
    folders = [step] if step != stage else [step, f"dropped/{stage}", f"dead/{stage}"]
    tables = {folder: _whole(was, folder, starts) for folder in folders}
    records = [record for _, record in was.records(step)]
    for k in range(parts):
        wrote = {}
        for folder, table in tables.items():
            if folder.startswith("dead/") and k:
                continue
            many = pa.concat_tables(_renamed(table, k * _AGAIN + i) for i in range(_AGAIN))
            url = run.part(folder, k)
            wrote[f"{folder}/part-{k:05d}.parquet"] = files.write_table(url, many)
        dropped: dict[str, int] = {}
        for record in records:
            for reason, n in record.dropped.items():
                dropped[reason] = dropped.get(reason, 0) + _AGAIN * n
        rows, kept = (_AGAIN * sum(getattr(x, name) for x in records) for name in ("rows", "kept"))
        first = records[0]
        run.write_record(step, k, PartRecord(
            first.digest, first.own, rows, kept, dropped, wrote=wrote,
        ))  # fmt: skip


def _whole(run: Run, folder: str, starts: list[int]) -> pa.Table:
    """All rows of a folder of the demo, with offsets into the one tar."""
    tables = []
    for index, start in enumerate(starts):
        table = run.rows(folder, index)
        if "tar_offset" in table.column_names:
            at = table.column_names.index("tar_offset")
            moved = pc.add(table["tar_offset"], start)
            table = table.set_column(at, table.field(at), moved)
        tables.append(table)
    return pa.concat_tables(tables)


def _renamed(table: pa.Table, i: int) -> pa.Table:
    """The same pairs under other uids and URLs."""
    for name in ("uid", "cluster", "pair"):
        if name in table.column_names:
            at = table.column_names.index(name)
            new = pc.binary_replace_slice(table[name].combine_chunks(), 0, 6, f"{i:06x}".encode())
            table = table.set_column(at, table.field(at), new.cast(pa.string()))
    for name, mark in (("url", "?n="), ("caption", " ")):
        if name in table.column_names:
            at = table.column_names.index(name)
            new = pc.binary_join_element_wise(table[name], f"{i}", mark)
            table = table.set_column(at, table.field(at), new)
    if "reason" in table.column_names:
        at = table.column_names.index("value")
        named = pc.starts_with(table["reason"], "duplicate_")
        new = pc.binary_replace_slice(
            pc.fill_null(table["value"], "").combine_chunks(), 0, 6, f"{i:06x}".encode()
        )
        new = pc.if_else(named, new.cast(pa.string()), table["value"])
        table = table.set_column(at, table.field(at), new)
    return table


QUESTIONS = {
    "first page": "/api/pairs?run=0",
    "outcomes of all": "/api/groups?run=0",
    "distribution of clip_score": "/api/histogram?column=clip_score",
    "a reason": "/api/pairs?is.reason=rule:clip_score",
    "a language, of those dropped": "/api/pairs?is.verdict=dropped&is.language=en",
    "  their count": "/api/groups?is.verdict=dropped&is.language=en",
    "a host": "/api/pairs?is.host=gone.example",
    "  its count": "/api/groups?is.host=gone.example",
    "a range of scores": "/api/pairs?min.clip_score=0.5&max.clip_score=0.6",
    "  their count ": "/api/groups?min.clip_score=0.5&max.clip_score=0.6",
    "an entry": "/api/pairs?entry=en:17779",
    "  its count ": "/api/groups?entry=en:17779",
    "text in the caption": "/api/pairs?q=lighthouse",
    "  its count  ": "/api/groups?q=lighthouse",
    "sorted by score": "/api/pairs?sort=clip_score&order=desc",
    "sorted by caption": "/api/pairs?sort=caption",
    "distribution of hosts": "/api/histogram?column=host",
    "distribution of entries": "/api/histogram?column=entry",
    "uids of all": "/api/uids",
}
_PAGE = ("its images", "first page", "outcomes of all", "distribution of clip_score")


def main() -> None:
    """Make the run, start the server, and ask."""
    with tempfile.TemporaryDirectory() as name:
        demo, run = Path(name, "demo"), Path(name, "run")
        well("demo", "--out", str(demo))
        made_up(demo, run, pairs=PAIRS)
        started = time.monotonic()
        server = subprocess.Popen(
            [sys.executable, "-m", "curate.cli", "browse", str(run), "--no-open"],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            assert server.stdout is not None
            link = urlsplit(server.stdout.readline().strip())
            print(f"  the link stands after {time.monotonic() - started:.1f} s", flush=True)
            _ask(link, psutil.Process(server.pid))
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(10)


def _ask(link: SplitResult, process: psutil.Process) -> None:
    cookie = f"curate_{link.port}={link.query.partition('=')[2]}"
    took = {}
    with closing(http.client.HTTPConnection("127.0.0.1", int(link.port or 0))) as connection:
        for what, path in {"the runs": "/api/runs", **QUESTIONS}.items():
            began, spent = time.monotonic(), sum(process.cpu_times()[:2])
            connection.request("GET", path, headers={"Cookie": cookie})
            answer = connection.getresponse()
            content = answer.read()
            assert answer.status == 200, content
            took[what] = time.monotonic() - began
            spent = sum(process.cpu_times()[:2]) - spent
            print(f"  {what:32} {took[what]:6.2f} s, {spent:5.2f} of the processor", flush=True)
            if what == "first page":
                version = json.loads(content)["version"]
                began = time.monotonic()
                for pair in json.loads(content)["pairs"]:
                    path = f"/image/{version}/0/{pair['id']}?small"
                    connection.request("GET", path, headers={"Cookie": cookie})
                    assert connection.getresponse().read()
                took["its images"] = time.monotonic() - began
                print(f"  {'its 60 images':32} {took['its images']:6.2f} s", flush=True)
    print(
        f"  {PAIRS:,} pairs: first screen (runs and page) {took['the runs'] + took['first page']:.2f} s"
        f" (goal 1), slowest filter {max(y for x, y in took.items() if x not in _PAGE):.2f} s (goal 2),"
        f" memory {process.memory_info().rss / 1e9:.2f} GB (goal 1)"
    )
