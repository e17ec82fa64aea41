"""Running a plan: Beam's options, errors as they reach a person, the state, the list of uids."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash

from curate import files
from curate.config import Config
from curate.config.file import load
from curate.errors import CurateError
from curate.finished.subset import write_subset
from curate.planning.plan import Plan, make_plan
from curate.rundir.directory import PartRecord
from curate.running.execute import execute, prepare_run, recorded
from curate.running.pipeline import beam_flags
from tests.finished.test_subset import datacomp_subset
from tests.stages.rundir import rows_of

ENTRIES = ["red fox", "fox", "snow", "dogs", "beach", "river", "house"]
CAPTIONS = [
    "a red fox in the snow", "two dogs playing on the beach", "the old house by the river",
    "ein kleiner Hund auf der Wiese", "the red fox by the river", "a fox", "the quiet street",
]  # fmt: skip


def rows() -> list[dict[str, Any]]:
    """60 pairs: seven captions in turn, every tenth URL a repetition."""
    return [
        {"url": f"http://x.example/{i if i % 10 else 0}", "caption": f"{CAPTIONS[i % 7]} {i // 7}"}
        for i in range(60)
    ]


def planned(folder: str, pool: str, **keys: Any) -> Plan:
    document = {"input": {"paths": [pool]}, "out": f"{folder}/run", "part_rows": 25,
                "download": {"enabled": False}, **keys}  # fmt: skip
    return make_plan(Config.model_validate(document))


@pytest.fixture
def pool(tmp_path: Path) -> str:
    path = tmp_path / "pool.parquet"
    pq.write_table(pa.Table.from_pylist(rows()), path, row_group_size=20)
    return str(path)


@pytest.mark.parametrize(
    ("beam", "extra", "flags"),
    [
        ({}, [], ["--runner=FnApiRunner"]),
        ({"workers": 3}, [],
         ["--runner=FnApiRunner", "--direct_running_mode=multi_processing",
          "--direct_num_workers=3"]),
        ({"runner": "DataflowRunner", "workers": 3, "options": ["--region=r", "--project=p"]},
         ["--job_name=j"], ["--runner=DataflowRunner", "--region=r", "--project=p", "--job_name=j"]),
        ({"options": ["--a=1"]}, ["--a=2"], ["--runner=FnApiRunner", "--a=1", "--a=2"]),
    ],
)  # fmt: skip
def test_the_runner_is_always_named(
    tmp_path: Path, pool: str, beam: dict[str, Any], extra: list[str], flags: list[str]
) -> None:
    assert beam_flags(planned(str(tmp_path), pool, beam=beam).config.beam, extra) == flags


def test_an_error_of_a_worker_is_shown_in_its_own_words(tmp_path: Path, pool: str) -> None:
    plan = planned(str(tmp_path), pool)
    Path(pool).unlink()
    standing = prepare_run(plan)
    with pytest.raises(CurateError) as raised, recorded(plan):
        execute(plan, standing)
    assert str(raised.value) == f"{pool}: no such file"
    assert plan.run.state()["state"] == "failed"


def test_options_that_the_engine_refuses_are_one_line(tmp_path: Path, pool: str) -> None:
    plan = planned(str(tmp_path), pool)
    with pytest.raises(CurateError, match=r"^the options after --: .*region\.$") as error:
        execute(plan, prepare_run(plan), extra=["--runner=DataflowRunner"])
    assert "Missing required option: project." in str(error.value)
    assert "\n" not in str(error.value)


def test_an_error_that_the_runner_hands_on_as_text_is_shown_the_same(
    tmp_path: Path, pool: str
) -> None:
    """With more than one worker the runner knows an error only by its traceback."""
    options = ["--direct_running_mode=multi_threading", "--direct_num_workers=2"]
    plan = planned(str(tmp_path), pool, beam={"options": options})
    Path(pool).unlink()
    with pytest.raises(CurateError) as raised:
        execute(plan, prepare_run(plan))
    assert str(raised.value) == f"{pool}: no such file"


def test_the_state_is_true_however_the_run_ends(tmp_path: Path, pool: str) -> None:
    plan = planned(str(tmp_path), pool)
    prepare_run(plan)
    assert plan.run.state()["state"] == "running"
    with pytest.raises(KeyboardInterrupt), recorded(plan):
        raise KeyboardInterrupt
    assert plan.run.state()["state"] == "interrupted"
    with pytest.raises(OSError, match="disk"), recorded(plan):
        raise OSError("disk full")
    assert plan.run.state()["state"] == "failed"
    plan.run.write_record("prepare", 0, PartRecord("d", "o", 3, 1, {"no_match": 2}))
    with recorded(plan):
        pass
    state = plan.run.state()
    assert (state["state"], list(state["stages"])) == ("complete", ["prepare", "dedup"])
    assert state["stages"]["prepare"]["dropped"] == {"no_match": 2}
    assert (state["seed"], state["parts"], state["input_digest"]) == (0, 3, plan.input_digest)
    assert load(plan.run.path("config.yaml")) == plan.config


@pytest.fixture
def memory() -> Iterator[str]:
    yield "memory://everything"
    files.remove("memory://everything")


def test_a_run_in_memory_from_end_to_end(memory: str) -> None:
    """Prepare, dedup by URL, balance: every pair's fate by plain Python."""
    lines = "".join(json.dumps(row) + "\n" for row in rows())
    files.write_bytes(f"{memory}/pool.jsonl", lines.encode())
    files.write_bytes(f"{memory}/en.txt", "\n".join(ENTRIES).encode())
    plan = planned(
        memory, f"{memory}/pool.jsonl", prepare={"metadata": {"en": f"{memory}/en.txt"}},
        dedup={"policy": "url"}, balance={"t": 4}, seed=3,
        select=[{"name": "short", "column": "caption_words", "min": 4}],
    )  # fmt: skip
    standing = prepare_run(plan)
    with recorded(plan):
        execute(plan, standing)
    reasons: Counter[str] = Counter()
    uids = dict(rows_of(plan.run, "prepare", "caption", "uid"))
    matched = []
    for row in rows():
        spaced = f" {row['caption']} "
        ids = [i for i, entry in enumerate(ENTRIES) if f" {entry} " in spaced]
        if "Hund" in spaced:
            reasons["language"] += 1
        elif len(row["caption"].split()) < 4:
            reasons["rule:short"] += 1
        elif not ids:
            reasons["no_match"] += 1
        else:
            matched.append((uids[row["caption"]], row["url"], len(row["caption"]), ids))
    best: dict[str, tuple[Any, ...]] = {}
    for pair in sorted(matched, key=lambda pair: (-pair[2], pair[0])):
        best.setdefault(pair[1], pair)
    alone = [pair for pair in matched if best[pair[1]] == pair]
    counts = Counter(i for *_, ids in alone for i in ids)
    kept = []
    for uid, _, _, ids in alone:
        lost = np.prod([1 - 4 / max(counts[i], 4) for i in ids])
        if (xxhash.xxh64_intdigest(uid.encode(), seed=3) >> 11) / 2**53 < 1 - lost:
            kept.append(uid)
    stages = plan.run.state()["stages"]
    assert stages["prepare"]["dropped"] == reasons
    assert stages["dedup"]["dropped"] == {"duplicate_url": len(matched) - len(alone)}
    assert stages["balance"]["kept"] == len(kept) < len(alone)
    assert rows_of(plan.run, "balance", "uid") == kept
    assert write_subset(plan.run, "balance", f"{memory}/uids.npy") == (len(kept),) * 2
    with files.open_read(f"{memory}/uids.npy") as file:
        assert np.load(file).tolist() == datacomp_subset(kept).tolist()
    again = prepare_run(make_plan(plan.config))
    assert again.valid == {"prepare": 3, "dedup": 3, "balance": 3}
    assert again.clustered
