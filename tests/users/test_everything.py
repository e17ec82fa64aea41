"""A run with everything on: its report, its card and its files say all that there is to say."""

from pathlib import Path

import pytest

from tests.everything import everything
from tests.users.runs import document


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the configuration that has everything on."""
    return everything(tmp_path_factory.mktemp("everything"))


def test_the_report_counts_pairs_that_left_after_the_rules_among_those_that_reached_them(
    whole: Path,
) -> None:
    score = document(whole / "run.json")["stages"]["score"]
    assert score["dropped"]["duplicate_meaning"] > 0
    assert not score["dead"]
    reached = score["rows"] - score["dropped"].get("contaminated", 0)
    rules = [x for x in document(whole / "report/report.json")["rules"] if x["stage"] == "score"]
    assert [rule["pairs"] for rule in rules] == [reached] * len(rules) != []
