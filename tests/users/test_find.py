"""Pairs are looked for by a text or an image; what is found is what stands, and its story is true."""

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow.parquet as pq
import pytest

from curate import files
from curate.config import file as config_file
from curate.files import shipped
from curate.finding import index
from curate.finding.map import draw_map
from curate.finding.query import embed_text
from curate.finding.search import Search, search
from curate.finished.explain import stories
from curate.ops.selection.uids import open_subset
from curate.rundir.directory import Run
from tests.store import PROTOCOL, counted_store
from tests.users.runs import document, interrupted, moved, pairs, refused, well

PICTURES = shipped("pipelines/demo/pool/images")
SEARCHES = {
    "a giraffe": ["0041"],
    "a juicy red strawberry": ["0069"],
    "a teddy bear": ["0063"],
    "an ice cream cone": ["0029", "0171", "0308", "0363"],
    "traffic lights": ["0089"],
    "two red dice": ["0028"],
    "a violin": ["0062", "0342"],
    "a birthday present with a bow": ["0111"],
    "a slice of pizza": ["0044"],
    "a bunch of bananas": ["0236"],
    "a lighthouse": ["0202"],
    "a fire engine": ["0266"],
    "a halloween pumpkin": ["0348"],
    "the planet saturn with its rings": ["0368"],
    "a decorated christmas tree": ["0369"],
    "the eiffel tower": ["0418"],
    "a black and white cat": ["0344"],
    "a sad monkey face": ["0182"],
    "a toadstool, red with white spots": ["0179"],
    "a light bulb": ["0145", "0225"],
}
"""What a person would type who wants to see these pictures of the demo, and has not read captions."""

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, undrawn: None) -> Path:
    """The demo, with embeddings."""
    run = tmp_path_factory.mktemp("find") / "demo"
    well("demo", "--out", str(run), "--set", "score.embeddings=true")
    return run


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    """A copy of it that is at home where it is."""
    return moved(made, tmp_path / "run")


def found(run: Path, *arguments: str) -> list[dict[str, Any]]:
    """What `curate find` prints as JSON."""
    rows: list[dict[str, Any]] = json.loads(well("find", str(run), *arguments, "--json"))
    return rows


def indexes(run: Path) -> list[Path]:
    return sorted(run.glob("annotated/score/*.faiss"))


def stored(run: Path) -> Iterator[tuple[str, Any, Any]]:
    """uid, embedding of the image and of the caption of each scored pair."""
    for path in sorted(run.glob("annotated/score/*.npz")):
        with np.load(path) as all_:
            if all_["clip_img"].shape[1]:
                uids = all_["uid"].astype(str).tolist()
                yield from zip(uids, all_["clip_img"], all_["clip_txt"], strict=True)


def test_twenty_texts_find_their_pictures(made: Path) -> None:
    """11 of 20 by images alone, since the shipped model is small; 16 where captions count as well."""
    at = Search(Run.at(str(made)))

    def hits(by: Any) -> int:
        n = 0
        for text, names in SEARCHES.items():
            urls = [str(one.url) for one in at.nearest(text=text, k=5, by=by)]
            n += any(f"/{name}." in url for name in names for url in urls)
        return n

    assert hits("image") >= 11
    assert hits("both") >= 15


