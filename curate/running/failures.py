"""What ends a run though its graph ran: too many dead pairs, a table that is of other pairs."""

from curate.errors import CurateError
from curate.planning.cutting import check_rows, most_dead
from curate.planning.plan import Plan
from curate.planning.steps import Kind
from curate.reasons import ErrorCode
from curate.rundir.directory import MATCHED, totals
from curate.schema import Stage

_FAILURES = (ErrorCode.SCORE_FAILED, ErrorCode.SCORE_NOT_FINITE)


def check_dead(plan: Plan) -> None:
    """Raise where more of the pool is dead than `input.max_dead_fraction` allows."""
    if plan.run.makes(Stage.PREPARE):
        found = totals(plan.run, Stage.PREPARE)
        check_rows(
            sum(found["dead"].values()), found["rows"],
            fraction=plan.config.input.max_dead_fraction, see=plan.run.path("dead", Stage.PREPARE),
        )  # fmt: skip
    if Stage.SCORE in plan.steps.stages and plan.run.makes(Stage.SCORE):
        _check_scored(plan)
        _check_joined(plan)


def _check_joined(plan: Plan) -> None:
    """Raise where a table of the user's has a row of no pair: it is of others, or of another key."""
    for step in plan.steps.of(Kind.TABLE):
        records = [record for _, record in plan.run.records(step.folder)]
        pairs = sum(record.rows for record in records)
        if pairs and not any(record.figures.get(MATCHED) for record in records):
            table = plan.config.scores[step.name]
            raise CurateError(
                f"scores.{step.name}.path: {table.path}: of none of the {pairs:,} pairs has it a row by"
                f" its {table.on}; it is of other pairs, or `on` and `key` are others"
            )


def _check_scored(plan: Plan) -> None:
    """Raise where `scores` failed for more of the pairs than `input.max_dead_fraction` allows.

    A number of theirs that is not finite is a failure, one of the model's is not: `score.precision`
    has those, and the rest of the set stands.
    """
    run, fraction = plan.run, plan.config.input.max_dead_fraction
    found = totals(run, Stage.SCORE)
    most = most_dead(found["rows"], fraction=fraction)
    if sum(found["dead"].get(error, 0) for error in _FAILURES) <= most:
        return
    failed, names, first = 0, set[str](), ""
    for index, record in run.records(Stage.SCORE):
        if not any(record.dead.get(error) for error in _FAILURES):
            continue
        dead = run.rows(f"dead/{Stage.SCORE}", index, columns=["error", "detail"])
        for row in dead.to_pylist():
            name, _, told = (row["detail"] or "").partition(": ")
            if row["error"] in _FAILURES and name.startswith("scores."):
                failed, first = failed + 1, first or told
                names.add(name)
    if failed > most:
        raise CurateError(
            f"{', '.join(sorted(names))} failed for {failed:,} of {found['rows']:,} pairs, more than"
            f" input.max_dead_fraction {fraction:g} allows, the first with: {first}; see"
            f" {run.path('dead', Stage.SCORE)}"
        )
