"""The recipe `biomedical` over packages of articles: clusters, somebody who names them, a choice."""

import csv
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from curate.files import shipped
from tests.pool.packages import article, figure, package
from tests.users.runs import moved, pairs, refused, well

SCORER = shipped("pipelines/demo/scorer")
ARTICLES = 12


def photographs() -> list[bytes]:
    found = sorted(shipped("pipelines/demo/pool/images").iterdir())
    pixels = (cv2.imread(str(path), cv2.IMREAD_COLOR) for path in found)
    pictures = [one for one in pixels if one is not None and min(one.shape[:2]) > 60]
    return [bytes(cv2.imencode(".jpg", one)[1]) for one in pictures[:ARTICLES]]


def plot(k: int) -> bytes:
    """A line on white paper, with axes."""
    pixels = np.full((160, 200, 3), 255, np.uint8)
    cv2.line(pixels, (20, 10), (20, 140), (0, 0, 0), 2)
    cv2.line(pixels, (20, 140), (190, 140), (0, 0, 0), 2)
    steps = np.random.default_rng(k).integers(20, 130, 12)
    points = np.array([[25 + 14 * i, y] for i, y in enumerate(steps)], np.int32)
    cv2.polylines(pixels, [points], isClosed=False, color=(180, 40, 10), thickness=2)
    return bytes(cv2.imencode(".jpg", pixels)[1])


def bars(k: int) -> bytes:
    """Bars on white paper."""
    pixels = np.full((160, 200, 3), 255, np.uint8)
    for i, height in enumerate(np.random.default_rng(k).integers(20, 130, 8).tolist()):
        cv2.rectangle(pixels, (20 + 22 * i, 150), (34 + 22 * i, 150 - height), (60, 160, 60), -1)
    return bytes(cv2.imencode(".jpg", pixels)[1])


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recipe's run, over articles with a photograph, a plot, bars and a tiny picture each."""
    at = tmp_path_factory.mktemp("biomedical")
    tiny = bytes(cv2.imencode(".jpg", np.full((20, 90, 3), 9, np.uint8))[1])
    for k, picture in enumerate(photographs()):
        figures = [figure("a", f"A photograph of case {k}"), figure("b", f"A plot of series {k}"),
                   figure("c", f"The bars of group {k}"), figure("d", f"A tiny icon {k}")]  # fmt: skip
        images = {"a": picture, "b": plot(k), "c": bars(k), "d": tiny}
        files = {f"PMC{k}/{name}.jpg": content for name, content in images.items()}
        package(at / f"pool/PMC{k}.tar.gz", {f"PMC{k}/x.nxml": article(*figures, pmc=k), **files})
    (at / "c.yaml").write_text(well("config", "--recipe", "biomedical"))
    well(*command(at))
    return at


def command(at: Path, *options: str, out: str = "run") -> list[str]:
    return [
        "run", str(at / "c.yaml"), "--out", str(at / out), "--set", f"input.paths={at / 'pool'}",
        "--set", f"score.model={SCORER}/curate-mini.json",
        "--set", f"score.pretrained={SCORER}/curate-mini.safetensors",
        "--set", "score.visual_cluster.clusters=8", "--set", "part_rows=20", *options,
    ]  # fmt: skip


def rule(path: Path, key: str = "in_file") -> tuple[str, str]:
    small = "{name: small_image, column: smaller_side, min: 21}"
    return "--set", f"select=[{small}, {{name: concept, column: visual_cluster, {key}: {path}}}]"


def read(path: Path) -> list[dict[str, Any]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def fill(path: Path, column: str, numbers: set[int]) -> None:
    found = read(path)
    for row in found:
        row[column] = "yes" if int(row["visual_cluster"]) in numbers else ""
        row["label"] = "Clinical Imaging" if row[column] else ""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, found[0].keys())
        writer.writeheader()
        writer.writerows(found)


def clusters(run: Path) -> dict[str, int]:
    """The cluster of each pair that was kept, by its caption."""
    return {one["caption"]: one["visual_cluster"] for one in pairs(run)}


def written(run: Path) -> dict[str, tuple[int, bytes]]:
    """What models and clusters left, and when it was written."""
    found = sorted((run / "annotated/score").rglob("*"))
    return {str(x): (x.stat().st_mtime_ns, x.read_bytes()) for x in found if x.is_file()}


