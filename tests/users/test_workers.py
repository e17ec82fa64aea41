"""Two workers: one is killed, the command is stopped or killed, a proxy is set for the shell."""

import json
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

COMMAND = [sys.executable, "-m", "curate.cli"]
PROXIES = ("http_proxy", "https_proxy", "grpc_proxy", "all_proxy")
SOON = 20.0  # seconds, on a busy machine
GO_ON = "the same command goes on"


@pytest.fixture(scope="module")
def silent() -> Iterator[tuple[str, list[socket.socket]]]:
    """The address of a host that takes every request and answers none; its open connections."""
    server = socket.create_server(("127.0.0.1", 0))
    taken: list[socket.socket] = []

    def take() -> None:
        while True:
            try:
                taken.append(server.accept()[0])
            except OSError:
                return

    threading.Thread(target=take, daemon=True).start()
    yield f"127.0.0.1:{server.getsockname()[1]}", taken
    server.close()


@pytest.fixture(scope="module")
def config(
    silent: tuple[str, list[socket.socket]], tmp_path_factory: pytest.TempPathFactory
) -> str:
    """A configuration whose two parts are fetched until somebody stops them."""
    folder = tmp_path_factory.mktemp("workers")
    urls = [f"http://{host}.example/1.png" for host in "ab"]
    captions = [f"a small red house {i} by the sea" for i in range(2)]
    pq.write_table(pa.table({"url": urls, "caption": captions}), folder / "pool.parquet")
    hosts = {f"{name}.example": silent[0] for name in "ab"}
    document = {
        "input": {"paths": str(folder / "pool.parquet")}, "part_rows": 1,
        "download": {"robots": False, "timeout": 300, "connect_to": hosts},
    }  # fmt: skip
    (folder / "c.yaml").write_text(json.dumps(document))
    return str(folder / "c.yaml")


