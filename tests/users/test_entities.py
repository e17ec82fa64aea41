"""`kind: entities` and `balance.on`: pairs balanced by what their pictures show."""

import json
from collections import Counter
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pyarrow.parquet as pq
import pytest
import torch

import curate as library
from curate.config.file import recipes
from curate.files import shipped
from curate.loading import Sampler
from tests.browse.served import serving
from tests.users.runs import document, moved, pairs, refused, small_run, well

SCORER = {key: str(shipped(f"pipelines/demo/scorer/curate-mini.{ending}"))
          for key, ending in (("model", "json"), ("pretrained", "safetensors"))}  # fmt: skip
SCORE = ("--set", f"score={{model: {SCORER['model']}, pretrained: {SCORER['pretrained']},"
         " embeddings: true}")  # fmt: skip
LEAST = 0.2
WORDS = ("animal", "arrow", "bird", "computer", "flag", "flower", "food", "fruit", "house", "icon",
         "logo", "man", "sign", "symbol", "tree", "woman")  # fmt: skip


def asked(folder: Path, *, least: float = LEAST) -> tuple[str, ...]:
    """The options of a run that is balanced by what images show of a list of its own."""
    (folder / "en.txt").write_text("\n".join(WORDS) + "\n")
    return (
        *SCORE, "--set", f"prepare.metadata.en={folder / 'en.txt'}",
        "--set", f"scores.seen={{kind: entities, min_similarity: {least}}}",
        "--set", "balance.on=seen",
    )  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("entities")
    return small_run(folder, *asked(folder))


def rows(run: Path, folder: str) -> list[dict[str, Any]]:
    return [x for path in sorted((run / folder).glob("part-*.parquet"))
            for x in pq.read_table(path).to_pylist()]  # fmt: skip


def texts() -> torch.Tensor:
    """The unit vectors of the words, as open_clip itself makes them."""
    open_clip.add_model_config(SCORER["model"])
    model = open_clip.create_model("curate-mini", pretrained=SCORER["pretrained"]).eval()
    with torch.inference_mode():
        found = model.encode_text(open_clip.get_tokenizer("curate-mini")([*WORDS]))
    return torch.nn.functional.normalize(found, dim=-1)


def test_the_entries_that_each_image_shows(run: Path) -> None:
    vectors = texts()
    images: dict[str, torch.Tensor] = {}
    for path in sorted((run / "annotated/score").glob("part-*.npz")):
        stored = np.load(path)
        rows_of = torch.from_numpy(next(stored[x] for x in stored if x.endswith("_img"))).float()
        images |= dict(zip(stored["uid"].astype(str).tolist(), rows_of, strict=True))
    matches = {row["uid"]: row["matches"] for row in rows(run, "dedup")}
    found = rows(run, "annotated/score/seen")
    assert [row["uid"] for row in found] == [*matches]
    n = shown = 0
    for row in found:
        ids, image = matches[row["uid"]], images[row["uid"]]
        cosines = torch.nn.functional.cosine_similarity(image[None], vectors[ids]).tolist()
        assert row["seen_similarity"] == pytest.approx(cosines, abs=2e-4)  # of half precision
        assert row["seen"] == [
            x for x, cosine in zip(ids, row["seen_similarity"], strict=True) if cosine >= LEAST
        ]
        n, shown = n + len(ids), shown + len(row["seen"])
    assert 10 < shown < n - 5


def test_pairs_are_counted_and_kept_by_what_is_seen(run: Path) -> None:
    scored = rows(run, "score")
    counts = Counter(x for row in scored for x in row["seen"])
    mentions = Counter(x for row in scored for x in row["matches"])
    kept = rows(run, "balance")
    t = document(run / "records/balance/thresholds.json")["en"]["t"]
    expected = {
        row["uid"]: 1 - prod(1 - t / max(counts[x], t) for x in row["seen"]) for row in scored
    }
    assert {row["uid"]: row["keep_probability"] for row in kept} == pytest.approx(
        {row["uid"]: expected[row["uid"]] for row in kept}, rel=1e-12
    )
    assert all(row["seen"] for row in kept)
    left = rows(run, "dropped/balance")
    assert {row["uid"] for row in left} >= {row["uid"] for row in scored if not row["seen"]}
    of_kept = Counter(x for row in kept for x in row["seen"])
    found = pq.read_table(run / "entries/entries.parquet").to_pylist()
    assert [(x["entry"], x["count"], x["mentioned"], x["kept"]) for x in found] == [
        (word, counts[i], mentions[i], of_kept[i]) for i, word in enumerate(WORDS)
    ]
    assert sum(mentions.values()) > sum(counts.values())


def test_shards_hold_both_lists_in_their_tables_alone(run: Path) -> None:
    (first, *_) = pairs(run)
    assert {"matches", "seen"} <= first.keys()
    assert set(first["seen"]) <= set(first["matches"])


