"""What `curate plan` says at its end can be done as it stands there."""

import shlex
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.e2e.conftest import Command

LONG = "a red fox in the garden of the old house by the river"
SHORT = ["Rotkohl", "Tarte Tatin", "Kaffee Haus", "Gato", "Die Sonne", "Casa Blanca", "Le Monde"]


def test_the_command_to_go_on_with_has_every_option(tmp_path: Path, curate: Command) -> None:
    urls = [f"http://site.test/{i}.jpg" for i in range(27)]
    table = pa.table({"url": urls, "my caption": [LONG] * 20 + SHORT})
    pq.write_table(table, tmp_path / "my pool.parquet")
    (tmp_path / "c.yaml").write_text("input: {paths: none.parquet}\nprepare: {languages: [en]}\n")
    options = (
        "c.yaml", "--out", "my run", "--workers", "1", "--set", "input.paths=my pool.parquet",
        "--set", "input.columns={url: url, caption: 'my caption'}", "--set", "download.enabled=false",
    )  # fmt: skip
    planned = curate("plan", *options, cwd=tmp_path)
    assert planned.returncode == 0, planned.stderr
    *_, hint, last = planned.stdout.splitlines()
    assert "left as another language" in hint
    assert "prepare.unsure={below: 0.5, language: en}" in hint
    words = shlex.split(last.partition(": ")[2])
    assert words[:2] == ["curate", "run"]
    assert sorted(words[2:]) == sorted(options)
    gone_on = curate(*words[1:], cwd=tmp_path)
    assert gone_on.returncode == 0
    assert "Nothing to do" in gone_on.stdout
    change = shlex.split(hint.partition(": --set ")[2])[0]
    sure = curate("plan", *options[:2], "another", *options[3:], "--set", change, cwd=tmp_path)
    assert "left as another language" not in sure.stdout
