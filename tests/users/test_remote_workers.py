"""Files of the machine that submits, in a run on Dataflow: refused before anything is looked at."""

from pathlib import Path

import pytest

from curate.config import Config
from curate.config.file import dump
from curate.config.paths import paths_in, with_paths
from tests.config.test_paths import ALL, FULL, filled
from tests.users.runs import refused

TOLD = "Dataflow's workers cannot see the files of this machine; give a gs:// URL\n"


@pytest.mark.parametrize("path", ["here/x.npy", "file:///here/x.npy"])
@pytest.mark.parametrize("key", [one.key for one in paths_in(ALL) if one.mark.travels])
def test_each_key_that_names_a_file_of_this_machine_is_refused(
    tmp_path: Path, key: str, path: str
) -> None:
    there = Config.model_validate(filled(FULL, "gs://b"))
    at_home = there.beam.model_copy(update={"python_path": ("code",)})
    config = with_paths(
        there.model_copy(update={"beam": at_home}),
        lambda one: path if one.key == key else one.path,
    )
    (tmp_path / "c.yaml").write_text(dump(config))
    expected = f"error {'--out' if key == 'out' else key} {path}: {TOLD}"
    for command in ("run", "plan"):
        asked = command, str(tmp_path / "c.yaml")
        assert refused(*asked, "--", "--runner=DataflowRunner") == expected
    for runner in (["--", "--runner", "dataflow"],
                   ["--set", "beam.options=[--runner=DataflowRunner]"],
                   ["--set", "beam.runner=apache_beam.runners.DataflowRunner"]):  # fmt: skip
        assert refused(*asked, *runner) == expected


def test_so_are_those_of_a_further_score_and_another_balance(small: Path) -> None:
    there = ["--", "--runner=DataflowRunner"]
    balance = ["rebalance", str(small), "--out", str(small.parent / "b"), "--t", "2"]
    assert refused(*balance, *there).startswith(f"error RUN {small}: Dataflow's workers")
    score = ["score", str(small), "--model", "ViT-B-32", "--pretrained", "openai"]
    assert refused(*score, *there).startswith(f"error RUN {small}: Dataflow's workers")
