"""Semantic duplicates over several parts, against the definition over one table of all pairs."""

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from curate import files, schema
from curate.config import Rule
from curate.ops.scores.vectors import unit
from curate.rundir.directory import Part, Run
from curate.schema import Stage
from curate.stages.meanings import semantic
from curate.stages.meanings.semantic import FindDuplicates, SemanticStep, plan_groups
from curate.stages.select import SelectScore
from tests.ops.duplicates.test_semantic import by_definition
from tests.stages.rundir import WithCuts, check_conserved, dead, drive, gone, lay, rows_of, uid_of

N, WIDTH = 240, 12
LOST = 17  # the pair whose image could not be decoded
ENABLED = [Stage.PREPARE, Stage.DEDUP, Stage.SCORE]
SIZES = (100, 0, 90, 50)
FOLDER = "score/annotated/semantic_duplicate"


def embeddings() -> Any:
    """Forty images, and rows near one of them, or the same."""
    random = np.random.default_rng(8)
    of = random.integers(40, size=N)
    noise = random.choice([0.0, 0.03, 0.09], size=(N, 1)) * random.normal(size=(N, WIDTH))
    found = unit(random.normal(size=(40, WIDTH)))[of] + noise
    found = found.astype(np.float16)
    found[LOST] = np.nan
    return found


def scores() -> list[float | None]:
    found = np.random.default_rng(9).permutation(N) / 256
    return [None if i == LOST else float(x) for i, x in enumerate(found)]


def lay_scored(run: Run, sizes: tuple[int, ...] = SIZES) -> list[Part]:
    """Parts after dedup, their scores and their embeddings."""
    image, score = embeddings(), scores()
    rows: list[list[dict[str, Any]]] = []
    for index, n in enumerate(sizes):
        here = range(sum(sizes[:index]), sum(sizes[: index + 1]))
        rows.append([{"uid": uid_of(i), "url": "http://x.example/", "caption": f"pair {i}",
                      "clip_score": score[i]} for i in here])  # fmt: skip
        with files.atomic_write(run.part("score/annotated", index, "npz")) as file:
            np.savez(file, uid=np.array([row["uid"] for row in rows[-1]], "S32"),
                     b32_img=image[here.start : here.stop, : WIDTH if n else 0])  # fmt: skip
    lay(run, "score/annotated", rows, schema.SCORED)
    return lay(run, "dedup", rows, schema.after(Stage.DEDUP, enabled=ENABLED))


def step_of(run: Run, *rules: Rule, **change: Any) -> SemanticStep:
    common: dict[str, Any] = {"run": run, "reads": "dedup", "own": "o"}
    select = SelectScore(
        **common, digest="s", rules=rules, columns=schema.after(Stage.SCORE, enabled=ENABLED),
        semantic=True,
    )  # fmt: skip
    settings: dict[str, Any] = {"epsilon": 0.05, "against": "kept", "clusters": 5, "sample": 1000,
                                "seed": 3}  # fmt: skip
    return SemanticStep(**common, digest="d", select=select, **(settings | change))


def transform(step: SemanticStep) -> WithCuts:
    return WithCuts(step.select, FindDuplicates(step))


def expected(run: Run, step: SemanticStep, rows: list[int]) -> dict[int, tuple[int, float]]:
    """Survivor and cosine of each duplicate among `rows`, by the definition."""
    with files.open_read(run.path(FOLDER, "centroids.npy")) as file:
        centroids = np.load(file).astype(np.float64)
    vectors = unit(embeddings()).astype(np.float64)
    found = {}
    cluster = {i: int(np.argmax(centroids @ vectors[i])) for i in rows}
    for k in set(cluster.values()):
        inside = [i for i in rows if cluster[i] == k]
        inside.sort(key=lambda i: (float(vectors[i] @ centroids[k]), uid_of(i)))
        verdicts = by_definition(embeddings()[inside], epsilon=step.epsilon, against=step.against)
        for at, (survivor, cosine) in enumerate(verdicts):
            if cosine is not None:
                found[inside[at]] = (inside[survivor], cosine)
    return found


