"""The run of everything, over whose files the closure tests go."""

from tests.everything import whole

__all__ = ["whole"]
