"""Trying a run's models before anything is fetched for them.

What fails here would fail after the last image came. Only what has rows left to score is loaded, and
only where the work is done on this machine: the workers of other runners have environments, and ways
to a hub, of their own.
"""

from importlib.util import find_spec

import numpy as np

from curate import files
from curate.config import LOCAL_RUNNER
from curate.errors import CurateError
from curate.ops.images.faces import find_faces
from curate.ops.scores.heads import load_head
from curate.ops.scores.vectors import check_width, read_target
from curate.planning.asked import clip_model, derived_of, measure_spec, measured, runs_model
from curate.planning.digests import score_folder
from curate.planning.plan import Plan
from curate.planning.resume import Standing
from curate.run.directory import ANNOTATED
from curate.schema import Stage


def try_models(plan: Plan, standing: Standing) -> None:
    """Load each model that a part is still to go through.

    Raises
    ------
    CurateError
        Naming the key and the model that cannot be used, and what to do.
    """
    config, run = plan.config, plan.run
    if config.beam.runner != LOCAL_RUNNER:
        return

    def lacks(folder: str) -> bool:
        return standing.valid.get(folder, 0) < len(plan.parts)

    fetches = Stage.DOWNLOAD in plan.stages and run.makes(Stage.DOWNLOAD)
    if fetches and config.download.faces and lacks(files.join(Stage.DOWNLOAD, ANNOTATED)):
        find_faces(np.zeros((64, 64, 3), np.uint8))
    if Stage.SCORE not in plan.stages or not run.makes(Stage.SCORE):
        return
    for name, further in measured(config).items():
        if lacks(score_folder(name)):
            try:
                measure_spec(further, config).try_out()
            except CurateError as error:
                raise CurateError(f"scores.{name}: {error}") from None
    if config.score is None or not runs_model(config):
        return
    for name, scorer in config.score.scorers.items():
        if not lacks(score_folder(name)):
            continue
        if find_spec("torch") is None:
            raise CurateError(f"score.model {scorer.model!r} needs torch: pip install torch")
        width = clip_model(scorer).try_out()
        if not name:
            _check_widths(plan, width)


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
