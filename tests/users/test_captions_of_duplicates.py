"""Duplicates lend their captions to the pair that stays; each leaves with the pair it came with."""

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from curate.files import shipped
from curate.loading import draw_caption
from curate.ops.hashing import pair_uids, uniform
from tests.users.runs import document, interrupted, moved, pairs, refused, well
from tests.users.test_captions import samples

Pair = dict[str, Any]
A, B, C, D = (f"http://pictures.example/images/{n}.jpg" for n in ("0001", "0002", "0007", "0008"))
GERMAN = "ein Hund im Garten mit einem Haus und einem Baum"
POOL: list[Pair] = [
    {"url": A, "caption": "a cat"},
    {"url": A, "caption": "a dog on a long beach", "title": "my cat"},  # the longest: it stays
    {"url": A, "caption": "dog\n"},
    {"url": A.replace("http", "HTTP"), "caption": "a cat"},  # the text of another
    {"url": A, "caption": "blue button"},  # matches nothing
    {"url": B, "caption": GERMAN},
    {"url": B, "caption": "a cat in a house by the sea, with a garden in front of it"},
    {"url": B, "caption": "my cat", "title": "a cat"},
    {"url": C, "caption": "cat of France"},  # alone
    {"url": D, "caption": "nothing of these", "title": "a hotel for cats"},
    {"url": D, "caption": "a cat asleep"},
    {"url": A, "caption": "my cat"},  # the title of the one that stays
]
OWN, LENT, TITLE = "original", "others", "title"
KEPT = {
    1: [(OWN, "a dog on a long beach"), (LENT, "a cat"), (LENT, "dog"), (TITLE, "my cat")],
    6: [(OWN, "a cat in a house by the sea, with a garden in front of it"), (LENT, GERMAN),
        (LENT, "my cat")],
    8: [(OWN, "cat of France")],
    9: [(LENT, "a cat asleep"), (TITLE, "a hotel for cats")],
}  # fmt: skip
"""The captions of the pairs that stay, in the order of the configuration."""
SCORER = shipped("pipelines/demo/scorer")
MODEL = f"model: {SCORER}/curate-mini.json, pretrained: {SCORER}/curate-mini.safetensors"


def uid(number: int) -> str:
    pair = POOL[number]
    return str(pair_uids([pair["url"]], [pair["caption"].strip()])[0])


NUMBERS = {uid(n): n for n in range(len(POOL))}


