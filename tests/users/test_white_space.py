"""White space around a URL is no part of it: in a pool, and on every list."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

import curate as package
from curate.ops.selection.uids import DTYPE
from tests.e2e.conftest import Command

AROUND = (" {}", "\t{}", "\n{}", "\r\n{}", "\f{}", "{} ", "{}\n", " \t{}\r\n")
URLS = [f"http://pics.example/{k}.jpg" for k in range(len(AROUND))]
CAPTIONS = [f"a red house number {k}" for k in range(len(AROUND))]


def run(curate: Command, folder: Path, **keys: object) -> str:
    table = {"url": [x.format(url) for x, url in zip(AROUND, URLS, strict=True)],
             "caption": CAPTIONS, "id": [f" {k:032x}\n" for k in range(len(URLS))]}  # fmt: skip
    pq.write_table(pa.table(table), folder / "a.parquet")
    document = {"input": {"paths": "a.parquet"}, "download": {"enabled": False},
                "dedup": {"enabled": False}, **keys}  # fmt: skip
    (folder / "c.yaml").write_text(yaml.safe_dump(document))
    done = curate("run", "c.yaml", "--out", "run", cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("form", ["parquet", "jsonl"])
def test_a_url_with_white_space_around_it_is_that_url(
    tmp_path: Path, curate: Command, form: str
) -> None:
    paths = {"parquet": "a.parquet", "jsonl": "b.jsonl"}[form]
    table = pa.table({"url": [x.format(y) for x, y in zip(AROUND, URLS, strict=True)],
                      "caption": CAPTIONS})  # fmt: skip
    table.to_pandas().to_json(tmp_path / "b.jsonl", orient="records", lines=True)
    run(curate, tmp_path, input={"paths": paths})
    kept = pq.read_table(tmp_path / "run/prepare/part-00000.parquet")
    assert kept["url"].to_pylist() == URLS
    uids = package.pair_uids(pa.array(URLS), pa.array(CAPTIONS))
    assert kept["uid"].to_pylist() == uids.to_pylist()


def test_revoke_and_explain_find_it_however_it_is_spelt(tmp_path: Path, curate: Command) -> None:
    run(curate, tmp_path)
    said = curate("explain", "run", f"{URLS[1]} ", cwd=tmp_path)
    assert said.returncode == 0, said.stderr
    listed = [f"\t{URLS[0]} ", f"url: {URLS[1]}\f", f"{URLS[5]}\r"]
    (tmp_path / "list.txt").write_text("\n".join(listed))
    said = curate("revoke", "run", "--list", "list.txt", cwd=tmp_path)
    assert said.returncode == 0, said.stderr
    kept = pq.read_table(tmp_path / "run/prepare/part-00000.parquet")["url"].to_pylist()
    assert kept == [x for k, x in enumerate(URLS) if k not in (0, 1, 5)]


def test_a_subset_finds_uids_with_white_space_around_them(tmp_path: Path, curate: Command) -> None:
    np.save(tmp_path / "subset.npy", np.array([(0, 2), (0, 3)], DTYPE))
    columns = {"uid": "id"}
    run(curate, tmp_path, input={"paths": "a.parquet", "columns": columns},
        prepare={"uids_in": str(tmp_path / "subset.npy")})  # fmt: skip
    kept = pq.read_table(tmp_path / "run/prepare/part-00000.parquet")
    assert kept["url"].to_pylist() == URLS[2:4]
    assert kept["uid"].to_pylist() == [f"{2:032x}", f"{3:032x}"]


def test_a_url_that_is_none_is_shown_without_it(tmp_path: Path, curate: Command) -> None:
    table = {"url": [" ftp://x.example/a \n", *URLS], "caption": ["a house", *CAPTIONS]}
    pq.write_table(pa.table(table), tmp_path / "b.parquet")
    run(curate, tmp_path, input={"paths": "b.parquet"})
    left = pq.read_table(tmp_path / "run/dropped/prepare/part-00000.parquet").to_pylist()
    assert [(x["reason"], x["url"], x["value"]) for x in left] == [
        ("bad_url", "ftp://x.example/a", "ftp://x.example/a")
    ]
