"""The plan: how a pool is cut into parts, what makes a step stale, and what is refused at once."""

import gzip
import json
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from curate import files
from curate.config import Config, Rule, Scorer
from curate.errors import CurateError
from curate.evaluation import hash_sets
from curate.files import shipped
from curate.ops.scores.vectors import unit
from curate.ops.scores.visual import VisualClusters
from curate.ops.selection.contamination import with_embeddings
from curate.planning.assets import embedding_model
from curate.planning.digests import StepDigest
from curate.planning.inputs import pool_format
from curate.planning.plan import Plan, make_plan
from curate.planning.steps import Kind, steps_of
from curate.pool.tables import STAGED, read_slice
from curate.schema import EMBEDDING, POOL, Stage
from curate.stages import download
from curate.stages.score import model

ROWS = [{"url": f"http://x.example/{i}", "caption": f'line, "{i}"'} for i in range(10)]
MODEL = "shipped://pipelines/demo/scorer/curate-mini.json"
WEIGHTS = "shipped://pipelines/demo/scorer/curate-mini.safetensors"
NEEDED = (
    "parser no_such_parser: python -m spacy download no_such_parser"
    if find_spec("spacy")
    else "package spacy: pip install 'curate-clip[scores]'"
)


def plan(tmp_path: Path, *paths: Path, part_rows: int = 4, **keys: Any) -> Plan:
    given = {"paths": [str(path) for path in paths], **keys.pop("input", {})}
    document = {"input": given, "out": str(tmp_path / "run"), "part_rows": part_rows, **keys}
    return make_plan(Config.model_validate(document))


def parquet(path: Path, rows: list[dict[str, Any]], group: int) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=group)
    return path


def cut(made: Plan) -> list[tuple[str, int, int, bool]]:
    """File name, first row, rows and whether staged, of each part; indices are in order."""
    assert [part.index for part in made.parts] == list(range(len(made.parts)))
    return [(os.path.basename(p.path), p.start, p.rows, p.staged) for p in made.parts]


def read(made: Plan) -> list[dict[str, Any]]:
    """All rows, each part read as the first step reads it."""
    tables = []
    for part in made.parts:
        pool = STAGED if part.staged else pool_format(made.config)
        tables.append(read_slice(part.path, start=part.start, rows=part.rows, pool=pool))
        assert len(tables[-1]) == part.rows
        assert tables[-1].schema.equals(POOL)
    rows: list[dict[str, Any]] = (
        pa.concat_tables(tables).select(["url", "caption", "uid"]).to_pylist()
    )
    return rows


def with_uid(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row | {"uid": None} for row in rows]


@pytest.mark.parametrize("group", [1, 3, 10])
def test_small_row_groups_are_read_where_they_stand(tmp_path: Path, group: int) -> None:
    made = plan(tmp_path, parquet(tmp_path / "pool.parquet", ROWS, group))
    assert cut(made) == [
        ("pool.parquet", 0, 4, False), ("pool.parquet", 4, 4, False), ("pool.parquet", 8, 2, False),
    ]  # fmt: skip
    assert read(made) == with_uid(ROWS)


def test_a_huge_row_group_is_copied_in_slices(tmp_path: Path) -> None:
    made = plan(tmp_path, parquet(tmp_path / "pool.parquet", ROWS, 9), part_rows=2)
    assert cut(made) == [(f"file-00000-{k:05d}.parquet", 0, 2, True) for k in range(5)]
    assert read(made) == with_uid(ROWS)
    at_most = plan(tmp_path / "b", parquet(tmp_path / "pool.parquet", ROWS, 8), part_rows=2)
    assert {staged for *_, staged in cut(at_most)} == {False}


def write_csv(path: Path) -> None:
    with files.atomic_write(str(path)) as file:
        pa.csv.write_csv(pa.Table.from_pylist(ROWS), file)


