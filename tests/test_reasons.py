"""The closed vocabularies of the ledger."""

from curate.reasons import RULE_PREFIX, DropReason, ErrorCode, rule_reason


def test_a_rules_reason_is_told_apart_from_every_other() -> None:
    assert rule_reason("min_words") == "rule:min_words"
    assert not [reason for reason in [*DropReason, *ErrorCode] if reason.startswith(RULE_PREFIX)]


def test_a_drop_is_never_a_death() -> None:
    drops, deaths = set(map(str, DropReason)), set(map(str, ErrorCode))
    assert drops.isdisjoint(deaths)
    assert "success" not in drops | deaths


def test_a_reason_is_its_name_in_lower_case() -> None:
    for reason in [*DropReason, *ErrorCode]:
        assert str(reason) == reason.name.lower()
