"""ALIP's weights of two captions: from the pool and a table to shards, a loader and the report."""

import json
from math import exp, fsum
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import webdataset as wds

from curate.commands.demo import serve
from curate.loading import draw_caption, weigh_captions
from curate.ops.scores.clip import ClipModel
from curate.ops.scores.pairs import Preparer, Scorer
from tests.users.runs import document, interrupted, moved, pairs, refused, well
from tests.users.test_captions import (
    KEPT,
    MODEL,
    NUMBERS,
    OWN,
    POOL,
    RE,
    SCORER,
    captions,
    samples,
    uid,
    written,
)

Pair = dict[str, Any]


def alip(folder: Path, *options: str) -> list[str]:
    """The options of a run with the gates."""
    return [
        *written(folder), "--set", f"score={{{MODEL}, embeddings: true}}",
        "--set", f"caption.alip={{of: {RE}}}", *options,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("weights")


@pytest.fixture(scope="module")
def made(home: Path) -> Path:
    well("demo", "--out", str(home / "run"), *alip(home))
    return home / "run"


def expected(run: Path) -> dict[int, list[float | None]]:
    """The weights of the captions in the shards by the definition, from the model itself."""
    load = ClipModel(f"{SCORER}/curate-mini.json", f"{SCORER}/curate-mini.safetensors").load
    scorer: Scorer = load()
    images: dict[str, Any] = {}
    for path in sorted(run.glob("annotated/score/part-*.npz")):
        with np.load(path) as held:
            (image,) = (held[x] for x in held.files if x.endswith("_img"))
            images |= dict(
                zip(held["uid"].astype(str).tolist(), image.astype(np.float64), strict=True)
            )
    cosines = {}
    for number, known in KEPT.items():
        sources = [source for source, _ in known]
        if sources[0] != OWN or RE not in sources:
            continue
        texts = [known[0][1], known[sources.index(RE)][1]]
        text, caption = scorer(scorer.collate([], texts)).text.astype(np.float16).astype(np.float64)
        image = images[uid(number)]
        cosines[number] = float(text @ caption), float(image @ text), float(image @ caption)
    means = [fsum(x) / len(cosines) for x in zip(*cosines.values(), strict=True)]
    found: dict[int, list[float | None]] = {}
    for number, known in KEPT.items():
        found[number] = [None] * len(known)
        if number in cosines:
            beyond = [x - mean for x, mean in zip(cosines[number], means, strict=True)]
            sample = min(1.0, exp(2 * beyond[0]))
            of = [1.0, 1.0] if sample == 1 else [exp(2 * x) for x in beyond[1:]]
            place = [source for source, _ in known].index(RE)
            found[number][0], found[number][place] = sample * of[0], sample * of[1]
    return found


def recipe_run(name: str, source: str, folder: Path) -> Path:
    """The run of a recipe's own command over the pool above, with the demo's pictures and model."""
    run = folder / "run"
    written(folder)
    (folder / "captions").mkdir()
    (folder / "recap.parquet").rename(folder / "captions/0.parquet")
    (folder / "recipe.yaml").write_text(well("config", "--recipe", name))
    model = [
        "--set", f"score.model={SCORER}/curate-mini.json",
        "--set", f"score.pretrained={SCORER}/curate-mini.safetensors",
    ]  # fmt: skip
    with serve() as addresses:
        well(
            "run", str(folder / "recipe.yaml"), "--out", str(run),
            "--set", f"input.paths={folder}/pool.jsonl",
            "--set", f"captions.{source}.path={folder}/captions",
            "--set", f"download.connect_to={json.dumps(addresses)}",
            *(model if name == "alip-weights" else ()),
        )  # fmt: skip
    return run


def test_the_recipe_of_alip(tmp_path: Path) -> None:
    run = recipe_run("alip-weights", "ofa", tmp_path)
    scored = {}
    for path in sorted(run.glob("annotated/score/part-*.parquet")):
        for row in pq.read_table(path).to_pylist():
            agreement, scores = row["caption_agreement"], row["caption_scores"]
            assert agreement[0] is None or agreement[0] == pytest.approx(1, abs=2e-3)
            if len(scores) > 1 and scores[0] is not None:
                scored[row["uid"]] = agreement[1], scores[0], scores[1]
    means = [fsum(x) / len(scored) for x in zip(*scored.values(), strict=True)]
    assert len(scored) == 5
    for row in pairs(run):
        expected: list[float | None] = [None] * len(row["captions"])
        if row["uid"] in scored:
            beyond = [x - mean for x, mean in zip(scored[row["uid"]], means, strict=True)]
            sample = min(1.0, exp(2 * beyond[0]))
            expected[0] = sample * (1 if sample == 1 else exp(2 * beyond[1]))
            expected[1] = sample * (1 if sample == 1 else exp(2 * beyond[2]))
        assert row["caption_weights"] == pytest.approx(expected, abs=1e-6)
        assert row["caption"] == row["captions"][0]["caption"]
    well("verify", str(run))


def test_the_recipe_of_laclip(tmp_path: Path) -> None:
    run = recipe_run("laclip-mix", "rewritten", tmp_path)
    found = {NUMBERS[row["uid"]]: row for row in pairs(run)}
    texts = [x["caption"] for x in found[7]["captions"]]
    assert texts == ["an orange cat", "an orange and a cat", "orange"]
    assert [x["weight"] for x in found[7]["captions"]] == pytest.approx([0.2, 0.4, 0.4])
    take = draw_caption("laclip")
    taken = {take.of(found[7], epoch=epoch) for epoch in range(40)}
    assert taken == {"an orange cat", "an orange and a cat"}, "one of a single word is never taken"
    assert {take.of(found[6], epoch=epoch) for epoch in range(9)} == {"cat of France"}


def weights(run: Path) -> dict[int, list[float | None]]:
    return {NUMBERS[row["uid"]]: row["caption_weights"] for row in pairs(run)}


def test_weights_are_alips_of_the_pool(made: Path) -> None:
    assert captions(made) == KEPT
    asked, known = expected(made), weights(made)
    assert [n for n, x in asked.items() if any(y is not None for y in x)] == [0, 5, 7]
    assert min(x for row in asked.values() for x in row if x is not None) < 1
    for number, row in asked.items():
        assert known[number] == pytest.approx(row, abs=2e-4), number
    for _, pair in samples(made):
        assert pair["caption_weights"] == pytest.approx(known[NUMBERS[pair["uid"]]])
        assert len(pair["caption_weights"]) == len(pair["captions"])
    well("verify", str(made))


def test_a_loader_has_both_captions_and_their_weights(made: Path) -> None:
    urls = [str(path) for path in sorted(made.glob("shards/*.tar"))]
    seen: dict[bool, dict[int, Any]] = {}
    for decoded in (False, True):
        pipe = wds.WebDataset(urls, shardshuffle=False)
        pipe = pipe.decode() if decoded else pipe
        pipe = pipe.compose(weigh_captions())
        pipe = pipe if decoded else pipe.decode()
        found = list(pipe.to_tuple("json", "txt", "caption.txt", "weights.json"))
        seen[decoded] = {NUMBERS[row["uid"]]: tuple(rest) for row, *rest in found}
    assert seen[True] == seen[False]
    given = weights(made)
    text, caption, of = seen[True][0]
    assert (text, caption) == ("a dog", "a footprint of a dog on sand"), "the first of several"
    assert of == pytest.approx(given[0][:2])
    assert seen[True][1] == ("a hotel for cats", "a hotel for cats", [0.0, 1.0])
    assert seen[True][2] == ("a blue dog on a button", "a blue dog on a button", [0.0, 1.0])
    assert seen[True][4] == ("pen and cat", "pen and cat", [1.0, 0.0])
    assert seen[True][6] == ("cat of France", "cat of France", [1.0, 0.0])
    with pytest.raises(Exception, match="no caption_weights in its json"):
        weigh_captions().of({"key": "7", "captions": [{"source": OWN, "caption": "a"}]})


def test_load_dataset_reads_the_weights(made: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    found = datasets.load_dataset(str(made / "shards"), cache_dir=str(tmp_path))["train"]
    assert {NUMBERS[x["uid"]]: x["caption_weights"] for x in found["json"]} == weights(made)


def test_the_report_and_explain_tell_what_each_source_counts(made: Path) -> None:
    given = weights(made)
    found = {x["source"]: x["loss"] for x in document(made / "report/report.json")["sources"]}
    judged = [given[n] for n in (0, 5, 7)]
    assert found[OWN] == pytest.approx(np.mean([x[0] for x in judged]), abs=1e-5)
    assert found[RE] == pytest.approx(np.mean([x[1] for x in judged]), abs=1e-5)
    assert found["title"] is None
    assert "weight in the loss" in (made / "report/index.html").read_text()
    told = well("explain", str(made), POOL[0]["url"])
    assert "caption_weights" in told
    assert "caption_agreement" not in told


def test_other_gammas_score_nothing_again_and_a_plan_says_so(
    made: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = moved(made, tmp_path / "run")
    options = alip(home, "--set", "caption.alip.gamma_pair=1", "--force")
    decoded = watched(monkeypatch)
    well("demo", "--out", str(run), *options)
    assert not decoded
    other, was = weights(run), weights(made)
    assert other != was
    assert other.keys() == was.keys()
    well("demo", "--out", str(run), *alip(home), "--force")
    assert weights(run) == was


def watched(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The images that are decoded for the model from now on."""
    decoded: list[bytes] = []
    was = Preparer.prepare

    def seen(preparer: Preparer, content: bytes) -> Any:
        decoded.append(content)
        return was(preparer, content)

    monkeypatch.setattr(Preparer, "prepare", seen)
    return decoded


def test_gates_come_to_a_finished_run_without_its_images(
    made: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    plain = [*alip(home), "--set", "caption.alip=null"]
    well("demo", "--out", str(run), *plain)
    (before,) = {tuple(sorted(row)) for row in pairs(run)}
    assert "caption_weights" not in before
    assert not list(run.glob("annotated/score/caption_weights"))
    decoded = watched(monkeypatch)
    well("demo", "--out", str(run), *alip(home), "--force")
    assert not decoded, "the embeddings of images are taken over"
    assert pairs(run) == pairs(made)
    well("demo", "--out", str(run), *plain, "--force")
    assert not decoded
    assert {tuple(sorted(row)) for row in pairs(run)} == {before}


def test_several_workers_and_a_stop_in_the_middle_write_the_same(
    made: Path, home: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    after = "annotated/score/caption_weights/part-00001.parquet"
    interrupted("demo", "--out", str(run), *alip(home), after=after)
    well("demo", "--out", str(run), *alip(home), "--set", "beam.workers=2")
    for name in ("00000.tar", "00000.parquet", "00001.tar"):
        assert (run / "shards" / name).read_bytes() == (made / "shards" / name).read_bytes()


def test_a_revoked_pair_takes_its_weights_along(made: Path, tmp_path: Path) -> None:
    run = moved(made, tmp_path / "run")
    (tmp_path / "revoked.txt").write_text(uid(5) + "\n")
    well("revoke", str(run), "--list", str(tmp_path / "revoked.txt"))
    was = weights(made)
    del was[5]
    assert weights(run) == was, "what was decided stays decided"
    for path in run.glob("annotated/score/caption_weights/*.parquet"):
        assert uid(5) not in pq.read_table(path)["uid"].to_pylist()
    well("verify", str(run))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("caption.alip={of: ofa}", "caption.alip.of: no source 'ofa'"),
        ("caption.alip={of: original}", "caption.alip.of: no source 'original'"),
        ("score=null", "caption.alip weighs by a model's cosines: set score.model"),
        ("captions.lent={duplicates: true}", "captions of duplicates (captions.lent) leave pairs"),
        ("select=[{column: caption_weights, min: 0.5}]", "caption_weights"),
    ],
)
def test_refused_before_work(home: Path, tmp_path: Path, change: str, told: str) -> None:
    options = alip(home, "--set", "dedup.enabled=true", "--set", change)
    assert told in refused("demo", "--out", str(tmp_path / "run"), *options)
    assert not (tmp_path / "run").exists()
