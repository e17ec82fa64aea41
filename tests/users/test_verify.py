"""Whether a set of shards is what it should be: `curate verify` over sets of ours and of others."""

import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.files import shipped
from tests.checking.planting import cut_off, keys, members, pack, picture, tar_of, without_tables
from tests.store import PROTOCOL, CountedStore, counted_store
from tests.users.runs import curate, document, moved, pairs, well

IMG2DATASET = """
import sys
from img2dataset import download
if __name__ == "__main__":
    download(url_list=sys.argv[1], input_format="parquet", caption_col="caption",
             output_folder=sys.argv[2], output_format="webdataset", number_sample_per_shard=20,
             processes_count=1, thread_count=8, enable_wandb=False, retries=0)
"""


def found(*arguments: str) -> list[tuple[str, str, str]]:
    """Kind, file and key of each problem that `curate verify ARGUMENTS` finds."""
    done = curate("verify", *arguments, "--json")
    told = [*map(json.loads, done.stdout.splitlines())][:-1]
    assert done.returncode == bool(told), done.stderr
    return [(x["kind"], x["shard"], x["key"]) for x in told]


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What img2dataset makes of forty URLs, some of which are gone, and some of which are no images."""
    pictures = sorted(shipped("pipelines/demo/pool/images").iterdir())

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            number = int(self.path.strip("/.jpg"))
            content = b"no picture" if number % 7 == 0 else pictures[number].read_bytes()
            self.send_response(404 if number % 5 == 0 else 200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    folder = tmp_path_factory.mktemp("img2dataset")
    urls = [f"http://127.0.0.1:{server.server_port}/{k}.jpg" for k in range(40)]
    pool = pa.table({"url": urls, "caption": [f"a picture, number {k}" for k in range(40)]})
    pq.write_table(pool, folder / "pool.parquet")
    (folder / "program.py").write_text(IMG2DATASET)
    done = subprocess.run(
        [sys.executable, "program.py", "pool.parquet", "set"], cwd=folder, capture_output=True,
        text=True, timeout=240, env={**os.environ, "NO_ALBUMENTATIONS_UPDATE": "1"}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    yield folder / "set"
    server.shutdown()
    server.server_close()


def test_what_img2dataset_writes_is_clean(foreign: Path, tmp_path: Path) -> None:
    assert found(str(foreign)) == []
    assert found(str(foreign / "{00000..00001}.tar"), "--images") == []
    copy = tmp_path / "copy"
    shutil.copytree(foreign, copy)
    cut_off(copy)
    stats = document(copy / "00000_stats.json")
    assert [x[0] for x in found(str(copy))] == ["truncated_tar"]
    assert curate("verify", str(copy), "--fix", str(tmp_path / "fixed")).returncode == 1
    assert found(str(tmp_path / "fixed")) == []
    now = document(tmp_path / "fixed/00000_stats.json")
    lost = stats["successes"] - now["successes"]
    assert lost > 0
    assert now["count"] == stats["count"] - lost
    table = pq.read_table(tmp_path / "fixed/00000.parquet")
    assert table.schema == pq.read_table(foreign / "00000.parquet").schema
    assert len(table) == now["count"], "failures stay"


def test_a_run_a_revoked_one_and_a_rebalanced_one_are_clean(run: Path, tmp_path: Path) -> None:
    assert found(str(run)) == []
    well("export", str(run), "--format", "wids")
    gone = pairs(run)[3]["uid"]
    (tmp_path / "list").write_text(gone)
    well("revoke", str(run), "--list", str(tmp_path / "list"))
    assert found(str(run)) == [], "its index was written again, too"
    well("rebalance", str(run), "--out", str(tmp_path / "t2"), "--t", "2")
    assert found(str(tmp_path / "t2")) == []


def test_what_everything_makes_is_clean(whole: Path) -> None:
    """Several captions, faces, columns of others, embeddings."""
    assert found(str(whole), "--images") == []


def test_a_run_that_is_not_finished_or_holds_what_was_revoked_is_none_to_rely_on(run: Path) -> None:
    pq.write_table(pa.table({"kind": ["uid"], "value": ["0" * 32]}), run / "revoked.parquet")
    assert found(str(run), "--quick") == [("revocation", "revoked.parquet", "")]
    (run / "revoked.parquet").unlink()
    state = document(run / "run.json")
    del state["check"]
    (run / "run.json").write_text(json.dumps({**state, "state": "failed"}))
    assert found(str(run), "--quick") == [("unfinished", "run.json", "")]


def test_files_that_a_run_vouches_for_are_looked_at(run: Path) -> None:
    table = run / "prepare/part-00000.parquet"
    content = bytearray(table.read_bytes())
    content[40] ^= 1
    table.write_bytes(content)
    tar = run / "download/part-00001.tar"
    image = bytearray(tar.read_bytes())
    image[3000] ^= 1
    tar.write_bytes(image)
    (run / "download/part-00002.tar").unlink()
    assert sorted(x[1] for x in found(str(run))) == [
        "download/part-00001.tar", "download/part-00002.tar", "prepare/part-00000.parquet",
    ]  # fmt: skip
    assert [x[1] for x in found(str(run), "--quick")] == ["download/part-00002.tar"]
    (run / "records/dedup/part-00001.json").unlink()
    (run / "records/dedup/part-00002.json").write_text("{")
    records = ["records/dedup/part-00001.json", "records/dedup/part-00002.json"]
    told = sorted(x[1] for x in found(str(run), "--quick"))
    assert told == ["download/part-00002.tar", *records]


def test_the_terminal_is_told_a_line_a_problem_and_the_exit_code_says_it(
    run: Path, tmp_path: Path
) -> None:
    shards = run / "shards"
    done = curate("verify", str(shards))
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1].startswith("clean: ")
    some = [(x.replace("000002", "\x1b[2J\u202e02"), c) for x, c in members(tar_of(shards))]
    pack(tar_of(shards), [(x, c) for x, c in some if x != "\x1b[2J\u202e02.txt"])
    without_tables(shards)
    done = curate("verify", str(shards))
    assert done.returncode == 1
    assert "\x1b" not in done.stdout
    assert "\u202e" not in done.stdout
    lines = done.stdout.splitlines()
    (line,) = (x for x in lines if "missing_member" in x and "00000.tar" in x)
    assert "00000.tar \\u001b[2J\\u202e02  missing_member: no txt; `--fix DIR` writes" in line
    assert "        1  missing_member" in lines
    for arguments in (["nowhere"], [str(run / "report")], [str(shards), "--workers", "0"],
                      [str(shards), "--fix", str(run)],
                      [str(shards), "--fix", str(shards / "in")]):  # fmt: skip
        done = curate("verify", *arguments)
        assert (done.returncode, done.stdout) == (2, ""), arguments
        assert done.stderr.count("\n") == 1


def test_tars_are_named_by_folders_globs_ranges_and_their_names(run: Path, tmp_path: Path) -> None:
    shards = run / "shards"
    for n in range(2):
        (tmp_path / f"set/{n}").mkdir(parents=True)
        shutil.copy(tar_of(shards, n), tmp_path / f"set/{n}")
    names = [str(path) for path in sorted((tmp_path / "set").glob("*/*.tar"))]
    (tmp_path / "set/1/x.tar").write_bytes(b"")
    empty = [("unreadable", "1/x.tar", "")]
    assert found(str(tmp_path / "set")) == empty
    assert found(str(tmp_path / "set/*/*.tar"), "--workers", "2") == empty
    assert found(*names) == []
    assert (
        found(str(shards / "{00000..00001}.tar"), str(tmp_path / "set/1/x.tar"))[0][0]
        == "unreadable"
    )


def test_a_set_in_a_store_is_read_and_repaired_there(run: Path) -> None:
    shards = run / "shards"
    cut_off(shards)
    with counted_store():
        for path in shards.iterdir():
            if path.is_file():
                CountedStore.objects[f"bucket/set/{path.name}"] = path.read_bytes()
        ((kind, name, key),) = found(f"{PROTOCOL}://bucket/set", "--workers", "1")
        assert (kind, name) == ("truncated_tar", "00000.tar")
        assert key
        target = f"{PROTOCOL}://bucket/copy"
        done = curate("verify", f"{PROTOCOL}://bucket/set", "--fix", target, "--workers", "1")
        assert done.returncode == 1, done.stderr
        assert found(target, "--workers", "1") == []
        (shards / "00000.tar").write_bytes(CountedStore.objects["bucket/copy/00000.tar"])
    assert key not in keys(shards / "00000.tar")


def test_a_repaired_copy_keeps_samples_of_any_name(tmp_path: Path) -> None:
    image = picture(9, 9)
    names = ["a", "b/" + "b" * 200 + "/b", "caf\udce9", "k" * 120, "ß" * 300]
    some = [(f"{x}.jpg", b"no" if x == "a" else image) for x in names]
    (tmp_path / "set").mkdir()
    pack(tmp_path / "set/0.tar", some)
    assert [x[0] for x in found(str(tmp_path / "set"))] == ["not_an_image"]
    done = curate("verify", str(tmp_path / "set"), "--fix", str(tmp_path / "out"))
    assert "4 samples in 1 tar, 1 left out" in done.stdout
    assert members(tmp_path / "out/0.tar") == some[1:]
    assert not found(str(tmp_path / "out"))


def test_a_repaired_run_is_read_as_a_set(small: Path, tmp_path: Path) -> None:
    run = moved(small, tmp_path / "run")
    for n in range(2):
        path = tar_of(run / "shards", n)
        some = members(path)
        pack(path, [*some[:4], (some[4][0], b""), *some[5:]])
    assert curate("verify", str(run), "--fix", str(tmp_path / "set")).returncode == 1
    sizes = document(tmp_path / "set/sizes.json")
    before = document(run / "shards/sizes.json")
    assert sizes == {x: n - (k < 2) for k, (x, n) in enumerate(before.items())}
    card = (tmp_path / "set/README.md").read_text()
    old = (run / "shards/README.md").read_text()
    assert card != old, "loaders keep a set by the digest in its card"
    assert len(card) == len(old)
