"""What the README shows of the demo is what the demo prints."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.conftest import Command

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def shown(first: str) -> list[list[str]]:
    """The words of the lines of the block that has a line of these first words."""
    block = next(x for x in README.split("```")[1::2] if re.search(f"^ *{first}", x, re.MULTILINE))
    return [line.split() for line in block.strip().splitlines()]


def numbers(words: list[str]) -> list[float]:
    return [float(word.rstrip("%").replace(",", "")) for word in words]


def test_the_funnel_of_the_demo(demo_run: Path) -> None:
    printed = [line.split() for line in (demo_run.parent / "stdout").read_text().splitlines()]
    funnel = {words[0]: words for words in printed if words}
    claimed = shown("stage +in +kept")
    assert claimed[0] in printed
    assert claimed[1] == funnel["stage"]
    for words in claimed[2:7]:
        found = funnel[words[0]]
        assert words[:5] == found[:5]
        told = [word for word in words[7:] if word != "…"]  # words[5:7] is the work
        assert told == found[7 : 7 + len(told)]
    assert claimed[7][2:5] == funnel["shards"][2:5]
    pairs = int(claimed[7][4])
    assert pairs == int(claimed[6][2])


def test_the_sweep_of_the_demo(copied: Callable[[str], Path], curate: Command) -> None:
    """Within a hundredth: which pairs pass the score rule may hang on another processor's rounding."""
    done = curate("sweep", str(copied("run")))
    assert done.returncode == 0, done.stderr
    printed = [line.split() for line in done.stdout.splitlines()]
    claimed = shown("t +p +pairs kept")
    start = printed.index(claimed[0])
    for words, found in zip(claimed[1:], printed[start + 1 :], strict=False):
        if words[0] == "before":
            assert words[0] == found[0]
            words, found = words[1:], found[1:]
        assert numbers(found) == pytest.approx(numbers(words), rel=0.01)
    assert claimed[-1][0] == printed[start + len(claimed) - 1][0] == "before"
