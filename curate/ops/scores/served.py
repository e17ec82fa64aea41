"""A model in a process of its own, one a device, for all workers of a machine.

Workers decode and make batches; whoever needs a device first starts its process, the others find it by
the name of its socket, and it ends when the last of them has. It runs one batch after the other, each
in the shape that a worker alone would give it, so that scores do not depend on who ran them. Pixels
are handed over in memory that both map, which 154 MB (256 images) cross in a fifth of the time that the
socket takes, and which goes with the processes that hold it.

The name is of the kernel's, not of the file system: only processes of this machine (of this container)
and user reach it, and nothing is left of a killed process.
"""

import errno
import hashlib
import mmap
import os
import pickle
import queue
import select
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from multiprocessing.connection import Connection
from typing import IO, TYPE_CHECKING, Any, Protocol

from curate import parent
from curate.errors import CurateError
from curate.files.stores import told_of_temporary
from curate.ops.scores.devices import Device
from curate.ops.scores.pairs import Batch, Embedded, Preparer, Preprocess, Tokenizer

if TYPE_CHECKING:
    import torch

_TRIES = 3
_PATIENCE = 0.05  # seconds between two tries, and that a process may take to end
_BACKLOG = 1024
_CREDENTIALS = struct.Struct("3i")
_VIEWS = ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")
"""Variables by which a process sees other devices under the same names."""
_CODE = (__file__, os.stat(__file__).st_mtime_ns, sys.executable)
_children: dict[int, "subprocess.Popen[bytes]"] = {}
"""The processes that this one started, by their ids."""


class Loaded(Protocol):
    """A model that the process of a device has loaded."""

    preprocess: Preprocess
    tokenizer: Tokenizer
    batch_size: int
    on_gpu: bool

    def pinned(self, batch: Batch) -> Batch:
        """The batch in memory from which the device copies."""

    def __call__(self, batch: Batch) -> Embedded:
        """Run the model."""


class Model(Protocol):
    """A model that may be loaded on a device; it travels to the device's process, and is its name."""

    @property
    def model(self) -> str:
        """What a person calls it."""

    def on(self, device: str) -> Loaded:
        """The model on a device, as torch calls that."""


@dataclass(frozen=True)
class _Place:
    """One of the processes of a model."""

    spec: Model
    device: Device
    number: int

    @property
    def address(self) -> str:
        """What the socket is called: another one for another user, code, container or view."""
        seen = [os.environ.get(name) for name in _VIEWS]
        told = [os.getuid(), os.readlink("/proc/self/ns/mnt"), _CODE, seen, self]
        return "\0curate-" + hashlib.sha256(repr(told).encode()).hexdigest()[:32]

    def __str__(self) -> str:
        return f"the process that runs {self.spec.model} on {self.device.name}"


@dataclass(frozen=True)
class _Ready:
    """What a process says once its model is loaded."""

    pid: int
    batch_size: int
    on_gpu: bool
    preprocess: Preprocess
    tokenizer: Tokenizer


@dataclass(frozen=True)
class _Asked:
    """A batch whose pixels are in the memory that was sent before."""

    shape: tuple[int, ...]
    dtype: "torch.dtype"
    tokens: "torch.Tensor"
    n: int


@dataclass(frozen=True)
class _Shared(Batch):
    """A batch whose pixels another process can map."""

    file: int  # of the pixels

    def __del__(self) -> None:
        os.close(self.file)


class Served(Preparer):
    """The scorer of a worker whose batches processes on `devices` run, the one that is free next."""

    def __init__(self, spec: Model, devices: Sequence[Device]) -> None:
        places = [_Place(spec, device, number) for number, device in enumerate(devices)]
        first = os.getpid() % len(places)
        # One batch more than there are devices is on its way: it is copied while they compute.
        self.lanes = len(places) + 1
        self._idle: queue.Queue[_Link] = queue.Queue()
        for place in 2 * (places[first:] + places[:first]):
            self._idle.put(_Link(place))
        link = self._idle.get()
        ready = link.open()
        self._idle.put(link)
        self.on_gpu = ready.on_gpu
        super().__init__(ready.preprocess, ready.tokenizer, batch_size=ready.batch_size)

    def _batch(self, pixels: list["torch.Tensor"], tokens: "torch.Tensor", *, n: int) -> Batch:
        import torch

        shape, dtype = (len(pixels), *self._blank.shape), self._blank.dtype
        file = os.memfd_create("pixels")
        os.ftruncate(file, len(pixels) * self._blank.nbytes)
        held = _mapped(file, shape, dtype)
        if pixels:
            torch.stack(pixels, out=held)
        return _Shared(held, tokens, n, file)

    def __call__(self, batch: Batch) -> Embedded:
        """Let the process that has waited longest run the model.

        Raises
        ------
        CurateError
            Where that process has ended, or the model fails there.
        """
        if not isinstance(batch, _Shared):
            raise AssertionError("a batch of another scorer")
        link = self._idle.get()
        try:
            return link.run(batch)
        finally:
            self._idle.put(link)


def _mapped(file: int, shape: tuple[int, ...], dtype: "torch.dtype") -> "torch.Tensor":
    """The tensor that the memory behind `file` holds."""
    import torch

    if not shape[0]:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(mmap.mmap(file, 0), dtype=dtype).view(shape)


def _send(connection: Connection, message: object) -> None:
    """Send it whole: with the pickler of `Connection.send`, torch would share what tensors hold."""
    connection.send_bytes(pickle.dumps(message, pickle.HIGHEST_PROTOCOL))


def _receive(connection: Connection) -> Any:
    return pickle.loads(connection.recv_bytes())


