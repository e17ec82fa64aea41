"""Encoding in another process: the same images, and what becomes of a crash and of a hang."""

import os
import pickle
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from curate.errors import CurateError
from curate.ops.images.decoder import Encode, _idle, isolated
from curate.ops.images.encoder import ImageEncoder, Refusal, StoredImage
from curate.reasons import DropReason
from tests.ops.images.doubles import (
    ABORT,
    HANG,
    LAST,
    RAISE,
    AbortsHangsOrRaisesOnMarkedImages,
    CannotBeLoadedInAnotherProcess,
)
from tests.ops.images.pictures import pool

ENCODER = ImageEncoder(image_size=48)
FRAGILE = AbortsHangsOrRaisesOnMarkedImages(image_size=48)


@pytest.fixture(scope="module", autouse=True)
def no_process_is_left() -> Iterator[None]:
    yield
    for processes in _idle.values():
        while processes:
            processes.pop().kill()


def idle_children() -> list[int]:
    return [process._child.pid for processes in _idle.values() for process in processes]


def test_another_process_gives_the_same_images() -> None:
    broken = {"page": b"<html>", "cut": pool()["jpeg"][:300], "large": bytes(3_000_000)}
    with isolated(ENCODER, timeout=60) as encode:
        for name, content in (pool() | broken).items():
            assert encode(content) == ENCODER(content), name


def test_what_the_decoder_writes_does_not_reach_the_terminal(
    capfd: pytest.CaptureFixture[str],
) -> None:
    damaged = bytearray(pool()["png"])
    damaged[60:90] = bytes(30)
    with isolated(ENCODER, timeout=60) as encode:
        encode(bytes(damaged))
    here = ENCODER(bytes(damaged))
    assert isinstance(here, Refusal)
    assert "libpng" in capfd.readouterr().err  # this process's, not the other's
    with isolated(ENCODER, timeout=60) as encode:
        assert encode(bytes(damaged)) == here
    assert capfd.readouterr() == ("", "")


def test_a_crash_a_hang_and_an_exception_cost_one_image_each() -> None:
    good = pool()["jpeg"]
    with isolated(FRAGILE, timeout=1.5) as encode:
        assert encode(good) == ENCODER(good)
        assert encode(good + RAISE) == Refusal(
            DropReason.DECODER_CRASHED, "ValueError: raised on purpose"
        )
        assert encode(good + ABORT) == Refusal(
            DropReason.DECODER_CRASHED, f"signal {signal.SIGABRT:d}"
        )
        assert encode(good) == ENCODER(good)
        started = time.monotonic()
        assert encode(good + HANG) == Refusal(DropReason.DECODER_HUNG, "over 1.5 s")
        assert time.monotonic() - started < 10
        assert encode(good) == ENCODER(good)


def test_a_crash_that_does_not_happen_again_costs_nothing(tmp_path: Path) -> None:
    content = pool()["jpeg"] + LAST + str(tmp_path / "once").encode()
    with isolated(FRAGILE, timeout=60) as encode:
        assert encode(content) == ENCODER(pool()["jpeg"] + content[len(pool()["jpeg"]) :])


def test_a_process_is_used_again_and_one_killed_meanwhile_is_replaced() -> None:
    with isolated(ENCODER, timeout=60) as encode:
        encode(pool()["jpeg"])
    before = idle_children()
    with isolated(ENCODER, timeout=60) as encode:
        encode(pool()["jpeg"])
    assert idle_children() == before
    process = _idle[pickle.dumps(ENCODER)][-1]
    os.kill(process._child.pid, signal.SIGKILL)
    with isolated(ENCODER, timeout=60) as encode:
        assert isinstance(encode(pool()["jpeg"]), StoredImage)
    assert process._child.pid not in idle_children()


def test_threads_do_not_share_a_process() -> None:
    contents = list(pool().values())
    expected = [ENCODER(content) for content in contents]
    found: dict[int, list[StoredImage | Refusal]] = {}
    both = threading.Barrier(2)

    def work(number: int) -> None:
        with isolated(ENCODER, timeout=60) as encode:
            both.wait()
            found[number] = [encode(content) for content in contents]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {0: expected, 1: expected}


def test_a_process_that_cannot_start_is_an_error_and_no_crashed_image() -> None:
    encoder: Encode = CannotBeLoadedInAnotherProcess()
    with isolated(encoder, timeout=60) as encode, pytest.raises(CurateError) as error:
        encode(pool()["jpeg"])
    assert str(error.value) == (
        "the process that decodes images does not start: RuntimeError: no such encoder"
    )
