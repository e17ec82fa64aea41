"""The scorer against a plain loop over open_clip's own API, and what it does when things go wrong."""

import io
import json
import logging
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from curate.errors import CurateError
from curate.files import resolve, shipped
from curate.ops.scores.clip import ClipModel, ClipScorer, embedding_prefix, known_models
from curate.ops.scores.pairs import Embedded, Scorer

MINI = "shipped://pipelines/demo/scorer/curate-mini.json"
MINI_WEIGHTS = "shipped://pipelines/demo/scorer/curate-mini.safetensors"
TOWERS = {
    "tiny-vit": {"image_size": 64, "layers": 2, "width": 64, "patch_size": 16, "head_width": 32},
    "tiny-timm": {"image_size": 64, "timm_model_name": "resnet18", "timm_model_pretrained": False,
                  "timm_pool": "avg", "timm_proj": "linear"},
}  # fmt: skip
TEXT = {"context_length": 24, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2}


@lru_cache
def pairs() -> tuple[list[bytes], list[str]]:
    """Thirteen pictures as they are stored, one of them grey and one with a palette."""
    folder = shipped("pipelines/demo/pool/images")
    contents = [path.read_bytes() for path in sorted(folder.glob("*.jpg"))[:11]]
    for mode in ("L", "P"):
        stored = io.BytesIO()
        Image.open(io.BytesIO(contents[0])).convert(mode).save(stored, "PNG")
        contents.append(stored.getvalue())
    return contents, [f"a picture of {i} things, {path}" for i, path in enumerate(range(13))]


@pytest.fixture(scope="module")
def custom(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ClipModel]:
    """Models of one's own: a configuration and a checkpoint each, from a seed."""
    import open_clip
    import torch

    folder = tmp_path_factory.mktemp("models")
    made = {"curate-mini": ClipModel(MINI, MINI_WEIGHTS)}
    for name, tower in TOWERS.items():
        document = {"embed_dim": 32, "vision_cfg": tower, "text_cfg": TEXT}
        (folder / f"{name}.json").write_text(json.dumps(document))
        open_clip.add_model_config(folder / f"{name}.json")
        torch.manual_seed(0)
        torch.save(open_clip.create_model(name).state_dict(), folder / f"{name}.pt")
        made[name] = ClipModel(str(folder / f"{name}.json"), str(folder / f"{name}.pt"))
    return made


@lru_cache
def reference(spec: ClipModel) -> Any:
    """Scores and embeddings, a pair at a time."""
    import open_clip
    import torch

    open_clip.add_model_config(resolve(spec.model))
    name = Path(spec.model).stem
    model, _, preprocess = open_clip.create_model_and_transforms(
        name, pretrained=resolve(str(spec.pretrained))
    )
    tokenizer = open_clip.get_tokenizer(name)
    model.eval()
    rows = []
    for content, caption in zip(*pairs(), strict=True):
        with torch.no_grad():
            seen = Image.open(io.BytesIO(content)).convert("RGB")  # as open_clip's training does
            image = model.encode_image(preprocess(seen)[None])
            text = model.encode_text(tokenizer([caption]))
            image, text = (x / x.norm(dim=-1, keepdim=True) for x in (image, text))
        rows.append(((image @ text.T).item(), image[0].numpy(), text[0].numpy()))
    return [np.array(column) for column in zip(*rows, strict=True)]


def run(scorer: Scorer, *rows: int) -> Embedded:
    contents, captions = pairs()
    images = [scorer.prepare(contents[row]) for row in rows]
    return scorer(scorer.collate(images, [captions[row] for row in rows]))


