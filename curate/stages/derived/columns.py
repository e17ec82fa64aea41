"""Which transform makes which column of embeddings."""

from collections.abc import Callable

import apache_beam as beam

from curate.planning.plan import Plan
from curate.planning.steps import Step
from curate.stages.derived import gates, nearest, neg_clip_loss, rank, simcore, similarity, visual

_TRANSFORMS: dict[str, Callable[[Plan, Step], beam.PTransform]] = {
    "neg_clip_loss": neg_clip_loss.transform,
    "norm_sim": similarity.norm_sim_of,
    "nearest_target": nearest.transform,
    "simcore": simcore.transform,
    "visual_cluster": visual.transform,
    "cluster_rank": rank.transform,
    "evaluation_similarity": similarity.similarity_of,
    "caption_weights": gates.transform,
}


def transform(plan: Plan, step: Step) -> beam.PTransform:
    """Parts that are scored -> the same, once the column of `step` is done."""
    return _TRANSFORMS[step.name](plan, step)
