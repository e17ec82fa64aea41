"""Hosts on this machine, which share nothing that can be written but a network of their own.

A host is a network namespace on a bridge. What runs there has a /tmp, in which its home is, and a
/dev/shm of its own; the folders of the project and of its packages it cannot write to. It takes root.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import psutil

from curate import caches
from curate.commands import demo
from curate.config import file as config_file
from curate.files import shipped
from tests.engines.prism import Command, captions, end_all, until
from tests.engines.remote import BUCKET
from tests.users.runs import SMALL

ROOT = Path(__file__).parents[2]
REMOTE = "tests.engines.remote"
CHOICES = (
    "part_rows=30", "shards.rows=10", "balance.t=1", "score=null",
    "select=[{name: short_caption, column: caption_chars, min: 5}]",
)  # fmt: skip
"""For few pairs, and without a model."""
_STAND_BY = "/run/curate-hosts"


def _lacking() -> str:
    found = [x for x in ("ip", "unshare", "mount") if not shutil.which(x)]
    found += [x for x in ("moto", "s3fs") if not find_spec(x)]
    if os.getuid():
        found.append("root")
    elif not found:
        space = f"curate-{os.getpid()}-try"
        tried = f"ip netns add {space} && ip netns del {space}", "unshare --mount true"
        if any(subprocess.run(x, shell=True, capture_output=True).returncode for x in tried):
            found.append("the right to make network namespaces")
    return ", ".join(found)


MISSING = _lacking()
"""What hosts lack here; empty where there can be some."""


class Hosts:
    """The hosts of one test; `ip` has their addresses by name, `folder` what they say.

    They see the folders `shown` beside the project's.
    """

    def __init__(self, *names: str, folder: Path, shown: Iterable[Path] = ()) -> None:
        self.ip = {name: f"10.77.0.{10 + i}" for i, name in enumerate(names)}
        self.folder = folder
        self._started: list[subprocess.Popen[bytes]] = []
        own = {ROOT, folder, Path(sys.prefix), *map(Path, caches.folders())}
        self._shown = [str(x) for x in sorted({*own, *shown}) if x.is_dir()]

    def _space(self, name: str) -> str:
        return f"curate-{os.getpid()}-{name}"

    @contextmanager
    def up(self) -> Iterator["Hosts"]:
        """The hosts stand while the block runs; then all ends that was started on them."""
        try:
            switch = self._space("switch")
            _sh(f"ip netns add {switch}")
            _sh(f"ip -n {switch} link add br0 type bridge")
            _sh(f"ip -n {switch} link set br0 up")
            for i, (name, ip) in enumerate(self.ip.items()):
                space = self._space(name)
                _sh(f"ip netns add {space}")
                _sh(f"ip -n {switch} link add v{i} type veth peer name eth0 netns {space}")
                _sh(f"ip -n {switch} link set v{i} master br0 up")
                _sh(f"ip -n {space} addr add {ip}/24 dev eth0")
                _sh(f"ip -n {space} link set eth0 up")
                _sh(f"ip -n {space} link set lo up")
            yield self
        finally:
            for one in reversed(self._started):
                self.kill(one)
            for name in [*self.ip, "switch"]:
                subprocess.run(["ip", "netns", "del", self._space(name)], check=False)

    def inside(self, host: str) -> list[str]:
        """What stands before a command that is to run on a host."""
        steps = [f"mkdir -p {_STAND_BY}", f"mount -t tmpfs none {_STAND_BY}"]
        for i, folder in enumerate(self._shown):
            steps += [f"mkdir {_STAND_BY}/{i}", f"mount --bind '{folder}' {_STAND_BY}/{i}"]
        steps += ["mount -t tmpfs none /tmp", "mount -t tmpfs none /dev/shm"]
        for i, folder in enumerate(self._shown):
            steps += [
                f"mkdir -p '{folder}'", f"mount --bind {_STAND_BY}/{i} '{folder}'",
                f"mount -o remount,ro,bind '{folder}'",
            ]  # fmt: skip
        steps += ["mkdir -p /tmp/home /tmp/work", "cd /tmp/work", 'exec "$@"']
        space = ["ip", "netns", "exec", self._space(host)]
        return [*space, "unshare", "--mount", "sh", "-ec", "\n".join(steps), "sh"]

    def environment(self) -> dict[str, str]:
        """That of a command on a host."""
        path = f"{sys.prefix}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        shared = {
            "AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://{self.ip['store']}:9000",
        }  # fmt: skip
        own = {"PATH": path, "HOME": "/tmp/home", "TMPDIR": "/tmp", "PYTHONPATH": str(ROOT)}
        return {**own, **shared, "CURATE_CACHE": caches.folders()[0], "COLUMNS": "160"}

    def start(self, host: str, name: str, *command: str) -> "subprocess.Popen[bytes]":
        """Start a program on a host, as a group of its own; what it says is appended to a log."""
        with self._log(name).open("ab") as said:
            found = subprocess.Popen(
                [*self.inside(host), *command], env=self.environment(), start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=said, stderr=said,
            )  # fmt: skip
        self._started.append(found)
        return found

    def python(self, host: str, name: str, *arguments: str) -> "subprocess.Popen[bytes]":
        """The same for a module of Python's."""
        return self.start(host, name, "python", "-m", *arguments)

    def result(self, host: str, *arguments: str) -> str:
        """What Python prints there, given a module and its arguments."""
        done = subprocess.run(
            [*self.inside(host), "python", "-m", *arguments], env=self.environment(), text=True,
            capture_output=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def command(self, name: str, *arguments: str, host: str = "launcher") -> Command:
        """A `curate` command on a host."""
        found = Command(
            *arguments, said=self._log(name), inside=self.inside(host),
            environment=self.environment(),
        )  # fmt: skip
        self._started.append(found.process)
        return found

    def kill(self, process: "subprocess.Popen[bytes]") -> None:
        """Kill a program with all that it has started, as where the host goes out."""
        if process.poll() is None:
            end_all(psutil.Process(process.pid))
        process.wait()

    def cut(self, host: str) -> None:
        """Pull a host's cable; `mend` puts it in again."""
        _sh(f"ip -n {self._space(host)} link set eth0 down")

    def mend(self, host: str) -> None:
        """Put a host's cable in again."""
        _sh(f"ip -n {self._space(host)} link set eth0 up")

    def said(self, name: str) -> str:
        """The log of this name, so far."""
        path = self._log(name)
        return path.read_text(errors="replace") if path.exists() else ""

    def await_port(self, host: str, port: int) -> None:
        """Wait until a port of a host answers to another host."""
        code = f"import socket; socket.create_connection(('{self.ip[host]}', {port}), 1)"
        until(self._succeeds("launcher", code), f"{host}:{port} does not answer")

    def _succeeds(self, host: str, code: str) -> Callable[[], bool]:
        space = ["ip", "netns", "exec", self._space(host), sys.executable, "-c", code]
        return lambda: not subprocess.run(space, capture_output=True, check=False).returncode

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"


def _sh(command: str) -> None:
    subprocess.run(command.split(), check=True)


@contextmanager
def lab(*more: str, folder: Path, shown: Iterable[Path] = ()) -> Iterator[Hosts]:
    """Hosts of these names, a store, the demo's pictures, and a launcher, which submits."""
    hosts = Hosts("store", "web", "launcher", *more, folder=folder, shown=shown)
    with hosts.up():
        hosts.start("store", "store", "moto_server", "-H", "0.0.0.0", "-p", "9000")
        hosts.python("web", "web", REMOTE, "pictures", "8000")
        hosts.await_port("store", 9000)
        hosts.await_port("web", 8000)
        hosts.result("launcher", REMOTE, "bucket")
        yield hosts


def with_pictures(hosts: Hosts) -> Path:
    """A configuration of some of the demo's pairs, whose pool is in the store."""
    pool = shipped("pipelines/demo/pool/pool.jsonl").read_text().splitlines()
    there = f"s3://{BUCKET}/pool.jsonl"
    (hosts.folder / "pool.jsonl").write_text("\n".join(pool[i] for i in SMALL) + "\n")
    hosts.result("launcher", REMOTE, "put", str(hosts.folder / "pool.jsonl"), there)
    web = hosts.ip["web"]
    addresses = {"pictures.example": f"{web}:8000", "gone.example": f"{web}:1"}
    found = demo.demo_config(
        addresses, out="runs/none", overrides=(*CHOICES, f"input.paths={there}")
    )
    path = hosts.folder / "pictures.yaml"
    path.write_text(config_file.dump(found))
    return path


def with_captions(hosts: Hosts, pairs: int) -> Path:
    """A configuration of made-up captions, whose pool is in the store."""
    folder = hosts.folder / f"captions-{pairs}"
    folder.mkdir()
    path, there = captions(folder, pairs), f"s3://{BUCKET}/captions-{pairs}.parquet"
    hosts.result("launcher", REMOTE, "put", str(folder / "pool.parquet"), there)
    document = json.loads(path.read_text())
    path.write_text(json.dumps(document | {"input": {"paths": there}}))
    return path


def digests(hosts: Hosts, *names: str) -> list[dict[str, str]]:
    """Of each run in the store that of each file that tells neither when nor where it was made."""
    runs = [f"s3://{BUCKET}/{name}" for name in names]
    found: list[dict[str, str]] = json.loads(hosts.result("launcher", REMOTE, "digests", *runs))
    assert all(found)
    return found


def is_written(hosts: Hosts, run: str, step: str) -> Callable[[], bool]:
    """Whether a part of a step is in the store."""
    asked = re.compile(rf'"PUT /{BUCKET}/{run}/records/{step}/part-\d+.json HTTP/1.1. 200')
    return lambda: bool(asked.search(hosts.said("store")))


def requests(hosts: Hosts) -> int:
    """Those that the store has answered so far."""
    return hosts.said("store").count('HTTP/1.1" ')
