"""Concepts of a run, by the commands: how often they occur, kept or dropped, and the best of each."""

import csv
import json
import re
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from open_clip.zero_shot_metadata import OPENAI_IMAGENET_TEMPLATES

from curate.commands.demo import serve
from curate.config import file as config_file
from curate.errors import CurateError
from curate.files import shipped
from curate.finding.query import embed_text
from curate.library.opened import open as opened
from curate.rundir.directory import Run
from tests.users import test_captions
from tests.users.runs import curate, document, moved, pairs, refused, well

NAMES = {
    "flag": ["flag", "banner"],
    "arrow": ["arrow", "arrows", "pointer"],
    "button": ["button", "push-button"],
    "ice cream": {"names": ["ice cream", "sundae"], "share": 0.5},
    "animal": ["animal", "mammal", "dog"],
    "dog": ["puppy", "Dog"],
    "sign": ["sign"],
    "aardvark": ["aardvark", "ant bear"],
}
SOME = (*range(100), *range(412, 442))
TEMPLATES = ["a photo of a {}.", "a drawing of the {}."]

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("concepts")


@pytest.fixture(scope="module")
def made(home: Path, undrawn: None) -> Path:
    """A demo over a part of its pool, with embeddings."""
    pool = shipped("pipelines/demo/pool/pool.jsonl").read_text().splitlines()
    (home / "pool.jsonl").write_text("\n".join(pool[i] for i in SOME) + "\n")
    (home / "names.json").write_text(json.dumps(NAMES))
    well(
        "demo", "--out", str(home / "run"), "--set", "score.embeddings=true", "--set", "part_rows=40",
        "--set", f"input.paths={home}/pool.jsonl", "--set", "shards.rows=10",
    )  # fmt: skip
    return home / "run"


@pytest.fixture
def names(home: Path) -> str:
    return str(home / "names.json")


def words(text: str) -> list[str]:
    """Those of a caption of the demo, which are plain."""
    return re.findall(r"[^\W_]+", text.replace("'", "").replace('"', "").lower())


def has(caption: str, concept: str) -> list[str]:
    """The names of a concept in a caption, by the definition."""
    given: Any = NAMES[concept]
    found = " ".join(["", *words(caption), ""])
    listed = given["names"] if isinstance(given, dict) else given
    return [name for name in listed if " ".join(["", *words(name), ""]) in found]


def test_dropped_pairs_count_and_kept_ones_again(made: Path, names: str, home: Path) -> None:
    out = home / "counts.json"
    said = well("concepts", str(made), "--names", names, "--out", str(out),
                "--prompts", str(home / "prompts.json"))  # fmt: skip
    pool = [json.loads(line)["caption"] or "" for line in (home / "pool.jsonl").open()]
    kept = [row["caption"] for row in pairs(made)]
    counts = document(out)
    assert set(counts) == set(NAMES)
    for concept, one in counts.items():
        for name, times in one["names"].items():
            assert times["pool"] == sum(name in has(x, concept) for x in pool), name
            assert times["kept"] == sum(name in has(x, concept) for x in kept), name
        assert one["pool"] == sum(bool(has(x, concept)) for x in pool)
        assert one["kept"] == sum(bool(has(x, concept)) for x in kept)
        assert one["frequency"] == one["pool"] * (0.5 if concept == "ice cream" else 1)
        most = max(x["pool"] for x in one["names"].values())
        first = next(name for name, x in one["names"].items() if x["pool"] == most)
        assert one["name"] == first
    assert 0 < counts["flag"]["kept"] < counts["flag"]["pool"]
    assert [*counts] == sorted(counts, key=lambda x: (-counts[x]["frequency"], -[*NAMES].index(x)))
    assert [x for x in counts if counts[x]["tail"]] == [*counts][-2:]  # a fifth of 8, and not less
    assert [*counts][-1] == "aardvark"
    assert document(home / "prompts.json") == {x: counts[x]["name"] for x in NAMES}
    assert f"{len(pool):,} pairs in the pool, {len(kept):,} kept" in said
    assert "absent   1 concept: no caption has any of their names" in said


