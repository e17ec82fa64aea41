"""A user without a home, over an installation of another."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import curate

ANOTHER = ["setpriv", "--reuid", "54321", "--regid", "54321", "--clear-groups",
           "--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"]  # fmt: skip
"""Becomes a user who owns nothing and may read all, so that the interpreter may lie in root's home."""


def may_be_another() -> bool:
    try:
        return subprocess.run([*ANOTHER, "true"], check=False, capture_output=True).returncode == 0
    except OSError:
        return False


@pytest.mark.skipif(not may_be_another(), reason="another user can be played by root, with setpriv")
@pytest.mark.parametrize("home", [None, "/", "/nonexistent"])
def test_a_user_who_has_no_home(home: str | None, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.getbasetemp() / "homeless"
    if not folder.exists():  # the kernels are compiled once
        folder.mkdir()
        pool = {"url": ["http://a.example/1.png"], "caption": ["a small red house by the sea"]}
        pq.write_table(pa.table(pool), folder / "pool.parquet")
        document = {
            "input": {"paths": str(folder / "pool.parquet")},
            "download": {"enabled": False},
        }
        (folder / "c.yaml").write_text(json.dumps(document))
    for name in ("work", "tmp"):
        (folder / name).mkdir(exist_ok=True)
        (folder / name).chmod(0o777)
    environment = {"PATH": "/usr/bin:/bin", "TMPDIR": str(folder / "tmp"),
                   "PYTHONPATH": str(Path(curate.__file__).parents[1])}  # fmt: skip
    if home:
        environment["HOME"] = home
    out = str(home).strip("/") or "root"
    done = subprocess.run(
        [*ANOTHER, sys.executable, "-m", "curate.cli", "run", "../c.yaml", "--out", out],
        env=environment, cwd=folder / "work", capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert (folder / "work" / out / "report" / "funnel.png").exists()
    assert not (folder / "work" / "~").exists()
    assert (folder / "tmp" / "curate-54321").stat().st_mode & 0o077 == 0


def test_a_folder_that_another_user_has_made_for_us_is_not_trusted(tmp_path: Path) -> None:
    (tmp_path / f"curate-{os.getuid()}").mkdir(mode=0o700)
    (tmp_path / f"curate-{os.getuid()}").chmod(0o777)
    code = "from curate import caches; print(caches.fallback())"
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "TMPDIR": str(tmp_path)},
                          capture_output=True, text=True, check=True)  # fmt: skip
    chosen = Path(done.stdout.strip())
    assert chosen.parent == tmp_path
    assert chosen.name != f"curate-{os.getuid()}"


def test_checkpoints_in_a_home_that_cannot_be_written_are_used(tmp_path: Path) -> None:
    (tmp_path / "huggingface").mkdir()
    code = """
import os
from curate import caches
os.access = lambda path, mode: False
caches.choose()
print(os.environ["HF_HOME"], os.environ["XDG_CACHE_HOME"], "TORCH_HOME" in os.environ)
"""
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TMPDIR": str(tmp_path),
                   "XDG_CACHE_HOME": str(tmp_path)}  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], env=environment,
                          capture_output=True, text=True, check=True)  # fmt: skip
    models, cached, torch = done.stdout.split()
    assert models == str(tmp_path / "huggingface")
    assert cached.startswith(f"{tmp_path}/curate-")
    assert torch == "False"
