"""What all tests share: no deadline for an example, which no busy machine keeps; order; a folder."""

import os
import sys
from collections.abc import Iterator
from functools import cache, wraps
from pathlib import Path
from types import FunctionType, MethodType
from typing import Any

import pytest
from hypothesis import settings

settings.register_profile("without a deadline", deadline=None)
settings.load_profile("without a deadline")

FIRST = (
    "e2e/test_demo.py", "web/test_fetch.py", "ops/images/test_decoder.py",
    "web/test_hostile.py", "pool/test_crawl.py", "metadata/test_counts.py",
)  # fmt: skip
"""In a fresh checkout the demo compiles most kernels; meanwhile another process has these."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the modules of `FIRST` come first."""
    here = Path(__file__).parent
    places = {here / name: place for place, name in enumerate(FIRST)}
    items.sort(key=lambda item: places.get(item.path, len(FIRST)))


@pytest.fixture(autouse=True)
def _own_folders() -> Iterator[None]:
    """Forget where a test had modules of users looked for, as the end of a command does."""
    yield
    if found := sys.modules.get("curate.imported"):
        found._folders.clear()


def pytest_runtest_setup() -> None:
    """Have Beam inspect a method once a process, not some eight times for each transform of a graph.

    That is a fifth of the time of a small pipeline, and the tests run hundreds of them.
    """
    core: Any = sys.modules.get("apache_beam.transforms.core")
    if core and not hasattr(core.get_function_args_defaults, "__wrapped__"):
        core.get_function_args_defaults = _of_methods_once(core.get_function_args_defaults)


def _of_methods_once(inspect: Any) -> Any:
    known = cache(lambda function: inspect(MethodType(function, object())))

    @wraps(inspect)
    def inspected(function: Any) -> tuple[list[str], list[Any]]:
        if isinstance(function, MethodType) and isinstance(function.__func__, FunctionType):
            names, defaults = known(function.__func__)
            return [*names], [*defaults]
        found: tuple[list[str], list[Any]] = inspect(function)
        return found

    return inspected


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the test processes share."""
    path = tmp_path_factory.getbasetemp()
    return path.parent if "PYTEST_XDIST_WORKER" in os.environ else path
