"""Pools in formats of users' own, by a reader that they write: a table of SQLite, JSON in a zip."""

import json
import re
import shutil
import sqlite3
import sys
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from curate import imported
from curate.commands.demo import serve
from curate.files import shipped
from tests.users.runs import SMALL, document, pairs, refused, well

READER = '''
import sqlite3
from contextlib import closing

import pyarrow as pa

class Pairs:
    """Rows of SQLite files, a few at a time."""

    def __init__(self, path):
        self.path = path

    def __iter__(self):
        with closing(sqlite3.connect(self.path)) as database:
            rows = database.execute("SELECT link, alt, rank, source FROM pairs ORDER BY rowid")
            while some := rows.fetchmany(7):
                yield pa.table(dict(zip(["link", "alt", "rank", "source"], zip(*some))))
'''
SETTINGS: dict[str, Any] = {
    "input": {
        "paths": "pool", "format": "own_sqlite:Pairs",
        "columns": {"url": "link", "caption": "alt", "keep": ["rank", "source"]},
    },
    "select": [{"column": "rank", "min": 10}],
    "part_rows": 15, "shards": {"rows": 20}, "download": {"robots": False},
}  # fmt: skip


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Modules of users' are imported anew by each test, as by each command."""
    monkeypatch.setattr(imported, "_folders", [])
    monkeypatch.setattr(imported, "_used", set())
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield
    forget()


def forget() -> None:
    for name in [name for name in sys.modules if name.startswith("own_")]:
        del sys.modules[name]


def lay(folder: Path, *, reader: str = READER, **changed: Any) -> Path:
    """A pool of two files, a reader and a configuration beside it."""
    lines = shipped("pipelines/demo/pool/pool.jsonl").read_text().splitlines()
    rows = [json.loads(lines[i]) for i in SMALL[:60]]
    (folder / "pool").mkdir(parents=True)
    for number in range(2):
        with closing(sqlite3.connect(folder / f"pool/{number}.db")) as database:
            database.execute("CREATE TABLE pairs (link, alt, rank INTEGER, source)")
            some = [
                (row["url"], row["caption"], rank, f"file {number}")
                for rank, row in enumerate(rows[30 * number : 30 * number + 30])
            ]
            database.executemany("INSERT INTO pairs VALUES (?, ?, ?, ?)", some)
            database.commit()
    (folder / "pool/README.md").write_text("What is in these files")
    (folder / "own_sqlite.py").write_text(reader)
    return configured(folder, **changed)


def configured(folder: Path, **changed: Any) -> Path:
    (folder / "my.yaml").write_text(yaml.safe_dump({**SETTINGS, **changed}))
    return folder / "my.yaml"


