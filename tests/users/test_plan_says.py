"""What `curate plan` says at its end can be done as it stands there."""

import shlex
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.e2e.conftest import Command

LONG = "a red fox in the garden of the old house by the river"


def test_the_command_to_go_on_with_has_every_option(tmp_path: Path, curate: Command) -> None:
    urls = [f"http://site.test/{i}.jpg" for i in range(20)]
    table = pa.table({"url": urls, "my caption": [LONG] * 20})
    pq.write_table(table, tmp_path / "my pool.parquet")
    (tmp_path / "c.yaml").write_text("input: {paths: none.parquet}\nprepare: {languages: [en]}\n")
    options = (
        "c.yaml", "--out", "my run", "--workers", "1", "--set", "input.paths=my pool.parquet",
        "--set", "input.columns={url: url, caption: 'my caption'}", "--set", "download.enabled=false",
    )  # fmt: skip
    planned = curate("plan", *options, cwd=tmp_path)
    assert planned.returncode == 0, planned.stderr
    last = planned.stdout.splitlines()[-1]
    words = shlex.split(last.partition(": ")[2])
    assert words[:2] == ["curate", "run"]
    assert sorted(words[2:]) == sorted(options)
    gone_on = curate(*words[1:], cwd=tmp_path)
    assert gone_on.returncode == 0
    assert "Nothing to do" in gone_on.stdout
