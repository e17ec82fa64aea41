"""The recipe `visual-types` over pictures that were made to have the types, and what changes redo."""

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from curate.config import file as config_file
from curate.files import shipped
from tests.bench.image_types import changed
from tests.users.runs import document, moved, well
from tests.users.test_everything import card_columns

Pixels = NDArray[np.uint8]
RECIPE = str(config_file.recipes()["visual-types"])
SCORER = {key: str(shipped(f"pipelines/demo/scorer/curate-mini.{ending}"))
          for key, ending in (("model", "json"), ("pretrained", "safetensors"))}  # fmt: skip
PICTURES, QUALITY, LEAST = 6, 88, 12
MADE = {"noise": 25.0, "defocus": 5.0, "brighter": -0.4, "contrast": 0.3, "shuffled": 5.0}
TOLD = {  # the column by which each type is told, and whether it is higher there
    "noise": ("noise", True), "defocus": ("blur", True), "brighter": ("brightness", False),
    "contrast": ("contrast", False), "shuffled": ("shuffled_patches", True),
    "jpeg": ("jpeg_quality", False),
}  # fmt: skip
SCORES = ("noise", "blur", "brightness", "contrast", "shuffled_patches")


def drawings() -> Iterable[Pixels]:
    """Pictures of the demo's pool that reach to their edges."""
    found = 0
    for path in sorted(shipped("pipelines/demo/pool/images").iterdir()):
        pixels = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if pixels is None or min(pixels.shape[:2]) < 150 or pixels.std() < 60:
            continue
        yield np.asarray(pixels, np.uint8)
        found += 1
        if found == PICTURES:
            return


def jpeg(pixels: Pixels, quality: int = QUALITY) -> bytes:
    return bytes(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes())


def samples() -> Iterable[tuple[str, str, bytes]]:
    """The name of each image, how it ends, and its bytes."""
    for k, pixels in enumerate(drawings()):
        yield f"{k}-plain", "jpg", jpeg(pixels)
        yield f"{k}-jpeg", "jpg", jpeg(pixels, LEAST)
        for name, strength in MADE.items():
            yield f"{k}-{name}", "jpg", jpeg(changed(name, pixels, strength=strength, seed=k))
    white = np.full((40, 40, 3), 255, np.uint8)
    yield "blank", "png", bytes(cv2.imencode(".png", white)[1].tobytes())
    yield "broken", "jpg", jpeg(white)[:300]


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the recipe by two workers."""
    folder = tmp_path_factory.mktemp("types")
    with tarfile.open(folder / "pool.tar", "w") as tar:
        for name, ending, content in samples():
            for member, data in ((ending, content), ("txt", f"what {name} shows".encode())):
                entry = tarfile.TarInfo(f"{name}.{member}")
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
    return made(folder, folder / "run", "--workers", "2")


def made(folder: Path, out: Path, *options: str) -> Path:
    changes = {
        "input.paths": folder / "pool.tar", "part_rows": 9, "download.image_size": 96,
        "score.model": SCORER["model"], "score.pretrained": SCORER["pretrained"],
    }  # fmt: skip
    flags = [x for key, value in changes.items() for x in ("--set", f"{key}={value}")]
    well("run", RECIPE, "--out", str(out), *flags, *options)
    return out


def rows(run: Path, *columns: str) -> dict[str, dict[str, object]]:
    """These columns of the shards' rows, by the name of the image."""
    paths = sorted((run / "shards").glob("*.parquet"))
    found = [
        x for path in paths for x in pq.read_table(path).to_pylist() if x["status"] == "success"
    ]
    return {row["caption"].split()[1]: {name: row[name] for name in columns} for row in found}


