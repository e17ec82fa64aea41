"""A Flink session cluster on test hosts: JobManager, Beam's job server, TaskManagers with pools."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Any

import psutil
import yaml

from tests.engines.hosts import MISSING, REMOTE, Hosts, lab
from tests.engines.prism import Command, until

JOB_SERVER = "BEAM_FLINK_JOB_SERVER"
"""The variable that names Beam's jar, where Maven has not fetched it."""
_FETCHED = "repository/org/apache/beam/beam-runners-flink-1.20-job-server/*/*job-server-*.jar"
_JOBS, _REST, _POOL = 8099, 8081, 50000
_OPENED = (
    "java.lang", "java.net", "java.io", "java.nio", "sun.nio.ch", "java.lang.reflect", "java.text",
    "java.time", "java.util", "java.util.concurrent", "java.util.concurrent.atomic",
    "java.util.concurrent.locks",
)  # fmt: skip
_OPENS = [
    "--add-exports=java.base/sun.net.util=ALL-UNNAMED",
    *(f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in _OPENED),
]
# Without Flink's own scripts, which work out some sizes from others, all are given.
_SETTINGS: dict[str, object] = {
    "jobmanager.bind-host": "0.0.0.0",
    "jobmanager.memory.heap.size": "512m",
    "jobmanager.memory.off-heap.size": "128m",
    "jobmanager.memory.jvm-metaspace.size": "192m",
    "jobmanager.memory.jvm-overhead.min": "192m",
    "jobmanager.memory.jvm-overhead.max": "192m",
    "blob.server.port": 6124,
    "taskmanager.bind-host": "0.0.0.0",
    "taskmanager.numberOfTaskSlots": 2,
    "taskmanager.cpu.cores": 1.0,
    "taskmanager.memory.framework.heap.size": "128m",
    "taskmanager.memory.task.heap.size": "512m",
    "taskmanager.memory.framework.off-heap.size": "128m",
    "taskmanager.memory.task.off-heap.size": "128m",
    "taskmanager.memory.managed.size": "128m",
    "taskmanager.memory.network.min": "192m",
    "taskmanager.memory.network.max": "192m",
    "taskmanager.memory.jvm-metaspace.size": "256m",
    "taskmanager.memory.jvm-overhead.min": "192m",
    "taskmanager.memory.jvm-overhead.max": "192m",
    "rest.bind-address": "0.0.0.0",
    "rest.port": _REST,
    "io.tmp.dirs": "/tmp",
}
_DECIDING = (
    "taskmanager.load-balance.mode", "heartbeat.interval", "heartbeat.timeout",
    "restart-strategy.type", "restart-strategy.fixed-delay.attempts",
    "restart-strategy.fixed-delay.delay", "classloader.resolve-order",
)  # fmt: skip
"""Settings that are those of docs/cluster.md."""


def documented() -> dict[str, object]:
    """The settings of bare machines in docs/cluster.md."""
    text = (Path(__file__).parents[2] / "docs/cluster.md").read_text()
    found: dict[str, object] = yaml.safe_load(text.partition("```yaml\n")[2].partition("```")[0])
    return found


def libraries() -> Path | None:
    """The folder of Flink's jars, which `apache-flink-libraries` brings."""
    try:
        found = [x for x in files("apache-flink-libraries") or () if "lib/flink-dist-" in str(x)]
    except PackageNotFoundError:
        return None
    return Path(str(found[0].locate())).parent if found else None


def job_server() -> Path | None:
    """Beam's job server for Flink: that of the environment, else the newest that Maven has fetched."""
    if given := os.environ.get(JOB_SERVER):
        return Path(given).absolute()
    found = sorted((Path.home() / ".m2").glob(_FETCHED), key=lambda path: path.parent.name)
    return found[-1] if found else None


def lacks() -> str:
    """What a cluster lacks here; empty where it can be had."""
    found = {"java": shutil.which("java"), "apache-flink-libraries": libraries()}
    found[f"Beam's job server for Flink (from Maven, or its path in {JOB_SERVER})"] = job_server()
    return ", ".join([*[MISSING] * bool(MISSING), *(x for x, path in found.items() if not path)])


