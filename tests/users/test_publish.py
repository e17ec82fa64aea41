"""The set of a run goes to a repository of a hub, whole, once, and without what was revoked.

The hub is a fake on a loopback port; nothing here asks any other.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.files import shipped
from tests.publishing.fake_hub import TOKEN, FakeHub, fake_hub
from tests.users.runs import SMALL, curate, document, moved, pairs, refused, small_run, well

REPO = "me/set"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, undrawn: None) -> Path:
    """A run whose shards are mixed and whose pairs have several captions."""
    folder = tmp_path_factory.mktemp("published")
    pool = shipped("pipelines/demo/pool/pool.jsonl").read_text().splitlines()
    rows = [json.loads(pool[i]) for i in SMALL]
    urls = [row["url"] for row in rows if row["url"] and row["caption"]]
    table = pa.table({"url": urls, "caption": [f"the same again, {k}" for k in range(len(urls))]})
    pq.write_table(table, folder / "again.parquet")
    return small_run(
        folder, "--set", "shards.order=mixed",
        "--set", f"captions={{again: {{path: {folder}/again.parquet, on: url}}}}",
    )  # fmt: skip


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    """A fake hub, to which this process has a token; it may connect to loopback alone."""
    from huggingface_hub import constants
    from huggingface_hub.utils import _detect_agent

    connect = socket.socket.connect

    def only_loopback(self: socket.socket, address: Any) -> None:
        assert not isinstance(address, tuple) or address[0] in ("127.0.0.1", "::1"), address
        connect(self, address)

    with fake_hub() as found:
        monkeypatch.setattr(socket.socket, "connect", only_loopback)
        monkeypatch.setattr(constants, "ENDPOINT", found.address)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "AGENT_HARNESSES_PATH", str(tmp_path / "agents.json"))
        monkeypatch.setattr(_detect_agent, "_registry", None, raising=False)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setenv("HF_ENDPOINT", found.address)
        yield found


def wanted(run: Path) -> dict[str, bytes]:
    """The files that are to be in the repository as they are here."""
    return {x.name: x.read_bytes() for x in (run / "shards").iterdir() if x.is_file()}


def sent(hub: FakeHub, repo: str = REPO, branch: str = "main") -> dict[str, bytes]:
    """Those that are there, but for what the hub makes itself and Croissant."""
    left = (".gitattributes", "croissant.json")
    return {x: c for x, c in hub.files(repo, branch).items() if x not in left}


def publish(run: Path, hub: FakeHub, *options: str) -> str:
    return well("publish", str(run), "--repo", REPO, "--endpoint", hub.address, *options)


def test_a_set_is_published_once(made: Path, hub: FakeHub) -> None:
    said = publish(made, hub, "--private")
    assert f"{hub.address}/datasets/{REPO}" in said
    assert sent(hub) == wanted(made)
    assert hub.private == {REPO: True}
    assert TOKEN not in said
    assert hub.requests["POST batch"] == len(hub.commits) == 1
    assert hub.parts == {}, "large tars went up in parts"
    before = hub.requests.copy()
    said = publish(made, hub)
    assert "0 to send, 0 to remove" in said
    more = hub.requests - before
    assert not more["PUT"] + more["POST commit"] + more["POST batch"]


def test_an_interrupted_command_goes_on(
    made: Path, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    from curate.publishing import contents

    monkeypatch.setattr(contents.batches, "__kwdefaults__", {"most": 3, "size": 10**9})
    hub.stop_after = 4
    said = refused("publish", str(made), "--repo", REPO, "--endpoint", hub.address)
    assert "the same command goes on" in said
    assert TOKEN not in said
    assert hub.commits, "one was whole"
    assert len(hub.uploads) == 4
    assert "manifest.json" not in hub.files(REPO)
    hub.stop_after = None
    publish(made, hub)
    assert sent(hub) == wanted(made)
    assert len(hub.uploads) == len({*hub.uploads}), "nothing was sent twice"
    assert all(len(names) <= 3 for names in hub.commits)
    assert "manifest.json" in hub.commits[-1]


def test_a_command_that_is_killed_goes_on(made: Path, hub: FakeHub, tmp_path: Path) -> None:
    import threading

    hub.stop_after, hub.held = 2, threading.Event()
    environment = {**os.environ, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-m", "curate.cli", "publish", str(made), "--repo", REPO,
               "--endpoint", hub.address]  # fmt: skip
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    assert hub.waiting.wait(120)
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    hub.held.set()
    hub.stop_after = None
    assert hub.commits == []
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120,
                          check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert sent(hub) == wanted(made)
    assert len(hub.uploads) == len({*hub.uploads})
    assert hub.requests["GET agent-harnesses"] <= 2


def test_what_was_revoked_goes(made: Path, hub: FakeHub, tmp_path: Path) -> None:
    run = moved(made, tmp_path / "run")
    publish(run, hub)
    names = {*sent(hub)}
    hub.files(REPO)["notes.txt"] = b"mine"
    rows = pairs(run)
    first = rows[0]["key"][:5]
    gone = [x["uid"] for x in rows if x["key"].startswith(first)] + [rows[-1]["uid"]]
    (tmp_path / "list").write_text("\n".join(gone))
    well("revoke", str(run), "--list", str(tmp_path / "list"))
    hub.uploads.clear()
    said = publish(run, hub)
    assert "super_squash_history" in said
    assert hub.files(REPO).pop("notes.txt") == b"mine"
    assert sent(hub) == wanted(run)
    assert names - {*sent(hub)} == {f"{first}{x}" for x in (".tar", ".parquet", "_stats.json")}
    assert len(hub.uploads) == 2, "the tar and the table of the other shard that changed"


def test_a_run_that_does_not_hold_is_refused(made: Path, hub: FakeHub, tmp_path: Path) -> None:
    run = moved(made, tmp_path / "run")
    options = ("--repo", REPO, "--endpoint", hub.address)
    tar = run / "shards/00000.tar"
    content = tar.read_bytes()
    tar.write_bytes(content[:-20_000])
    assert "is not published: 00000.tar" in refused("publish", str(run), *options)
    tar.write_bytes(content)
    state = document(run / "run.json")
    del state["check"]
    (run / "run.json").write_text(json.dumps({**state, "state": "failed"}))
    assert "its state is failed" in refused("publish", str(run), *options)
    (run / "run.json").write_text(json.dumps(state))
    pq.write_table(pa.table({"kind": ["uid"], "value": ["0" * 32]}), run / "revoked.parquet")
    assert "finish it: curate revoke" in refused("publish", str(run), *options)
    (run / "revoked.parquet").unlink()
    (record := run / "records/prepare/part-00000.json").rename(run / "record")
    told = refused("publish", str(run), *options)
    assert "is not published: records/prepare/part-00000.json  run_file: it is gone" in told
    (run / "record").rename(record)
    assert hub.requests.total() == 0, "nothing was asked of the hub"
    flipped = bytearray(content)
    flipped[1000] ^= 1  # in an image: its size stays, its hash does not
    tar.write_bytes(flipped)
    assert "not what the manifest says" in refused("publish", str(run), *options)
    assert hub.commits == []


def test_what_the_hub_refuses_is_said_in_a_line(
    made: Path, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("--repo", REPO, "--endpoint", hub.address)
    monkeypatch.setenv("HF_TOKEN", "hf_of_somebody_else")
    said = refused("publish", str(made), *options)
    assert "HF_TOKEN" in said
    assert "somebody" not in said
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.private[REPO] = False
    hub.branches[f"{REPO}@main"] = {"00000.tar": b"of somebody else"}
    assert "did not publish" in refused("publish", str(made), *options)
    assert "is public" in refused("publish", str(made), *options, "--private")
    assert "expected USER/NAME" in refused("publish", str(made), "--repo", "set")
    closed = ("--endpoint", "http://127.0.0.1:9")
    assert "goes on" in refused("publish", str(made), "--repo", REPO, *closed)
    assert curate("publish", str(made)).returncode == 2


def test_a_branch_is_published_to(made: Path, hub: FakeHub) -> None:
    publish(made, hub, "--revision", "v2")
    assert sent(hub, branch="v2") == wanted(made)
    assert sent(hub) == {}


def test_what_was_published_is_read_by_datasets_and_by_croissant(
    made: Path, hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlcroissant
    from etils import epath  # type: ignore[import-untyped]
    from huggingface_hub import DatasetCard, DatasetCardData
    from mlcroissant._src.operation_graph.operations import extract

    publish(made, hub)
    folder = tmp_path / "copy"
    for name, content in hub.files(REPO).items():
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).write_bytes(content)
    rows = {row["key"]: row for row in pairs(made)}

    card = DatasetCard.load(folder / "README.md")
    assert isinstance(card.data, DatasetCardData)
    head: dict[str, Any] = card.data.to_dict()  # type: ignore[no-untyped-call]
    again = DatasetCardData(**head).to_dict()  # type: ignore[no-untyped-call]
    assert again == head, "each key is one that the hub knows, or is handed on"
    assert head["license"] == "other"
    assert head["language"] == ["en"]
    assert head["size_categories"] == ["n<1K"]
    assert set(head["task_categories"]) <= {
        "zero-shot-image-classification", "image-to-text", "text-to-image",
    }  # fmt: skip
    assert head["configs"][0]["data_files"] == "*.tar"

    monkeypatch.setattr(extract, "EXTRACT_PATH", epath.Path(tmp_path / "extracted"))
    dataset = mlcroissant.Dataset(str(folder / "croissant.json"))
    assert dataset.metadata.ctx.issues.errors == set()
    assert dataset.metadata.url == f"{hub.address}/datasets/{REPO}"
    records = {x["pairs/key"].decode(): x for x in dataset.records("pairs")}
    assert {k: x["pairs/caption"].decode() for k, x in records.items()} == {
        k: row["caption"] for k, row in rows.items()
    }
    key, row = next(iter(rows.items()))
    assert records[key]["pairs/image"].size == (row["width"], row["height"])

    datasets = pytest.importorskip("datasets")
    found = datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))["train"]
    assert [x["json"]["uid"] for x in found] == [x["uid"] for x in rows.values()]
    assert len(found[0]["json"]["captions"]) > 1


def test_a_set_in_a_store_is_published_from_there(made: Path, hub: FakeHub, tmp_path: Path) -> None:
    import fsspec

    run = moved(made, tmp_path / "run")
    memory = fsspec.filesystem("memory")
    for path in run.rglob("*"):
        if path.is_file():
            memory.pipe_file(f"/published/run/{path.relative_to(run)}", path.read_bytes())
    shutil.rmtree(run)
    well("publish", "memory://published/run", "--repo", REPO, "--endpoint", hub.address)
    assert sent(hub) == wanted(made)
    memory.rm("/published", recursive=True)
