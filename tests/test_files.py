"""The file layer on local disk and on fsspec's memory file system."""

import gc
import hashlib
import json
import os
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import curate
from curate import files
from curate.errors import CurateError, DamagedError
from curate.files import Content, kept, listing


@pytest.fixture(params=["local", "memory"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path) if request.param == "local" else f"memory://{uuid4().hex}"


def test_what_is_written_is_read(root: str) -> None:
    url = files.join(root, "deep", "er", "a.bin")
    assert not files.exists(url)
    files.write_bytes(url, b"first")
    files.write_bytes(url, b"second")
    assert files.exists(url)
    assert files.read_bytes(url) == b"second"
    assert files.names(files.join(root, "deep", "er")) == ["a.bin"]


def test_an_empty_file(root: str) -> None:
    files.write_bytes(files.join(root, "empty"), b"")
    assert files.read_bytes(files.join(root, "empty")) == b""


def test_nothing_appears_before_the_block_ends(root: str) -> None:
    url = files.join(root, "a")
    with files.atomic_write(url) as file:
        file.write(b"half")
        assert not files.exists(url)
        [name] = files.names(root)
        assert name.startswith(".a.")
        assert name.endswith(files.TEMPORARY)
        file.write(b" and half")
    assert files.names(root) == ["a"]
    assert files.read_bytes(url) == b"half and half"


@pytest.mark.parametrize("error", [LookupError, KeyboardInterrupt])
def test_a_failed_write_leaves_what_was_there(root: str, error: type[BaseException]) -> None:
    url = files.join(root, "a")
    files.write_bytes(url, b"old")

    def fail() -> None:
        with files.atomic_write(url) as file:
            file.write(b"new")
            raise error

    with pytest.raises(error):
        fail()
    assert files.names(root) == ["a"]
    assert files.read_bytes(url) == b"old"


def test_a_scratch_folder_keeps_the_files_of_earlier_users_where_it_is_local(root: str) -> None:
    folder = files.join(root, "new", "scratch")
    contents = [b"one", b"two", b"three"]
    for n, content in enumerate(contents):
        with files.scratch(folder) as (file, earlier):
            assert [one.read() for one in earlier] == (contents[:n] if "://" not in root else [])
            file.write(content)
            file.seek(0)
            assert file.read() == content
    assert len(files.names(folder)) == (3 if "://" not in root else 0)
    files.remove(folder)
    with files.scratch(folder) as (_, earlier):
        assert earlier == []


def test_two_users_of_a_scratch_folder_at_once_have_a_file_each(tmp_path: Path) -> None:
    folder = str(tmp_path / "scratch")
    with files.scratch(folder) as (one, _), files.scratch(folder) as (two, earlier):
        one.write(b"one")
        one.flush()
        two.write(b"two")
        assert [file.read() for file in earlier] == [b"one"]


def test_two_writers_of_one_file_do_not_meet(root: str) -> None:
    url = files.join(root, "a")
    with files.atomic_write(url) as one, files.atomic_write(url) as other:
        one.write(b"one")
        other.write(b"other")
    assert files.read_bytes(url) == b"one"
    assert files.names(root) == ["a"]


def test_remove(root: str) -> None:
    files.write_bytes(files.join(root, "d", "a"), b"")
    files.write_bytes(files.join(root, "b"), b"")
    files.remove(files.join(root, "d"))
    files.remove(files.join(root, "absent"))
    assert files.names(root) == ["b"]
    files.remove(files.join(root, "b"))
    assert not files.exists(files.join(root, "b"))


def test_names_of_no_folder_are_none(root: str) -> None:
    assert files.names(files.join(root, "absent")) == []


def test_a_missing_file_is_one_line(root: str) -> None:
    url = files.join(root, "absent.parquet")
    for read in (files.read_bytes, files.read_json, files.read_table, files.content_digest):
        with pytest.raises(CurateError) as error:
            read(url)
        assert str(error.value) == f"{url}: no such file"


def test_a_protocol_that_is_not_there() -> None:
    for use in (files.exists, listing.expand, files.read_bytes):
        with pytest.raises(CurateError, match=r"^nonsense://a/b: Protocol not known: nonsense$"):
            use("nonsense://a/b")


def test_json(root: str) -> None:
    url = files.join(root, "a.json")
    document = {"name": "é中🐈", "list": [1, 2.5, None], "nested": {"b": True}}
    files.write_json(url, document)
    assert files.read_json(url) == document
    text = files.read_bytes(url).decode()
    assert json.loads(text) == document
    assert "é中🐈" in text
    assert text.endswith("}\n")


def test_after_a_document_that_cannot_be_read_the_collector_is_at_work(root: str) -> None:
    url = files.join(root, "a.json")
    files.write_bytes(url, b'{"a": [')
    with pytest.raises(DamagedError):
        files.read_json(url)
    assert gc.isenabled()


def test_tables(root: str) -> None:
    url = files.join(root, "a.parquet")
    table = pa.table({"a": [1, 2, 3], "b": ["x", None, "z"]})
    files.write_table(url, table)
    assert files.read_table(url).equals(table)
    assert files.read_table(url, columns=["b"]).equals(table.select(["b"]))
    assert files.read_table(url, present={"c", "b"}).equals(table.select(["b"]))
    assert files.read_table(url, present={"c"}).num_columns == 0


def test_what_this_process_wrote_is_not_read_back_while_tables_are_kept(root: str) -> None:
    url, table = files.join(root, "a.parquet"), pa.table({"a": [1, 2], "b": ["x", None]})
    none, large = table.slice(0, 0), pa.table({"a": range(100_000)})
    with files.tables_kept():
        written = [(one, files.write_table(url, one)) for one in (none, large, table)]
        files.write_bytes(url, b"another")
        for one, content in written:
            if one is large:  # of which none is kept
                with pytest.raises(DamagedError):
                    files.read_table(url, content=content)
            else:
                assert files.read_table(url, content=content).equals(one)
        content = written[-1][1]
        assert files.read_table(url, content=content, columns=["b"]).equals(table.select(["b"]))
        assert files.read_table(url, content=content, present={"c", "a"}).column_names == ["a"]
        for other in (None, content._replace(size=content.size + 1), Content(7, 1)):
            with pytest.raises(DamagedError):  # which is what the file has to hold
                files.read_table(url, content=other)
    with pytest.raises(DamagedError):
        files.read_table(url, content=content)


def test_kept_tables_take_no_more_than_so_much_memory(root: str) -> None:
    many = [pa.table({"a": [k] * 30_000}) for k in range(100)]
    with files.tables_kept():
        urls = [files.join(root, f"{k}.parquet") for k in range(len(many))]
        written = [files.write_table(url, one) for url, one in zip(urls, many, strict=True)]
        held = [kept.kept(*one) is not None for one in zip(urls, written, strict=True)]
    assert held == sorted(held)  # the last ones
    assert sum(held) == kept.MOST // 240_000


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3 << 20])
def test_the_digest_of_a_file_is_its_sha256(root: str, size: int) -> None:
    content = bytes(range(251)) * (size // 251 + 1)
    files.write_bytes(files.join(root, "a"), content[:size])
    expected = hashlib.sha256(content[:size]).hexdigest()
    assert files.content_digest(files.join(root, "a")) == expected


documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(document=documents)
def test_the_digest_of_a_document_is_that_of_its_json(document: object) -> None:
    digest = files.digest_of("key", document)
    again = json.loads(json.dumps(document, sort_keys=True))
    assert files.digest_of("key", again) == digest
    assert len(digest) == 16
    assert files.digest_of("key", [document]) != digest
    assert files.digest_of("yek", document) != digest


def test_the_order_of_keys_does_not_change_a_digest() -> None:
    assert files.digest_of({"a": 1, "b": 2}) == files.digest_of({"b": 2, "a": 1})
    assert files.digest_of([1, 2]) != files.digest_of([2, 1])


def _pool(root: str) -> None:
    for name in (
        "b.parquet", "a.parquet", "sub/c.parquet", "_SUCCESS", ".hidden", "sub/_log",
    ):  # fmt: skip
        files.write_bytes(files.join(root, name), b"")


def expanded(root: str, pattern: str) -> list[str]:
    prefix = root.replace("memory://", "memory:///") if "://" in root else root
    return [path.removeprefix(prefix).lstrip("/") for path in listing.expand(pattern)]


def test_a_folder_expands_to_its_files(root: str) -> None:
    _pool(root)
    expected = ["a.parquet", "b.parquet", "sub/c.parquet"]
    assert expanded(root, root) == expected
    assert expanded(root, root + "/") == expected


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("a.parquet", ["a.parquet"]),
        ("*.parquet", ["a.parquet", "b.parquet"]),
        ("**/*.parquet", ["a.parquet", "b.parquet", "sub/c.parquet"]),
        ("[ab].parquet", ["a.parquet", "b.parquet"]),
        ("?.parquet", ["a.parquet", "b.parquet"]),
        ("absent", []),
        ("absent*", []),
        ("s*", []),  # a folder is no file
    ],
)
def test_patterns(root: str, pattern: str, expected: list[str]) -> None:
    _pool(root)
    assert expanded(root, files.join(root, pattern)) == expected


