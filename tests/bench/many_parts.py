"""What the launcher does for a run of many parts in a store that takes 20 ms for each operation.

The run is made up: a real part of twenty pictures, and all that was written for it, again and again.
Each command is a process of its own. Told are its seconds, operations and peak memory, and how the
seconds grow with the parts: for t ~ parts ** exponent, 1.0 is in proportion.

`CURATE_BENCH_PARTS` are other numbers of parts, as in 1000,100000, which takes a quarter of an hour.
"""

import json
import math
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from curate import files
from curate.files import shipped
from curate.rundir.directory import PART_STAGES, Run
from curate.rundir.layout import SUMMARIES
from curate.schema import Stage
from curate.summaries import groups, places
from curate.summaries.places import Places, marked
from tests.users.runs import curate, document, well

LATENCY = 0.02
SIZES = tuple(int(n) for n in os.environ.get("CURATE_BENCH_PARTS", "500,5000").split(","))
_PAGE = 1000  # names that a store lists in one request
_LINKS = 50_000  # of one file, fewer than file systems allow


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
        try:
            found = [*_entries(self._strip_protocol(path))]
        except FileNotFoundError:
            self._wait("list")
            raise
        self._wait("list", times=1 + len(found) // _PAGE)
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


def _entries(folder: str) -> Iterator[dict[str, Any]]:
    with os.scandir(folder) as found:
        for one in found:
            of, kind = one.stat(), "directory" if one.is_dir() else "file"
            told = {"mtime": of.st_mtime, "ino": of.st_ino}
            yield {"name": one.path, "size": of.st_size, "type": kind, **told}


def made_up(folder: Path, parts: int) -> Path:
    """A finished run of so many parts, and as many shards, in `folder`: its configuration."""
    fsspec.register_implementation("slow", Slow, clobber=True)
    pool, run = folder / "pool", folder / "run"
    pool.mkdir()
    pictures = sorted(shipped("pipelines/demo/pool/images").rglob("*.jpg"))[40:60]
    rows = []
    for i, picture in enumerate(pictures):
        shutil.copy(picture, pool / f"{i}.jpg")
        rows.append(
            {"image": f"{i}.jpg", "caption": f"a red fox {i} in the snow, and {10 * i} more"}
        )
    (pool / "pool.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "list.txt").write_text("fox\nsnow\n")
    settings = {
        "input": {"paths": str(pool), "columns": {"image": "image", "caption": "caption"}},
        "part_rows": 20, "shards": {"rows": 20},
        "prepare": {"metadata": {"en": str(folder / "list.txt")}, "languages": ["en"]},
        "balance": {"t": 100},
    }  # fmt: skip
    path = folder / "my.yaml"
    path.write_text(json.dumps(settings))
    well("run", str(path), "--out", f"slow://{run}")
    for first in [*run.rglob("*-00000.*"), *run.glob("shards/00000*")]:
        if first.is_file():
            _again(first, parts)
    _document(run / "input/parts.json", _more_parts, parts)
    _document(run / "records/dedup/clusters.json", _more_tables, parts)
    _document(run / "shards/manifest.json", _more_shards, parts)
    sizes = document(run / "shards/sizes.json")
    (tar,) = sizes
    files.write_json(
        str(run / "shards/sizes.json"), {_named(tar, k): sizes[tar] for k in range(parts)}
    )
    state = document(run / "run.json")
    state["parts"] = parts
    entries = run / "entries/entries.parquet"
    counted = pq.read_table(entries)
    for name in ("count", "kept"):
        at = counted.column_names.index(name)
        counted = counted.set_column(at, name, pc.multiply(counted[name], parts))
    files.write_table(str(entries), counted)
    told = document(run / "records/balance/thresholds.json")
    for language in told.values():
        language |= {x: language[x] * parts for x in ("pairs", "matches", "largest")}
    files.write_json(str(run / "records/balance/thresholds.json"), told)
    for name in state["files"]:
        written = Path(Run.to(str(run)).path(name))
        state["files"][name] = files.content_of(written.read_bytes())
    files.write_document(str(run / "run.json"), state)
    for step in state["steps"]:
        Run.to(str(run)).index_records(step)
    for stage in [stage for stage in PART_STAGES if stage in state["steps"]]:
        _summaries(Run.to(str(run)), stage)
    return path


def _summaries(run: Run, stage: Stage) -> None:
    """What is counted of each group, as if its parts were like the first one, of other pairs."""
    folder = Path(run.path(stage, SUMMARIES))
    counts, pairs = (pq.read_table(folder / f"00000.{x}.parquet") for x in ("counts", "pairs"))
    first = pq.read_table(folder / "00000.places.parquet")["key"].to_numpy()
    random = np.random.RandomState(0)
    for number, records in groups._groups(run, stage).items():
        of, keys = groups.digest_of(records), Places()
        for part in records:
            keys.keys.append((part, random.randint(0, 1 << 32, len(first), np.uint32)))
        if number == 0:
            keys.keys[0] = 0, first
        many = pc.multiply(counts["pairs"], len(records))
        rows = counts.set_column(counts.column_names.index("pairs"), "pairs", many)
        for name, table in (("counts", rows), ("pairs", pairs)):
            files.write_table(groups._url(run, stage, number, name), marked(table, of=of))
        places.write(groups._url(run, stage, number, "places"), keys, of=of)


def _named(name: str, k: int) -> str:
    """The name of part or shard `k` in place of that of the first."""
    return name.replace("00000", f"{k:05d}") if "file-" not in name else _copy(name, k)


def _copy(name: str, k: int) -> str:
    return name.replace("-00000.parquet", f"-{k:05d}.parquet")


def _again(first: Path, parts: int) -> None:
    """Files like the first for all further parts; in those of text their numbers are their own."""
    if first.suffix == ".json" and first.parent.parent.name != "run":
        text = json.dumps({x: y for x, y in document(first).items() if x != files.CHECK})
        for k in range(1, parts):
            first.with_name(_named(first.name, k)).write_text(_named(text, k))
        return
    held = first
    for k in range(1, parts):
        new = first.with_name(_named(first.name, k))
        if k % _LINKS:
            os.link(held, new)
        else:
            held = Path(shutil.copy(first, new))


def _document(path: Path, more: Any, parts: int) -> None:
    found = document(path)
    more(found, parts)
    files.write_document(str(path), found)


def _more_parts(found: dict[str, Any], parts: int) -> None:
    (part,) = found["parts"]
    found["parts"] = [{**part, "index": k, "path": _copy(part["path"], k)} for k in range(parts)]
    found["rows"] = [part["rows"] * parts]


def _more_tables(found: dict[str, Any], parts: int) -> None:
    wrote = found["wrote"]
    found["wrote"] = {_named(x, k): y for x, y in wrote.items() for k in range(parts)}


def _more_shards(found: dict[str, Any], parts: int) -> None:
    (shard,) = found["shards"]
    found["shards"] = [{**shard, "name": _named(shard["name"], k)} for k in range(parts)]
    found["pairs"], found["bytes"] = found["pairs"] * parts, found["bytes"] * parts


def one(*command: str) -> None:
    """Run a command in this process and print what it took, as a line of JSON."""
    fsspec.register_implementation("slow", Slow, clobber=True)
    started, spent = time.monotonic(), time.process_time()
    done = curate(*command)
    took = {
        "rc": done.returncode, "seconds": time.monotonic() - started,
        "processor": time.process_time() - spent, "operations": Slow.counts,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
        "said": done.stderr[-500:] if done.returncode else done.stdout,
    }  # fmt: skip
    print(json.dumps(took))


def _alone(command: tuple[str, ...]) -> dict[str, Any]:
    code = "import sys; from tests.bench.many_parts import one; one(*sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", code, *command], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Nothing to do, twice, rebalance, report, sweep, explain; and what grew, by command."""
    grown: dict[str, list[tuple[int, float]]] = {}
    for parts in SIZES:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            started = time.monotonic()
            path = made_up(folder, parts)
            print(f"  made up in {time.monotonic() - started:.1f} s", flush=True)
            run = f"slow://{folder / 'run'}"
            uid = _uid(folder / "run")
            for name, command in {
                "first": ("run", str(path), "--out", run, "--force"),
                "run": ("run", str(path), "--out", run),
                "report": ("report", run),
                "sweep": ("sweep", run, "--t", "5,20"),
                "explain": ("explain", run, uid),
            }.items():
                if name not in os.environ.get("CURATE_BENCH_COMMANDS", name):
                    continue
                found = _alone(command)
                told = ", ".join(f"{n:,} {x}" for x, n in sorted(found["operations"].items()))
                print(
                    f"  {parts:,} parts, {name:8} {found['seconds']:7.1f} s, of these"
                    f" {found['processor']:.1f} of the processor; {told}; {found['peak']:.2f} GB",
                    flush=True,
                )
                if found["rc"]:
                    print(found["said"])
                grown.setdefault(name, []).append((parts, found["seconds"]))
    for name, ((few, quick), *_, (many, long)) in grown.items() if len(SIZES) > 1 else ():
        exponent = math.log(long / quick) / math.log(many / few)
        print(f"  {name}: seconds ~ parts ** {exponent:.2f} from {few:,} to {many:,} parts")


def _uid(run: Path) -> str:
    return str(pq.read_table(run / "prepare/part-00000.parquet")["uid"][0])
