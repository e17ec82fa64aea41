"""Block lists at the download: nothing of a listed image is stored, and a new list fetches nothing."""

import hashlib
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from curate.ops.images.imagehash import perceptual_hash
from curate.rundir import revocations
from curate.rundir.directory import Run
from curate.stages.unwanted import Lists
from tests.stages.test_download import FOLDER, fetch_step, fetched, members, pairs
from tests.stages.web import PICTURES, Web, serve

NAMES = ["wide.png", "small.webp", "tall.jpg", "square.jpg", "404"]


@pytest.fixture
def web() -> Iterator[Web]:
    with serve() as served:
        yield served


def sha256(name: str) -> str:
    return hashlib.sha256(PICTURES[name]).hexdigest()


def lists(folder: Path, *lines: str) -> Lists:
    path = folder / f"list-{hashlib.md5(repr(lines).encode()).hexdigest()}.txt"
    path.write_text("\n".join(lines) + "\n")
    return Lists((str(path),))


def test_a_listed_image_leaves_nothing_but_its_hash(run: Run, web: Web, tmp_path: Path) -> None:
    md5 = hashlib.md5(PICTURES["small.webp"]).hexdigest()
    pixels = cv2.imdecode(np.frombuffer(PICTURES["tall.jpg"], np.uint8), cv2.IMREAD_COLOR)
    pdq = perceptual_hash(pixels).bits
    assert pdq
    listed = lists(tmp_path, sha256("wide.png"), md5, f"pdq:{pdq}")
    step = replace(fetch_step(run, web.addresses, md5=True), lists=listed)
    found = fetched(run, step, pairs(*NAMES))
    outcomes = [row["outcome"] for row in found]
    assert outcomes == ["blocked", "blocked", "blocked", "success", "http_404"]
    assert found[0]["detail"] == f"sha256:{sha256('wide.png')}"
    assert found[1]["detail"] == f"md5:{md5}"
    assert found[2]["detail"].startswith("pdq:")
    for row in found[:3]:
        assert {row[x] for x in ("width", "sha256", "phash", "tar_size")} == {None}
    assert list(members(run)) == [f"{found[3]['uid']}.jpg"]


def test_a_new_list_takes_images_out_and_fetches_only_what_it_cannot_judge(
    run: Run, web: Web, tmp_path: Path
) -> None:
    step = fetch_step(run, web.addresses)
    fetched(run, step, pairs(*NAMES))
    web.hits.clear()
    listed = replace(step, digest="d2", lists=lists(tmp_path, "sha256:" + sha256("wide.png")))
    found = fetched(run, listed, pairs(*NAMES))
    assert (found[0]["outcome"], web.hits) == ("blocked", {})
    assert len(members(run)) == 3
    shorter = replace(listed, digest="d3", lists=lists(tmp_path, "sha256:" + "0" * 64))
    found = fetched(run, shorter, pairs(*NAMES))
    assert (found[0]["outcome"], web.hits) == ("success", {"wide.png": 1})
    web.hits.clear()
    with_md5 = replace(
        fetch_step(run, web.addresses, md5=True), digest="d4", lists=lists(tmp_path, "0" * 32)
    )
    found = fetched(run, with_md5, pairs(*NAMES))
    assert web.hits == dict.fromkeys(NAMES[:4], 1)  # their MD5 was not known
    assert [row["md5"] for row in found[:4]] == [
        hashlib.md5(PICTURES[name]).hexdigest() for name in NAMES[:4]
    ]


def test_a_revoked_image_does_not_come_back_under_another_url(run: Run, web: Web) -> None:
    step = fetch_step(run, web.addresses)
    revocations.write(run, {("sha256", sha256("wide.png"))})
    found = fetched(run, step, pairs(*NAMES[:2]))
    assert [row["outcome"] for row in found] == ["revoked", "success"]
    with tarfile.open(run.part("download", 0, "tar")) as tar:
        assert tar.getnames() == [f"{found[1]['uid']}.jpg"]
    assert run.record(FOLDER, 0)
