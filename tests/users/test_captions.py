"""Several captions a pair: from a table and a column of the pool to shards, loaders and the report."""

import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.files import shipped
from curate.loading import draw_caption
from curate.ops.hashing import pair_uids, uniform
from curate.ops.scores.clip import ClipModel
from curate.ops.scores.pairs import Preparer
from tests.users.runs import document, interrupted, moved, pairs, refused, well

Pair = dict[str, Any]
URL = "http://pictures.example/images/"
POOL: list[Pair] = [
    {"url": f"{URL}0001.jpg", "caption": "a dog", "title": "Left foot of a dog"},
    {
        "url": f"{URL}0002.jpg",
        "caption": "  ",
        "title": "a hotel for cats",
    },  # no caption of its own
    {"url": f"{URL}0004.jpg", "caption": "blue button", "title": None},  # matches nothing
    {"url": f"{URL}0005.jpg", "caption": "islands", "title": "x"},  # neither, nor any other
    {"url": f"{URL}0007.jpg", "caption": "pen and cat", "title": "dog"},
    {"url": f"{URL}0008.jpg", "caption": "a cat in a hummer", "title": "a dog in a hummer"},
    {"url": f"{URL}0009.jpg", "caption": "cat of France", "title": ""},
    {"url": f"{URL}0010.jpg", "caption": "an orange cat", "title": "my\ndog  "},
]
RECAP = [
    (0, "a footprint of a dog on sand"), (0, "the paw of a cat"), (2, "a blue dog on a button"),
    (3, "some islands"), (5, "an off-road car with a dog"), (7, "an orange and a cat"), (7, "orange"),
]  # fmt: skip
OWN, TITLE, RE = "original", "title", "recap"
KEPT = {
    0: [(OWN, "a dog"), (RE, "a footprint of a dog on sand"), (RE, "the paw of a cat"),
        (TITLE, "Left foot of a dog")],
    1: [(TITLE, "a hotel for cats")],
    2: [(RE, "a blue dog on a button")],
    4: [(OWN, "pen and cat"), (TITLE, "dog")],
    5: [(OWN, "a cat in a hummer"), (RE, "an off-road car with a dog"), (TITLE, "a dog in a hummer")],
    6: [(OWN, "cat of France")],
    7: [(OWN, "an orange cat"), (RE, "an orange and a cat"), (TITLE, "my dog")],
}  # fmt: skip
"""The captions of each pair that match an entry."""


def uid(number: int) -> str:
    pair = POOL[number]
    return str(pair_uids([pair["url"]], [pair["caption"].strip()])[0])


NUMBERS = {uid(n): n for n in range(len(POOL))}


