"""What all tests share: no deadline for an example, which no busy machine keeps; and their order."""

from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("without a deadline", deadline=None)
settings.load_profile("without a deadline")

FIRST = (
    "e2e/test_demo.py", "ops/web/test_fetch.py", "ops/images/test_decoder.py",
    "ops/web/test_hostile.py", "ops/pool/test_crawl.py", "metadata/test_counts.py",
)  # fmt: skip
"""In a fresh checkout the demo compiles most kernels; meanwhile another process has these."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the modules of `FIRST` come first."""
    here = Path(__file__).parent
    places = {here / name: place for place, name in enumerate(FIRST)}
    items.sort(key=lambda item: places.get(item.path, len(FIRST)))
