"""What is said of settings, reasons, columns and files is said of all of them, once."""

from pathlib import Path

from curate import schema
from curate.commands.reference import reference
from curate.config import Download, Scorer
from curate.config import file as config_file
from curate.planning.digests import scorer_settings
from curate.planning.steps import steps_of
from curate.reasons import FETCH_FAILURES, ROWS, TRANSIENT, DropReason, ErrorCode
from curate.rundir import cuts, verdicts
from curate.rundir.damage import OF_ALL_PARTS
from curate.rundir.directory import (
    CLUSTERS,
    PART_STAGES,
    PLACES_FILE,
    SCORED,
    SUBSET,
    Run,
    part_index,
)
from curate.rundir.layout import SUMMARIES
from curate.rundir.scratch import HELD, VISUAL, WORK, scratch
from curate.schema import Stage
from curate.stages.score.entities import TEXTS

OF_NO_STEP = {"run.json", "config.yaml", "input", "shards", "report"}
"""What else stands in a run: revocation has code of its own for each."""
READ_LATER = {
    cuts.FILE,
    verdicts.FILE,
    schema.GROUPS,
    SUBSET,
    HELD,
    *(x.rpartition("/")[2] for x in OF_ALL_PARTS),
}
"""Files of no single part, which those read that come after the step."""


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
            value = {"faces": "find", "jpeg_quality": True}[name]
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


def test_revocation_knows_the_folder_of_each_step_and_no_file_stands_in_another(
    whole: Path,
) -> None:
    check_closed(whole)


def check_closed(whole: Path) -> None:
    """That revocation knows the folder of each step of a run, and no file stands in another."""
    run = Run.at(str(whole))
    steps = steps_of(config_file.load(run.path("config.yaml")))
    folders = [step.folder for step in steps if step.has_parts]
    made = [stage for stage in PART_STAGES if stage in steps.stages]
    assert [x for stage in made for x in run.steps(stage)] == folders
    assert {x for stage in made for x in run.steps(stage, spare=True)} == {*folders}
    of_parts = {run.part(x, 0, ending) for x in folders for ending in ("parquet", "json")}
    of_parts |= {url for x in PART_STAGES for url in (run.ledger(x, 0), run.dead(x, 0))}
    of_parts |= {run.part(CLUSTERS, 0), run.part(Stage.PREPARE, 0, PLACES_FILE)}
    known = {url.rpartition("/")[0] for url in of_parts}
    known |= {run.path(stage, SUMMARIES) for stage in PART_STAGES}  # `summaries.groups.refresh`
    alone = {run.path(name) for name in OF_ALL_PARTS}
    alone |= {run.path(stage, SUBSET) for stage in made}  # `Rewriter._uids`
    alone.add(run.path(SCORED, VISUAL, HELD))  # `Rewriter._centroids`
    removed = tuple(f"{url}/" for stage in PART_STAGES for url in run.folders(stage))
    for path in map(str, filter(Path.is_file, whole.rglob("*"))):
        if path.removeprefix(f"{whole}/").partition("/")[0] not in OF_NO_STEP:
            of_entries = f"/{TEXTS}/" in path  # vectors of a list's entries: of no pair
            assert of_entries or path.rpartition("/")[0] in known or path in alone, path
            assert path.startswith(removed), path


def test_what_a_step_writes_beside_its_parts_is_scratch_or_read_later(whole: Path) -> None:
    run = Run.at(str(whole))
    steps = steps_of(config_file.load(run.path("config.yaml")))
    names = {run.path(x, name): name for x in steps.folders for name in scratch(x)}
    seen = set()
    for url in (whole.parent / "written").read_text().splitlines():
        name = url.removeprefix(f"{whole}/")
        if name == url or name.partition("/")[0] in {*OF_NO_STEP, SUMMARIES}:
            continue
        if f"/{TEXTS}/" in name:  # read by `stages.score.entities` for each part that is made anew
            continue
        within = [x for x in names if url == x or url.startswith(f"{x}/")]
        seen.update(within)
        base = name.rpartition("/")[2]
        assert within or base in READ_LATER or part_index(base) is not None, url
    of_another = run.path(Stage.BALANCE, WORK)  # that has a test in tests/users/test_adaptive.py
    assert seen == names.keys() - {of_another}