def written(folder: Path) -> list[str]:
    """The pool and its table in `folder`, and the options of a run over them."""
    (folder / "pool.jsonl").write_text("\n".join(map(json.dumps, POOL)) + "\n")
    (folder / "entries.txt").write_text("dog\ncat\ncats\nhotel\n")
    table = {"uid": [uid(n) for n, _ in RECAP], "caption": [text for _, text in RECAP]}
    pq.write_table(pa.table(table), folder / "recap.parquet")
    return [
        "--set", f"input.paths={folder}/pool.jsonl", "--set", "part_rows=3",
        "--set", "shards.rows=4", "--set", "select=[]", "--set", "score=null",
        "--set", f"prepare.metadata={{en: {folder}/entries.txt}}",
        "--set", "prepare.unsure={below: 0.999, language: en}",
        "--set", "balance={t: 1000}", "--set", "dedup={enabled: false}",
        "--set", f"captions={{recap: {{path: {folder}/recap.parquet, weight: 0.5}},"
        " title: {column: title, weight: 0.2}}",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("captions")


@pytest.fixture(scope="module")
def made(home: Path) -> Path:
    """A run that keeps all captions."""
    well("demo", "--out", str(home / "run"), *written(home))
    return home / "run"


def captions(run: Path) -> dict[int, list[tuple[str, str]]]:
    """Source and text of the captions in the shards of a run, by the number of the pair."""
    return {
        NUMBERS[row["uid"]]: [(x["source"], x["caption"]) for x in row["captions"]]
        for row in pairs(run)
    }


def samples(run: Path) -> list[tuple[str, Pair]]:
    """Text and document of each pair in the tars."""
    found = []
    for path in sorted(run.glob("shards/*.tar")):
        with tarfile.open(path) as tar:
            content = {x.name: tar.extractfile(x).read() for x in tar}  # type: ignore[union-attr]
        for name in content:
            if name.endswith(".json"):
                text = content[name.removesuffix("json") + "txt"].decode()
                found.append((text, json.loads(content[name])))
    return found


def test_each_caption_is_judged_and_a_pair_stays_for_any_of_them(made: Path) -> None:
    assert captions(made) == KEPT
    chosen = {NUMBERS[row["uid"]]: row["caption"] for row in pairs(made)}
    assert chosen == {n: found[0][1] for n, found in KEPT.items()}
    for text, row in samples(made):
        assert text == row["caption"] == row["captions"][0]["caption"]
        assert row["caption_source"] == row["captions"][0]["source"]
        assert row["captions"][0].keys() == {"source", "caption", "score", "weight"}
    (gone,) = pq.read_table(made / "dropped/prepare").to_pylist()
    assert (gone["uid"], gone["caption"], gone["reason"]) == (uid(3), "islands", "no_match")
    well("verify", str(made))


def test_the_text_of_a_pair_is_all_of_its_captions_joined(
    home: Path, made: Path, tmp_path: Path
) -> None:
    """TL;DR's ``original; generated``; what decided about the pair was its own caption alone."""
    run = moved(made, tmp_path / "run")
    kept = [path.read_bytes() for path in sorted((run / "balance").glob("part-*"))]
    well("demo", "--out", str(run), *written(home), "--set", "caption.join='; '", "--force")
    assert [path.read_bytes() for path in sorted((run / "balance").glob("part-*"))] == kept
    expected = {uid(n): "; ".join(text for _, text in found) for n, found in KEPT.items()}
    assert expected[uid(4)] == "pen and cat; dog"
    assert expected[uid(2)] == "a blue dog on a button"
    assert {row["uid"]: row["caption"] for row in pairs(run)} == expected
    for text, row in samples(run):
        assert text == row["caption"] == expected[row["uid"]]
        assert [(x["source"], x["caption"]) for x in row["captions"]] == KEPT[NUMBERS[row["uid"]]]
        assert row["caption_source"] == "+".join(source for source, _ in KEPT[NUMBERS[row["uid"]]])
        assert (row["caption_chars"], row["caption_words"]) == (len(text), len(text.split()))
    well("verify", str(run))
    again = well("demo", "--out", str(run), *written(home), "--set", "caption.join='; '")
    assert "Nothing to do" in again
    (tmp_path / "list.txt").write_text(POOL[4]["url"] + "\n")
    well("revoke", str(run), "--list", str(tmp_path / "list.txt"))
    assert {row["uid"] for row in pairs(run)} == expected.keys() - {uid(4)}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            "caption={join: '; ', choose: draw}",
            "join puts all captions together, and choose is draw",
        ),
        (
            "captions.lent={duplicates: true}",
            "captions of duplicates (captions.lent) leave pairs again",
        ),
    ],
)
def test_what_cannot_be_joined_is_refused(home: Path, change: str, told: str) -> None:
    options = [*written(home), "--set", "dedup={}", "--set", "caption.join='; '", "--set", change]
    assert told in refused("demo", "--out", str(home / "not"), *options)


def test_weights_are_shared_by_the_captions_that_are_left(made: Path) -> None:
    weights = {
        NUMBERS[row["uid"]]: [round(x["weight"], 6) for x in row["captions"]] for row in pairs(made)
    }
    assert weights == {
        0: [0.3, 0.25, 0.25, 0.2], 1: [1.0], 2: [1.0], 4: [0.6, 0.4], 5: [0.3, 0.5, 0.2], 6: [1.0],
        7: [0.3, 0.5, 0.2],
    }  # fmt: skip


