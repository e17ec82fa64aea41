"""Languages and columns that are called otherwise than can be: said before work starts."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate import schema
from curate.config import Config
from curate.errors import CurateError
from curate.ops.text.language import labels
from curate.planning.assets import check_assets
from curate.planning.languages import _OTHERWISE
from tests.e2e.conftest import Command


def checked(tmp_path: Path, **keys: Any) -> None:
    (tmp_path / "list.txt").write_text("house\n")
    document = {"input": {"paths": "a.parquet"}, "download": {"enabled": False}, **keys}
    check_assets(Config.model_validate(document))


@pytest.mark.parametrize(
    ("language", "near"),
    [("eng", "en"), ("english", "en"), ("EN", "en"), ("en-US", "en"), ("ger", "de"), ("German", "de"),
     ("zh_Hans", "zh"), ("jp", "ja"), (" de ", "de"), ("nb", "no"), ("cebb", "ceb")],
)  # fmt: skip
@pytest.mark.parametrize("key", ["languages", "metadata", "unsure", "rule"])
def test_a_language_that_the_model_has_not_is_refused_with_the_nearest(
    tmp_path: Path, key: str, language: str, near: str
) -> None:
    rule = [{"name": "r", "any_of": [{"column": "language", "in": ["de", language]}]}]
    asked: dict[str, dict[str, Any]] = {
        "languages": {"prepare": {"languages": ["de", language]}},
        "metadata": {"prepare": {"metadata": {language: str(tmp_path / "list.txt")}}},
        "unsure": {"prepare": {"unsure": {"below": 0.5, "language": language}}},
        "rule": {"select": rule},
    }
    with pytest.raises(CurateError, match=rf"has no '{language}'.*; nearest: {near}") as error:
        checked(tmp_path, **asked[key])
    assert str(error.value).startswith("select rule 'r'" if key == "rule" else f"prepare.{key}")


def test_what_is_near_to_none_is_answered_with_all(tmp_path: Path) -> None:
    with pytest.raises(CurateError, match=r"no '\?\?\?', .*it has af, als, am"):
        checked(tmp_path, prepare={"languages": ["???"]})


def test_every_label_of_the_model_is_a_language(tmp_path: Path) -> None:
    checked(tmp_path, prepare={"languages": labels()})
    assert set(_OTHERWISE.values()) <= set(labels())
    assert not set(_OTHERWISE) & set(labels())


@pytest.mark.parametrize("name", sorted({*schema.OWN, "annotated"}))
def test_a_score_has_no_name_that_a_step_writes(tmp_path: Path, name: str) -> None:
    scorer = {"model": "ViT-B-32", "pretrained": "openai"}
    for key, keys in (
        (f"scores.{name}", {"scores": {name: {"kind": "profanity"}}}),
        (f"score.also.{name}", {"score": {**scorer, "also": {name: scorer}}, "download": {}}),
    ):
        if not name.startswith("_"):  # the pattern of names refuses these
            with pytest.raises(CurateError, match=f"{key}: {name} is taken by another column"):
                checked(tmp_path, **keys)


def test_columns_of_the_pool_that_are_called_so_travel_under_another_name(
    tmp_path: Path, curate: Command
) -> None:
    names = ["outcome", "failure", "scored", "look", "key", "status", "error_message", "_row", "texts",
             "given", "embedding", "semantic_duplicate", "evaluation_item"]  # fmt: skip
    table = {"url": ["http://p.example/1.jpg"], "caption": ["a red house by the sea"],
             **{name: [f"its {name}"] for name in names}}  # fmt: skip
    pq.write_table(pa.table(table), tmp_path / "a.parquet")
    (tmp_path / "c.yaml").write_text(
        f"input: {{paths: a.parquet, columns: {{keep: {names}}}}}\ndownload: {{enabled: false}}\n"
    )
    done = curate("run", "c.yaml", "--out", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    [row] = pq.read_table(tmp_path / "run/prepare/part-00000.parquet").to_pylist()
    assert [row[f"pool_{name}"] for name in names] == [f"its {name}" for name in names]
