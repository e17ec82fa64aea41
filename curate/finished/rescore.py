"""A further model's score, or columns of a table, for the pairs of a finished run.

Nothing else of the run is made again.
"""

import re
import shlex
from dataclasses import replace
from functools import partial
from pathlib import PurePath

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import yaml

from curate import files
from curate.config import COLUMN_NAME, Beam, FurtherScore, Scorer, is_file_name
from curate.config import file as config_file
from curate.errors import CurateError
from curate.flow import build
from curate.planning.assets import check_assets, check_name
from curate.planning.digests import chain
from curate.planning.own_scores import check_table_columns
from curate.planning.plan import Plan
from curate.planning.steps import before_own, steps_of
from curate.planning.tables import with_types
from curate.rundir.directory import MATCHED, SCORED, Part, Run
from curate.running.execute import run_graph
from curate.schema import Stage
from curate.stages.score.table import sort_tables


def column_name(model: str) -> str:
    """A column's name for a model: ``vit_b_16`` for ``ViT-B-16``.

    >>> column_name("hf-hub:apple/DFN2B-CLIP-ViT-B-16")
    'dfn2b_clip_vit_b_16'
    """
    name = PurePath(model.removesuffix(".json")).name
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def table_name(path: str) -> str:
    """A name for a table: of its file, or of the last folder that can give one.

    >>> table_name("labels/quality.v2.parquet"), table_name("labels/2026/*.parquet")
    ('quality', 'labels')

    Raises
    ------
    CurateError
        Where neither can.
    """
    for part in reversed(path.split("/")):
        name = column_name(part.partition(".")[0])
        if re.match(COLUMN_NAME, name):
            return name
    raise CurateError(f"--table {path}: no name can be made of it; give one: --name labels")


def make_plan(
    url: str, scorer: Scorer | FurtherScore, *, name: str, beam: Beam | None = None
) -> Plan:
    """The step that gives the pairs of the run at `url` a score called `name`: a model's, or a table.

    Raises
    ------
    CurateError
        Where the run is not complete, has no model's score beside which another could stand, or would
        give others than its pairs now; and for a name, a model or a table that cannot be.
    """
    if not re.match(COLUMN_NAME, name):
        raise CurateError(f"--name {name}: expected small letters, digits and _, a letter first")
    check_name(name, where=f"--name {name}")
    run = Run.at(url)
    again = f"curate run {run.path('config.yaml')}"
    state = run.state()
    if run.source:
        raise CurateError(f"{url} is a rebalance of {run.source}, which has the scores: give that")
    if state["state"] != "complete":
        raise CurateError(
            f"{url} is not complete (its state is {state['state']}); go on with it first: {again}"
        )
    config = config_file.load(run.path("config.yaml"))
    config = config.model_copy(update={"beam": beam or config.beam, "out": url})
    if isinstance(scorer, FurtherScore):
        if name in {**config.scores, **(config.score.also if config.score else {})}:
            raise CurateError(
                f"--name {name}: {url} has a score of that name in its configuration; give another"
            )
        scores = {**config.scores, name: with_types(name, scorer)}
        config = config.model_copy(update={"scores": scores})
        before = before_own(config)
    elif config.score is None or not config.download.enabled:
        raise CurateError(
            f"{url} has no scores yet; a first model is part of its configuration: {again}"
            f" --set score.model={scorer.model} --set score.pretrained={scorer.pretrained}"
        )
    else:
        score = config.score.model_copy(update={"also": {**config.score.also, name: scorer}})
        config, before = config.model_copy(update={"score": score}), pa.schema([])
    steps = steps_of(config)
    check_table_columns(config, before)
    digests = chain(
        steps, config, check_assets(config), start=state["input_digest"], grown=state.get("grown")
    )
    reads = steps.upstream(Stage.SCORE)
    records = dict(run.records(reads))
    if len(records) != state["parts"] or any(
        record.digest != digests[reads].chain for record in records.values()
    ):
        raise CurateError(
            f"{url}: its parts after {reads} are not those that its configuration gives now (a file"
            f" that it names has changed, or parts are missing); go on with it first: {again}"
        )
    parts = [Part(i, run.part(reads, i), 0, record.kept) for i, record in records.items()]
    step = steps.at(files.join(SCORED, name))
    return Plan(config, run, tuple(parts), replace(steps, steps=(step,)),
                {step.folder: digests[step.folder]}, (), state["input_digest"])  # fmt: skip


def execute(plan: Plan, *, name: str, extra: list[str], debug: bool) -> None:
    """Run the model; scores of an earlier pass of the same model are reused."""
    run_graph(plan, partial(build, plan=plan), extra=extra, debug=debug)


def summary(plan: Plan, *, name: str) -> str:
    """What came of it, in a line."""
    columns = [table[name] for table in plan.run.tables(files.join(SCORED, name), [name])]
    values = np.concatenate([pc.drop_null(column).to_numpy() for column in columns] or [[]])
    finite = values[np.isfinite(values)]
    n = sum(map(len, columns))
    where = plan.run.path(files.join(SCORED, name))
    if not len(finite):
        return f"{where}  (none of {n:,} pairs has a score)"
    low, middle, high = np.quantile(finite, [0.05, 0.5, 0.95])
    return (
        f"{where}  ({len(finite):,} of {n:,} pairs; 5 % under {low:.3f}, half under {middle:.3f},"
        f" 95 % under {high:.3f})"
    )


def annotate(
    url: str, table: FurtherScore, *, name: str, beam: Beam, extra: list[str], debug: bool
) -> tuple[Plan, int]:
    """Join the pairs of a run with a table; the plan of it, and how many rows repeated a key.

    Raises
    ------
    CurateError
        As `make_plan`; and where the table has a row of no pair, of which nothing is left then.
    """
    try:
        plan = make_plan(url, table, name=name, beam=beam)
        repeats = sort_tables(plan)
        try:
            execute(plan, name=name, extra=extra, debug=debug)
        finally:
            (step,) = plan.steps
            records = [one for _, one in plan.run.records(step.folder)]
            if not any(one.figures.get(MATCHED) for one in records):
                files.remove(plan.run.path(step.folder))
                files.remove(plan.run.part(step.folder, 0, "json").rpartition("/")[0])
    except CurateError as error:
        told = str(error).replace(f"scores.{name}.path: ", "--table ")
        raise CurateError(told.replace(f"scores.{name}.", "--")) from error.__cause__
    return plan, repeats


def matched(plan: Plan) -> tuple[int, int]:
    """Of how many pairs the table has a row, and of how many pairs in all."""
    (step,) = plan.steps
    records = [one for _, one in plan.run.records(step.folder)]
    return int(sum(x.figures.get(MATCHED, 0) for x in records)), sum(x.rows for x in records)


def settings(scorer: Scorer | FurtherScore, *, name: str) -> list[str]:
    """The ``--set`` options that make a further score part of a run."""
    chosen = scorer.model_dump(exclude_defaults=True)
    if isinstance(scorer, FurtherScore):
        chosen["path"] = files.absolute(str(scorer.path))
        value = yaml.safe_dump(chosen, default_flow_style=True, width=10_000, sort_keys=False)
        return ["--set", shlex.quote(f"scores.{name}={value.strip()}")]
    paths = {
        key: files.absolute(chosen[key])
        for key in ("model", "pretrained")
        if is_file_name(chosen.get(key))
    }
    return [f"--set score.also.{name}.{key}={value}" for key, value in {**chosen, **paths}.items()]