def test_explain_tells_each_caption_and_which_is_chosen(made: Path) -> None:
    told = well("explain", str(made), POOL[2]["url"])
    assert "caption of original: 'blue button', left out: no_match" in told
    assert "caption of recap: 'a blue dog on a button', weight 1" in told
    assert "that of recap is the pair's, 'a blue dog on a button': the first that was not" in told
    assert uid(3) in well("explain", str(made), uid(3))


def test_drawn_by_uid_and_weight(home: Path, made: Path, tmp_path: Path) -> None:
    """Each draw is the naive one, the same in any parts; nothing is fetched again for it."""
    run = moved(made, tmp_path / "run")
    options = [*written(home), "--set", "caption.choose=draw", "--force"]
    said = well("demo", "--out", str(run), *options)
    assert document(run / "run.json")["stages"]["download"]["figures"]["reused"] == len(KEPT)
    own = {NUMBERS[row["uid"]]: (row["caption_source"], row["caption"]) for row in pairs(run)}
    for row in pairs(run):
        at, reached = uniform([row["uid"]], seed=0x63617074696F6E73)[0], 0.0
        for one in row["captions"]:
            reached += one["weight"]
            if at < reached:
                break
        assert (row["caption_source"], row["caption"]) == (one["source"], one["caption"])
    assert {source for source, _ in own.values()} == {OWN, TITLE, RE}
    assert captions(run) == KEPT, said
    loaded = [{"json": row, "txt": b""} for _, row in samples(run)]
    drawn = [x["txt"].decode() for x in draw_caption()(loaded)]
    assert drawn == [text for text, _ in samples(run)], "the draw of epoch 0"
    well("demo", "--out", str(tmp_path / "other"), *options, "--set", "part_rows=8")
    assert {
        NUMBERS[x["uid"]]: (x["caption_source"], x["caption"]) for x in pairs(tmp_path / "other")
    } == own
    counts = {x["entry"]: x["count"] for x in pq.read_table(run / "entries").to_pylist()}
    assert counts["dog"] == sum("dog" in text.split() for _, text in own.values())


SCORER = shipped("pipelines/demo/scorer")
MODEL = f"model: {SCORER}/curate-mini.json, pretrained: {SCORER}/curate-mini.safetensors"


@pytest.fixture(scope="module")
def best(home: Path, made: Path) -> Path:
    """A run that keeps the best of the captions, in a copy of the other one."""
    run = moved(made, home / "best")
    options = [
        *written(home), "--set", f"score={{{MODEL}, embeddings: true, also: {{other: {{{MODEL}}}}}}}",
        "--set", "caption.choose=best", "--force",
    ]  # fmt: skip
    well("demo", "--out", str(run), *options)
    return run


def test_each_caption_has_a_score_and_the_best_is_chosen(best: Path, made: Path) -> None:
    assert captions(best) == KEPT
    vectors = {}
    for path in sorted(best.glob("annotated/score/part-*.npz")):
        with np.load(path) as held:
            (image,) = (held[x] for x in held.files if x.endswith("_img"))
            (text,) = (held[x] for x in held.files if x.endswith("_txt"))
            for at, name in enumerate(held["uid"].astype(str).tolist()):
                vectors[name] = image[at].astype(np.float32), text[at].astype(np.float32)
    scorer = ClipModel(f"{SCORER}/curate-mini.json", f"{SCORER}/curate-mini.safetensors").load()
    for row in pairs(best):
        scores = [x["score"] for x in row["captions"]]
        place = scores.index(max(scores))
        assert row["clip_score"] == row["other"] == max(scores)
        chosen = row["captions"][place]
        assert (row["caption"], row["caption_source"]) == (chosen["caption"], chosen["source"])
        image, text = vectors[row["uid"]]
        assert np.isclose(image @ text, row["clip_score"], atol=1e-5)
        embedded = scorer(scorer.collate([], [x["caption"] for x in row["captions"]])).text
        assert np.allclose(embedded @ image, scores, atol=2e-3)
        assert row["caption_chars"] == len(row["caption"])
    entries = (best.parent / "entries.txt").read_text().split()
    for row in pairs(best):
        assert [entries[x] for x in row["matches"]] == sorted(
            set(row["caption"].split()) & set(entries), key=entries.index
        )
    told = well("explain", str(best), POOL[5]["url"])
    assert "the first that was not left out, for now (caption.choose best)" in told
    assert "the one with the highest clip_score (caption.choose best)" in told
    assert "caption of recap: 'an off-road car with a dog', score 0." in told
    assert "caption_at" not in told