def test_duplicates_of_the_pairs_that_all_rules_keep(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a quantile rule, whose pairs are neither dropped twice nor anyone's survivors."""
    monkeypatch.setattr(semantic, "_ROWS", 37)  # several groups, and clusters of several runs
    parts = lay_scored(run)
    step = step_of(run, Rule(column="clip_score", top_fraction=0.7))
    yielded = drive(run, transform(step), parts)
    check_conserved(run, Stage.SCORE, parts)
    values = scores()
    cut = sorted((x for x in values if x is not None), reverse=True)[int((N - 1) * 0.7)]
    rows = [i for i, x in enumerate(values) if x is not None and x >= cut]
    duplicates = expected(run, step, rows)
    assert 20 < len(duplicates) < len(rows) - 20
    found = {uid: (why, value) for uid, why, value in gone(run, Stage.SCORE, 4)}
    meant = {uid: value for uid, (why, value) in found.items() if why == "duplicate_meaning"}
    assert meant == {uid_of(i): uid_of(survivor) for i, (survivor, _) in duplicates.items()}
    assert {uid for uid, (why, _) in found.items() if why == "rule:clip_score"} == {
        uid_of(i) for i, x in enumerate(values) if x is not None and x < cut
    }
    assert [uid for uid, _, _ in dead(run, Stage.SCORE, 4)] == [uid_of(LOST)]
    kept = rows_of(run, "score", "uid")
    assert kept == [uid_of(i) for i in rows if i not in duplicates]
    assert set(meant.values()) <= set(kept), "who is named stays"
    assert [part.kept for part in yielded] == [
        len(files.read_table(run.part("score", index))) for index in range(4)
    ]
    verdicts = rows_of(run, FOLDER, "uid", "semantic_duplicate", "semantic_cosine")
    assert [uid for uid, _, _ in verdicts] == [uid_of(i) for i in range(N)]
    cosines = {uid: cosine for uid, survivor, cosine in verdicts if survivor}
    assert cosines == pytest.approx(
        {uid_of(i): cosine for i, (_, cosine) in duplicates.items()}, abs=1e-6
    )
    assert not files.exists(run.path(FOLDER, "work"))
    groups = Counter(survivor for survivor, _ in duplicates.values())
    largest = sorted(((n + 1, uid_of(i)) for i, n in groups.items()), key=lambda x: (-x[0], x[1]))
    assert files.read_json(run.path(FOLDER, "groups.json")) == {
        "pairs": len(rows),
        "sizes": sorted([n + 1, k] for n, k in Counter(groups.values()).items()),
        "largest": [list(one) for one in largest[:6]],
    }


def verdicts_of(run: Run) -> list[Any]:
    return rows_of(run, FOLDER, "uid", "semantic_duplicate", "semantic_cosine")


def test_the_same_for_two_workers_other_parts_and_what_is_made_again(tmp_path: Any) -> None:
    run, other = (Run(str(tmp_path / name)) for name in ("one", "two"))
    parts = lay_scored(run)
    drive(run, transform(step_of(run)), parts)
    drive(other, transform(step_of(other)), lay_scored(other, (31, 100, 9, 70, 30)), workers=2)
    assert verdicts_of(run) == verdicts_of(other)
    assert sum(survivor is not None for _, survivor, _ in verdicts_of(run)) > 100
    beside = [run.path(FOLDER, name) for name in ("centroids.npy", "groups.json")]
    urls = [*(run.part(FOLDER, index) for index in range(4)), *beside]
    first = [files.read_bytes(url) for url in urls]
    files.remove(run.part(FOLDER, 2, "json"))
    files.remove(run.part(FOLDER, 2))
    drive(run, transform(step_of(run)), parts[::-1])
    assert [files.read_bytes(url) for url in urls] == first
    assert not files.exists(run.path(FOLDER, "work"))

    for index in range(4):  # where all verdicts stand, nothing is compared
        files.remove(run.part("score", index, "json"))
        files.remove(run.part("score/annotated", index, "npz"))
    drive(run, transform(step_of(run)), parts)
    assert [files.read_bytes(url) for url in urls] == first


def test_a_pool_of_which_nothing_is_left_has_no_duplicates(run: Run) -> None:
    parts = lay_scored(run)
    drive(run, transform(step_of(run, Rule(column="clip_score", min=2))), parts)
    assert rows_of(run, "score", "uid") == []
    assert {survivor for _, survivor, _ in verdicts_of(run)} == {None}
    assert len(gone(run, Stage.SCORE, 4)) == N - 1


def test_clusters_are_taken_together_up_to_what_a_worker_holds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(semantic, "_ROWS", 10)
    assert list(plan_groups(np.array([3, 0, 7, 1, 25, 0, 4, 6]))) == [
        (0, 3),
        (3, 4),
        (4, 5),
        (5, 8),
    ]
    assert list(plan_groups(np.array([0, 0]))) == []
    assert list(plan_groups(np.zeros(0, np.int64))) == []


def test_the_number_of_clusters_follows_the_pairs() -> None:
    step = step_of(Run("/nowhere"), clusters=None)
    assert [step.centroids_for(n) for n in (1, 8_800, 100_000, 440_000_000)] == [1, 1, 11, 50_000]
    assert replace(step, clusters=7).centroids_for(100_000) == 7


def test_rows_with_one_uid_are_told_apart(run: Run) -> None:
    """Without dedup a pool may hold a pair twice."""
    image = np.array([[1, 0], [1, 0], [0, 1]], np.float16)
    rows = [{"uid": uid_of(i), "clip_score": 0.5} for i in (1, 1, 2)]
    with files.atomic_write(run.part("score/annotated", 0, "npz")) as file:
        np.savez(file, uid=np.array([row["uid"] for row in rows], "S32"), b32_img=image)
    lay(run, "score/annotated", [rows], schema.SCORED)
    parts = lay(run, "dedup", [rows], schema.after(Stage.DEDUP, enabled=ENABLED))
    drive(run, transform(step_of(run, clusters=1)), parts)
    assert verdicts_of(run) == [
        (uid_of(1), None, None), (uid_of(1), uid_of(1), pytest.approx(1.0)), (uid_of(2), None, None),
    ]  # fmt: skip
