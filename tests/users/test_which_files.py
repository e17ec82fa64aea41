"""A user points at a folder with more in it than data, at a range of shards, at what is closed."""

import os
import shutil
import subprocess
import sys
from itertools import accumulate
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from braceexpand import braceexpand
from hypothesis import given
from hypothesis import strategies as st

from curate import files
from curate.errors import CurateError
from curate.files import listing
from tests.e2e.conftest import Command

HIDDEN = (
    ".cache/huggingface/download/data/a.parquet.metadata", "_temporary/0/task_1/part-1.parquet",
    "data/.ipynb_checkpoints/part-0-checkpoint.parquet", ".Trash-0/files/old.parquet", "_SUCCESS",
    "data/_delta_log/0.json", ".gitattributes",
)  # fmt: skip


def lay(path: Path, tag: str = "", n: int = 5) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = {"url": [f"http://pics.example/{tag}{i}.jpg" for i in range(n)],
             "caption": [f"a small red house {tag}{i} by the sea" for i in range(n)]}  # fmt: skip
    pq.write_table(pa.table(table), path)
    return path


def settings(folder: Path, *paths: str, **keys: object) -> str:
    document = {"input": {"paths": list(paths), **keys}, "download": {"enabled": False}}
    (folder / "c.yaml").write_text(yaml.safe_dump(document))
    return str(folder / "c.yaml")


def asked(curate: Command, folder: Path, *paths: str, **keys: object) -> tuple[int, str]:
    """The exit status of a run over `paths` in `folder`, and its first line and what it kept."""
    out = f"run-{uuid4().hex}"
    done = curate("run", settings(folder, *paths, **keys), "--out", out, cwd=folder)
    return done.returncode, done.stdout + done.stderr


def test_a_folder_of_the_hub_is_read_for_its_data(tmp_path: Path, curate: Command) -> None:
    hub = tmp_path / "hub"
    for k in range(2):
        lay(hub / f"data/train-{k}.parquet", f"{k}-")
    for name in (*HIDDEN, "data/train-0.parquet.lock"):
        (hub / name).parent.mkdir(parents=True, exist_ok=True)
        (hub / name).write_bytes((hub / "data/train-0.parquet").read_bytes())
    (hub / "README.md").write_text("# A set")
    (hub / "dataset_infos.json").write_text('{"default": {"features": {}}}')
    (hub / "data/x.lock").write_bytes(b"")
    for form in ("auto", "parquet"):
        rc, said = asked(curate, tmp_path, "hub", format=form)
        assert rc == 0, said
        left_out = "README.md, x.lock" if form == "auto" else "README.md"
        assert said.startswith("hub: left out "), said
        assert left_out in said or form == "parquet"
        # The copy that ends in .lock holds a parquet; by content it is one, by name it is none.
        assert ("15 pairs" if form == "auto" else "10 pairs") in said


def test_what_is_named_itself_is_read_however_it_is_called(tmp_path: Path, curate: Command) -> None:
    for k, name in enumerate(("_raw/x.parquet", ".old/y.parquet", "_z.parquet", "[1] a/b.parquet")):
        lay(tmp_path / name, f"{k}-")
    for paths in (["_raw"], [".old/*"], ["_z.parquet"], ["_z*"], ["[1] a"], ["[1] a/*.parquet"]):
        rc, said = asked(curate, tmp_path, *paths)
        assert (rc, "5 pairs" in said) == (0, True), said
    rc, said = asked(curate, tmp_path, "*.parquet")
    assert rc == 1
    assert f"no such file, folder or match (looked for {tmp_path}/*.parquet)" in said


def test_links_are_followed_once_and_broken_ones_are_counted(
    tmp_path: Path, curate: Command
) -> None:
    lay(tmp_path / "elsewhere/a.parquet", "a")
    lay(tmp_path / "pool/sub/b.parquet", "b")
    lay(tmp_path / "pool/sub/c.parquet", "c")
    pool = tmp_path / "pool"
    (pool / "linked").symlink_to("../elsewhere")
    (pool / "one.parquet").symlink_to("../elsewhere/a.parquet")
    (pool / "sub/up").symlink_to("..")
    (pool / "sub/self").symlink_to("self")
    (pool / "gone.parquet").symlink_to("nowhere")
    rc, said = asked(curate, tmp_path, "pool")
    assert rc == 0, said
    assert "15 pairs" in said
    assert "left out 2 links that lead nowhere (gone.parquet, self)" in said
    rc, said = asked(curate, tmp_path, "pool/**/*.parquet")
    assert (rc, "15 pairs" in said) == (0, True), said
    rc, said = asked(curate, tmp_path, "pool/gone.parquet")
    assert (rc, said.count("\n")) == (1, 1)


