"""Pools of many small files, in each format that is read."""

import gzip
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard
from PIL import Image

ROWS = 5
"""Rows of each file."""
OWN = (
    "import json\nimport pyarrow as pa\n\n\ndef read(path):\n"
    "    return pa.Table.from_pylist([json.loads(line) for line in open(path)])\n"
)
"""A reader as users write it."""


def row(k: int, i: int) -> dict[str, str]:
    """A row of a file."""
    return {"url": f"http://x.example/{k}/{i}.jpg", "caption": f"picture {i} of file {k}"}


def _rows(k: int) -> list[dict[str, str]]:
    return [row(k, i) for i in range(ROWS)]


def _separated(k: int, mark: str) -> bytes:
    lines = [("url", "caption"), *(tuple(one.values()) for one in _rows(k))]
    return "".join(mark.join(line) + "\n" for line in lines).encode()


def _jsonl(k: int) -> bytes:
    return "".join(json.dumps(one) + "\n" for one in _rows(k)).encode()


def _parquet(k: int) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(_rows(k)), file)
    return file.getvalue()


def _record(kind: str, page: str, mime: str, content: bytes) -> bytes:
    head = (
        f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: {page}\r\nContent-Type: {mime}\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    )
    return gzip.compress(head.encode() + content + b"\r\n\r\n", 1, mtime=0)


def wat(k: int) -> bytes:
    """A WAT file of a page with `ROWS` images, packed as Common Crawl's are."""
    links = [{"path": "IMG@/src", "url": x["url"], "alt": x["caption"]} for x in _rows(k)]
    page = f"http://x.example/{k}"
    found = {"HTML-Metadata": {"Links": links}, "Response-Message": {"Status": "200"}}
    document = {"Envelope": {"WARC-Header-Metadata": {"WARC-Target-URI": page},
                             "Payload-Metadata": {"HTTP-Response-Metadata": found}}}  # fmt: skip
    return _record("metadata", page, "application/json", json.dumps(document).encode())


def _warc(k: int) -> bytes:
    images = "".join(f"<img src='{x['url']}' alt='{x['caption']}'>" for x in _rows(k))
    http = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html><body>{images}</body></html>"
    return _record(
        "response", f"http://x.example/{k}", "application/http; msgtype=response", http.encode()
    )


def picture(k: int, i: int) -> bytes:
    """A picture of its own colours."""
    file = io.BytesIO()
    seeds = np.random.RandomState(1000 * k + i).randint(0, 255, (4, 4, 3), np.uint8)
    Image.fromarray(seeds).resize((64, 64)).save(file, "JPEG")
    return file.getvalue()


def _tar(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


def _webdataset(k: int) -> bytes:
    members: dict[str, bytes] = {}
    for i, one in enumerate(_rows(k)):
        members |= {f"{k}-{i}.jpg": picture(k, i), f"{k}-{i}.txt": one["caption"].encode()}
    return _tar(members)


def _img2dataset(folder: Path, k: int, *, as_tar: bool) -> None:
    rows = [
        {**one, "key": f"{k:05d}{i:04d}", "status": "success"} for i, one in enumerate(_rows(k))
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / f"{k:05d}.parquet")
    (folder / f"{k:05d}_stats.json").write_text("{}")
    images = {f"{one['key']}.jpg": picture(k, i) for i, one in enumerate(rows)}
    if as_tar:
        (folder / f"{k:05d}.tar").write_bytes(_tar(images))
        return
    (folder / f"{k:05d}").mkdir()
    for name, content in images.items():
        (folder / f"{k:05d}" / name).write_bytes(content)


def _naming_images(folder: Path, k: int) -> None:
    rows = [{"file_name": f"{k}-{i}.jpg", "text": one["caption"]} for i, one in enumerate(_rows(k))]
    pq.write_table(pa.Table.from_pylist(rows), folder / f"{k:05d}.parquet")
    for i, one in enumerate(rows):
        (folder / one["file_name"]).write_bytes(picture(k, i))


def _pictures(folder: Path, k: int) -> None:
    for i, one in enumerate(_rows(k)):
        (folder / f"{k:05d}-{i}.jpg").write_bytes(picture(k, i))
        (folder / f"{k:05d}-{i}.txt").write_text(one["caption"])


FILES: dict[str, tuple[str, Callable[[int], bytes]]] = {
    "csv": ("csv", lambda k: _separated(k, ",")),
    "tsv": ("tsv", lambda k: _separated(k, "\t")),
    "packed csv": ("csv.gz", lambda k: gzip.compress(_separated(k, ","), 1, mtime=0)),
    "quoted-tsv": ("tsv", lambda k: _separated(k, "\t")),
    "jsonl": ("jsonl", _jsonl),
    "packed jsonl": ("jsonl.zst", lambda k: zstandard.compress(_jsonl(k))),
    "unnamed jsonl": ("part", _jsonl),
    "parquet": ("parquet", _parquet),
    "large groups": ("parquet", _parquet),
    "wat": ("warc.wat.gz", wat),
    "warc": ("warc.gz", _warc),
    "webdataset": ("tar", _webdataset),
    "own": ("rows", _jsonl),
}
FOLDERS: dict[str, Callable[[Path, int], None]] = {
    "img2dataset": lambda folder, k: _img2dataset(folder, k, as_tar=True),
    "img2dataset folders": lambda folder, k: _img2dataset(folder, k, as_tar=False),
    "parquet and images": _naming_images,
    "images": _pictures,
}
FORMS = (*FILES, *FOLDERS)
"""The names of pools that `lay` writes."""
STORED = ("webdataset", *FOLDERS)
"""Those that bring their images."""
FOOTERS = ("parquet", "large groups", "img2dataset", "img2dataset folders", "parquet and images")
"""Those whose files say at their end which columns they have."""
PAIRS_ALONE = ("wat", "warc", "webdataset", "images", "parquet and images")
"""Those with no column `caption`."""


def part_rows(form: str) -> int:
    """Rows of a part; with few of them the only row group of a small file is a large one."""
    return 1 if form == "large groups" else 10_000


def lay(folder: Path, form: str, n: int) -> dict[str, Any]:
    """Write a pool of `n` files into `folder`, and return `input` of a configuration that reads it."""
    pool = folder / "pool"
    pool.mkdir()
    given: dict[str, Any] = {"paths": str(pool)}
    if form in FILES:
        ending, content = FILES[form]
        for k in range(n):
            (pool / f"{k:05d}.{ending}").write_bytes(content(k))
    for k in range(n if form in FOLDERS else 0):
        FOLDERS[form](pool, k)
    if form == "quoted-tsv":
        given["format"] = form
    if form == "parquet and images":
        given["columns"] = {"image": "file_name", "caption": "text"}
    if form == "own":
        (folder / "theirs.py").write_text(OWN)
        given["format"] = "theirs:read"
    return given
