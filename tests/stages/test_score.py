"""score against a plain loop over open_clip's own API, with the scorer that ships for the demo."""

import io
import json
from dataclasses import replace
from functools import lru_cache
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest

from curate import files, schema
from curate.run import PartRecord, Run
from curate.schema import Stage
from curate.stages.part import TakePart
from curate.stages.score import ScoreStep
from tests.stages.rundir import drive, lay, lay_images, rows_of, table_of, uid_of

MODEL = "shipped://pipelines/demo/scorer/curate-mini.json"
WEIGHTS = "shipped://pipelines/demo/scorer/curate-mini.safetensors"
FOLDER = "score/annotated"
PICTURES = ["0001.jpg", "0004.jpg", "0008.jpg", "0010.jpg", "0011.jpg", "0012.jpg", "0014.jpg"]


@lru_cache
def captions() -> dict[str, str]:
    """The pool's caption of each picture."""
    lines = files.shipped("pipelines/demo/pool/pool.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    return {x["url"].rsplit("/", 1)[1]: x["caption"] for x in found if "/images/" in x["url"]}


@lru_cache
def reference() -> list[float]:
    """The cosine of each picture and its caption, one at a time."""
    import open_clip
    import torch
    from PIL import Image

    open_clip.add_model_config(files.resolve(MODEL))
    model, _, preprocess = open_clip.create_model_and_transforms(
        "curate-mini", pretrained=files.resolve(WEIGHTS)
    )
    tokenizer = open_clip.get_tokenizer("curate-mini")
    model.eval()
    scores = []
    for content, caption in zip(contents(), texts(), strict=True):
        with torch.no_grad():
            image = model.encode_image(preprocess(Image.open(io.BytesIO(content)))[None])
            text = model.encode_text(tokenizer([caption]))
        scores.append(torch.nn.functional.cosine_similarity(image, text).item())
    return scores


def contents() -> list[bytes]:
    folder = files.shipped("pipelines/demo/pool/images")
    return [(folder / name).read_bytes() for name in PICTURES]


def texts() -> list[str]:
    return [captions()[name] for name in PICTURES]


def score_step(run: Run, *, digest: str = "d1", **settings: Any) -> ScoreStep:
    given: dict[str, Any] = {
        "model": MODEL,
        "pretrained": WEIGHTS,
        "precision": "fp32",
        "batch_size": 3,
    }
    return ScoreStep(run=run, reads="dedup", digest=digest, own="o1", encode_format="jpg",
                     **(given | settings))  # fmt: skip


def score(run: Run, step: ScoreStep, *parts: list[int]) -> list[tuple[str, float]]:
    """Lay parts of the numbered pictures, tars last row first, and run the step over them."""
    laid = []
    for index, numbers in enumerate(parts):
        images = {uid_of(n): contents()[n] for n in reversed(numbers)}
        places = lay_images(run, index, images)
        laid.append(
            [
                {"uid": uid_of(n), "caption": texts()[n], "tar_offset": places[uid_of(n)][0],
                 "tar_size": places[uid_of(n)][1]}
                for n in numbers
            ]
        )  # fmt: skip
    columns = schema.after(Stage.DEDUP, enabled=[Stage.PREPARE, Stage.DOWNLOAD, Stage.DEDUP])
    given = lay(run, "dedup", laid, columns)
    yielded = drive(run, beam.ParDo(TakePart(step)), given)
    assert [part.kept for part in yielded] == [len(numbers) for numbers in parts]
    for index in range(len(parts)):
        assert files.read_table(run.part(FOLDER, index)).schema.equals(schema.SCORED)
    return rows_of(run, FOLDER, "uid", "clip_score")


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_scores_are_open_clips_whatever_the_batch(run: Run, batch_size: int) -> None:
    """Parts of 1, 6 and 0 rows: a batch that is short, exact and absent."""
    step = score_step(run, batch_size=batch_size)
    found = score(run, step, [6], [5, 0, 1, 2, 3, 4], [])
    order = [6, 5, 0, 1, 2, 3, 4]
    assert [uid for uid, _ in found] == [uid_of(n) for n in order]
    expected = [reference()[n] for n in order]
    np.testing.assert_allclose([x for _, x in found], expected, atol=1e-5)
    assert max(expected) - min(expected) > 0.05  # so that a mix-up of rows would show


def test_known_scores_are_taken_over_and_the_rest_is_scored(run: Run) -> None:
    step = score_step(run, digest="d2")
    marked = [{"uid": uid_of(n), "clip_score": 2.0 + n} for n in (0, 2, 5)]
    files.write_table(run.part(FOLDER, 0), table_of(marked, schema.SCORED))
    run.write_record(FOLDER, 0, PartRecord("d1", "o1", 3, 3))
    found = dict(score(run, step, [2, 1, 0, 3]))
    assert list(found) == [uid_of(n) for n in (2, 1, 0, 3)]
    assert (found[uid_of(2)], found[uid_of(0)]) == (4.0, 2.0)
    for n in (1, 3):
        assert found[uid_of(n)] == pytest.approx(reference()[n], abs=1e-5)
    record = run.record(FOLDER, 0)
    assert record is not None
    assert (record.digest, record.figures) == ("d2", {"reused": 2})


def test_a_part_that_is_known_needs_no_model(run: Run) -> None:
    marked = [{"uid": uid_of(n), "clip_score": float(n)} for n in (0, 1, 2)]
    files.write_table(run.part(FOLDER, 0), table_of(marked, schema.SCORED))
    run.write_record(FOLDER, 0, PartRecord("d1", "o1", 3, 3))
    step = score_step(run, digest="d2", model="no-such-model", pretrained=None)
    assert score(run, step, [1, 0]) == [(uid_of(1), 1.0), (uid_of(0), 0.0)]


def test_scores_of_another_model_are_not_taken_over(run: Run) -> None:
    marked = [{"uid": uid_of(0), "clip_score": 9.0}]
    files.write_table(run.part(FOLDER, 0), table_of(marked, schema.SCORED))
    run.write_record(FOLDER, 0, PartRecord("d1", "o1", 1, 1))
    step = replace(score_step(run, digest="d2"), own="o2")
    found = score(run, step, [0])
    assert found[0][1] == pytest.approx(reference()[0], abs=1e-5)


def test_an_image_of_another_pair_is_never_scored(run: Run) -> None:
    """A tar that does not belong to its rows is found out by the names of its members."""
    step = score_step(run)
    score(run, step, [0])
    lay_images(run, 0, {uid_of(1): contents()[0]})
    run.write_record(FOLDER, 0, PartRecord("older", "other", 1, 1))
    before = files.read_table(run.part(FOLDER, 0))
    part = lay(run, "dedup", [files.read_table(run.part("dedup", 0)).to_pylist()], _columns())
    with pytest.raises(Exception, match=uid_of(0)):
        drive(run, beam.ParDo(TakePart(step)), part)
    after = files.read_table(run.part(FOLDER, 0))
    assert after.equals(before)


def _columns() -> pa.Schema:
    return schema.after(Stage.DEDUP, enabled=[Stage.PREPARE, Stage.DOWNLOAD, Stage.DEDUP])
