"""The workers' image and the commands in its header agree with the project and with Beam.

Nothing is built here: that needs docker and a registry.
"""

import re
import tomllib
from pathlib import Path

import pytest
from apache_beam.options import pipeline_options
from apache_beam.options.pipeline_options import PipelineOptions

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "pipelines/Dockerfile").read_text()
LINES = [line.lstrip("# ").rstrip("\\") for line in DOCKERFILE.splitlines() if line[:1] == "#"]


def test_the_image_has_the_beam_and_the_python_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    (pin,) = [x for x in project["project"]["dependencies"] if x.startswith("apache-beam==")]
    python = project["tool"]["mypy"]["python_version"]
    bases = re.findall(r"^FROM (\S+) AS (\w+)$", DOCKERFILE, re.MULTILINE)
    assert bases == [
        (f"apache/beam_python{python}_sdk:{pin.removeprefix('apache-beam==')}", "base"),
        ("base", "cpu"), ("base", "cuda"),
    ]  # fmt: skip


@pytest.mark.parametrize("runner", ["DataflowRunner", "FlinkRunner"])
def test_beam_knows_every_option_of_the_commands(
    runner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(
        pipeline_options._LOGGER, "warning", lambda text, *values: said.append(text % values)
    )
    pattern = rf"curate run c.yaml --out \S+ -- (--runner={runner}(?:\s+--\S+)*)"
    (command,) = re.findall(pattern, " ".join(LINES))
    flags = command.split()
    assert len(flags) >= 4
    options = PipelineOptions(flags).get_all_options(drop_default=True)
    assert not any("nparseable" in text for text in said)
    assert options["runner"] == runner
    PipelineOptions([*flags, "--no_such_option=1"]).get_all_options()
    assert any("nparseable" in text for text in said)