@pytest.mark.parametrize("name", ["x[1].csv", "[a]", "what?.csv", "a*b"])
def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"")
    (tmp_path / "x1.csv").write_bytes(b"")
    assert listing.expand(str(tmp_path / name)) == [str(tmp_path / name)]


def test_what_is_expanded_can_be_opened(root: str) -> None:
    files.write_bytes(files.join(root, "a b", "é.csv"), b"content")
    [path] = listing.expand(root)
    assert files.read_bytes(path) == b"content"
    assert path.startswith("memory://" if "://" in root else "/")


def test_join() -> None:
    assert files.join("a", "b", "c") == "a/b/c"
    assert files.join("gs://bucket/", "b") == "gs://bucket/b"
    assert files.join("/a//", "b") == "/a/b"


def test_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/someone")
    assert files.absolute("a/../b") == os.path.join(os.getcwd(), "b")
    assert files.absolute("~/a") == "/home/someone/a"
    assert files.absolute("/a") == "/a"
    for url in ("gs://bucket/a", "memory://a", "zip::/a.zip"):
        assert files.absolute(url) == url


def test_shipped_files_are_opened_by_name() -> None:
    name = "curate/data/lid.176.ftz"
    path = files.shipped(name)
    assert path == Path(curate.__file__).parent / "data" / "lid.176.ftz"
    assert files.resolve(f"shipped://{name}") == str(path)
    assert files.resolve("gs://bucket/a") == "gs://bucket/a"
    assert files.read_bytes(f"shipped://{name}") == path.read_bytes()
    assert files.exists(f"shipped://{name}")