def test_what_is_found_is_the_nearest_and_its_story_is_that_of_explain(made: Path) -> None:
    rows = found(made, "a dog on a leash", "-k", "40")
    assert {row["verdict"] for row in rows} == {"kept", "dropped"}
    at = Search(Run.at(str(made)))
    query = embed_text(at.embeddings.scorer, "a dog on a leash")
    exact = sorted(
        ((float(query @ image.astype(np.float32)), uid) for uid, image, _ in stored(made)),
        reverse=True,
    )[:40]
    assert [row["uid"] for row in rows] == [uid for _, uid in exact]
    assert np.allclose([row["similarity"] for row in rows], [x for x, _ in exact], atol=2e-3)
    shards = {row["uid"]: row["key"] for row in pairs(made)}
    for row in rows[:12]:
        (story,) = stories(Run.at(str(made)), row["uid"])
        last = story.chapters[-1]
        assert (row["url"], row["caption"]) == (story.url, story.caption)
        if row["verdict"] == "kept":
            assert last.found == {"shard": row["shard"], "key": row["key"]}
            assert shards[row["uid"]] == row["key"]
        else:
            assert [last.verdict, last.stage, last.reason, last.value] == [
                row[name] for name in ("verdict", "stage", "reason", "value")
            ]
            assert row["uid"] not in shards


def test_kept_and_dropped_ones_share_out_all(made: Path) -> None:
    all_ = [row["uid"] for row in found(made, "an arrow", "--all", "-k", "1000")]
    kept = [row["uid"] for row in found(made, "an arrow", "--kept", "-k", "1000")]
    dropped = [row["uid"] for row in found(made, "an arrow", "--dropped", "-k", "1000")]
    assert sorted(kept) == sorted(row["uid"] for row in pairs(made))
    assert sorted([*kept, *dropped]) == sorted(all_) == sorted(uid for uid, *_ in stored(made))
    few = [row["uid"] for row in found(made, "an arrow", "--dropped", "-k", "9")]
    assert few == dropped[:9]


def test_by_an_image(made: Path) -> None:
    picture = PICTURES / "0308.jpg"
    first, *others = found(made, "--image", str(picture), "-k", "5")
    assert first["url"].endswith("/0308.jpg")
    assert first["similarity"] > 0.99 > others[0]["similarity"]
    by_caption = found(made, "--image", str(picture), "-k", "5", "--by", "caption")
    assert any("Ice Cream" in row["caption"] for row in by_caption)
    (row,) = search(Run.at(str(made)), image=picture.read_bytes(), k=1)
    assert row.uid == first["uid"]


def test_the_table_and_both_lists_of_uids(made: Path, tmp_path: Path) -> None:
    said = well(
        "find", str(made), "ice cream", "-k", "3", "--export", str(tmp_path / "uids.txt")
    ).splitlines()
    rows = found(made, "ice cream", "-k", "3", "--export", str(tmp_path / "uids.npy"))
    assert said[0].split()[:3] == ["near", "clip_score", "verdict"]
    for line, row in zip(said[1:4], rows, strict=True):
        assert row["uid"] in line
        assert f"{row['similarity']:.3f}" in line
        assert (row["shard"] or row["reason"].removeprefix("rule:")) in line
    uids = [row["uid"] for row in rows]
    assert (tmp_path / "uids.txt").read_text().split() == uids
    listed = [
        f"{upper:016x}{lower:016x}" for upper, lower in open_subset(str(tmp_path / "uids.npy"))
    ]
    assert listed == sorted(uids)


def test_revoked_pairs_are_in_no_index(run: Path, tmp_path: Path) -> None:
    """Nor in one that a stop leaves; what `find` wrote is what `revoke` takes."""
    gone = [row["uid"] for row in found(run, "ice cream", "-k", "3", "--by", "both")]
    well("find", str(run), "ice cream", "-k", "3", "--by", "both", "--export", f"{tmp_path}/list")
    before = indexes(run)
    assert len(before) == 2
    assert [faiss.read_index(str(path)).ntotal for path in before] == [390, 390]
    interrupted("revoke", str(run), "--list", f"{tmp_path}/list", after="score/part-")
    assert not indexes(run)
    assert "interrupted" in refused("find", str(run), "ice cream")
    well("revoke", str(run))
    rows = found(run, "ice cream", "-k", "1000", "--by", "both")
    assert not {row["uid"] for row in rows}.intersection(gone)
    assert len(rows) == 390 - len(gone)
    assert {path.name for path in indexes(run)}.isdisjoint(path.name for path in before)
    assert [faiss.read_index(str(path)).ntotal for path in indexes(run)] == [390 - len(gone)] * 2


