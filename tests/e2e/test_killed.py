"""A run killed with SIGKILL at ten moments and started again each time; failed rows tried again."""

import json
import multiprocessing
import random
import struct
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from curate import cli, files
from curate.config import Config
from curate.planning.plan import make_plan
from curate.running import execute
from tests.stages.web import picture

PAIRS = 120
KILLS = 10
WELL = picture(60, 40)


class _Server(ThreadingHTTPServer):
    request_queue_size = 64
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that was killed resets its connections."""


class _Pictures(BaseHTTPRequestHandler):
    """A picture of its own for each number; every tenth is gone, every tenth fails while `ill`."""

    protocol_version = "HTTP/1.1"
    hits: Counter[str]
    ill: threading.Event
    illness = 503

    def do_GET(self) -> None:
        self.hits[self.path] += 1
        time.sleep(0.01)
        number = int(self.path.strip("/"))
        status = {3: 404, 7: self.illness if self.ill.is_set() else 200}.get(number % 10, 200)
        body = WELL + self.path.encode() if status == 200 else b""  # what follows a PNG is ignored
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """The tests count the hits."""


@contextmanager
def pictures(hits: Counter[str], ill: threading.Event) -> Iterator[str]:
    """Serve the pictures while the block runs; the address."""
    server = _Server(("127.0.0.1", 0), type("P", (_Pictures,), {"hits": hits, "ill": ill}))
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def settings(tmp_path: Path, address: str, out: str) -> dict[str, Any]:
    pool = tmp_path / "pool.parquet"
    if not pool.exists():
        rows = [
            {"url": f"http://h{i % 5}.example/{i}", "caption": f"picture {i}"} for i in range(PAIRS)
        ]
        pq.write_table(pa.Table.from_pylist(rows), pool)
    return {
        "input": {"paths": [str(pool)]}, "out": str(tmp_path / out), "part_rows": 40,
        "download": {"retries": 0, "concurrency": 4, "image_size": 32, "robots": False,
                     "connect_to": {f"h{i}.example": address for i in range(5)}},
        "dedup": {"policy": ["url", "image"]}, "shards": {"rows": 50},
    }  # fmt: skip


def run_once(document: dict[str, Any]) -> None:
    """What `curate run` does, without the page."""
    plan = make_plan(Config.model_validate(document))
    standing = execute.prepare_run(plan)
    with execute.recorded(plan):
        execute.execute(plan, standing)


def stored(run: Path) -> set[str]:
    """The uids whose image or outcome stands in a part or, as a whole record, in a journal."""
    found: set[str] = set()
    folder = run / "annotated/download"
    for record in run.glob("records/annotated/download/part-*.json"):
        found |= set(pq.read_table(folder / f"{record.stem}.parquet")["uid"].to_pylist())
    for journal in folder.glob("*.journal/*"):
        content = journal.read_bytes()
        while len(content) >= 12:
            checksum, meta, size = struct.unpack("<III", content[:12])
            end = 12 + meta + size
            if end > len(content) or zlib.crc32(content[4:end]) != checksum:
                break
            key, columns = json.loads(content[12 : 12 + meta])
            found |= {key} if columns else set()  # the first record has none
            content = content[end:]
    return found


def paths_by_uid(run: Path) -> dict[str, str]:
    """The path that each pair asks the server for."""
    rows: dict[str, str] = {}
    for part in (run / "prepare").glob("*.parquet"):
        table = pq.read_table(part, columns=["uid", "url"])
        for uid, url in zip(*(table[name].to_pylist() for name in ("uid", "url")), strict=True):
            rows[uid] = "/" + url.rsplit("/", 1)[1]
    return rows


def output(run: Path) -> dict[str, bytes]:
    """Every file but those that hold clocks or paths."""
    return {
        str(path.relative_to(run)): path.read_bytes()
        for path in run.rglob("*")
        if path.is_file()
        and (path.suffix in (".parquet", ".tar", ".tmp") or "shards" in path.parts)
        and "input" not in path.parts
    }


def stamps(run: Path) -> dict[str, int]:
    """When the rows and images of the steps behind the download were written."""
    return {
        str(path.relative_to(run)): path.stat().st_mtime_ns
        for folder in ("dedup", "shards", "dropped/dedup")
        for path in (run / folder).rglob("*0.*")
    }


def wait_for(condition: Callable[[], bool], process: Any) -> None:
    deadline = time.monotonic() + 120
    while process.is_alive() and not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_killed_at_ten_moments(tmp_path: Path) -> None:
    hits: Counter[str] = Counter()
    ill = threading.Event()
    ill.set()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    chance = random.Random(4)
    moments = sorted(chance.sample(range(1, PAIRS), KILLS - 1))
    with pictures(hits, ill) as address:

        def start(out: str) -> Any:
            process = context.Process(target=run_once, args=(settings(tmp_path, address, out),))
            process.start()
            return process

        whole = start("whole")
        whole.join(120)
        assert whole.exitcode == 0
        assert hits == dict.fromkeys((f"/{i}" for i in range(PAIRS)), 1)
        hits.clear()

        run = tmp_path / "killed"
        at_rest: dict[str, int] = {}  # requests for a path when its outcome was first stored
        killed = 0
        for moment in (*moments, None):
            process = start("killed")
            if moment is None:  # behind the download
                wait_for(lambda: len(list((run / "records/download").glob("*.json"))) == 3, process)
                time.sleep(chance.uniform(0, 0.05))
            else:
                wait_for(lambda at=moment: hits.total() >= at, process)  # type: ignore[misc]
                time.sleep(chance.uniform(0, 0.02))
            process.kill()
            process.join()
            killed += process.exitcode == -9
            by_uid = paths_by_uid(run)
            for uid in stored(run):
                at_rest.setdefault(by_uid[uid], hits[by_uid[uid]])
        assert killed == KILLS
        last = start("killed")
        last.join(120)
        assert last.exitcode == 0
    assert len(at_rest) == PAIRS
    assert {path: hits[path] for path in at_rest} == at_rest
    assert hits.total() <= PAIRS + 4 * KILLS  # those in flight at a kill are asked for again
    assert output(run) == output(tmp_path / "whole")
    assert not list(run.rglob("*.journal"))
    uids = [uid for folder in ("dedup", "dropped/download", "dropped/dedup", "dropped/prepare")
            for part in sorted((run / folder).glob("part-*.parquet"))
            for uid in pq.read_table(part)["uid"].to_pylist()]  # fmt: skip
    assert sorted(uids) == sorted(by_uid)


def test_retry_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command asks for what failed alone, and ends where a run without failures does."""
    hits: Counter[str] = Counter()
    ill = threading.Event()
    ill.set()
    command = CliRunner()
    with pictures(hits, ill) as address:

        def curate(out: str, *options: str) -> str:
            path = tmp_path / f"{out}.yaml"
            files.write_json(str(path), settings(tmp_path, address, out))
            done = command.invoke(cli.app, ["run", str(path), *options])
            assert done.exit_code == 0, done.output
            return done.output

        curate("run")
        before = output(tmp_path / "run")
        stood = stamps(tmp_path / "run")
        hits.clear()
        said = curate("run", "--retry-failed")
        assert "Fetching again what failed: 12 pairs in 3 parts" in said
        assert "Of 12 pairs fetched again, 0 came and 12 failed again" in said
        assert hits == dict.fromkeys((f"/{i}" for i in range(7, PAIRS, 10)), 1)
        assert "Nothing to do: all is done already" in said
        assert output(tmp_path / "run") == before
        assert stamps(tmp_path / "run") == stood
        assert files.read_json(str(tmp_path / "run" / "run.json"))["retries"] == 0
        monkeypatch.setattr(_Pictures, "illness", 500)
        said = curate("run", "--retry-failed")  # another detail of the same pairs: the ledger's
        assert "Nothing to do" not in said
        assert "Of 12 pairs fetched again, 0 came and 12 failed again" in said
        ledger = [x for x in before if x.startswith("dropped/download/")]
        changed = output(tmp_path / "run")
        assert {x for x in before if changed[x] != before[x]} >= set(ledger)
        assert stamps(tmp_path / "run") == stood
        ill.clear()
        assert set(hits.values()) == {2}
        hits.subtract(hits.keys())
        said = curate("run", "--retry-failed")
        assert "Of 12 pairs fetched again, 12 came and 0 failed again" in said
        assert set(hits.values()) == {2}
        assert "http_404 12" in said
        assert "http_5xx" not in said
        after = output(tmp_path / "run")
        said = curate("run", "--retry-failed")
        assert "Nothing to fetch again" in said
        assert "download 3/3" in said
        assert set(hits.values()) == {2}
        assert output(tmp_path / "run") == after
        written = [(x, (tmp_path / "run" / x).stat().st_mtime_ns) for x in after]
        assert "Nothing to do" in curate("run")
        assert [(x, (tmp_path / "run" / x).stat().st_mtime_ns) for x in after] == written
        state = files.read_json(str(tmp_path / "run" / "run.json"))
        assert state["retries"] == 1
        assert state["stages"]["download"]["figures"]["recovered"] == 12
        said = curate("run", "--retry", "http_404")
        assert "Fetching again what failed: 12 pairs in 3 parts" in said
        assert sorted(hits.values()) == [1] * 12 + [2] * 12
        assert output(tmp_path / "run") == after
        run_once(settings(tmp_path, address, "well"))
        well = output(tmp_path / "well")
        pages = ("report", "README.md")
        assert {x: y for x, y in after.items() if not any(page in x for page in pages)} == {
            x: y for x, y in well.items() if not any(page in x for page in pages)
        }


def test_retry_failed_needs_a_download(tmp_path: Path) -> None:
    document = settings(tmp_path, "127.0.0.1:9", "run") | {"download": {"enabled": False}}
    path = tmp_path / "text.yaml"
    files.write_json(str(path), document)
    done = CliRunner().invoke(cli.app, ["run", str(path), "--retry-failed"])
    assert done.exit_code == 1
    assert not (tmp_path / "run").exists()
