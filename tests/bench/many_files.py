"""What the launcher does for a pool of 2,000 small files of each format: how many of them it opens.

Two workers read them; `curate plan` alone, or a run where the pool brings its images.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from fsspec.implementations.local import LocalFileSystem

from tests import many
from tests.users.runs import curate

FILES = int(os.environ.get("CURATE_BENCH_FILES", "2000"))


def measure(form: str, folder: Path) -> str:
    """A line about a pool of this format, which is laid into `folder`."""
    opened: Counter[str] = Counter()
    open_plain = LocalFileSystem._open

    def counted(self: Any, path: str, mode: str = "rb", **options: Any) -> Any:
        if mode == "rb" and path.startswith(f"{folder}/pool/"):
            opened[path] += 1
        return open_plain(self, path, mode, **options)

    LocalFileSystem._open = counted
    settings = {"input": many.lay(folder, form, FILES), "part_rows": many.part_rows(form),
                "download": {"enabled": form in many.STORED}, "dedup": {"enabled": False}}  # fmt: skip
    path = folder / "my.yaml"
    path.write_text(json.dumps(settings))
    started, worked = time.monotonic(), time.process_time()
    done = curate("plan", str(path), "--out", str(folder / "run"), "--workers", "2")
    took, worked = time.monotonic() - started, time.process_time() - worked
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return (
        f"{form:20} {len(opened):5,} of {FILES:,} files opened, {opened.total():,} times; {took:.1f} s,"
        f" {worked:.1f} s of the launcher's processor, {most:.2f} GB at most; exit {done.returncode}"
        f" {done.stderr[-300:]}"
    )


def main() -> None:
    """A line a format, each from a process of its own."""
    for form in many.FORMS:
        with tempfile.TemporaryDirectory() as folder:
            code = (
                "import sys; from pathlib import Path; from tests.bench.many_files import measure;"
                " print(measure(sys.argv[1], Path(sys.argv[2])))"
            )
            words = [sys.executable, "-c", code, form, folder]
            done = subprocess.run(words, capture_output=True, text=True, check=False)
            print(f"  {done.stdout.strip() or done.stderr[-500:]}", flush=True)
