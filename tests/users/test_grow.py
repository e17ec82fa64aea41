"""A set grows: new files of its pool are curated against what is there, as if all had come at once."""

import json
import random
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from curate.commands import demo
from curate.files import shipped
from tests.users.runs import document, interrupted, moved, pairs, refused, well

Row = dict[str, Any]


def captions() -> list[Row]:
    """Pairs of the demo's pool and near copies of some of their captions, in no order."""
    lines = shipped("pipelines/demo/pool/pool.jsonl").read_text().splitlines()[:400]
    found = [{"url": f"http://a.example/{k}.jpg", "caption": json.loads(x)["caption"] or ""}
             for k, x in enumerate(lines)]  # fmt: skip
    found += [{"url": f"http://b.example/{k}.jpg", "caption": f"{x['caption']}!" * (1 + k % 2)}
              for k, x in enumerate(found[:80])]  # fmt: skip
    found += [{"url": x["url"].upper().replace("HTTP", "http"), "caption": f"{x['caption']} of old"}
              for x in found[40:120]]  # fmt: skip
    random.Random(1).shuffle(found)
    return found


def write(path: Path, rows: Sequence[Row], **more: int) -> None:
    """A file of a pool."""
    path.parent.mkdir(exist_ok=True, parents=True)
    rows = [{**row, **more} for row in rows]
    if path.suffix == ".jsonl":
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)


TEXT: dict[str, Any] = {
    "prepare": {"metadata": {"en": str(shipped("metadata/en-small.txt"))}},
    "download": {"enabled": False}, "dedup": {"policy": ["url", "caption"]},
    "balance": {"t": 2}, "part_rows": 50,
}  # fmt: skip


def configuration(folder: Path, document: dict[str, Any], **changed: Any) -> str:
    """A configuration of the pool `folder`/pool, in a file."""
    path = folder / "c.yaml"
    settings = {**document, "input": {"paths": str(folder / "pool")}, **changed}
    path.write_text(json.dumps(settings))
    return str(path)


def uids(path: Path) -> list[str]:
    """Those in a table."""
    found: list[str] = pq.read_table(path)["uid"].to_pylist()
    return found


def kept(run: Path, stage: str = "balance") -> list[str]:
    """The uids that a stage of a run keeps, in order."""
    return [uid for path in sorted((run / stage).glob("*.parquet")) for uid in uids(path)]


def cut(rows: Sequence[Row], n: int) -> list[list[Row]]:
    """Rows in `n` pieces of different lengths."""
    ends = [round(len(rows) * (k / n) ** 1.2) for k in range(n + 1)]
    return [list(rows[a:b]) for a, b in pairwise(ends)]


def union(folder: Path, pieces: Sequence[Sequence[Row]], **changed: Any) -> Path:
    """One run over all pieces, which prefers the pairs of earlier ones."""
    for k, rows in enumerate(pieces):
        write(folder / f"pool/{k:02d}.parquet", rows, wave=k)
    dedup = {**TEXT["dedup"], "prefer": ["-wave"]}
    inputs = {"paths": str(folder / "pool"), "columns": {"keep": ["wave"]}}
    path = configuration(folder, {**TEXT, "dedup": dedup, **changed}, input=inputs)
    well("run", path, "--out", str(folder / "run"))
    return folder / "run"


@dataclass
class Captions:
    """A folder with a pool of captions and a run over it."""

    folder: Path

    @property
    def run(self) -> Path:
        return self.folder / "run"

    def add(self, rows: Sequence[Row], name: str = "a.jsonl") -> None:
        write(self.folder / "pool" / name, rows)

    def command(self, **changed: Any) -> tuple[str, ...]:
        return "run", configuration(self.folder, {**TEXT, **changed}), "--out", str(self.run)

    def tables(self) -> dict[str, bytes]:
        """All that its stages have written of pairs, by name."""
        found = (x for y in ("prepare", "dedup", "balance", "clusters", "dropped", "entries")
                 for x in (self.run / y).rglob("*.parquet"))  # fmt: skip
        return {str(x.relative_to(self.run)): x.read_bytes() for x in found}


PIECES = cut(captions(), 3)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, undrawn: None) -> Captions:
    """A finished run over the first piece."""
    found = Captions(tmp_path_factory.mktemp("first"))
    found.add(PIECES[0], "m.parquet")
    well(*found.command())
    return found


