"""What a user of any supported Python installs: the Makefile's choice, and the versions it pins."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PYTHONS = ("3.11", "3.12", "3.13")
EXTRAS = PROJECT["optional-dependencies"]


def made(folder: Path, *pythons: str) -> "subprocess.CompletedProcess[str]":
    """What `make` says it would do on a machine that has these Pythons; the others only seem there."""
    commands = folder / "bin"
    commands.mkdir()
    for name in ("sh", "make", "test", "echo"):
        (commands / name).symlink_to(str(shutil.which(name)))
    for name in ("python3.13", "python3.12", "python3.11", "python3"):
        (commands / name).write_text(f"#!/bin/sh\nexit {0 if name in pythons else 127}\n")
        (commands / name).chmod(0o755)
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, folder)
    return subprocess.run(
        ["make", "--dry-run", ".venv/ready"], cwd=folder, capture_output=True, text=True,
        env={"PATH": str(commands)}, check=False, timeout=60,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("there", "taken"),
    [
        (("python3.11", "python3.12", "python3.13", "python3"), "python3.13"),
        (("python3.12", "python3.11"), "python3.12"), (("python3.11",), "python3.11"),
        (("python3",), "python3"),
    ],
)  # fmt: skip
def test_make_takes_the_newest_python_that_works(
    there: tuple[str, ...], taken: str, tmp_path: Path
) -> None:
    assert re.search(f"^{taken} -m venv", made(tmp_path, *there).stdout, re.MULTILINE)


def test_make_names_the_pythons_that_it_looked_for(tmp_path: Path) -> None:
    said = made(tmp_path).stdout
    assert 'test -n ""' in said
    assert "python3.13 python3.12 python3.11 python3" in said


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("extra", ["", *EXTRAS])
def test_the_pinned_versions_are_those_that_the_project_asks_for(python: str, extra: str) -> None:
    """Of each requirement one version, and one that its bounds allow, on each Python."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    platform = {"sys_platform": "linux", "platform_machine": "x86_64"}
    environment = {**platform, "python_version": python, "python_full_version": f"{python}.0"}
    pins: dict[str, Requirement] = {}
    for pin in map(Requirement, lines):
        if pin.marker is None or pin.marker.evaluate({**environment, "extra": ""}):
            assert canonicalize_name(pin.name) not in pins
            pins[canonicalize_name(pin.name)] = pin
    asked = EXTRAS[extra] if extra else PROJECT["dependencies"]
    for one in map(Requirement, asked):
        if one.name == PROJECT["name"]:  # other extras of its own
            assert one.extras <= EXTRAS.keys()
            continue
        if one.marker is None or one.marker.evaluate({**environment, "extra": extra}):
            (version,) = [x.version for x in pins[canonicalize_name(one.name)].specifier]
            assert one.specifier.contains(version), f"{one}: constraints.txt has {version}"


def imported(path: Path) -> dict[str, bool]:
    """The modules that a file imports or looks up, and whether it does as soon as it is imported."""
    found: dict[str, bool] = {}
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [str(node.module)]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            known = node.func.id in ("find_spec", "import_module")
            names = [str(x.value) for x in node.args[:1] if known and isinstance(x, ast.Constant)]
        for name in names:
            top = "google.protobuf" if name.startswith("google.") else name.partition(".")[0]
            if top not in sys.stdlib_module_names and top != "curate":
                found[top] = found.get(top, False) or node in tree.body
    return found


def test_what_is_imported_is_declared_and_what_is_declared_is_imported() -> None:
    """At once what the base has; where it is needed, what an extra has."""
    called = {"google.protobuf": "protobuf", "cv2": "opencv-python-headless", "yaml": "pyyaml",
              "PIL": "pillow", "faiss": "faiss-cpu", "vl_convert": "vl-convert-python",
              "grpc": "grpcio", "open_clip": "open-clip-torch", "fasttext": "fasttext-community",
              "exifread": "exifread-nocycle",
              "profanity_check": "alt-profanity-check", "lance": "pylance",
              "megatron": "megatron-energon", "streaming": "mosaicml-streaming"}  # fmt: skip
    modules = [(path, imported(path)) for path in sorted((ROOT / "curate").rglob("*.py"))]
    base = {canonicalize_name(Requirement(x).name) for x in PROJECT["dependencies"]}
    extra = {
        canonicalize_name(Requirement(x).name)
        for name in ("browse", "crawls", "energon", "lance", "languages", "scores", "training")
        for x in EXTRAS[name]
    }
    extra |= {canonicalize_name(x) for x in ("rapidocr-onnxruntime", "mosaicml-streaming")}
    # They name an OpenCV that would overwrite the headless one, and versions of years ago.
    unused = set(base)
    for path, found in modules:
        for name, at_once in found.items():
            package = canonicalize_name(called.get(name, name))
            assert package in base or (package in extra and not at_once), f"{path}: {name}"
            unused.discard(package)
    assert not unused


def test_the_supported_pythons_are_said_in_one_way() -> None:
    named = {x.rpartition(" ")[2] for x in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", x)}
    assert named == set(PYTHONS)
    assert PROJECT["requires-python"] == ">=3.11,<3.14"
    assert f"Python {PYTHONS[0]} to {PYTHONS[-1]}" in (ROOT / "README.md").read_text()


def test_the_name_on_the_package_index_is_the_same_everywhere() -> None:
    from curate.config import Download
    from curate.rundir.directory import DISTRIBUTION

    assert PROJECT["name"] == DISTRIBUTION
    assert metadata.version(DISTRIBUTION) == PROJECT["version"]
    assert f"/project/{DISTRIBUTION})" in Download().user_agent
    tracked = subprocess.run(
        ["git", "grep", "-nE", r"curate\[|pip install '?curate($|[^-a-z.])", "--", "curate", "docs",
         "README.md", "metadata", "notebooks", "pipelines"],
        cwd=ROOT, capture_output=True, text=True, check=False, env=dict(os.environ),
    )  # fmt: skip
    assert tracked.stdout == ""