def test_each_form_of_the_counts(made: Path, names: str, home: Path) -> None:
    """The same rows, whatever the number of threads."""
    for ending, workers in (("csv", "1"), ("parquet", "3")):
        well("concepts", str(made), "--names", names, "--out", f"{home}/c.{ending}", "-w", workers)
    well("concepts", str(made), "--names", names, "--out", f"{home}/c.json")
    table = pq.read_table(home / "c.parquet").to_pylist()
    with (home / "c.csv").open() as file:
        rows = [*csv.DictReader(file)]
    assert [(x["concept"], x["name"], str(x["pool"]), str(x["kept"])) for x in table] == [
        (x["concept"], x["name"], x["pool"], x["kept"]) for x in rows
    ]
    counts = document(home / "c.json")
    for row in table:
        one = counts[row["concept"]]
        assert one["names"][row["name"]] == {"pool": row["pool"], "kept": row["kept"]}
        assert (one["pool"], one["kept"], one["tail"]) == (
            row["concept_pool"], row["concept_kept"], row["tail"],
        )  # fmt: skip
        assert row["prompt"] == (one["name"] == row["name"])


def prompts(made: Path, templates: list[str]) -> dict[str, Any]:
    """The class prompts by the definition, with open_clip alone."""
    scorer = shipped("pipelines/demo/scorer")
    open_clip.add_model_config(scorer / "curate-mini.json")
    model, _, _ = open_clip.create_model_and_transforms(
        "curate-mini", pretrained=str(scorer / "curate-mini.safetensors")
    )
    model.eval()
    found = {}
    for concept, given in NAMES.items():
        listed: Any = given["names"] if isinstance(given, dict) else given
        texts = [template.format(name) for name in listed for template in templates]
        with torch.inference_mode():
            vectors = model.encode_text(open_clip.get_tokenizer("curate-mini")(texts))
            vectors = torch.nn.functional.normalize(vectors, dim=-1).mean(dim=0)
            found[concept] = torch.nn.functional.normalize(vectors, dim=-1).numpy()
    return found


def best_by_definition(
    made: Path, templates: list[str], *, per: int, kind: str = "txt", side: int = 85
) -> dict[str, list[tuple[float, str]]]:
    """Cosine and uid of the best pairs of each concept, from the files of the run."""
    vectors: dict[str, Any] = {}
    for path in sorted(made.glob("annotated/score/*.npz")):
        with np.load(path) as stored:
            every = zip(stored["uid"].astype(str), stored[f"clip_{kind}"], strict=True)
            wide = ((uid, x.astype(np.float64)) for uid, x in every)
            vectors |= {uid: x / np.linalg.norm(x) for uid, x in wide}
    of_concepts = prompts(made, templates)
    found = {}
    for concept in NAMES:
        rows = [
            (float(vectors[x["uid"]] @ of_concepts[concept]), x["uid"])
            for x in pairs(made)
            if has(x["caption"], concept) and x["smaller_side"] >= side
        ]  # fmt: skip
        rows = [row for row in rows if row[0] >= 0]
        found[concept] = sorted(rows, key=lambda x: (-x[0], x[1]))[:per]
    return found


def table_of(path: Path) -> dict[str, list[tuple[float, str]]]:
    rows = pq.read_table(path).to_pylist()
    found: dict[str, list[tuple[float, str]]] = {concept: [] for concept in NAMES}
    for row in rows:
        found[row["concept"]].append((row["similarity"], row["uid"]))
        assert row["rank"] == len(found[row["concept"]])
        assert row["name"] == has(row["caption"], row["concept"])[0]
    return found


