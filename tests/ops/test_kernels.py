"""Where compiled kernels are kept, in copies of the package's own floor with two kernels of theirs."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import curate
from curate.ops import kernels
from curate.ops.kernels import nb

INNER = "@nb.njit\ndef add(x: int) -> int:\n    return x + one.ONE\n"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A kernel that calls one of another module, which reads a constant of a third."""
    root = Path(curate.__file__).parent
    copy = tmp_path / "installed" / "curate"
    (copy / "ops").mkdir(parents=True)
    for name in ("__init__.py", "errors.py", "caches.py", "ops/__init__.py", "ops/kernels.py"):
        shutil.copy(root / name, copy / name)
    head = "from curate.ops.kernels import nb\n"
    (copy / "one.py").write_text("ONE = 1\n")
    (copy / "ops" / "inner.py").write_text(f"{head}from curate import one\n\n{INNER}")
    (copy / "ops" / "outer.py").write_text(
        f"{head}from curate.ops.inner import add\n\n"
        "@nb.njit(cache=True, nogil=True)\ndef twice(x: int) -> int:\n    return 2 * add(x)\n"
    )
    return copy


TWICE = "from curate.ops.outer import twice\nprint(twice(1), sum(twice.stats.cache_hits.values()))"


def start(package: Path, code: str = TWICE, **environment: str) -> "subprocess.Popen[str]":
    cache, home = str(package.parents[1] / "cache"), str(package.parents[1] / "home")
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=package.parents[1],
        env={**os.environ, "PYTHONPATH": str(package.parent), "CURATE_CACHE": cache,
             "XDG_CACHE_HOME": home, **environment},
    )  # fmt: skip


def said(process: "subprocess.Popen[str]") -> str:
    told, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    return told.strip()


def kept(package: Path) -> list[Path]:
    return sorted(package.parents[1].glob("cache/**/*.kernel"))


def test_what_changed_in_another_module_is_compiled_again(package: Path) -> None:
    assert said(start(package)) == "4 0"
    assert said(start(package)) == "4 1"
    (package / "one.py").write_text("ONE = 2\n")  # a constant
    assert said(start(package)) == "6 0"
    (old, _) = kept(package)
    (package / "ops" / "inner.py").write_text(
        f"from curate.ops.kernels import nb\nfrom curate import one\n\n{INNER.replace('+', '+ 9 *')}"
    )
    assert said(start(package)) == "38 0"
    (new,) = kept(package)  # nothing old is left
    assert new.parent != old.parent
    assert not list(package.rglob("*.nb?"))


def test_a_checkout_with_the_same_sources_finds_them_compiled(package: Path) -> None:
    assert said(start(package)) == "4 0"
    another = package.parents[1] / "another" / "curate"
    shutil.copytree(package, another)
    assert said(start(another)) == "4 1"
    (another / "ops" / "inner.py").write_text(
        f"from curate import one\nfrom curate.ops.kernels import nb\n{INNER}"
    )
    assert said(start(another)) == "4 0"
    assert len(kept(package)) == 2  # the first has not changed, and keeps its own
    shutil.rmtree(another)
    (package / "ops" / "inner.py").write_text(
        f"from curate.ops.kernels import nb\nfrom curate import one\n{INNER}"
    )
    assert said(start(package)) == "4 0"
    assert len(kept(package)) == 1  # the other package is gone, and so are its kernels


def test_a_newer_compiler_another_processor_and_a_damaged_file(package: Path) -> None:
    assert said(start(package)) == "4 0"
    (file,) = kept(package)
    file.write_bytes(file.read_bytes()[:-1])
    assert said(start(package)) == "4 0"
    assert said(start(package, NUMBA_CPU_NAME="generic")) == "4 0"
    assert said(start(package)) == "4 1"
    newer = "import llvmlite; llvmlite.__version__ += '.post1'\n"
    assert said(start(package, newer + TWICE)) == "4 0"


def test_what_is_kept_waits_for_no_compiler(package: Path) -> None:
    assert said(start(package)) == "4 0"
    code = TWICE + (
        "\nimport sys; print('numba.cpython.listobj' in sys.modules)"
        "\nprint(twice(1.5), 'numba.cpython.listobj' in sys.modules)"
    )
    assert said(start(package, code)).split("\n") == ["4 1", "False", "5.0 True"]


def test_processes_that_compile_at_once_do_no_harm(package: Path) -> None:
    """Each compiles for another type, which numba's own index would mix up, and two for the same."""
    given = ["1", "1", "1.5", "True"]
    code = "from curate.ops.outer import twice\nprint(twice({}))"
    found = [said(x) for x in [start(package, code.format(one)) for one in given]]
    assert found == ["4", "4", "5.0", "4"]
    every = "from curate.ops.outer import twice\nprint(*map(twice, (1, 1.5, True)), twice.stats)"
    told = said(start(package, every))
    assert told.startswith("4 5.0 4 ")
    assert "cache_misses=Counter()" in told


def test_a_read_only_cache_serves_and_what_it_lacks_goes_to_the_users(package: Path) -> None:
    """As in an image: its folder is warm, and belongs to another user."""
    home = package.parents[1] / "home"
    assert said(start(package)) == "4 0"
    sealed = (
        "from curate.ops import kernels\n"
        "import errno\n"
        "write = kernels._write\n"
        "def _write(path, content):\n"
        "    if 'home' not in str(path): raise OSError(errno.EROFS, 'read-only')\n"
        "    write(path, content)\n"
        "kernels._write = _write\n"
    )
    assert said(start(package, sealed + TWICE)) == "4 1"
    other = sealed + TWICE.replace("twice(1)", "twice(1.0)")
    assert said(start(package, other)) == "4.0 0"
    assert said(start(package, other)) == "4.0 1"
    assert len(list(home.rglob("*.kernel"))) == 1


def test_a_disk_that_is_full_costs_the_cache_alone(package: Path) -> None:
    full = (
        "from curate.ops import kernels\nimport errno\n"
        "def _full(*_): raise OSError(errno.ENOSPC, 'full')\nkernels._write = _full\n"
    )
    assert said(start(package, full + TWICE)) == "4 0"
    assert not kept(package)


def test_what_is_warm_is_what_is_called(package: Path) -> None:
    found = "print(kernels.modules(), kernels.compile_all('curate.ops.outer'))"
    warm = f"from curate.ops import kernels\n{found}"
    assert said(start(package, warm)) == "['curate.ops.outer'] (1, 0)"
    assert said(start(package, f"{warm}\n{TWICE}")) == "['curate.ops.outer'] (1, 1)\n4 1"


def test_annotations_say_the_types() -> None:
    def kernel(a: kernels.Rows[np.uint8], b: kernels.Frozen[np.int32] | float, c: bool) -> None: ...

    array = nb.types.Array
    rows, frozen = array(nb.uint8, 2, "C"), array(nb.int32, 1, "C", readonly=True)
    assert list(kernels._signatures(kernel)) == [  # type: ignore[arg-type]
        (rows, frozen, nb.boolean), (rows, nb.float64, nb.boolean)
    ]  # fmt: skip