@pytest.mark.parametrize("store", ["local", "memory"])
def test_one_rule_for_every_store(tmp_path: Path, store: str) -> None:
    root = str(tmp_path) if store == "local" else f"memory://{uuid4().hex}"
    for name in (*HIDDEN, "data/a.parquet", "data/x[1]/b.parquet", "c.parquet"):
        files.write_bytes(files.join(root, name), b"")

    def found(pattern: str) -> list[str]:
        start = root.replace("memory://", "memory:///")
        return [x.removeprefix(f"{start}/") for x in listing.expand(files.join(root, pattern))]

    assert found("") == ["c.parquet", "data/a.parquet", "data/x[1]/b.parquet"]
    assert found("**/*.parquet") == ["c.parquet", "data/a.parquet", "data/x[1]/b.parquet"]
    assert found("data/x[1]") == found("data/x[1]/*") == ["data/x[1]/b.parquet"]
    assert found("data/x[1]/{a,b}.parquet".replace("a,", "b,")) == ["data/x[1]/b.parquet"]
    assert found("_temporary/**/part*") == ["_temporary/0/task_1/part-1.parquet"]
    assert found("{data/a,c}.parquet") == ["c.parquet", "data/a.parquet"]
    with pytest.raises(CurateError, match=r"data/b\.parquet is not there"):
        found("data/{a..b}.parquet")
    assert found("none/{a..b}.parquet") == []


def test_a_range_of_shards_as_the_readme_prints_it(tmp_path: Path, curate: Command) -> None:
    for k in range(3):
        lay(tmp_path / f"pool/{k:05d}.parquet", f"{k}-")
    rc, said = asked(curate, tmp_path, "pool/{00000..00002}.parquet")
    assert (rc, "15 pairs in 3 parts" in said) == (0, True), said
    rc, said = asked(curate, tmp_path, "pool/{00000,00002}.parquet")
    assert (rc, "10 pairs in 2 parts" in said) == (0, True), said
    rc, said = asked(curate, tmp_path, "pool/{00000..00010}.parquet")
    assert rc == 1
    assert "00003.parquet is not there, and 7 more of its 11" in said
    assert said.count("\n") == 1


@given(st.text(alphabet="{},.01a9-", max_size=14))
def test_braces_stand_for_what_webdataset_makes_of_them(pattern: str) -> None:
    try:
        expected = list(braceexpand(pattern, escape=False))
    except ValueError:  # unbalanced braces are an error there, and as they stand here
        return
    depths = accumulate({"{": 1, "}": -1}.get(x, 0) for x in pattern)
    if len(expected) < 200 and min(depths, default=0) >= 0:
        assert list(listing.braces(pattern)) == expected


# What may not be read ----------------------------------------------------------------------------


def without_rights(folder: Path, *arguments: str) -> str:
    """The last line that `curate` says to a user whom the system refuses what has no mode for it."""
    command = [sys.executable, "-m", "curate.cli", *arguments]
    if os.geteuid() == 0:
        if not shutil.which("setpriv"):
            pytest.skip("root may read everything, and there is no setpriv to take that away")
        command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *command]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 1
    assert (done.stdout + done.stderr).count("\n") == 1, done.stderr
    return done.stderr


@pytest.mark.parametrize("which", ["file", "folder", "list", "out"])
def test_what_may_not_be_read_or_written_is_one_line(tmp_path: Path, which: str) -> None:
    lay(tmp_path / "a.parquet")
    closed = {"file": lay(tmp_path / "closed.parquet"), "folder": tmp_path / "shut",
              "list": tmp_path / "list.txt", "out": tmp_path / "full"}[which]  # fmt: skip
    if which in ("folder", "out"):
        lay(closed / "a.parquet")
    elif which == "list":
        closed.write_text("red house\n")
    closed.chmod(0o500 if which == "out" else 0)
    shown = str(closed) if which in ("file", "folder") else str(tmp_path / "a.parquet")
    options = ["--set", f"prepare.metadata.en={closed}"] if which == "list" else []
    out = str(closed / "run") if which == "out" else "run"
    said = without_rights(tmp_path, "run", settings(tmp_path, shown), "--out", out, *options)
    assert str(closed) in said
    assert "ermission denied; let this user" in said


@pytest.mark.parametrize(
    ("module", "name", "attributes", "said"),
    [
        ("botocore.exceptions", "NoCredentialsError", {}, "no credentials for this store"),
        ("botocore.exceptions", "EndpointConnectionError", {}, "the store cannot be used"),
        ("aiohttp.client_exceptions", "ClientResponseError", {"status": 403}, "refuses it (403)"),
        ("gcsfs.retry", "HttpError", {"code": 401}, "refuses it (401)"),
        ("google.auth.exceptions", "DefaultCredentialsError", {}, "no credentials"),
    ],
)
def test_what_a_store_says_is_one_line(
    monkeypatch: pytest.MonkeyPatch, module: str, name: str, attributes: dict[str, int], said: str
) -> None:
    """Each client has exceptions of its own; moto's server gave the same lines in a trial."""
    kind = type(name, (Exception,), {"__module__": module, **attributes})

    def refuse(*_: object, **__: object) -> None:
        raise kind("first line\nsecond")

    monkeypatch.setattr("fsspec.implementations.memory.MemoryFileSystem.isdir", refuse)
    with pytest.raises(CurateError, match="memory://b/x: ") as error:
        listing.find("memory://b/x")
    assert said in str(error.value)
    assert "\n" not in str(error.value)