class Cluster:
    """The cluster on its hosts; `roles` are the programs that run there, by name."""

    def __init__(self, hosts: Hosts) -> None:
        self.hosts = hosts
        self.roles: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        """Start the JobManager and Beam's job server; TaskManagers are started one by one."""
        main = "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint"
        self._flink("jm", "jm", ["-Xmx512m", "-XX:MaxMetaspaceSize=192m"], main)
        self.hosts.await_port("jm", _REST)
        if jar := job_server():
            ip = self.hosts.ip["jm"]
            self.roles["job-server"] = self.hosts.start(
                "jm", "job-server", "java", "-Xmx512m", *_OPENS, "-jar", str(jar), f"--job-host={ip}",
                f"--job-port={_JOBS}", "--artifact-port=8098", "--expansion-port=-1",
                "--artifacts-dir=/tmp/artifacts", f"--flink-master={ip}:{_REST}",
                f"--flink-conf-dir={self._configured('jm')}",
            )  # fmt: skip
            self.hosts.await_port("jm", _JOBS)

    def start_worker(self, host: str) -> None:
        """Start a TaskManager and the pool beside it."""
        pool = "apache_beam.runners.worker.worker_pool_main"
        self.roles[f"pool-{host}"] = self.hosts.python(
            host, f"pool-{host}", pool, f"--service_port={_POOL}"
        )
        memory = ["-Xmx640m", "-XX:MaxDirectMemorySize=448m", "-XX:MaxMetaspaceSize=256m"]
        main = "org.apache.flink.runtime.taskexecutor.TaskManagerRunner"
        name = f"taskmanager.resource-id={host}-{time.monotonic_ns()}"
        before = self.slots()
        self._flink(host, host, memory, main, "-D", name)
        until(lambda: self.slots() > before, f"{host} offers no slot")

    def end_worker(self, host: str) -> None:
        """The host goes out."""
        for role in (host, f"pool-{host}"):
            self.hosts.kill(self.roles[role])

    def kill_worker(self, host: str) -> bool:
        """Kill a process of Python's that the pool of a host has started, if there is one."""
        found = psutil.Process(self.roles[f"pool-{host}"].pid).children(recursive=True)
        for one in found[:1]:
            one.kill()
        return bool(found)

    def slots(self) -> int:
        """Those of all TaskManagers that the JobManager knows."""
        return int(self.told("overview")["slots-total"])

    def told(self, path: str) -> Any:
        """What Flink's REST interface says."""
        url = f"http://{self.hosts.ip['jm']}:{_REST}/{path}"
        return json.loads(self.hosts.result("launcher", REMOTE, "get", url))

    def run(self, name: str, config: Path, *options: str) -> Command:
        """`curate run` of a configuration into the store, with Beam's options for this cluster."""
        jm = self.hosts.ip["jm"]
        beam = [
            "--runner=PortableRunner", f"--job_endpoint={jm}:{_JOBS}", f"--flink_master={jm}:{_REST}",
            "--environment_type=EXTERNAL", f"--environment_config=127.0.0.1:{_POOL}",
            "--parallelism=2", "--environment_cache_millis=1000",
            "--experiments=disable_logging_submission_environment",
        ]  # fmt: skip
        out = f"s3://bucket/{name}"
        log = f"{name}-{time.monotonic_ns()}"
        return self.hosts.command(log, "run", str(config), "--out", out, *options, "--", *beam)

    def _flink(self, host: str, name: str, memory: Sequence[str], main: str, *more: str) -> None:
        folder = libraries()
        assert folder
        # Beam's jar on the cluster's own class path: only then is a worker kept from stage to stage.
        jars = [*folder.glob("flink-dist-*.jar"), *sorted(folder.glob("log4j-*.jar"))]
        configured = self._configured(host)
        path = ":".join(map(str, [*jars, configured, *filter(None, [job_server()])]))
        self.roles[name] = self.hosts.start(
            host, name, "java", *memory, *_OPENS, "-cp", path, main,
            "--configDir", str(configured), *more,
        )  # fmt: skip

    def _configured(self, host: str) -> Path:
        folder = self.hosts.folder / f"conf-{host}"
        folder.mkdir(exist_ok=True)
        jm, said = self.hosts.ip["jm"], documented()
        own = {
            "jobmanager.rpc.address": jm,
            "rest.address": jm,
            "taskmanager.host": self.hosts.ip[host],
        }
        settings = {**_SETTINGS, **{x: said[x] for x in _DECIDING}, **own}
        (folder / "config.yaml").write_text(yaml.safe_dump(settings))
        return folder


@contextmanager
def cluster(folder: Path, *, workers: int = 2) -> Iterator[Cluster]:
    """A cluster with some TaskManagers while the block runs."""
    jars = [x for x in (libraries(), job_server()) if x]
    shown = [x if x.is_dir() else x.parent for x in jars]
    with lab("jm", "tm1", "tm2", folder=folder, shown=shown) as hosts:
        found = Cluster(hosts)
        found.start()
        for number in range(workers):
            found.start_worker(f"tm{number + 1}")
        yield found
