"""What a script that reads img2dataset's output finds in the shards."""

import http.server
import json
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from curate.report.cards import datacard
from curate.report.facts import collect
from tests.e2e import conftest as e2e
from tests.e2e.conftest import Command

curate = e2e.curate


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A server of pictures, but for every third, which is gone, and every seventh, which is text."""
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    path = tmp_path_factory.mktemp("web") / "picture.jpg"
    Image.open("tests/data/astronaut.jpg").save(path, exif=exif)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            number = int(self.path.strip("/.jpg"))
            content = b"no picture" if number % 7 == 0 else path.read_bytes()
            self.send_response(404 if number % 3 == 0 else 200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def run(curate: Command, port: int, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two parts of ten pairs, text and download alone, five pairs a shard."""
    folder = tmp_path_factory.mktemp("run")
    urls = [f"http://pictures.example/{k}.jpg" for k in range(1, 21)]
    captions = [f"a portrait of an astronaut, number {k}" for k in range(1, 21)]
    pq.write_table(pa.table({"url": urls, "caption": captions}), folder / "p.parquet")
    document = {
        "input": {"paths": "p.parquet"}, "dedup": {"enabled": False}, "part_rows": 10,
        "shards": {"rows": 5},
        "download": {"connect_to": {"pictures.example": f"127.0.0.1:{port}"}, "robots": False,
                     "keep_exif": True, "retries": 0},
    }  # fmt: skip
    (folder / "c.yaml").write_text(yaml.safe_dump(document))
    done = curate("run", "c.yaml", "--out", "run", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "run"


def test_statistics_have_its_keys_and_the_failures(run: Path) -> None:
    stats = [json.loads(x.read_text()) for x in sorted((run / "shards").glob("*_stats.json"))]
    keys = {"count", "successes", "failed_to_download", "failed_to_resize", "duration",
            "start_time", "end_time", "status_dict"}  # fmt: skip
    assert all(keys <= one.keys() for one in stats)
    totals = {key: sum(one[key] for one in stats) for key in keys - {"status_dict"}}
    assert totals == {
        "count": 12, "successes": 12, "failed_to_download": 6, "failed_to_resize": 2,
        "duration": 0, "start_time": 0, "end_time": 0,
    }  # fmt: skip
    reasons: dict[str, int] = {}
    for one in stats:
        for reason, n in one["status_dict"].items():
            reasons[reason] = reasons.get(reason, 0) + n
    assert reasons == {"success": 12, "http_404": 6, "not_an_image": 2}


def test_exif_is_there_where_it_was_asked_for(run: Path) -> None:
    tags = pq.read_table(run / "shards" / "00000.parquet")["exif"].to_pylist()
    assert {json.loads(one)["Image Make"] for one in tags} == {"Maker"}


def test_columns_for_the_stages_alone_are_not_in_the_shards(run: Path) -> None:
    """Though dedup and score, which read `look`, are off; nor does the data card tell of it."""
    from curate.config import file as config_file
    from curate.rundir.directory import Run

    columns = set(pq.read_schema(run / "shards" / "00000.parquet").names)
    assert not columns & {"look", "tar_offset", "tar_size", "stored_sha256"}
    with tarfile.open(run / "shards" / "00000.tar") as tar:
        file = tar.extractfile(next(x for x in tar if x.name.endswith(".json")))
        assert file is not None
        assert set(json.loads(file.read())) == columns - {"matches"}
    config = config_file.load(str(run / "config.yaml"))
    assert "`look`" not in datacard(collect(Run(str(run)), config), config=config, name="x")
