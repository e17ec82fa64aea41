"""Settings of `score` and `scores`: models and other scores."""

from collections import Counter
from typing import Annotated, Literal

from pydantic import Field, JsonValue, model_validator

from curate.config.derived import (
    ClusterRank,
    Derived,
    NearestTarget,
    NegClipLoss,
    NormSim,
    SimCore,
    VisualCluster,
)
from curate.config.model import COLUMN_NAME, ImportName, Model, Positive
from curate.config.paths import FileOrName, FilePath, FilesPath
from curate.schema import Kind


class Scorer(Model):
    """An open_clip model, and how to run it."""

    model: FileOrName = Field(
        examples=["ViT-B-32"],
        description="open_clip name, hf-hub: id, or the path of a model config",
    )
    pretrained: FileOrName | None = Field(None, description="open_clip tag or path of a checkpoint")
    batch_size: Positive | None = Field(
        None, description="pairs in one forward pass; default: 16 on a CPU, 256 on a GPU"
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="auto: bf16 on a GPU that has it, else fp16; fp32 on a CPU"
    )
    compile: bool = Field(False, description="run the model through torch.compile")
    embeddings: bool = Field(
        False,
        description="store the embeddings of image and caption (fp16) as part-*.npz beside the scores",
    )


class Score(Scorer):
    """Image-text alignment by an open_clip model."""

    also: dict[Annotated[str, Field(pattern=COLUMN_NAME)], Scorer] = Field(
        default_factory=dict, description="further models, each by the name of its column"
    )
    neg_clip_loss: NegClipLoss | None = Field(None, description="needs `embeddings`")
    norm_sim: NormSim | None = Field(None, description="needs `embeddings`")
    nearest_target: NearestTarget | None = Field(None, description="needs `embeddings`")
    simcore: SimCore | None = Field(None, description="needs `embeddings`")
    visual_cluster: VisualCluster | None = Field(None, description="needs `embeddings`")
    cluster_rank: ClusterRank | None = Field(None, description="{}; needs `visual_cluster`")
    workers: Positive | None = Field(
        None,
        description="processes of a machine that have the model, spread over its GPUs; default: one a"
        " GPU, and without a GPU none but the workers themselves (beam.workers), which otherwise decode"
        " and hand their batches over",
    )
    accelerator: str = Field(
        "type:nvidia-tesla-t4;count:1;install-nvidia-driver", description="hint for the workers"
    )
    min_ram: str = Field("16GB", description="hint for the workers")

    @property
    def scorers(self) -> dict[str, Scorer]:
        """All models by the name of their column; the first one is last, with an empty name."""
        return {**self.also, "": self}

    @property
    def derived(self) -> dict[str, Derived]:
        """The columns to derive from the first model's embeddings, by name."""
        asked: dict[str, Derived | None] = {
            "neg_clip_loss": self.neg_clip_loss,
            "norm_sim": self.norm_sim,
            "nearest_target": self.nearest_target,
            "simcore": self.simcore,
            "visual_cluster": self.visual_cluster,
            "cluster_rank": self.cluster_rank,
        }
        return {name: one for name, one in asked.items() if one is not None}

    @model_validator(mode="after")
    def _stored(self) -> "Score":
        for name in self.derived:
            if not self.embeddings:
                raise ValueError(f"{name} is derived from stored embeddings: set embeddings: true")
        if self.cluster_rank and not self.visual_cluster:
            raise ValueError("cluster_rank is of the clusters of visual_cluster: set that, too")
        return self


_ColumnName = Annotated[str, Field(pattern=COLUMN_NAME)]


ENTITIES = "entities"
"""The kind of scores whose column holds ids of entries, which a balance may count."""