@pytest.mark.parametrize(("by", "kind"), [("caption", "txt"), ("image", "img")])
def test_the_best_of_each_concept_are_those_of_the_definition(
    by: str, kind: str, made: Path, names: str, tmp_path: Path
) -> None:
    chosen = [option for template in TEMPLATES for option in ("--template", template)]
    said = well("subset", str(made), "--concepts", names, "--per", "6", "--by", by, *chosen,
                "--table", f"{tmp_path}/t.parquet", "--npy", f"{tmp_path}/u.npy")  # fmt: skip
    found = table_of(tmp_path / "t.parquet")
    wanted = best_by_definition(made, TEMPLATES, per=6, kind=kind)
    for concept, rows in wanted.items():
        assert [uid for _, uid in found[concept]] == [uid for _, uid in rows]
        assert np.allclose([x for x, _ in found[concept]], [x for x, _ in rows], atol=1e-5)
    uids = {uid for rows in wanted.values() for _, uid in rows}
    listed = [f"{upper:016x}{lower:016x}" for upper, lower in np.load(tmp_path / "u.npy")]
    assert listed == sorted(uids)
    few = {concept: len(rows) for concept, rows in wanted.items() if len(rows) < 6}
    assert 0 < len(few) < len(NAMES)
    told = ", ".join(f"{concept} {n}" for concept, n in few.items())
    assert f"too few: {told}" in said
    assert f"{len(NAMES) - len(few)} concepts of {len(NAMES)} with 6 pairs, by {by}" in said


def test_the_templates_of_imagenet_and_any_number_of_threads(
    made: Path, names: str, tmp_path: Path
) -> None:
    """By default OpenAI's, whose mean is another; the same bytes come out of one thread and of more."""
    templates = [template("{}") for template in OPENAI_IMAGENET_TEMPLATES]
    assert len(templates) == 80
    for workers in ("1", "3"):
        well("subset", str(made), "--concepts", names, "--per", "9", "--min-side", "300",
             "--table", f"{tmp_path}/{workers}.parquet", "--workers", workers)  # fmt: skip
    assert (tmp_path / "1.parquet").read_bytes() == (tmp_path / "3.parquet").read_bytes()
    wanted = best_by_definition(made, templates, per=9, side=300)
    assert any(wanted.values())
    sides = {row["uid"]: row["smaller_side"] for row in pairs(made)}
    assert min(sides.values()) < 300 <= min(sides[x] for of in wanted.values() for _, x in of)
    assert {concept: [uid for _, uid in rows] for concept, rows in wanted.items()} == {
        concept: [uid for _, uid in rows]
        for concept, rows in table_of(tmp_path / "1.parquet").items()
    }


