"""A run that stands is looked through by few requests, however many parts it has."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from curate.finished import sweep
from curate.rundir import records
from tests.store import PROTOCOL, CountedStore, Request, counted_store
from tests.users.runs import curate, well

FEW, MANY = 5, 25
ROWS = 50
RUN = f"{PROTOCOL}://b/run"
Counted = dict[str, Counter[Request]]


def configuration(folder: Path, *, parts: int) -> str:
    rows = [{"url": f"http://x.example/{i}", "caption": f"a red fox {i}"} for i in range(ROWS)]
    (folder / "pool.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "list.txt").write_text("fox\nred\n")
    settings = {"input": {"paths": str(folder / "pool.jsonl")}, "part_rows": ROWS // parts,
                "download": {"enabled": False}, "balance": {"t": 10},
                "prepare": {"metadata": {"en": str(folder / "list.txt")}}}  # fmt: skip
    (folder / "my.yaml").write_text(json.dumps(settings))
    return str(folder / "my.yaml")


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, Counted]]:
    """By the number of parts, the requests of commands on a run that stands."""
    found: dict[int, Counted] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "WORTH", 2)
        for parts in (FEW, MANY):
            mine = configuration(tmp_path_factory.mktemp("run"), parts=parts)
            with counted_store() as requests:
                well("run", mine, "--out", RUN)
                found[parts] = {}
                for command in (("run", mine, "--out", RUN), ("sweep", RUN, "--t", "2,5")):
                    requests.clear()
                    said = well(*command)
                    found[parts][command[0]] = requests.copy()
                    assert command[0] != "run" or "Nothing to do" in said
                stored = well("sweep", RUN, "--t", "2,5", "--json")
                with pytest.MonkeyPatch.context() as uncounted:
                    uncounted.setattr(sweep, "_stored", lambda *_, **__: None)
                    assert well("sweep", RUN, "--t", "2,5", "--json") == stored
        yield found


def of_kind(requests: Counter[Request], kind: str) -> dict[str, int]:
    """How often each path was asked for so; of listings those of folders, whose names have no dot."""
    found = {path: n for (what, path), n in requests.items() if what == kind and n}
    return {path: n for path, n in found.items() if kind != "list" or "." not in path}


def test_with_nothing_to_do_a_folder_is_listed_once(counted: dict[int, Counted]) -> None:
    for commands in counted.values():
        listed = of_kind(commands["run"], "list")
        assert {path: n for path, n in listed.items() if n > 1} == {}


def test_with_nothing_to_do_no_request_is_a_parts_own(counted: dict[int, Counted]) -> None:
    few, many = (counted[parts]["run"] for parts in (FEW, MANY))
    assert many.total() <= few.total() + 2
    assert [x for x in of_kind(many, "read") if "/part-" in x] == []


def test_a_sweep_lists_a_folder_once_or_twice(counted: dict[int, Counted]) -> None:
    few, many = (of_kind(counted[parts]["sweep"], "list") for parts in (FEW, MANY))
    assert sum(many.values()) <= sum(few.values()) + 2
    assert max(many.values()) <= 3


def test_a_sweep_reads_a_part_once(counted: dict[int, Counted]) -> None:
    for parts, commands in counted.items():
        read = {
            path: n for path, n in of_kind(commands["sweep"], "read").items() if "/part-" in path
        }
        swept = {path: n for path, n in read.items() if path.startswith("b/run/dedup/part-")}
        assert list(swept.values()) == [1] * parts
        assert [path for path in read if "/records/" in path] == []


def test_what_is_gone_or_cut_off_since_is_seen(tmp_path: Path) -> None:
    mine = configuration(tmp_path, parts=FEW)
    with counted_store(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "WORTH", 2)
        well("run", mine, "--out", RUN)
        del CountedStore.objects["b/run/prepare/part-00003.parquet"]
        CountedStore.objects["b/run/records/balance/part-00001.json"] += b" "
        again = curate("run", mine, "--out", RUN, "--force")
        assert again.returncode == 0, again.stderr
        assert "damaged" in again.stdout
        assert "prepare/part-00003.parquet" in again.stdout
        assert "Nothing to do" in well("run", mine, "--out", RUN)
