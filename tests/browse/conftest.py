"""One small run that all tests look at, with captions that mean harm, and another balance of it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browse.served import Served, serving
from tests.users.runs import small_run, well

LONG = "red fox " * 12_800
HOSTILE = {
    "images/0101.jpg": "<script>document.title='owned'</script> a red fox",
    "images/0103.jpg": "\" onerror=\"document.title='owned'\" x=\"a red fox",
    "images/0104.jpg": "a red \u202egpj.exe\u202c fox",
    "images/0105.jpg": LONG,
    "images/0106.jpg?\"><script>document.title='owned'</script>":
        "<img src=x onerror=document.title='owned'> fox",
}  # fmt: skip
"""Captions by the path of their picture."""


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("browsed")
    rows = [
        {"url": f"http://pictures.example/{path}", "caption": text}
        for path, text in HOSTILE.items()
    ]
    rows.append({"url": "javascript:document.title='owned'", "caption": "a red fox at night"})
    (folder / "hostile.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    paths = f"[{folder / 'pool.jsonl'},{folder / 'hostile.jsonl'}]"
    return small_run(folder, "--set", f"input.paths={paths}", "--set", "dedup.threshold=0.5")


@pytest.fixture(scope="session")
def other(run: Path) -> Path:
    out = run.parent / "other"
    well("rebalance", str(run), "--out", str(out), "--t", "3")
    return out


@pytest.fixture(scope="module")
def served(run: Path, other: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(run, other, selections=tmp_path_factory.mktemp("of") / "lists") as found:
        yield found
