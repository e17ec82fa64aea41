"""Each planted corruption is found, where it is, and nothing else; a repaired copy has none."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.checking.planting import CASES, keys, members, tar_of
from tests.users.runs import curate, small_run


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shards of a run."""
    return small_run(tmp_path_factory.mktemp("clean")) / "shards"


def problems(folder: Path, *options: str) -> list[dict[str, Any]]:
    """What `curate verify` finds, by its JSON."""
    done = curate("verify", str(folder), "--json", *options)
    *found, summary = map(json.loads, done.stdout.splitlines())
    assert done.returncode == (1 if found else 0), done.stderr
    assert sum(summary["summary"]["problems"].values()) == len(found)
    return found


@pytest.mark.parametrize("name", CASES)
def test_it_is_found_alone_and_a_copy_is_without_it(clean: Path, tmp_path: Path, name: str) -> None:
    folder, case = tmp_path / "set", CASES[name]
    shutil.copytree(clean, folder)
    known = {x: tar_of(folder, n) for n, x in enumerate(["00000.tar", "00001.tar"])}
    named = [*keys(known.get(case.shard, known["00000.tar"]))] if case.nth is not None else []
    if case.kind == "key_in_two_shards":
        named = keys(known["00000.tar"])
    before = {x: c for path in sorted(folder.glob("*.tar")) for x, c in members(path)}
    case.plant(folder)
    left = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    options = ["--images"] if case.kind == "undecodable_image" else []
    found = problems(folder, *options)
    assert [(x["kind"], x["shard"]) for x in found] == [(case.kind, case.shard)], found
    if case.nth is not None:
        assert found[0]["key"] == named[case.nth]
    assert found[0]["remedy"]

    done = curate("verify", str(folder), "--fix", str(tmp_path / "copy"), *options)
    assert done.returncode == 1, done.stderr
    assert problems(tmp_path / "copy", *options) == [], done.stdout
    now = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert now == left, "the set itself stays"
    kept = {x: c for path in sorted((tmp_path / "copy").glob("*.tar")) for x, c in members(path)}
    assert len(kept) >= 3 * 5
    if case.shard != "00099.tar":
        assert kept.items() <= before.items(), "good members keep their bytes"
    if case.kind in ("members_apart", "unsorted", "no_end_of_archive", "count", "hash", "bytes"):
        assert kept == before, "nothing was broken"
        for path in (tmp_path / "copy").glob("*.tar"):
            assert keys(path) == sorted(keys(path))


def test_the_clean_set_is_clean(clean: Path) -> None:
    assert problems(clean) == []
    assert problems(clean, "--images", "--workers", "2") == []
    assert problems(clean.parent) == []
