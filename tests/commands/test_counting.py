"""How many of the pool's files are read is shown while it goes on."""

import io
import time

import pytest
from rich.console import Console

from curate.commands import counting


@pytest.mark.parametrize("sees", [True, False], ids=["a terminal", "a log"])
def test_files_that_are_read_are_counted(sees: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "_QUIET", 0.0)
    console = Console(file=io.StringIO(), force_terminal=sees, width=100, color_system=None)
    told = "Reading the pool's files: 90,000 files, 26 MB"
    with counting.counted(console, told, total=90_000, done=lambda: 1234, every=0.01):
        time.sleep(0.3)
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert said.startswith(f"{told}\n")
    assert ("1234/90000" if sees else "s: Reading the pool's files 1,234/90,000 files") in said
