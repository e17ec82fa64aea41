"""The recipe of SemDeDup and decontamination by embeddings, through the command line."""

import io
import shutil
import tarfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from curate import config, files
from curate.config import file as config_file
from curate.evaluation import Embedder, hash_sets
from curate.finished import explain
from curate.report.meanings import meanings
from curate.revoking.revoke import revoke
from curate.rundir.directory import Run
from curate.schema import Stage
from tests.e2e.conftest import Command, output_bytes, read_json
from tests.ops.duplicates.test_semantic import by_definition
from tests.stages.rundir import gone, rows_of

SCORER = files.shipped("pipelines/demo/scorer")
MODEL = {
    "model": str(SCORER / "curate-mini.json"),
    "pretrained": str(SCORER / "curate-mini.safetensors"),
}
PAIRS, COPIED, EVALUATED = 26, 12, 6
EPSILON = 0.07
SIMILAR = 0.97
PARTS = 4


def pictures() -> list[tuple[bytes, Any]]:
    """Pictures of the demo without transparency: the file and its pixels."""
    found = []
    for path in sorted(Path(files.shipped("pipelines/demo/pool/images")).iterdir()):
        pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if pixels is not None and pixels.ndim == 3 and pixels.shape[2] == 3:
            found.append((path.read_bytes(), pixels))
    return found[:PAIRS]


def png(pixels: Any) -> bytes:
    return bytes(cv2.imencode(".png", pixels)[1])


