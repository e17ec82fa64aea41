"""Recipes over stored embeddings by their own commands, with the demo's pictures and small model."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.commands.demo import serve
from curate.config.file import load, recipes
from curate.ops.scores.texts import filled
from tests.users.runs import document, moved, pairs, well
from tests.users.test_prompts import SCORER, naive

URL = "http://pictures.example/"
N = 48


@pytest.fixture(scope="module")
def addresses() -> Iterator[str]:
    with serve() as found:
        yield json.dumps(found)


def pool(folder: Path, captions: list[str], *more: dict[str, str]) -> list[dict[str, str]]:
    """A pool of the demo's first pictures with these captions, by their own uids, and `more` rows."""
    names = sorted(path.name for path in Path(SCORER["model"]).parents[1].glob("pool/images/*"))
    rows = [
        {"uid": f"{i:032x}", "url": f"{URL}images/{name}", "caption": caption}
        for i, (name, caption) in enumerate(zip(names, captions, strict=False))
    ]
    rows += [row | {"uid": f"{len(rows) + i:032x}"} for i, row in enumerate(more)]
    pq.write_table(pa.Table.from_pylist(rows), folder / "pool.parquet")
    return rows


def run_of(
    name: str, folder: Path, addresses: str, *options: str, edit: tuple[str, str] = ("", "")
) -> Path:
    recipe = well("config", "--recipe", name)
    assert edit[0] in recipe
    (folder / "recipe.yaml").write_text(recipe.replace(*edit))
    well(
        "run", str(folder / "recipe.yaml"), "--out", str(folder / "run"),
        "--set", f"input.paths={folder}/pool.parquet", "--set", "input.columns.uid=uid",
        "--set", f"download.connect_to={addresses}", "--set", "part_rows=11",
        "--set", f"score.model={SCORER['model']}", "--set", f"score.pretrained={SCORER['pretrained']}",
        *options,
    )  # fmt: skip
    return folder / "run"


def scored(run: Path, *folders: str) -> dict[str, dict[str, Any]]:
    """What was found of each pair that was scored, by uid."""
    rows: dict[str, dict[str, Any]] = {}
    for folder in ("", *folders):
        for path in sorted((run / "annotated/score" / folder).glob("part-*.parquet")):
            for row in pq.read_table(path).to_pylist():
                rows.setdefault(row["uid"], {}).update(row)
    return rows


def reached(values: list[float], fraction: float) -> float:
    return sorted(values, reverse=True)[int(len(values) * fraction)]


def test_remote_sensing(addresses: str, tmp_path: Path) -> None:
    captions = [f"a satellite image of place {i}" for i in range(N)]
    captions[3:6] = ["a dog", "a satellite dish", "a map"]
    again = {"url": f"{URL}images/0001.jpg", "caption": "an aerial photo of place 0"}
    copy = {"url": f"{URL}copies/0001.jpg", "caption": "landsat"}
    pool(tmp_path, captions, again, copy)
    run = run_of("remote-sensing", tmp_path, addresses)
    dropped = pq.read_table(run / "dropped/prepare").to_pylist()
    assert Counter(row["reason"] for row in dropped) == {"rule:words": 3}
    left = pq.read_table(run / "dedup", columns=["uid"])["uid"].to_pylist()
    assert len(left) < N - 3 + 2
    assert {f"{N:032x}", f"{N + 1:032x}"} - {*left}, "one of the same picture stays"
    asked = load(str(recipes()["remote-sensing"])).scores
    remote = [
        x for prompt in asked["remote"].prompts for x in filled(asked["remote"].templates, prompt)
    ]
    cosines = naive(run, remote)
    groups = {name: naive(run, list(texts)) for name, texts in asked["view"].groups.items()}
    odds = {uid: groups["remote"][uid] - groups["other"][uid] for uid in cosines}
    assert cosines.keys() == {*left}
    lowest = reached([*cosines.values()], 0.9), reached([*odds.values()], 0.8)
    expected = {x for x in left if cosines[x] >= lowest[0] - 1e-6 and odds[x] >= lowest[1] - 1e-6}
    assert {row["uid"] for row in pairs(run)} == expected
    assert len(expected) < int(0.8 * len(left)) + 1
    shares = scored(run, "view")
    assert all(
        row["view_remote"] + row["view_other"] == pytest.approx(1) for row in shares.values()
    )
    well("verify", str(run))


def test_skyscript(addresses: str, tmp_path: Path) -> None:
    pool(tmp_path, [f"satellite image of a thing {i}" for i in range(20)])
    run = run_of("skyscript", tmp_path, addresses)
    scores = {uid: row["clip_score"] for uid, row in scored(run).items()}
    least = reached([*scores.values()], 0.3)
    assert {row["uid"] for row in pairs(run)} == {x for x, y in scores.items() if y >= least}
    assert len(pairs(run)) == 7


