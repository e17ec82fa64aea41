"""What tokens do, against the definition written naively: every head, every token, double precision."""

import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from curate.ops.scores.attribution import TEMPLATE, TextModel, TextTower, attribution
from curate.ops.scores.clip import ClipModel, opened
from curate.ops.scores.devices import FAKE
from curate.ops.scores.pairs import Embedded
from curate.ops.scores.served import Served
from tests.ops.scores.test_clip import MINI, MINI_WEIGHTS

TEXT: dict[str, object] = {
    "context_length": 24, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 5
}  # fmt: skip
TOWERS: dict[str, dict[str, object]] = {
    "plain": {},
    "two-blocks": {"layers": 2},
    "projected": {"proj_bias": True, "ls_init_value": 0.3, "pool_type": "eos", "eos_id": 49407},
    "sees-all": {"no_causal_mask": True, "pool_type": "last"},
    "first": {"no_causal_mask": True, "pool_type": "first"},
    "extra-token": {"embed_cls": True, "context_length": 23},
    "normed": {"qk_norm": True, "scale_heads": True, "scale_attn_inner": True, "scale_attn": True,
               "scale_fc": True},
}  # fmt: skip
VISION = {"image_size": 32, "layers": 1, "width": 32, "patch_size": 16, "head_width": 16}
CAPTIONS = [
    "a dog",
    "two dachshunds, asleep on a sofa.",
    "",
    "the quick brown fox jumps over the lazy dog and then over the very same lazy dog again",
    "caf\u00e9 <end_of_text> cat",
]


def test_the_worked_example() -> None:
    import torch

    attention = torch.tensor([0.5, 0.3, 0.2], requires_grad=True)
    weights = attention[None, None, None]
    out = weights[0, 0, 0] @ torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    cosine = torch.nn.functional.cosine_similarity(out, torch.tensor([1.0, 0.0]), dim=0)
    assert cosine.item() == pytest.approx(0.813733, abs=5e-7)
    (found,) = attribution([weights], cosine[None])
    assert found.tolist() == pytest.approx([0.196364, -0.164946, -0.031418], abs=5e-7)
    assert found.sum().item() == pytest.approx(0, abs=1e-7)


def naive(model: Any, tokens: Any, image: Any) -> tuple[float, NDArray[np.float64]]:
    """The cosine and R[EOT] of one text, (1, context), every attention a loop over heads."""
    import torch

    tower = getattr(model, "text", model)
    if hasattr(tower, "_embeds"):
        x, mask = tower._embeds(tokens)
    else:
        x, mask = model.token_embedding(tokens) + model.positional_embedding, model.attn_mask
    n = x.shape[1]
    mask = torch.zeros(n, n) if mask is None else mask
    of_head = mask if mask.ndim == 3 else mask.expand(tower.transformer.resblocks[0].attn.num_heads,
                                                     n, n)  # fmt: skip
    x, kept = x[0].double(), []
    for block in tower.transformer.resblocks:
        attn, width = block.attn, x.shape[1]
        normed, size = block.ln_1(x), width // block.attn.num_heads
        heads, each = [], []
        for head in range(attn.num_heads):
            at = slice(head * size, (head + 1) * size)
            q, k, v = (
                normed @ attn.in_proj_weight[first : first + width][at].T
                + attn.in_proj_bias[first : first + width][at]
                for first in (0, width, 2 * width)
            )
            if hasattr(attn, "ln_q"):
                q, k = attn.ln_q(q), attn.ln_k(k)
            a = torch.softmax(q @ k.T / size**0.5 + of_head[head].double(), dim=-1)
            a.requires_grad_()
            each.append(a)
            scale = attn.head_scale[head] if getattr(attn, "head_scale", None) is not None else 1
            heads.append(a @ v * scale)
        kept.append(each)
        out = torch.cat(heads, dim=1)
        out = attn.out_proj(attn.ln_inner(out) if hasattr(attn, "ln_inner") else out)
        x = x + block.ls_1(block.ln_attn(out) if hasattr(block, "ln_attn") else out)
        x = x + block.ls_2(block.mlp(block.ln_2(x)))
    pool = getattr(tower, "text_pool_type", None) or tower.pool_type
    row = {
        "argmax": int(tokens[0].argmax()), "last": n - 1, "first": 0,
        "eos": int((tokens[0] == 49407).int().argmax()),
    }[pool]  # fmt: skip
    row = n - 1 if getattr(tower, "cls_emb", None) is not None else row
    feature = tower.ln_final(x)[row]
    projection = tower.text_projection
    feature = projection(feature) if callable(projection) else feature @ projection
    cosine = torch.nn.functional.cosine_similarity(feature, image.double(), dim=0)
    found = torch.zeros(n, dtype=torch.float64)
    for each in kept[-3:]:
        for a, slope in zip(
            each, torch.autograd.grad(cosine, each, retain_graph=True), strict=True
        ):
            found += (a * slope)[row].detach() / len(each) / len(kept[-3:])
    return cosine.item(), found.numpy()