@pytest.fixture(scope="module")
def run(curate: Command, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A pool of pictures, of which some come again at four fifths of their size with another caption.

    The evaluation set has some more of them, written as other files.
    """
    folder = tmp_path_factory.mktemp("semantic")
    found = pictures()
    with tarfile.open(folder / "pool.tar", "w") as tar:
        for k, (content, pixels) in enumerate(found):
            samples = [(f"{k:03d}a", content, f"A picture whose number is {k}")]
            if k < COPIED:
                smaller = cv2.resize(pixels, None, fx=0.8, fy=0.8, interpolation=cv2.INTER_AREA)
                samples.append((f"{k:03d}b", png(smaller), f"{k} is what someone else calls it"))
            for key, image, caption in samples:
                for ending, data in (("png", image), ("txt", caption.encode())):
                    member = tarfile.TarInfo(f"{key}.{ending}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
    (folder / "en.txt").write_text("picture\nsomeone\nnumber\n")
    (folder / "set").mkdir()
    for k, (_, pixels) in enumerate(found[-EVALUATED:]):
        (folder / "set" / f"{k}.png").write_bytes(png(pixels))
    model = config.Config.model_validate({"input": {"paths": "none"}, "score": MODEL})
    hashed = hash_sets(
        (str(folder / "set"),), out=str(folder / "set.parquet"), embedder=Embedder.of(model)
    )
    assert hashed.embedded == hashed.images == EVALUATED
    sets = {
        "against": ["set.parquet"], "image_distance": 0, "captions": False,
        "embedding_similarity": SIMILAR,
    }  # fmt: skip
    changes = {
        "input.paths": "pool.tar", "part_rows": 10, "score.model": MODEL["model"],
        "score.pretrained": MODEL["pretrained"], "decontaminate": sets,
        "semdedup.epsilon": EPSILON, "semdedup.clusters": 3,
        "prepare.metadata": {"en": "en.txt"},
    }  # fmt: skip
    flags = [x for key, value in changes.items() for x in ("--set", f"{key}={value}")]
    recipe = str(config_file.recipes()["semdedup"])
    done = curate("run", recipe, "--out", "run", *flags, cwd=folder)
    assert done.returncode == 0, done.stderr
    return Run.at(str(folder / "run"))


def names(run: Run) -> dict[str, str]:
    """The name of each pair in the tar, by uid."""
    pairs = rows_of(run, "prepare", "uid", "url")
    return {uid: url.rpartition("/")[2].partition(".")[0] for uid, url in pairs}


def test_an_evaluation_set_of_the_pool_is_flagged_whole_by_its_embeddings(run: Run) -> None:
    """No file of it is one of the pool's, and no hash is looked at but those of files."""
    name = names(run)
    left = [(name[uid], value) for uid, why, value in gone(run, Stage.SCORE, PARTS)
            if why == "contaminated"]  # fmt: skip
    first = PAIRS - EVALUATED
    assert sorted(left) == [(f"{first + k:03d}a", f"set/{k}.png") for k in range(EVALUATED)]
    columns = ("uid", "evaluation_similarity", "evaluation_item")
    rows = rows_of(run, "score/annotated/evaluation_similarity", *columns)
    assert len(rows) == PAIRS + COPIED
    near = {name[uid] for uid, cosine, _ in rows if cosine >= SIMILAR}
    assert near == {key for key, _ in left}


def test_smaller_copies_with_another_caption_are_found(run: Run) -> None:
    name = names(run)
    left = {name[uid]: name[str(value)] for uid, why, value in gone(run, Stage.SCORE, PARTS)
            if why == "duplicate_meaning"}  # fmt: skip
    assert {frozenset(pair) for pair in left.items()} >= {
        frozenset((f"{k:03d}a", f"{k:03d}b")) for k in range(COPIED)
    }
    assert len(left) == COPIED, "and nothing else"
    assert read_json(Path(run.path("run.json")))["stages"]["score"]["dropped"] == {
        "contaminated": EVALUATED, "duplicate_meaning": COPIED,
    }  # fmt: skip
    assert len(rows_of(run, "score", "uid")) == PAIRS - EVALUATED


def test_the_verdicts_are_those_of_the_definition_on_these_embeddings(run: Run) -> None:
    uids = rows_of(run, "score/annotated", "uid")
    stored = []
    for index in range(PARTS):
        with files.open_read(run.part("score/annotated", index, "npz")) as file:
            stored.append(np.load(file)["clip_img"])
    vectors = dict(zip(uids, np.concatenate(stored).astype(np.float64), strict=True))
    compared = set(uids) - {
        uid for uid, why, _ in gone(run, Stage.SCORE, PARTS) if why == "contaminated"
    }
    with files.open_read(run.path("score/annotated/semantic_duplicate/centroids.npy")) as file:
        centroids = np.load(file).astype(np.float64)
    assert len(centroids) == 3
    cosines = {uid: centroids @ (vectors[uid] / np.linalg.norm(vectors[uid])) for uid in compared}
    expected = {}
    for k in range(3):
        inside = [uid for uid in compared if cosines[uid].argmax() == k]
        inside.sort(key=lambda uid: (cosines[uid][k], uid))
        rows = np.array([vectors[uid] for uid in inside])
        for at, (survivor, cosine) in enumerate(
            by_definition(rows, epsilon=EPSILON, against="earlier") if inside else ()
        ):
            if cosine is not None:
                expected[inside[at]] = (inside[survivor], pytest.approx(cosine, abs=1e-6))
    columns = ("uid", "semantic_duplicate", "semantic_cosine")
    verdicts = rows_of(run, "score/annotated/semantic_duplicate", *columns)
    found = {uid: (survivor, cosine) for uid, survivor, cosine in verdicts if survivor}
    assert found == expected


def test_the_report_shows_the_groups(run: Run) -> None:
    found = read_json(Path(run.path("report/report.json")))["meanings"]
    assert (found["compared"], found["dropped"], found["groups"]) == (
        PAIRS + COPIED - EVALUATED, COPIED, COPIED,
    )  # fmt: skip
    assert [len(group["dropped"]) for group in found["largest"]] == [1] * 6
    page = Path(run.path("report/index.html")).read_text(encoding="utf-8")
    section = page[page.index('id="meanings"') :].partition("</section>")[0]
    assert section.count("data:image/webp") == 12
    assert "over 0.93, which is 1" in section


def test_revoked_pairs_leave_no_embedding_and_no_column(run: Run, tmp_path: Path) -> None:
    shutil.copytree(run.root, tmp_path / "run")
    copy = Run(str(tmp_path / "run"))
    survivor = min(value for _, why, value in gone(run, Stage.SCORE, PARTS)
                   if why == "duplicate_meaning" and value)  # fmt: skip
    revoke(copy, {("uid", survivor)})
    revoke(copy, {("uid", survivor)})
    left = [uid for uid in rows_of(run, "score/annotated", "uid") if uid != survivor]
    assert len(left) == PAIRS + COPIED - 1
    for folder in ("", "/semantic_duplicate", "/evaluation_similarity"):
        assert rows_of(copy, f"score/annotated{folder}", "uid") == left
    embedded: list[str] = []
    for index in range(PARTS):
        with files.open_read(copy.part("score/annotated", index, "npz")) as file:
            stored = np.load(file)
            assert len(stored["clip_img"]) == len(stored["clip_txt"]) == len(stored["uid"])
            embedded += [uid.decode() for uid in stored["uid"].tolist()]
    assert embedded == left
    found = meanings(copy)
    assert found is not None
    assert survivor not in {group.survivor.uid for group in found.largest}


def test_a_rebalance_reads_what_is_left_and_tells_of_the_groups(
    run: Run, curate: Command, tmp_path: Path
) -> None:
    """At t = 3 the shards are those of the whole run with that balance, and none comes back."""
    whole, other = tmp_path / "whole", tmp_path / "other"
    shutil.copytree(run.root, whole)
    done = curate("rebalance", run.root, "--out", str(other), "--t", "3")
    assert done.returncode == 0, done.stderr
    done = curate(
        "run", f"{whole}/config.yaml", "--out", str(whole), "--force", "--set", "balance.t=3"
    )
    assert done.returncode == 0, done.stderr
    assert output_bytes(other) == output_bytes(whole)
    left = {uid for uid, _, _ in gone(run, Stage.SCORE, PARTS)}
    kept = rows_of(Run.at(str(other)), "balance", "uid")
    assert 0 < len(kept) < PAIRS - EVALUATED
    assert not left & set(kept)
    pages = [read_json(Path(folder, "report/report.json")) for folder in (run.root, other)]
    assert pages[0]["meanings"] == pages[1]["meanings"]
    uid = next(uid for uid, why, _ in gone(run, Stage.SCORE, PARTS) if why == "duplicate_meaning")
    ends = [explain.stories(one, uid)[0].chapters[-1] for one in (run, Run.at(str(other)))]
    assert ends[0] == ends[1]


def test_explain_names_who_stays_and_who_left_for_it(run: Run) -> None:
    gone_for = {uid: str(value) for uid, why, value in gone(run, Stage.SCORE, PARTS)
                if why == "duplicate_meaning"}  # fmt: skip
    uid, survivor = next(iter(sorted(gone_for.items())))
    (story,) = explain.stories(run, uid)
    chapter = story.chapters[-1]
    assert (chapter.stage, chapter.reason, chapter.value) == (
        "score", "duplicate_meaning", survivor,
    )  # fmt: skip
    assert chapter.found["semantic_cosine"] > 1 - EPSILON
    assert [other["uid"] for other in chapter.others] == [survivor]
    (story,) = explain.stories(run, survivor)
    chapter = next(one for one in story.chapters if one.stage == "score")
    assert [(other["uid"], other["reason"]) for other in chapter.others] == [
        (uid, "duplicate_meaning")
    ]
