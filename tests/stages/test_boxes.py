"""Boxes of the pool and faces that are found, from the pool's files to what is stored."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.config import Config
from curate.errors import CurateError
from curate.ops.images.encoder import ImageEncoder
from curate.planning.plan import Plan, make_plan
from curate.planning.steps import Kind
from curate.rundir.directory import Run
from curate.schema import BOXES, Stage
from curate.stages.download import step_of
from curate.stages.images import read_images
from tests.ops.images.test_encoder import reference
from tests.ops.images.test_faces import PHOTO
from tests.stages.rundir import dead, drive, gone, rows_of, transform_of
from tests.stages.web import PICTURES, Web, serve

FACES = [[0.1, 0.2, 0.4, 0.5], [0.6, 0.5, 0.95, 1.0]]


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    monkeypatch.setitem(PICTURES, "photo.jpg", PHOTO)
    with serve() as served:
        yield served


def config(folder: Path, web: Web, boxes: dict[str, Any], **keys: Any) -> Config:
    """A pool of these pictures with their boxes in the column `face_bboxes`."""
    table = pa.table(
        {
            "url": [f"http://x.example/{name}" for name in boxes],
            "caption": [f"about {name}" for name in boxes],
            "face_bboxes": pa.array(list(boxes.values()), BOXES),
        }
    )
    pq.write_table(table, folder / "pool.parquet")
    download = {"connect_to": web.addresses, "image_size": 48, **keys.pop("download", {})}
    columns = {"blur_boxes": "face_bboxes"}
    pool = {"paths": str(folder / "pool.parquet"), "columns": columns, "max_dead_fraction": 0.5}
    document = {"input": pool, "out": str(folder / "run"), "download": download, **keys}
    return Config.model_validate(document)


def encoder_of(plan: Plan) -> ImageEncoder:
    return step_of(plan, plan.steps.of(Kind.FETCH)[0]).encoder


def downloaded(asked: Config) -> Run:
    """Prepare, fetch and select."""
    made = make_plan(asked)
    made.run.update(input_digest=made.input_digest)
    parts = drive(made.run, transform_of(made, Kind.PREPARE), made.parts)
    parts = drive(made.run, transform_of(made, Kind.FETCH), parts)
    drive(made.run, transform_of(made, Kind.SELECT_IMAGES), parts)
    return made.run


def stored(run: Run) -> dict[str, bytes]:
    table = next(run.tables(Stage.DOWNLOAD))
    images = read_images(run, 0, table, encode_format="jpg")
    names = [url.rsplit("/", 1)[-1] for url in table["url"].to_pylist()]
    return dict(zip(names, images, strict=True))


def test_boxes_of_the_pool_are_blurred_as_img2dataset_blurs_them(tmp_path: Path, web: Web) -> None:
    boxes = {"wide.png": FACES, "tall.jpg": None, "square.jpg": [], "small.webp": FACES[:1]}
    asked = config(tmp_path, web, {**boxes, "photo.jpg": [[12, 40, 90, 130]]})
    run = downloaded(asked)
    encoder = encoder_of(make_plan(asked))
    assert stored(run) == {
        name: reference(PICTURES[name], encoder, some)[0] for name, some in boxes.items()
    }
    assert reference(PICTURES["wide.png"], encoder, FACES)[0] != reference(
        PICTURES["wide.png"], encoder
    )[0]  # fmt: skip
    assert rows_of(run, "download", "blur_boxes") == list(boxes.values())
    ((_, error, detail),) = dead(run, Stage.PREPARE, 1)
    assert error == "bad_row"
    assert str(detail).startswith(f"{tmp_path}/pool.parquet: face_bboxes: not a list of [left")
    assert web.hits["photo.jpg"] == 0, "what might have a face is not even fetched"


def test_faces_are_found_counted_blurred_and_can_be_asked_for(tmp_path: Path, web: Web) -> None:
    boxes: dict[str, Any] = {"wide.png": FACES, "photo.jpg": None}
    rule = {"name": "no faces", "column": "faces", "max": 0}
    asked = config(tmp_path, web, boxes, download={"faces": "blur"}, select=[rule])
    run = downloaded(asked)
    assert rows_of(run, "download", "faces", "face_boxes") == [(0, [])]
    ((_, reason, value),) = gone(run, Stage.DOWNLOAD, 1)
    assert (reason, value) == ("rule:no faces", "1")

    kept = downloaded(asked.model_copy(update={"select": ()}))
    assert web.hits["photo.jpg"] == 1, "a changed rule fetches nothing"
    assert rows_of(kept, "download", "faces") == [0, 1]
    found = rows_of(kept, "download", "face_boxes")[1]
    encoder = encoder_of(make_plan(asked))
    assert stored(kept)["photo.jpg"] == reference(PHOTO, encoder, found)[0]

    plain = downloaded(asked.model_copy(update={"select": (), "download": asked.download.model_copy(
        update={"faces": "find"})}))  # fmt: skip
    assert web.hits["photo.jpg"] == 2, "a sharp picture is not made of a blurred one"
    assert stored(plain)["photo.jpg"] == reference(PHOTO, encoder)[0]
    assert rows_of(plain, "download", "face_boxes")[1] == found


def test_a_run_without_boxes_has_the_digests_and_columns_that_it_had(
    tmp_path: Path, web: Web
) -> None:
    asked = config(tmp_path, web, {"wide.png": None})
    pool = asked.input.model_copy(
        update={"columns": asked.input.columns.model_copy(update={"blur_boxes": None})}
    )
    plain = make_plan(asked.model_copy(update={"input": pool, "out": str(tmp_path / "other")}))
    names = plain.steps.columns(Stage.SHARDS).names
    assert not {"blur_boxes", "faces", "face_boxes"} & set(names)
    assert plain.input_digest != make_plan(asked).input_digest


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"faces": "blur"}, "disable_all_reencoding leaves them undecoded: drop one"),
        ({}, "input.columns.blur_boxes: download.disable_all_reencoding leaves no image to blur"),
    ],
)
def test_nothing_is_stored_sharp_by_mistake(
    tmp_path: Path, web: Web, keys: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        config(tmp_path, web, {"a": None}, download={"disable_all_reencoding": True, **keys})


def test_a_missing_column_of_boxes_is_named(tmp_path: Path, web: Web) -> None:
    asked = config(tmp_path, web, {"wide.png": FACES})
    pq.write_table(pq.read_table(tmp_path / "pool.parquet").drop_columns(["face_bboxes"]),
                   tmp_path / "pool.parquet")  # fmt: skip
    with pytest.raises(CurateError, match=r"no column 'face_bboxes' among url, caption; name the"):
        make_plan(asked)