def without_images(**columns: Any) -> dict[str, Any]:
    """Settings of a run that fetches nothing."""
    given = SETTINGS["input"] | {"columns": SETTINGS["input"]["columns"] | columns}
    return {"input": given, "download": {"enabled": False}, "dedup": {"enabled": False}}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two workers over it, from another folder than that of the configuration."""
    folder = tmp_path_factory.mktemp("own")
    with pytest.MonkeyPatch.context() as patched, serve() as addresses:
        patched.setattr(sys, "path", [*sys.path])
        patched.chdir(folder)
        lay(folder / "there", download={"connect_to": addresses, "robots": False},
            input={**SETTINGS["input"], "paths": str(folder / "there/pool")})  # fmt: skip
        well("run", "there/my.yaml", "--out", str(folder / "run"), "--workers", "2")
    forget()
    return folder / "run"


def test_rows_travel_with_the_columns_that_are_kept_and_rules_over_them(finished: Path) -> None:
    kept = pairs(finished)
    assert kept
    assert all(row["rank"] >= 10 and row["source"] in ("file 0", "file 1") for row in kept)
    gone = pq.read_table(finished / "dropped/prepare").to_pylist()
    assert [row["reason"] for row in gone].count("rule:rank") > 10
    state = document(finished / "run.json")
    assert [(one["format"], one["rows"]) for one in state["inputs"]] == [
        ("own_sqlite:Pairs", 30)
    ] * 2
    assert len({re.fullmatch("[0-9a-f]{64}", one["reader"])[0] for one in state["inputs"]}) == 1  # type: ignore[index]
    assert len(list((finished / "input").glob("*.parquet"))) == 4


def test_what_is_done_with_a_run_needs_no_reader(finished: Path, tmp_path: Path) -> None:
    """It goes on from its own configuration, in any folder; without the reader, where copies stand."""
    folder = Path(shutil.copytree(finished.parent, tmp_path / "copy"))
    run = folder / "run"
    for path in (run / "config.yaml", run / "run.json", run / "input/parts.json"):
        text = path.read_text().replace(str(finished.parent), str(folder))
        unchecked = re.sub(r',\s*"check": \d+', "", text)  # which would tell of the change
        path.write_text(unchecked)
    settings = yaml.safe_load((run / "config.yaml").read_text())
    assert settings["beam"]["python_path"] == [str(folder / "there")]
    assert "Done again" not in well("run", str(run / "config.yaml"))  # but the report, of its paths
    forget()
    (folder / "there/own_sqlite.py").unlink()
    shutil.rmtree(folder / "there/__pycache__", ignore_errors=True)
    assert "Nothing to do" in well("run", str(run / "config.yaml"))
    [row, *_] = pairs(run)
    assert "shards" in well("explain", str(run), row["uid"])
    well("report", str(run))
    (folder / "gone.txt").write_text(row["uid"])
    well("revoke", str(run), "--list", str(folder / "gone.txt"))
    assert row["uid"] not in [one["uid"] for one in pairs(run)]
    shutil.rmtree(run / "input")
    assert "input.format: own_sqlite:Pairs: no module 'own_sqlite'" in refused(
        "run", str(run / "config.yaml")
    )


def test_a_changed_reader_is_another_pool(tmp_path: Path) -> None:
    path = lay(tmp_path, **without_images())
    run = tmp_path / "run"
    paths = ["--set", f"input.paths={tmp_path / 'pool'}"]
    well("run", str(path), "--out", str(run), *paths)
    forget()
    (tmp_path / "own_sqlite.py").write_text(READER.replace("fetchmany(7)", "fetchmany(8)"))
    said = refused("run", str(path), "--out", str(run), *paths)
    assert "holds a run over another input (or another version of its reader, " in said
    well("run", str(path), "--out", str(tmp_path / "other"), *paths)
    forget()
    (tmp_path / "own_sqlite.py").write_text(
        READER.replace("    def __init__", "    version = 3\n    def __init__")
    )
    well("run", str(path), "--out", str(tmp_path / "third"), *paths)
    forget()
    text = (tmp_path / "own_sqlite.py").read_text()
    (tmp_path / "own_sqlite.py").write_text(f"# the same\n{text}")
    assert "Nothing to do" in well("run", str(path), "--out", str(tmp_path / "third"), *paths)


ARCHIVE = """
import json
import zipfile

import pyarrow as pa

def archive(path):
    with zipfile.ZipFile(path) as found:
        for name in sorted(found.namelist()):
            yield pa.RecordBatch.from_pylist([json.loads(found.read(name))])
