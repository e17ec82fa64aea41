"""Fixtures for what users do."""

from tests.e2e.conftest import curate

__all__ = ["curate"]
