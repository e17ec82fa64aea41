"""Trying a run's models before anything is fetched for them.

What fails here would fail after the last image came. Only what has rows left to score is loaded, and
models only where the work is done on this machine: the workers of other runners have environments, and
ways to a hub, of their own. Scores of users are constructed for any runner, but for those that ask for
an accelerator, which may not be here.
"""

from importlib.util import find_spec

import numpy as np

from curate import files
from curate.config import LOCAL_RUNNER, FurtherScore, Model, Scorer
from curate.errors import CurateError
from curate.ops.images.faces import find_faces
from curate.ops.scores.heads import load_head
from curate.ops.scores.kinds import is_made_once, try_out
from curate.ops.scores.vectors import check_width, read_target
from curate.planning.asked import clip_model, derived_of, score_spec
from curate.planning.plan import Plan
from curate.planning.resume import Standing
from curate.planning.steps import Kind


def try_models(plan: Plan, standing: Standing) -> None:
    """Load each model that a part is still to go through.

    Raises
    ------
    CurateError
        Naming the key and the model that cannot be used, and what to do.
    """
    config, run = plan.config, plan.run
    is_local = config.beam.runner == LOCAL_RUNNER

    def lacks(folder: str) -> bool:
        return standing.valid.get(folder, 0) < len(plan.parts)

    for step in plan.steps:
        if not run.makes(step.stage) or not lacks(step.folder):
            continue
        if not is_local and not _is_tried_anywhere(step.settings):
            continue
        if step.kind is Kind.FETCH and config.download.faces:
            find_faces(np.zeros((64, 64, 3), np.uint8))
        elif isinstance(step.settings, FurtherScore) and step.kind is not Kind.TABLE:
            spec = score_spec(step.name, config)
            if not is_made_once(spec):  # of the model, which is tried itself
                try_out(spec)
        elif isinstance(step.settings, Scorer):
            if find_spec("torch") is None:
                raise CurateError(
                    f"score.model {step.settings.model!r} needs torch: pip install torch"
                )
            width = clip_model(step.settings).try_out()
            if not step.name:
                _check_widths(plan, width)


def _is_tried_anywhere(settings: Model | None) -> bool:
    """Whether they are of a user's score that needs no accelerator."""
    if not isinstance(settings, FurtherScore):
        return False
    return settings.call is not None and not settings.accelerator


def _check_widths(plan: Plan, width: int) -> None:
    """That heads and target sets are of embeddings as long as the model's."""
    config = plan.config
    for name, further in config.scores.items():
        if further.weights is None:
            continue
        head = load_head(files.absolute(further.weights), activation=further.activation)
        if head.width != width:
            raise CurateError(
                f"scores.{name}.weights: {further.weights} is a head on {head.width} values, the"
                f" embeddings of score.model have {width}"
            )
    for name, derived in derived_of(config).items():
        if target := getattr(derived, "target", None):
            found = read_target(files.absolute(target))
            check_width(found, np.empty((0, width)), where=f"score.{name}.target: {target}")
