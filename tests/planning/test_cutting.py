"""The pool's files: which they are, what they are called, and how much of them may be unreadable."""

import json
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate import files
from curate.config import Config
from curate.errors import CurateError
from curate.planning.cutting import most_dead
from curate.planning.inputs import find_inputs, find_pool
from curate.planning.parts import FORMAT
from curate.planning.plan import Plan, make_plan
from curate.planning.steps import Kind
from curate.running.failures import check_dead
from curate.schema import Stage
from curate.stages.part import TakePart
from curate.stages.prepare import step_of
from tests.stages.rundir import check_conserved, dead, drive, rows_of

LINE = '{"url": "http://x.example/a.png", "caption": "a red fox in the snow"}\n'


def config(tmp_path: Path, paths: str | list[str], **keys: Any) -> Config:
    document = {"input": {"paths": paths, **keys.pop("input", {})}, "out": str(tmp_path / "run")}
    return Config.model_validate({**document, "part_rows": 10, **keys})


def lay(folder: Path, *names: str) -> str:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".tar":
            tarfile.open(path, "w").close()
        elif path.suffix == ".parquet":
            columns = {x: pa.array([], pa.string()) for x in ("url", "caption", "key", "status")}
            pq.write_table(pa.table(columns), path)
        else:
            path.write_text(LINE)
    return str(folder)


SHARDS = ("00000.parquet", "00000.tar", "00000_stats.json", "00001.parquet", "00001_stats.json",
          "00001/000010000.jpg", "00001/000010000.json", "manifest.json")  # fmt: skip


@pytest.mark.parametrize(
    ("form", "names", "found"),
    [
        ("auto", SHARDS, {"00000.parquet": "img2dataset", "00001.parquet": "img2dataset"}),
        ("img2dataset", SHARDS, {"00000.parquet": "img2dataset", "00001.parquet": "img2dataset"}),
        ("webdataset", SHARDS, {"00000.tar": "webdataset"}),
        ("auto", ("a.tar", "a_stats.json", "b.parquet", "c.jsonl"),
         {"a.tar": "webdataset", "b.parquet": "parquet", "c.jsonl": "jsonl"}),
        ("auto", ("cc3m/00000.tar", "cc12m/00000.tar", "notes.md", "cc3m/_SUCCESS"),
         {"cc12m/00000.tar": "webdataset", "cc3m/00000.tar": "webdataset", "notes.md": "jsonl"}),
        ("auto", ("x/00000.parquet", "x/00000.tar", "y.json"),
         {"x/00000.parquet": "parquet", "x/00000.tar": "webdataset", "y.json": "jsonl"}),
        ("tsv", ("a.csv",), {"a.csv": "tsv"}),
    ],
)  # fmt: skip
def test_the_files_of_a_folder(
    tmp_path: Path, form: str, names: tuple[str, ...], found: dict[str, str]
) -> None:
    folder = lay(tmp_path / "pool", *names)
    inputs = find_inputs(find_pool(config(tmp_path, folder, input={"format": form})))
    assert {one["name"]: one["format"] for one in inputs} == found
    assert len(inputs) == len(found)


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["a/*.jsonl", "a/0.jsonl"], ["a/0.jsonl", "a/1.jsonl"]),
        (["a/1.jsonl", "a/*.jsonl"], ["a/1.jsonl", "a/0.jsonl"]),
        (["b", "a/0.jsonl", "a", "b/2.jsonl"], ["b/2.jsonl", "a/0.jsonl", "a/1.jsonl"]),
        (["./a/0.jsonl", "a/0.jsonl", "b/../a//0.jsonl", "FULL/a/0.jsonl", "file://FULL/a/0.jsonl"],
         ["a/0.jsonl"]),
        (["linked/*", "a"], ["linked/0.jsonl", "linked/1.jsonl"]),
    ],
)  # fmt: skip
def test_a_file_that_several_paths_match_is_read_once_where_the_first_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, paths: list[str], names: list[str]
) -> None:
    lay(tmp_path, "a/0.jsonl", "a/1.jsonl", "b/2.jsonl")
    (tmp_path / "linked").symlink_to("a")
    monkeypatch.chdir(tmp_path)
    asked = [path.replace("FULL", str(tmp_path)) for path in paths]
    made = make_plan(config(tmp_path, asked))
    assert [one["path"] for one in made.inputs] == [str(tmp_path / name) for name in names]
    assert sum(part.rows for part in made.parts) == len(names)
    once = make_plan(config(tmp_path, names, out=str(tmp_path / "other")))
    assert made.input_digest == once.input_digest


