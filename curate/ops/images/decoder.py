"""Decoding in a process of its own, so that an image on which the decoder crashes or hangs costs
itself and nothing else.

A crash would end the worker and with it a local run; a hang would hold it for ever. The process lives
as long as its worker and takes one image after the other over a socket pair: about 0.11 ms of
both for 100 KB, against some 4 ms for the decoding. Starting one takes about a second.
"""

import atexit
import os
import pickle
import select
import socket
import struct
import subprocess
import tempfile
import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from curate import parent
from curate.errors import CurateError
from curate.files.stores import told_of_temporary
from curate.ops.images.boxes import Box
from curate.ops.images.encoder import ImageEncoder, Refusal, StoredImage
from curate.reasons import DropReason


class Encode(Protocol):
    """What makes the stored form of an image file, with the boxes blurred."""

    def __call__(self, content: bytes, *, blur: Sequence[Box] = ()) -> StoredImage | Refusal:
        """The image, or why it is refused."""


_READY = "ready"
_START = 120.0
"""Seconds that a process may take to start."""
_SIZE = struct.Struct("<Q")
_ROOM = 1 << 20
"""Bytes of a message up to which no memory of its own is needed to receive it."""


class _Pipe:
    """One end of a socket pair on which two processes take turns in sending an object.

    With `multiprocessing.connection.Connection` an image of 10 KB takes a tenth more processor time,
    its decoding included; one of 100 KB no more.
    """

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._poll = select.poll()
        self._poll.register(end, select.POLLIN)
        self._room = memoryview(bytearray(_ROOM))

    def send(self, message: object) -> None:
        """Send what pickle can hold; OSError if the other end is gone."""
        content = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
        size = _SIZE.pack(len(content))
        sent = self._socket.sendmsg([size, content])
        if sent < len(size) + len(content):
            self._socket.sendall((size + content)[sent:])

    def wait(self, seconds: float) -> bool:
        """Whether something came, or the other end went."""
        return bool(self._poll.poll(seconds * 1000))

    def receive(self) -> Any:
        """What was sent; EOFError or OSError if the other end is gone."""
        room, came = self._room, self._more(self._room)
        while came < _SIZE.size:
            came += self._more(room[came:])
        end = _SIZE.size + _SIZE.unpack_from(room)[0]
        if end > _ROOM:
            room = memoryview(bytearray(end))
            room[:came] = self._room[:came]
        while came < end:
            came += self._more(room[came:end])
        return pickle.loads(room[_SIZE.size : end])

    def _more(self, room: memoryview) -> int:
        came = self._socket.recv_into(room)
        if not came:
            raise EOFError
        return came

    def close(self) -> None:
        self._socket.close()


class _Process:
    """A child that encodes; it ends when its parent does, at the end of the socket."""

    def __init__(self, encoder: Encode) -> None:
        ours, theirs = socket.socketpair()
        limits = {}
        if isinstance(encoder, ImageEncoder):
            # Should a decoder find another size than the header reader did.
            limits["OPENCV_IO_MAX_IMAGE_PIXELS"] = str(encoder.max_pixels)
        with told_of_temporary(), tempfile.TemporaryFile() as words:
            self._child = parent.start(_serve, theirs, environment=limits, words=words)
            theirs.close()
            self._pipe = _Pipe(ours)
            try:
                self._pipe.send(encoder)
                started = self._pipe.wait(_START) and self._pipe.receive() == _READY
            except (EOFError, OSError):
                started = False
            if not started:
                self.kill()
                words.seek(0)
                last = words.read().decode(errors="replace").strip().rpartition("\n")[2]
                raise CurateError(f"the process that decodes images does not start: {last}")

    def encode(
        self, content: bytes, *, blur: Sequence[Box], timeout: float
    ) -> StoredImage | Refusal | None:
        """What the encoder makes of `content`; None if no answer came in `timeout` seconds.

        Raises EOFError or OSError where the process has ended.
        """
        self._pipe.send((content, blur))
        if not self._pipe.wait(timeout):
            return None
        answer: StoredImage | Refusal = self._pipe.receive()
        return answer

    def kill(self) -> int:
        """End the process; its exit status, minus the signal's number if one ended it."""
        self._pipe.close()
        try:
            return self._child.wait(0.5)
        except subprocess.TimeoutExpired:
            self._child.kill()
            return self._child.wait()


def _serve(socket_number: int) -> None:
    pipe = _Pipe(socket.socket(fileno=socket_number))
    encoder = pipe.receive()
    import cv2

    cv2.setNumThreads(1)
    if isinstance(encoder, ImageEncoder):
        encoder.warm_up()
    pipe.send(_READY)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # the decoders' warnings
    while True:
        try:
            content, blur = pipe.receive()
        except EOFError:
            return
        try:
            answer = encoder(content, blur=blur)
        except Exception as error:  # noqa: BLE001 - one image must not end the run
            detail = f"{type(error).__name__}: {error}"
            answer = Refusal(DropReason.DECODER_CRASHED, detail[:200])
        pipe.send(answer)


_idle: dict[bytes, list[_Process]] = defaultdict(list)
_lock = threading.Lock()


@contextmanager
def isolated(encoder: Encode, *, timeout: float) -> Iterator[Encode]:
    """The encoder in another process, for one thread at a time.

    What the process dies of twice is `decoder_crashed`: once may be an accident, such as a machine
    short of memory. What takes over `timeout` seconds is `decoder_hung`. The next image has a new
    process.

    Raises
    ------
    CurateError
        If the process cannot be started.
    """
    key = pickle.dumps(encoder)
    held: list[_Process] = []

    def encode(content: bytes, *, blur: Sequence[Box] = ()) -> StoredImage | Refusal:
        ended: list[int] = []
        while len(ended) < 2:
            process = held.pop() if held else _take(key, encoder)
            try:
                answer = process.encode(content, blur=blur, timeout=timeout)
            except (EOFError, OSError):
                ended.append(process.kill())
                continue
            except BaseException:
                process.kill()
                raise
            if answer is None:
                process.kill()
                return Refusal(DropReason.DECODER_HUNG, f"over {timeout:g} s")
            held.append(process)
            return answer
        return Refusal(DropReason.DECODER_CRASHED, _describe(ended[-1]))

    try:
        yield encode
    finally:
        with _lock:
            _idle[key] += held


def _take(key: bytes, encoder: Encode) -> _Process:
    with _lock:
        if _idle[key]:
            return _idle[key].pop()
    return _Process(encoder)


def _describe(status: int) -> str:
    return f"signal {-status}" if status < 0 else f"exit {status}"


@atexit.register
def _end() -> None:
    for processes in _idle.values():
        for process in processes:
            process.kill()
