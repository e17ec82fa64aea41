"""The reference is generated, whole and up to date."""

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from curate import config
from curate.commands.reference import full_config, reference
from curate.config import Config
from curate.config import file as config_file
from curate.reasons import DropReason, ErrorCode

PAGE = Path(__file__).parents[2] / "docs" / "reference.md"


def models() -> list[type[BaseModel]]:
    found = [
        x for x in vars(config).values() if isinstance(x, type) and issubclass(x, config.Model)
    ]
    return [model for model in found if model is not config.Model]


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference(), (
        "docs/reference.md is old: make it again with `make reference`"
    )


def test_every_reason_and_error_is_explained() -> None:
    for name in (*DropReason, *ErrorCode):
        assert f"| `{name}` | " in reference()


def test_the_full_configuration_is_that_of_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "full.yaml"
    path.write_text(full_config())
    assert config_file.load(str(path)) == Config.model_validate(
        {"input": {"paths": "pairs/*.parquet"}}
    )


@pytest.mark.parametrize("model", models())
def test_every_key_is_in_it_and_described(model: type[BaseModel]) -> None:
    text = full_config()
    for name, field in model.model_fields.items():
        assert re.search(rf"^[# ]*{field.alias or name}: ?", text, re.MULTILINE), name
        has_docstring = "curate.config." in repr(field.annotation)
        assert field.description or has_docstring, f"{model.__name__}.{name} has no description"


def test_the_parts_that_are_off_load_once_they_are_switched_on(tmp_path: Path) -> None:
    text = full_config()
    for key in ("decontaminate", "score", "scores", "balance"):
        start = re.search(rf"^# {key}:\n", text, re.MULTILINE)
        assert start is not None
        block = re.match(r"(#.*\n)+", text[start.start() :])
        assert block is not None
        lines = re.sub(r"^# ?", "", block[0], flags=re.MULTILINE)
        end = re.search(r"^\S", lines[len(key) + 2 :], re.MULTILINE)
        lines = lines[: end.start() + len(key) + 2] if end else lines
        text = re.sub(
            rf"^{key}: .*$", lines.rstrip().replace("\\", r"\\"), text, count=1, flags=re.MULTILINE
        )
    text = text.replace("  t: null", "  t: 5").replace("metadata: {}", "metadata: {en: en.txt}")
    (tmp_path / "on.yaml").write_text(text)
    found = config_file.load(str(tmp_path / "on.yaml"))
    assert found.score is not None
    assert found.score.model == "ViT-B-32"
    assert found.balance is not None
    assert found.decontaminate is not None
    assert found.scores["my_score"].kind == "nsfw"
