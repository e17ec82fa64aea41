"""Texts as other programs save them: with byte order marks, in UTF-16, in what they do not say."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.config import file as config_file
from curate.errors import CurateError
from curate.files.texts import decoded
from curate.metadata.sources import plain, texts
from curate.ops.selection.blocklists import read_block_lists
from curate.pool.candidates import decode_page
from curate.pool.rows import PoolFormat
from curate.pool.tables import column_kinds, read_batches, read_entries
from curate.revoking.revoke import read_list as read_revoked
from curate.stages.prepare import load_words
from curate.web.optout import read_list
from tests.e2e.conftest import Command

AUTO = PoolFormat("auto", "url", "caption")
CODECS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]
MARKED = {"utf-16-be": b"\xfe\xff"}
ROWS = [
    ("http://pics.example/1.jpg", "un café à Kraków"),
    ("http://pics.example/2.jpg", "北京的狐狸 🦊"),
]


def saved(path: Path, text: str, codec: str, *, mark: bool = True) -> str:
    path.write_bytes((MARKED.get(codec, b"") if mark else b"") + text.encode(codec))
    return str(path)


def rows(path: str) -> list[tuple[Any, ...]]:
    names = ("url", "caption", "error", "detail")
    tables = list(read_batches(path, pool=AUTO))
    return [row for x in tables for row in zip(*(x[n].to_pylist() for n in names), strict=True)]


def written(form: str) -> str:
    if form == "jsonl":
        return "".join(
            json.dumps({"url": u, "caption": c}, ensure_ascii=False) + "\n" for u, c in ROWS
        )
    mark = "," if form == "csv" else "\t"
    return "".join(f"{u}{mark}{c}\r\n" for u, c in [("url", "caption"), *ROWS])


@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl"])
@pytest.mark.parametrize("codec", CODECS)
def test_a_pool_in_any_marked_encoding(tmp_path: Path, form: str, codec: str) -> None:
    path = saved(tmp_path / f"pool.{form}", written(form), codec)
    assert [row[:2] for row in rows(path)] == ROWS
    assert column_kinds(path, pool=AUTO) == {"url": "string", "caption": "string"}


@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl"])
def test_a_pool_in_an_encoding_that_nothing_tells_names_what_was_tried(
    tmp_path: Path, form: str
) -> None:
    text = written(form).replace("北京的狐狸 🦊", "caf\xe9")
    path = saved(tmp_path / f"pool.{form}", text.replace("Kraków", "Paris"), "cp1252")
    details = [row[3] for row in rows(path)]
    assert len(details) == 2
    for detail in details:
        assert "not UTF-8, nor marked as UTF-16; save it as UTF-8, as with: iconv -f" in detail


@pytest.mark.parametrize("codec", CODECS)
def test_samples_of_a_tar_in_any_marked_encoding(tmp_path: Path, codec: str) -> None:
    document = json.dumps({"caption": ROWS[1][1]}, ensure_ascii=False)
    texts = {"1.txt": ROWS[0][1], "2.json": document}
    with tarfile.open(tmp_path / "s.tar", "w") as archive:
        for name, text in texts.items():
            content = MARKED.get(codec, b"") + text.encode(codec)
            for member, octets in ((name, content), (f"{name[0]}.jpg", b"i")):
                header = tarfile.TarInfo(member)
                header.size = len(octets)
                archive.addfile(header, io.BytesIO(octets))
    assert [row[1] for row in rows(str(tmp_path / "s.tar"))] == [caption for _, caption in ROWS]


@pytest.mark.parametrize("codec", CODECS)
def test_lists_in_any_marked_encoding(tmp_path: Path, codec: str) -> None:
    path = tmp_path / "list.txt"
    assert read_entries(saved(path, "renard\r\ncafé\r\n", codec)).entries == ["renard", "café"]
    assert load_words(saved(tmp_path / "words.txt", "renard\ncafé\n", codec)).to_pylist() == [
        "café", "renard",
    ]  # fmt: skip
    assert [x for block in plain(str(path)) for x in block.to_pylist()] == ["renard", "café"]
    assert "http://example.org/a" in read_list(saved(path, "# é\nhttp://example.org/a\n", codec))
    assert len(read_block_lists((saved(path, f"# é\n{'ab' * 16}\n", codec),))["md5"]) == 1
    assert read_revoked(saved(path, f"# é\nuid:{'ab' * 16}\n", codec)) == {("uid", "ab" * 16)}
    csv = saved(tmp_path / "pool.csv", written("csv"), codec)
    found = [x for block in texts(csv, column="caption") for x in block.to_pylist()]
    assert found == [caption for _, caption in ROWS]


def test_a_configuration_as_powershell_saves_it(tmp_path: Path) -> None:
    path = saved(tmp_path / "c.yaml", "input: {paths: é.csv}\r\n", "utf-16")
    assert config_file.load(path).input.paths == ("é.csv",)


def test_a_list_that_is_no_text_names_the_line_the_encoding_and_the_remedy(tmp_path: Path) -> None:
    path = saved(tmp_path / "list.txt", "a\nb\ncafé\n", "cp1252")
    said = (
        "list.txt: line 3 is not UTF-8, nor marked as UTF-16; save it as UTF-8, as with: iconv -f"
    )
    for read in (
        read_entries,
        load_words,
        read_list,
        read_revoked,
        lambda x: read_block_lists((x,)),
    ):
        with pytest.raises(CurateError, match=said):
            read(path)


@pytest.mark.parametrize(
    ("codec", "header"),
    [
        ("utf-16", ""), ("utf-16", "text/html; charset=utf-8"), ("utf-8-sig", "x; charset=gbk"),
        ("utf-8", "text/html; charset=iso-8859-1"), ("utf-8", "text/html; charset=utf-16"),
        ("utf-8", "text/html; charset=shift_jis"), ("utf-8", "text/html; charset=koi8-r"),
    ],
)  # fmt: skip
def test_a_page_whose_charset_is_wrong(codec: str, header: str) -> None:
    page = f"<img alt='{ROWS[0][1]} {ROWS[1][1]}'>"
    assert decode_page(page.encode(codec), content_type=header) == page


@pytest.mark.parametrize("codec", ["gbk", "shift_jis", "windows-1251", "utf-16-le"])
def test_a_page_whose_header_and_meta_differ(codec: str) -> None:
    text = {"shift_jis": "白い狐の写真", "windows-1251": "рыжая лиса"}.get(codec, "北京的狐狸图片")
    page = f"<meta charset={codec}><img alt='{text}'>"
    if codec != "utf-16-le":
        assert decode_page(page.encode(codec), content_type="x; charset=utf-8") == page
    assert decode_page(page.encode(codec), content_type=f"x; charset={codec}") == page


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff"), max_size=9),
       st.sampled_from(CODECS[:3]))  # fmt: skip
def test_any_text_survives_its_encoding(text: str, codec: str) -> None:
    assert decoded(text.encode(codec)) == text


def test_a_run_of_files_in_several_encodings(tmp_path: Path, curate: Command) -> None:
    (tmp_path / "pool").mkdir()
    for i, codec in enumerate(CODECS):
        text = written("tsv").replace("/1", f"/{codec}/1").replace("Kraków", f"Kraków {i}")
        saved(tmp_path / f"pool/{i}.tsv", text.replace("🦊", f"🦊 {i}"), codec)
    (tmp_path / "c.yaml").write_text(
        f"input: {{paths: {tmp_path / 'pool'}}}\ndownload: {{enabled: false}}\n"
    )
    done = curate("run", str(tmp_path / "c.yaml"), "--out", str(tmp_path / "run"))
    assert done.returncode == 0, done.stderr
    [line] = [line for line in done.stdout.splitlines() if line.startswith("prepare")]
    assert line.split()[1:5] == ["12", "12", "0", "0"]
