"""What grows is told from what does not, in runs that are made up by the seconds they took."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.config import Config
from curate.config.prices import Prices
from curate.finished.measured import Done, Sample, Segment, Stored, Work, _barrier, _done
from curate.finished.predict import Asked, Prediction, Row, predict
from curate.planning.steps import Kind, Step, steps_of
from curate.rundir.directory import PART_STAGES, PartRecord
from curate.schema import Stage

STEP = Step(Kind.PREPARE, Stage.PREPARE)
SECONDS = st.floats(0.001, 100)


def record(rows: int, seconds: float, *, first: bool) -> PartRecord:
    return PartRecord("d", "o", rows, rows, seconds=seconds, ended=1e9 + seconds, first=first)


@given(SECONDS, SECONDS, st.lists(st.integers(1, 1000), min_size=3, max_size=9), st.integers(1, 2))
def test_a_load_is_told_from_what_each_row_takes(
    a_row: float, load: float, rows: list[int], workers: int
) -> None:
    records = [
        record(n, a_row * n + load * (k < workers), first=k < workers) for k, n in enumerate(rows)
    ]
    found = _done(STEP, records).work
    assert found == pytest.approx(Work(a_row * sum(rows), load), rel=1e-6, abs=1e-6)


def test_where_each_part_was_its_workers_first_all_of_it_grows() -> None:
    found = _done(STEP, [record(10, 3.0, first=True), record(10, 4.0, first=True)])
    assert found.work == Work(7.0, 0.0)


def test_parts_that_took_rows_over_do_not_tell_what_rows_take() -> None:
    fresh = [record(10, 3.0, first=True), record(10, 1.0, first=False)]
    found = _done(STEP, [*fresh, replace(record(20, 0.1, first=False), figures={"reused": 7.0})])
    assert found.work == Work(4.0, 2.0)


@given(SECONDS, SECONDS, st.integers(1, 4), st.integers(1, 20))
def test_pieces_of_work_at_a_barrier_have_a_load_in_each_worker(
    each: float, load: float, workers: int, more: int
) -> None:
    n = workers + more
    dedup = [Step(Kind.DEDUP, Stage.DEDUP)]
    between = {
        "Dedup/Keys": (n, n * each + workers * load, each + load),
        "Other/Keys": (9, 9.0, 1.0),
    }
    work, alone, seconds = _barrier(dedup, between, workers=workers)
    assert work == pytest.approx(Work(n * each, load), rel=1e-6, abs=1e-6)
    assert alone == 0
    assert seconds == pytest.approx(load + n * each / workers, rel=1e-6)


def test_what_one_worker_does_alone_grows_and_is_not_shared() -> None:
    dedup = [Step(Kind.DEDUP, Stage.DEDUP)]
    work, alone, _ = _barrier(dedup, {"Dedup/Cluster/Outline": (1, 5.3, 5.3)}, workers=4)
    assert sum(work) == 0
    assert alone == pytest.approx(5.0)


def test_costs_are_hours_bytes_and_requests_times_their_prices() -> None:
    rows = (
        Row("start", wall=1000.0),
        Row("score", wall=7200.0, on_gpu=3600.0, bytes=3e9, reads=2e6, writes=1e6),
        Row("report", wall=1000.0),
    )
    found = Prediction(Asked(10, 10, 10, workers=4, gpus=2), rows)
    assert (found.worker_hours, found.gpu_hours, found.binds.name) == (8.0, 2.0, "score")
    prices = Prices(worker_hour=1, gpu_hour=10, gigabyte_month=2, months=3, million_reads=1,
                    million_writes=5)  # fmt: skip
    assert found.costs(prices) == {"workers": 8.0, "GPUs": 20.0, "storage": 18.0, "requests": 7.0}


def test_gpus_share_the_work_of_models_alone() -> None:
    """One worker with a GPU took 100 s to score, and 50 s for all else, which two workers share."""
    score = {"model": "ViT-B-32", "pretrained": "x"}
    config = Config.model_validate({"input": {"paths": "x"}, "score": score})
    steps = steps_of(config)
    one = Segment(Stage.PREPARE, (), Work(0, 0), alone=0, wait=0, busy=1)
    by = {step.folder: step for step in steps if step.has_parts}
    done = [
        Done(by["download"], Work(50, 0), began=1, ended=51, on_gpu=False),
        Done(by["score/annotated"], Work(90, 10), began=51, ended=151, on_gpu=True),
    ]
    stages = [x for x in PART_STAGES if x in steps.stages]
    sample = Sample(
        config=config, steps=steps, rows=1000, parts=10, kept=dict.fromkeys(stages, (1000, 1000)),
        segments=(replace(one, steps=tuple(done)),), workers=1, cores=2, start=Work(0, 5),
        report=Work(0, 5), stored=dict.fromkeys(Stage, Stored(1, 1)),
        ledger=0, copies=0, other=0, inputs={}, is_timed=True, has_loads=True,
    )  # fmt: skip
    asked = Asked(rows=10_000, part_rows=100, shard_rows=10, workers=2, gpus=3)
    rows = {x.name: x for x in predict(sample, asked).rows}
    assert rows["download"].wall == pytest.approx(500 / 2)
    share = 100 / (3 * 34)  # of three GPUs, when 100 parts are shared out
    assert rows["score"].wall == rows["score"].on_gpu == pytest.approx(10 + 900 / (3 * share))
    assert predict(sample, asked).gpu_hours == pytest.approx(3 * rows["score"].wall / 3600)
