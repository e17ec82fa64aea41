"""Each loader reads each pair once an epoch, and each rank as many as the other."""

import io
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from curate.errors import CurateError
from curate.extras import require
from curate.files import shipped
from curate.finding.query import embed_text
from curate.finding.search import Search
from curate.rundir.directory import Run
from tests.e2e.test_training import LOADER, braces
from tests.loaders.reader import READERS
from tests.users.runs import document, moved, pairs, refused, small_run, well

CLIP_RETRIEVAL = ("clip_retrieval", "all_clip", "flask_restful", "sentence_transformers")
PACKAGES = {"energon": "megatron.energon", "mds": "streaming", "lance": "lance"}


def needs(kind: str) -> None:
    """Skip where the package of a format is not installed."""
    try:
        require(PACKAGES.get(kind, "webdataset"), by=kind, command="make test-loaders")
    except CurateError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with as many pairs for each of four loader processes, one shard each."""
    run = small_run(
        tmp_path_factory.mktemp("loaders"), "--set", "shards.order=mixed", "--set", "shards.rows=30",
        "--set", "shards.multiple_of=4", "--set", "balance=null",
        "--set", "select=[{name: short_caption, column: caption_chars, min: 28}]",
    )  # fmt: skip
    sizes = [*document(run / "shards/sizes.json").values()]
    assert len(sizes) == 4
    assert len({*sizes}) == 1
    return run


def exported(run: Path, kind: str, folder: Path) -> Path:
    """The set of `run` as a loader wants it."""
    if kind == "webdataset":
        return run / "shards"
    beside = kind in ("wids", "energon")
    out = run / "shards" if beside else folder / kind
    well("export", str(run), "--format", kind, *([] if beside else ["--out", str(out)]))
    return out


def read(kind: str, path: Path) -> list[list[str]]:
    """What each rank sees in an epoch, both at once."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    reader = "-m", "tests.loaders.reader", kind, str(path)
    return two_ranks(*reader, MASTER_PORT=port)


def two_ranks(*program: str, **environment: str) -> list[list[Any]]:
    """What Python prints last, as JSON, in the processes of two ranks, whose numbers they are told."""
    ranks = [
        subprocess.Popen(
            [sys.executable, *program, str(rank)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2],
            env={**os.environ, **environment, "RANK": str(rank), "WORLD_SIZE": "2"},
        )
        for rank in range(2)
    ]  # fmt: skip
    found = []
    for rank in ranks:
        printed, errors = rank.communicate(timeout=240)
        assert rank.returncode == 0, errors[-3000:]
        found.append(json.loads(printed.splitlines()[-1]))
    return found


@pytest.mark.parametrize("kind", READERS)
def test_two_ranks_of_two_processes_see_each_pair_once(
    kind: str, made: Path, tmp_path: Path
) -> None:
    needs(kind)
    first, second = read(kind, exported(made, kind, tmp_path))
    assert len(first) == len(second)
    assert Counter(first + second) == Counter(row["key"] for row in pairs(made))


def test_open_clip_trains_on_each_pair_once(made: Path) -> None:
    """With batches that a loader process's share is a multiple of."""
    import open_clip

    printed = two_ranks("-c", LOADER, braces(made / "shards"), OMP_NUM_THREADS="1")
    seen = [[tuple(row) for row in rows] for rows in printed]
    assert len(seen[0]) == len(seen[1])
    captions = [row["caption"] for row in pairs(made)]
    tokens = open_clip.get_tokenizer("ViT-B-32")(captions).tolist()
    assert Counter(seen[0] + seen[1]) == Counter(map(tuple, tokens))


