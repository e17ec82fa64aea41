"""Columns of stored embeddings over several parts, against one table of all pairs."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest

from curate import files, schema
from curate.errors import CurateError
from curate.ops.scores.centroids import find_centroids
from curate.ops.scores.vectors import draw_batches, neg_clip_loss, norm_sim, read_target, unit
from curate.ops.scores.visual import VisualClusters
from curate.rundir.directory import Part, Run
from curate.stages.derived.nearest import NearestTarget, NearestTargetStep
from curate.stages.derived.neg_clip_loss import NegClipLoss, NegClipLossStep, plan_blocks
from curate.stages.derived.rank import ClusterRank, ClusterRankStep
from curate.stages.derived.simcore import SimCore, SimCoreStep
from curate.stages.derived.similarity import NormSimStep
from curate.stages.derived.visual import VisualCluster, VisualClusterStep
from curate.stages.part import TakePart
from tests.ops.scores.test_simcore import naive
from tests.stages.rundir import drive, lay, rows_of, uid_of

SIZES = (7, 0, 12, 5)
WIDTH = 6
LOST = 9  # the pair whose image could not be decoded


def vectors(seed: int, n: int = sum(SIZES)) -> Any:
    found = unit(np.random.default_rng(seed).normal(size=(n, WIDTH))).astype(np.float16)
    if n > LOST:
        found[LOST] = np.nan
    return found


def lay_embedded(run: Run) -> list[Part]:
    """Parts after dedup, with their scores and embeddings."""
    image, text = vectors(1), vectors(2)
    rows: list[list[dict[str, Any]]] = []
    for index, n in enumerate(SIZES):
        first = sum(SIZES[:index])
        uids = [uid_of(i) for i in range(first, first + n)]
        rows.append([{"uid": uid} for uid in uids])
        here = slice(first, first + n) if n else slice(0)
        width = WIDTH if n else 0
        with files.atomic_write(run.part("score/annotated", index, "npz")) as file:
            np.savez(
                file, uid=np.array(uids, "S32"), clip_img=image[here, :width],
                clip_txt=text[here, :width],
            )  # fmt: skip
    lay(run, "score/annotated", rows, pa.schema([("uid", pa.string())]))
    return lay(run, "dedup", rows, schema.PREPARE)


def loss_step(run: Run, **change: Any) -> NegClipLossStep:
    settings = {"batches": 3, "batch_size": 8, "temperature": 0.05, "seed": 5} | change
    return NegClipLossStep(run=run, reads="dedup", digest="d", own="o", **settings)


def test_losses_are_means_over_batches_of_the_whole_pool(run: Run) -> None:
    parts = lay_embedded(run)
    step = loss_step(run)
    drive(run, NegClipLoss(step), parts)
    image, text = unit(vectors(1)), unit(vectors(2))
    known = np.array([i for i in range(sum(SIZES)) if i != LOST])
    uids = pa.array([uid_of(i) for i in known])
    times = []
    for time in range(3):
        values = np.full(sum(SIZES), np.nan)
        for batch in draw_batches(uids, size=8, seed=5 * 1_000_003 + time):
            rows = known[batch]
            values[rows] = neg_clip_loss(image[rows], text[rows], tau=0.05)
        times.append(values)
    found = rows_of(run, "score/annotated/neg_clip_loss", "neg_clip_loss")
    assert found[LOST] is None
    expected = np.mean(times, axis=0)[known]
    assert [found[i] for i in known] == pytest.approx(expected.tolist(), abs=1e-6)
    assert np.std(times, axis=0)[known].max() > 1e-4, "the batches differ"
    assert rows_of(run, "score/annotated/neg_clip_loss", "uid") == [uid_of(i) for i in range(24)]


def test_losses_are_the_same_for_two_workers_and_for_a_part_that_is_made_again(run: Run) -> None:
    parts = lay_embedded(run)
    step = loss_step(run)
    drive(run, NegClipLoss(step), parts, workers=2)
    urls = [run.part(step.folder, part.index) for part in parts]
    first = [files.read_bytes(url) for url in urls]
    files.remove(run.part(step.folder, 2, "json"))
    files.remove(urls[2])
    drive(run, NegClipLoss(step), parts[::-1])
    assert [files.read_bytes(url) for url in urls] == first


def test_only_groups_with_a_part_that_is_not_done_are_drawn(run: Run) -> None:
    """Eight parts of 100,000 pairs: more than a worker holds, so there are six groups."""
    step = loss_step(run, batches=2)
    parts = [(index, 100_000, False) for index in range(8)]
    blocks = list(plan_blocks(parts, step=step))
    assert blocks == list(plan_blocks(parts[::-1], step=step))
    for time in range(2):
        drawn = [indices for number, indices in blocks if number == time]
        assert sorted(i for indices in drawn for i in indices) == list(range(8))
        assert len(drawn) == 6
    assert blocks[:6] != [(0, indices) for _, indices in blocks[6:]]
    resumed = [(index, n, index != 3) for index, n, _ in parts]
    assert list(plan_blocks(resumed, step=step)) == [b for b in blocks if 3 in b[1]]
    assert not list(plan_blocks([(i, n, True) for i, n, _ in parts], step=step))


@pytest.mark.parametrize("norm", ["max", 2])
def test_likeness_to_a_target(run: Run, tmp_path: Path, norm: Any) -> None:
    parts = lay_embedded(run)
    target = str(tmp_path / "target.npy")
    np.save(target, vectors(3, 8))
    step = NormSimStep(run=run, reads="dedup", digest="d", own="o", target=target, norm=norm)
    drive(run, beam.ParDo(TakePart(step)), parts)
    found = rows_of(run, "score/annotated/norm_sim", "norm_sim")
    expected = norm_sim(unit(vectors(1)), read_target(target), norm=norm).tolist()
    assert found[LOST] is None
    assert [x for i, x in enumerate(found) if i != LOST] == [
        x for i, x in enumerate(expected) if i != LOST
    ]


def test_a_target_of_another_model_is_named(run: Run, tmp_path: Path) -> None:
    parts = lay_embedded(run)
    target = str(tmp_path / "wide.npy")
    np.save(target, np.ones((2, 9)))
    step = NormSimStep(run=run, reads="dedup", digest="d", own="o", target=target, norm="max")
    with pytest.raises(CurateError, match=r"wide.npy: its embeddings are 9 wide and the pool's 6"):
        step.process(parts[0])


def test_images_in_the_clusters_of_a_target(run: Run, tmp_path: Path) -> None:
    """With a centroid a pair: true for the pairs that some target is nearest to, and no others."""
    parts = lay_embedded(run)
    target = str(tmp_path / "target.npy")
    np.save(target, vectors(3, 8))
    step = NearestTargetStep(
        run=run, reads="dedup", digest="d", own="o", target=target, clusters=24, sample=10_000,
        seed=1,
    )  # fmt: skip
    drive(run, NearestTarget(step), parts)
    found = rows_of(run, step.folder, "nearest_target")
    pool = unit(vectors(1))
    wanted = {int(np.argmax(pool @ one)) for one in unit(vectors(3, 8))}
    assert found == [None if i == LOST else i in wanted for i in range(24)]
    assert not files.exists(run.path(step.folder, "samples"))
    before = [files.read_bytes(run.part(step.folder, part.index)) for part in parts]
    centroids = files.read_bytes(run.path(step.folder, "centroids.npz"))
    files.remove(run.part(step.folder, 2, "json"))
    drive(run, NearestTarget(step), parts[::-1], workers=2)
    assert [files.read_bytes(run.part(step.folder, part.index)) for part in parts] == before
    assert files.read_bytes(run.path(step.folder, "centroids.npz")) == centroids


def visual_step(run: Run, **change: Any) -> VisualClusterStep:
    settings = {"clusters": 4, "sample": 10_000, "iterations": 20, "whiten": 3, "centroids": None,
                "seed": 5} | change  # fmt: skip
    return VisualClusterStep(run=run, reads="dedup", digest="d", own="o", **settings)


def test_clusters_of_images_are_those_of_one_table_of_all_pairs(run: Run) -> None:
    parts = lay_embedded(run)
    step = visual_step(run)
    drive(run, VisualCluster(step), parts)
    found = rows_of(run, step.folder, "visual_cluster")
    known = np.array([i for i in range(sum(SIZES)) if i != LOST])
    pool = unit(unit(vectors(1))[known].astype(np.float16))
    whole = VisualClusters.find(pool, clusters=4, iterations=20, whiten=3, seed=5)
    assert found[LOST] is None
    assert [found[i] for i in known] == whole.numbers(unit(vectors(1))[known]).tolist()
    assert sorted(set(found) - {None}) == [0, 1, 2, 3]
    assert not files.exists(run.path(step.folder, "samples"))
    before = [files.read_bytes(run.part(step.folder, part.index)) for part in parts]
    centroids = files.read_bytes(step.file)
    files.remove(run.part(step.folder, 2, "json"))
    drive(run, VisualCluster(step), parts[::-1], workers=2)
    assert [files.read_bytes(run.part(step.folder, part.index)) for part in parts] == before
    files.remove(step.file)
    files.remove(run.part(step.folder, 2, "json"))
    drive(run, VisualCluster(step), parts[::-1], workers=2)
    assert [files.read_bytes(run.part(step.folder, part.index)) for part in parts] == before
    assert files.read_bytes(step.file) == centroids


def test_a_part_that_is_made_again_is_compared_with_the_centroids_that_stand(run: Run) -> None:
    """Those of another digest do not stand; given ones need no other part."""
    parts = lay_embedded(run)
    other, step = visual_step(run, seed=6), visual_step(run)
    drive(run, VisualCluster(other), parts)
    standing = files.read_bytes(step.file)
    numbers = rows_of(run, step.folder, "visual_cluster")
    files.remove(run.part(step.folder, 2, "json"))
    drive(run, VisualCluster(step), parts)
    assert files.read_bytes(step.file) == standing
    assert rows_of(run, step.folder, "visual_cluster") == numbers
    renamed = replace(step, digest="e")
    drive(run, VisualCluster(renamed), parts)
    assert files.read_bytes(step.file) != standing
    assert rows_of(run, step.folder, "visual_cluster") != numbers
    given = str(Path(run.root) / "given.npz")
    files.write_bytes(given, standing)
    taken = replace(step, digest="f", centroids=given)
    drive(run, VisualCluster(taken), [parts[2]])
    assert rows_of(run, step.folder, "visual_cluster")[7:19] == numbers[7:19]


def test_more_components_than_an_embedding_has_are_refused(run: Run) -> None:
    parts = lay_embedded(run)
    with pytest.raises(Exception, match=r"score.visual_cluster.whiten: 7 .* 6 wide"):
        drive(run, VisualCluster(visual_step(run, whiten=7)), parts)


def test_rounds_toward_a_target_are_those_of_one_table_of_all_pairs(
    run: Run, tmp_path: Path
) -> None:
    parts = lay_embedded(run)
    target = str(tmp_path / "target.npy")
    np.save(target, vectors(3, 8))
    step = SimCoreStep(run=run, reads="dedup", digest="d", own="o", target=target, keep=9,
                       clusters=4, tau=None, seed=1)  # fmt: skip
    drive(run, SimCore(step), parts)
    found = rows_of(run, step.folder, "simcore")
    centroids = find_centroids(unit(vectors(3, 8)), clusters=4, seed=1)
    known = np.array([i for i in range(sum(SIZES)) if i != LOST])
    rounds = naive(centroids @ unit(vectors(1))[known].T, keep=9, tau=None)
    assert found == [
        dict(zip(known[list(rounds)].tolist(), rounds.values(), strict=True)).get(i)
        for i in range(sum(SIZES))
    ]
    assert not files.exists(run.path(step.folder, "candidates"))
    before = [files.read_bytes(run.part(step.folder, part.index)) for part in parts]
    files.remove(run.part(step.folder, 2, "json"))
    drive(run, SimCore(step), parts[::-1], workers=2)
    assert [files.read_bytes(run.part(step.folder, part.index)) for part in parts] == before


def test_a_pool_without_embeddings_has_no_centroids(run: Run, tmp_path: Path) -> None:
    parts = lay_embedded(run)[1:2]
    target = str(tmp_path / "target.npy")
    np.save(target, vectors(3, 8))
    common: dict[str, Any] = {"run": run, "reads": "dedup", "digest": "d", "own": "o"}
    near = NearestTargetStep(**common, target=target, clusters=3, sample=9, seed=1)
    drive(run, NearestTarget(near), parts)
    drive(run, NegClipLoss(loss_step(run)), parts)
    core = SimCoreStep(**common, target=target, keep=3, clusters=2, tau=0.95, seed=1)
    drive(run, SimCore(core), parts)
    drive(run, VisualCluster(visual_step(run)), parts)
    for name in ("nearest_target", "neg_clip_loss", "simcore", "visual_cluster"):
        assert rows_of(run, f"score/annotated/{name}", name) == []


def lay_clusters(run: Run, clusters: list[list[int | None]]) -> list[Part]:
    """Parts whose images lie in these clusters."""
    uids = iter(range(10**6))
    rows = [[{"uid": uid_of(next(uids)), "visual_cluster": x} for x in part] for part in clusters]
    columns = pa.schema([("uid", pa.string()), ("visual_cluster", pa.int32())])
    for folder in ("score/annotated/visual_cluster", "score/annotated"):
        lay(run, folder, rows, columns)
    of_uids = [[{"uid": row["uid"]} for row in part] for part in rows]
    return lay(run, "dedup", of_uids, schema.PREPARE)


def test_the_rank_in_a_cluster_is_in_the_order_of_the_pool(run: Run) -> None:
    """Against a count over one table: of clusters of 1, 4, 5, 6 and 11 every fifth is 1, 1, 1, 2, 3."""
    sizes = {7: 1, 2: 4, 0: 5, 1: 6, 4: 11}
    pool: list[int | None] = [x for x, n in sizes.items() for _ in range(n)] + [None] * 3
    np.random.default_rng(3).shuffle(pool)
    parts = lay_clusters(run, [pool[:9], [], pool[9:10], [None, None], pool[10:]])
    step = ClusterRankStep(run=run, reads="dedup", digest="d", own="o")
    drive(run, ClusterRank(step), parts)
    found = rows_of(run, step.folder, "cluster_rank")
    whole = [*pool[:10], None, None, *pool[10:]]
    seen: dict[int, int] = {}
    expected: list[int | None] = []
    for cluster in whole:
        expected.append(None if cluster is None else seen.get(cluster, 0))
        if cluster is not None:
            seen[cluster] = seen.get(cluster, 0) + 1
    assert found == expected
    fifths = [x for x, rank in zip(whole, found, strict=True) if rank is not None and rank % 5 == 0]
    assert [fifths.count(of) for of in sizes] == [1, 1, 1, 2, 3]
    written = [files.read_bytes(run.part(step.folder, part.index)) for part in parts]
    files.remove(run.part(step.folder, 4, "json"))
    files.remove(run.part(step.folder, 0, "json"))
    drive(run, ClusterRank(step), parts[::-1], workers=2)
    assert [files.read_bytes(run.part(step.folder, part.index)) for part in parts] == written
