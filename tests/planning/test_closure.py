"""What is said of settings, reasons and columns is said of all of them, once."""

from curate.commands.reference import reference
from curate.config import Download, Scorer
from curate.planning.digests import scorer_settings
from curate.reasons import FETCH_FAILURES, ROWS, TRANSIENT, DropReason, ErrorCode


def test_each_setting_of_the_download_says_what_its_change_does() -> None:
    changes = Download.changes()
    assert changes.keys() == Download.model_fields.keys()
    for name, field in Download.model_fields.items():
        assert sum(mark is changes[name] for mark in field.metadata) == 1, name
        assert bool(changes[name].mends) == (changes[name].redoes == "ask"), name
        assert changes[name].mends <= FETCH_FAILURES, name


def test_digests_have_each_setting_in_the_part_that_its_change_redoes() -> None:
    """But for those that are as they were before there was the setting, and those of lists."""
    changes, default = Download.changes(), Download()
    for redoes in ("fetch", "judge"):
        of_it = {x for x, one in changes.items() if one.redoes == redoes and not one.lists}
        later = {x for x in of_it if changes[x].if_set}
        assert default.digested(redoes).keys() == of_it - later
        for name in later:
            value = {"faces": "find"}[name]
            assert Download.model_validate({name: value}).digested(redoes)[name] == value
    scorer = Scorer(model="m")
    assert scorer_settings(scorer, {})[0] == scorer.model_dump()


def test_each_reason_has_a_sentence_and_a_remedy_and_is_in_the_reference() -> None:
    page = reference()
    assert ROWS.keys() == {*DropReason, *ErrorCode}
    for reason, row in ROWS.items():
        assert row.name == reason
        assert row.sentence[0].isupper(), reason
        assert row.sentence.endswith("."), reason
        assert row.remedy.endswith((".", "?")), reason
        assert f"| `{reason}` | {row.sentence} |" in page
    assert TRANSIENT <= FETCH_FAILURES
