"""What a run asks of an object store: few requests a part, none of them to find out what stands."""

from collections import Counter
from unittest.mock import patch

import pytest

from curate.commands.demo import demo_config, serve
from curate.files import kept, shipped
from curate.finished import predict
from curate.planning.plan import make_plan
from curate.planning.steps import steps_of
from curate.running.execute import execute, prepare_run
from tests.store import PROTOCOL, CountedStore, Request, counted_store
from tests.users.runs import SMALL

NO_SCORES = (
    "score=null",
    "balance.t=1",
    "select=[{name: short_caption, column: caption_chars, min: 5}]",
)
FEW, MANY = 30, 10  # rows of a part: three parts of the pool, or nine
Counted = tuple[Counter[Request], dict[str, bytes]]


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Counted]:
    """By the rows of a part: the requests of a run's graph, and all that stands after it.

    Of tables as large as those of a real run, none of which a process keeps from step to step.
    """
    pool = tmp_path_factory.mktemp("pool") / "pool.jsonl"
    lines = shipped("pipelines/demo/pool/pool.jsonl").read_text().splitlines()
    pool.write_text("\n".join(lines[i] for i in SMALL) + "\n")
    found = {}
    for rows in (FEW, MANY):
        overrides = (f"input.paths={pool}", f"part_rows={rows}", "shards.rows=100", *NO_SCORES)
        with (
            serve() as addresses, counted_store() as requests,
            patch.object(kept, "MOST_OF_ONE", -1),
        ):  # fmt: skip
            plan = make_plan(demo_config(addresses, out=f"{PROTOCOL}://b/run", overrides=overrides))
            standing = prepare_run(plan)
            requests.clear()
            execute(plan, standing)
            found[rows] = requests.copy(), dict(CountedStore.objects)
    return found


def by_kind(requests: Counter[Request]) -> Counter[str]:
    """How many there are of each kind."""
    found: Counter[str] = Counter()
    for (kind, _), n in requests.items():
        found[kind] += n
    return found


def test_a_part_costs_few_requests(counted: dict[int, Counted]) -> None:
    few, many = (by_kind(counted[rows][0]) for rows in (FEW, MANY))
    parts = len(SMALL) // MANY - len(SMALL) // FEW
    a_part = {kind: (many[kind] - few[kind]) / parts for kind in many}
    assert a_part["list"] == 0
    assert a_part["write"] <= 16
    assert sum(a_part.values()) <= 37, a_part


def test_a_prediction_knows_what_a_part_costs(counted: dict[int, Counted]) -> None:
    few, many = (by_kind(counted[rows][0]) for rows in (FEW, MANY))
    parts = len(SMALL) // MANY - len(SMALL) // FEW
    a_part = {kind: (many[kind] - few[kind]) / parts for kind in many}
    written = a_part["write"] + a_part["remove"]
    kinds = [step.kind for step in steps_of(demo_config({}, out="run", overrides=NO_SCORES))]
    assert sum(predict.WRITES[kind] for kind in kinds) == pytest.approx(written, rel=0.1)
    read = sum(a_part.values()) - written
    assert sum(predict.READS[kind] for kind in kinds) == pytest.approx(read, rel=0.2)


def test_no_table_or_record_is_asked_for_before_it_is_read(counted: dict[int, Counted]) -> None:
    asked = {name for kind, name in counted[MANY][0] if kind == "info"}
    own = {name for name in asked if "/input/" not in name and name.endswith((".parquet", ".json"))}
    assert {name for name in own if "/part-" in name} == set()


def test_dedup_leaves_no_keys_and_its_verdicts_do_not_depend_on_the_parts(
    counted: dict[int, Counted],
) -> None:
    shards = []
    for _, objects in counted.values():
        assert not [name for name in objects if name.startswith("b/run/keys/")]
        shards.append(
            {
                x: y
                for x, y in objects.items()
                if "/shards/" in x and x.endswith((".tar", ".parquet"))
            }
        )
    assert shards[0]
    assert shards[0] == shards[1]
