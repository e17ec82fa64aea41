"""Settings of `score` and `scores`: models, columns derived from their embeddings, other scores."""

from typing import Annotated, Literal

from pydantic import Field, JsonValue, model_validator

from curate.config.model import COLUMN_NAME, Fraction, ImportName, Model, Positive
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


class Derived(Model):
    """A column that is derived from stored embeddings."""

    @property
    def gathers(self) -> bool:
        """Whether it needs the embeddings of all parts: a barrier."""
        return True


class NegClipLoss(Derived):
    """The column `neg_clip_loss`: negCLIPLoss, the cosine normalised within random batches."""

    batches: Positive = Field(
        10, description="times that batches are drawn; the column is the mean"
    )
    batch_size: Positive = Field(32_768, description="pairs a batch, about")
    temperature: float = Field(0.01, gt=0, description="tau of the contrastive loss")


class NormSim(Derived):
    """The column `norm_sim`: NormSim, the similarity of the image to a target set."""

    target: FilesPath = Field(
        examples=["target.npy"],
        description="image embeddings of the same model: .npy, .npz, or a folder of them such as"
        " another run's annotated/score",
    )
    norm: Literal["max", 2] = Field(
        "max", description="max: the highest cosine; 2: the root of the sum of their squares"
    )

    @property
    def gathers(self) -> bool:
        """A map: a part, and the target set."""
        return False


class NearestTarget(Derived):
    """The column `nearest_target`: whether its nearest centroid is that of a target image, too."""

    target: FilesPath = Field(
        examples=["target.npy"], description="image embeddings, as for norm_sim"
    )
    clusters: Positive = Field(100_000, description="centroids of the pool's images, at most")
    sample: Positive = Field(
        4_000_000,
        description="images to compute the centroids from, about; in the memory of one worker",
    )


class SimCore(Derived):
    """The column `simcore`: the round in which SimCore selects the image for a target set, else null.

    Each round selects the nearest remaining image of each centroid of the target set.
    """

    target: FilesPath = Field(
        examples=["target.npy"], description="image embeddings, as for norm_sim"
    )
    keep: Positive = Field(
        examples=[100_000],
        description="images to select; one worker has as many in memory for each centroid",
    )
    clusters: Positive = Field(100, description="centroids of the target set, at most")
    tau: Fraction | None = Field(
        None,
        description="stop before a round whose mean cosine is below this share of the first round's;"
        " 0.95 in the paper",
    )


class VisualCluster(Derived):
    """The column `visual_cluster`: the number of the cluster, of k-means, that the image lies in.

    From 0, those first that hold most images. The centroids stay in the run, as
    annotated/score/visual_cluster/centroids.npz.
    """

    clusters: Positive = Field(1_000, description="centroids of the pool's images, at most")
    sample: Positive | None = Field(
        None,
        description="images to compute the centroids from, about; in the memory of one worker;"
        " default: 256 a cluster",
    )
    iterations: Positive = Field(20, description="rounds of k-means")
    whiten: Positive | None = Field(
        None,
        description="first reduce the embeddings to so many principal components, each of variance 1;"
        " default: cluster them as they are",
    )
    centroids: FilePath | None = Field(
        None,
        description="the centroids.npz of another run over the same model, in place of finding some:"
        " its numbers stay what they are when a pool grows; the other keys then have no effect",
    )

    @property
    def gathers(self) -> bool:
        """Not where the centroids are given."""
        return self.centroids is None


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
        }
        return {name: one for name, one in asked.items() if one is not None}

    @model_validator(mode="after")
    def _stored(self) -> "Score":
        for name in self.derived:
            if not self.embeddings:
                raise ValueError(f"{name} is derived from stored embeddings: set embeddings: true")
        return self


_ColumnName = Annotated[str, Field(pattern=COLUMN_NAME)]


class FurtherScore(Model):
    """A score by another method than a CLIP model."""

    kind: Literal["relations", "actions", "profanity", "text_area", "text_overlap", "masked_clip",
                  "nsfw", "head", "prompts", "python", "table"] = Field(
        examples=["nsfw"],
        description="relations, actions, profanity: of the caption (English). text_area: share of the"
        " image. text_overlap: share of the caption that is written in the image. masked_clip: the"
        " model's score once text is masked. nsfw: probability. head: of CLIP image embeddings."
        " prompts: the image's cosine with the mean of some texts, of stored embeddings."
        " python: one that you write (docs/extending.md). table: columns of a table of yours, joined to"
        " the pairs"
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

    prompts: tuple[str, ...] = Field((), description="texts of kind prompts")
    templates: tuple[str, ...] = Field(
        ("{}",), min_length=1, description="what each text is put into, in the place of {}"
    )

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
            if bool(getattr(self, key)) != (self.kind in kinds):
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
    "prompts": ("prompts",),
}
"""Settings that a further score of these kinds has to have, and no other may."""
OF_KINDS: dict[str, tuple[str, ...]] = {
    "parser": ("relations", "actions"),
    "activation": ("head",),
    "templates": ("prompts",),
    "options": ("python",),
    "batch_size": ("python",),
    "accelerator": ("python",),
    "columns": ("python", "table"),
    "on": ("table",),
    "key": ("table",),
}
"""Settings that a further score of these kinds may have, and no other."""
_KINDS_OF = NEEDED | OF_KINDS


def _either(kinds: tuple[str, ...]) -> str:
    return " or ".join(kinds)
