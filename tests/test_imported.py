"""Users' code by its name: what is found, its version, and one line for what is not."""

import functools
import hashlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from curate import imported as modules
from curate.errors import CurateError
from curate.imported import fault, folders_used, imported, is_import_name, look_in, version_of

CODE = """import functools

LIMIT = 3

class Reader:
    version = "7"

def rows(path):
    return 1 / 0

@functools.lru_cache
def wrapped(path):
    return path

class Called:
    def __call__(self, path):
        return path

called = Called()
part = functools.partial(rows, path="x")
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that is looked in, while the test lasts, for modules that nobody else has."""
    monkeypatch.setattr(modules, "_folders", [])
    monkeypatch.setattr(modules, "_used", set())
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = {*sys.modules}
    look_in(str(tmp_path))
    yield tmp_path
    for name in {*sys.modules} - before:
        if name.startswith("their_"):
            del sys.modules[name]


def test_what_a_name_stands_for_and_its_version(folder: Path) -> None:
    (folder / "their_module.py").write_text(CODE)
    assert folders_used() == ()
    assert version_of(imported("their_module:Reader", key="input.format")) == "7"
    assert folders_used() == (str(folder),)
    of_source = hashlib.sha256(CODE.encode()).hexdigest()
    for name in ("rows", "wrapped", "Called", "called", "part"):
        assert version_of(imported(f"their_module:{name}", key="input.format")) == of_source


def test_the_version_of_what_a_package_hands_on_is_that_of_the_file_it_is_written_in(
    folder: Path,
) -> None:
    (folder / "their_package").mkdir()
    (folder / "their_package/__init__.py").write_text("from their_package.inner import rows\n")
    (folder / "their_package/inner.py").write_text(CODE)
    found = imported("their_package:rows", key="input.format")
    assert version_of(found) == hashlib.sha256(CODE.encode()).hexdigest()
    assert folders_used() == (str(folder),)


def test_what_is_built_in_has_no_version() -> None:
    with pytest.raises(CurateError, match="give it an attribute `version`"):
        version_of(len)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("their_missing:rows", "no module 'their_missing' (looked in {folder} too): install"),
        ("their_package.missing:rows", "no module 'their_package.missing' (looked in"),
        ("their_module:row", "{folder}/their_module.py has no 'row', did you mean 'rows'?"),
        ("their_module:LIMIT", "expected a function or a class, found int"),
        ("their_needs:rows", "it cannot be imported: ModuleNotFoundError: No module named"
         " 'their_absent' ({folder}/their_needs.py, line 2)"),
        ("their_raising:rows", "it cannot be imported: ValueError: seven ({folder}/their_raising.py,"
         " line 1)"),
        ("their_exit:rows", "it cannot be imported: SystemExit: 3"),
        ("their_syntax:rows", "it cannot be imported: SyntaxError: '(' was never closed"
         " (their_syntax.py, line 1)"),
    ],
)  # fmt: skip
def test_what_cannot_be_had_is_one_line(folder: Path, name: str, said: str) -> None:
    (folder / "their_module.py").write_text(CODE)
    (folder / "their_package").mkdir()
    (folder / "their_package/__init__.py").write_text("")
    (folder / "their_needs.py").write_text("import os\nimport their_absent\n")
    (folder / "their_raising.py").write_text("raise ValueError('seven\\nmore')\n")
    (folder / "their_exit.py").write_text("raise SystemExit(3)\n")
    (folder / "their_syntax.py").write_text("print(\n")
    with pytest.raises(CurateError) as error:
        imported(name, key="input.format")
    message = str(error.value)
    assert message.startswith(f"input.format: {name}: {said.format(folder=folder)}")
    assert "\n" not in message


def test_a_fault_is_told_with_its_place_in_their_file(folder: Path) -> None:
    (folder / "their_module.py").write_text(CODE)
    rows = imported("their_module:rows", key="input.format")
    with pytest.raises(ZeroDivisionError) as error:
        functools.partial(rows, "x")()
    told = f"ZeroDivisionError: division by zero ({folder}/their_module.py, line 9)"
    assert fault(error.value) == fault(error.value, of=rows) == told


def test_names() -> None:
    wrong = ["", ":x", "x:", "x.y", "a:b.c", "a:b:c", "a.py:b.c", "a/b.py:c", "1a:b", "a b:c"]
    assert not any(map(is_import_name, wrong))
    assert is_import_name("a.py:b")  # a module `py` in a package `a`, which is not there


def test_modules_of_ones_own_do_not_hide_pythons(folder: Path) -> None:
    """Nor those of a process that is started with the path of this one, as workers are."""
    (folder / "colorsys.py").write_text("raise ValueError\n")
    (folder / "their_module.py").write_text("import colorsys\ndef rows(path): ...\n")
    imported("their_module:rows", key="input.format")
    code = "import colorsys, their_module"
    path = {"PYTHONPATH": ":".join(x for x in sys.path if x)}
    subprocess.run([sys.executable, "-P", "-c", code], env=path, check=True, timeout=60)