def test_a_rebalanced_run_finds_in_the_index_of_its_source(made: Path, tmp_path: Path) -> None:
    derived = tmp_path / "t9"
    well("rebalance", str(made), "--out", str(derived), "--t", "9")
    rows = found(derived, "an arrow", "--kept", "-k", "1000")
    assert sorted(row["uid"] for row in rows) == sorted(row["uid"] for row in pairs(derived))
    assert len(rows) > len(pairs(made))
    assert indexes(made)
    assert not indexes(derived)


def test_a_run_without_embeddings_gets_them_and_grows(tmp_path: Path) -> None:
    """By the command that is told; pairs that came since are found, and a stop leaves no index."""
    pool = shipped("pipelines/demo/pool/pool.jsonl").read_text().splitlines()
    (tmp_path / "0.jsonl").write_text("\n".join(pool[:8]) + "\n")
    run, out = tmp_path / "run", tmp_path / "out"
    again = "demo", "--out", str(run), "--set", f"input.paths={tmp_path}/*.jsonl"
    well(*again, "--set", "balance=null")
    told = refused("index", str(run), "--format", "faiss", "--out", str(out))
    assert not out.exists()
    well(*shlex.split(told.partition("by: curate ")[2]))
    interrupted("find", str(run), "an arrow", after=".faiss")
    assert not indexes(run)
    before = found(run, "an arrow")
    (was,) = indexes(run)
    (tmp_path / "1.jsonl").write_text("\n".join(pool[8:14]) + "\n")
    well(*again, "--set", "balance=null", "--set", "score.embeddings=true")
    after = found(run, "an arrow")
    assert {row["uid"] for row in before} < {row["uid"] for row in after}
    assert indexes(run) != [was]


def test_a_run_in_a_store(made: Path) -> None:
    """Is searched there as here; its second search reads few vectors, and writes nothing."""
    with counted_store() as requests:
        for path in made.rglob("*"):
            if path.is_file() and path.suffix != ".faiss":
                url = f"{PROTOCOL}://b/demo/{path.relative_to(made)}"
                files.write_bytes(url, path.read_bytes())
        run = Run.at(f"{PROTOCOL}://b/demo")
        there = search(run, text="an arrow", k=9)
        assert there == search(Run.at(str(made)), text="an arrow", k=9)
        requests.clear()
        assert search(run, text="a dog", k=3)
        assert not [path for kind, path in requests if kind == "write"]
        assert not [path for kind, path in requests if kind == "read" and path.endswith(".npz")]