def test_the_index_is_that_of_widsindex(made: Path, tmp_path: Path) -> None:
    """But for the SHA-256 beside each tar, by which a revocation knows what it need not read."""
    needs("wids")
    shards = exported(made, "wids", tmp_path)
    tars = sorted(path.name for path in shards.glob("*.tar"))
    subprocess.run(
        [sys.executable, "-c", "from wids.wids_index import main; main()", "create", *tars,
         "--name", "", "--output", str(tmp_path / "theirs.json")],
        cwd=shards, check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    ours, theirs = document(shards / "index.json"), document(tmp_path / "theirs.json")
    listed = document(shards / "manifest.json")["shards"]
    assert [one.pop("sha256") for one in ours["shardlist"]] == [one["sha256"] for one in listed]
    assert ours == theirs


def test_lint_of_energon_accepts_the_set(made: Path, tmp_path: Path) -> None:
    needs("energon")
    shards = exported(made, "energon", tmp_path)
    code = "from megatron.energon.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "lint", str(shards)], capture_output=True, text=True,
        timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_images_and_columns_are_those_of_the_tars(made: Path, tmp_path: Path) -> None:
    for kind in ("mds", "lance"):
        needs(kind)
    import lance
    from streaming import StreamingDataset

    rows = pairs(made)
    table = lance.dataset(str(exported(made, "lance", tmp_path))).to_table().to_pylist()
    assert [{x: y for x, y in row.items() if x != "image"} for row in table] == rows
    stored = StreamingDataset(local=str(exported(made, "mds", tmp_path)), batch_size=1)
    assert [stored[i]["image"] for i in range(len(rows))] == [row["image"] for row in table]
    assert [stored[i]["caption"] for i in range(len(rows))] == [row["caption"] for row in rows]
    for row in table:
        with Image.open(io.BytesIO(row["image"])) as image:
            assert np.asarray(image).shape[:2] == (row["height"], row["width"])


@pytest.mark.parametrize("kind", ["wids", "energon"])
def test_an_index_is_true_after_a_revocation(kind: str, made: Path, tmp_path: Path) -> None:
    """And gone once the set is another."""
    needs(kind)
    run = moved(made, tmp_path / "run")
    exported(run, kind, tmp_path)
    gone = [row["uid"] for row in pairs(run)[:3]]
    (tmp_path / "list.txt").write_text("\n".join(gone) + "\n")
    well("revoke", str(run), "--list", str(tmp_path / "list.txt"))
    left = [row["key"] for row in pairs(run)]
    seen = read(kind, run / "shards")
    assert {*seen[0], *seen[1]} == {*left}
    well("run", str(run / "config.yaml"))
    index = run / "shards" / {"wids": "index.json", "energon": ".nv-meta"}[kind]
    assert index.exists()
    well("run", str(run / "config.yaml"), "--force", "--set", "shards.rows=9")
    assert not index.exists()
    assert not [*run.glob("shards/*.idx")]


def test_what_cannot_be_written_is_told_in_a_line(made: Path, tmp_path: Path) -> None:
    run = str(made)
    assert "needs --out DIR" in refused("export", run, "--format", "mds")
    assert "leave out --out" in refused("export", run, "--format", "wids", "--out", "x")
    other = moved(made, tmp_path / "run")
    (other / "shards/manifest.json").unlink()
    assert "no finished set" in refused("export", str(other), "--format", "wids")
    for kind, package in PACKAGES.items():
        if find_spec(package.partition(".")[0]) is None:
            out = ["--out", str(tmp_path / kind)] if kind != "energon" else []
            said = refused("export", run, "--format", kind, *out)
            assert f"--format {kind} needs the package {package}: pip install" in said


def test_embeddings_are_those_that_lance_and_clip_retrieval_find(tmp_path: Path) -> None:
    """The back end of clip-retrieval serves what `curate find` finds, in its order."""
    model = "{model: %s.json, pretrained: %s.safetensors, embeddings: true}"
    scorer = str(shipped("pipelines/demo/scorer") / "curate-mini")
    run = small_run(tmp_path, "--set", f"score={model % (scorer, scorer)}", "--set", "select=[]")
    wanted = json.loads(well("find", str(run), "a green tree", "-k", "5", "--json"))
    uids = [one["uid"] for one in wanted]
    if find_spec("lance"):
        import lance

        well("index", str(run), "--format", "lance", "--out", str(tmp_path / "lance"))
        query = embed_text(Search(Run.at(str(run))).embeddings.scorer, "a green tree")
        nearest = {"column": "image_embedding", "q": query, "k": 5, "metric": "dot"}
        table = lance.dataset(str(tmp_path / "lance")).to_table(nearest=nearest)
        assert table["uid"].to_pylist() == uids
    for package in CLIP_RETRIEVAL:
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed: make test-loaders")
    folder = tmp_path / "clip"
    well("index", str(run), "--format", "clip-retrieval", "--out", str(folder))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.loaders.clip_back", str(folder), str(port)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    try:
        asked = {
            "text": "a green tree", "modality": "image", "num_images": 5, "num_result_ids": 5,
            "indice_name": "mine", "deduplicate": False, "use_safety_model": False,
            "use_violence_detector": False,
        }  # fmt: skip
        served = _asked(server, f"http://127.0.0.1:{port}/knn-service", asked)
    finally:
        server.terminate()
        server.communicate(timeout=30)
    assert [one["uid"] for one in served] == uids
    assert [one["verdict"] for one in served] == [one["verdict"] for one in wanted]
    near = [one["similarity"] for one in wanted]
    assert np.allclose([one["similarity"] for one in served], near, atol=5e-3)


def _asked(server: "subprocess.Popen[str]", url: str, question: dict[str, Any]) -> Any:
    """What a server answers, once it is up."""
    request = urllib.request.Request(
        url, json.dumps(question).encode(), {"Content-Type": "application/json"}
    )
    for _ in range(240):
        assert server.poll() is None, server.stdout.read() if server.stdout else ""
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)
        except urllib.error.URLError:
            time.sleep(0.5)
    raise AssertionError(f"{url} does not answer")
