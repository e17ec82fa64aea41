"""`curate hash` over sets of each form, and that a pool's own pairs are found by what it wrote."""

import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from curate import files, schema
from curate.cli import app
from curate.config import Config, Decontaminate, Scorer
from curate.config.file import load
from curate.config.paths import Named, paths_in
from curate.errors import CurateError
from curate.evaluation import Embedder, hash_sets
from curate.ops.images.encoder import ImageEncoder, StoredImage
from curate.ops.selection.contamination import (
    Contamination,
    check_embeddings,
    read_embeddings,
    read_evaluation,
)
from curate.planning.assets import content_digests, embedding_model
from curate.rundir.directory import Run
from curate.schema import Stage
from curate.stages.select import SelectDownload
from curate.stages.unwanted import Evaluations
from tests.stages.rundir import WithCuts, check_conserved, drive, gone, lay, rows_of, uid_of

IMAGES = sorted(Path(files.shipped("pipelines/demo/pool/images")).iterdir())[:40]


def named(path: str) -> tuple[Named, ...]:
    """The key that names the file of hashes at `path`."""
    return paths_in(Decontaminate(against=(path,)), under="decontaminate")


def hashed(tmp_path: Path, *sets: str) -> tuple[str, str]:
    """The file that the command makes of the sets, and what it says."""
    out = str(tmp_path / "hashes.parquet")
    done = CliRunner().invoke(app, ["hash", *sets, "--out", out])
    assert done.exit_code == 0, done.output
    return out, " ".join(done.output.split())


def folder_of(tmp_path: Path) -> str:
    folder = tmp_path / "set"
    (folder / "deep").mkdir(parents=True)
    for k, path in enumerate(IMAGES):
        target = folder / ("deep" if k % 2 else ".") / path.name
        target.write_bytes(path.read_bytes())
    (folder / "LICENSE").write_text("free")
    return str(folder)