@pytest.mark.parametrize("name", ["tiny-vit", "tiny-timm", "curate-mini"])
def test_equal_to_open_clip_and_bit_for_bit_whatever_the_company(
    name: str, custom: dict[str, ClipModel]
) -> None:
    """A ViT, two timm trunks, and checkpoints of both formats."""
    scorer = ClipModel(custom[name].model, custom[name].pretrained, batch_size=5).load()
    first = [run(scorer, *rows) for rows in (range(5), range(5, 10), range(10, 13))]
    captions = pairs()[1][:5]
    alone = scorer(scorer.collate([], captions))
    np.testing.assert_array_equal(alone.text, first[0].text)
    assert alone.image.shape == (5, 0)
    scores, image, text = reference(custom[name])
    whole = [
        np.concatenate([getattr(x, key) for x in first]) for key in ("scores", "image", "text")
    ]
    for found, wanted in zip(whole, (scores, image, text), strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert np.ptp(scores) > 0.01  # so that a mix-up of rows would show
    again = [run(scorer, *rows) for rows in ([12, 0, 7], [3], [1, 2, 4, 5, 6], [11, 10, 9, 8])]
    order = [12, 0, 7, 3, 1, 2, 4, 5, 6, 11, 10, 9, 8]
    for key, found in zip(("scores", "image", "text"), whole, strict=True):
        np.testing.assert_array_equal(
            np.concatenate([getattr(x, key) for x in again]), found[order]
        )


def test_half_precision_is_near(custom: dict[str, ClipModel]) -> None:
    tiny = custom["tiny-vit"]
    scorer = ClipModel(tiny.model, tiny.pretrained, precision="bf16", batch_size=4).load()
    found = run(scorer, 0, 1, 2).scores
    np.testing.assert_allclose(found, reference(tiny)[0][:3], atol=2e-2)
    assert np.abs(found - reference(tiny)[0][:3]).max() > 1e-6


@pytest.mark.parametrize("cut", [0, 1, 20, 300])
def test_what_is_no_image_has_no_pixels(cut: int, custom: dict[str, ClipModel]) -> None:
    scorer = custom["tiny-vit"].load()
    content = pairs()[0][0]
    assert scorer.prepare(content) is not None
    assert scorer.prepare(content[:cut]) is None
    assert scorer.prepare(b"<svg" + content) is None


class Cramped:
    """A tower for which more than so many rows are too many."""

    def __init__(self, tower: Any, most: int) -> None:
        self.tower, self.most = tower, most
        self.sizes: list[int] = []

    def __call__(self, rows: Any) -> Any:
        import torch

        self.sizes.append(len(rows))
        if len(rows) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return self.tower(rows)


def cramped(spec: ClipModel, most: int) -> tuple[ClipScorer, Cramped]:
    scorer = ClipScorer(ClipModel(spec.model, spec.pretrained, batch_size=11))
    image, text = scorer._encode
    tower = Cramped(image, most)
    scorer._encode = (tower, text)
    return scorer, tower


def test_out_of_memory_halves_the_batch_and_says_so(
    custom: dict[str, ClipModel], caplog: pytest.LogCaptureFixture
) -> None:
    scorer, tower = cramped(custom["tiny-vit"], 3)
    with caplog.at_level(logging.WARNING):
        found = run(scorer, *range(11))
    np.testing.assert_allclose(found.scores, reference(custom["tiny-vit"])[0][:11], atol=1e-5)
    assert (scorer.batch_size, scorer.out_of_memory) == (3, 2)
    assert tower.sizes == [11, 6, 3, 3, 3, 3]
    assert "out of memory with batches of 11; going on with 6" in caplog.text
    assert len(run(scorer, 0, 1).scores) == 2
    assert tower.sizes[6:] == [3]


def test_out_of_memory_with_one_pair_is_the_end(custom: dict[str, ClipModel]) -> None:
    scorer, _ = cramped(custom["tiny-vit"], 0)
    with pytest.raises(CurateError, match="one pair does not fit in the memory of cpu"):
        run(scorer, 0, 1)


def test_other_errors_of_the_model_are_not_taken_for_it(custom: dict[str, ClipModel]) -> None:
    scorer = ClipScorer(custom["tiny-vit"])
    batch = scorer.collate([scorer.prepare(pairs()[0][0])], ["a"])
    wrong = type(batch)(batch.pixels[:, :2], batch.tokens, 1)
    with pytest.raises(RuntimeError, match="channels"):
        scorer(wrong)


def test_one_model_a_process(custom: dict[str, ClipModel]) -> None:
    from concurrent.futures import ThreadPoolExecutor

    spec = ClipModel(custom["tiny-vit"].model, custom["tiny-vit"].pretrained, batch_size=7)
    with ThreadPoolExecutor(4) as pool:
        loaded = list(pool.map(lambda _: spec.load(), range(4)))
    assert len({id(scorer) for scorer in loaded}) == 1


def test_a_checkpoint_of_another_shape_or_none(
    custom: dict[str, ClipModel], tmp_path: Path
) -> None:
    vit, timm = custom["tiny-vit"], custom["tiny-timm"]
    with pytest.raises(CurateError, match="cannot be loaded") as caught:
        ClipModel(vit.model, timm.pretrained).load()
    assert "\n" not in str(caught.value)
    for name in ("text.pt", "text.safetensors"):
        (tmp_path / name).write_text("not a checkpoint")
        with pytest.raises(CurateError, match=rf"{name}' cannot be loaded: it is no checkpoint"):
            ClipModel(vit.model, str(tmp_path / name)).load()


def test_names() -> None:
    assert {"ViT-B-32", "ViT-L-14"} <= set(known_models())
    prefixes = {"ViT-B-32": "b32", "ViT-L-14": "l14", "ViT-B-16-SigLIP-384": "b16",
                "hf-hub:a/DFN5B-CLIP-ViT-H-14": "h14", "RN50": "clip", "a/b.json": "clip"}  # fmt: skip
    assert {model: embedding_prefix(model) for model in prefixes} == prefixes
