"""Prism, the job server of Beam's that is made for tests, and a pool of workers; commands on it."""

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from curate.engines.job import Job, Seen
from curate.engines.known import engine_of
from curate.files import shipped
from curate.rundir.directory import Run

PROGRAM = shutil.which(
    "prism", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
)
PARTS = 8
WAIT = 800.0  # seconds that anything here may take


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("localhost", 0))
        return int(taken.getsockname()[1])


def until(condition: Callable[[], object], what: str) -> None:
    """Wait until something is so."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < WAIT, what
        time.sleep(0.02)


@dataclass(frozen=True)
class Prism:
    """A job server and the pool that it asks for workers."""

    endpoint: str
    pool: str
    process: psutil.Process

    @property
    def options(self) -> list[str]:
        """Beam's options for a job here."""
        return [
            "--runner=PortableRunner", f"--job_endpoint={self.endpoint}",
            "--environment_type=EXTERNAL", f"--environment_config={self.pool}",
        ]  # fmt: skip

    def workers(self) -> list[psutil.Process]:
        """The worker processes that the pool has started."""
        found = self.process.children(recursive=True)
        return [one for one in found if one.status() != psutil.STATUS_ZOMBIE]

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let no worker go on while the block runs."""
        workers = self.workers()
        for one in workers:
            one.suspend()
        try:
            yield
        finally:
            for one in workers:
                one.resume()


def _listens(port: int) -> bool:
    with socket.socket() as asking:
        return asking.connect_ex(("localhost", port)) == 0


@contextmanager
def serving(folder: Path) -> Iterator[Prism]:
    """A job server and a pool while the block runs; what they say is in `folder`."""
    assert PROGRAM
    jobs, pool = free_port(), free_port()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    started: list[subprocess.Popen[bytes]] = []
    with (folder / "prism.log").open("wb") as said, (folder / "pool.log").open("wb") as told:

        def start(*command: str, to: IO[bytes]) -> psutil.Process:
            started.append(
                subprocess.Popen(command, stdout=to, stderr=to, env={**os.environ, "PATH": path})
            )
            return psutil.Process(started[-1].pid)

        try:
            start(PROGRAM, f"--job_port={jobs}", "--serve_http=false", to=said)
            workers = "apache_beam.runners.worker.worker_pool_main"
            of_pool = start(sys.executable, "-m", workers, f"--service_port={pool}", to=told)
            until(lambda: _listens(jobs) and _listens(pool), "Prism and its pool did not start")
            yield Prism(f"localhost:{jobs}", f"localhost:{pool}", of_pool)
        finally:
            for one in started:
                end_all(psutil.Process(one.pid))
                one.wait()


def end_all(process: psutil.Process) -> None:
    """Kill a process and those that it started."""
    for one in [process, *process.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            one.kill()


def _heed_interruptions() -> None:
    """Undo what a shell does to its jobs in the background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Command:
    """A `curate` command in a process, and a group, of its own."""

    def __init__(
        self, *arguments: str, said: Path, inside: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        self._said = said
        with said.open("wb") as to:
            self.process = subprocess.Popen(
                [*inside, sys.executable, "-m", "curate.cli", *arguments],
                stdout=to, stderr=to, start_new_session=True, preexec_fn=_heed_interruptions,
                env=environment or {**os.environ, "COLUMNS": "160"},
            )  # fmt: skip

    def interrupt(self) -> None:
        """Ctrl-C, which a terminal sends to all processes of the group."""
        os.killpg(self.process.pid, signal.SIGINT)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def ended(self) -> str:
        """What it said, once it has ended by itself."""
        try:
            self.process.wait(WAIT)
        finally:
            if self.process.poll() is None:
                end_all(psutil.Process(self.process.pid))
        return self.said()

    def said(self) -> str:
        return self._said.read_text()


@dataclass(frozen=True)
class Asked:
    """A run of made-up captions: prepare, dedup, balance."""

    config: Path
    run: Path

    def start(self, *options: str, on: Prism | None = None, beam: tuple[str, ...] = ()) -> Command:
        """`curate run` with some options."""
        beam = (*(on.options if on else ()), *beam)
        after = ("--", *beam) if beam else ()
        said = self.run.parent / f"{self.run.name}.{time.monotonic_ns()}.said"
        return Command("run", str(self.config), "--out", str(self.run), *options, *after, said=said)

    def well(self, *options: str, on: Prism | None = None, beam: tuple[str, ...] = ()) -> str:
        """What the same says, which has to end well."""
        command = self.start(*options, on=on, beam=beam)
        said = command.ended()
        assert command.process.returncode == 0, said
        return said

    def state(self) -> dict[str, Any]:
        path = self.run / "run.json"
        found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        return found

    def job(self) -> Job | None:
        return Job.of_state(self.state())

    def records(self, step: str) -> int:
        return len(list((self.run / "records" / step).glob("part-*.json")))


def captions(folder: Path, pairs: int) -> Path:
    """A configuration of a pool of made-up captions: some come twice, and some URLs."""
    chance = random.Random(1)
    words = shipped("metadata/en-small.txt").read_text().splitlines()
    texts = [
        " ".join(chance.choices(words, k=chance.randint(3, 9))) for _ in range(pairs * 9 // 10)
    ]
    texts += chance.choices(texts, k=pairs - len(texts))
    urls = [f"https://host{i % 97}.example/{i % (pairs * 99 // 100)}.jpg" for i in range(pairs)]
    pq.write_table(pa.table({"url": urls, "caption": texts}), folder / "pool.parquet")
    document = {
        "input": {"paths": str(folder / "pool.parquet")}, "download": {"enabled": False},
        "prepare": {"metadata": {"en": "shipped://metadata/en-small.txt"}, "languages": ["en"]},
        "dedup": {"policy": ["url", "caption"]}, "balance": {"t": pairs // 200},
        "part_rows": pairs // PARTS,
    }  # fmt: skip
    path = folder / "config.yaml"
    path.write_text(json.dumps(document))
    return path


def is_data(name: str) -> bool:
    """Whether a file of a run says neither when nor where the run was made."""
    apart = {"run.json", "config.yaml", "report", "records", "input"}
    return name.split("/")[0] not in apart and name.split("/")[-1] != "README.md"


def data(run: Path) -> dict[str, bytes]:
    """The files of a run that say neither when nor where it was made."""
    return {
        name: path.read_bytes()
        for path in run.rglob("*")
        if path.is_file() and is_data(name := str(path.relative_to(run)))
    }


def change_job(run: Run, **values: str) -> None:
    """Say in run.json something else of the job of a run."""
    job = Job.of_state(run.state())
    assert job
    run.update(job=asdict(job) | values)


def look(job: Job) -> Seen:
    """What its engine says of a job."""
    return engine_of(job).look(job)