class FurtherScore(Model):
    """A score by another method than a CLIP model."""

    kind: Literal["relations", "actions", "profanity", "text_area", "text_overlap", "masked_clip",
                  "nsfw", "noise", "blur", "brightness", "contrast", "shuffled_patches", "head",
                  "prompts", "entities", "misaligned_words", "python", "table"] = Field(
        examples=["nsfw"],
        description="relations, actions, profanity: of the caption (English). text_area: share of the"
        " image. text_overlap: share of the caption that is written in the image. masked_clip: the"
        " model's score once text is masked. nsfw: probability. noise: its deviation where the image is"
        " smoothest, levels of 255. blur: of edges, pixels. brightness, contrast: middle and width of"
        " the range of luminances, 0 to 1. shuffled_patches: edges on fifths, 0 to 1, by chance 0.5."
        " head: of CLIP image embeddings. prompts: of stored image embeddings, the cosine with the mean"
        " of some texts, or which of several groups of texts fits best."
        " entities: of a caption's entries (prepare.metadata) those that the image shows, as ids, which"
        " balance.on takes. misaligned_words: what the words that the image denies add up to, 0 where"
        " there is none; NAME_words has each word with its score, NAME_cosine the cosine that they are"
        " of. python: one that you write (docs/extending.md). table: columns of a table"
        " of yours, joined to the pairs"
    )  # fmt: skip
    parser: str | None = Field(
        None, description="spaCy package for relations and actions; default: en_core_web_sm"
    )
    weights: FilePath | None = Field(
        None, description="file of a head's linear layers: .pt, .pth, .safetensors or .npy"
    )
    activation: Literal["none", "relu"] = Field(
        "none", description="between the layers of a head; LAION's aesthetic heads have none"
    )

    prompts: tuple[str, ...] = Field(
        (),
        description="texts of kind prompts: the column is the cosine of the image with the mean of"
        " their unit vectors, made a unit vector again",
    )
    groups: dict[_ColumnName, tuple[str, ...]] = Field(
        default_factory=dict,
        description="in place of `prompts`: several such groups of texts by name. NAME_GROUP is the"
        " share of each in the softmax of the cosines, and NAME the group with the highest",
    )
    templates: tuple[str, ...] = Field(
        ("{}",), min_length=1, description="what each text is put into, in the place of {}"
    )
    temperature: float = Field(
        0.01,
        gt=0,
        description="what the cosines of `groups` are divided by: 0.01 is CLIP's logit scale of 100",
    )

    min_similarity: float | None = Field(
        None,
        ge=-1,
        le=1,
        examples=[0.2],
        description="of kind entities: the cosine of an entry's text and the image from which on the"
        " image shows the entry; what is right depends on the model",
    )

    below: float = Field(
        -5e-5, lt=0, description="the score below which a word is misaligned; the default is CLIP4DM's"
        " for OpenAI's ViT-B-32, other models need one of their own. A change needs no model",
    )  # fmt: skip

    call: ImportName | None = Field(
        None, description="class or function of kind python, as my_package.scores:Sharpness"
    )
    options: dict[str, JsonValue] = Field(
        default_factory=dict, description="keyword arguments of `call`"
    )
    path: FilesPath | None = Field(
        None,
        description="the table: a file, folder, glob or range in any format of a pool that is a table."
        " Of rows with the same key the last counts; a pair without a row has nulls",
    )
    on: Literal["uid", "url"] = Field(
        "uid", description="what the table is joined by: the uid of a pair, or its URL"
    )
    key: str | None = Field(
        None, description="the table's column of uids or URLs; default: as `on` says"
    )
    columns: tuple[_ColumnName, ...] | dict[_ColumnName, Kind] | None = Field(
        None, description="columns of `call` and their types, where it declares none; default: one of"
        " float32, with the name of the score. Of a table: those wanted, with types or as it has them;"
        " default: all but the key",
    )  # fmt: skip
    batch_size: Positive | None = Field(
        None, description="pairs in one call, at most; default: the batch_size of `call`, or 64"
    )
    accelerator: bool = Field(
        False, description="run `call` on accelerator workers, as the model (score.accelerator)"
    )

    @model_validator(mode="after")
    def _of_its_kind(self) -> "FurtherScore":
        for key, kinds in NEEDED.items():
            if (getattr(self, key) in (None, ())) == (self.kind in kinds):
                raise ValueError(f"`{key}` and kind {_either(kinds)} go together")
        for key, kinds in OF_KINDS.items():
            default = type(self).model_fields[key].get_default(call_default_factory=True)
            if self.kind not in kinds and getattr(self, key) != default:
                told = "are of kinds" if len(kinds) > 1 else "is of kind"
                raise ValueError(f"`{key}` {told} {' and '.join(kinds)}, not of {self.kind}")
        if self.call is not None and isinstance(self.columns, tuple):
            raise ValueError("`columns` of kind python are given with their types")
        for template in self.templates:
            if "{}" not in template:
                raise ValueError(f"`templates` holds {template!r}, which has no {{}} for the text")
        return self

    @model_validator(mode="after")
    def _of_texts(self) -> "FurtherScore":
        if self.kind != "prompts":
            return self
        if bool(self.prompts) == bool(self.groups):
            raise ValueError("kind prompts has one of `prompts` and `groups`")
        if self.groups and len(self.groups) < 2:
            raise ValueError("`groups` needs two groups or more, of which one fits best")
        if self.prompts and self.temperature != type(self).model_fields["temperature"].default:
            raise ValueError("`temperature` is of `groups`: a cosine alone has none")
        for key, texts in {"prompts": self.prompts, **self._named_groups}.items():
            if any(not text.strip() for text in texts) or (key != "prompts" and not texts):
                raise ValueError(f"`{key}` holds no text, or an empty one")
            if again := [text for text, n in Counter(texts).items() if n > 1]:
                raise ValueError(f"`{key}` holds {again[0]!r} twice")
        held = {name: sorted(texts) for name, texts in self.groups.items()}
        for name, sorted_ in held.items():
            if (same := next(x for x, y in held.items() if y == sorted_)) != name:
                raise ValueError(f"groups.{name} holds the same texts as groups.{same}")
        return self

    @property
    def _named_groups(self) -> dict[str, tuple[str, ...]]:
        return {f"groups.{name}": texts for name, texts in self.groups.items()}

    @property
    def own(self) -> dict[str, object]:
        """The settings of its kind that change what it gives, by key."""
        keys = [*NEEDED, *OF_KINDS]
        return {key: getattr(self, key) for key in keys if self.kind in _KINDS_OF[key]}

    @property
    def typed(self) -> dict[str, Kind] | None:
        """The columns with their types, where these are known."""
        return self.columns if isinstance(self.columns, dict) else None


NEEDED: dict[str, tuple[str, ...]] = {
    "call": ("python",),
    "path": ("table",),
    "weights": ("head",),
    "min_similarity": (ENTITIES,),
}
"""Settings that a further score of these kinds has to have, and no other may."""
OF_KINDS: dict[str, tuple[str, ...]] = {
    "parser": ("relations", "actions"),
    "activation": ("head",),
    "prompts": ("prompts",),
    "groups": ("prompts",),
    "templates": ("prompts", ENTITIES),
    "temperature": ("prompts",),
    "below": ("misaligned_words",),
    "options": ("python",),
    "batch_size": ("python",),
    "accelerator": ("python",),
    "columns": ("python", "table"),
    "on": ("table",),
    "key": ("table",),
}
"""Settings that a further score of these kinds may have, and no other."""
_KINDS_OF = NEEDED | OF_KINDS
OF_FOUND = frozenset({"below"})
"""Settings that what is found follows from without being computed again."""


def _either(kinds: tuple[str, ...]) -> str:
    return " or ".join(kinds)