def written(folder: Path, *options: str) -> list[str]:
    """The pool in `folder`, and the options of a run over it."""
    (folder / "pool.jsonl").write_text("".join(f"{json.dumps(x)}\n" for x in POOL))
    (folder / "en.txt").write_text("dog\ncat\ncats\nhotel\n")
    (folder / "de.txt").write_text("Hund\n")
    return [
        "--set", f"input.paths={folder}/pool.jsonl", "--set", "part_rows=4",
        "--set", "shards.rows=3", "--set", "select=[]", "--set", "score=null",
        "--set", f"prepare.metadata={{en: {folder}/en.txt, de: {folder}/de.txt}}",
        "--set", "prepare.unsure={below: 0.98, language: en}", "--set", "prepare.languages=null",
        "--set", "balance={t: 1000}", "--set", "dedup={policy: url}",
        "--set",
        "captions={others: {duplicates: true, weight: 0.5}, title: {column: title, weight: 0.2}}",
        *options,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lent")


@pytest.fixture(scope="module")
def made(home: Path) -> Path:
    """A run that takes the first of the captions."""
    well("demo", "--out", str(home / "run"), *written(home))
    return home / "run"


def captions(run: Path) -> dict[int, list[tuple[str, str]]]:
    """Source and text of the captions in the shards of a run, by the number of the pair."""
    return {
        NUMBERS[row["uid"]]: [(x["source"], x["caption"]) for x in row["captions"]]
        for row in pairs(run)
    }


def chosen(run: Path) -> dict[int, tuple[str, str]]:
    """Source and text of the caption of each pair in the shards."""
    return {NUMBERS[x["uid"]]: (x["caption_source"], x["caption"]) for x in pairs(run)}


def check_whole(run: Path) -> None:
    """Tars, tables and counts say the same of the captions of each pair."""
    rows = {row["uid"]: row for row in pairs(run)}
    told = samples(run)
    assert {row["uid"] for _, row in told} == rows.keys()
    lists = {code: (run.parent / f"{code}.txt").read_text().split() for code in ("en", "de")}
    kept: Counter[tuple[str, str]] = Counter()
    for text, row in told:
        held = rows[row["uid"]]
        assert text == row["caption"] == held["caption"]
        assert row["captions"] == held["captions"]
        assert row["language"] == held["language"]
        assert (row["caption_source"], text) in [
            (x["source"], x["caption"]) for x in row["captions"]
        ]
        assert sum(x["weight"] for x in row["captions"]) == pytest.approx(1)
        assert held["caption_words"] == row["caption_words"] == len(text.split())
        found = {lists[held["language"]][x] for x in held["matches"]}
        assert found == set(text.split()) & set(lists[held["language"]])
        kept.update((held["language"], entry) for entry in found)
    entries = pq.read_table(run / "entries").to_pylist()
    assert kept == Counter({(x["language"], x["entry"]): x["kept"] for x in entries if x["kept"]})
    assert all(check["holds"] for check in document(run / "report/report.json")["checks"])
    assert [x["uid"] for x in pq.read_table(run / "balance").to_pylist()] == [*rows]


def test_the_pair_that_stays_has_the_captions_of_those_that_go(made: Path) -> None:
    assert captions(made) == KEPT
    assert chosen(made) == {n: found[0] for n, found in KEPT.items()}
    rows = {NUMBERS[row["uid"]]: row for row in pairs(made)}
    told = {n: [NUMBERS.get(x["uid"]) for x in row["captions"]] for n, row in rows.items()}
    first = min((0, 3), key=uid)
    assert told == {1: [None, first, 2, None], 6: [None, 5, 7], 8: [None], 9: [10, None]}
    assert [x["weight"] for x in rows[1]["captions"]] == pytest.approx([0.3, 0.25, 0.25, 0.2])
    assert [x["weight"] for x in rows[9]["captions"]] == pytest.approx([5 / 7, 2 / 7])
    check_whole(made)
    whole = {NUMBERS[x["uid"]]: x for x in pq.read_table(made / "balance").to_pylist()}
    assert {x["caption"]: x["matches"] for x in whole[6]["captions"]}[GERMAN] == [0]
    again = [x for x in whole[1]["captions"] if x["reason"]]
    assert [(x["source"], x["caption"], x["reason"]) for x in again] == [
        (LENT, "my cat", "duplicate_caption")
    ]


def test_told_by_explain_and_report(made: Path) -> None:
    told = well("explain", str(made), uid(9))
    assert f"caption of others: 'a cat asleep' of the pair {uid(10)}, weight 0.714286" in told
    assert "that of others is the pair's, 'a cat asleep': the first that was not left out" in told
    found = {x["source"]: x for x in document(made / "report/report.json")["sources"]}
    assert [*found] == [OWN, LENT, TITLE]
    assert found[LENT] | {"pairs": 3, "captions": 5, "chosen": 1, "weight": 0.5} == found[LENT]
    assert found[LENT]["left"] == {"duplicate_caption": 1}
    assert (found[OWN]["chosen"], found[TITLE]["chosen"]) == (3, 0)


def test_drawn_by_weight_among_all(home: Path, made: Path, tmp_path: Path) -> None:
    """Texts of duplicates share their source's weight, in the run and where a trainer draws."""
    run = moved(made, tmp_path / "run")
    for code in ("en", "de"):
        shutil.copy(home / f"{code}.txt", tmp_path)
    seeded = ["--set", "caption.choose=draw", "--set", "seed=3", "--force"]
    well("demo", "--out", str(run), *written(home), *seeded)
    assert captions(run) == KEPT
    naive = {}
    for row in pairs(run):
        at, reached = uniform([row["uid"]], seed=3 + 0x63617074696F6E73)[0], 0.0
        for one in row["captions"]:
            reached += one["weight"]
            if at < reached:
                break
        naive[NUMBERS[row["uid"]]] = one["source"], one["caption"]
    assert chosen(run) == naive
    assert {source for source, _ in naive.values()} >= {OWN, LENT}
    check_whole(run)
    loaded = [{"json": row, "txt": b""} for _, row in samples(run)]
    drawn = [x["txt"].decode() for x in draw_caption(seed=3)(loaded)]
    assert drawn == [text for text, _ in samples(run)]
    alike = draw_caption("laclip", epoch=5)
    assert {x["txt"].decode() for x in alike(loaded)} <= {y for x in KEPT.values() for _, y in x}


def revoked(run: Path, *numbers: int) -> str:
    path = run.parent / "list.txt"
    path.write_text("".join(f"uid:{uid(n)}\n" for n in numbers))
    return well("revoke", str(run), "--list", str(path))


def check_gone(run: Path, *texts: str) -> None:
    """The texts are in no file of a run."""
    for path in run.rglob("*"):
        if path.is_file() and "input" not in path.parts:
            content = path.read_bytes()
            if path.suffix == ".parquet":
                content = repr(pq.read_table(path).to_pylist()).encode()
            assert not [x for x in texts if x.encode() in content], path


LEFT = KEPT | {6: [KEPT[6][0], KEPT[6][2]], 9: [KEPT[9][1]]}


def test_a_revoked_pair_takes_its_caption_along(made: Path, home: Path, tmp_path: Path) -> None:
    run = moved(made, tmp_path / "run")
    for code in ("en", "de"):
        shutil.copy(home / f"{code}.txt", tmp_path)
    before = (run / "shards/00000.tar").read_bytes()
    said = revoked(run, 5, 10)
    assert "revoked 2 by uid" in said
    assert captions(run) == LEFT
    assert chosen(run) == {n: found[0] for n, found in LEFT.items()}
    assert (run / "shards/00000.tar").read_bytes() != before
    check_whole(run)
    check_gone(run, GERMAN, "a cat asleep")
    kept = {x["entry"]: x["kept"] for x in pq.read_table(run / "entries").to_pylist()}
    assert (kept["hotel"], kept["cats"], kept["cat"]) == (1, 1, 2)
    told = well("explain", str(run), uid(9))
    assert "caption of others: '', left out: revoked" in told
    state = {path: path.read_bytes() for path in run.rglob("*.parquet")}
    assert "none had to change" in revoked(run, 5, 10)
    assert {path: path.read_bytes() for path in run.rglob("*.parquet")} == state
    assert "Nothing to do" in well("demo", "--out", str(run), *written(home))
    well("demo", "--out", str(run), *written(home), "--set", "shards.rows=2", "--force")
    assert captions(run) == LEFT
    check_gone(run, GERMAN, "a cat asleep")


@pytest.fixture(scope="module")
def best(home: Path, made: Path) -> Path:
    """A run that keeps the best of the captions by a second model, in a copy of the other one."""
    run = moved(made, home / "best")
    well("demo", "--out", str(run), *written(home, *SCORED))
    return run


SCORED = (
    "--set", f"score={{{MODEL}, embeddings: true, also: {{other: {{{MODEL}}}}}}}",
    "--set", "caption={choose: best, by: other}", "--force",
)  # fmt: skip


def test_the_best_is_chosen_and_anew_after_a_revocation(
    best: Path, home: Path, tmp_path: Path
) -> None:
    """With score and embedding of the caption that is left; what is judged again agrees."""
    assert captions(best) == KEPT
    before = {NUMBERS[row["uid"]]: row for row in pairs(best)}
    for row in before.values():
        scores = [x["score"] for x in row["captions"]]
        assert row["clip_score"] == row["other"] == max(scores)
        assert row["caption"] == row["captions"][scores.index(max(scores))]["caption"]
    lent = {n: row for n, row in before.items() if row["caption_source"] == LENT}
    assert lent, "a lent caption is the best of some pair"
    gone = [x["uid"] for row in lent.values() for x in row["captions"]
            if x["caption"] == row["caption"]]  # fmt: skip
    run = moved(best, tmp_path / "run")
    for code in ("en", "de"):
        shutil.copy(home / f"{code}.txt", tmp_path)
    revoked(run, *(NUMBERS[x] for x in gone))
    check_whole(run)
    after = {NUMBERS[row["uid"]]: row for row in pairs(run)}
    for n, row in after.items():
        was = {(x["source"], x["caption"]): x["score"] for x in before[n]["captions"]
               if x["uid"] not in gone}  # fmt: skip
        assert {(x["source"], x["caption"]): x["score"] for x in row["captions"]} == was
        assert row["clip_score"] == row["other"] == max(was.values())
        assert was[row["caption_source"], row["caption"]] == row["clip_score"]
    check_gone(run, *(row["caption"] for row in lent.values() if len(row["caption"]) > 8))
    for path in sorted(run.glob("annotated/score/**/part-*.npz")):
        with np.load(path) as held:
            (name,) = (x for x in held.files if x.endswith("_txt"))
            unknown = ~np.isfinite(held[name]).all(axis=1)
            told = {NUMBERS[x] for x in held["uid"][unknown].astype(str).tolist()}
            assert told == lent.keys() & {NUMBERS[x] for x in held["uid"].astype(str).tolist()}
    rule = ["--set", "select=[{column: clip_score, min: -1}]"]
    well("demo", "--out", str(run), *written(home, *SCORED), *rule)
    again = {NUMBERS[row["uid"]]: row for row in pairs(run)}
    names = ("caption", "caption_source", "captions", "clip_score", "other", "matches")
    assert {n: [x[y] for y in names] for n, x in again.items()} == {
        n: [x[y] for y in names] for n, x in after.items()
    }


def test_rebalanced_and_revoked_there_with_a_stop(made: Path, home: Path, tmp_path: Path) -> None:
    run, other = moved(made, tmp_path / "run"), tmp_path / "t"
    for code in ("en", "de"):
        shutil.copy(home / f"{code}.txt", tmp_path)
    assert "pairs kept" in well("sweep", str(run), "--t", "1,5")
    well("rebalance", str(run), "--out", str(other), "--t", "100")
    assert captions(other) == KEPT
    (tmp_path / "list.txt").write_text(f"{uid(5)}\n{uid(10)}\n")
    for one, after in ((run, "balance/part-00002"), (other, "shards/00001")):
        interrupted("revoke", str(one), "--list", str(tmp_path / "list.txt"), after=after)
        well("revoke", str(one))
        assert captions(one) == LEFT
        check_whole(one)
        check_gone(one, GERMAN, "a cat asleep")


def test_what_left_for_its_scores_forgets_too(best: Path, home: Path, tmp_path: Path) -> None:
    """And a part that is made again, from the stored verdicts, has what was revoked no more."""
    run = moved(best, tmp_path / "run")
    pair = next(row for row in pairs(run) if row["caption_source"] == LENT)
    ranked = sorted(pair["captions"], key=lambda one: -one["score"])
    others = f"{{column: caption, not_in: ['{pair['caption']}']}}"
    rule = ["--set", f"select=[{{name: x, any_of: [{{column: clip_score, min: 2}}, {others}]}}]"]
    well("demo", "--out", str(run), *written(home, *SCORED), *rule)
    (gone,) = pq.read_table(run / "dropped/score").to_pylist()
    assert (gone["uid"], gone["caption"]) == (pair["uid"], pair["caption"])
    assert gone["value"].endswith(f"caption={pair['caption']}")
    (lender,) = {x["uid"] for x in ranked if x["caption"] == pair["caption"]}
    revoked(run, NUMBERS[lender], 2)
    (gone,) = pq.read_table(run / "dropped/score").to_pylist()
    assert (gone["uid"], gone["value"]) == (pair["uid"], None)
    assert gone["caption"] == next(x["caption"] for x in ranked if x["uid"] not in (lender, uid(2)))
    (run / "dedup/part-00000.parquet").unlink()
    stood = {row["uid"]: row["captions"] for row in pairs(run)}
    well("demo", "--out", str(run), *written(home, *SCORED), *rule)
    again = {row["uid"]: row["captions"] for row in pairs(run)}
    assert again.pop(pair["uid"]) != pair["captions"], "judged again, by another caption"
    assert again == stood
    assert (LENT, "dog") not in {x for found in captions(run).values() for x in found}


def test_revoked_on_the_way_to_other_sources(made: Path, home: Path, tmp_path: Path) -> None:
    """Parts of both configurations stand there, and shards of the one before."""
    run = moved(made, tmp_path / "run")
    options = ["demo", "--out", str(run), *written(home), "--set", "captions={}", "--force"]
    interrupted(*options, after="dedup/part-00001.parquet")
    assert captions(run) == KEPT
    revoked(run, 5, 10)
    check_gone(run, GERMAN, "a cat asleep")
    assert captions(run).items() <= LEFT.items()
    well(*options)
    assert [x["uid"] for x in pairs(run)] == [uid(n) for n in (1, 6, 8)]


NEW: list[Pair] = [
    {"url": C, "caption": "my cat"},
    {"url": f"http://{A[7:].replace('0001', '0010')}", "caption": "an orange cat"},
]
GROWN = KEPT | {8: [*KEPT[8], (LENT, "my cat")], 12: [(OWN, "an orange cat")]}
NUMBERS |= {str(pair_uids([x["url"]], [x["caption"]])[0]): 12 + k for k, x in enumerate(NEW[1:])}


def test_a_new_file_lends_to_pairs_of_the_old_set(made: Path, home: Path, tmp_path: Path) -> None:
    """The tables are those of one run over both files, and so are shards that are written anew."""
    (tmp_path / "new.jsonl").write_text("".join(f"{json.dumps(x)}\n" for x in NEW))
    both = [f"input.paths=[{home}/pool.jsonl, {tmp_path}/new.jsonl]"]
    options = written(home)
    options[options.index(f"input.paths={home}/pool.jsonl")] = both[0]
    run, anew, once = (
        moved(made, tmp_path / "run"),
        moved(made, tmp_path / "anew"),
        tmp_path / "once",
    )
    well("demo", "--out", str(run), *options)
    well("demo", "--out", str(anew), *options, "--set", "shards.rewrite=true")
    interrupted("demo", "--out", str(once), *options, after="dedup/part-00001.parquet")
    well("demo", "--out", str(once), *options)
    of = {x: pq.read_table(x / "balance").to_pylist() for x in (run, anew, once)}
    assert of[run] == of[anew] == of[once]
    assert captions(anew) == captions(once) == GROWN
    for path in once.glob("shards/*.tar"):
        assert (anew / "shards" / path.name).read_bytes() == path.read_bytes()
    assert captions(run) == GROWN | {8: KEPT[8]}, "what a shard says is as of when it was written"
    for path in made.glob("shards/*.tar"):
        assert (run / "shards" / path.name).read_bytes() == path.read_bytes()
    lender = str(pair_uids([NEW[0]["url"]], [NEW[0]["caption"]])[0])
    (tmp_path / "list.txt").write_text(f"{lender}\n")
    for one in (run, anew):
        well("revoke", str(one), "--list", str(tmp_path / "list.txt"))
        assert captions(one) == GROWN | {8: KEPT[8]}
        (row,) = (x for x in pq.read_table(one / "balance").to_pylist() if x["uid"] == uid(8))
        assert [(x["caption"], x["weight"]) for x in row["captions"]] == [
            ("cat of France", 1.0), ("", None)
        ]  # fmt: skip


TEXT: dict[str, Any] = {
    "download": {"enabled": False}, "balance": None, "select": [], "part_rows": 40,
    "captions": {LENT: {"duplicates": True}},
}  # fmt: skip


def of_text(folder: Path, rows: list[Pair], **changed: Any) -> list[Pair]:
    """What dedup keeps of captions alone."""
    (folder / "pool.jsonl").write_text("".join(f"{json.dumps(x)}\n" for x in rows))
    settings = {**TEXT, "input": {"paths": f"{folder}/pool.jsonl"}, **changed}
    (folder / "c.yaml").write_text(json.dumps(settings))
    well("run", str(folder / "c.yaml"), "--out", str(folder / "run"))
    return pq.read_table(folder / "run/dedup").to_pylist()  # type: ignore[no-any-return]


def test_at_most_sixteen_of_a_large_cluster(tmp_path: Path) -> None:
    """The first in the order that says who stays; however many parts they come from."""
    texts = ["a cat " + "of a cat " * k for k in range(120)]
    rows = [{"url": A, "caption": text} for text in texts]
    (kept,) = of_text(tmp_path, rows, dedup={"policy": "url", "keep_captions": True})
    longest = [text.strip() for text in texts[::-1]]
    assert [x["caption"] for x in kept["captions"]] == longest[:17]
    assert [x["source"] for x in kept["captions"]] == [OWN] + [LENT] * 16
    assert kept["other_captions"] == longest[1:]


def test_near_captions_of_other_urls_leave_by_host(tmp_path: Path) -> None:
    text = "a cat and a dog on the long and sandy beach of an island in the sea"
    rows = [{"url": f"http://{x}.example/1.jpg", "caption": f"{text}{more}"}
            for x, more in (("a", " today"), ("b", "!"), ("c", "."), ("d", "!"))]  # fmt: skip
    dedup = {"policy": "caption", "normalise": False, "prefer": "rank"}
    ranked = [{**row, "rank": rank} for row, rank in zip(rows, (4, 3, 2, 1), strict=True)]
    inputs = {"paths": f"{tmp_path}/pool.jsonl", "columns": {"keep": ["rank"]}}
    (kept,) = of_text(tmp_path, ranked, dedup=dedup, input=inputs)
    assert [x["caption"] for x in kept["captions"]] == [f"{text}{x}" for x in (" today", "!", ".")]
    (tmp_path / "list.txt").write_text("host:c.example\n")
    well("revoke", str(tmp_path / "run"), "--list", str(tmp_path / "list.txt"))
    (kept,) = pq.read_table(tmp_path / "run/dedup").to_pylist()
    assert [(x["caption"], x["reason"]) for x in kept["captions"]] == [
        (f"{text} today", None), (f"{text}!", None), ("", "revoked")
    ]  # fmt: skip
    assert [x["weight"] for x in kept["captions"]] == [0.5, 0.5, None]


REFUSED = {
    "captions={a: {duplicates: true}, b: {duplicates: true}}": "captions.b: a has those of",
    "captions={a: {duplicates: true, column: title}}": "captions.a: `duplicates` are captions of the",
    "captions={original: {duplicates: true}}": "captions.original is the pair's own caption",
    "captions={a: {duplicates: true, on: url}}": "captions.a: `on` and `key` are of a table",
    "dedup={enabled: false}": "captions.others: no duplicates are dropped; set dedup.enabled: true",
    "scores={x: {kind: relations}}": "scores.x: relations is of the chosen caption, which with",
    f"score={{{MODEL}, embeddings: true, neg_clip_loss: {{}}}}": "neg_clip_loss is of the chosen",
}


@pytest.mark.parametrize("change", REFUSED)
def test_refused_before_work(home: Path, tmp_path: Path, change: str) -> None:
    told = refused("demo", "--out", str(tmp_path / "run"), *written(home, "--set", change))
    assert REFUSED[change] in told
