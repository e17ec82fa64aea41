"""The end of a process, and of those that it started."""

import subprocess
import sys

CODE = """
from pathlib import Path
from curate import parent
found = Path.glob
Path.glob = lambda path, pattern: [path / "0/children", *found(path, pattern)]
parent.abandon(3)
"""


def test_a_thread_that_ends_meanwhile_is_no_obstacle() -> None:
    """Its folder in /proc is gone once its children are read."""
    done = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (3, "")