def pool_rows() -> list[dict[str, Any]]:
    """The images as a download stores them, and the same ones at half the size."""
    rows: list[dict[str, Any]] = []
    for path in IMAGES:
        content = path.read_bytes()
        stored = ImageEncoder(resize_mode="no")(content)
        assert isinstance(stored, StoredImage)
        pixels = cv2.imdecode(np.frombuffer(stored.content, np.uint8), cv2.IMREAD_COLOR)
        assert pixels is not None
        half = cv2.resize(pixels, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        for kind in (content, cv2.imencode(".png", half)[1].tobytes()):
            image = ImageEncoder()(kind)
            assert isinstance(image, StoredImage)
            rows.append({"uid": uid_of(len(rows)), "url": "http://x.example/", "outcome": "success",
                         "caption": f"about {path.stem} {len(rows)}", "sha256": image.sha256,
                         "phash": image.phash})  # fmt: skip
    return rows


def test_all_pairs_of_the_pool_itself_are_flagged(tmp_path: Path) -> None:
    """Whatever its images look like; the resized copies of those that have a hash as well."""
    run = Run(str(tmp_path / "run"))
    out, said = hashed(tmp_path, folder_of(tmp_path))
    rows = pool_rows()
    hashless = sum(row["phash"] is None for row in rows[::2])
    assert said.startswith(f"40 items, 40 images ({hashless} of them without a perceptual hash), 0")
    stranger = {**rows[0], "uid": uid_of(99), "sha256": "0" * 64, "phash": "5a" * 32}
    enabled = [Stage.PREPARE, Stage.DOWNLOAD]
    parts = [rows[:50], [*rows[50:], stranger]]
    laid = lay(run, "prepare", parts, schema.PREPARE)
    lay(run, "download/annotated", parts, schema.FETCHED)
    step = SelectDownload(
        run=run, reads="prepare", digest="d", own="o", rules=(),
        columns=schema.after(Stage.DOWNLOAD, enabled=enabled),
        evaluations=Evaluations((out,), image_distance=31, captions=True),
    )  # fmt: skip
    drive(run, WithCuts(step), laid)
    check_conserved(run, Stage.DOWNLOAD, laid)
    found = {uid: value for uid, why, value in gone(run, Stage.DOWNLOAD, 2)
             if why == "contaminated"}  # fmt: skip
    for k, path in enumerate(IMAGES):
        name = f"set/deep/{path.name}" if k % 2 else f"set/{path.name}"
        assert uid_of(2 * k) in found, path
        if found[uid_of(2 * k)] != name:  # another picture of the set is the same one
            assert path.read_bytes() == (tmp_path / str(found[uid_of(2 * k)])).read_bytes()
    halves = [uid_of(2 * k + 1) in found for k in range(40) if rows[2 * k + 1]["phash"]]
    assert sum(halves) >= 0.9 * len(halves)
    assert uid_of(99) in rows_of(run, "download", "uid")
    files_only = replace(step, digest="e",
                         evaluations=Evaluations((out,), image_distance=0, captions=True))  # fmt: skip
    drive(run, WithCuts(files_only), laid)
    assert {uid for uid, _, _ in gone(run, Stage.DOWNLOAD, 2)} == {uid_of(2 * k) for k in range(40)}


def test_captions_are_known_however_they_are_written(tmp_path: Path) -> None:
    (tmp_path / "captions.txt").write_text("A red fox.\n\nÉté\n")
    table = pa.table({"text": ["two dogs", None]})
    pq.write_table(table, tmp_path / "captions.parquet")
    with tarfile.open(tmp_path / "set.tar", "w") as tar:
        for name, content in (("a/1.png", IMAGES[0].read_bytes()), ("a/1.txt", b"a lone tree"),
                              ("a/2.png", b"no picture")):  # fmt: skip
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    sets = [str(tmp_path / f"{x}") for x in ("captions.txt", "captions.parquet", "set.tar")]
    out, said = hashed(tmp_path, *sets)
    assert said.startswith("7 items, 2 images (1 of them without a perceptual hash), 4 captions")
    found = Contamination([read_evaluation(out)], distance=31)
    captions = ["a RED fox", "two dogs!", "E\u0301TE\u0301", "a lone  tree", "a fox", ""]
    pairs = pa.table({"caption": captions, "sha256": pa.nulls(6, pa.string()),
                      "phash": pa.nulls(6, pa.string())})  # fmt: skip
    assert found.items(pairs, captions=True).to_pylist() == [
        "captions.txt:1", "captions.parquet:0", "captions.txt:3", "set.tar/a/1", None, None,
    ]  # fmt: skip
    assert found.items(pairs, captions=False).null_count == 6


def test_what_cannot_be_a_set_is_named(tmp_path: Path) -> None:
    out = str(tmp_path / "x.parquet")
    (tmp_path / "x.tar").write_bytes(b"no tar")
    pq.write_table(pa.table({"url": ["x"]}), out)
    for name, problem in (
        ("nowhere", "no such file, folder or match"), ("x.tar", "."),
        ("x.parquet", "no column caption or text"),
    ):  # fmt: skip
        with pytest.raises(CurateError, match=f"{name}: {problem}"):
            hash_sets((str(tmp_path / name),), out=str(tmp_path / "out.parquet"))
    assert CliRunner().invoke(app, ["hash", out, "--out", "x.txt"]).exit_code == 1
    with pytest.raises(CurateError, match=r"x\.parquet: not a file of hashes; make it with"):
        content_digests(named(out))
    with pytest.raises(CurateError, match=r"gone: no such file; make it with: curate hash SET"):
        content_digests(named(str(tmp_path / "gone")))


@pytest.mark.parametrize("download", [{"enabled": False}, {"perceptual_hash": False}])
def test_a_run_that_could_not_look_says_so(download: dict[str, Any]) -> None:
    document = {"input": {"paths": "x"}, "decontaminate": {"against": ["y"]}}
    with pytest.raises(ValueError, match=f"decontaminate needs download.{min(download)}"):
        Config.model_validate({**document, "download": download})


def test_embeddings_are_those_of_a_runs_model_and_no_other(tmp_path: Path) -> None:
    scorer = Path(files.shipped("pipelines/demo/scorer"))
    for name in ("curate-mini.json", "curate-mini.safetensors"):
        (tmp_path / name).write_bytes((scorer / name).read_bytes())
    score = {
        "model": str(tmp_path / "curate-mini.json"),
        "pretrained": str(tmp_path / "curate-mini.safetensors"),
    }
    config = tmp_path / "c.yaml"
    config.write_text(json.dumps({"input": {"paths": "x"}, "score": score}))
    (tmp_path / "set").mkdir()
    for path in IMAGES[:3]:
        (tmp_path / "set" / path.name).write_bytes(path.read_bytes())
    (tmp_path / "set" / "z.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    (tmp_path / "words.txt").write_text("a red fox\n")
    sets = [str(tmp_path / name) for name in ("set", "words.txt")]
    plain, said = hashed(tmp_path, *sets)
    assert " embeddings" not in said
    out = str(tmp_path / "embedded.parquet")
    done = CliRunner().invoke(app, ["hash", *sets, "--out", out, "--config", str(config)])
    assert done.exit_code == 0, done.output
    assert "1 captions, 3 embeddings" in " ".join(done.output.split())
    assert read_evaluation(out).equals(read_evaluation(plain)), "the hashes are what they were"
    names, vectors = read_embeddings((out,))
    assert names.to_pylist() == [f"set/{path.name}" for path in IMAGES[:3]]
    assert np.linalg.norm(vectors.astype(np.float32), axis=1) == pytest.approx(1, abs=1e-3)

    shipped = Scorer(
        model="shipped://pipelines/demo/scorer/curate-mini.json",
        pretrained="shipped://pipelines/demo/scorer/curate-mini.safetensors",
    )
    check_embeddings(out, embedding_model(shipped))  # the same files by other names
    document = json.loads((tmp_path / "curate-mini.json").read_text())
    document["vision_cfg"]["image_size"] = 192
    (tmp_path / "curate-mini.json").write_text(json.dumps(document))
    with pytest.raises(
        CurateError, match=r"embedded.parquet: its embeddings are of .*, the run's of"
    ):
        check_embeddings(out, embedding_model(Scorer(**score)))
    with pytest.raises(
        CurateError, match=r"no embeddings in it; make it again with: curate hash SET"
    ):
        check_embeddings(plain, embedding_model(shipped))
    config.write_text(json.dumps({"input": {"paths": "x"}}))
    with pytest.raises(CurateError, match=r"^--config: it has no model \(score.model\) to embed"):
        Embedder.of(load(str(config)))


def test_a_run_without_embeddings_cannot_compare_them() -> None:
    sets = {"against": ["y"], "embedding_similarity": 0.9}
    document = {"input": {"paths": "x"}, "decontaminate": sets}
    with pytest.raises(ValueError, match="embedding_similarity compares stored embeddings: set"):
        Config.model_validate(document | {"score": {"model": "ViT-B-32", "pretrained": "openai"}})
