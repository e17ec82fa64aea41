"""A run with everything that is made of embeddings is stopped in each step, and a pair revoked."""

import io
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from curate.files import shipped
from tests.users.runs import at_each_write, document, well
from tests.users.test_revoked import texts

SCORER = shipped("pipelines/demo/scorer")
PAIRS = 12
STEPS = {
    "download": "/download/part-00001.tar",
    "dedup": "/clusters/part-00000.parquet",
    "score": "/annotated/score/part-00001.parquet",
    "neg_clip_loss": "/annotated/score/neg_clip_loss/part-00001.parquet",
    "nearest_target": "/annotated/score/nearest_target/centroids.npz",
    "nearest_target, centroids": "/annotated/score/nearest_target/part-00001.parquet",
    "simcore": "/annotated/score/simcore/taken.npz",
    "simcore, rounds": "/annotated/score/simcore/part-00001.parquet",
    "visual_cluster": "/annotated/score/visual_cluster/centroids.npz",
    "visual_cluster, centroids": "/annotated/score/visual_cluster/part-00001.parquet",
    "semdedup": "/annotated/score/semantic_duplicate/part-00001.parquet",
}
"""A file of each step, at whose writing the step is under way."""
LEFT = {
    "download": ["annotated/download/part-00001.journal"], "dedup": ["keys"],
    "score": ["annotated/score/part-00001.npz"], "nearest_target": ["samples"],
    "nearest_target, centroids": ["centroids.npz"], "simcore": ["candidates"],
    "simcore, rounds": ["taken.npz"], "visual_cluster": ["samples"],
    "visual_cluster, centroids": ["visual_cluster/centroids.npz"],
    "semdedup": ["work", "centroids.npy"],
}  # fmt: skip
"""What stands meanwhile."""


@contextmanager
def copied_at(points: dict[str, str], *, to: Path) -> Iterator[None]:
    """Copy the run as it is when each file is about to be written, as a kill there would leave it."""
    seen = set()

    def copy(url: str) -> None:
        for step, name in points.items():
            if url.endswith(name) and step not in seen:
                seen.add(step)
                shutil.copytree(url.removesuffix(name), to / step)

    with at_each_write(copy):
        yield
    assert seen == set(points)


def add(tar: tarfile.TarFile, name: str, raw: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(raw)
    tar.addfile(member, io.BytesIO(raw))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, undrawn: None) -> Path:
    """A finished run, `run`, and copies of it as it was in each step."""
    folder = tmp_path_factory.mktemp("steps")
    found = sorted((shipped("pipelines/demo/pool/images")).iterdir())
    pixels = (cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in found)
    pictures = [one for one in pixels if one is not None and one.shape[2:] == (3,)][:PAIRS]
    with tarfile.open(folder / "pool.tar", "w") as tar:
        for k, picture in enumerate(pictures):
            add(tar, f"{k:03}.png", bytes(cv2.imencode(".png", picture)[1]))
            add(tar, f"{k:03}.txt", f"a picture of number {k}{' and more' * (k % 5)}".encode())
    np.save(folder / "target.npy", np.random.default_rng(0).normal(size=(5, 256)))
    (folder / "en.txt").write_text("picture\nnumber\nmore\n")
    (folder / "c.yaml").write_text(f"""\
input: {{paths: {folder}/pool.tar}}
part_rows: 4
prepare: {{metadata: {{en: {folder}/en.txt}}}}
score:
  model: {SCORER}/curate-mini.json
  pretrained: {SCORER}/curate-mini.safetensors
  embeddings: true
  norm_sim: {{target: {folder}/target.npy}}
  neg_clip_loss: {{batches: 1, batch_size: 6}}
  nearest_target: {{target: {folder}/target.npy, clusters: {PAIRS}}}
  simcore: {{target: {folder}/target.npy, keep: {PAIRS}, clusters: 2}}
  visual_cluster: {{clusters: {PAIRS}}}
semdedup: {{epsilon: 0.0001, clusters: {PAIRS}}}
balance: {{t: 5}}
""")
    with copied_at(STEPS, to=folder):
        well("run", str(folder / "c.yaml"), "--out", str(folder / "run"))
    return folder


def vectors(path: Path) -> Iterator[Any]:
    """All that a file holds as rows of as many numbers as an embedding has."""
    with path.open("rb") as file:
        for array in arrays(path, file):
            if array.ndim == 2 and array.shape[1] == 256:
                yield array.astype(np.float32)


def arrays(path: Path, file: IO[bytes]) -> list[Any]:
    if path.suffix == ".npz":
        return list(np.load(file).values())
    if path.suffix == ".npy":
        return [np.load(file)]
    raw = file.read()
    if path.suffix == ".vectors":
        return [np.frombuffer(raw, "<f2").reshape(-1, 256)]
    return []


@pytest.mark.parametrize("step", STEPS)
def test_a_run_is_killed_in_a_step_and_a_pair_revoked(folder: Path, step: str) -> None:
    """No file of the run holds anything of it, but for the uid where it says that it was revoked."""
    base, run = folder / "run", folder / step
    pair = pq.read_table(base / "annotated/download/part-00001.parquet").slice(1, 1).to_pylist()[0]
    pair |= pq.read_table(base / "prepare/part-00001.parquet").slice(1, 1).to_pylist()[0]
    with np.load(base / "annotated/score/part-00001.npz") as found:
        at = found["uid"].astype(str).tolist().index(pair["uid"])
        embedding = next(x for name, x in found.items() if name.endswith("img"))[at]
    unit = embedding.astype(np.float32) / np.linalg.norm(embedding.astype(np.float32))
    for name in LEFT.get(step, ()):
        assert list(run.rglob(name)), "nothing stands that would have to go"
    (folder / "list.txt").write_text(f"uid:{pair['uid']}\n")
    assert "revoked 1 by uid" in well("revoke", str(run), "--list", str(folder / "list.txt"))
    for path in run.rglob("*"):
        if not path.is_file():
            continue
        told, raw = texts(path), path.read_bytes()
        for name in ("url", "caption", "sha256", "stored_sha256", "phash"):
            assert not pair[name] or pair[name] not in told, (path, name)
        if path.parent != run / "dropped/prepare" and path.parent.name not in ("input", "report"):
            assert path.name == "revoked.parquet" or pair["uid"] not in told, path
            assert path.name == "revoked.parquet" or pair["uid"].encode() not in raw, path
        assert embedding.tobytes() not in raw, path
        for one in vectors(path):
            assert not (one @ unit > 0.99999 * np.linalg.norm(one, axis=1)).any(), path
    if step == "semdedup":
        well("run", str(folder / "c.yaml"), "--out", str(run))
        assert document(run / "shards/manifest.json")["pairs"] > 0
        assert not list(run.rglob("work"))