def test_a_remote_file_that_several_paths_match_is_read_once() -> None:
    pool = "memory://pool-in-overlap"
    files.write_bytes(files.join(pool, "a.jsonl"), LINE.encode())
    document = {"input": {"paths": [f"{pool}/*", f"{pool}/a.jsonl", pool]}, "part_rows": 10}
    assert [one["path"] for one in find_inputs(find_pool(Config.model_validate(document)))] == [
        f"{pool.replace('//', '///')}/a.jsonl"
    ]
    files.remove(pool)


@pytest.mark.parametrize("first", ["00000.parquet", "*.parquet", "*.tar", "*"])
def test_a_shard_that_several_paths_match_is_read_once_with_its_images(
    tmp_path: Path, first: str
) -> None:
    folder = lay(tmp_path / "pool", *SHARDS)
    inputs = find_inputs(find_pool(config(tmp_path, [f"{folder}/{first}", folder])))
    found = {one["name"]: one["format"] for one in inputs}
    assert found == {"00000.parquet": "img2dataset", "00001.parquet": "img2dataset"}
    assert len(inputs) == len(found)


def test_a_file_that_neither_name_nor_content_tells_has_no_format(tmp_path: Path) -> None:
    (tmp_path / "README").write_text("Read me")
    assert find_inputs(find_pool(config(tmp_path, str(tmp_path / "README"))))[0]["format"] == ""


