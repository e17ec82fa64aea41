"""The layout is what CONTRIBUTING.md says: no import runs up, and none in a circle."""

import ast
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1]
FLOOR = re.compile(r"^ {4}(\S+(?: \S+)*?)(?:  +.*)?$")


def modules() -> dict[str, Path]:
    """The files of the package by the names of their modules."""
    found = {}
    for path in (ROOT / "curate").rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path, known: set[str]) -> Iterator[str]:
    """The modules of the package that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names if one.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module in known:
            inner = [f"{node.module}.{one.name}" for one in node.names]
            yield from (name if name in known else node.module for name in inner)


def floors() -> dict[str, int]:
    """The floor of each room and single module, from 0 at the top."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    block = text[text.index("    cli.py") :].split("\n\n")[0]
    lines = [found[1] for line in block.splitlines() if (found := FLOOR.match(line))]
    named = [(name, i) for i, line in enumerate(lines) for name in line.split()]
    assert len(dict(named)) == len(named), "a room stands on one floor"
    return {name.removesuffix(".py").rstrip("/"): floor for name, floor in named}


FILES = modules()
USES = {name: set(imports(path, set(FILES))) - {name} for name, path in FILES.items()}


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def test_every_room_has_a_floor() -> None:
    assert set(floors()) == {room(name) for name in FILES} - {""}


def test_no_import_runs_up() -> None:
    floor = floors()
    up = [
        f"{name} -> {used}"
        for name, found in USES.items()
        for used in found
        if room(name) and room(used) and floor[room(used)] < floor[room(name)]
    ]
    assert up == []


def test_neither_modules_nor_rooms_import_each_other_in_a_circle() -> None:
    TopologicalSorter(USES).prepare()
    rooms: dict[str, set[str]] = {}
    for name, found in USES.items():
        others = {room(used) for used in found if room(used)} - {room(name)}
        rooms.setdefault(room(name), set()).update(others)
    TopologicalSorter(rooms).prepare()