def output_of(run: Path) -> dict[str, bytes]:
    """All that is made of pairs."""
    folders = ("annotated/score/seen", "score", "balance", "entries", "shards")
    found = (path for x in folders for path in sorted((run / x).rglob("*")))
    kinds = (".parquet", ".npy", ".tar")
    return {str(x.relative_to(run)): x.read_bytes() for x in found if x.suffix in kinds}


def test_two_workers_give_the_bytes_of_one(run: Path, tmp_path: Path) -> None:
    other = small_run(tmp_path, *asked(tmp_path), "--workers", "2")
    assert output_of(other) == output_of(run)


def test_another_threshold_looks_at_no_model(run: Path, tmp_path: Path) -> None:
    again, anew = moved(run, tmp_path / "run"), tmp_path / "anew"
    anew.mkdir()
    before = {x: x.stat().st_mtime_ns for x in (*again.rglob("part-*.npz"), *again.rglob("*.npy"))}
    assert any(x.suffix == ".npy" for x in before)
    well("run", str(again / "config.yaml"), "--set", "scores.seen.min_similarity=0.3", "--force")
    assert {x: x.stat().st_mtime_ns for x in before} == before
    fresh = small_run(anew, *asked(anew, least=0.3))
    assert output_of(again) == output_of(fresh)


def test_another_list_is_embedded_anew_and_the_old_vectors_go(run: Path, tmp_path: Path) -> None:
    again = moved(run, tmp_path / "run")
    (old,) = (again / "annotated/score/seen/texts").iterdir()
    (tmp_path / "en.txt").write_text("\n".join([*WORDS, "boat"]) + "\n")
    option = f"prepare.metadata.en={tmp_path / 'en.txt'}"
    well("run", str(again / "config.yaml"), "--set", option, "--force")
    (new,) = (again / "annotated/score/seen/texts").iterdir()
    assert new.name != old.name
    assert len(np.load(new / "00000.npy")) == len(WORDS) + 1


def test_sweep_and_rebalance_count_what_the_run_counts_or_what_is_asked(
    run: Path, tmp_path: Path
) -> None:
    own = json.loads(well("sweep", str(run), "--json", "--t", "1,2"))
    scored = rows(run, "score")
    assert own["on"] == "seen"
    assert own["total"]["matches"] == sum(len(row["seen"]) for row in scored)
    others = json.loads(well("sweep", str(run), "--json", "--t", "1,2", "--on", "matches"))
    assert others["total"]["matches"] == sum(len(row["matches"]) for row in scored)
    told = refused("sweep", str(run), "--on", "sen")
    assert told == (
        f"error --on sen: {run} has no score of kind entities of that name; known: matches, seen\n"
    )
    well("rebalance", str(run), "--out", str(tmp_path / "matches"), "--t", "1", "--on", "matches")
    plain = rows(tmp_path / "matches", "balance")
    assert len(plain) == pytest.approx(others["total"]["points"][0]["pairs"], abs=12)
    found = pq.read_table(tmp_path / "matches/entries/entries.parquet").column_names
    assert "mentioned" not in found
    well("rebalance", str(run), "--out", str(tmp_path / "same"), "--t", "1")
    assert output_of(tmp_path / "same").keys() >= {"entries/entries.parquet"}
    for name, content in output_of(tmp_path / "same").items():
        assert content == (run / name).read_bytes(), name


def test_a_trainer_samples_by_what_is_seen(run: Path, tmp_path: Path) -> None:
    again = moved(run, tmp_path / "run")
    well("run", str(again / "config.yaml"), "--set", "balance.write=all", "--force")
    table = pq.read_table(sorted((again / "balance").glob("part-*.parquet")))
    sampler = Sampler(str(again / "shards"))
    kept = {row["uid"] for row in rows(run, "balance")}
    for t in (None, 1.0):
        taken = sampler.takes(table, t=t)
        assert {
            x for x, is_in in zip(table["uid"].to_pylist(), taken, strict=True) if is_in
        } == kept


def test_a_revoked_pair_leaves_the_lists_and_the_counts(run: Path, tmp_path: Path) -> None:
    again = moved(run, tmp_path / "run")
    gone = next(row for row in rows(again, "balance") if row["seen"])
    (tmp_path / "revoked.txt").write_text(gone["uid"] + "\n")
    before = pq.read_table(again / "entries/entries.parquet").to_pylist()
    well("revoke", str(again), "--list", str(tmp_path / "revoked.txt"))
    for folder in ("annotated/score/seen", "score", "balance"):
        assert gone["uid"] not in {row["uid"] for row in rows(again, folder)}
    after = pq.read_table(again / "entries/entries.parquet").to_pylist()
    for i, (old, new) in enumerate(zip(before, after, strict=True)):
        assert new == {**old, "kept": old["kept"] - (i in gone["seen"])}