def test_each_picture_that_was_made_to_have_a_type_is_told_from_itself(labelled: Path) -> None:
    columns = {column for column, _ in TOLD.values()}
    found = rows(labelled, *columns)
    assert len(found) == PICTURES * 7 + 1
    for type_, (column, higher) in TOLD.items():
        pairs = [
            (found[f"{k}-{type_}"][column], found[f"{k}-plain"][column]) for k in range(PICTURES)
        ]
        assert all((now > was) is higher for now, was in pairs), (type_, pairs)  # type: ignore[operator]


def test_the_quality_is_that_of_the_file_that_came_though_all_are_stored_alike(
    labelled: Path,
) -> None:
    found = {name: row["jpeg_quality"] for name, row in rows(labelled, "jpeg_quality").items()}
    expected = {name: LEAST if "jpeg" in name else QUALITY for name in found} | {"blank": None}
    assert found == expected


def test_each_has_a_style_and_shares_of_all(labelled: Path) -> None:
    config = config_file.load(RECIPE)
    groups = [f"style_{name}" for name in config.scores["style"].groups]
    assert len(groups) == 9
    for row in rows(labelled, "style", *groups).values():
        shares: dict[str, float] = {name: row[name] for name in groups}  # type: ignore[misc]
        assert sum(shares.values()) == pytest.approx(1, abs=1e-5)
        assert f"style_{row['style']}" == max(shares, key=lambda name: shares[name])


def test_what_shows_nothing_stays_and_only_what_is_broken_leaves(labelled: Path) -> None:
    (blank,) = (row for name, row in rows(labelled, *SCORES).items() if name == "blank")
    assert blank == {
        "noise": 0, "blur": 0, "brightness": 1, "contrast": 0, "shuffled_patches": 0.5,
    }  # fmt: skip
    dropped = document(labelled / "run.json")["stages"]
    assert {
        stage: one.get("dropped", {}) for stage, one in dropped.items() if one.get("dropped")
    } == {"download": {"truncated": 1}}


def test_a_rule_or_an_operator_less_measures_nothing_again(labelled: Path, tmp_path: Path) -> None:
    run = moved(labelled, tmp_path / "run")
    before = {x: x.read_bytes() for x in run.glob("annotated/score/blur/part-*.parquet")}
    changes = {
        "scores": "{blur: {kind: blur}, grain: {kind: noise}}",
        "select": "[{name: sharp, column: blur, max: 0.6}, {name: grainy, column: grain, max: 1}]",
    }
    flags = [x for key, value in changes.items() for x in ("--set", f"{key}={value}")]
    well("run", str(run / "config.yaml"), *flags, "--force")
    assert before
    assert {x: x.read_bytes() for x in before} == before
    was = rows(labelled, "noise", "blur")
    blurred = {name for name, row in was.items() if row["blur"] > 0.6}  # type: ignore[operator]
    grainy = {name for name, row in was.items() if row["noise"] > 1} - blurred  # type: ignore[operator]
    assert blurred >= {f"{k}-defocus" for k in range(PICTURES)}
    assert grainy >= {f"{k}-noise" for k in range(PICTURES)}
    reasons: dict[str, set[str]] = {}
    for path in run.glob("dropped/score/part-*.parquet"):
        for row in pq.read_table(path).to_pylist():
            reasons.setdefault(row["reason"], set()).add(row["caption"].split()[1])
    assert reasons == {"rule:sharp": blurred, "rule:grainy": grainy}
    now = rows(run, "grain", "blur")
    assert now == {
        name: {"grain": was[name]["noise"], "blur": was[name]["blur"]}
        for name in was.keys() - blurred - grainy
    }
    assert "noise" not in pq.read_schema(next((run / "shards").glob("*.parquet"))).names


def test_the_card_says_what_each_is_and_in_which_unit(labelled: Path) -> None:
    told = card_columns(labelled)
    assert told["noise"].endswith("levels of 255, from 0")
    assert told["blur"].endswith("pixels, from 0")
    assert all("0" in told[name] for name in SCORES)
    assert told["jpeg_quality"].startswith("that the image as fetched was last saved at, 1 to 100")
