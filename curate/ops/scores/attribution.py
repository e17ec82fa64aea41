"""What each token of a text does to its cosine with an image, by the gradients of attention.

CLIP4DM ("Extract Free Dense Misalignment from CLIP", arXiv 2412.18404): in each of the last three
blocks of the text tower, attention after softmax times the gradient of the cosine at it, averaged over
the heads and the blocks; of that the row of the token that the text is pooled at.

Below a causal mask nothing but that row is differentiated: no token before it depends on it, so what
these are made of is constant, and the way back is that of one token. A tower without such a mask is
differentiated whole.
"""

import threading
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from curate.errors import CurateError
from curate.ops.scores.clip import CPU_BATCH, GPU_BATCH, ClipModel, known_config, opened
from curate.ops.scores.devices import shared
from curate.ops.scores.pairs import Batch, Embedded, Preparer, black
from curate.ops.scores.spelled import Speller

if TYPE_CHECKING:
    from PIL.Image import Image as Picture
    from torch import Tensor

    from curate.ops.scores.served import Served

BLOCKS = 3
"""The blocks at the top that are looked at."""
TEMPLATE = "A photo depicts "
"""What stands before each caption."""
STEP = 8
"""Tokens: texts are cut to a multiple of it, so that few shapes occur."""
_Part: TypeAlias = Any  # a module of open_clip's, whose parts are read by name

_loading = threading.Lock()


def attribution(
    attention: "list[Tensor]", cosines: "Tensor", *, rows: "Tensor | None" = None
) -> "Tensor":
    """The mean over blocks and heads of attention times the gradient of `cosines` at it.

    Parameters
    ----------
    attention : list of tensors
        Of each block (texts, heads, queries, keys), which `cosines`, (texts,), were made from.
    rows : tensor or None
        The query of each text that is asked for, (texts,); None: the only one.

    Returns
    -------
    tensor
        Shape (texts, keys).
    """
    import torch

    slopes = torch.autograd.grad(cosines.sum(), attention)
    blocks = [(a.detach() * slope).mean(dim=1) for a, slope in zip(attention, slopes, strict=True)]
    found = torch.stack(blocks).mean(dim=0)
    if rows is None:
        return found[:, 0]
    return found[torch.arange(len(found), device=found.device), rows]


def refuses(model: str) -> str | None:
    """Why the texts of a model cannot be looked into, where its configuration says that."""
    text = known_config(model).get("text_cfg")
    keys = ("hf_model_name", "hf_tokenizer_name")
    is_other = isinstance(text, dict) and any(text.get(key) for key in keys)
    return told_of_other(model) if is_other else None


def told_of_other(model: str) -> str:
    """What is said of a model whose texts do not go through a tower of open_clip's own."""
    return (
        f"the texts of {model} go through a tower or a tokenizer of transformers; words are told from"
        " those of open_clip's own, as ViT-B-32 has them"
    )


@dataclass(frozen=True)
class TextModel:
    """The text tower of a CLIP model, asked for what each token does."""

    clip: ClipModel

    @property
    def model(self) -> str:
        """What a person calls it."""
        return f"the text tower of {self.clip.model}"

    def load(self) -> "TextTower | Served":
        """That of this process, or of the machine's processes with devices: see `ClipModel.load`."""
        with _loading:
            return _load(self)

    def on(self, device: str) -> "TextTower":
        """The tower in this process, on a device as torch calls it."""
        return TextTower(self.clip, device)


@lru_cache(maxsize=2)
def _load(spec: TextModel) -> "TextTower | Served":
    from curate.ops.scores.served import Served

    devices = shared(spec.clip.workers)
    if not devices:
        return spec.on("cpu")
    return Served(replace(spec, clip=replace(spec.clip, workers=None)), devices)


@dataclass(frozen=True)
class _Unknown:
    """Stands for an image's embedding where there is none: of no length, so nothing is denied."""

    width: int

    def __call__(self, _: "Picture") -> "Tensor":
        import torch

        return torch.zeros(self.width)


@dataclass(frozen=True)
class _Prompted:
    """The tokens of captions behind the template."""

    tokenizer: _Part

    def __call__(self, captions: list[str]) -> "Tensor":
        found: Tensor = self.tokenizer([TEMPLATE + caption for caption in captions])
        return found


def speller_of(tower: "TextTower | Served") -> Speller:
    """What tells the words of captions from a tower's tokens."""
    if not isinstance(tower.tokenizer, _Prompted):
        raise AssertionError("the tokenizer of another scorer")
    return Speller(tower.tokenizer.tokenizer, prefix=TEMPLATE)