@pytest.mark.parametrize(
    "name", ["p.csv", "p.tsv", "p.jsonl", "p.ndjson", "p.csv.gz", "p.jsonl.gz", "P.TSV.GZ"]
)
def test_text_is_copied_in_slices(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if "json" in name:
        path.write_text("".join(json.dumps(row | {"extra": [1]}) + "\n" for row in ROWS))
    else:
        write_csv(path)
    if "tsv" in name.lower():
        path.write_text("url\tcaption\n" + "".join(f"{r['url']}\t{r['caption']}\n" for r in ROWS))
    if name.lower().endswith(".gz"):
        path.write_bytes(gzip.compress(path.read_bytes()))
    made = plan(tmp_path, path)
    assert cut(made) == [
        (f"file-00000-{k:05d}.parquet", 0, n, True) for k, n in enumerate([4, 4, 2])
    ]
    assert read(made) == with_uid(ROWS)


def test_a_part_never_spans_two_files_and_columns_may_be_named(tmp_path: Path) -> None:
    renamed = [
        {"link": r["url"], "text": r["caption"], "id": f"{i:032x}"} for i, r in enumerate(ROWS)
    ]
    folder = tmp_path / "pool"
    folder.mkdir()
    parquet(folder / "a.parquet", renamed[:5], 2)
    (folder / "b.jsonl").write_text("".join(json.dumps(row) + "\n" for row in renamed[5:]))
    (folder / "_SUCCESS").write_text("")
    columns = {"url": "link", "caption": "text", "uid": "id"}
    made = plan(tmp_path, folder, input={"columns": columns})
    assert cut(made) == [
        ("a.parquet", 0, 4, False), ("a.parquet", 4, 1, False),
        ("file-00001-00000.parquet", 0, 4, True), ("file-00001-00001.parquet", 0, 1, True),
    ]  # fmt: skip
    assert read(made) == [row | {"uid": f"{i:032x}"} for i, row in enumerate(ROWS)]
    assert [x["rows"] for x in made.inputs] == [5, 5]


def test_a_second_plan_has_the_same_parts_and_copies_nothing(tmp_path: Path) -> None:
    write_csv(tmp_path / "p.csv")
    first = plan(tmp_path, tmp_path / "p.csv")
    copy = Path(first.parts[0].path)
    written = copy.stat().st_mtime_ns
    second = plan(tmp_path, tmp_path / "p.csv")
    assert second.parts == first.parts
    assert copy.stat().st_mtime_ns == written


def test_a_pool_that_moved_is_read_where_it_is_now(tmp_path: Path) -> None:
    path = parquet(tmp_path / "pool.parquet", ROWS, 3)
    plan(tmp_path, path)
    moved = path.rename(tmp_path / "moved.parquet")
    assert read(plan(tmp_path, moved)) == with_uid(ROWS)


BASE: dict[str, Any] = {
    "seed": 1,
    "prepare": {"languages": ["en"], "metadata": {}},
    "score": {"model": MODEL, "pretrained": WEIGHTS},
    "select": [
        {"column": "caption_chars", "min": 5},
        {"column": "smaller_side", "min": 64},
        {"column": "clip_score", "top_fraction": 0.5},
    ],
    "balance": {"t": 20},
}
FOLDERS = ["prepare", "download/annotated", "download", "dedup", "score/annotated", "score",
           "balance", "shards"]  # fmt: skip


def digests(tmp_path: Path, change: dict[str, Any] | None = None) -> dict[str, StepDigest]:
    """Digests by folder of the base configuration with dotted keys changed."""
    parquet(tmp_path / "pool.parquet", ROWS, 3)
    entries = tmp_path / "en.txt"
    if not entries.exists():
        entries.write_text("red\nfox\n")
    document = json.loads(json.dumps(BASE))
    document["prepare"]["metadata"]["en"] = str(entries)
    for key, value in (change or {}).items():
        branch = document
        *above, last = key.split(".")
        for name in above:
            branch = branch[int(name)] if isinstance(branch, list) else branch.setdefault(name, {})
        branch[last] = value
    return plan(tmp_path, tmp_path / "pool.parquet", **document).digests


def changed(before: dict[str, StepDigest], after: dict[str, StepDigest], kind: str) -> list[str]:
    assert list(before) == list(after) == FOLDERS
    return [x for x in FOLDERS if getattr(before[x], kind) != getattr(after[x], kind)]


@pytest.mark.parametrize(
    ("key", "value", "first"),
    [
        ("prepare.languages", None, "prepare"),
        ("select.0.min", 6, "prepare"),
        ("select.0.name", "short", "prepare"),
        ("download.image_size", 128, "download/annotated"),
        ("download.resize_mode", "border", "download/annotated"),
        ("download.faces", "find", "download/annotated"),
        ("download.jpeg_quality", True, "download/annotated"),
        ("download.only_if_bigger", False, "download/annotated"),
        ("download.encode_format", "webp", "download/annotated"),
        ("download.encode_quality", 90, "download/annotated"),
        ("download.upscale_interpolation", "cubic", "download/annotated"),
        ("download.downscale_interpolation", "cubic", "download/annotated"),
        ("download.fast_decode", True, "download/annotated"),
        ("download.skip_reencode", True, "download/annotated"),
        ("download.disable_all_reencoding", True, "download/annotated"),
        ("download.keep_exif", True, "download/annotated"),
        ("download.contact", "me@example.org", None),
        ("download.per_host_rate", 5, None),
        ("select.1.min", 65, "download"),
        ("dedup.threshold", 0.7, "dedup"),
        ("dedup.policy", ["url"], "dedup"),
        ("dedup.keep_captions", True, "dedup"),
        ("score.precision", "fp32", "score/annotated"),
        ("score.pretrained", MODEL, "score/annotated"),
        ("score.batch_size", 7, "score/annotated"),
        ("score.compile", True, "score/annotated"),
        ("score.embeddings", True, "score/annotated"),
        ("select.2.top_fraction", 0.4, "score"),
        ("balance.t", 21, "balance"),
        ("seed", 2, "balance"),
        ("shards.rows", 5, "shards"),
        ("beam.workers", 4, None),
        ("beam.runner", "DataflowRunner", None),
        ("beam.options", ["--region=r"], None),
        ("download.connect_to", {"x.example": "127.0.0.1:1"}, None),
        ("download.concurrency", 7, None),
        ("download.per_host", 7, None),
        ("download.timeout", 7, None),
        ("download.decode_timeout", 7, None),
        ("download.retries", 7, None),
        ("download.user_agent", "someone", None),
        ("score.accelerator", "type:nvidia-l4;count:1", None),
        ("score.min_ram", "4GB", None),
    ],
)
def test_a_key_makes_exactly_the_steps_stale_that_depend_on_it(
    tmp_path: Path, key: str, value: object, first: str | None
) -> None:
    before, after = digests(tmp_path), digests(tmp_path, {key: value})
    assert changed(before, after, "own") == ([first] if first else [])
    assert changed(before, after, "chain") == (FOLDERS[FOLDERS.index(first) :] if first else [])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("download.max_bytes", 1000),
        ("download.max_pixels", 1000),
        ("download.max_pixels_per_byte", 1000.5),
        ("download.max_redirects", 1),
        ("download.opt_out", ["noai"]),
        ("download.robots", False),
    ],
)
def test_what_may_be_stored_makes_steps_stale_whose_rows_can_be_used_again(
    tmp_path: Path, key: str, value: object
) -> None:
    before, after = digests(tmp_path), digests(tmp_path, {key: value})
    assert changed(before, after, "own") == []
    assert changed(before, after, "chain") == FOLDERS[FOLDERS.index("download/annotated") :]


