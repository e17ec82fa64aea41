"""The columns of each stage."""

import pyarrow as pa
import pytest

from curate import schema
from curate.schema import Stage

PREPARED = [
    "uid", "url", "caption", "language", "language_score", "caption_chars", "caption_words", "matches",
]  # fmt: skip
DOWNLOADED = [
    "width", "height", "original_width", "original_height", "smaller_side", "aspect",
    "image_format", "image_bytes", "sha256", "md5", "phash", "phash_quality", "look", "exif",
    "tar_offset", "tar_size", "stored_sha256",
]  # fmt: skip


def test_the_stages_in_flow_order() -> None:
    assert [str(stage) for stage in Stage] == [
        "prepare", "download", "dedup", "score", "balance", "shards", "report",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("stage", "added"),
    [
        (Stage.PREPARE, []),
        (Stage.DOWNLOAD, DOWNLOADED),
        (Stage.DEDUP, [*DOWNLOADED, "cluster", "cluster_size"]),
        (Stage.SCORE, [*DOWNLOADED, "cluster", "cluster_size", "clip_score"]),
        (
            Stage.BALANCE,
            [*DOWNLOADED, "cluster", "cluster_size", "clip_score", "keep_probability"],
        ),
        (
            Stage.SHARDS,
            [*DOWNLOADED, "cluster", "cluster_size", "clip_score", "keep_probability"],
        ),
    ],
)
def test_a_stage_has_the_columns_of_all_up_to_it(stage: Stage, added: list[str]) -> None:
    """But for the look of a picture, which only dedup reads."""
    if stage is not Stage.DOWNLOAD:
        added = [name for name in added if name != "look"]
    assert schema.after(stage, enabled=Stage).names == PREPARED + added


def test_a_stage_that_does_not_run_adds_nothing() -> None:
    enabled = [Stage.PREPARE, Stage.DEDUP, Stage.BALANCE]
    columns = schema.after(Stage.BALANCE, enabled=iter(enabled))
    assert columns.names == [*PREPARED, "cluster", "cluster_size", "keep_probability"]
    assert schema.after(Stage.SCORE, enabled=enabled).names == [
        *PREPARED, "cluster", "cluster_size",
    ]  # fmt: skip


def test_no_column_is_added_twice() -> None:
    names = schema.after(Stage.REPORT, enabled=Stage).names
    assert len(set(names)) == len(names)


def test_what_download_adds_is_what_was_fetched_without_the_outcome() -> None:
    assert schema.FETCHED.names == ["uid", "pair", "outcome", "detail", "redirects", *DOWNLOADED]
    assert pa.schema([schema.FETCHED.field(name) for name in DOWNLOADED]) == schema.DOWNLOAD
