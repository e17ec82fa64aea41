"""Files of a run that a power cut, a full quota or a bad disk left empty, short, changed or gone."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from curate.cli import app
from curate.commands import terminal

DAMAGES: dict[str, Callable[[Path], object]] = {
    "emptied": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "gone": lambda path: path.unlink(),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("damaged")
    colours = ("red", "blue", "green", "white", "black", "brown")
    rows = [
        {"url": f"http://pics.example/{n}.jpg", "caption": f"a {x} house by the {y} sea"}
        for n, (x, y) in enumerate((x, y) for x in colours for y in colours)
    ]
    (folder / "pool.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "c.yaml").write_text(
        f"input: {{paths: {folder / 'pool.jsonl'}}}\npart_rows: 12\n"
        "prepare: {metadata: {en: 'shipped://metadata/en-small.txt'}}\n"
        "download: {enabled: false}\nbalance: {t: 20}\n"
    )
    assert call("run", str(folder / "c.yaml"), "--out", str(folder / "run"))[0] == 0
    return folder


def call(*arguments: str) -> tuple[int, str]:
    """The exit code, and what was said on stderr."""
    with terminal.error_console.capture() as said:
        done = CliRunner().invoke(app, list(arguments))
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, said.get()


def content(run: Path) -> dict[str, bytes]:
    return {str(path.relative_to(run)): path.read_bytes() for path in run.rglob("*.parquet")}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize(
    "name",
    [
        "prepare/part-00001.parquet", "dropped/prepare/part-00001.parquet",
        "dedup/part-00002.parquet", "clusters/part-00000.parquet", "balance/part-00000.parquet",
        "records/dedup/part-00001.json", "records/dedup/clusters.json", "input/parts.json",
        "input/file-00000-00001.parquet", "run.json",
    ],
)  # fmt: skip
def test_a_file_of_the_run_is_damaged_and_the_command_repeated(
    whole: Path, tmp_path: Path, name: str, damage: str
) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole / "run", run)
    DAMAGES[damage](run / name)
    code, said = call("run", str(whole / "c.yaml"), "--out", str(run))
    assert code == 0, said
    assert content(run) == content(whole / "run")


@pytest.mark.parametrize("command", [["report"], ["subset", "--npy", "NPY"]])
@pytest.mark.parametrize("name", ["balance/part-00000.parquet", "records/balance/part-00001.json"])
def test_a_damaged_run_is_told_of_in_one_line(
    whole: Path, tmp_path: Path, name: str, command: list[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole / "run", run)
    DAMAGES["cut"](run / name)
    first, *options = command
    npy = str(tmp_path / "s.npy")
    code, said = call(first, str(run), *(npy if x == "NPY" else x for x in options))
    assert (code, said.count("\n")) == (1, 1)
    assert f"{run / name} is damaged" in said
    assert "it is made again by: curate run" in said


def test_a_byte_of_a_part_is_another(whole: Path, tmp_path: Path) -> None:
    """Its size is what it was: who reads it finds out, and the same command makes it again."""
    run = tmp_path / "run"
    shutil.copytree(whole / "run", run)
    path = run / "dedup/part-00001.parquet"
    held = bytearray(path.read_bytes())
    held[len(held) // 2] ^= 1
    path.write_bytes(held)
    again = ["run", str(whole / "c.yaml"), "--out", str(run), "--force", "--set", "balance.t=1"]
    code, said = call(*again)
    assert (code, said.count("\n")) == (1, 1)
    assert f"{path} is damaged: its content is not what was written; the same command" in said
    assert call(*again)[0] == 0
    assert path.read_bytes() == (whole / "run/dedup/part-00001.parquet").read_bytes()
