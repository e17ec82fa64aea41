"""Mixed shards through a run's life: workers, a stop, a revocation, another balance, its stories."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from curate.ops.hashing import order_keys
from tests.users.runs import document, interrupted, moved, pairs, refused, small_run, well

MIXED = ("--set", "shards.order=mixed", "--set", "shards.rows=10")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run whose shards are mixed."""
    return small_run(tmp_path_factory.mktemp("mixed"), *MIXED)


@pytest.fixture
def mixed(made: Path, tmp_path: Path) -> Path:
    """A copy that may be changed."""
    return moved(made, tmp_path / "run")


def shards(run: Path) -> dict[str, str]:
    """The files of the set, by a digest of what they hold; not the data card."""
    found = (path for path in sorted((run / "shards").iterdir()) if path.name != "README.md")
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def in_order(rows: list[dict[str, Any]]) -> list[str]:
    uids = [row["uid"] for row in rows]
    return [uid for _, uid in sorted(zip(order_keys(uids, seed=0).tolist(), uids, strict=True))]


def test_the_set_is_that_of_the_pool_in_another_order(made: Path, small: Path) -> None:
    """Even shards, of the seed alone; `small` is the same run in the order of the pool."""
    found, ordered = pairs(made), pairs(small)
    assert [row["uid"] for row in found] == in_order(ordered) != [row["uid"] for row in ordered]
    sizes = document(made / "shards/sizes.json").values()
    assert len(sizes) == -(-len(found) // 10)
    assert max(sizes) - min(sizes) <= 1
    assert not (made / "shards/work").exists()
    checks = document(made / "report/report.json")["checks"]
    assert all(check["holds"] for check in checks)
    assert "in a random order" in (made / "shards/README.md").read_text()
    failed = sum(document(path)["failed_to_download"] for path in made.glob("shards/*_stats.json"))
    pool = sum(document(path)["failed_to_download"] for path in small.glob("shards/*_stats.json"))
    assert failed == pool > 0


def test_two_workers_write_the_same_bytes(made: Path, tmp_path: Path) -> None:
    other = small_run(tmp_path, *MIXED, "--workers", "2")
    assert shards(other) == shards(made)


@pytest.mark.parametrize("after", ["shards/00002.tar", "00000.images", "shards/manifest.json"])
def test_a_half_written_set_is_gone_on_with(after: str, made: Path, mixed: Path) -> None:
    """Killed in the exchange, at a shard, before the manifest; nothing of the exchange is left."""
    for name in ("manifest.json", "00002_stats.json"):
        (mixed / "shards" / name).unlink()
    interrupted("run", str(mixed / "config.yaml"), after=after)
    well("run", str(mixed / "config.yaml"))
    assert shards(mixed) == shards(made)


def told(run: Path, uid: str) -> Iterator[str]:
    lines = well("explain", str(run), uid).splitlines()
    return (line for line in lines if "shard " in line or "key " in line)


def test_each_pair_is_found_in_its_shard(made: Path, mixed: Path) -> None:
    """Also once others were revoked, of which a whole shard may be gone."""
    rows = pairs(made)
    for row in rows[:: len(rows) // 4]:
        assert row["key"] in " ".join(told(made, row["uid"]))
    (mixed.parent / "list.txt").write_text("\n".join(row["uid"] for row in rows[3:14]) + "\n")
    said = well("revoke", str(mixed), "--list", str(mixed.parent / "list.txt"))
    assert "00000" in said
    left = pairs(mixed)
    assert left == rows[:3] + rows[14:]
    for row in left[2:5]:
        assert row["key"] in " ".join(told(mixed, row["uid"]))
    before = shards(mixed)
    well("run", str(mixed / "config.yaml"))
    assert shards(mixed) == before


def test_another_balance_has_the_bytes_of_a_whole_run(made: Path, tmp_path: Path) -> None:
    well("rebalance", str(made), "--out", str(tmp_path / "t2"), "--t", "2")
    whole = small_run(tmp_path, *MIXED, "--set", "balance.t=2")
    tars = {x: y for x, y in shards(whole).items() if x.endswith((".tar", ".parquet"))}
    assert {x: y for x, y in shards(tmp_path / "t2").items() if x in tars} == tars
    assert len(pairs(whole)) > len(pairs(made))
    well("verify", str(made))
    well("verify", str(tmp_path / "t2"))


def test_datasets_reads_them(made: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    found = datasets.load_dataset(str(made / "shards"), cache_dir=str(tmp_path))["train"]
    assert [row["json"]["uid"] for row in found] == [row["uid"] for row in pairs(made)]


def test_a_set_without_pairs_is_not_exported(mixed: Path, tmp_path: Path) -> None:
    (tmp_path / "all.txt").write_text("".join(f"{row['uid']}\n" for row in pairs(mixed)))
    well("revoke", str(mixed), "--list", str(tmp_path / "all.txt"))
    for kind in ("wids", "mds", "lance"):
        options = () if kind == "wids" else ("--out", str(tmp_path / kind))
        said = refused("export", str(mixed), "--format", kind, *options)
        assert "its set has no pairs" in said or "pip install" in said
    assert not (mixed / "shards/index.json").exists()