def width_of(tower: "TextTower | Served") -> int:
    """The length of a tower's embeddings."""
    return len(tower.preprocess(black()))


class TextTower(Preparer):
    """The text tower of a CLIP model that this process has loaded on `device`.

    A batch's `pixels` are the embeddings of images, (n, width). Of what it gives, `scores` are the
    cosines of image and text, and `text` what each token does, (n, context); `image` has no column.

    Raises
    ------
    CurateError
        Where the model's texts go through another tower than open_clip's own.
    """

    lanes = 1

    def __init__(self, spec: ClipModel, device: str = "cpu") -> None:
        import torch
        from open_clip.tokenizer import SimpleTokenizer

        torch.set_num_threads(1)  # the order of sums must not depend on the number of processors
        self._device = torch.device(device)
        self.on_gpu = self._device.type == "cuda"
        model, _, tokenizer = opened(spec, torch.device("cpu"))
        whole: _Part = model
        tower: _Part = getattr(whole, "text", whole)
        blocks = getattr(getattr(tower, "transformer", None), "resblocks", None)
        if not blocks or not isinstance(tokenizer, SimpleTokenizer):
            raise CurateError(told_of_other(spec.model))
        self._tower: _Part = tower
        self._blocks: list[_Part] = list(blocks)
        self._pool: str = getattr(tower, "text_pool_type", getattr(tower, "pool_type", "argmax"))
        self._end: int = getattr(tower, "text_eos_id", getattr(tower, "eos_id", 0))
        self._causal = tower.attn_mask is not None
        self._projection: _Part = tower.text_projection
        self._is_extra = getattr(tower, "cls_emb", None) is not None
        whole.visual = torch.nn.Identity()
        whole.eval().requires_grad_(requires_grad=False).to(self._device)
        with torch.inference_mode():
            width = int(whole.encode_text(tokenizer([""]).to(self._device)).shape[-1])
        size = spec.batch_size or (GPU_BATCH if self.on_gpu else CPU_BATCH)
        super().__init__(_Unknown(width), _Prompted(tokenizer), batch_size=size)

    def pinned(self, batch: Batch) -> Batch:
        """The batch in memory from which a GPU copies; as it is without one."""
        if not self.on_gpu:
            return batch
        return Batch(batch.pixels.pin_memory(), batch.tokens.pin_memory(), batch.n)

    def __call__(self, batch: Batch) -> Embedded:
        """Run the tower, and what is behind its last blocks backwards."""
        import torch

        images = batch.pixels.to(self._device)
        tokens = batch.tokens.to(self._device)
        images = torch.nn.functional.normalize(images.float(), dim=-1)
        cosines, found = self._attributed(tokens, images)
        told = np.zeros(batch.tokens.shape, np.float32)
        n = min(found.shape[1], told.shape[1])
        told[:, :n] = found[:, :n].cpu().numpy()
        scores = cosines.detach().cpu().numpy()
        nothing = np.empty((len(told), 0), np.float32)
        return Embedded(scores[: batch.n], nothing[: batch.n], told[: batch.n])

    def _attributed(self, tokens: "Tensor", images: "Tensor") -> "tuple[Tensor, Tensor]":
        """The cosine of each text and image, and what each token does, (texts, tokens)."""
        import torch

        with torch.no_grad():
            if self._causal and not self._is_extra and self._pool in ("argmax", "eos"):
                longest = int(self._pooled_at(tokens).max()) + 1
                tokens = tokens[:, : -(-longest // STEP) * STEP]
            x, mask = self._embedded(tokens)
            rows = self._pooled_at(tokens)
            states = []
            for at, block in enumerate(self._blocks):
                if at >= len(self._blocks) - BLOCKS:
                    states.append(x)
                if at < len(self._blocks) - (1 if self._causal else BLOCKS):
                    x = block(x, attn_mask=mask)
            bias = _by_head(mask, texts=len(x))
        if self._causal:
            return self._of_row(states, rows, bias, images)
        return self._of_all(states[0], rows, bias, images)

    def _embedded(self, tokens: "Tensor") -> "tuple[Tensor, Tensor | None]":
        """What goes into the first block, (texts, tokens, width), and the mask of attention."""
        tower = self._tower
        if hasattr(tower, "_embeds"):
            x, mask = tower._embeds(tokens)
        else:
            x = tower.token_embedding(tokens) + tower.positional_embedding[: tokens.shape[1]]
            mask = tower.attn_mask
        n = x.shape[1]
        return x, None if mask is None else mask[..., :n, :n]

    def _pooled_at(self, tokens: "Tensor") -> "Tensor":
        """The place of the token that each text is pooled at, (texts,)."""
        if self._is_extra:
            return tokens.new_full((len(tokens),), tokens.shape[1])
        if self._pool == "argmax":
            return tokens.argmax(dim=-1)
        if self._pool == "eos":
            return (tokens == self._end).int().argmax(dim=-1)
        at = {"first": 0, "last": tokens.shape[1] - 1}[self._pool]
        return tokens.new_full((len(tokens),), at)

    def _cosines(self, pooled: "Tensor", images: "Tensor") -> "Tensor":
        import torch

        x = self._tower.ln_final(pooled)
        if isinstance(self._projection, torch.nn.Linear):
            x = self._projection(x)
        elif self._projection is not None:
            x = x @ self._projection
        return (torch.nn.functional.normalize(x, dim=-1) * images).sum(dim=-1)

    def _of_row(
        self, states: "list[Tensor]", rows: "Tensor", bias: "Tensor | None", images: "Tensor"
    ) -> "tuple[Tensor, Tensor]":
        """Differentiate the pooled token alone: `states` come into each of the last blocks."""
        import torch

        if bias is None:
            raise AssertionError("no causal mask")
        each = torch.arange(len(rows), device=rows.device)
        own = bias.expand(len(rows), -1, -1, -1)[each, :, rows].clone()
        itself = own[each, :, rows]  # comes last
        own[each, :, rows] = -torch.inf
        own = torch.cat([own, itself[..., None]], dim=-1)[:, :, None]
        live = states[0][each, rows][:, None].requires_grad_()
        attention = []
        for block, state in zip(self._blocks[-BLOCKS:], states, strict=True):
            live, weights = _through(block, live, state, bias=own)
            attention.append(weights)
        cosines = self._cosines(live[:, 0], images)
        found = attribution(attention, cosines)
        found[each, rows] = found[:, -1]
        return cosines, found[:, :-1]

    def _of_all(
        self, state: "Tensor", rows: "Tensor", bias: "Tensor | None", images: "Tensor"
    ) -> "tuple[Tensor, Tensor]":
        """Differentiate all tokens, from the `state` that comes into the first of the last blocks."""
        import torch

        live = state.requires_grad_()
        attention = []
        for block in self._blocks[-BLOCKS:]:
            live, weights = _through(block, live, None, bias=bias)
            attention.append(weights)
        each = torch.arange(len(rows), device=rows.device)
        cosines = self._cosines(live[each, rows], images)
        return cosines, attribution(attention, cosines, rows=rows)


def _by_head(mask: "Tensor | None", *, texts: int) -> "Tensor | None":
    """A mask of attention as (texts or 1, heads or 1, queries, keys)."""
    if mask is None or mask.ndim == 4:
        return mask
    return mask[None, None] if mask.ndim == 2 else mask.view(texts, -1, *mask.shape[1:])


def _through(
    block: _Part, live: "Tensor", frozen: "Tensor | None", *, bias: "Tensor | None"
) -> "tuple[Tensor, Tensor]":
    """`live` tokens (texts, n, width) after a block of open_clip's, and their attention, written out.

    They look at those that are `frozen`, where such are given, and behind these at themselves; `bias`
    is added before softmax.
    """
    import torch
    from torch.nn.functional import linear

    attn = block.attn
    weight, offset, width = attn.in_proj_weight, attn.in_proj_bias, live.shape[-1]
    query, key, value = linear(block.ln_1(live), weight, offset).chunk(3, dim=-1)
    if frozen is not None:
        offset = None if offset is None else offset[width:]
        before = linear(block.ln_1(frozen), weight[width:], offset).chunk(2, dim=-1)
        key, value = (torch.cat(x, dim=1) for x in zip(before, (key, value), strict=True))
    query, key, value = (
        x.view(*x.shape[:2], attn.num_heads, -1).transpose(1, 2) for x in (query, key, value)
    )
    if hasattr(attn, "ln_q"):
        query, key = attn.ln_q(query), attn.ln_k(key)
    logits = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
    weights = (logits if bias is None else logits + bias).softmax(dim=-1)
    x = weights @ value
    if getattr(attn, "head_scale", None) is not None:
        x = x * attn.head_scale
    x = x.transpose(1, 2).flatten(2)
    if hasattr(attn, "ln_inner"):
        x = attn.ln_inner(x)
    x = attn.out_proj(x)
    if hasattr(block, "ln_attn"):
        x = block.ln_attn(x)
    x = live + block.ls_1(x)
    return x + block.ls_2(block.mlp(block.ln_2(x))), weights