def test_pathology_patches(addresses: str, tmp_path: Path) -> None:
    pool(tmp_path, [f"patch {i}" for i in range(N)])
    clusters = ("--set", "score.visual_cluster.clusters=5")
    run = run_of("pathology-patches", tmp_path, addresses, *clusters)
    rows = scored(run, "tissue", "visual_cluster")
    asked = load(str(recipes()["pathology-patches"])).scores["tissue"]
    cosines = naive(run, [x for one in asked.prompts for x in filled(asked.templates, one)])
    assert {uid: row["tissue"] for uid, row in rows.items()} == pytest.approx(cosines, abs=2e-6)
    expected: set[str] = set()
    for number in {row["visual_cluster"] for row in rows.values()}:
        ours = [uid for uid, row in rows.items() if row["visual_cluster"] == number]
        expected |= {*sorted(ours, key=lambda uid: -rows[uid]["tissue"])[:4]}
    assert {row["uid"] for row in pairs(run)} == expected
    assert len(expected) < len(rows)
    held = {path.name: path.read_bytes() for path in run.glob("annotated/score/*/part-*")}
    other = moved(run, tmp_path / "other")
    edited(other / "config.yaml", "top: 4", "top: 1")
    well("run", str(other / "config.yaml"), "--force")
    assert len(pairs(other)) == len({row["visual_cluster"] for row in rows.values()})
    assert {path.name: path.read_bytes() for path in other.glob("annotated/score/*/part-*")} == held
    told = well("explain", str(other), uid := gone(other))
    assert "among the highest 1 of its visual_cluster" in told
    assert f"({rows[uid]['visual_cluster']}) on" in told, "the cut of its own cluster, and no other"
    assert " ".join(told.split()).count(" on.") == 1


def edited(path: Path, was: str, becomes: str) -> None:
    text = path.read_text()
    assert text.count(was) == 1
    path.write_text(text.replace(was, becomes))


def gone(run: Path) -> str:
    """The uid of a pair that a rule over scores dropped."""
    return str(pq.read_table(run / "dropped/score")["uid"][0].as_py())


def kept_as_released(
    order: list[str], clusters: dict[str, int], scores: dict[str, float], *, n: int
) -> set[str]:
    """The authors' choice: the rows of each cluster in steps of n, joined with the better half."""
    lists: dict[int, list[str]] = {}
    for uid in order:
        lists.setdefault(clusters[uid], []).append(uid)
    chosen = {of[i] for of in lists.values() for i in range(0, len(of), n)}
    half = reached([*scores.values()], 0.5)
    return {uid for uid in chosen if scores[uid] >= half}


def test_tldr(addresses: str, tmp_path: Path) -> None:
    rows = pool(tmp_path, [f"caption {i}" for i in range(N)])
    (tmp_path / "captions").mkdir()
    made = [{"uid": row["uid"], "caption": f"made {i}"} for i, row in enumerate(rows) if i % 3]
    pq.write_table(pa.Table.from_pylist(made), tmp_path / "captions/0.parquet")
    run = run_of(
        "tldr", tmp_path, addresses, "--set", f"captions.generated.path={tmp_path}/captions",
        "--set", "score.visual_cluster={clusters: 4, whiten: 8}", edit=("every: 5", "every: 3"),
    )  # fmt: skip
    found = scored(run, "visual_cluster", "cluster_rank")
    order = [row["uid"] for row in rows if row["uid"] in found]
    clusters = {uid: row["visual_cluster"] for uid, row in found.items()}
    scores = {uid: row["clip_score"] for uid, row in found.items()}
    assert len({*clusters.values()}) == 4
    expected = kept_as_released(order, clusters, scores, n=3)
    assert {row["uid"]: row["caption"] for row in pairs(run)} == {
        uid: f"caption {i}" + (f"; made {i}" if i % 3 else "")
        for uid in expected
        for i in (int(uid, 16),)
    }
    images, texts = vectors(run)
    own = (images.astype(np.float32) * texts.astype(np.float32)).sum(axis=1)
    assert [scores[uid] for uid in order] == pytest.approx(own.tolist(), abs=1e-3), (
        "of the original"
    )
    again = moved(run, tmp_path / "again")
    edited(again / "config.yaml", "every: 3", "every: 2")
    well("run", str(again / "config.yaml"), "--force")
    expected = kept_as_released(order, clusters, scores, n=2)
    assert {row["uid"] for row in pairs(again)} == expected
    assert document(again / "run.json")["state"] == "complete"
    (tmp_path / "list.txt").write_text(rows[int(min(expected), 16)]["url"] + "\n")
    well("revoke", str(again), "--list", str(tmp_path / "list.txt"))
    assert {row["uid"] for row in pairs(again)} == expected - {min(expected)}
    assert min(expected) not in scored(again, "visual_cluster", "cluster_rank")


def vectors(run: Path) -> tuple[Any, Any]:
    """The stored embeddings of images and texts, in the order of the pool."""
    stored = [np.load(path) for path in sorted((run / "annotated/score").glob("part-*.npz"))]
    return tuple(
        np.concatenate([x for one in stored for name, x in one.items() if name.endswith(ending)])
        for ending in ("_img", "_txt")
    )  # type: ignore[return-value]
