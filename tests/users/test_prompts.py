"""`kind: prompts`: what images show, by texts, of stored embeddings."""

import math
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import open_clip
import pyarrow.parquet as pq
import pytest
import torch

from curate.config.file import load
from curate.files import shipped
from curate.planning.digests import StepDigest
from curate.planning.plan import make_plan
from curate.stages.score.measure import transform
from curate.stages.score.once import MadeOnce
from tests.users.runs import curate, document, moved, refused, small_run, well

SCORER = {key: str(shipped(f"pipelines/demo/scorer/curate-mini.{ending}"))
          for key, ending in (("model", "json"), ("pretrained", "safetensors"))}  # fmt: skip
SCORE = ("--set", f"score={{model: {SCORER['model']}, pretrained: {SCORER['pretrained']},"
         " embeddings: true}")  # fmt: skip
ASKED = (
    "scores.animal={kind: prompts, prompts: [a dog, a bird], templates: ['{}', 'a photo of {}']}"
)
GROUPS = {"beast": ["a dog", "a bird"], "plant": ["a tree", "a flower"], "thing": ["a car"]}
SHOWS = (
    "scores.shows={kind: prompts, groups: {beast: [a dog, a bird], plant: [a tree, a flower],"
    " thing: [a car]}, templates: ['a photo of {}'], temperature: 0.02}"
)


@pytest.fixture(scope="module")
def prompted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run with the scores `animal` and `shows`."""
    options = ("--set", ASKED, "--set", SHOWS)
    return small_run(tmp_path_factory.mktemp("prompts"), *SCORE, *options)


def naive(run: Path, texts: list[str]) -> dict[str, float]:
    """The cosine of each pair's image and the mean of `texts`, as open_clip itself embeds them."""
    open_clip.add_model_config(SCORER["model"])
    model = open_clip.create_model("curate-mini", pretrained=SCORER["pretrained"]).eval()
    with torch.inference_mode():
        found = model.encode_text(open_clip.get_tokenizer("curate-mini")(texts))
    mean = torch.nn.functional.normalize(found, dim=-1).mean(dim=0)
    cosines: dict[str, float] = {}
    for path in sorted((run / "annotated/score").glob("part-*.npz")):
        stored = np.load(path)
        images = torch.from_numpy(next(stored[x] for x in stored if x.endswith("_img"))).float()
        values = torch.nn.functional.cosine_similarity(images, mean[None]).tolist()
        cosines |= dict(zip(stored["uid"].astype(str).tolist(), values, strict=True))
    return cosines


def column(run: Path) -> dict[str, float]:
    found = pq.read_table(run / "annotated/score/animal").select(["uid", "animal"]).to_pylist()
    return {row["uid"]: row["animal"] for row in found}


def test_the_cosine_is_that_of_the_mean_of_all_prompts_in_all_templates(prompted: Path) -> None:
    texts = ["a dog", "a photo of a dog", "a bird", "a photo of a bird"]
    expected = naive(prompted, texts)
    found = column(prompted)
    assert found.keys() == expected.keys()
    assert found == pytest.approx(expected, abs=2e-6)


def test_other_prompts_are_looked_for_without_the_model(prompted: Path) -> None:
    config = str(prompted / "config.yaml")
    before = {x: (prompted / x).read_bytes() for x in ("annotated/score/part-00000.npz",)}
    changed = ASKED.replace("a dog, a bird", "a tree")
    well("run", config, "--set", changed, "--force")
    assert column(prompted) == pytest.approx(
        naive(prompted, ["a tree", "a photo of a tree"]), abs=2e-6
    )
    assert {x: (prompted / x).read_bytes() for x in before} == before
    assert document(prompted / "run.json")["state"] == "complete"


def test_of_groups_it_is_the_softmax_and_the_best(prompted: Path) -> None:
    """By the definition, over the stored embeddings and open_clip's own vectors of texts."""
    cosines = {group: naive(prompted, [f"a photo of {x}" for x in texts])
               for group, texts in GROUPS.items()}  # fmt: skip
    found = pq.read_table(prompted / "annotated/score/shows").to_pylist()
    assert len(found) > 50
    for row in found:
        powers = {group: math.exp(cosines[group][row["uid"]] / 0.02) for group in GROUPS}
        shares = {f"shows_{group}": x / sum(powers.values()) for group, x in powers.items()}
        told = {name: row[name] for name in shares}
        assert told == pytest.approx(shares, abs=1e-4)
        assert sum(told.values()) == pytest.approx(1, abs=1e-6)
        assert row["shows"] == max(powers, key=lambda group: powers[group])
    assert len({row["shows"] for row in found}) > 1


