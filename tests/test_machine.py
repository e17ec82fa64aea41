"""Faults of the machine: one line with the remedy, and limits that are checked before work starts."""

import errno
import json
import os
import subprocess
import sys

import pytest

from curate.errors import CurateError
from curate.machine import FAULTS, faults_named

LIMITED = """
import json, os, resource, sys
from curate.errors import CurateError
from curate.machine import allow_requests
for soft, hard, concurrency in json.loads(sys.argv[1]):
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    try:
        allow_requests(concurrency)
        said = ""
    except CurateError as error:
        said = str(error)
    print(json.dumps([*resource.getrlimit(resource.RLIMIT_NOFILE), said]))
"""


def limited(*cases: tuple[int, int, int]) -> list[tuple[int, int, str]]:
    """Limits afterwards and what was said, for each soft limit, hard limit and concurrency."""
    command = [sys.executable, "-c", LIMITED, json.dumps(cases)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


def test_a_process_takes_what_the_machine_allows_and_says_before_work_starts_what_it_does_not() -> (
    None
):
    enough, raised, refused = limited((2_000, 4_000, 128), (100, 4_000, 128), (100, 400, 128))
    assert enough == (2_000, 4_000, "")
    assert 12 * 128 < raised[0] < 2_000
    assert raised[1:] == (4_000, "")
    assert refused[:2] == (100, 400)
    said = refused[2]
    assert said.startswith("download.concurrency: 128 requests at a time take up to ")
    assert (
        "may have 400 here (ulimit -Hn): raise that limit, or set download.concurrency to" in said
    )
    fits = int(said.rsplit(" to ", 1)[1].split()[0])
    few, many, none = limited((100, 400, fits), (100, 400, fits + 1), (60, 60, 128))
    assert few == (400, 400, "")
    assert many[2].endswith(f" to {fits} or less")
    assert none[2].endswith("raise that limit")


def test_a_fault_is_one_line_that_names_the_remedy() -> None:
    for number in sorted(FAULTS):
        with pytest.raises(CurateError) as raised, faults_named("download of part 3"):
            raise OSError(number, os.strerror(number))
        assert str(raised.value).startswith(f"download of part 3: {os.strerror(number)}: ")
        assert str(raised.value).endswith("; the same command then goes on")
    with pytest.raises(CurateError, match="give them more memory"), faults_named("x"):
        raise MemoryError


def test_other_errors_pass() -> None:
    with pytest.raises(PermissionError), faults_named("x"):
        raise PermissionError(errno.EACCES, "no")
    with pytest.raises(KeyError), faults_named("x"):
        raise KeyError


def test_a_full_disk() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    with pytest.raises(CurateError) as raised, faults_named("x"):
        os.write(full, b"x")
    os.close(full)
    assert str(raised.value).startswith("x: No space left on device: make room on ")
