"""A URL that stands several times in a part is fetched once, and each of its pairs has the image."""

from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from typer.testing import CliRunner

from curate.cli import app
from tests.web.hostile import HostileServer, Request, serving

JPEG = cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))[1]
CONFIG = """\
input: {paths: pool.parquet}
prepare: {languages: null}
download:
  robots: false
  retries: 0
  connect_to: {site.test: "127.0.0.1:PORT"}
dedup: {enabled: false}
"""


async def image(request: Request) -> object:
    await request.reply(200, JPEG.tobytes())
    return None


def test_a_url_that_stands_several_times_is_fetched_once(tmp_path: Path) -> None:
    urls = [f"http://site.test/{i % 10}.jpg" for i in range(40)]
    urls[20] = "http://site.test/0.jpg#top"
    urls += ["http://site.test/gone.jpg"] * 3
    captions = [f"a red fox, number {i}" for i in range(len(urls))]
    pq.write_table(pa.table({"url": urls, "caption": captions}), tmp_path / "pool.parquet")
    server = HostileServer(otherwise=image)

    async def gone(request: Request) -> object:
        await request.reply(404)
        return None

    server.routes["/gone.jpg"] = gone
    with serving(server):
        config = CONFIG.replace("PORT", str(server.port))
        config = config.replace("pool.parquet", str(tmp_path / "pool.parquet"))
        (tmp_path / "c.yaml").write_text(config)
        run = [str(tmp_path / "c.yaml"), "--out", str(tmp_path / "run")]
        done = CliRunner().invoke(app, ["run", *run])
        assert done.exit_code == 0, done.output
    assert server.requests == {f"/{i}.jpg": 1 for i in range(10)} | {"/gone.jpg": 1}
    kept = pq.read_table(tmp_path / "run/shards/00000.parquet")
    assert sorted(kept["caption"].to_pylist()) == sorted(captions[:40])
    assert pc.count_distinct(kept["sha256"]).as_py() == 1
    dropped = pq.read_table(tmp_path / "run/dropped/download")
    assert dropped["reason"].to_pylist() == ["http_404"] * 3