@pytest.fixture
def here(first: Captions, tmp_path: Path) -> Captions:
    """A copy of it, and of its pool."""
    shutil.copytree(first.folder / "pool", tmp_path / "pool")
    moved(first.run, tmp_path / "run")
    return Captions(tmp_path)


@pytest.fixture(scope="module")
def second(first: Captions, tmp_path_factory: pytest.TempPathFactory) -> Captions:
    """The run to which the second piece was added."""
    found = Captions(tmp_path_factory.mktemp("second"))
    shutil.copytree(first.folder / "pool", found.folder / "pool")
    moved(first.run, found.run)
    found.add(PIECES[1])
    well(*found.command())
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, undrawn: None) -> Path:
    """One run over all three pieces."""
    return union(tmp_path_factory.mktemp("whole"), PIECES)


def test_an_addition_that_is_stopped_goes_on(here: Captions, second: Captions) -> None:
    here.add(PIECES[1])
    for after in ("records/prepare/part-00003.json", "clusters/part-00001", "balance/part-00002"):
        interrupted(*here.command(), after=after)
    said = well(*here.command())
    assert "Grows by" not in said
    assert here.tables() == second.tables()


@pytest.mark.parametrize("stopped", [False, True])
def test_additions_are_the_union(
    stopped: bool, here: Captions, second: Captions, whole: Path
) -> None:
    if stopped:
        here.add(PIECES[1])
        interrupted(*here.command(), after="dropped/dedup/part-00003")
    else:
        shutil.copytree(second.folder, here.folder, dirs_exist_ok=True)
    here.add(PIECES[2], "b.parquet")
    assert "Grows by 1 file: 216 rows" in well(*here.command())
    for stage in ("prepare", "dedup", "balance"):
        assert kept(here.run, stage) == kept(whole, stage)
    inputs = document(here.run / "run.json")["inputs"]
    assert [(one["name"][0], one.get("wave", 0)) for one in inputs] == [
        ("m", 0),
        ("a", 1),
        ("b", 2),
    ]
    assert "Nothing to do" in well(*here.command())


def test_a_run_that_lost_its_record_grows(here: Captions, second: Captions, whole: Path) -> None:
    """The parts tell which files came when."""
    shutil.copytree(second.folder, here.folder, dirs_exist_ok=True)
    (here.run / "run.json").write_text("{")
    here.add(PIECES[2], "b.parquet")
    assert "made again: run.json" in well(*here.command())
    assert [x.get("wave", 0) for x in document(here.run / "run.json")["inputs"]] == [0, 1, 2]
    assert kept(here.run) == kept(whole)


def test_an_addition_that_was_never_finished_is_taken_back(
    here: Captions, second: Captions
) -> None:
    here.add(PIECES[2])
    interrupted(*here.command(), after="balance/part-00002.parquet")
    here.add(PIECES[1])
    well(*here.command())
    assert here.tables() == second.tables()


def test_a_pool_that_lost_rows_is_refused(second: Captions) -> None:
    path = second.folder / "pool/a.jsonl"
    held = path.read_bytes()
    for change in (path.unlink, lambda: path.write_bytes(held + held)):
        change()
        said = refused(*second.command())
        assert (
            f"{second.run} holds a run over another input: 194 of its rows came from {path}" in said
        )
        assert f"curate revoke {second.run} --list FILE" in said
        path.write_bytes(held)
    assert "Nothing to do" in well(*second.command())


def test_files_that_bring_nothing_change_nothing(second: Captions, tmp_path: Path) -> None:
    shutil.copytree(second.folder, tmp_path, dirs_exist_ok=True)
    here = Captions(tmp_path)
    before = {path.name: path.read_bytes() for path in (here.run / "input").iterdir()}
    assert before.keys() > {"parts.json"}
    here.add([], "0.jsonl")
    assert "1 of 3 input files cannot be read" in refused(*here.command())
    assert before == {path.name: path.read_bytes() for path in (here.run / "input").iterdir()}
    (here.folder / "pool/0.jsonl").unlink()
    pq.write_table(pa.table({"url": [""], "caption": [""]})[:0], here.folder / "pool/0.parquet")
    well(*here.command())
    assert here.tables() == second.tables()
    (here.folder / "pool/a.jsonl").rename(here.folder / "pool/z.jsonl")
    well(*here.command())
    assert here.tables() == second.tables()
    here.add(PIECES[0], "copy.parquet")
    assert "Grows by 1 file: 150 rows" in well(*here.command())
    assert kept(here.run) == kept(second.run)


