"""Which workers of a rented pool run the models."""

import apache_beam as beam

from curate.config import LOCAL_RUNNER, Config


def on_accelerator(transform: beam.PTransform, config: Config) -> beam.PTransform:
    """Ask for an accelerator, for this transform alone, wherever workers are rented.

    The local runner would start a second set of worker processes for a step with hints.
    """
    if config.score is None or config.beam.runner == LOCAL_RUNNER:
        return transform
    return transform.with_resource_hints(
        accelerator=config.score.accelerator,
        min_ram=config.score.min_ram,
        max_active_bundles_per_worker="1",
    )