def children(pid: int) -> list[int]:
    """The processes that a process started."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return sorted(int(child) for task in tasks for child in task.read_text().split())


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def started(
    config: str, out: Path, *, fetching: list[socket.socket] | None
) -> "subprocess.Popen[str]":
    """The command, once its two workers stand, or are fetching."""
    process = subprocess.Popen(
        [*COMMAND, "run", config, "--out", str(out), "--workers", "2"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    if fetching is not None:
        fetching.clear()
        wait_for(lambda: len(fetching) >= 2)
    wait_for(lambda: len(children(process.pid)) == 2)
    return process


def test_a_run_is_ended_from_another_terminal(
    config: str, silent: tuple[str, list[socket.socket]], tmp_path: Path
) -> None:
    command = started(config, tmp_path / "run", fetching=silent[1])
    workers = children(command.pid)
    shown = subprocess.run(
        [*COMMAND, "status", str(tmp_path / "run")], capture_output=True, text=True, check=True
    )
    assert f"process {command.pid} of" in shown.stdout
    subprocess.run([*COMMAND, "cancel", str(tmp_path / "run")], capture_output=True, check=True)
    _, error = command.communicate(timeout=SOON)
    assert command.returncode == 130
    assert error.startswith("stopped; what is done is kept")
    assert not any(map(lives, workers))


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (signal.SIGKILL, "memory is short: give it more memory, or take fewer workers (--workers)"),
        (signal.SIGSEGV, "it crashed"),
        (signal.SIGTERM, "it was told to end"),
    ],
)
def test_a_worker_is_killed_in_a_part(
    number: signal.Signals, said: str, config: str, silent: tuple[str, list[socket.socket]],
    tmp_path: Path,
) -> None:  # fmt: skip
    command = started(config, tmp_path / "run", fetching=silent[1])
    workers = children(command.pid)
    decoders = [decoder for worker in workers for decoder in children(worker)]
    os.kill(workers[1], number)
    _, error = command.communicate(timeout=SOON)
    assert command.returncode == 1
    assert error.startswith("error worker ")
    assert error.count("\n") == 1
    assert f"(process {workers[1]}) ended by {number.name}, download/annotated of part " in error
    assert said in error
    assert GO_ON in error
    assert not any(map(lives, [*workers, *decoders]))
    assert json.loads((tmp_path / "run" / "run.json").read_text())["state"] == "failed"


def test_a_worker_is_killed_while_it_starts(config: str, tmp_path: Path) -> None:
    command = started(config, tmp_path / "run", fetching=None)
    os.kill(children(command.pid)[0], signal.SIGKILL)
    _, error = command.communicate(timeout=3 * SOON)  # the run is planned first
    assert command.returncode == 1
    assert "ended by SIGKILL, at its start: " in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("fetching", [True, False])
def test_workers_end_with_a_command_that_is_killed(
    fetching: bool, config: str, silent: tuple[str, list[socket.socket]], tmp_path: Path
) -> None:
    command = started(config, tmp_path / "run", fetching=silent[1] if fetching else None)
    workers = children(command.pid)
    command.kill()
    command.communicate(timeout=SOON)
    killed = time.monotonic()
    while any(map(lives, workers)):
        assert time.monotonic() - killed < 5
        time.sleep(0.02)


def test_a_command_that_is_told_to_end_is_stopped_as_by_ctrl_c(
    config: str, silent: tuple[str, list[socket.socket]], tmp_path: Path
) -> None:
    command = started(config, tmp_path / "run", fetching=silent[1])
    workers = children(command.pid)
    command.terminate()
    _, error = command.communicate(timeout=SOON)
    assert command.returncode == 128 + signal.SIGTERM
    assert error.startswith("stopped; what is done is kept. Resume with: ")
    assert error.count("\n") == 1
    assert not any(map(lives, workers))
    assert json.loads((tmp_path / "run" / "run.json").read_text())["state"] == "interrupted"


class Terminal:
    """A command in the foreground of a terminal of its own."""

    def __init__(self, *arguments: str) -> None:
        self.pid, self._keys = pty.fork()
        if not self.pid:
            os.execv(sys.executable, [*COMMAND, *arguments])
        self.said = b""

    def read(self, until: Callable[[], object]) -> None:
        deadline = time.monotonic() + 120
        while not until():
            assert time.monotonic() < deadline, self.said
            if select.select([self._keys], [], [], 0.05)[0]:
                try:
                    self.said += os.read(self._keys, 1 << 16)
                except OSError:  # its last process has ended
                    return

    def press(self, keys: bytes) -> None:
        os.write(self._keys, keys)

    def end(self) -> int:
        """Its exit status."""
        self.read(lambda: False)
        os.close(self._keys)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def check_stopped(terminal: Terminal, out: Path) -> None:
    assert terminal.end() == 130
    said = terminal.said.decode()
    assert "stopped; what is done is kept. Resume with: " in said
    assert "Traceback" not in said
    assert "CRITICAL" not in said
    assert "Aborted" not in said
    assert said.rpartition("stopped; what is done is kept")[2].count("\n") == 1
    if (out / "run.json").exists():
        assert json.loads((out / "run.json").read_text())["state"] == "interrupted"


@pytest.mark.parametrize(("workers", "keys"), [(2, b"\x03"), (2, b"\x03\x03"), (1, b"\x03")])
def test_ctrl_c_in_a_terminal(
    workers: int, keys: bytes, config: str, silent: tuple[str, list[socket.socket]], tmp_path: Path
) -> None:
    silent[1].clear()
    terminal = Terminal("run", config, "--out", str(tmp_path / "run"), "--workers", str(workers))
    terminal.read(lambda: len(silent[1]) >= workers)
    for key in keys:
        terminal.press(bytes([key]))  # which drops what has not been read
        pressed = time.monotonic()
        terminal.read(lambda then=pressed: time.monotonic() > then + 0.05)  # type: ignore[misc]
    check_stopped(terminal, tmp_path / "run")


def test_ctrl_c_while_the_workers_start(config: str, tmp_path: Path) -> None:
    terminal = Terminal("run", config, "--out", str(tmp_path / "run"), "--workers", "2")
    terminal.read(lambda: children(terminal.pid))
    terminal.press(b"\x03")
    check_stopped(terminal, tmp_path / "run")


def test_ctrl_c_while_a_run_is_planned(config: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "entries.txt")  # whoever reads it waits
    terminal = Terminal("run", config, "--out", str(tmp_path / "run"), "--workers", "2", "--set",
                        f"prepare.metadata={{en: {tmp_path}/entries.txt}}")  # fmt: skip
    held: list[int] = []

    def read() -> bool:
        try:
            held.append(os.open(tmp_path / "entries.txt", os.O_WRONLY | os.O_NONBLOCK))
        except OSError:  # nobody reads yet
            return False
        return True

    terminal.read(read)
    loading = children(terminal.pid)
    assert len(loading) == 2  # they load meanwhile
    terminal.press(b"\x03")
    check_stopped(terminal, tmp_path / "run")
    wait_for(lambda: not any(map(lives, loading)))
    os.close(held[0])


def test_a_proxy_is_set_for_the_shell_and_repeated_no_worker_is_started(tmp_path: Path) -> None:
    pool = {"url": ["http://a.example/1.png"], "caption": ["a small red house by the sea"]}
    pq.write_table(pa.table(pool), tmp_path / "pool.parquet")
    document = {"input": {"paths": str(tmp_path / "pool.parquet")}, "download": {"enabled": False}}
    (tmp_path / "c.yaml").write_text(json.dumps(document))
    nowhere = "http://127.0.0.1:9"
    names = [*PROXIES, *map(str.upper, PROXIES)]
    command = [*COMMAND, "run", str(tmp_path / "c.yaml"), "--out", str(tmp_path / "run"),
               "--workers", "2"]  # fmt: skip
    proxies = {**dict.fromkeys(names, nowhere), "no_proxy": "intranet.example"}
    done = subprocess.run(
        command, env={**os.environ, **proxies},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    again = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while again.poll() is None:
        assert not children(again.pid)
        time.sleep(0.02)
    assert again.returncode == 0