def test_the_digest_of_a_shard_covers_its_images(tmp_path: Path) -> None:
    folder = lay(tmp_path / "pool", *SHARDS)

    def digests() -> list[str]:
        return [one["digest"] for one in find_inputs(find_pool(config(tmp_path, folder)))]

    before = digests()
    with tarfile.open(tmp_path / "pool" / "00000.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("a.jpg"))
    assert [a == b for a, b in zip(before, digests(), strict=True)] == [False, True]
    (tmp_path / "pool" / "00001" / "000010001.jpg").write_bytes(b"another")
    assert [a == b for a, b in zip(before, digests(), strict=True)] == [False, False]


@pytest.mark.parametrize("url", ["memory://pool-of-inputs", "local"])
def test_a_pool_may_be_anywhere(tmp_path: Path, url: str) -> None:
    folder = str(tmp_path / "pool") if url == "local" else url
    files.write_bytes(files.join(folder, "deep", "a.jsonl"), LINE.encode())
    files.write_bytes(files.join(folder, "b.jsonl"), LINE.encode())
    for paths, names in (
        (folder, ["b.jsonl", "deep/a.jsonl"]),
        (files.join(folder, "*", "*.jsonl"), ["a.jsonl"]),
        ([files.join(folder, "b.jsonl"), files.join(folder, "deep")], ["b.jsonl", "deep/a.jsonl"]),
    ):
        made = make_plan(config(tmp_path / "-".join(names).replace("/", "_"), paths))
        assert [one["name"] for one in made.inputs] == names
        assert [part.rows for part in made.parts] == [1] * len(names)


@pytest.mark.parametrize("home", ["memory://pool-around-a-run", "local", "linked"])
@pytest.mark.parametrize("pattern", ["", "**", "**/*", "*"])
def test_a_run_inside_its_pool_is_no_part_of_it(tmp_path: Path, home: str, pattern: str) -> None:
    (tmp_path / "linked").symlink_to(tmp_path / "local")
    folder = home if "://" in home else str(tmp_path / "local")
    files.write_bytes(files.join(folder, "a.jsonl"), LINE.encode())
    files.write_bytes(files.join(folder, "runs.jsonl"), LINE.encode())
    out = files.join(home if "://" in home else str(tmp_path / home), "runs")
    settings = config(tmp_path, files.join(folder, pattern) if pattern else folder)
    settings = settings.model_copy(update={"out": out})
    first = make_plan(settings)
    assert [one["name"] for one in first.inputs] == ["a.jsonl", "runs.jsonl"]
    first.run.update(input_digest=first.input_digest)
    for name in ("shards/00000.tar", "prepare/part-00000.parquet", "a.jsonl"):
        files.write_bytes(first.run.path(*name.split("/")), b"no pool")
    again = make_plan(settings)
    assert (again.inputs, again.parts) == (first.inputs, first.parts)
    files.remove(folder)


def test_a_pool_that_lies_in_its_run_alone_is_refused(tmp_path: Path) -> None:
    lay(tmp_path / "run", "a.jsonl")
    with pytest.raises(CurateError, match=r"all that is there lies in the run directory .*run,"):
        make_plan(config(tmp_path, str(tmp_path / "run" / "*.jsonl")))
    assert files.names(str(tmp_path / "run")) == ["a.jsonl"]


def broken_pool(tmp_path: Path, *, good: int, broken: int) -> str:
    folder = lay(tmp_path / "pool", *(f"{i:02d}.jsonl" for i in range(good)))
    for i in range(broken):
        (tmp_path / "pool" / f"{90 + i}.parquet").write_bytes(b"PAR1 broken")
    return folder


def test_files_beyond_the_budget_end_the_run_before_it_begins(tmp_path: Path) -> None:
    folder = broken_pool(tmp_path, good=9, broken=1)
    assert len(make_plan(config(tmp_path, folder)).parts) == 10
    for fraction, broken in ((0.1, 2), (0.0, 1)):
        other = tmp_path / f"b{broken}"
        folder = broken_pool(other, good=9, broken=broken)
        with pytest.raises(CurateError) as error:
            make_plan(config(other, folder, input={"max_dead_fraction": fraction}))
        assert str(error.value).startswith(
            f"{broken} of {9 + broken} input files cannot be read, more than input.max_dead_fraction"
            f" {fraction:g} allows; the first: {folder}/90.parquet: cannot be read as parquet: "
        )
        assert not (other / "run").exists()


def test_the_budget_is_checked_again_where_the_copies_stand(tmp_path: Path) -> None:
    folder = broken_pool(tmp_path, good=9, broken=1)
    first = make_plan(config(tmp_path, folder))
    with pytest.raises(CurateError, match="1 of 10 input files cannot be read, more than"):
        make_plan(config(tmp_path, folder, input={"max_dead_fraction": 0.05}))
    assert make_plan(config(tmp_path, folder)).parts == first.parts


def test_rows_beyond_the_budget_end_the_run(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text(LINE * 18 + "no\n" * 2)
    pool = str(tmp_path / "p.jsonl")
    assert sum(part.rows for part in make_plan(config(tmp_path, pool)).parts) == 20
    with pytest.raises(CurateError) as error:
        make_plan(config(tmp_path / "b", pool, input={"max_dead_fraction": 0.09}))
    assert str(error.value).startswith(
        "2 of the input's 20 rows cannot be used, more than input.max_dead_fraction 0.09 allows; see"
        f" {pool}: row 19: not JSON: "
    )
    assert not (tmp_path / "b" / "run").exists()


def test_one_bad_row_does_not_end_a_tiny_pool(tmp_path: Path) -> None:
    assert most_dead(1, fraction=0.1) == 0, "a pool that is nothing else"
    for good, bad, fraction, allowed in (
        (1, 1, 0.1, True), (8, 1, 0.1, True), (8, 2, 0.1, False), (8, 1, 0.0, False),
    ):  # fmt: skip
        folder = tmp_path / f"{good}-{bad}-{fraction}"
        folder.mkdir()
        (folder / "p.jsonl").write_text(LINE * good + "no\n" * bad)
        made = config(folder, str(folder / "p.jsonl"), input={"max_dead_fraction": fraction})
        if not allowed:
            with pytest.raises(
                CurateError, match=f"^{bad} of the input's {good + bad} rows cannot"
            ):
                make_plan(made)
            continue
        plan = make_plan(made)
        prepared(plan)
        check_dead(plan)
        assert len(dead(plan.run, Stage.PREPARE, len(plan.parts))) == bad


def prepared(plan: Plan) -> None:
    drive(plan.run, beam.ParDo(TakePart(step_of(plan, plan.steps.of(Kind.PREPARE)[0]))), plan.parts)
    check_conserved(plan.run, Stage.PREPARE, plan.parts)


def corrupted(path: Path) -> str:
    """A parquet of 30 rows whose second row group cannot be read; its footer can."""
    table = pa.table({"url": [f"http://x.example/{i}" for i in range(30)],
                      "caption": [f"the fox number {i}" for i in range(30)]})  # fmt: skip
    pq.write_table(table, path, row_group_size=10, compression="zstd", use_dictionary=False)
    group = pq.ParquetFile(path).metadata.row_group(1).column(0)
    content = bytearray(path.read_bytes())
    start = group.data_page_offset
    content[start : start + group.total_compressed_size] = b"\xff" * group.total_compressed_size
    path.write_bytes(content)
    return str(path)


def test_rows_that_turn_out_unreadable_are_dead_and_counted(tmp_path: Path) -> None:
    pool = corrupted(tmp_path / "p.parquet")
    made = make_plan(config(tmp_path, pool, input={"max_dead_fraction": 0.5}))
    prepared(made)
    found = dead(made.run, Stage.PREPARE, len(made.parts))
    assert {(error, (detail or "").split(": ")[0]) for _, error, detail in found} == {
        ("unreadable_file", pool)
    }
    assert len(found) == 10
    assert len(rows_of(made.run, "prepare", "url")) == 20
    check_dead(made)
    strict = replace(made, config=config(tmp_path, pool, input={"max_dead_fraction": 0.33}))
    with pytest.raises(
        CurateError, match=r"^10 of the input's 30 rows cannot be used, more than inp"
    ):
        check_dead(strict)


def test_a_part_that_alone_is_over_the_budget_ends_the_run_at_once(tmp_path: Path) -> None:
    made = make_plan(config(tmp_path, corrupted(tmp_path / "p.parquet")))
    with pytest.raises(
        Exception, match=r"p\.parquet: 10 of 10 rows cannot be used, more than input"
    ):
        prepared(made)


@pytest.mark.parametrize("name", ["p.parquet", "p.jsonl"])
def test_a_part_with_more_text_than_arrow_counts_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    rows = [{"url": f"http://x.example/{i}", "caption": "the fox " * 10} for i in range(30)]
    if name.endswith("parquet"):
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / name)
    else:
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    made = make_plan(config(tmp_path, str(tmp_path / name), part_rows=20))
    monkeypatch.setattr("curate.stages.prepare.TEXT_BYTES", 20 * 80)
    prepared(made)
    monkeypatch.setattr("curate.stages.prepare.TEXT_BYTES", 20 * 80 - 1)
    path = made.parts[0].path
    with pytest.raises(CurateError) as error:
        step_of(made, made.steps.of(Kind.PREPARE)[0]).process(made.parts[0])
    assert str(error.value) == (
        f"{path}: rows 0 to 20 hold over 1,599 bytes of captions, more than a part can;"
        " set part_rows to less than 20"
    )


def test_a_uid_of_another_kind_is_told_by_its_row_of_the_pool(tmp_path: Path) -> None:
    good = [f"{i},http://x.example/{i}.jpg,the fox number {i}" for i in range(15)]
    for row in range(12):
        good[row] = f"{row:032x}" + good[row][good[row].index(",") :]
    (tmp_path / "pairs.csv").write_text("\n".join(["id,url,caption", *good]))
    keys = {"columns": {"uid": "id"}, "max_dead_fraction": 0.1}
    made = make_plan(config(tmp_path, str(tmp_path / "pairs.csv"), input=keys))
    with pytest.raises(Exception, match=r"pairs\.csv: 3 of 5 rows cannot be used, .*the first: row 13: "
                       r"uid '12' is not 32 hex digits \(input\.columns\.uid\)"):  # fmt: skip
        prepared(made)


def test_metadata_like_that_of_datacomp(tmp_path: Path) -> None:
    n = 25
    table: dict[str, list[Any]] = {
        "uid": [f"{i:032x}" for i in range(n)], "url": [f"http://x.example/{i}.jpg" for i in range(n)],
        "text": [f"a photo of the fox number {i}" for i in range(n)],
        "original_width": [640] * n, "original_height": [480] * n,
        "clip_b32_similarity_score": [0.3] * n, "face_bboxes": [[[0.1, 0.2, 0.3, 0.4]]] * n,
        "sha256": ["0" * 64] * n,
    }  # fmt: skip
    (tmp_path / "metadata").mkdir()
    for k in range(2):
        pq.write_table(pa.table(table).slice(k * 13, 13), tmp_path / "metadata" / f"{k}.parquet")
    columns = {"caption": "text", "uid": "uid"}
    made = make_plan(config(tmp_path, str(tmp_path / "metadata"), input={"columns": columns}))
    assert [(part.rows, part.staged) for part in made.parts] == [
        (10, False), (3, False), (10, False), (2, False),
    ]  # fmt: skip
    prepared(made)
    assert rows_of(made.run, "prepare", "uid", "caption") == list(
        zip(table["uid"], table["text"], strict=True)
    )


def test_the_identifiers_of_images_without_a_url_do_not_depend_on_where_they_are(
    tmp_path: Path,
) -> None:
    found = []
    for place in ("here", "there/and/further"):
        folder = tmp_path / place / "pool"
        for shard in ("a/00000.tar", "b/00000.tar"):
            (folder / shard).parent.mkdir(parents=True)
            with tarfile.open(folder / shard, "w") as archive:
                archive.addfile(tarfile.TarInfo("x.jpg"))
                archive.addfile(tarfile.TarInfo("x.txt"))
        made = make_plan(config(tmp_path / place, str(folder)))
        assert [part.images for part in made.parts] == [True, True]
        found.append([pq.read_table(part.path)["url"].to_pylist() for part in made.parts])
    assert found == [[["file:///a/00000.tar/x"], ["file:///b/00000.tar/x"]]] * 2


def test_a_run_that_moved_reads_its_own_copies(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text(LINE * 3)
    first = make_plan(config(tmp_path, str(tmp_path / "p.jsonl")))
    (tmp_path / "run").rename(tmp_path / "moved")
    moved = make_plan(config(tmp_path, str(tmp_path / "p.jsonl"), out=str(tmp_path / "moved")))
    prepared(moved)
    (part,), (before,) = moved.parts, first.parts
    assert part.path == str(tmp_path / "moved/input" / Path(before.path).name)


def test_images_that_moved_are_read_where_they_are_now(tmp_path: Path) -> None:
    folder = lay(tmp_path / "pool", "0.tar")
    with tarfile.open(tmp_path / "pool" / "0.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("x.jpg"))
    make_plan(config(tmp_path, folder))
    moved = (tmp_path / "pool").rename(tmp_path / "moved")
    made = make_plan(config(tmp_path, str(moved)))
    assert pq.read_table(made.parts[0].path)["file"].to_pylist() == [str(moved / "0.tar")]


def test_copies_of_an_older_shape_are_made_again(tmp_path: Path) -> None:
    folder = lay(tmp_path / "pool", "a.jsonl")
    made = make_plan(config(tmp_path, folder))
    parts = Path(made.run.path("input", "parts.json"))
    stored = json.loads(parts.read_text())
    assert stored["format"] == FORMAT
    older = {"digest": stored["digest"], "format": FORMAT - 1, "parts": [], "rows": [0]}
    parts.write_text(json.dumps(older))
    assert make_plan(config(tmp_path, folder)).parts == made.parts