def test_entry_lists_count_by_their_content(tmp_path: Path) -> None:
    before = digests(tmp_path)
    (tmp_path / "elsewhere.txt").write_text("red\nfox\n")
    moved = digests(tmp_path, {"prepare.metadata.en": str(tmp_path / "elsewhere.txt")})
    assert moved == before
    (tmp_path / "en.txt").write_text("red\nfox\nsnow\n")
    after = digests(tmp_path)
    assert changed(before, after, "own") == ["prepare"]
    assert changed(before, after, "chain") == FOLDERS


def test_an_opt_out_list_counts_by_its_content(tmp_path: Path) -> None:
    before = digests(tmp_path)
    path = tmp_path / "list.txt"
    path.write_text("example.org\n")
    first = digests(tmp_path, {"download.opt_out_list": str(path)})
    later = FOLDERS[FOLDERS.index("download/annotated") :]
    assert (changed(before, first, "own"), changed(before, first, "chain")) == ([], later)
    moved = path.rename(tmp_path / "moved.txt")
    assert digests(tmp_path, {"download.opt_out_list": str(moved)}) == first
    moved.write_text("example.net\n")
    after = digests(tmp_path, {"download.opt_out_list": str(moved)})
    assert (changed(first, after, "own"), changed(first, after, "chain")) == ([], later)
    with pytest.raises(CurateError, match=r"^download.opt_out_list: .*list.txt: no such file$"):
        digests(tmp_path, {"download.opt_out_list": str(path)})