def test_a_changed_table_asks_neither_the_net_nor_the_image_tower(
    best: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = moved(best, tmp_path / "run")
    table = {"uid": [uid(5), uid(6)], "caption": ["a dog beside a cat", "a flag and a cat"]}
    options = written(tmp_path)
    pq.write_table(pa.table(table), tmp_path / "recap.parquet")
    options[options.index(f"input.paths={tmp_path}/pool.jsonl")] = f"input.paths={home}/pool.jsonl"
    options += [
        "--set", f"score={{{MODEL}, embeddings: true}}", "--set", "caption.choose=best", "--force",
    ]  # fmt: skip
    decoded, was = [], Preparer.prepare

    def seen(preparer: Preparer, content: bytes) -> Any:
        decoded.append(content)
        return was(preparer, content)

    monkeypatch.setattr(Preparer, "prepare", seen)
    well("demo", "--out", str(run), *options)
    assert not decoded
    assert captions(run)[6] == [(OWN, "cat of France"), (RE, "a flag and a cat")]
    assert document(run / "run.json")["stages"]["download"]["figures"]["reused"] == 6
    other = tmp_path / "other"
    well("demo", "--out", str(other), *options)
    assert decoded
    assert pairs(run) == pairs(other)


def test_the_report_compares_the_sources(made: Path, best: Path) -> None:
    found = {x["source"]: x for x in document(made / "report/report.json")["sources"]}
    assert [*found] == [OWN, RE, TITLE]
    told = {
        x: tuple(one[y] for y in ("pairs", "captions", "chosen", "left"))
        for x, one in found.items()
    }
    assert told == {
        OWN: (5, 5, 5, {"empty_caption": 1, "no_match": 1}), RE: (4, 5, 1, {"no_match": 1}),
        TITLE: (5, 5, 1, {}),
    }  # fmt: skip
    assert found[RE]["weight"] == 0.5
    assert found[RE]["words"] == pytest.approx((7 + 5 + 6 + 6 + 5) / 5)
    assert found[TITLE]["entries"] == pytest.approx((1 + 2 + 1 + 1 + 1) / 5)
    assert {one["score"] for one in found.values()} == {None}
    page = (made / "report/index.html").read_text()
    assert "What each source of captions brings" in page
    scored = {x["source"]: x for x in document(best / "report/report.json")["sources"]}
    scores = [x["score"] for row in pairs(best) for x in row["captions"] if x["source"] == RE]
    assert scored[RE]["score"] == pytest.approx(sum(scores) / len(scores), abs=1e-5)
    assert sum(one["chosen"] for one in scored.values()) == len(KEPT)


def test_all_captions_of_a_revoked_pair_go(best: Path, tmp_path: Path) -> None:
    run = moved(best, tmp_path / "run")
    (tmp_path / "list.txt").write_text(POOL[0]["url"] + "\n")
    well("revoke", str(run), "--list", str(tmp_path / "list.txt"))
    left = {n: found for n, found in KEPT.items() if n != 0}
    assert captions(run) == left
    gone = [text.encode() for _, text in KEPT[0]] + [POOL[0]["title"].encode()]
    for path in run.rglob("*"):
        if path.is_file() and path.suffix in (".parquet", ".tar", ".json", ".html", ".arrow"):
            content = path.read_bytes()
            if path.suffix == ".parquet":
                content = repr(pq.read_table(path).to_pylist()).encode()
            assert not [x for x in gone if len(x) > 8 and x in content], path
    found = {x["source"]: x for x in document(run / "report/report.json")["sources"]}
    assert [found[x]["pairs"] for x in (OWN, RE, TITLE)] == [4, 3, 4]


def test_killed_in_the_middle_it_goes_on(home: Path, made: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    options = ["demo", "--out", str(run), *written(home)]
    interrupted(*options, after="prepare/part-00001.parquet")
    assert (run / "input/tables").is_dir()
    well(*options)
    assert not (run / "input/tables").exists()
    assert pairs(run) == pairs(made)
    assert [x.read_bytes() for x in sorted(run.glob("shards/*.tar"))] == [
        x.read_bytes() for x in sorted(made.glob("shards/*.tar"))
    ]
    assert "Nothing to do" in well(*options)


def test_rebalanced_and_swept(made: Path, tmp_path: Path) -> None:
    assert "pairs kept" in well("sweep", str(made), "--t", "1,5")
    well("rebalance", str(made), "--out", str(tmp_path / "t"), "--t", "100")
    assert captions(tmp_path / "t") == KEPT


def test_of_the_text_alone_with_wfpp(home: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    options = [
        *written(home), "--set", "download.enabled=false", "--set", "caption.choose=draw",
        "--set", "balance={wfpp: {fraction: 0.9, threshold: 0.1}}", "--set", "prepare.metadata={}",
        "--set", "prepare.unsure=null", "--set", "prepare.languages=null",
        "--set", "select=[{column: caption_source, not_in: [title]}]",
    ]  # fmt: skip
    well("demo", "--out", str(run), *options)
    kept = pq.read_table(run / "balance").to_pylist()
    assert {NUMBERS[row["uid"]] for row in kept} <= set(range(len(POOL)))
    assert {row["caption_source"] for row in kept} == {OWN, RE}
    left = {x["reason"] for row in kept for x in row["captions"] if x["source"] == TITLE}
    assert left == {"rule:caption_source"}
    gone = {x["uid"]: x["reason"] for x in pq.read_table(run / "dropped/prepare").to_pylist()}
    assert gone == {uid(1): "empty_caption"}
    for row in kept:
        chosen = [x for x in row["captions"] if x["caption"] == row["caption"]]
        assert row["caption_source"] in {x["source"] for x in chosen}
        assert row["caption_words"] == len(row["caption"].split())


def test_a_second_model_scores_all_captions(best: Path, tmp_path: Path) -> None:
    run = moved(best, tmp_path / "run")
    well(
        "score", str(run), "--model", f"{SCORER}/curate-mini.json", "--pretrained",
        f"{SCORER}/curate-mini.safetensors", "--name", "again",
    )  # fmt: skip
    first, again = (
        pq.read_table(run / folder, columns=["uid", "caption_scores"]).to_pylist()
        for folder in ("annotated/score/other", "annotated/score/again")
    )
    assert first == again
    assert all(any(x is not None for x in row["caption_scores"]) for row in again)


REFUSED = {
    "captions={recap: {path: nowhere/*.parquet}}": "nowhere/*.parquet: no such file, folder or match",
    "captions.recap.key=id": "recap.parquet has no column 'id', did you mean 'uid'? it has",
    "captions.recap.column=text": "recap.parquet has no column 'text'; it has caption, uid",
    "captions.title.column=titel": "captions.title.column: no column 'titel' in any input file, did",
    "captions.original={column: title}": "captions.original is the pair's own caption",
    "captions.more={weight: 1}": "captions.more: give the `path` of a table, or a `column` of the pool",
    "captions.title.on=url": "captions.title: `on` and `key` are of a table; give its `path`",
    "captions={original: {weight: 1}}": "there is no source beside the pair's own caption",
    "captions={}": "caption: there is nothing to choose from",
    "input.columns.keep=[captions]": "captions is a column of a run with `captions`",
    "input.columns.keep=[caption_scores]": "caption_scores is a column of a run with `captions`",
    "caption={choose: best}": "caption.choose best goes by a score: set score.model",
    "caption.by=other": "caption.by is of choose: best",
}


@pytest.mark.parametrize("change", REFUSED)
def test_refused_before_work(home: Path, tmp_path: Path, change: str) -> None:
    options = [*written(home), "--set", "caption.choose=draw", "--set", change]
    told = refused("demo", "--out", str(tmp_path / "run"), *options)
    assert REFUSED[change] in told
    assert not (tmp_path / "run/prepare").exists()


def test_the_best_is_refused_with_scores_of_a_caption(home: Path, tmp_path: Path) -> None:
    options = [
        *written(home), "--set", f"score={{{MODEL}}}", "--set", "caption.choose=best",
        "--set", "scores={letters: {kind: python, call: own:letters}}",
    ]  # fmt: skip
    told = refused("demo", "--out", str(tmp_path / "run"), *options)
    assert "scores.letters: python is of a caption, and with caption.choose best" in told


def test_planned_first_and_by_another_model_in_mixed_shards(
    home: Path, best: Path, tmp_path: Path
) -> None:
    """What the plan prepared stands; the other model is the same one, so it finds the same best."""
    run = tmp_path / "run"
    options = [
        *written(home), "--set", f"score={{{MODEL}, also: {{other: {{{MODEL}}}}}}}",
        "--set", "caption={choose: best, by: other}", "--set", "shards.order=mixed",
    ]  # fmt: skip
    told = well("plan", str(shipped("pipelines/demo.yaml")), "--out", str(run), *options)
    assert "not judged here: links that are dead, which caption is the best" in told
    assert f"{len(KEPT)} of {len(POOL)} pairs would be fetched" in told
    stood = (run / "prepare/part-00000.parquet").stat().st_mtime_ns
    well("demo", "--out", str(run), *options)
    assert (run / "prepare/part-00000.parquet").stat().st_mtime_ns == stood

    def chosen(of: Path) -> dict[str, Any]:
        names = ("caption", "caption_source", "captions", "clip_score", "other", "matches")
        return {row["uid"]: [row[x] for x in names] for row in pairs(of)}

    assert chosen(run) == chosen(best)


def test_captions_come_to_a_finished_run(
    home: Path, best: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images and their embeddings are those of the run without; and so again without captions."""
    run = tmp_path / "run"
    options = [
        *written(home), "--set", f"score={{{MODEL}, embeddings: true, also: {{other: {{{MODEL}}}}}}}",
        "--force",
    ]  # fmt: skip
    alone = ["--set", "captions={}", "--set", "prepare.metadata={}", "--set", "balance=null"]
    well("demo", "--out", str(run), *options, *alone)
    plain = pairs(run)
    assert "captions" not in plain[0]
    decoded, was = [], Preparer.prepare

    def seen(preparer: Preparer, content: bytes) -> Any:
        decoded.append(content)
        return was(preparer, content)

    monkeypatch.setattr(Preparer, "prepare", seen)
    model = ["--set", f"score={{{MODEL}, embeddings: true}}", "--set", "caption.choose=best"]
    well("demo", "--out", str(run), *options, *model)
    fetched = len(KEPT) - 1  # the pair without a caption of its own had left
    assert len(decoded) == len(KEPT) - fetched
    assert document(run / "run.json")["stages"]["download"]["figures"]["reused"] == fetched
    of_best = {row["uid"]: row["captions"] for row in pairs(best)}
    assert {row["uid"]: row["captions"] for row in pairs(run)} == of_best
    well("demo", "--out", str(run), *options, *alone)
    assert pairs(run) == plain


def test_load_dataset_reads_the_list(made: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    found = datasets.load_dataset(str(made / "shards"), cache_dir=str(tmp_path))["train"]
    assert [row["captions"] for row in found["json"]] == [row["captions"] for row in pairs(made)]
