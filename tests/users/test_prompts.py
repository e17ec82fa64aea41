"""`kind: prompts`: what images show, by texts, of stored embeddings."""

from pathlib import Path

import numpy as np
import open_clip
import pyarrow.parquet as pq
import pytest
import torch

from curate.files import shipped
from tests.users.runs import curate, document, refused, small_run, well

SCORER = {key: str(shipped(f"pipelines/demo/scorer/curate-mini.{ending}"))
          for key, ending in (("model", "json"), ("pretrained", "safetensors"))}  # fmt: skip
SCORE = ("--set", f"score={{model: {SCORER['model']}, pretrained: {SCORER['pretrained']},"
         " embeddings: true}")  # fmt: skip
ASKED = (
    "scores.animal={kind: prompts, prompts: [a dog, a bird], templates: ['{}', 'a photo of {}']}"
)


@pytest.fixture(scope="module")
def prompted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run with the score `animal`."""
    return small_run(tmp_path_factory.mktemp("prompts"), *SCORE, "--set", ASKED)


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


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("{kind: prompts}", "`prompts` and kind prompts go together"),
        ("{kind: prompts, prompts: [x], templates: [a photo]}", "'a photo', which has no {}"),
        ("{kind: nsfw, templates: ['the {}']}", "`templates` is of kind prompts, not of nsfw"),
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