"""


def archives(folder: Path, *, broken: int) -> Path:
    """Zips of ten JSON files each; some end in one that is no JSON."""
    (folder / "own_zip.py").write_text(ARCHIVE)
    (folder / "pool").mkdir()
    for number in range(4):
        with zipfile.ZipFile(folder / f"pool/{number}.zip", "w") as file:
            for k in range(10):
                row = {
                    "url": f"http://x.example/{number}/{k}.jpg",
                    "caption": f"picture {k} of {number}",
                }
                file.writestr(f"{k:02d}.json", json.dumps(row))
            if number < broken:
                file.writestr("99.json", "{")
    given = {"paths": str(folder / "pool/*.zip"), "format": "own_zip:archive"}
    return configured(folder, **{**without_images(), "input": given, "select": []})


def test_a_file_that_breaks_off_counts_as_those_of_other_formats_do(tmp_path: Path) -> None:
    path, run = archives(tmp_path, broken=1), tmp_path / "run"
    why = f"{tmp_path}/pool/0.zip: cannot be read as own_zip:archive: JSONDecodeError: "
    said = refused("run", str(path), "--out", str(run))
    assert "1 of 4 input files cannot be read, more than input.max_dead_fraction 0.1 allows" in said
    assert f"; the first: {why}" in said
    assert f"({tmp_path}/own_zip.py, line 10) (after 10 rows)" in said
    assert not run.exists()
    well("run", str(path), "--out", str(run), "--set", "input.max_dead_fraction=0.5")
    assert len(pq.read_table(run / "prepare")) == 40
    [dead] = pq.read_table(run / "dead/prepare").to_pylist()
    assert dead["error"] == "unreadable_file"
    assert dead["detail"].startswith(why)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return None", "{at}: it gave NoneType, expected record batches or tables of Arrow"),
        ("yield {'url': 'x'}", "{at}: it gave dict, expected record batches or tables of Arrow"),
        ("yield pa.table({'link': ['x'], 'text': ['y']})", "{at}: no column 'url' among link, text;"
         " name the right one in input.columns.url, as in input.columns: {{url: link, caption: text}}"),
        ("yield pa.table({'url': ['x']})", "{at}: no column 'caption' among url; name"),
        ("yield pa.table({'url': [['x']], 'caption': ['y']})",
         "{at}: column 'url' is list<item: string>, expected texts"),
        ("yield from ()", "{pool}: the input holds no rows as own_bad:rows reads it"),
        ("open('/nowhere/x')", "{pool}: cannot be read as own_bad:rows: FileNotFoundError: [Errno 2] No"
         " such file or directory: '/nowhere/x' ({folder}/own_bad.py, line 3)"),
    ],
)  # fmt: skip
def test_a_reader_that_gives_no_pairs_is_told_in_a_line(
    tmp_path: Path, body: str, said: str
) -> None:
    (tmp_path / "own_bad.py").write_text(f"import pyarrow as pa\ndef rows(path):\n    {body}\n")
    pool = tmp_path / "a.bin"
    pool.write_bytes(b"x")
    given = {"paths": str(pool), "format": "own_bad:rows"}
    path = configured(tmp_path, **{**without_images(), "input": given, "select": []})
    at = f"input.format: own_bad:rows: {pool}"
    line = refused("run", str(path), "--out", str(tmp_path / "run"))
    assert said.format(at=at, pool=pool, folder=tmp_path) in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ("own_missing:rows", "input.format: own_missing:rows: no module 'own_missing' (looked in"),
        ("own_bad:row", "own_bad.py has no 'row', did you mean 'rows'?"),
        ("own_raises:rows", "it cannot be imported: ZeroDivisionError: division by zero ("),
        ("own_bad.rows", "input.format: expected auto, parquet,"),
        ("jsonlines", "or a reader as MODULE:NAME, did you mean 'jsonl'?, not 'jsonlines'"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("command", ["run", "plan"])
def test_a_reader_that_is_not_there_is_told_before_anything_starts(
    tmp_path: Path, command: str, form: str, said: str
) -> None:
    (tmp_path / "own_bad.py").write_text("def rows(path): ...\n")
    (tmp_path / "own_raises.py").write_text("1 / 0\n")
    (tmp_path / "a.bin").write_bytes(b"x")
    given = {"paths": str(tmp_path / "a.bin"), "format": form, "columns": {"keep": ["x"]}}
    path = configured(tmp_path, **{**without_images(), "input": given, "select": []})
    assert said in refused(command, str(path), "--out", str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_pythons_own_path_comes_first_and_a_folder_can_be_named(tmp_path: Path) -> None:
    path = archives(tmp_path, broken=0)
    (tmp_path / "lib").mkdir()
    (tmp_path / "own_zip.py").rename(tmp_path / "lib/own_zip.py")
    at = ["run", str(path), "--out", str(tmp_path / "run")]
    assert "no module 'own_zip'" in refused(*at)
    well(*at, "--set", f"beam.python_path=[{tmp_path / 'lib'}]")


def test_a_file_is_copied_while_it_is_read(tmp_path: Path) -> None:
    """So memory does not grow with it: when a later part is read, the ones before it stand."""
    (tmp_path / "own_long.py").write_text(
        "import pathlib\nimport pyarrow as pa\n"
        "def rows(path):\n"
        "    copies = pathlib.Path(path).parent / 'run/input'\n"
        "    for number in range(100):\n"
        "        there = len(list(copies.glob('*.parquet')))\n"
        "        assert there >= (1000 * number) // 20000 - 1 or not copies.exists()\n"
        "        texts = [f'{number} {k}' for k in range(1000)]\n"
        "        yield pa.table({'url': [f'http://x.example/{x}' for x in texts], 'caption': texts})\n"
    )
    (tmp_path / "a.bin").write_bytes(b"x")
    given = {"paths": str(tmp_path / "a.bin"), "format": "own_long:rows", "max_dead_fraction": 0}
    settings = {**without_images(), "input": given, "select": [], "part_rows": 20_000}
    well("plan", str(configured(tmp_path, **settings)), "--out", str(tmp_path / "run"))
    assert len(list((tmp_path / "run/input").glob("*.parquet"))) == 5
