"""A pool of many files is read by the workers, and not by the process of the command."""

import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate import files
from curate import imported as own_code
from curate.config import Config
from curate.files import content
from curate.planning import cutting, spreading
from curate.planning.parts import Cut
from curate.planning.plan import make_plan
from curate.planning.uncut import Uncut
from tests import many
from tests.store import PROTOCOL, CountedStore, counted_store
from tests.users.runs import document, refused, well

N, ROWS = 20, 3
FORMATS = ("csv", "tsv", "jsonl", "parquet")


def row(k: int, i: int) -> dict[str, str]:
    return {"url": f"http://x.example/{k}/{i}.jpg", "caption": f"picture {i} of file {k}"}


def lay(folder: Path, *forms: str, broken: int = 0, n: int = N) -> Path:
    """A pool of `n` files of these formats in turn, the last `broken` of which cannot be read."""
    pool = folder / "pool"
    pool.mkdir()
    for k in range(n):
        form = forms[k % len(forms)]
        rows, path = [row(k, i) for i in range(ROWS)], pool / f"{k:03d}.{form}"
        if form == "parquet":
            pq.write_table(pa.Table.from_pylist(rows), path)
        elif form == "jsonl":
            path.write_text("".join(json.dumps(one) + "\n" for one in rows))
        else:
            mark = "," if form == "csv" else "\t"
            lines = [mark.join(one) for one in (rows[0], *(one.values() for one in rows))]
            path.write_text("\n".join(lines) + "\n")
        if k >= n - broken:
            path.write_bytes(b"PAR1 and no more" if form == "parquet" else b"a,b\n1,2\n")
    return pool


def configuration(folder: Path, pool: Path, **more: object) -> Path:
    settings = {"input": {"paths": str(pool), **more}, "part_rows": 2, "download": {"enabled": False},
                "dedup": {"enabled": False}}  # fmt: skip
    path = folder / "my.yaml"
    path.write_text(json.dumps(settings))
    return path