def test_revoked_pairs_do_not_come_back(here: Captions, second: Captions) -> None:
    """Neither with the old files nor with new ones, where they are listed by uid."""
    old = kept(here.run)[3]
    new = next(x for x in kept(second.run) if x not in kept(here.run, "prepare"))
    (here.folder / "list.txt").write_text(f"{old}\n{new}\n")
    well("revoke", str(here.run), "--list", str(here.folder / "list.txt"))
    here.add(PIECES[1])
    here.add(PIECES[0][:50], "again.jsonl")
    well(*here.command())
    assert not {old, new} & {*kept(here.run, "prepare")}
    assert len(kept(here.run)) > 100
    checks = document(here.run / "report/report.json")["checks"]
    assert all(check["holds"] for check in checks)


def test_later_pairs_may_be_preferred(here: Captions, tmp_path: Path) -> None:
    """Two files at once, with a rule over a share of all, as one run over the same files has it."""
    changed: dict[str, Any] = {
        "dedup": {**TEXT["dedup"], "prefer_earlier": False},
        "select": [{"column": "caption_chars", "top_fraction": 0.8}],
    }
    well(*here.command(**changed), "--force")
    for k in (1, 2):
        here.add(PIECES[k], f"{k}.jsonl")
    well(*here.command(**changed))
    other = Captions(tmp_path / "other")
    for k, rows in enumerate(PIECES):
        other.add(rows, f"{k}.parquet")
    well(*other.command(**changed))
    assert kept(here.run) == kept(other.run)
    earlier = {**changed, "dedup": TEXT["dedup"]}
    well(*here.command(**earlier), "--force")
    assert kept(here.run) != kept(other.run)


def test_a_run_begins_as_a_copy_of_another(
    first: Captions, second: Captions, tmp_path: Path
) -> None:
    """Which stays as it is; where the copying was stopped, the same command goes on."""
    before = {x: x.read_bytes() for x in first.run.rglob("*") if x.is_file()}
    here = Captions(tmp_path)
    here.add(PIECES[1])
    command = here.command(base=str(first.run))
    assert f"{first.run} grows by 1 file: 194 rows to the 150 that it has" in well(
        "plan", *command[1:]
    )
    assert not here.run.exists()
    interrupted(*command, after="run.json")
    assert "Grows by 1 file: 194 rows" in well(*command)
    assert here.tables() == second.tables()
    assert "Nothing to do" in well(*command)
    assert "Nothing to do" in well("run", str(here.run / "config.yaml"))
    assert before == {x: x.read_bytes() for x in first.run.rglob("*") if x.is_file()}
    refusals: dict[str, dict[str, Any]] = {
        "was made with part_rows 50, and this configuration has 60": {"part_rows": 60},
        f"did not begin as a copy of {second.run}": {"base": str(second.run)},
        "no run here": {"base": str(tmp_path)},
    }
    for told, changed in refusals.items():
        settings: dict[str, Any] = {"base": str(first.run), **changed}
        assert told in refused(*here.command(**settings))


@pytest.mark.life
def test_ten_additions_are_the_union(tmp_path: Path, undrawn: None) -> None:
    pieces = cut(captions(), 10)
    for k, rows in enumerate(pieces):
        here = Captions(tmp_path / "grown")
        here.add(rows, f"{9 - k % 3}/{k:02d}.{('parquet', 'jsonl')[k % 2]}")
        well(*here.command())
    whole = union(tmp_path / "union", pieces)
    assert kept(here.run, "dedup") == kept(whole, "dedup")
    assert kept(here.run) == kept(whole)


FETCHED: list[str] = []
"""The paths that the demo's server was asked for since it was emptied."""


@pytest.fixture(scope="module")
def counted() -> Iterator[None]:
    """Requests of the demo's server are noted."""
    answer = demo._Pictures.do_GET

    def noted(self: Any) -> None:
        FETCHED.append(self.path)
        answer(self)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(demo._Pictures, "do_GET", noted)
        yield


MODEL = (
    "--set", "part_rows=20", "--set", "shards.rows=10", "--set", "dedup.policy=strict",
    "--set", "balance.t=1", "--set", "select=[{column: clip_score, min: 0.1}]",
)  # fmt: skip


def with_images(pool: Path, out: Path, *options: str) -> str:
    return well("demo", "--out", str(out), "--set", f"input.paths={pool}", *MODEL, *options)