def test_a_list_of_words_counts_by_its_content_and_adds_a_column(tmp_path: Path) -> None:
    before = digests(tmp_path)
    words = tmp_path / "words.txt"
    words.write_text("fox\n")
    key = {"prepare.words_in": str(words)}
    with_list = digests(tmp_path, key)
    assert changed(before, with_list, "own") == ["prepare"]
    words.write_text("fox\nsnow\n")
    assert changed(with_list, digests(tmp_path, key), "own") == ["prepare"]
    words.write_text(" \n")
    with pytest.raises(CurateError, match=r"words\.txt: there is no word in it"):
        digests(tmp_path, key)
    config = Config.model_validate(
        {"input": {"paths": ["x"]}, "prepare": {"words_in": str(words)}, "download": {"enabled": 0}}
    )
    listed = Rule(column="words_in_list", min=1)
    steps = steps_of(config.model_copy(update={"select": (listed,)}))
    assert steps.rules == {Stage.PREPARE: (listed,)}
    assert "words_in_list" in steps.added[Stage.PREPARE].names


def test_a_subset_counts_by_its_content(tmp_path: Path) -> None:
    before = digests(tmp_path)
    path = tmp_path / "subset.npy"
    np.save(path, np.zeros(1, np.dtype("u8,u8")))
    key = {"prepare.uids_in": str(path)}
    with_subset = digests(tmp_path, key)
    assert changed(before, with_subset, "own") == ["prepare"]
    np.save(path, np.zeros(2, np.dtype("u8,u8")))
    assert changed(with_subset, digests(tmp_path, key), "own") == ["prepare"]


def test_the_pool_is_in_every_chain_and_in_nobodys_own(tmp_path: Path) -> None:
    before = digests(tmp_path)
    document = BASE | {"prepare": BASE["prepare"] | {"metadata": {"en": str(tmp_path / "en.txt")}}}
    other = parquet(tmp_path / "other.parquet", ROWS[:9], 3)
    after = plan(tmp_path / "b", other, **document).digests
    assert changed(before, after, "own") == []
    assert changed(before, after, "chain") == FOLDERS


def test_rules_belong_to_the_first_stage_that_has_their_column(tmp_path: Path) -> None:
    made = plan(tmp_path, parquet(tmp_path / "p.parquet", ROWS, 3), score=BASE["score"],
                select=BASE["select"])  # fmt: skip
    of = {rule.label: stage for stage, rules in made.steps.rules.items() for rule in rules}
    assert [of[rule.label] for rule in made.config.select] == [
        Stage.PREPARE, Stage.DOWNLOAD, Stage.SCORE,
    ]  # fmt: skip
    assert [rule.column for rule in made.steps.of(Kind.PREPARE)[0].rules] == ["caption_chars"]
    assert made.steps.upstream(Stage.SCORE) == "dedup"
    assert made.steps.upstream(Stage.SHARDS) == "score"
    assert download.step_of(made, made.steps.of(Kind.FETCH)[0]).reads == "prepare"
    assert list(made.digests) == [x for x in FOLDERS if x != "balance"]


def test_a_further_score_is_a_column_with_a_step_of_its_own(tmp_path: Path) -> None:
    """It leaves the first model's step its own digest, so that its scores are taken over."""
    before = digests(tmp_path)
    also = {"b": BASE["score"], "a": BASE["score"] | {"precision": "fp32"}}
    after = digests(tmp_path, {"score.also": also})
    at = FOLDERS.index("score/annotated")
    further = [f"score/annotated/{name}" for name in also]
    assert list(after) == [*FOLDERS[:at], *further, *FOLDERS[at:]]
    assert all(after[folder].own == before[folder].own for folder in before)
    same = [folder for folder in before if after[folder] == before[folder]]
    assert same == FOLDERS[:at]
    rules = [{"column": "a", "min": 0.3}, {"column": "b", "top_fraction": 0.5}]
    pool = parquet(tmp_path / "p.parquet", ROWS, 3)
    made = plan(tmp_path / "c", pool, score=BASE["score"] | {"also": also}, select=rules)
    assert [rule.column for rule in made.steps.rules[Stage.SCORE]] == ["a", "b"]
    assert made.steps.columns(Stage.SCORE).names[-3:] == ["clip_score", "b", "a"]
    steps = [model.step_of(made, step) for step in made.steps.of(Kind.MODEL)]
    assert [(step.folder, step.joined) for step in steps] == [
        (further[0], ()), (further[1], ()), ("score/annotated", ("b", "a")),
    ]  # fmt: skip


