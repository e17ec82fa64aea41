"""A run with everything on: its report, its card and its files say all that there is to say."""

import json
import re
import tarfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from curate import schema
from curate.commands.reference import reference
from curate.config import Columns, Config
from curate.config import file as config_file
from curate.planning.own_scores import beside
from curate.planning.own_scores import own_columns as columns_of
from curate.stages.score.entities import SIMILARITY
from tests.users.runs import document, refused


@pytest.fixture(scope="module")
def config(whole: Path) -> Config:
    """Its configuration."""
    return config_file.load(str(whole / "config.yaml"))


def own_columns(config: Config) -> set[str]:
    """Columns of its tables that are not those of curate: scores and kept ones, as they are called."""
    assert config.score
    written = (name for key, one in beside(config).items() for name in columns_of(key, one).names)
    kept = map(schema.kept_name, config.input.columns.keep)
    cosines = map(
        SIMILARITY.format, (x for x, one in config.scores.items() if one.kind == "entities")
    )
    return {*config.score.also, *config.scores, *written, *kept, *cosines}


def card_columns(run: Path) -> dict[str, str]:
    """The columns that the data card of a run lists, and what it says of each."""
    text = (run / "report/datacard.md").read_text().partition("## Files")[2]
    return dict(re.findall(r"^- `(\w+)`: ?(.*)$", text, re.MULTILINE))


def test_the_report_counts_pairs_that_left_after_the_rules_among_those_that_reached_them(
    whole: Path,
) -> None:
    score = document(whole / "run.json")["stages"]["score"]
    assert score["dropped"]["duplicate_meaning"] > 0
    assert not score["dead"]
    reached = score["rows"] - score["dropped"].get("contaminated", 0)
    rules = [x for x in document(whole / "report/report.json")["rules"] if x["stage"] == "score"]
    assert [rule["pairs"] for rule in rules] == [reached] * len(rules) != []


def test_the_card_lists_the_columns_of_the_files_each_with_what_it_says(whole: Path) -> None:
    card = card_columns(whole)
    assert all(card.values()), [name for name, said in card.items() if not said]
    with tarfile.open(next(whole.glob("shards/*.tar"))) as tar:
        member = next(x for x in tar if x.name.endswith(".json"))
        file = tar.extractfile(member)
        assert file is not None
        assert list(card) == list(json.load(file))
    written = pq.read_schema(next(whole.glob("shards/*.parquet"))).names
    assert [name for name in written if name not in card] == ["matches", "denied_words", "seen"]
    croissant = document(whole / "report/croissant.json")
    said = {x["name"]: x["description"] for one in croissant["recordSet"] for x in one["field"]}
    assert all(said.values()), said


def test_the_report_says_of_each_score_what_it_is(whole: Path) -> None:
    page = (whole / "report/index.html").read_text()
    for one in document(whole / "report/report.json")["scores"]:
        assert re.search(rf"<code>{one['column']}</code> of [\d,]+ pairs \(\w", page), one["column"]


def test_each_column_of_each_file_has_a_meaning_and_is_in_the_reference(
    whole: Path, config: Config
) -> None:
    page, own = reference(), own_columns(config)
    for path in whole.rglob("*.parquet"):
        folder = path.relative_to(whole).parts[0]
        if folder in (
            "input",
            "places",
            "clusters",
            "summaries",
        ):  # curate's own, in no form that is documented
            continue
        for name in set(pq.read_schema(path).names) - own:
            assert schema.MEANINGS[name], f"{path}: {name}"
            inner = name in ("scored", schema.SEMANTIC, "semantic_cosine", schema.ITEM)
            assert inner or f"| `{name}` |" in page, f"{path}: {name}"


def test_no_score_and_no_column_of_the_pool_has_a_name_that_a_step_writes(
    whole: Path, config: Config
) -> None:
    """Of tables with a pair a row: those of hosts and of entries are of something else."""
    own = own_columns(config)
    for path in whole.rglob("*.parquet"):
        folder = path.relative_to(whole).parts[0]
        if folder not in ("report", "entries", "clusters", "summaries"):
            found = set(pq.read_schema(path).names) - own
            assert found <= schema.OWN, path
    for name in sorted(x for x in schema.OWN if not x.startswith("_")):
        assert schema.kept_name(name) == f"pool_{name}"
    names = sorted(schema.OWN)
    assert Columns(keep=tuple(names)).keep == tuple(names)


@pytest.mark.parametrize("name", ["outcome", "key"])
def test_a_name_that_is_taken_is_refused_before_anything_starts(whole: Path, name: str) -> None:
    config = str(whole / "config.yaml")
    model = "{model: ViT-B-32, pretrained: openai}"
    before = (whole / "run.json").read_bytes()
    for command, key in (
        (("run", config, "--set", f"score.also.{name}={model}"), f"score.also.{name}"),
        (("run", config, "--set", f"scores.{name}={{kind: nsfw}}"), f"scores.{name}"),
        (("score", str(whole), "--model", "ViT-B-32", "--pretrained", "openai", "--name", name),
         f"--name {name}"),
    ):  # fmt: skip
        assert f"{key}: {name} is taken by another column" in refused(*command)
    assert (whole / "run.json").read_bytes() == before
