"""Every kind of input ends in shards: crawls, what img2dataset wrote, WebDataset shards."""

import gzip
import io
import json
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from tests.e2e.conftest import Command, read_json
from tests.stages.web import PICTURES, Web, serve

PAGES = Path(__file__).parent / "pages"
NAMES = ["wide.png", "missing", "tall.jpg", "square.jpg", "small.webp", "other.png"]
SITE = "http://x.example/2026/may/index.html"


@pytest.fixture(scope="module")
def web() -> Iterator[Web]:
    with serve() as served:
        yield served


def write_warc(path: Path) -> None:
    """The pages as a crawler stores them, among records that are none."""
    with path.open("wb") as file:
        writer = WARCWriter(file, gzip=path.suffix == ".gz")

        def response(url: str, body: bytes, kind: str, status: str = "200 OK") -> None:
            headers = StatusAndHeaders(status, [("Content-Type", kind)], protocol="HTTP/1.1")
            writer.write_record(
                writer.create_warc_record(
                    url, "response", payload=io.BytesIO(body), http_headers=headers
                )
            )

        writer.write_record(writer.create_warcinfo_record(path.name, {"software": "test"}))
        response(SITE, (PAGES / "garden.html").read_bytes(), "text/html; charset=utf-8")
        response("http://x.example/robots.txt", b"User-agent: *", "text/plain")
        response(
            "http://x.example/gone", b"<img src=a.png alt='Not found'>", "text/html", "404 Gone"
        )
        cafe = (PAGES / "cafe.html").read_text().encode("latin-1")
        response("http://x.example/fr/carte/cafe.html", cafe, "text/html")


def write_wat(path: Path) -> None:
    """The extract of a page, and one that is not JSON."""
    links = [
        {"path": "IMG@/src", "url": "../wat/one.png", "alt": "A lighthouse on a rocky coast"},
        {"path": "A@/href", "url": "other.html", "text": "other"},
        {"path": "IMG@/src", "url": "/wat/two.png", "alt": "", "title": "Two boats in the harbour"},
        {"path": "IMG@/src", "url": "/wat/three.png", "alt": ""},
    ]
    html = {"Head": {"Title": "Coast"}, "Links": links}
    document = {
        "Envelope": {
            "WARC-Header-Metadata": {"WARC-Type": "response", "WARC-Target-URI": SITE},
            "Payload-Metadata": {"HTTP-Response-Metadata": {"HTML-Metadata": html}},
        }
    }
    with path.open("wb") as file:
        writer = WARCWriter(file, gzip=True)
        for content in (json.dumps(document).encode(), b'{"Envelope": '):
            writer.write_record(
                writer.create_warc_record(
                    SITE, "metadata", payload=io.BytesIO(content),
                    warc_content_type="application/json",
                )
            )  # fmt: skip


def write_shard(path: Path) -> None:
    """A WebDataset shard: with a caption in .txt, with everything in .json, without an image."""
    described = {"caption": "A yellow kite over the dunes", "url": "http://y.example/kite.jpg"}
    members = {
        "000.jpg": PICTURES["tall.jpg"], "000.txt": b"A wooden bridge over a stream",
        "001.json": json.dumps(described).encode(), "001.png": PICTURES["wide.png"],
        "002.txt": b"A caption without a picture",
        "003.jpg": PICTURES["tall.jpg"][:400], "003.txt": b"A picture that is cut off",
    }  # fmt: skip
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


IMG2DATASET = """
import os
from img2dataset.downloader import Downloader
from img2dataset.reader import Reader
from img2dataset.resizer import Resizer
from img2dataset.writer import FilesSampleWriter, WebDatasetSampleWriter

os.makedirs("temporary")
for form, writer in (("webdataset", WebDatasetSampleWriter), ("files", FilesSampleWriter)):
    os.makedirs(f"pool/{form}")
    reader = Reader(
        f"{form}.parquet", "parquet", "url", "text", None, None, ["id"], 4, set(), "temporary"
    )
    download = Downloader(
        sample_writer_class=writer, thread_count=4, save_caption=True, extract_exif=True, timeout=5,
        resizer=Resizer(image_size=96, resize_mode="border", resize_only_if_bigger=False),
        output_folder=f"pool/{form}", column_list=reader.column_list, number_sample_per_shard=4,
        oom_shard_count=5, compute_hash="sha256", verify_hash_type=None, encode_format="jpg", retries=0,
        user_agent_token=None, disallowed_header_directives=[],
    )
    for shard in reader:
        download.download_shard(shard)
"""