@dataclass
class Pictures:
    """A run with images and scores, before and after more pairs came."""

    pool: Path
    run: Path
    before: Path  # a copy of the run, and
    balanced: Path  # one with another balance
    union: Path
    planned: str
    said: str
    fetched: list[str]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory, counted: None, undrawn: None) -> Pictures:
    """Pairs of 60 pictures, and then of further ones, their copies among them."""
    folder = tmp_path_factory.mktemp("pictures")
    lines = shipped("pipelines/demo/pool/pool.jsonl").read_text().splitlines()
    rows = [json.loads(lines[i]) for i in [*range(40), *range(380, 420), *range(440, 480)]]
    first, second = rows[::2], rows[1::2]
    second += [{**row, "caption": f"{row['caption']} again"} for row in first[:8]]
    pool, run = folder / "pool", folder / "run"
    write(pool / "b.jsonl", first)
    with_images(pool, run)
    shutil.copytree(run, folder / "before")
    well("rebalance", str(run), "--out", str(folder / "balanced"), "--t", "2")
    write(pool / "a.jsonl", second)
    planned = well("plan", str(run / "config.yaml"))
    FETCHED.clear()
    said = with_images(pool, run)
    fetched = FETCHED.copy()
    write(folder / "all/0.jsonl", first, wave=0)
    write(folder / "all/1.jsonl", second, wave=1)
    more = ("--set", "input.columns.keep=[wave]", "--set", "dedup.prefer=[-wave]")
    with_images(folder / "all", folder / "union", *more)
    return Pictures(pool, run, folder / "before", folder / "balanced", folder / "union", planned,
                    said, fetched)  # fmt: skip


def test_pictures_that_came_later_are_judged_as_if_all_had_come_at_once(pictures: Pictures) -> None:
    for stage in ("prepare", "download", "dedup", "score", "balance"):
        assert kept(pictures.run, stage) == kept(pictures.union, stage), stage
    assert {x["uid"] for x in pairs(pictures.run)} == {x["uid"] for x in pairs(pictures.union)}
    assert len(kept(pictures.run)) > len(kept(pictures.before)) > 10
    now, union = (document(x / "run.json")["stages"] for x in (pictures.run, pictures.union))
    assert {x: y["dropped"] for x, y in now.items()} == {x: y["dropped"] for x, y in union.items()}
    checks = document(pictures.run / "report/report.json")["checks"]
    assert checks
    assert all(check["holds"] for check in checks)


def test_nothing_old_is_fetched_or_scored_again(pictures: Pictures) -> None:
    new = [json.loads(x)["url"] or "" for x in (pictures.pool / "a.jsonl").read_text().splitlines()]
    paths = {urlsplit(url).path for url in new}
    asked = {path for path in pictures.fetched if path != "/robots.txt"}
    moved = {path.replace("/moved/", "/images/") for path in paths}
    assert asked
    assert asked <= paths | moved
    old = len(list(pictures.before.glob("annotated/score/*.parquet")))
    for path in sorted(pictures.run.glob("records/annotated/score/*.json"))[:old]:
        record = document(path)
        assert record["figures"]["reused"] == record["rows"], path
    for path in pictures.before.glob("annotated/download/*.parquet"):
        assert path.read_bytes() == (pictures.run / "annotated/download" / path.name).read_bytes()


def test_what_an_addition_costs_is_said_before_and_when_it_comes(pictures: Pictures) -> None:
    assert "grows by 1 file: 68 rows to the 60 that it has" in pictures.planned
    assert "Grows by 1 file: 68 rows; 4 shards stay, but for pairs that leave" in pictures.said


def test_a_balance_of_a_run_that_grew_says_so(pictures: Pictures) -> None:
    said = refused("report", str(pictures.balanced))
    assert f"was made of {pictures.run}, which has changed since (dedup, score)" in said


def test_old_and_new_pairs_tell_their_story(pictures: Pictures) -> None:
    for path in sorted(pictures.run.glob("balance/*.parquet"))[::4]:
        uid = pq.read_table(path)["uid"][0].as_py()
        assert "shards" in well("explain", str(pictures.run), uid)


def files_of(run: Path) -> dict[str, bytes]:
    """The files of the shards of a run, by name."""
    return {x.name: x.read_bytes() for x in (run / "shards").iterdir() if x.is_file()}


