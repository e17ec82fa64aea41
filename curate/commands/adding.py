"""`curate plan` over a run with images whose pool has grown: what the addition will cost."""

import tempfile
from collections.abc import Iterator

from curate import files
from curate.commands.terminal import debugging, many, out_console
from curate.config import LOCAL_RUNNER, Config, Dedup
from curate.planning.growing import Grown
from curate.planning.plan import grown_pool, make_plan
from curate.planning.spreading import Over
from curate.planning.steps import Kind, steps_of
from curate.rundir.directory import Run, Totals, totals
from curate.running import execute
from curate.schema import Stage


def tell_addition(config: Config, run: Run, *, over: Over) -> bool:
    """Tell what it will cost to go on with a run whose pool has grown; False where it has not.

    Its new rows go through the text stage here, in a folder that is removed: the run stays as it is.
    """
    found = grown_pool(run, config, over=over)
    if not found.new:
        return False
    with tempfile.TemporaryDirectory(prefix="curate-") as folder:
        plan = make_plan(_text_of_new(config, found, out=files.join(folder, "run")), over=over)
        standing = execute.prepare_run(plan)
        execute.execute(plan, standing, debug=debugging())
        prepared = totals(plan.run, Stage.PREPARE)
    for line in _told(config, run, found, prepared):
        out_console.print(line)
    return True


def _text_of_new(config: Config, found: Grown, *, out: str) -> Config:
    """A run of the new files alone, on this machine, as far as nothing is fetched or compared."""
    new = found.pool.files[-found.new :]
    paths = tuple(path for one in new for path in (one.path, *one.companions))
    rules = steps_of(config).rules.get(Stage.PREPARE, ())
    changed: dict[str, object] = {
        "input": config.input.model_copy(update={"paths": paths}), "out": out, "select": rules,
        "download": config.download.model_copy(update={"enabled": False}),
        "dedup": Dedup(enabled=False), "decontaminate": None, "score": None, "scores": {},
        "semdedup": None, "balance": None,
        "beam": config.beam.model_copy(update={"runner": LOCAL_RUNNER, "options": ()}),
    }  # fmt: skip
    return config.model_copy(update=changed)


def _told(config: Config, run: Run, found: Grown, prepared: Totals) -> Iterator[str]:
    state = run.state()
    rows, kept = prepared["rows"], prepared["kept"]
    held = sum(one.get("rows", 0) for one in state.get("inputs", ()))
    n = found.new
    yield f"{run.root} grows by {many(n, 'file')}: {many(rows, 'row')} to the {held:,} that it has"
    if config.download.enabled:
        yield f"{kept:,} of the new rows would be fetched; what the run has fetched stays"
    steps = steps_of(config)
    share = 1.0
    for stage in steps.stages:
        counts = state.get("stages", {}).get(stage)
        if stage in (Stage.DOWNLOAD, Stage.DEDUP) and counts and counts["rows"]:
            share *= counts["kept"] / counts["rows"]
    if steps.of(Kind.MODEL, Kind.MEASURE):
        yield (
            f"about {round(kept * share):,} of them would be scored, if as many are left as of the"
            " run's own; what is scored stays"
        )
    again = [*dict.fromkeys(str(step.stage) for step in steps if step.gathers)]
    if again:
        before = state.get("stages", {}).get(str(Stage.PREPARE), {"kept": 0})["kept"]
        yield f"done again, over {before + kept:,} pairs: {', '.join(again)}, and what follows"