@pytest.fixture(scope="module", params=["curate-mini", *TOWERS])
def spec(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ClipModel:
    """The demo's model, and others with weights from a seed."""
    import open_clip
    import torch

    if request.param == "curate-mini":
        return ClipModel(MINI, MINI_WEIGHTS)
    folder, name = tmp_path_factory.mktemp("models"), f"words-{request.param}"
    document: dict[str, Any] = {"embed_dim": 16, "vision_cfg": VISION}
    document |= {"text_cfg": TEXT | TOWERS[request.param]}
    if request.param not in ("plain", "two-blocks"):
        document["custom_text"] = True
    (folder / f"{name}.json").write_text(json.dumps(document))
    open_clip.add_model_config(folder / f"{name}.json")
    torch.manual_seed(0)
    model = open_clip.create_model(name)
    for weight in model.parameters():  # larger than they begin, so that attention has a preference
        torch.nn.init.normal_(weight, std=0.3)
    torch.save(model.state_dict(), folder / f"{name}.pt")
    return ClipModel(str(folder / f"{name}.json"), str(folder / f"{name}.pt"), batch_size=4)


def told(tower: TextTower | Served, captions: list[str], images: Any) -> Embedded:
    return tower(tower.collate(list(images), captions))


def test_a_tower_as_the_definition_has_it(spec: ClipModel) -> None:
    import torch

    model: Any
    model, _, tokenizer = opened(spec, torch.device("cpu"))
    model.eval().requires_grad_(requires_grad=False)
    tower = TextModel(spec).on("cpu")
    torch.manual_seed(1)
    images = torch.randn(len(CAPTIONS), tower.preprocess(None).shape[0])  # type: ignore[arg-type]
    for captions in (CAPTIONS[:4], CAPTIONS[4:]):
        at = slice(CAPTIONS.index(captions[0]), CAPTIONS.index(captions[0]) + len(captions))
        found = told(tower, captions, images[at])
        tokens = tokenizer([TEMPLATE + caption for caption in captions])
        texts = torch.nn.functional.normalize(model.encode_text(tokens), dim=-1)
        expected = (texts * torch.nn.functional.normalize(images[at], dim=-1)).sum(dim=-1)
        np.testing.assert_allclose(found.scores, expected.numpy(), atol=2e-6)
        double = model.double()
        for row, text in enumerate(tokens):
            cosine, scores = naive(double, text[None], images[at][row])
            assert found.scores[row] == pytest.approx(cosine, abs=2e-6)
            n = found.text.shape[1]
            largest = np.abs(scores).max()
            np.testing.assert_allclose(found.text[row], scores[:n], atol=1e-5 * largest + 1e-9)
            assert largest > 1e-6
        model.float()


def test_a_row_depends_on_itself_alone() -> None:
    import torch

    tower = TextModel(ClipModel(MINI, MINI_WEIGHTS, batch_size=4)).on("cpu")
    images = torch.randn(4, 256, generator=torch.Generator().manual_seed(2))
    captions = ["a dog on grass", "three red parked cars", "my own two cats", "the moon by night"]
    whole = told(tower, captions, images)
    for order in ([3, 1, 0, 2], [2], [1, 0]):
        found = told(tower, [captions[x] for x in order], images[order])
        np.testing.assert_array_equal(found.text, whole.text[order])
        np.testing.assert_array_equal(found.scores, whole.scores[order])


def test_a_process_with_a_device_tells_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    spec = TextModel(ClipModel(MINI, MINI_WEIGHTS, batch_size=4))
    monkeypatch.delenv(FAKE, raising=False)
    here = spec.on("cpu")
    monkeypatch.setenv(FAKE, "2")
    served = spec.load()
    assert isinstance(served, Served)
    images = torch.randn(3, 256, generator=torch.Generator().manual_seed(3))
    captions = ["a dog on grass", "three red cars, parked", "my cat"]
    for name in ("scores", "text"):
        np.testing.assert_array_equal(
            getattr(told(served, captions, images), name),
            getattr(told(here, captions, images), name),
        )