def test_a_shipped_file_that_is_not_there() -> None:
    message = r"^shipped://absent\.yaml: this installation does not ship such a file$"
    with pytest.raises(CurateError, match=message):
        files.read_bytes("shipped://absent.yaml")


def test_a_local_copy_keeps_the_name(tmp_path: Path) -> None:
    files.write_bytes("memory://models/weights.safetensors", b"weights")
    with files.local_copy("memory://models/weights.safetensors") as path:
        copy = Path(path)
        assert (copy.name, copy.read_bytes()) == ("weights.safetensors", b"weights")
    assert not copy.parent.exists()
    (tmp_path / "here").write_bytes(b"")
    with files.local_copy(str(tmp_path / "here")) as path:
        assert path == str(tmp_path / "here")
    with files.local_copy("shipped://pipelines/demo/scorer/curate-mini.json") as path:
        assert Path(path) == files.shipped("pipelines/demo/scorer/curate-mini.json")
    assert (tmp_path / "here").exists()
    assert Path(path).exists()


@pytest.mark.parametrize(("source", "target"), [("memory", "memory"), ("", ""), ("memory", "")])
def test_a_file_is_shared(source: str, target: str, tmp_path: Path) -> None:
    """A later change of one is none of the other."""
    roots = {"memory": "memory://shared", "": str(tmp_path)}
    url, to = files.join(roots[source], "a/1"), files.join(roots[target], "b/c/1")
    files.write_bytes(url, b"one")
    files.share(url, to)
    assert files.read_bytes(to) == b"one"
    files.share(url, to)
    files.write_bytes(to, b"two")
    assert files.read_bytes(url) == b"one"
    files.remove(roots["memory"])
