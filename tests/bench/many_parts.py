"""What the launcher does for a run of many parts in a store that takes 20 ms for each operation.

The run is made up: a real part of twenty captions and what was written for it, again and again.
"""

import json
import os
import resource
import shutil
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

import fsspec
from fsspec.implementations.local import LocalFileSystem

from curate import files
from tests.users.runs import curate, document, well

LATENCY = 0.02
SIZES = (int(os.environ.get("CURATE_BENCH_PARTS", "2000")),)


class Slow(fsspec.AbstractFileSystem):  # type: ignore[misc, unused-ignore]
    """A store: files of this machine behind a delay for each operation, which are counted."""

    protocol = "slow"
    counts: ClassVar[Counter[str]] = Counter()
    _counting = threading.Lock()

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._local = LocalFileSystem()

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return "/" + path.removeprefix("slow://").strip("/")

    def _wait(self, what: str, *, times: int = 1) -> None:
        with self._counting:
            self.counts[what] += times
        time.sleep(LATENCY * times)

    def ls(self, path: str, detail: bool = True, **options: Any) -> Any:
        found = self._local.ls(self._strip_protocol(path), detail=True)
        self._wait("list", times=1 + len(found) // 1000)
        return found if detail else [one["name"] for one in found]

    def info(self, path: str, **options: Any) -> Any:
        self._wait("info")
        return self._local.info(self._strip_protocol(path))

    def exists(self, path: str, **options: Any) -> bool:
        self._wait("info")
        return bool(self._local.exists(self._strip_protocol(path)))

    def checksum(self, path: str) -> Any:
        return self.info(path)["mtime"]

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        self._wait("read" if "r" in mode else "write")
        if "r" not in mode:
            os.makedirs(os.path.dirname(self._strip_protocol(path)), exist_ok=True)
        return open(self._strip_protocol(path), mode)

    def cat_file(
        self, path: str, start: int | None = None, end: int | None = None, **o: Any
    ) -> bytes:
        self._wait("read")
        content = Path(self._strip_protocol(path)).read_bytes()
        return content[start:end]

    def mv(self, path1: str, path2: str, **options: Any) -> None:
        self._wait("write")
        self._local.mv(self._strip_protocol(path1), self._strip_protocol(path2), **options)

    def _rm(self, path: str) -> None:
        self._wait("remove")
        self._local.rm_file(self._strip_protocol(path))

    def rm(self, path: str, recursive: bool = False, maxdepth: int | None = None) -> None:
        self._wait("remove")
        self._local.rm(self._strip_protocol(path), recursive=recursive)

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        os.makedirs(self._strip_protocol(path), exist_ok=exist_ok)

    def mkdir(self, path: str, create_parents: bool = True, **options: Any) -> None:
        os.makedirs(self._strip_protocol(path), exist_ok=True)


def made_up(folder: Path, parts: int) -> Path:
    """A finished run of captions, of so many parts."""
    fsspec.register_implementation("slow", Slow, clobber=True)
    rows = [
        {"url": f"http://x.example/{i}.jpg", "caption": f"a red fox {i} in the snow"}
        for i in range(20)
    ]
    pool, run = folder / "pool.jsonl", folder / "run"
    pool.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "list.txt").write_text("fox\nsnow\n")
    settings = {"input": {"paths": str(pool)}, "part_rows": 20, "download": {"enabled": False},
                "prepare": {"metadata": {"en": str(folder / "list.txt")}, "languages": ["en"]},
                "balance": {"t": 100}}  # fmt: skip
    path = folder / "my.yaml"
    path.write_text(json.dumps(settings))
    well("run", str(path), "--out", f"slow://{run}")
    for first in [x for x in run.rglob("part-00000.*") if "records" not in x.parts]:
        for k in range(1, parts):
            os.link(first, first.with_name(first.name.replace("00000", f"{k:05d}")))
    for first in list((run / "records").rglob("part-00000.json")):
        found = document(first)
        text = json.dumps(found)
        for k in range(1, parts):
            copy = json.loads(text.replace("part-00000", f"part-{k:05d}"))
            _write(first.with_name(f"part-{k:05d}.json"), copy)
    copies = run / "input"
    (copy,) = copies.glob("*.parquet")
    parts_json = document(copies / "parts.json")
    (part,) = parts_json["parts"]
    parts_json["parts"] = []
    for k in range(parts):
        name = copy.name.replace("-00000.parquet", f"-{k:05d}.parquet")
        if k:
            os.link(copy, copies / name)
        path_ = part["path"].replace(copy.name, name)
        parts_json["parts"].append({**part, "index": k, "path": path_})
    parts_json["rows"] = [20 * parts]
    _write(copies / "parts.json", parts_json)
    clusters = run / "records/dedup/clusters.json"
    if clusters.exists():
        found = document(clusters)
        wrote = found.get("wrote", {})
        for name, held in list(wrote.items()):
            for k in range(1, parts):
                wrote[name.replace("part-00000", f"part-{k:05d}")] = held
        _write(clusters, found)
    state = document(run / "run.json")
    state["parts"] = parts
    state["files"]["dedup/clusters.json"] = files.content_of(clusters.read_bytes())
    _write(run / "run.json", state)
    return path


def _write(path: Path, found: dict[str, Any]) -> None:
    files.write_document(str(path), found)


def main() -> None:
    """Nothing to do, report, sweep, explain: seconds, operations, and the launcher's memory."""
    for parts in SIZES:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            started = time.monotonic()
            path = made_up(folder, parts)
            print(f"  made up in {time.monotonic() - started:.1f} s", flush=True)
            run = f"slow://{folder / 'run'}"
            uid = _uid(folder / "run")
            for command in (
                ("run", str(path), "--out", run, "--force"),
                ("run", str(path), "--out", run),
                ("report", run), ("sweep", run, "--t", "5,20"), ("explain", run, uid),
            ):  # fmt: skip
                Slow.counts.clear()
                started = time.monotonic()
                done = curate(*command)
                took = time.monotonic() - started
                told = ", ".join(f"{n:,} {x}" for x, n in sorted(Slow.counts.items()))
                print(
                    f"  {parts:,} parts, {command[0]:8} {took:7.1f} s; {told}; exit {done.returncode}"
                )
                if done.returncode:
                    print(done.stderr[-500:])
            most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
            print(f"  peak memory {most:.2f} GB")
            shutil.rmtree(folder / "run")


def _uid(run: Path) -> str:
    import pyarrow.parquet as pq

    return str(pq.read_table(run / "prepare/part-00000.parquet")["uid"][0])