def test_further_scores_are_steps_and_heads_leave_the_model_its_scores(tmp_path: Path) -> None:
    np.save(tmp_path / "head.npy", np.zeros(256))
    weights = str(tmp_path / "head.npy")
    changes: dict[str, Any] = {"score.embeddings": True}
    before = digests(tmp_path, changes)
    changes["scores"] = {
        "rude": {"kind": "profanity"},
        "fine": {"kind": "head", "weights": weights},
    }
    pytest.importorskip("profanity_check")
    after = digests(tmp_path, changes)
    assert set(after) - set(before) == {"score/annotated/rude"}
    assert all(after[folder].own == before[folder].own for folder in before)
    same = [folder for folder in before if after[folder] == before[folder]]
    assert same == FOLDERS[: FOLDERS.index("score/annotated")]
    np.save(tmp_path / "head.npy", np.ones(256))
    other = digests(tmp_path, changes)
    assert other["score/annotated/rude"] == after["score/annotated/rude"]
    assert other["score/annotated"].own == after["score/annotated"].own
    assert other["score/annotated"].chain != after["score/annotated"].chain


def test_columns_of_embeddings_are_steps_between_the_model_and_the_rules(tmp_path: Path) -> None:
    np.save(tmp_path / "target.npy", np.ones((1, 2)))
    score = {
        "score.embeddings": True,
        "score.neg_clip_loss": {"batch_size": 8},
        "score.norm_sim": {"target": str(tmp_path / "target.npy")},
    }
    before = digests(tmp_path, score)
    at = FOLDERS.index("score")
    derived = ["score/annotated/neg_clip_loss", "score/annotated/norm_sim"]
    assert list(before) == [*FOLDERS[:at], *derived, *FOLDERS[at:]]

    def stale(after: dict[str, StepDigest]) -> list[str]:
        return [x for x in before if after[x].chain != before[x].chain]

    everything = [*derived, *FOLDERS[at:]]
    assert stale(digests(tmp_path, score | {"score.neg_clip_loss": {"batches": 2}})) == everything
    other = {"target": str(tmp_path / "target.npy"), "norm": 2}
    assert stale(digests(tmp_path, score | {"score.norm_sim": other})) == everything[1:]
    core = {"score.simcore": {"target": str(tmp_path / "target.npy"), "keep": 3}}
    wider = {"score.simcore": {"target": str(tmp_path / "target.npy"), "keep": 4}}
    first, second = digests(tmp_path, score | core), digests(tmp_path, score | wider)
    assert [x for x in first if first[x].chain != second[x].chain] == [
        "score/annotated/simcore", *FOLDERS[at:],
    ]  # fmt: skip
    clusters = VisualClusters.find(unit(np.eye(256)), clusters=2, iterations=1, whiten=None, seed=0)
    clusters.write(str(tmp_path / "c.npz"), digest="d")
    given = {"centroids": str(tmp_path / "c.npz")}
    taken = digests(tmp_path, score | {"score.visual_cluster": given})
    assert taken == digests(tmp_path, score | {"score.visual_cluster": {**given, "clusters": 9}})
    three, four = (
        digests(tmp_path, score | {"score.visual_cluster": {"clusters": n}}) for n in (3, 4)
    )
    assert [x for x in three if three[x].chain != four[x].chain] == [
        "score/annotated/visual_cluster", *FOLDERS[at:],
    ]  # fmt: skip
    (tmp_path / "c.npz").write_bytes(b"nothing")
    with pytest.raises(CurateError, match=r"^score.visual_cluster.centroids: .*c.npz"):
        digests(tmp_path, score | {"score.visual_cluster": given})
    np.save(tmp_path / "target.npy", np.ones((2, 2)))
    assert stale(digests(tmp_path, score)) == everything[1:]
    (tmp_path / "target.npy").unlink()
    with pytest.raises(CurateError, match=r"^score.norm_sim.target: .*target.npy: no .npy or .npz"):
        digests(tmp_path, score)
    with pytest.raises(
        ValueError, match="neg_clip_loss is derived from stored embeddings: set embeddings"
    ):
        digests(tmp_path, score | {"score.embeddings": False})


