"""Files of a run that a power cut, a full quota or a bad disk left empty, short, changed or gone."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from curate.cli import app
from curate.commands import terminal


def flip(path: Path) -> None:
    """Change a bit in the middle."""
    held = bytearray(path.read_bytes())
    held[len(held) // 2] ^= 1
    path.write_bytes(held)


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
        {
            "url": f"http://pics.example/{n}.jpg",
            "caption": f"a {x} house by the {y} sea",
            "score": n,
        }
        for n, (x, y) in enumerate((x, y) for x in colours for y in colours)
    ]
    (folder / "pool.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "c.yaml").write_text(
        f"input: {{paths: {folder / 'pool.jsonl'}, columns: {{keep: [score]}}}}\npart_rows: 12\n"
        "select: [{column: score, top_fraction: 0.9}]\n"
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
        "input/file-00000-00001.parquet", "run.json", "records/prepare/quantiles.json",
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
    flip(path)
    again = ["run", str(whole / "c.yaml"), "--out", str(run), "--force", "--set", "balance.t=1"]
    code, said = call(*again)
    assert (code, said.count("\n")) == (1, 1)
    assert f"{path} is damaged: its content is not what was written; the same command" in said
    assert call(*again)[0] == 0
    assert path.read_bytes() == (whole / "run/dedup/part-00001.parquet").read_bytes()


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("entries/entries.parquet", "report"),
        ("records/balance/thresholds.json", "sweep"),
    ],
)  # fmt: skip
def test_who_reads_finds_another_byte_and_the_run_makes_it_again(
    whole: Path, tmp_path: Path, name: str, command: str
) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole / "run", run)
    flip(run / name)
    code, said = call(command, str(run))
    assert (code, said.count("\n")) == (1, 1)
    assert f"{run / name} is damaged: " in said
    assert f"it is made again by: curate run {run}/config.yaml --out {run}" in said
    assert "remove it" not in said
    assert call("run", str(whole / "c.yaml"), "--out", str(run)) == (0, "")
    assert content(run) == content(whole / "run")
    assert call(command, str(run)) == (0, "")


def test_a_digit_of_run_json_is_another(whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole / "run", run)
    path = run / "run.json"
    held = path.read_text()
    path.write_text(held.replace('"parts": 3', '"parts": 4', 1))
    assert path.read_text() != held
    code, said = call("report", str(run))
    assert (code, said.count("\n")) == (1, 1)
    assert f"{path} is damaged: its content is not what was written; its parts are kept" in said
    assert call("run", str(whole / "c.yaml"), "--out", str(run))[0] == 0
    assert json.loads(path.read_text())["parts"] == 3
    assert content(run) == content(whole / "run")


def test_what_is_damaged_is_named_before_anybody_is_asked(whole: Path, tmp_path: Path) -> None:
    """And when it is made again."""
    run = tmp_path / "run"
    shutil.copytree(whole / "run", run)
    names = [
        "run.json", "input/parts.json", "records/prepare/quantiles.json",
        "records/dedup/clusters.json", "clusters/part-00001.parquet", "prepare/part-00001.parquet",
        "dropped/balance/part-00000.parquet", "records/balance/part-00001.json",
    ]  # fmt: skip
    again = ["run", str(whole / "c.yaml"), "--out", str(run), "--set", "balance.t=1"]
    for name in names:
        one = tmp_path / "one"
        shutil.copytree(whole / "run", one)
        (one / name).write_bytes(b"")
        code, said = call(*again[:3], str(one), *again[4:])
        first, second = said.splitlines()
        assert code == 1
        assert first == f"warning damaged in {one}, and made again: {name}"
        assert "--force" in second
        shutil.rmtree(one)
    for name in names[1:]:
        (run / name).write_bytes(b"")
    code, said = call(*again, "--force")
    assert (code, said) == (0, "")
    assert call("report", str(run)) == (0, "")
