"""Settings of the columns that are derived from stored embeddings (`score.COLUMN`)."""

from typing import Literal

from pydantic import Field

from curate.config.model import Fraction, Model, Positive
from curate.config.paths import FilePath, FilesPath


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


class ClusterRank(Derived):
    """The column `cluster_rank`: the place of the pair in its visual cluster, from 0, in pool order."""
