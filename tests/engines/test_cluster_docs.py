"""The configurations of docs/cluster.md: YAML and shell that parse, options that Beam knows."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from apache_beam.options import pipeline_options
from apache_beam.options.pipeline_options import PipelineOptions

TEXT = (Path(__file__).parents[2] / "docs/cluster.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
DECIDING = ("restart-strategy.type", "classloader.resolve-order", "taskmanager.load-balance.mode")


def blocks(kind: str) -> list[str]:
    return [text for name, text in BLOCKS if name == kind]


def test_every_yaml_parses_and_has_what_decides() -> None:
    bare, kubernetes = blocks("yaml")
    documents = list(yaml.safe_load_all(kubernetes))
    kinds = [one["kind"] for one in documents]
    assert kinds == ["FlinkDeployment", "Deployment", "Service"]
    of_operator = documents[0]["spec"]["flinkConfiguration"]
    (in_script,) = re.findall(r"<<END\n(.*?)^END$", blocks("bash")[1], re.MULTILINE | re.DOTALL)
    for found in (yaml.safe_load(bare), of_operator, yaml.safe_load(in_script)):
        assert set(DECIDING) <= found.keys()
    assert all(
        isinstance(value, str) for value in of_operator.values()
    )  # as the operator wants them
    (pod,) = [documents[0]["spec"]["taskManager"]["podTemplate"]["spec"]["containers"]]
    assert [one["name"] for one in pod] == ["flink-main-container", "workers"]


@pytest.mark.skipif(not shutil.which("bash"), reason="no bash here")
@pytest.mark.parametrize("script", blocks("bash"))
def test_every_script_parses(script: str) -> None:
    done = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_beam_knows_every_option(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(
        pipeline_options._LOGGER, "warning", lambda text, *values: said.append(text % values)
    )
    commands = [re.sub(r"\\\n", " ", x) for x in blocks("bash")]
    flags = [re.findall(r"curate run .*? -- (.*)", x)[0].split() for x in commands]
    of_flink = ("--parallelism", "--environment_cache_millis")  # told to the job server as they are
    for some in flags:
        known = [x for x in some if x[:2] == "--" and not x.startswith(of_flink) and "$" not in x]
        assert len(known) >= 4
        PipelineOptions(known).get_all_options()
    assert not any("nparseable" in text for text in said)