def test_the_model_is_not_loaded_for_a_score_that_stands(prompted: Path) -> None:
    plan = make_plan(load(str(prompted / "config.yaml"), out=str(prompted)))
    step = plan.steps.at("score/annotated/shows")
    assert not isinstance(transform(plan, step), MadeOnce)
    digests = plan.digests | {step.folder: StepDigest("other", "other")}
    assert isinstance(transform(replace(plan, digests=digests), step), MadeOnce)


def test_rules_select_by_the_group_and_by_its_share(prompted: Path, tmp_path: Path) -> None:
    run = moved(prompted, tmp_path / "run")
    before = {x.name: x.read_bytes() for x in run.glob("annotated/score/shows/part-*")}
    rules = ("[{name: living, column: shows, in: [beast, plant]},"
             " {name: clear, column: shows_beast, top_fraction: 0.5, per: shows}]")  # fmt: skip
    well("run", str(run / "config.yaml"), "--set", f"select={rules}", "--force")
    assert {x.name: x.read_bytes() for x in run.glob("annotated/score/shows/part-*")} == before
    reasons = Counter(pq.read_table(run / "dropped/score")["reason"].to_pylist())
    shown = Counter(pq.read_table(run / "annotated/score/shows")["shows"].to_pylist())
    assert reasons["rule:living"] == shown["thing"] > 0
    assert reasons["rule:clear"] > 0
    kept = pq.read_table(run / "score").to_pylist()
    assert {row["shows"] for row in kept} <= {"beast", "plant"}


def test_groups_of_the_same_names_as_columns_are_refused(tmp_path: Path) -> None:
    told = refused(
        "demo", "--out", str(tmp_path / "r"), *SCORE, "--set", SHOWS,
        "--set", "scores.shows_beast={kind: prompts, prompts: [x]}",
    )  # fmt: skip
    assert "shows_beast is taken by another column" in told


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("{kind: prompts}", "kind prompts has one of `prompts` and `groups`"),
        (
            "{kind: prompts, prompts: [x], groups: {a: [x], b: [y]}}",
            "one of `prompts` and `groups`",
        ),
        ("{kind: prompts, groups: {a: [x]}}", "`groups` needs two groups or more"),
        ("{kind: prompts, groups: {a: [x], b: []}}", "`groups.b` holds no text"),
        ("{kind: prompts, groups: {a: [x, x], b: [y]}}", "`groups.a` holds 'x' twice"),
        ("{kind: prompts, groups: {a: [x], b: [x]}}", "groups.b holds the same texts as groups.a"),
        ("{kind: prompts, prompts: [' ']}", "`prompts` holds no text, or an empty one"),
        ("{kind: prompts, prompts: [x], temperature: 1}", "`temperature` is of `groups`"),
        ("{kind: prompts, groups: {a: [x], b: [y]}, temperature: 0}", "greater than 0"),
        ("{kind: nsfw, prompts: [x]}", "`prompts` is of kind prompts, not of nsfw"),
        ("{kind: prompts, prompts: [x], templates: [a photo]}", "'a photo', which has no {}"),
        (
            "{kind: nsfw, templates: ['the {}']}",
            "`templates` are of kinds prompts and entities, not of nsfw",
        ),
        ("{kind: prompts, prompts: [x]}", "set score.model and score.embeddings: true"),
    ],
)
def test_what_cannot_be_is_refused(asked: str, told: str, tmp_path: Path) -> None:
    assert told in refused("demo", "--out", str(tmp_path / "r"), "--set", f"scores.animal={asked}")
    assert not (tmp_path / "r").exists()


def test_it_stands_in_the_shards(prompted: Path) -> None:
    done = curate("explain", str(prompted), next(iter(column(prompted))))
    assert "animal" in done.stdout
    assert "animal" in pq.read_schema(next((prompted / "shards").glob("*.parquet"))).names