def test_an_expert_names_clusters_and_the_selection_alone_is_done_again(
    home: Path, tmp_path: Path
) -> None:
    run = home / "run"
    found = clusters(run)
    assert Counter(x.split()[1] for x in found) == {"photograph": 12, "plot": 12, "bars": 12}
    shown = {number for caption, number in found.items() if "photograph" in caption}
    drawn = {*found.values()} - shown
    plots = {caption for caption, number in found.items() if number in drawn}
    assert len(plots) >= 12, "to the model most of them are alike"
    out = tmp_path / "looked"
    assert f"{len(drawn | shown)} clusters of 36 pairs" in well(
        "clusters", str(run), "--out", str(out)
    )
    table = read(out / "clusters.csv")
    assert [int(row["visual_cluster"]) for row in table] == sorted(drawn | shown)
    counted = Counter(found.values())
    assert {int(x["visual_cluster"]): int(x["pairs"]) for x in table} == counted
    assert {int(x["visual_cluster"]): int(x["kept_pairs"]) for x in table} == counted
    page = (out / "index.html").read_text()
    assert page.count("<img ") == 36
    assert "photograph" in page
    assert "http" not in page.replace("http-equiv", "")
    fill(out / "clusters.csv", "keep", shown)
    before = written(run)
    well(*command(home, *rule(out / "clusters.csv"), "--force"))
    assert written(run) == before
    assert set(clusters(run)) == found.keys() - plots
    ledger = [row for x in (run / "dropped/score").glob("*.parquet")
              for row in pq.read_table(x).to_pylist()]  # fmt: skip
    assert {row["reason"] for row in ledger} == {"rule:concept"}
    assert {int(row["value"]) for row in ledger} == drawn
    # what was filled in stays where the page is made again
    well("clusters", str(run), "--out", str(out))
    assert {int(x["visual_cluster"]) for x in read(out / "clusters.csv") if x["keep"]} == shown
    assert {int(x["kept_pairs"]) for x in read(out / "clusters.csv") if not x["keep"]} == {0}
    # another mind: what goes, not what stays
    fill(out / "clusters.csv", "drop", shown)
    set_, full = rule(out / "clusters.csv", "not_in_file")
    short = full.replace("name: concept, column: visual_cluster, not_in_file", "drop_clusters")
    well(*command(home, set_, short, "--force"))
    assert written(run) == before
    assert set(clusters(run)) == plots
    well(*command(home, "--force"))
    assert clusters(run) == found


def test_a_list_of_other_clusters_is_refused_and_theirs_can_be_taken(
    home: Path, tmp_path: Path
) -> None:
    """As when a pool has grown: the numbers would be those of other clusters."""
    run, out = home / "run", tmp_path / "looked"
    well("clusters", str(run), "--out", str(out), "--shown", "2")
    (first,) = {row["centroids"] for row in read(out / "clusters.csv")}
    assert first
    fill(out / "clusters.csv", "drop", {0})
    options = (*rule(out / "clusters.csv", "not_in_file"), "--set", "seed=7")
    told = refused(*command(home, *options, out="other"))
    assert "clusters.csv: it is of other clusters than this run's" in told
    assert "score.visual_cluster.centroids" in told
    centroids = run / "annotated/score/visual_cluster/centroids.npz"
    taken = f"score.visual_cluster.centroids={centroids}"
    well(*command(home, *options, "--set", taken, out="other"))
    found, before = clusters(home / "other"), clusters(run)
    assert found == {caption: number for caption, number in before.items() if number}
    assert 0 < len(found) < len(before)
    well("clusters", str(home / "other"), "--out", str(out))
    assert {int(x["visual_cluster"]) for x in read(out / "clusters.csv") if x["drop"]} == {0}
    well(*command(home, "--set", "seed=7", out="third"))
    told = refused("clusters", str(home / "third"), "--out", str(out))
    assert "clusters.csv: is of other clusters than the run's" in told


def test_clusters_of_a_run_without_any_are_told(home: Path, tmp_path: Path) -> None:
    well(
        "run", str(home / "c.yaml"), "--out", str(tmp_path / "plain"), "--set", "score=null",
        "--set", f"input.paths={home / 'pool'}",
    )  # fmt: skip
    told = refused("clusters", str(tmp_path / "plain"), "--out", str(tmp_path / "looked"))
    assert "its images are in no clusters; run it with --set score.embeddings=true" in told


def test_a_revoked_pair_is_in_no_cluster(home: Path, tmp_path: Path) -> None:
    run = moved(home / "run", tmp_path / "run")
    well("clusters", str(run), "--out", str(tmp_path / "before"))
    (tmp_path / "list.txt").write_text("url:file:///PMC3/b.jpg\n")
    well("revoke", str(run), "--list", str(tmp_path / "list.txt"))
    well("clusters", str(run), "--out", str(tmp_path / "after"))
    one, other = (
        sum(int(row["pairs"]) for row in read(tmp_path / x / "clusters.csv"))
        for x in ("before", "after")
    )
    assert one - other == 1
    assert "series 3<" not in (tmp_path / "after/index.html").read_text()