def test_an_index_is_built_once(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found(made, "an arrow")
    before = [path.stat().st_mtime_ns for path in indexes(made)]
    monkeypatch.setattr(index, "build", None)
    found(made, "a dog")
    assert [path.stat().st_mtime_ns for path in indexes(made)] == before


def test_what_cannot_be_found_is_told_in_a_line(small: Path, made: Path, tmp_path: Path) -> None:
    told = refused("find", str(small), "a dog")
    assert "no embeddings of its images are stored; store them by: curate run" in told
    assert "embeddings: true" in told
    assert "give a text to look for" in refused("find", str(made))
    assert "give a text to look for" in refused("find", str(made), " ")
    assert "not both" in refused("find", str(made), "a dog", "--image", "x.jpg")
    assert "one of --kept, --dropped and --all" in refused(
        "find", str(made), "a dog", "--kept", "--all"
    )
    assert "-k 0: expected 1 or more" in refused("find", str(made), "a dog", "-k", "0")
    assert f"{tmp_path}/no.jpg: no such file" in refused(
        "find", str(made), "--image", f"{tmp_path}/no.jpg"
    )
    (tmp_path / "no.jpg").write_text("no image")
    told = refused("find", str(made), "--image", f"{tmp_path}/no.jpg")
    assert f"--image {tmp_path}/no.jpg: it is no image" in told


def test_an_index_for_faiss_and_tables_of_parquet(made: Path, tmp_path: Path) -> None:
    for kind in ("faiss", "parquet", "clip-retrieval"):
        well("index", str(made), "--format", kind, "--out", str(tmp_path / kind))
    well("index", str(made), "--format", "parquet", "--kept", "--out", str(tmp_path / "kept"))
    (first, *_) = found(made, "a violin", "-k", "1")
    at = Search(Run.at(str(made)))
    query = embed_text(at.embeddings.scorer, "a violin")[None]
    ids = pq.read_table(tmp_path / "faiss/ids.parquet")
    theirs = faiss.read_index(str(tmp_path / "faiss/image.index"))
    assert theirs.ntotal == len(ids) == 390
    assert ids["uid"][int(theirs.search(query, 1)[1][0, 0])].as_py() == first["uid"]
    table = pq.read_table(tmp_path / "parquet")
    vectors = np.stack(table["image_embedding"].to_pylist())
    assert table["uid"][int((vectors @ query[0]).argmax())].as_py() == first["uid"]
    kept = pq.read_table(tmp_path / "kept")
    assert set(kept["verdict"].to_pylist()) == {"kept"}
    assert sorted(kept["uid"].to_pylist()) == sorted(row["uid"] for row in pairs(made))
    folder = tmp_path / "clip-retrieval"
    assert np.load(folder / "img_emb/img_emb_0.npy").shape == (390, 256)
    assert np.load(folder / "text_emb/text_emb_0.npy").dtype == np.float16
    assert pq.read_table(folder / "metadata/metadata_0.parquet")["uid"].to_pylist() == [
        uid for uid, *_ in stored(made)
    ]
    assert "is not empty" in refused("index", str(made), "--format", "faiss", "--out", str(folder))


def test_the_map_tells_what_became_of_each_cluster(made: Path, small: Path) -> None:
    drawn = document(made / "report/report.json")["map"]
    scores = dict(_scores(made))
    kept = {row["uid"] for row in pairs(made)}
    assert [drawn["pairs"], drawn["scored"], drawn["kept"]] == [390, 390, len(kept)]
    concepts = drawn["concepts"]
    assert sum(one["pairs"] for one in concepts) == 390
    assert all(one["kept"] + sum(one["left"].values()) == one["pairs"] for one in concepts)
    mean = sum(one["score"] * one["pairs"] for one in concepts) / 390
    assert mean == pytest.approx(sum(scores.values()) / 390, abs=1e-3)
    shares = [one["kept"] / one["pairs"] for one in concepts]
    assert shares == sorted(shares, reverse=True)
    for one in concepts:
        for example in one["examples"]:
            assert (example["uid"] in kept) == (not example["reason"])
    assert any("flag" in one["words"] for one in concepts)
    page = (made / "report/index.html").read_text()
    assert page.count('<div class="concept">') == len(concepts)
    assert document(small / "report/report.json")["map"] is None
    assert 'id="map"' not in (small / "report/index.html").read_text()


def test_the_map_is_the_same_on_any_number_of_processors(made: Path) -> None:
    run = Run.at(str(made))
    config = config_file.load(run.path("config.yaml"))
    was = faiss.omp_get_max_threads()
    drawn = []
    for threads in (1, 3):
        faiss.omp_set_num_threads(threads)
        drawn.append(draw_map(run, config))
    faiss.omp_set_num_threads(was)
    assert drawn[0] == drawn[1]


def _scores(run: Path) -> Iterator[tuple[str, float]]:
    for path in sorted(run.glob("annotated/score/*.parquet")):
        table = pq.read_table(path, columns=["uid", "clip_score"])
        yield from zip(table["uid"].to_pylist(), table["clip_score"].to_pylist(), strict=True)
