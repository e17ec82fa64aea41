"""Bad input: one line that names the thing, exit code 1, and nothing half-written."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from curate.cli import app
from tests.e2e.conftest import Command, Copied

CONFIG = """\
input:
  paths: pool.parquet
prepare:
  metadata: {en: entries.txt}
download:
  enabled: false
balance:
  t: 5
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("errors")
    pool = {"url": ["http://a.example/1.jpg"], "caption": ["a red fox"]}
    pq.write_table(pa.table(pool), path / "pool.parquet")
    pq.write_table(pa.table({"url": ["http://a.example/"], "text": ["a"]}), path / "text.parquet")
    pq.write_table(pa.table(pool).slice(0, 0), path / "none.parquet")
    (path / "broken.parquet").write_bytes(b"PAR1 this is not parquet PAR1")
    (path / "entries.txt").write_text("fox\n")
    (path / "blank.txt").write_text("\n\n")
    (path / "c.yaml").write_text(CONFIG)
    (path / "typo.yaml").write_text(CONFIG.replace("metadata", "metdata"))
    (path / "other").mkdir()
    (path / "other" / "notes.txt").write_text("mine")
    return path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.yaml"], "nowhere.yaml: no such file"),
        (["c.yaml", "--set", "input.paths=gone.parquet"], "gone.parquet: no such file"),
        (["c.yaml", "--set", "input.paths=broken.parquet"], "broken.parquet: cannot be read"),
        (["c.yaml", "--set", "input.paths=text.parquet"], "no column 'caption' among url, text"),
        (["c.yaml", "--set", "input.paths=none.parquet"], "the input holds no rows"),
        (["typo.yaml"], "typo.yaml:4: prepare.metdata: unknown key, did you mean 'metadata'?"),
        (["c.yaml", "--set", "balance.t=0"], "balance.t: input should be greater than 0"),
        (["c.yaml", "--set", "balance.p=0.5"], "give exactly one of t, p, size and wfpp"),
        (
            ["c.yaml", "--set", "download.enabled=true", "--set", "score={model: ViT-B-23}"],
            "open_clip has no model 'ViT-B-23'; nearest: ViT-B-32",
        ),
        (
            ["c.yaml", "--set", "download.enabled=true", "--set",
             "score={model: ViT-B-32, pretrained: ./gone.pt}"],
            "score.pretrained: ./gone.pt: no such file",
        ),
        (
            ["c.yaml", "--set", "prepare.metadata.en=gone.txt"],
            "prepare.metadata.en",
        ),
        (["c.yaml", "--set", "prepare.metadata.en=blank.txt"], "the entry list is empty"),
        (["c.yaml", "--set", "select=[{column: colour, min: 1}]"], "no column 'colour'"),
        (["c.yaml", "--workers", "0"], "--workers 0"),
        (
            ["c.yaml", "--set", "beam.runner=DataflowRunner"],
            "--out out: Dataflow's workers cannot see the files of this machine",
        ),
    ],
)  # fmt: skip
def test_one_line_and_nothing_written(
    arguments: list[str], message: str, folder: Path, curate: Command
) -> None:
    done = curate("run", *arguments, "--out", "out", cwd=folder)
    assert done.returncode == 1
    assert done.stderr.startswith("error ")
    assert done.stderr.count("\n") == 1
    assert message in done.stderr
    assert done.stdout == ""
    assert not (folder / "out").exists()


def test_a_process_of_its_own_says_the_same(folder: Path, process: Command) -> None:
    done = process("run", "typo.yaml", "--out", "out", cwd=folder)
    assert done.returncode == 1
    assert done.stderr == (
        "error typo.yaml:4: prepare.metdata: unknown key, did you mean 'metadata'?\n"
    )
    assert done.stdout == ""


def test_a_folder_that_is_not_ours_is_left_alone(folder: Path, curate: Command) -> None:
    done = curate("run", "c.yaml", "--out", "other", cwd=folder)
    assert done.returncode == 1
    assert "other is not empty and holds no run" in done.stderr
    assert [path.name for path in (folder / "other").iterdir()] == ["notes.txt"]


def test_the_folder_of_another_run_is_left_alone(
    some_run: Path, folder: Path, curate: Command
) -> None:
    before = (some_run / "run.json").read_bytes()
    done = curate("run", "c.yaml", "--out", str(some_run), cwd=folder)
    assert done.returncode == 1
    assert "holds a run over another input" in done.stderr
    assert done.stderr.count("\n") == 1
    assert (some_run / "run.json").read_bytes() == before


def test_a_run_that_moved_is_not_taken_for_the_one_that_it_was_copied_from(tmp_path: Path) -> None:
    pool = {"url": ["http://a.example/1.jpg"], "caption": ["a red fox"]}
    pq.write_table(pa.table(pool), tmp_path / "pool.parquet")
    config = {"input": {"paths": str(tmp_path / "pool.parquet")}, "download": {"enabled": False}}
    (tmp_path / "c.yaml").write_text(json.dumps(config))
    first, second = tmp_path / "first", tmp_path / "second"

    def run(*arguments: object) -> Result:
        return CliRunner().invoke(app, ["run", *map(str, arguments)])

    assert run(tmp_path / "c.yaml", "--out", first).exit_code == 0
    again = first / "config.yaml"
    assert "Nothing to do" in run(again).output
    (tmp_path / "link").symlink_to(first)
    assert "Nothing to do" in run(tmp_path / "link" / "config.yaml").output
    first.rename(second)
    assert run(second / "config.yaml").exit_code == 1
    assert not first.exists()
    for option in (["--out", second], ["--set", f"out={second}"]):
        assert "Nothing to do" in run(second / "config.yaml", *option).output
    assert "Nothing to do" in run(second / "config.yaml").output


def test_report_of_no_run(folder: Path, curate: Command) -> None:
    done = curate("report", str(folder / "other"))
    assert done.returncode == 1
    assert "no run here" in done.stderr


def test_a_checkpoint_of_another_shape_is_one_line(
    wider: Path, some_copied: Copied, some_pairs: tuple[str, ...], curate: Command
) -> None:
    out = str(some_copied("run"))
    done = curate("demo", "--out", out, *some_pairs, "--force", "--set", f"score.model={wider}")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "cannot be loaded" in done.stderr


@pytest.fixture
def wider(tmp_path: Path) -> Path:
    """The shipped scorer's configuration with another width."""
    import json

    from curate.files import shipped

    config = json.loads(shipped("pipelines/demo/scorer/curate-mini.json").read_text())
    config["text_cfg"]["width"] *= 2
    path = tmp_path / "wider.json"
    path.write_text(json.dumps(config))
    return path