def test_shards_stay_and_new_ones_follow(pictures: Pictures) -> None:
    old, now = files_of(pictures.before), files_of(pictures.run)
    names = [x["name"] for x in document(pictures.run / "shards/manifest.json")["shards"]]
    before = [x["name"] for x in document(pictures.before / "shards/manifest.json")["shards"]]
    assert names[: len(before)] == before
    assert len(names) > len(before)
    left = {*kept(pictures.before)} - {*kept(pictures.run)}
    assert left
    for name in before:
        was, is_ = (
            {x["key"]: x["uid"] for x in pq.read_table(run / f"shards/{name}.parquet").to_pylist()}
            for run in (pictures.before, pictures.run)
        )
        assert is_ == {key: uid for key, uid in was.items() if uid not in left}
        if was == is_:
            for ending in (".tar", ".parquet", "_stats.json"):
                assert old[f"{name}{ending}"] == now[f"{name}{ending}"]
    assert sorted(x["uid"] for x in pairs(pictures.run)) == sorted(kept(pictures.run))
    assert not (pictures.run / "shards/held").exists()
    well("verify", str(pictures.run))


@contextmanager
def connected(run: Path) -> Iterator[tuple[str, ...]]:
    """The command that goes on with a run, whose hosts are served while the block runs."""
    with demo.serve() as addresses:
        told = json.dumps(addresses).replace('"', "")
        config = str(run / "config.yaml")
        yield "run", config, "--out", str(run), "--set", f"download.connect_to={told}"


@pytest.mark.life
def test_a_set_that_is_stopped_again_and_again_while_it_grows(
    pictures: Pictures, tmp_path: Path
) -> None:
    """As it is laid aside, in a shard that a pair leaves, in a new one, and at the end."""
    run = moved(pictures.before, tmp_path / "run")
    old, now = files_of(pictures.before), files_of(pictures.run)
    changed = next(x for x in sorted(old) if x.endswith(".parquet") and old[x] != now[x])
    new = max(x for x in now if x.endswith(".parquet"))
    with connected(run) as command:
        for after in (
            "held/manifest.json",
            f"shards/{changed}",
            f"shards/{new}",
            "shards/manifest.json",
        ):
            interrupted(*command, after=after)
        well(*command)
    made = files_of(run)
    for name in now:
        assert name == "README.md" or made[name] == now[name], name
    assert made.keys() == now.keys()


@pytest.mark.life
def test_a_pair_is_revoked_while_its_set_grows(pictures: Pictures, tmp_path: Path) -> None:
    run = moved(pictures.before, tmp_path / "run")
    gone = kept(run)[4]
    (tmp_path / "list.txt").write_text(gone)
    new = max(x for x in files_of(pictures.run) if x.endswith(".parquet"))
    with connected(run) as command:
        interrupted(*command, after=f"shards/{new}")
        well("revoke", str(run), "--list", str(tmp_path / "list.txt"))
        assert gone not in {x for y in run.glob("shards/held/*.parquet") for x in uids(y)}
        well(*command)
        assert sorted(x["uid"] for x in pairs(run)) == sorted(kept(run))
        assert gone not in kept(run)
        well(*command[:2], "--force", *command[2:], "--set", "shards.rows=7")
        assert sorted(x["uid"] for x in pairs(run)) == sorted(kept(run))


@pytest.mark.life
def test_all_shards_are_written_anew_where_that_is_asked_for(
    pictures: Pictures, tmp_path: Path
) -> None:
    run = moved(pictures.before, tmp_path / "run")
    with connected(run) as command:
        well(*command, "--set", "shards.rewrite=true")
    made, union = ({x["key"]: x["uid"] for x in pairs(one)} for one in (run, pictures.union))
    assert made == union


@pytest.mark.life
def test_shards_of_a_base_are_shared(pictures: Pictures, tmp_path: Path) -> None:
    run, base = tmp_path / "run", pictures.before
    settings = yaml.safe_load((base / "config.yaml").read_text())
    settings |= {"base": str(base), "out": str(run)}
    settings["input"]["paths"] = str(pictures.pool / "a.jsonl")
    before = files_of(base)
    with demo.serve() as addresses:
        settings["download"]["connect_to"] = addresses
        (tmp_path / "c.yaml").write_text(yaml.safe_dump(settings))
        well("run", str(tmp_path / "c.yaml"))
    made, now = files_of(run), files_of(pictures.run)
    assert all(name == "README.md" or made[name] == now[name] for name in {*made, *now})
    assert files_of(base) == before