def run_img2dataset(folder: Path, web: Web) -> None:
    """What the real program makes of five pictures and one that is not there, in two formats.

    Its own reader, downloader, resizer and writers, without its pool of processes: each of these takes
    seconds to start.
    """
    here = web.addresses["x.example"]
    for form in ("webdataset", "files"):
        paths = [f"{form}/{name}" for name in NAMES]
        paths[1] = "404"
        table = {
            "url": [f"http://{here}/{path}" for path in paths],
            "text": [f"The picture called {name} as {form}" for name in NAMES],
            "id": [f"{i:032x}" for i in range(len(NAMES))],
        }
        pq.write_table(pa.table(table), folder / f"{form}.parquet")
    (folder / "program.py").write_text(IMG2DATASET)
    done = subprocess.run(
        [sys.executable, "program.py"], cwd=folder, capture_output=True, text=True, timeout=200,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def curate_run(curate: Command, folder: Path, web: Web, **keys: Any) -> Path:
    """The run directory of a run over `keys["input"]`."""
    document = {
        "download": {
            "image_size": 48, "retries": 0, "timeout": 5, "concurrency": 16, "per_host": 8,
            "connect_to": web.addresses | {"127.0.0.1": web.addresses["x.example"]},
        },
        "dedup": {"enabled": False},
        **keys,
    }  # fmt: skip
    (folder / "c.yaml").write_text(yaml.safe_dump(document))
    done = curate("run", "c.yaml", "--out", "run", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "run"


def in_shards(run: Path) -> list[dict[str, Any]]:
    """The pairs of the shards by their JSON, each with its image in the tar."""
    found = []
    for path in sorted((run / "shards").glob("*.tar")):
        with tarfile.open(path) as archive:
            members = {m.name: archive.extractfile(m).read() for m in archive}  # type: ignore[union-attr]
        for name, content in members.items():
            if name.endswith(".json"):
                assert members[name.replace(".json", ".jpg")].startswith(b"\xff\xd8\xff")
                found.append(json.loads(content))
    return found


def dead_rows(run: Path) -> list[tuple[str, str]]:
    parts = sorted((run / "dead" / "prepare").glob("*.parquet"))
    rows = [row for path in parts for row in pq.read_table(path).to_pylist()]
    return [(row["error"], row["detail"]) for row in rows]


def check_report(run: Path) -> None:
    """Conservation holds by the report's own account."""
    checks = read_json(run / "report" / "report.json")["checks"]
    assert checks
    assert [check for check in checks if not check["holds"]] == []


def test_crawls_and_shards_of_a_folder_end_in_shards(
    curate: Command, web: Web, tmp_path: Path
) -> None:
    pool = tmp_path / "pool"
    (pool / "deep").mkdir(parents=True)
    write_warc(pool / "site.warc.gz")
    write_warc(pool / "deep" / "again.warc")
    write_wat(pool / "site.warc.wat.gz")
    write_shard(pool / "00000.tar")
    run = curate_run(curate, tmp_path, web, input={"paths": "pool", "max_dead_fraction": 0.2})
    pairs = in_shards(run)
    of_pages = {
        ("http://x.example/buttons/prev.png", "Prev"),
        ("http://x.example/buttons/next.png", "Next"),
        ("http://x.example/pictures/wide.png", "Red tulips in front of the old brick wall"),
        ("http://x.example/pictures/square.jpg", "The vegetable bed seen from the kitchen window"),
        ("https://x.example/cdn/tall.jpg", "A ladder against the apple tree & a basket"),
        ("http://x.example/fr/images/photo-1.png", "Une tasse de café sur une table en bois"),
        ("http://x.example/up/photo-2.png", "La façade du café un soir d'été"),
    }
    fetched = {pair for pair in of_pages if pair[0].startswith("http:")}
    of_wat = {
        ("http://x.example/2026/wat/one.png", "A lighthouse on a rocky coast"),
        ("http://x.example/wat/two.png", "Two boats in the harbour"),
    }
    of_shard = {
        ("file:///00000.tar/000", "A wooden bridge over a stream"),
        ("http://y.example/kite.jpg", "A yellow kite over the dunes"),
    }
    assert {(p["url"], p["caption"]) for p in pairs} == fetched | of_wat | of_shard
    assert len(pairs) == 2 * len(fetched) + len(of_wat) + len(of_shard)
    assert [tuple(reason) for reason in dead_rows(run)] == [
        (
            "bad_row",
            f"{pool / '00000.tar'}: row 3: a sample without an image: its files end in .txt (from the"
            " first dot); read are .txt, .json and the images .avif, .bmp, .gif, .jpeg, .jpg, .png,"
            " .svg, .tif, .tiff, .webp",
        ),
        (
            "bad_row",
            f"{pool / 'site.warc.wat.gz'}: row 2: Expecting value: line 1 column 14 (char 13)",
        ),
    ]
    gone = [
        (row["reason"], row["url"])
        for path in sorted((run / "dropped" / "download").glob("*.parquet"))
        for row in pq.read_table(path).to_pylist()
    ]
    assert gone == [
        ("truncated", "file:///00000.tar/003"),
        ("tls", "https://x.example/cdn/tall.jpg"), ("tls", "https://x.example/cdn/tall.jpg"),
    ]  # fmt: skip
    kite = next(p for p in pairs if "kite" in p["url"])
    assert (kite["original_width"], kite["original_height"]) == (120, 60)
    staged = pq.read_table(run / "input" / "file-00002-00000.parquet")
    candidates = dict(zip(staged["url"].to_pylist(), staged["texts"].to_pylist(), strict=True))
    assert candidates["http://x.example/pictures/wide.png"] == [
        {"source": "alt", "text": "Red tulips in front of the old brick wall"},
        {"source": "figcaption", "text": "Tulips, planted last October"},
    ]
    check_report(run)


def test_what_img2dataset_wrote_is_not_fetched_again(
    curate: Command, web: Web, tmp_path: Path
) -> None:
    run_img2dataset(tmp_path, web)
    web.hits.clear()
    run = curate_run(
        curate, tmp_path, web,
        input={"paths": ["pool/webdataset", "pool/files"], "columns": {"uid": "id"}},
    )  # fmt: skip
    pairs = in_shards(run)
    names = [name for name in NAMES if name != "missing"]
    assert sorted(p["caption"] for p in pairs) == sorted(
        f"The picture called {name} as {form}" for name in names for form in ("webdataset", "files")
    )
    assert web.hits - Counter({"robots.txt": 2}) == {"404": 2}
    inputs = read_json(run / "run.json")["inputs"]
    assert [(x["name"], x["format"], x["rows"]) for x in inputs] == [
        (f"{form}/0000{k}.parquet", "img2dataset", n)
        for form in ("webdataset", "files") for k, n in ((0, 4), (1, 2))
    ]  # fmt: skip
    assert {p["uid"] for p in pairs} == {f"{i:032x}" for i in (0, 2, 3, 4, 5)}
    check_report(run)


def test_bad_files_and_rows_among_good_ones_are_counted_and_named(
    curate: Command, web: Web, tmp_path: Path
) -> None:
    pool = tmp_path / "pool"
    pool.mkdir()
    rows = [
        {"url": f"http://x.example/{i}.png", "caption": f"a red fox number {i}"} for i in range(200)
    ]
    lines = [json.dumps(row).encode() + b"\n" for row in rows]
    for k in range(8):
        (pool / f"{k}.jsonl").write_bytes(b"".join(lines[k * 20 : k * 20 + 20]))
    (pool / "8.jsonl").write_bytes(
        b"".join([*lines[160:170], b"null\n", b'"\xff"\n', *lines[170:180]])
    )
    (pool / "9.jsonl.gz").write_bytes(gzip.compress(b"".join(lines[180:]))[:-30])
    (pool / "notes.parquet").write_bytes(b"not parquet")
    keys: dict[str, Any] = {"download": {"enabled": False}, "input": {"paths": "pool/*"}}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(keys))
    done = curate("run", "c.yaml", "--out", "run", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(
        "error 2 of 11 input files cannot be read, more than input.max_dead_fraction 0.1 allows; the"
        f" first: {pool / '9.jsonl.gz'}: cannot be read as jsonl: "
    )
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()
    keys["input"]["max_dead_fraction"] = 0.2
    run = curate_run(curate, tmp_path, web, **keys)
    counts = read_json(run / "run.json")["stages"]["prepare"]
    assert counts["dead"] == {"bad_row": 2, "unreadable_file": 2}
    assert counts["rows"] == counts["kept"] + sum(counts["dropped"].values()) + 4
    found = dead_rows(run)
    assert [error for error, _ in found] == [
        "bad_row",
        "bad_row",
        "unreadable_file",
        "unreadable_file",
    ]
    assert found[0][1] == f"{pool / '8.jsonl'}: row 11: a JSON NoneType, not an object"
    assert found[2][1].startswith(f"{pool / '9.jsonl.gz'}: cannot be read as jsonl: ")
    assert found[3][1].startswith(f"{pool / 'notes.parquet'}: cannot be read as parquet: ")
    check_report(run)
