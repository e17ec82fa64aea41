"""Around a command: closed streams, a pipe that ends, terminals, limits; and captions that act."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

URL = "http://a.example/\x1b]0;owned\x07.png"
EVIL = "a small red house \x1b[2J\x9b31m\u202eyb [bold]the[/bold] sea :heart:\r"


def shell(command: str, folder: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run `command`, in which `curate` is the command, in a shell; its status is that of `curate`."""
    name = f"{shlex.quote(sys.executable)} -m curate.cli"
    return subprocess.run(
        ["bash", "-c", f'curate() {{ {name} "$@"; }}; {command}'], cwd=folder, capture_output=True,
        text=True, timeout=240, check=False, env={**os.environ, **environment},
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in `run`, which was made without a standard output, error or input."""
    path = tmp_path_factory.mktemp("terminal")
    pool = {"url": [URL, "http://a.example/2"], "caption": [EVIL, "a small blue house by the sea"]}
    pq.write_table(pa.table(pool), path / "pool.parquet")
    document = {"input": {"paths": "pool.parquet"}, "download": {"enabled": False}}
    (path / "c.yaml").write_text(json.dumps(document))
    done = shell("curate run c.yaml --out run <&- >&- 2>&-", path)
    assert done.returncode == 0
    assert (path / "run" / "report" / "index.html").exists()
    return path


@pytest.mark.parametrize(
    ("command", "status"),
    [
        ("curate explain run http://a.example/2 >&-", 0),
        ("curate explain run http://nowhere.example/ 2>&-", 1),
        ("curate explain run http://a.example/2 | head -1; exit ${PIPESTATUS[0]}", 0),
        ("curate config --full | true; exit ${PIPESTATUS[0]}", 0),
        ("curate config --full > /dev/full", 1),
        ("env -u TERM " + shlex.quote(sys.executable) + " -m curate.cli recipes", 0),
        ("LC_ALL=C curate recipes", 0),
        ("LC_ALL=POSIX PYTHONIOENCODING=ascii curate explain run http://a.example/2", 0),
        ("TERM=dumb NO_COLOR=1 COLUMNS=20 curate report run", 0),
        ("COLUMNS=1 curate explain run http://a.example/2", 0),
    ],
)
def test_no_traceback_and_a_status_that_is_true(command: str, status: int, folder: Path) -> None:
    done = shell(command, folder)
    assert done.returncode == status
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr
    assert done.stderr.count("\n") <= 1


@pytest.mark.parametrize("options", ["", "--json"])
def test_captions_and_urls_do_not_act_on_the_terminal(options: str, folder: Path) -> None:
    uid = pq.read_table(folder / "run" / "dedup")["uid"].to_pylist()
    urls = pq.read_table(folder / "run" / "dedup")["url"].to_pylist()
    hostile = uid[next(i for i, url in enumerate(urls) if "\x1b" in url or "owned" in url)]
    done = shell(f"curate explain run {hostile} {options}", folder)
    assert done.returncode == 0, done.stderr
    assert not set(done.stdout) & set("\x1b\x07\x9b\u202e\r")
    assert "[bold]the[/bold] sea :heart:" in done.stdout
    assert "http://a.example/\\u001b]0;owned\\u0007.png" in done.stdout
    if options:
        assert json.loads(done.stdout)[0]["url"] == URL


def test_an_error_does_not_act_on_the_terminal(folder: Path) -> None:
    done = shell("curate explain run $'http://x/\\e[2J\\nerror all is lost [bold]'", folder)
    assert done.returncode == 1
    assert "\\u001b[2J\\nerror all is lost [bold]" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_report_where_addresses_are_limited_has_no_figures_and_says_so(folder: Path) -> None:
    done = shell("ulimit -v 6000000; curate report run", folder)
    assert done.returncode == 0, done.stderr
    assert "warning The figures could not be drawn" in done.stdout
    assert "figures could not be drawn" in (folder / "run" / "report" / "index.html").read_text()
    done = shell("curate report run", folder)
    assert "warning" not in done.stdout
    assert "could not be drawn" not in (folder / "run" / "report" / "index.html").read_text()
