"""Lists that rules keep or drop: a value a line, an array, a table that somebody has filled in."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from curate.config import Rule
from curate.errors import CurateError
from curate.ops.selection.listed import read_listed
from curate.ops.selection.rules import keeps

TABLE = (
    "visual_cluster,pairs,label,drop,keep\n0,9,a bar plot,yes,\n1,8,x-ray,,x\n\n 2 ,3,,No,1\n3\n"
)

INT = pa.int32()


def read(path: Path, content: str, mark: Any, kind: pa.DataType = INT) -> list[Any]:
    path.write_text(content)
    found: list[Any] = read_listed(
        str(path), column="visual_cluster", mark=mark, kind=kind
    ).to_pylist()
    return found


@pytest.mark.parametrize(
    ("name", "content", "drop", "keep"),
    [
        ("a.txt", "3\n\n 12\r\n", [3, 12], [3, 12]),
        ("a.json", '["3", "12"]', [3, 12], [3, 12]),
        ("a.csv", "pairs,visual_cluster\n5,3\n6,12\n", [3, 12], [3, 12]),
        ("a.csv", "\ufeff" + TABLE, [0], [1, 2]),
        ("a.tsv", TABLE.replace(",", "\t"), [0], [1, 2]),
        ("a.csv", "visual_cluster,drop\n1,\n", [], [1]),
    ],
)
def test_what_is_on_a_list(
    tmp_path: Path, name: str, content: str, drop: list[int], keep: list[int]
) -> None:
    assert read(tmp_path / name, content, "drop") == drop
    assert read(tmp_path / name, content, "keep") == keep


def test_texts_are_taken_as_they_stand(tmp_path: Path) -> None:
    assert read(tmp_path / "a.txt", "PMC1\nPMC 2\n", "keep", pa.string()) == ["PMC1", "PMC 2"]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        (
            "a.txt",
            "3\nplots\n",
            "a.txt: row 2: 'plots' is no value of visual_cluster, which is int32",
        ),
        ("a.txt", "3000000000\n", "'3000000000' is no value of visual_cluster"),
        (
            "a.csv",
            "cluster,drop\n1,yes\n",
            r"no column 'visual_cluster' in its first row \(cluster",
        ),
        (
            "a.csv",
            "visual_cluster,drop\n1,maybe\n",
            "row 2: 'maybe' in column 'drop'; expected yes",
        ),
        ("a.csv", "", "no column 'visual_cluster'"),
        ("a.json", '{"0": 1}', "expected one list"),
    ],
)
def test_what_is_no_list_is_told(tmp_path: Path, name: str, content: str, told: str) -> None:
    with pytest.raises(CurateError, match=told):
        read(tmp_path / name, content, "drop")


def test_rules_over_lists(tmp_path: Path) -> None:
    """A null satisfies none; a file that changes is read again."""
    path = tmp_path / "clusters.csv"
    path.write_text(TABLE)
    table = pa.table({"visual_cluster": pa.array([0, 1, 2, 3, None], pa.int32())})

    def kept(**condition: str) -> list[int]:
        rule = Rule.model_validate({"column": "visual_cluster", **condition})
        return [k for k, is_kept in enumerate(keeps(table, rule).tolist()) if is_kept]

    assert kept(not_in_file=str(path)) == [1, 2, 3]
    assert kept(in_file=str(path)) == [1, 2]
    path.write_text(TABLE.replace("1,8,x-ray,,x", "1,8,x-ray,x,"))
    assert kept(not_in_file=str(path)) == [2, 3]
    path.write_text("visual_cluster,drop\n")
    assert kept(not_in_file=str(path)) == [0, 1, 2, 3]
