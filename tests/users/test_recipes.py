"""The recipes' own commands over a pool that looks like DataComp's metadata, with nothing to fetch."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from curate.cli import app
from tests.e2e.conftest import Command

WIDE: list[tuple[str, object, object, bool]] = [
    ("a red fox in the garden of our house", 640, 480, True),
    ("a grey cat on the roof of the house", 200, 600, True),
    ("the old town and its river at night", 199, 400, False),
    ("a long banner with the name of a shop", 1000, 300, False),
    ("a photo of the sea without its sizes", None, 300, False),
    ("a picture that is said to be nothing", 0, 0, False),
    ("der rote Fuchs sitzt im Garten unter dem Baum", 640, 480, False),
    ("a fox", 640, 480, False),
]


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def pool(folder: Path, **changed: object) -> str:
    rows = range(len(WIDE))
    columns: dict[str, object] = {
        "uid": [f"{i:032x}" for i in rows],
        "url": [f"http://site.test/{i}.jpg" for i in rows],
        "text": [text for text, *_ in WIDE],
        "original_width": [width for _, width, *_ in WIDE],
        "original_height": [height for _, _, height, _ in WIDE],
    }
    kept = {name: column for name, column in (columns | changed).items() if column is not None}
    pq.write_table(pa.table(kept), folder / "metadata.parquet")
    return str(folder / "metadata.parquet")


@pytest.mark.parametrize("kept", [(), ("--set", "input.columns.keep=[original_width]")])
def test_datacomp_basic_of_the_metadata_alone(kept: tuple[str, ...], tmp_path: Path) -> None:
    out = str(tmp_path / "run")
    (tmp_path / "c.yaml").write_text(invoke("config", "--recipe", "datacomp-basic").output)
    done = invoke(
        "run", str(tmp_path / "c.yaml"), "--out", out, "--set", f"input.paths={pool(tmp_path)}",
        "--set", "download.enabled=false", *kept,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert invoke("subset", out, "--npy", str(tmp_path / "basic.npy")).exit_code == 0
    found = [int(low) for _, low in np.load(tmp_path / "basic.npy")]
    assert found == [i for i, (*_, stays) in enumerate(WIDE) if stays]
    dropped = pq.read_table(tmp_path / "run/dropped/prepare").to_pylist()
    reasons = {int(row["uid"], 16): (row["reason"], row["value"]) for row in dropped}
    assert reasons[2] == ("rule:small_image", "199")
    assert reasons[3][0] == "rule:elongated"
    again = invoke("run", str(tmp_path / "run/config.yaml"), "--out", out)
    assert again.exit_code == 0
    assert "Nothing to do" in again.output


def test_without_the_sizes_it_says_which_columns_are_missing(
    tmp_path: Path, curate: Command
) -> None:
    (tmp_path / "c.yaml").write_text(curate("config", "--recipe", "datacomp-basic").stdout)
    path = pool(tmp_path, original_width=None)
    changes = ("--set", f"input.paths={path}", "--set", "download.enabled=false")
    done = curate("run", "c.yaml", "--out", "run", *changes, cwd=tmp_path)
    assert done.returncode == 1
    assert "no input file has a column 'original_width'" in done.stderr


def test_datacomp_clip_score_by_the_scores_of_the_metadata(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(invoke("config", "--recipe", "datacomp-clip-l14-30").output)
    scores = [0.1 * i for i in range(len(WIDE))]
    path = pool(tmp_path, clip_l14_similarity_score=pa.array(scores, pa.float32()))
    out = str(tmp_path / "run")
    done = invoke(
        "run", str(tmp_path / "c.yaml"), "--out", out, "--set", f"input.paths={path}",
        "--set", "download.enabled=false", "--set", "score=null",
        "--set", "input.columns.keep={clip_l14_similarity_score: float32}",
        "--set", "select=[{column: clip_l14_similarity_score, top_fraction: 0.3}]",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert invoke("subset", out, "--npy", str(tmp_path / "l14.npy")).exit_code == 0
    assert [int(low) for _, low in np.load(tmp_path / "l14.npy")] == [5, 6, 7]