def urls(run: Path) -> list[str]:
    tables = [
        pq.read_table(path, columns=["url"]) for path in sorted(run.glob("prepare/*.parquet"))
    ]
    return [url for table in tables for url in table["url"].to_pylist()]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files of a pool that this process reads to their end or digests."""
    found: list[str] = []
    cut, digest = cutting._cut_file, files.content_digest

    def counted_cut(file: Uncut, **more: object) -> Cut:
        found.append(file.path)
        return cut(file, **more)  # type: ignore[arg-type]

    def counted_digest(url: str) -> str:
        found.append(url)
        return digest(url)

    monkeypatch.setattr(cutting, "_cut_file", counted_cut)
    monkeypatch.setattr(files, "content_digest", counted_digest)
    counted_digest.__module__, counted_digest.__qualname__ = content.__name__, "content_digest"
    return found


def test_the_command_opens_none_of_many_files_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened: list[str]
) -> None:
    """And the parts are those of a pool that it reads itself."""
    path = configuration(tmp_path, lay(tmp_path, *FORMATS, broken=1))
    said = well("run", str(path), "--out", str(tmp_path / "run"), "--workers", "2")
    assert f"Reading the pool's files: {N} files, 0 MB" in said
    assert opened == []
    assert not (tmp_path / "run/input/found.json").exists()
    assert urls(tmp_path / "run") == [row(k, i)["url"] for k in range(N - 1) for i in range(ROWS)]
    monkeypatch.setattr(spreading, "MANY", 1000)
    well("run", str(path), "--out", str(tmp_path / "here"))
    assert len(opened) == 2 * N
    told = []
    for run in ("run", "here"):
        copies = {x.name: x.read_bytes() for x in (tmp_path / run / "input").glob("*.parquet")}
        text = (tmp_path / run / "input/parts.json").read_text().replace(f"/{run}/", "/")
        parts = json.loads(text)
        del parts["check"]
        told.append((copies, parts))
    assert told[0] == told[1]
    assert len(told[0][1]["unreadable"]) == 1


IN_A_STORE = [form for form in many.FORMS if form != "own"]  # that one knows no stores
LOOKED_INTO = {"parquet": 2, "unnamed jsonl": 3}
"""Requests for the footer of each file, or its beginning, which tells the format; none for others."""


@pytest.mark.parametrize("form", IN_A_STORE)
@pytest.mark.parametrize("keep", [[], ["caption"]], ids=["pairs", "a column"])
def test_the_launcher_reads_few_of_many_files(tmp_path: Path, form: str, keep: list[str]) -> None:
    """What it asks of a store, without what the workers ask, for a pool of each format."""
    if keep and form in many.PAIRS_ALONE:
        pytest.skip("it has no further columns")
    given = many.lay(tmp_path, form, 2 * N)
    sent: list[int] = []
    with counted_store() as requests:
        for path in (tmp_path / "pool").rglob("*.*"):
            CountedStore.objects[f"b/{path.relative_to(tmp_path)}"] = path.read_bytes()

        def over(work: Any, things: Any, **_: Any) -> Iterator[Any]:
            sent.append(len(things))
            before = requests.copy()
            found = [work(one) for one in things]
            requests.clear()
            requests.update(before)
            return iter(found)

        columns = {**given.get("columns", {}), **({"keep": keep} if keep else {})}
        settings = {"input": {**given, "paths": f"{PROTOCOL}://b/pool", "columns": columns},
                    "part_rows": many.part_rows(form), "out": str(tmp_path / "run")}  # fmt: skip
        plan = make_plan(Config.model_validate(settings), over=over)
        assert sum(part.rows for part in plan.parts) == 2 * N * many.ROWS
        read = Counter[str]()
        for (kind, name), n in requests.items():
            read[name] += n if kind in ("range", "read") else 0
    of_each = LOOKED_INTO.get(form, 0) + (2 if keep and form in many.FOOTERS else 0)
    over_that = {name: n for name, n in read.items() if n > of_each}
    assert len(over_that) <= spreading.MANY, over_that
    assert sum(over_that.values()) <= 4 * spreading.MANY
    assert (max(sent, default=0) >= N) == (form not in ("parquet", "images"))


def test_a_crawl_is_parsed_by_each_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "opened"
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n\n\ndef note(event, given):\n"
        "    if event == 'open' and str(given[0]).endswith('.wat.gz'):\n"
        f"        line = os.open({str(log)!r}, os.O_APPEND | os.O_CREAT | os.O_WRONLY)\n"
        "        os.write(line, f'{os.getpid()} {given[0]}\\n'.encode())\n"
        "        os.close(line)\n\n\nsys.addaudithook(note)\n"
    )
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    many.lay(tmp_path, "wat", N)
    path = configuration(tmp_path, tmp_path / "pool")
    well("run", str(path), "--out", str(tmp_path / "run"), "--workers", "2")
    assert len(urls(tmp_path / "run")) == N * many.ROWS
    lines = [line.split() for line in log.read_text().splitlines()]
    processes = {process for process, _ in lines}
    assert len(processes) == 2
    assert str(os.getpid()) not in processes
    opened = Counter(name for _, name in lines)  # to digest a file, and to parse it
    assert opened == dict.fromkeys(map(str, (tmp_path / "pool").iterdir()), 2)


def test_of_many_tables_that_are_read_where_they_stand_the_ends_will_do(
    tmp_path: Path, opened: list[str]
) -> None:
    path = configuration(tmp_path, lay(tmp_path, "parquet"))
    well("run", str(path), "--out", str(tmp_path / "run"))
    assert not list((tmp_path / "run/input").glob("*.parquet"))
    assert len(urls(tmp_path / "run")) == N * ROWS


def test_tables_with_large_row_groups_among_others_are_read_by_the_workers(
    tmp_path: Path, opened: list[str]
) -> None:
    pool = lay(tmp_path, "parquet")
    for k in range(1, N):
        pq.write_table(
            pa.Table.from_pylist([row(k, i) for i in range(9)]), pool / f"{k:03d}.parquet"
        )
    path = configuration(tmp_path, pool)
    well("run", str(path), "--out", str(tmp_path / "run"), "--workers", "2")
    assert opened == []
    assert len(list((tmp_path / "run/input").glob("*.parquet"))) == (N - 1) * 5
    assert urls(tmp_path / "run") == [
        row(k, i)["url"] for k in range(N) for i in range(9 if k else ROWS)
    ]


def test_each_worker_reads_some_of_a_users_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(own_code, "_folders", [])
    (tmp_path / "telling.py").write_text(
        "import json, os, time\nimport pyarrow as pa\n\n\ndef read(path):\n    time.sleep(0.1)\n"
        "    rows = [json.loads(line) for line in open(path)]\n"
        "    return pa.Table.from_pylist([{**row, 'process': os.getpid()} for row in rows])\n"
    )
    pool = lay(tmp_path, "jsonl")
    path = configuration(
        tmp_path, pool, format="telling:read", columns={"keep": {"process": "int64"}}
    )
    well("run", str(path), "--out", str(tmp_path / "run"), "--workers", "2")
    tables = [pq.read_table(path) for path in (tmp_path / "run/prepare").glob("*.parquet")]
    processes = set(pa.concat_tables(tables)["process"].to_pylist())
    assert len(processes) == 2
    assert os.getpid() not in processes


def test_what_is_wrong_with_many_files_is_said_as_of_few(tmp_path: Path) -> None:
    path = configuration(tmp_path, lay(tmp_path, "csv", broken=5))
    said = refused("run", str(path), "--out", str(tmp_path / "run"))
    assert "3 of 20 input files cannot be read, more than input.max_dead_fraction" in said
    assert "015.csv: no column 'url'" in said
    assert not (tmp_path / "run/run.json").exists()


def test_a_column_that_none_of_many_files_has_is_told_before_an_engine_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = lay(tmp_path, "csv")
    path = configuration(tmp_path, pool, columns={"caption": "text"})
    monkeypatch.setattr(cutting, "_cut_file", None)
    said = refused("run", str(path), "--out", str(tmp_path / "run"))
    assert "000.csv: no column 'text' among url, caption" in said


def test_a_pool_that_was_not_written_to_since_is_not_read_again(
    tmp_path: Path, opened: list[str]
) -> None:
    pool = lay(tmp_path, "csv", n=3)
    command = ("run", str(configuration(tmp_path, pool)), "--out", str(tmp_path / "run"))
    well(*command)
    assert opened == [str(x) for x in sorted(pool.iterdir())] * 2
    opened.clear()
    well(*command)
    assert opened == []
    copies = {path.name: path.read_bytes() for path in (tmp_path / "run/input").glob("*.parquet")}
    (tmp_path / "run/input/file-00001-00001.parquet").write_bytes(b"damaged")
    well(*command)
    assert opened == [str(pool / "001.csv")]
    assert copies == {x.name: x.read_bytes() for x in (tmp_path / "run/input").glob("*.parquet")}
    opened.clear()
    os.utime(pool / "001.csv")
    well(*command)
    assert opened == [str(pool / "001.csv")]
    known = document(tmp_path / "run/run.json")["input_digest"]
    (pool / "001.csv").write_text((pool / "001.csv").read_text().replace("picture", "drawing"))
    assert "holds a run over another input" in refused(*command)
    assert document(tmp_path / "run/run.json")["input_digest"] == known


def test_a_command_that_is_refused_leaves_nothing_that_workers_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spreading, "MANY", 2)
    pool, out = lay(tmp_path, "csv", n=3), tmp_path / "run"
    command = ("run", str(configuration(tmp_path, pool)), "--out", str(out))
    out.mkdir()
    (out / "other").touch()
    assert "is not empty and holds no run" in refused(*command)
    assert [path.name for path in out.iterdir()] == ["other"]
    (out / "other").unlink()
    well(*command)
    for path in pool.iterdir():
        path.write_text(path.read_text().replace("picture", "drawing"))
    before = sorted((out / "input").iterdir())
    assert "holds a run over another input" in refused(*command)
    assert sorted((out / "input").iterdir()) == before


def test_a_copy_that_is_found_damaged_is_made_again_alone(
    tmp_path: Path, opened: list[str]
) -> None:
    pool = lay(tmp_path, "csv", n=3)
    command = ("run", str(configuration(tmp_path, pool)), "--out", str(tmp_path / "run"))
    well(*command)
    copy = tmp_path / "run/input/file-00001-00000.parquet"
    whole = copy.read_bytes()
    copy.write_bytes(whole[:40] + bytes([whole[40] ^ 1]) + whole[41:])
    opened.clear()
    other = ("--set", "select=[{column: caption_chars, min: 2}]", "--force")
    assert f"{copy}" in refused(*command, *other)
    well(*command, *other)
    assert opened == [str(pool / "001.csv")]
    assert copy.read_bytes() == whole