def test_clusters_have_to_fit_the_model(tmp_path: Path) -> None:
    model = shipped("pipelines/demo/scorer/curate-mini.json")
    common = {"score.model": str(model), "score.embeddings": True}
    with pytest.raises(CurateError, match=r"visual_cluster.whiten: 300 components .* 256 values"):
        digests(tmp_path, common | {"score.visual_cluster": {"whiten": 300}})
    clusters = VisualClusters.find(unit(np.eye(3)), clusters=2, iterations=1, whiten=None, seed=0)
    clusters.write(str(tmp_path / "c.npz"), digest="d")
    with pytest.raises(
        CurateError, match=r"centroids: .*c.npz is of embeddings of 3 values, .* 256"
    ):
        digests(tmp_path, common | {"score.visual_cluster": {"centroids": str(tmp_path / "c.npz")}})


def test_semantic_duplicates_are_a_step_between_the_columns_and_the_rules(tmp_path: Path) -> None:
    """A new epsilon repeats neither download nor model; a new score rule is a new set to compare."""
    semdedup = {"epsilon": 0.1}
    changes = {"score.embeddings": True, "semdedup": semdedup}
    before = digests(tmp_path, changes)
    at = FOLDERS.index("score")
    added = "score/annotated/semantic_duplicate"
    assert list(before) == [*FOLDERS[:at], added, *FOLDERS[at:]]

    def stale(after: dict[str, StepDigest]) -> list[str]:
        return [x for x in before if after[x].chain != before[x].chain]

    everything = [added, *FOLDERS[at:]]
    for key, value in (("epsilon", 0.2), ("against", "earlier"), ("clusters", 3), ("sample", 5000)):
        assert (
            stale(digests(tmp_path, changes | {"semdedup": semdedup | {key: value}})) == everything
        )
    rule = {"select": [*BASE["select"], {"name": "new", "column": "clip_score", "min": 0.1}]}
    assert stale(digests(tmp_path, changes | rule)) == everything
    early = {"select": [*BASE["select"], {"name": "new", "column": "width", "min": 3}]}
    assert "download" in stale(digests(tmp_path, changes | early))
    without = digests(tmp_path, changes | {"semdedup": None})
    assert list(without) == FOLDERS
    with pytest.raises(
        ValueError, match=r"^1 .*\n.*semdedup compares stored embeddings: set score"
    ):
        digests(tmp_path, {"semdedup": semdedup})


def test_evaluation_sets_are_compared_with_embeddings_once_whatever_the_threshold(
    tmp_path: Path,
) -> None:
    def made(similarity: float | None) -> dict[str, StepDigest]:
        sets = {"against": [out], "embedding_similarity": similarity}
        return digests(tmp_path, {"score.embeddings": True, "decontaminate": sets})

    out = str(tmp_path / "set.parquet")
    (tmp_path / "words.txt").write_text("a fox")
    hash_sets((str(tmp_path / "words.txt"),), out=out)
    assert made(0.9), "there is no image to embed"
    image = next(Path(files.shipped("pipelines/demo/pool/images")).iterdir())
    hash_sets((str(image),), out=out)
    with pytest.raises(
        CurateError, match=r"set.parquet: there are no embeddings in it; make it aga"
    ):
        made(0.9)
    without = made(None)
    scorer = Scorer(model=MODEL, pretrained=WEIGHTS)
    items = with_embeddings(
        files.read_table(out), pa.array([None], EMBEDDING.type), embedding_model(scorer)
    )
    files.write_table(out, items)
    before, after = made(0.9), made(0.8)
    added = "score/annotated/evaluation_similarity"
    assert before.keys() - without.keys() == {added}
    at = FOLDERS.index("score")
    assert [x for x in before if after[x].chain != before[x].chain] == FOLDERS[at:]
    assert made(None)["dedup"] == before["dedup"]