def test_what_cannot_be_is_refused_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "en.txt").write_text("dog\n")
    pool = shipped("pipelines/demo/pool/pool.jsonl")
    plain = ("plan", str(shipped("pipelines/demo.yaml")), "--out", str(tmp_path / "run"),
             "--set", f"input.paths={pool}")  # fmt: skip
    seen = ("--set", "scores.seen={kind: entities, min_similarity: 0.2}")
    assert "scores.seen: entities reads embeddings: set score.model and score.embeddings: true" in (
        refused(*plain, *seen)
    )
    assert "balance.on: no score 'seen' of kind entities; known: matches" in refused(
        *plain, "--set", "balance.on=seen"
    )
    assert "`min_similarity` and kind entities go together" in refused(
        *plain, "--set", "scores.seen={kind: entities}"
    )
    assert "set prepare.metadata, an entry list to match captions with" in refused(
        *plain, *SCORE, *seen, "--set", "prepare.metadata={}", "--set", "balance=null"
    )
    assert "on: seen goes with t, p or size: wfpp goes by no entries" in refused(
        *plain, *SCORE, *seen, "--set", "balance={wfpp: {fraction: 0.5}, on: seen}"
    )
    assert "which has no {} for the text" in refused(
        *plain, "--set", "scores.seen={kind: entities, min_similarity: 0.2, templates: [a photo]}"
    )
    told = well(*plain, *SCORE, *seen, "--set", "balance.on=seen")
    assert "which entries images show (balance.on)" in " ".join(told.split())


def test_a_notebook_asks_the_same(run: Path) -> None:
    found = library.open(str(run))
    assert found.sweep([1.0], on="matches").sweep.on == "matches"


def test_explain_and_the_report_say_what_is_mentioned_and_not_seen(run: Path) -> None:
    row = next(x for x in rows(run, "balance") if x["seen"] and len(x["seen"]) < len(x["matches"]))
    story = library.open(str(run)).explain(row["uid"])[0]
    told = next(x for x in story.chapters if x.stage == "score").found
    assert "seen_similarity" not in told
    named = [one.rsplit(" ", 1)[0] for one in told["seen"].replace(" (not seen)", "").split("; ")]
    assert named == [WORDS[x] for x in row["matches"]]
    assert [x for x, one in zip(row["matches"], told["seen"].split("; "), strict=True)
            if not one.endswith(" (not seen)")] == row["seen"]  # fmt: skip

    found = pq.read_table(run / "entries/entries.parquet").to_pylist()
    sight = document(run / "report/report.json")["balance"]["sight"]
    mentioned = [x for x in found if x["mentioned"]]
    assert sight["on"] == "seen"
    assert (sight["mentions"], sight["seen"]) == (
        sum(x["mentioned"] for x in found), sum(x["count"] for x in found),
    )  # fmt: skip
    assert (sight["entries"], sight["unseen"]) == (
        len(mentioned), sum(not x["count"] for x in mentioned),
    )  # fmt: skip
    gone = [x["mentioned"] - x["count"] for x in sight["most"]]
    assert gone == sorted((d for x in found if (d := x["mentioned"] - x["count"])), reverse=True)
    page = (run / "report/index.html").read_text()
    assert "By mention and by sight" in page
    assert f"{sight['seen']:,} of the {sight['mentions']:,} matches" in page


def test_browse_marks_the_entries_that_an_image_shows(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("duckdb")
    row = next(x for x in rows(run, "balance") if x["seen"] and len(x["seen"]) < len(x["matches"]))
    with serving(run, selections=tmp_path) as served:
        (story,) = served.ask("pair", ("uid", row["uid"]))["runs"][0]["stories"]
        assert {x["entry_id"] for x in story["entries"] if x["seen"]} == set(row["seen"])
        assert {x["entry_id"] for x in story["entries"]} == set(row["matches"])


def test_the_recipe_over_pictures_of_its_own(tmp_path: Path) -> None:
    pictures = shipped("pipelines/demo/pool/images")
    lines = map(json.loads, shipped("pipelines/demo/pool/pool.jsonl").read_text().splitlines())
    some = {x["url"].rpartition("/")[2]: x for x in lines}
    told = [{**x, "image": str(pictures / name)} for name, x in some.items()
            if (pictures / name).exists()][:40]  # fmt: skip
    (tmp_path / "pool.jsonl").write_text("".join(json.dumps(x) + "\n" for x in told))
    (tmp_path / "en.txt").write_text("\n".join(WORDS) + "\n")
    well(
        "run", str(recipes()["mofi"]), "--out", str(tmp_path / "run"),
        "--set", f"input.paths={tmp_path / 'pool.jsonl'}", "--set", "input.columns.image=image",
        "--set", f"input.image_folders=[{pictures}]",
        "--set", f"prepare.metadata.en={tmp_path / 'en.txt'}", "--set", "balance.t=2",
        "--set", f"score.model={SCORER['model']}", "--set", f"score.pretrained={SCORER['pretrained']}",
    )  # fmt: skip
    kept = rows(tmp_path / "run", "balance")
    assert kept
    assert all(0 < len(x["entities"]) <= len(x["matches"]) for x in kept)