def test_copies_of_the_best(made: Path, names: str, tmp_path: Path) -> None:
    """Each pair once, with all its concepts; image and text are those of the run."""
    said = well("subset", str(made), "--concepts", names, "--per", "200", "--template", "a {}",
                "--out", f"{tmp_path}/real", "--table", f"{tmp_path}/t.csv")  # fmt: skip
    well("verify", f"{tmp_path}/real")
    with (tmp_path / "t.csv").open() as file:
        rows = [*csv.DictReader(file)]
    of: dict[str, list[str]] = {}
    for row in rows:
        of.setdefault(row["uid"], []).append(row["concept"])
    assert max(map(len, of.values())) > 1
    shards = sorted((tmp_path / "real").glob("*.parquet"))
    assert document(tmp_path / "real/sizes.json") == {
        f"{path.stem}.tar": pq.read_metadata(path).num_rows for path in shards
    }
    assert len(shards) == -(-len(of) // 10) > 1
    table = pa.concat_tables([pq.read_table(path) for path in shards]).to_pylist()
    assert {row["uid"]: row["concepts"] for row in table} == of
    before = {row["uid"]: row for row in pairs(made)}
    members = tars(tmp_path / "real")
    originals = tars(made / "shards")
    for row in table:
        was, key = before[row["uid"]]["key"], row["key"]
        assert members[f"{key}.txt"] == originals[f"{was}.txt"]
        (image,) = (
            x for x in originals if x.startswith(f"{was}.") and x[-4:] not in (".txt", "json")
        )
        assert members[image.replace(was, key)] == originals[image]
        told = json.loads(members[f"{key}.json"])
        original = json.loads(originals[f"{was}.json"])
        assert told == original | {
            "key": key, "concepts": row["concepts"],
            "concept_similarity": pytest.approx(row["concept_similarity"]),
        }  # fmt: skip
    assert f"{len(shards)} shards, {len(of)} pairs" in said
    assert "is not empty" in refused(
        "subset", str(made), "--concepts", names, "--out", f"{tmp_path}/real"
    )


def tars(folder: Path) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            found |= {x.name: tar.extractfile(x).read() for x in tar}  # type: ignore[union-attr]
    return found


def test_revoked_pairs_neither_count_nor_come(made: Path, names: str, tmp_path: Path) -> None:
    run = moved(made, tmp_path / "run")
    options = "--concepts", names, "--template", "a {}", "--per", "3", "--table"
    well("subset", str(run), *options, f"{tmp_path}/a.parquet")
    well("concepts", str(run), "--names", names, "--out", f"{tmp_path}/a.json")
    gone = [uid for _, uid in table_of(tmp_path / "a.parquet")["flag"]]
    (tmp_path / "list.txt").write_text("\n".join(gone) + "\n")
    well("revoke", str(run), "--list", f"{tmp_path}/list.txt")
    well("concepts", str(run), "--names", names, "--out", f"{tmp_path}/b.json")
    before, after = document(tmp_path / "a.json")["flag"], document(tmp_path / "b.json")["flag"]
    assert (after["pool"], after["kept"]) == (before["pool"] - 3, before["kept"] - 3)
    well("subset", str(run), *options, f"{tmp_path}/b.parquet")
    found = pq.read_table(tmp_path / "b.parquet")["uid"].to_pylist()
    assert not {*found}.intersection(gone)


def test_a_rebalanced_run_has_the_pool_of_its_source(
    made: Path, names: str, tmp_path: Path
) -> None:
    well("rebalance", str(made), "--out", f"{tmp_path}/t", "--t", "1000")
    well("concepts", f"{tmp_path}/t", "--names", names, "--out", f"{tmp_path}/t.json")
    well("concepts", str(made), "--names", names, "--out", f"{tmp_path}/made.json")
    ours, source = document(tmp_path / "t.json"), document(tmp_path / "made.json")
    assert [ours[x]["pool"] for x in NAMES] == [source[x]["pool"] for x in NAMES]
    assert ours["flag"]["kept"] > source["flag"]["kept"]
    well("subset", f"{tmp_path}/t", "--concepts", names, "--template", "a {}",
         "--table", f"{tmp_path}/t.parquet", "--out", f"{tmp_path}/copy")  # fmt: skip
    uids = {row["uid"] for row in pq.read_table(tmp_path / "t.parquet").to_pylist()}
    assert uids <= {row["uid"] for row in pairs(tmp_path / "t")}
    assert uids - {row["uid"] for row in pairs(made)}
    well("verify", f"{tmp_path}/copy")


def test_a_pair_of_several_captions_counts_once_for_any(tmp_path: Path) -> None:
    """In the pool each that it came with; among the kept those that were not left out."""
    well("demo", "--out", f"{tmp_path}/run", *test_captions.written(tmp_path))
    listed = {
        "dog": ["dog"], "cat": ["cat"], "blue button": ["blue button"], "islands": ["islands"],
        "button": ["button"],
    }  # fmt: skip
    (tmp_path / "names.json").write_text(json.dumps(listed))
    well("concepts", f"{tmp_path}/run", "--names", f"{tmp_path}/names.json",
         "--out", f"{tmp_path}/c.json")  # fmt: skip
    found = {x: (y["pool"], y["kept"]) for x, y in document(tmp_path / "c.json").items()}
    assert found == {
        "dog": (5, 5), "cat": (5, 5), "blue button": (1, 0), "islands": (1, 0), "button": (1, 1),
    }  # fmt: skip


def test_the_caption_that_is_compared_is_the_one_that_is_embedded(tmp_path: Path) -> None:
    """Of several it is the pair's own choice; by the image any caption of the set may name it."""
    options = test_captions.written(tmp_path)
    at = options.index("score=null")
    del options[at - 1 : at + 1]
    well("demo", "--out", f"{tmp_path}/run", *options, "--set", "score.embeddings=true")
    (tmp_path / "n.json").write_text(json.dumps({"paw": ["paw"], "dog": ["dog"]}))
    choose = "--concepts", f"{tmp_path}/n.json", "--template", "{}", "--min-similarity", "-1"
    run = f"{tmp_path}/run"
    for by in ("caption", "image"):
        well("subset", run, *choose, "--by", by, "--table", f"{tmp_path}/{by}.parquet")
    (first,) = {row["uid"] for row in pairs(Path(run)) if row["caption"] == "a dog"}
    rows = pq.read_table(tmp_path / "caption.parquet").to_pylist()
    assert all("dog" in row["caption"] for row in rows)
    assert first in {row["uid"] for row in rows}
    by_image = pq.read_table(tmp_path / "image.parquet").to_pylist()
    assert [(x["concept"], x["uid"]) for x in by_image if x["concept"] == "paw"] == [("paw", first)]
    config = config_file.load(f"{run}/config.yaml")
    assert config.score is not None
    query = embed_text(config.score, "dog")
    for row in rows:
        cosine = float(embed_text(config.score, row["caption"]) @ query)
        assert row["similarity"] == pytest.approx(cosine, abs=2e-3)


def test_the_recipe_searches_captions_and_fetches_what_has_a_name(
    home: Path, made: Path, names: str, tmp_path: Path
) -> None:
    """Its four commands, with the demo's model: the pairs of the run without rules that kept all."""
    (tmp_path / "real.yaml").write_text(well("config", "--recipe", "real"))
    scorer = shipped("pipelines/demo/scorer/curate-mini.safetensors")
    with serve() as addresses:
        run = "run", f"{tmp_path}/real.yaml", "--set", f"input.paths={home}/pool.jsonl"
        well(*run, "--out", f"{tmp_path}/captions", "--set", "download.enabled=false",
             "--set", "score=null", "--set", "select=[]")  # fmt: skip
        well("concepts", f"{tmp_path}/captions", "--names", names, "--export", f"{tmp_path}/n.npy",
             "--prompts", f"{tmp_path}/p.json")  # fmt: skip
        well(*run, "--out", f"{tmp_path}/run", "--set", f"prepare.uids_in={tmp_path}/n.npy",
             "--set", f"score.model={scorer.with_suffix('.json')}",
             "--set", f"score.pretrained={scorer}",
             "--set", f"download.connect_to={json.dumps(addresses)}")  # fmt: skip
    captions = [json.loads(line)["caption"] or "" for line in (home / "pool.jsonl").open()]
    prepared = pq.read_table(tmp_path / "run/prepare")["caption"].to_pylist()
    named = [x for x in captions if any(has(x, concept) for concept in NAMES)]
    assert {*prepared} <= {*named}
    assert 0 < len(np.load(tmp_path / "n.npy")) <= len(named)
    kept = pairs(tmp_path / "run")
    assert min(row["smaller_side"] for row in kept) >= 85
    assert {row["uid"] for row in kept} >= {
        row["uid"] for row in pairs(made)
        if row["smaller_side"] >= 85 and any(has(row["caption"], concept) for concept in NAMES)
    }  # fmt: skip
    well("subset", f"{tmp_path}/run", "--concepts", names, "--per", "5", "--template", TEMPLATES[0],
         "--table", f"{tmp_path}/t.parquet", "--npy", f"{tmp_path}/b.npy")  # fmt: skip
    wanted = best_by_definition(tmp_path / "run", TEMPLATES[:1], per=5)
    assert {concept: [uid for _, uid in rows] for concept, rows in wanted.items()} == {
        concept: [uid for _, uid in rows]
        for concept, rows in table_of(tmp_path / "t.parquet").items()
    }
    assert document(tmp_path / "p.json")["dog"] == "Dog"


def test_from_python(made: Path, names: str) -> None:
    found = opened(made).concepts(names)
    assert found.named() == opened(made).concepts(NAMES).named()
    assert found.table["concept"].to_pylist()[:2] == ["flag", "flag"]
    with pytest.raises(CurateError, match="concepts: concept 'a' has no names"):
        opened(made).concepts({"a": []})


def test_what_is_refused_in_a_line(small: Path, made: Path, names: str, tmp_path: Path) -> None:
    run = str(made)
    assert "no run here" in refused("concepts", str(tmp_path), "--names", names)
    assert "no such file" in refused("concepts", run, "--names", f"{tmp_path}/none.json")
    assert "ends in .csv, .parquet, .json" in refused(
        "concepts", run, "--names", names, "--out", "x.txt"
    )
    assert "ends in .npy" in refused("concepts", run, "--names", names, "--export", "x.txt")
    assert "--workers 0" in refused("concepts", run, "--names", names, "--workers", "0")
    assert "give --npy FILE, the file to write" in refused("subset", run)
    assert "--table needs --concepts" in refused(
        "subset", run, "--npy", "u.npy", "--table", "t.csv"
    )
    best: tuple[str, ...] = ("subset", run, "--concepts", names)
    assert "give --npy FILE, --table FILE or --out DIR" in refused(*best)
    best = *best, "--table", f"{tmp_path}/t.csv"
    assert "--per 0" in refused(*best, "--per", "0")
    assert "a cosine is from -1 to 1" in refused(*best, "--min-similarity", "2")
    assert "--min-side -1" in refused(*best, "--min-side", "-1")
    assert "it needs {} where the name goes" in refused(*best, "--template", "a photo")
    assert "--concepts takes what score or balance kept" in refused(*best, "--stage", "dedup")
    assert "the shards hold what balance kept" in refused(
        *best, "--stage", "score", "--out", f"{tmp_path}/o"
    )
    assert "leave out one" in refused(*best, "--list", names)
    assert "ends in .csv or .parquet" in refused(*best[:-1], "t.json")
    assert "no embeddings of its images are stored; store them by: curate run" in refused(
        "subset", str(small), "--concepts", names, "--table", f"{tmp_path}/t.csv"
    )
    assert not [*tmp_path.iterdir()]


def test_a_concept_in_no_caption_needs_no_model(made: Path, tmp_path: Path) -> None:
    """Nothing comes out, and it is said; an empty set of shards is written all the same."""
    (tmp_path / "n.txt").write_text("aardvark\taardvark\naardvark\tant bear\n")
    said = well("subset", str(made), "--concepts", f"{tmp_path}/n.txt", "--npy", f"{tmp_path}/u.npy",
                "--table", f"{tmp_path}/t.csv", "--out", f"{tmp_path}/o")  # fmt: skip
    assert "too few: aardvark 0" in said
    assert np.load(tmp_path / "u.npy").shape == (0,)
    assert (tmp_path / "t.csv").read_text().count("\n") == 1
    assert document(tmp_path / "o/sizes.json") == {}


def test_an_unfinished_run_says_so(made: Path, names: str, tmp_path: Path) -> None:
    run = Path(shutil.copytree(made, tmp_path / "run"))
    at = Run.at(str(run))
    at.update(state="failed")
    done = curate("concepts", str(run), "--names", names)
    assert "warning" in done.stderr
    assert "pairs in the pool" in done.stdout