class _Link:
    """A connection to one process, made when it is first needed, and again after it was lost."""

    def __init__(self, place: _Place) -> None:
        self._place = place
        self._socket: socket.socket | None = None
        self._connection: Connection | None = None
        self._pid = 0
        self._words: IO[bytes] | None = None

    def open(self) -> _Ready:
        """Connect, once the model is loaded there."""
        for _ in range(_TRIES):
            with suppress(EOFError, OSError):  # it was ending, or could not start
                self._socket = self._reach()
                self._connection = Connection(os.dup(self._socket.fileno()))
                _send(self._connection, self._place)
                ready = self._received(self._connection)
                if not isinstance(ready, _Ready):
                    raise AssertionError(ready)
                self._pid = ready.pid
                return ready
            self._close()
            time.sleep(_PATIENCE)
        last = ""
        if self._words:
            self._words.seek(0)
            last = self._words.read().decode(errors="replace").strip().rpartition("\n")[2]
        raise CurateError(f"score: {self._place} does not start: {last or 'it ends at once'}")

    def run(self, batch: _Shared) -> Embedded:
        """What the process makes of a batch."""
        if self._socket is None:
            self.open()
        if self._socket is None or self._connection is None:
            raise AssertionError("not connected")
        pixels = batch.pixels
        asked = _Asked(tuple(pixels.shape), pixels.dtype, batch.tokens, batch.n)
        try:
            socket.send_fds(self._socket, [b"\0"], [batch.file])
            _send(self._connection, asked)
            found = self._received(self._connection)
        except (EOFError, OSError):
            self._close()
            raise CurateError(f"score: {self._place} (process {self._pid}) {self._end()}") from None
        if not isinstance(found, Embedded):
            raise AssertionError(found)
        return replace(found, device=self._place.number)

    def _received(self, connection: Connection) -> object:
        found = _receive(connection)
        if isinstance(found, CurateError):
            self._close()
            raise found
        return found

    def _end(self) -> str:
        """How the process ended, as far as this one can know, and what helps."""
        how = "ended"
        if child := _children.get(self._pid):
            with suppress(subprocess.TimeoutExpired):
                how = f"ended by {parent.in_words(child.wait(1.0))}"
        return (
            f"{how}: where memory is short, use a smaller score.batch_size or fewer score.workers;"
            " the same command goes on"
        )

    def _close(self) -> None:
        for one in (self._socket, self._connection):
            if one is not None:
                one.close()
        self._socket = self._connection = None

    def _reach(self) -> socket.socket:
        """A connection to the process, which is started where there is none."""
        ours = socket.socket(socket.AF_UNIX)
        try:
            with socket.socket(socket.AF_UNIX) as listener:
                try:
                    listener.bind(self._place.address)
                except OSError as error:
                    if error.errno != errno.EADDRINUSE:
                        raise
                else:
                    listener.listen(_BACKLOG)
                    ours.connect(self._place.address)
                    self._start(listener)
                    return ours
            self._await(ours)
        except BaseException:
            ours.close()
            raise
        return ours

    def _await(self, ours: socket.socket) -> None:
        deadline = time.monotonic() + 1.0  # whoever has the name listens at once
        while True:
            try:
                ours.connect(self._place.address)
                break
            except ConnectionRefusedError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_PATIENCE)
        if not _is_own(ours):
            raise CurateError(
                f"score: {self._place}: another user has taken the name of its socket"
            )

    def _start(self, listener: socket.socket) -> None:
        with told_of_temporary():
            self._words = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        child = parent.start(serve, listener, environment={}, words=self._words, shared=True)
        _children[child.pid] = child


def _is_own(user: socket.socket) -> bool:
    """Whether this user is at the other end."""
    told = user.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return bool(_CREDENTIALS.unpack(told)[1] == os.getuid())


def serve(number: int) -> None:
    """What the process of a device does: run the model for whoever connects, until all are gone."""
    listener = socket.socket(fileno=number)
    users: dict[int, socket.socket] = {}
    model = ThreadPoolExecutor(1)
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    while True:
        for at, _ in poll.poll():
            if at != number:
                poll.unregister(at)
                users.pop(at).close()
                continue
            user, _ = listener.accept()
            if not _is_own(user):
                user.close()
                continue
            users[user.fileno()] = user
            poll.register(user, 0)  # nothing but that it was closed
            threading.Thread(target=_attend, args=(user.dup(), model), daemon=True).start()
        if not users:
            os._exit(0)  # at once, whatever is being computed


def _attend(user: socket.socket, model: ThreadPoolExecutor) -> None:
    """Answer one connection; hang up where that fails."""
    with user, Connection(os.dup(user.fileno())) as connection, suppress(EOFError, OSError):
        try:
            place = _receive(connection)
            scorer = model.submit(_load, place.spec, place.device.torch).result()
            _send(connection, _Ready(os.getpid(), scorer.batch_size, scorer.on_gpu,
                                   scorer.preprocess, scorer.tokenizer))  # fmt: skip
            while got := socket.recv_fds(user, 1, 1):
                if not got[0]:
                    break
                batch = scorer.pinned(_received(_receive(connection), got[1][0]))
                _send(connection, model.submit(scorer, batch).result())
                del batch
        except CurateError as error:
            _send(connection, error)
        except (EOFError, OSError):
            raise
        except Exception as error:  # noqa: BLE001 - told to whoever asked
            _send(connection, CurateError(f"score: {place}: {type(error).__name__}: {error}"))
    with suppress(OSError):
        user.shutdown(socket.SHUT_RDWR)


@lru_cache(maxsize=1)
def _load(spec: Model, device: str) -> Loaded:
    return spec.on(device)


def _received(asked: _Asked, file: int) -> Batch:
    try:
        return Batch(_mapped(file, asked.shape, asked.dtype), asked.tokens, asked.n)
    finally:
        os.close(file)
