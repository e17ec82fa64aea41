"""`curate recipes`: every shipped recipe, once, below what it is for."""

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from curate.cli import app
from curate.commands.recipes import Purpose, Recipe, recipe_at
from curate.commands.terminal import out_console
from curate.config import file as config_file
from curate.errors import CurateError

ALL = config_file.recipes()


@pytest.mark.parametrize("name", ALL)
def test_a_header_begins_with_one_sentence_and_one_purpose(name: str) -> None:
    lines = ALL[name].read_text(encoding="utf-8").splitlines()
    found = recipe_at(ALL[name])
    assert lines[0] == f"# {found.sentence}"
    assert found.sentence.endswith(".")
    assert ". " not in found.sentence
    assert [line for line in lines if line.startswith("# For:")] == [f"# For: {found.purpose}"]
    balances = yaml.safe_load("\n".join(lines)).get("balance") is not None
    assert balances or found.purpose is not Purpose.BALANCE


@pytest.mark.parametrize(
    "line", ["# For: fun", "# For: ", "# for: filter", "# For: filter, balance", "#", None]
)
def test_an_unknown_purpose_is_refused(line: str | None, tmp_path: Path) -> None:
    path = tmp_path / "one.yaml"
    path.write_text("# One: of a kind.\n" + (f"{line}\n" if line is not None else ""))
    with pytest.raises(CurateError, match="one of balance, filter, deduplicate, captions, domains"):
        recipe_at(path)
    path.write_text("# One: of a kind.\n# For: captions\n")
    assert recipe_at(path) == Recipe("one", Purpose.CAPTIONS, "One: of a kind.")


def test_all_are_listed_below_their_purpose() -> None:
    lines = CliRunner().invoke(app, ["recipes"]).stdout.splitlines()
    found: dict[str, str] = {}
    purpose = ""
    for line in lines[:-1]:
        if not line.startswith(" "):
            purpose = line.partition(":")[0].lower() or purpose
            continue
        name, _, sentence = line.strip().partition(" ")
        assert name not in found
        found[name] = purpose
        assert sentence.strip() == recipe_at(ALL[name]).sentence
    assert found == {name: recipe_at(path).purpose for name, path in ALL.items()}
    assert lines[-1] == "To start from one: curate config --recipe NAME > my.yaml"


def test_as_json() -> None:
    rows = json.loads(CliRunner().invoke(app, ["recipes", "--json"]).stdout)
    assert [Recipe(**{**row, "purpose": Purpose(row["purpose"])}) for row in rows] == [
        recipe_at(path) for path in ALL.values()
    ]


def test_a_line_is_cut_at_the_width_of_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(out_console, "width", 60)
    lines = CliRunner().invoke(app, ["recipes"]).stdout.splitlines()
    listed = [line for line in lines if line.startswith("  ")]
    assert sorted(line.split()[0] for line in listed) == sorted(ALL)
    assert {len(line) for line in listed} == {60}
    assert all(line.endswith("…") for line in listed)
