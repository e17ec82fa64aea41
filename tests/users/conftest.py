"""The `curate` command, in this process or in one of its own."""

from tests.e2e.conftest import curate, process, shared

__all__ = ["curate", "process", "shared"]
