"""Samples of a set to look at: the first, or some drawn by a seed."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np

from curate import files
from curate.checking.content import Seen, look_at_image
from curate.checking.samples import key_of
from curate.checking.task import Task
from curate.checking.walk import Fault, Walk
from curate.pool.samples import ENDINGS

_SCORES = ("clip_score", "similarity")


@dataclass
class Peeked:
    """A sample."""

    shard: str
    key: str
    image: bytes | None = None
    caption: str | None = None
    document: dict[str, Any] = field(default_factory=dict)
    endings: list[str] = field(default_factory=list)

    @property
    def size(self) -> str:
        """Width and height of the image, or what there is in its place."""
        if self.image is None:
            return "no image"
        seen = look_at_image(self.image, None)
        return f"{seen.width}x{seen.height}" if isinstance(seen, Seen) else str(seen[0])

    @property
    def score(self) -> float | None:
        """How well image and caption agree, where a column says so."""
        others = (name for name in self.document if name.endswith("_score"))
        for name in (*_SCORES, *others):
            value = self.document.get(name)
            if isinstance(value, int | float) and not isinstance(value, bool):
                return float(value)
        return None

    @property
    def text(self) -> str:
        """The caption: of the .txt, or else of the JSON."""
        told = self.document.get("caption") if self.caption is None else self.caption
        return told if isinstance(told, str) else ""


def first(tasks: Sequence[Task], n: int) -> list[Peeked]:
    """The first samples."""
    return list(islice((one for task in tasks for one in _samples(task)), n))


def drawn(tasks: Sequence[Task], n: int, *, seed: int) -> list[Peeked]:
    """Samples of shards that are drawn, as many of each as it is drawn; those alone are read."""
    random = np.random.default_rng(seed)
    times = np.bincount(random.integers(len(tasks), size=n), minlength=len(tasks))
    found: list[Peeked] = []
    for at in np.flatnonzero(times).tolist():
        some: list[tuple[int, Peeked]] = []
        for k, one in enumerate(_samples(tasks[at])):  # the k-th takes a place with n / (k + 1)
            place = k if k < times[at] else int(random.integers(k + 1))
            if place < times[at]:
                some[place : place + 1] = [(k, one)]
        found += [one for _, one in sorted(some, key=lambda pair: pair[0])]
    return found


def _samples(task: Task) -> Iterator[Peeked]:
    one: Peeked | None = None
    with files.open_read(task.url) as file:
        for found in Walk(file, size=files.size(task.url)):
            if isinstance(found, Fault):
                continue
            member, content = found
            key, ending = key_of(member.name)
            if not key or content is None:
                continue
            if one is None or key != one.key or ending in one.endings:
                if one is not None:
                    yield one
                one = Peeked(task.name, key)
            one.endings.append(ending)
            if ending in ENDINGS:
                one.image = content
            elif ending == "txt":
                one.caption = content.decode(errors="replace")
            elif ending == "json":
                one.document = _document(content)
    if one is not None:
        yield one


def _document(content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
