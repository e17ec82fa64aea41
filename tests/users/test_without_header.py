"""The files of CC3M, CC12M and SBU have no header: columns are told by their places."""

import gzip
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from curate.pool.rows import PoolFormat
from curate.pool.tables import column_kinds, read_batches
from tests.e2e.conftest import Command

CC3M = 'a red house\thttp://p.example/1.jpg\n"quoted" fox\thttp://p.example/2.jpg\nthe sea\thttp://p.example/3.jpg'
SBU = 'http://p.example/1.jpg,"a red, ""old"" house"\nhttp://p.example/2.jpg,a fox\n'


def run(curate: Command, folder: Path, name: str, columns: str) -> tuple[int, str]:
    text = f"input: {{paths: {name}, columns: {columns}}}\ndownload: {{enabled: false}}\n"
    (folder / "c.yaml").write_text(text)
    done = curate("run", "c.yaml", "--out", "run", cwd=folder)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("name", "content", "columns", "captions"),
    [
        ("cc3m.tsv", CC3M.encode(), "{url: 2, caption: 1}", ["a red house", '"quoted" fox', "the sea"]),
        ("cc3m.tsv.gz", gzip.compress(b"\xef\xbb\xbf" + CC3M.encode()), "{url: 2, caption: 1}",
         ["a red house", '"quoted" fox', "the sea"]),
        ("sbu.csv", SBU.encode(), "{url: 1, caption: 2}", ['a red, "old" house', "a fox"]),
        ("one.csv", b"http://p.example/1.jpg,a fox", "{url: 1, caption: 2}", ["a fox"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # gzip's bytes hold the time
)  # fmt: skip
def test_no_row_is_lost_the_first_included(
    tmp_path: Path, curate: Command, name: str, content: bytes, columns: str, captions: list[str]
) -> None:
    (tmp_path / name).write_bytes(content)
    rc, said = run(curate, tmp_path, name, columns)
    assert rc == 0, said
    kept = pq.read_table(tmp_path / "run/prepare/part-00000.parquet")
    assert kept["caption"].to_pylist() == captions
    assert kept["url"].to_pylist() == [
        f"http://p.example/{k}.jpg" for k in range(1, len(captions) + 1)
    ]


def test_the_message_on_a_header_that_is_none_offers_the_places(
    tmp_path: Path, curate: Command
) -> None:
    (tmp_path / "cc3m.tsv").write_text(CC3M)
    rc, said = run(curate, tmp_path, "cc3m.tsv", "{}")
    assert rc == 1
    assert "input.columns: {url: 2, caption: 1}" in said
    rc, said = run(curate, tmp_path, "cc3m.tsv", "{url: 2, caption: text}")
    assert rc == 1
    assert "all by position from 1" in said
    rc, said = run(curate, tmp_path, "cc3m.tsv", "{url: 3, caption: 1}")
    assert rc == 1
    assert "no column '3' among 1, 2" in said


@pytest.mark.parametrize("kind", ["csv", "tsv", "quoted-tsv"])
def test_rows_of_another_length_are_named_by_their_row_whichever_is_first(
    tmp_path: Path, kind: str
) -> None:
    comma = "," if kind == "csv" else "\t"
    path = tmp_path / "pool"
    rows = [["odd"], *([f"http://p.example/{k}.jpg", f"a fox {k}", str(k)] for k in range(30))]
    path.write_text("\n".join(comma.join(row) for row in rows))
    pool = PoolFormat(kind, "1", "2", keep=(("3", "int64"),), headless=True)
    [table] = [x for x in read_batches(str(path), pool=pool) if len(x)]
    good = table.filter(table["error"].is_null())
    assert good["3"].to_pylist() == list(range(30))
    assert [x for x in table["detail"].to_pylist() if x] == [
        f"{path}: row 1: 1 fields where most rows have 3"
    ]
    assert column_kinds(str(path), pool=pool) == {"1": "string", "2": "string", "3": "int64"}
