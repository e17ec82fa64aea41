"""Two workers that share two fake devices, each with a process that has the model."""

import gc
import os
import signal
import time
from collections.abc import Callable

import numpy as np
import pytest

from curate.errors import CurateError
from curate.ops.scores import served
from curate.ops.scores.clip import ClipModel, ClipScorer
from curate.ops.scores.devices import FAKE, Device, shared, visible
from curate.ops.scores.pairs import Embedded, Scorer
from curate.ops.scores.served import Served
from tests.ops.scores.test_clip import MINI, MINI_WEIGHTS, pairs
from tests.users.test_workers import lives


def test_which_processes_have_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FAKE, raising=False)
    if [one.name for one in visible()] == ["cpu"]:
        assert shared(None) == ()
        assert shared(2) == 2 * (Device("cpu", "cpu"),)
    monkeypatch.setenv(FAKE, "8")
    assert [one.name for one in shared(None)] == [f"fake device {n}" for n in range(8)]
    assert [one.name for one in shared(3)] == [f"fake device {n}" for n in range(3)]
    assert [one.name for one in shared(10)][7:] == [f"fake device {n}" for n in (7, 0, 1)]
    monkeypatch.setenv(FAKE, "none")
    with pytest.raises(CurateError, match=f"{FAKE}=none: expected a number"):
        visible()


def scored(scorer: Scorer, *rows: int) -> Embedded:
    contents, captions = pairs()
    pixels = [scorer.prepare(contents[row]) for row in rows]
    return scorer(scorer.collate(pixels, [captions[row] for row in rows]))


def waited(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 60
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


def test_workers_share_processes_that_end_with_the_last_of_them() -> None:
    before = set(served._children)  # of tests before this one
    spec = ClipModel(MINI, MINI_WEIGHTS, batch_size=4)
    devices = [Device(f"fake device {n}", "cpu") for n in range(2)]
    here, one, other = ClipScorer(spec), Served(spec, devices), Served(spec, devices)
    assert (one.batch_size, one.on_gpu, one.lanes) == (4, False, 3)
    seen = set()
    for rows in ((0, 1, 2), (3,), (4, 5, 6, 7), (8, 9)):
        expected = scored(here, *rows)
        for worker in (one, other):
            found = scored(worker, *rows)
            seen.add(found.device)
            for name in ("scores", "image", "text"):
                np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    assert seen == {0, 1}
    texts = [x(x.collate([], ["a dog", "a cat"])) for x in (here, one)]
    np.testing.assert_array_equal(texts[0].text, texts[1].text)
    first, second = (x for x in served._children if x not in before)
    del other, worker

    os.kill(first, signal.SIGKILL)
    told = ""
    for _ in range(4):  # as many connections as a worker has
        try:
            scored(one, 0)
        except CurateError as error:
            told = str(error)
    assert f"on fake device 0 (process {first}) ended by SIGKILL" in told or (
        f"on fake device 1 (process {first}) ended by SIGKILL" in told
    )
    assert "the same command goes on" in told
    np.testing.assert_array_equal(scored(one, 3).image, scored(here, 3).image)
    assert len(set(served._children) - before) <= 3
    assert lives(second)
    del one
    gc.collect()
    assert waited(lambda: not any(map(lives, set(served._children) - before)))


def test_a_model_that_cannot_be_loaded_is_told() -> None:
    spec = ClipModel("no-such-model", None)
    with pytest.raises(CurateError, match=r"'no-such-model'.* cannot be loaded"):
        Served(spec, [Device("fake device 0", "cpu")])
