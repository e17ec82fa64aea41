"""What workers find of things one by one, noted as they go: whoever is interrupted goes on from there.

A note holds what was found of some things, by their keys. Its name ends in how many these are.
"""

import time
from collections.abc import Callable
from typing import Any

import apache_beam as beam

from curate import files
from curate.errors import DamagedError
from curate.machine import faults_named
from curate.ops.ahead import together
from curate.parent import at_work

EVERY = 2.0
"""Seconds of work between two notes, at least."""
SHARE = 0.02
"""Of the work of a bundle so far, likewise: so a bundle of days makes hundreds of notes."""


class Find(beam.DoFn):
    """Does `work` on things with a key each, and notes in `folder` what it comes to."""

    def __init__(self, work: Callable[[Any], Any], *, what: str, folder: str) -> None:
        self._work = work
        self._what = what
        self._folder = folder

    def start_bundle(self) -> None:
        """Nothing is found yet."""
        self._found: dict[str, Any] = {}
        self._begun = self._noted = time.monotonic()

    def process(self, keyed: tuple[str, Any]) -> None:
        """Do the work on one thing."""
        key, thing = keyed
        told = f"{self._what}, {named(thing)}"
        with at_work(told), faults_named(told):
            self._found[key] = self._work(thing)
        now = time.monotonic()
        if now - self._noted > max(EVERY, SHARE * (now - self._begun)):
            self._note()

    def finish_bundle(self) -> None:
        """Note what is not noted yet."""
        if self._found:
            self._note()

    def _note(self) -> None:
        name = f"{files.digest_of(sorted(self._found))}-{len(self._found)}.json"
        files.write_document(files.join(self._folder, name), self._found)
        self._found, self._noted = {}, time.monotonic()


def named(thing: Any) -> str:
    """A file of the pool in words: its path."""
    return str(getattr(thing, "path", thing))


def noted(folder: str) -> dict[str, Any]:
    """All that is noted in a folder, by key; without what is in damaged notes."""
    found: dict[str, Any] = {}
    for note in together(_read, [files.join(folder, name) for name in _names(folder)]):
        found |= note
    return found


def count(folder: str) -> int:
    """Of how many things there are notes in a folder."""
    return sum(int(name.removesuffix(".json").rpartition("-")[2]) for name in _names(folder))


def _names(folder: str) -> list[str]:
    return [name for name in files.names(folder) if name.endswith(".json")]


def _read(url: str) -> dict[str, Any]:
    try:
        return files.read_document(url)
    except DamagedError:
        return {}