def test_a_rule_over_several_columns_waits_for_the_last_of_them(tmp_path: Path) -> None:
    english = {"column": "language", "in": ["en"]}
    rules = [
        {"name": "a", "any_of": [english, {"column": "caption_words", "min": 3}]},
        {"name": "b", "all_of": [english, {"any_of": [{"column": "width", "min": 3}]}]},
        {"name": "c", "any_of": [english, {"column": "clip_score", "top_fraction": 0.3}]},
        {"column": "smaller_side", "top_fraction": 0.5, "per": "language"},
        {"column": "cluster_size", "max": 100},
        {"column": "caption_chars", "top_fraction": 0.9},
    ]
    made = plan(tmp_path, parquet(tmp_path / "p.parquet", ROWS, 3), score=BASE["score"],
                select=rules)  # fmt: skip
    of = {rule.label: stage for stage, rules in made.steps.rules.items() for rule in rules}
    assert [of[rule.label] for rule in made.config.select] == [
        Stage.PREPARE, Stage.DOWNLOAD, Stage.SCORE, Stage.DOWNLOAD, Stage.SCORE, Stage.PREPARE,
    ]  # fmt: skip


EMBEDDED = BASE["score"] | {"embeddings": True}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"out": None}, "no output folder: give --out RUN or the key `out`"),
        ({"input": {"paths": ["nowhere.parquet"]}}, "input.paths: nowhere.parquet: no such file"),
        ({"input": {"columns": {"url": "link"}}}, "no column 'link' among url, caption; name the"),
        ({"select": [{"column": "widht", "min": 1}]},
         "no column 'widht' in this run, did you mean 'width'? known: language, "),
        ({"select": [{"column": "cluster_size", "max": 9}]},
         "'cluster_size': cluster_size comes too late; the last rules of this run apply after down"),
        ({"select": [{"name": "x", "any_of": [{"column": "width", "min": 9},
                                              {"column": "hight", "min": 9}]}]},
         "select rule 'x': no column 'hight' in this run, did you mean 'height'?"),
        ({"select": [{"name": "x", "all_of": [{"column": "matches", "in": [1]}]}]},
         "select rule 'x': matches is a list"),
        ({"select": [{"column": "width", "top_fraction": 0.5, "per": "aspect"}]},
         "'width': per aspect: expected a column of words, whole numbers or true and false"),
        ({"select": [{"column": "width", "top_fraction": 0.5, "per": "tongue"}]},
         "'width': no column 'tongue' in this run"),
        ({"select": [{"column": "clip_score", "min": 1}]}, "no column 'clip_score' in this run"),
        ({"select": [{"column": "language", "min": 1}]}, "'language': language is not a number"),
        ({"select": [{"column": "language", "top": 5}]}, "'language': language is not a number"),
        ({"select": [{"column": "aspect", "every": 5}]},
         "'aspect': every is over whole numbers, and aspect is double"),
        ({"select": [{"column": "width", "in": ["a"]}]}, "width"),
        ({"select": [{"column": "width", "in": [10**30]}]}, "does not fit width, which is int32"),
        ({"select": [{"column": "width", "in": [64, 3.5]}]},
         "'width': in [64, 3.5] does not fit width, which is int32"),
        ({"select": [{"column": "width", "same_as": "language"}]},
         "'width': width is int32 and language string: they are never the same"),
        ({"select": [{"column": "sha256", "same_as": "pool_sha256"}]}, "no column 'pool_sha256'"),
        ({"select": [{"column": "matches", "in": ["a"]}]}, "matches"),
        ({"prepare": {"metadata": {"en": "gone.txt"}}}, "prepare.metadata.en: "),
        ({"prepare": {"words_in": "gone.txt"}}, "prepare.words_in: gone.txt: no such file"),
        ({"prepare": {"words_in": "/"}}, "prepare.words_in: /: it is a folder, not a file"),
        ({"prepare": {"words_in": "LATIN"}}, "latin.txt: line 1 is not UTF-8"),
        ({"prepare": {"metadata": {"en": "/"}}}, "prepare.metadata.en: /: it is a folder"),
        ({"download": {"opt_out_list": "/"}}, "download.opt_out_list: /: it is a folder"),
        ({"download": {"block_lists": ["/"]}}, "download.block_lists: /: "),
        ({"prepare": {"uids_in": "/gone.npy"}}, "prepare.uids_in: /gone.npy: no such file"),
        ({"score": {"model": "ViT-B-23"}}, "open_clip has no model 'ViT-B-23'; nearest: ViT-B-32"),
        ({"score": {"model": "gone.json"}}, "score.model: gone.json: no such file"),
        ({"score": {"model": MODEL, "pretrained": "a/gone.pt"}},
         "score.pretrained: a/gone.pt: no such file"),
        ({"score": {"model": MODEL}}, "score.pretrained: " + MODEL + " needs weights"),
        ({"score": {"model": "ViT-B-32", "pretrained": "laion2b_s34b_b97k"}},
         "score.pretrained: open_clip has for ViT-B-32 no weights 'laion2b_s34b_b97k'; nearest:"
         " laion2b_s34b_b79k"),
        ({"score": BASE["score"] | {"also": {"b16": {"model": "ViT-B16", "pretrained": "x"}}}},
         "score.also.b16.model: open_clip has no model 'ViT-B16'; nearest: "),
        ({"score": BASE["score"] | {"also": {"width": BASE["score"]}}},
         "score.also.width: width is taken by another column"),
        ({"score": BASE["score"] | {"also": {"annotated": BASE["score"]}}},
         "score.also.annotated: annotated is taken"),
        ({"scores": {"width": {"kind": "nsfw"}}}, "scores.width: width is taken by another column"),
        ({"scores": {"faces": {"kind": "nsfw"}}}, "scores.faces: faces is taken by another column"),
        ({"scores": {"a": {"kind": "relations", "parser": "no_such_parser"}}},
         "scores.a: relations needs the " + NEEDED),
        ({"score": EMBEDDED, "scores": {"a": {"kind": "head", "weights": "gone.pt"}}},
         "gone.pt: no such file"),
        ({"score": EMBEDDED, "scores": {"a": {"kind": "head", "weights": "NARROW"}}},
         "is a head on 9 values, the embeddings of " + MODEL + " have 256"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_before_anything_starts(
    tmp_path: Path, keys: dict[str, Any], message: str
) -> None:
    path = parquet(tmp_path / "pool.parquet", ROWS, 3)
    if keys.get("prepare", {}).get("words_in") == "LATIN":
        (tmp_path / "latin.txt").write_bytes("café".encode("latin-1"))
        keys["prepare"]["words_in"] = str(tmp_path / "latin.txt")
    for further in keys.get("scores", {}).values():
        if further.get("weights") == "NARROW":
            np.save(tmp_path / "narrow.npy", np.zeros(9))
            further["weights"] = str(tmp_path / "narrow.npy")
    with pytest.raises(CurateError) as raised:
        plan(tmp_path, path, **keys)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_an_input_that_cannot_be_cut_is_named(tmp_path: Path) -> None:
    empty = parquet(tmp_path / "empty.parquet", ROWS, 3)
    pq.write_table(pa.Table.from_pylist(ROWS).slice(0, 0), empty)
    with pytest.raises(CurateError, match=r"empty\.parquet: the input holds no rows"):
        plan(tmp_path, empty)
    (tmp_path / "pool.dat").write_text("x")
    with pytest.raises(
        CurateError,
        match=r"pool\.dat: cannot tell the format .*csv, images, img2dataset, jats, jsonl",
    ):
        plan(tmp_path, tmp_path / "pool.dat")
    (tmp_path / "broken.parquet").write_text("x")
    with pytest.raises(CurateError, match=r"broken\.parquet: cannot be read as parquet"):
        plan(tmp_path, tmp_path / "broken.parquet")


def test_an_output_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    path = parquet(tmp_path / "pool.parquet", ROWS, 3)
    made = plan(tmp_path, path)
    made.run.update(input_digest=made.input_digest)
    assert plan(tmp_path, path).parts == made.parts
    with pytest.raises(CurateError, match="holds a run over another input"):
        plan(tmp_path, path, part_rows=3)
    other = tmp_path / "other"
    (other / "run").mkdir(parents=True)
    (other / "run" / "letter.txt").write_text("dear")
    with pytest.raises(CurateError, match="is not empty and holds no run; give another --out"):
        plan(other, path)


def test_a_rebalance_is_no_run_to_go_on_with(tmp_path: Path) -> None:
    """It would fetch and score all of the source again, beside the source."""
    path = parquet(tmp_path / "pool.parquet", ROWS, 3)
    made = plan(tmp_path, path)
    made.run.update(input_digest=made.input_digest, source="/runs/first")
    (tmp_path / "entries.txt").write_text("line\n")
    balanced: dict[str, Any] = {
        "prepare": {"metadata": {"en": str(tmp_path / "entries.txt")}}, "balance": {"t": 3},
    }  # fmt: skip
    message = "is a rebalance of /runs/first, .*: curate rebalance /runs/first --out .* --t 3"
    with pytest.raises(CurateError, match=message):
        plan(tmp_path, path, **balanced)
