"""Files of concepts: each form that is read, and what is refused in one line."""

import json
from pathlib import Path

import pytest

from curate.concepts.names import Concepts, concepts_of, read_names
from curate.errors import CurateError


def read(folder: Path, text: str, *, name: str = "names.json") -> Concepts:
    (folder / name).write_text(text)
    return read_names(str(folder / name))


def told(found: Concepts) -> dict[str, tuple[list[str], float]]:
    starts = found.starts.tolist()
    return {
        concept: ([*found.names[starts[at] : starts[at + 1]]], float(found.shares[at]))
        for at, concept in enumerate(found.concepts)
    }


WANTED = {"night snake": (["night snake", "hypsiglena"], 1.0), "aardvark": (["aardvark"], 0.5)}


def test_each_form_says_the_same(tmp_path: Path) -> None:
    lists = {
        "night snake": ["night snake", "hypsiglena"],
        "aardvark": {"names": ["aardvark"], "share": 0.5},
    }
    assert told(read(tmp_path, json.dumps(lists))) == WANTED
    lines = "night snake\tnight snake\naardvark\taardvark\t0.5\n\nnight snake\thypsiglena\n"
    found = told(read(tmp_path, lines, name="names.txt"))
    assert found == WANTED
    head = (
        "concept\tshare\tname\n"
        + "night snake\t\tnight snake\nnight snake\t\thypsiglena\naardvark\t.5\taardvark\n"
    )
    assert told(read(tmp_path, head, name="names.tsv")) == WANTED
    rows = ["name,concept,share", '"night snake","night snake",', "hypsiglena,night snake,",
            "aardvark,aardvark,0.5"]  # fmt: skip
    assert told(read(tmp_path, "\n".join(rows), name="names.csv")) == WANTED


def test_the_files_of_the_authors(tmp_path: Path) -> None:
    """Names are the keys of `alternates`, and the share is the one that a language model found."""
    one = {"name": "canterbury bells", "alternates": {"canterbury bells": 209, "bellflowers": 403},
           "most_common_name": "bellflowers", "actual_freq": 667, "relevant_total": 623,
           "llama_relevance_ratio": 0.934}  # fmt: skip
    other = {"name": "sweet pea", "alternates": {"sweet pea": 1}, "llama_relevance_ratio": None}
    found = read(tmp_path, json.dumps({"2": one, "3": other}))
    assert told(found) == {
        "2": (["canterbury bells", "bellflowers"], 0.934),
        "3": (["sweet pea"], 1.0),
    }


def test_names_that_are_the_same_are_told(tmp_path: Path) -> None:
    """Within a concept as well: the authors' lists have both spellings of hard-leaved orchids."""
    found = concepts_of(
        {
            "a": ["hard-leaved orchid", "Hard leaved orchid"],
            "b": ["campanula"],
            "c": ["Campanula!"],
        },
        called="x",
    )
    assert found.shared() == [("Hard leaved orchid", "a", "a"), ("Campanula!", "b", "c")]
    assert concepts_of({"a": ["b"], "c": ["d"]}, called="x").shared() == []


@pytest.mark.parametrize(
    ("text", "name", "said"),
    [
        ("{}", "n.json", "there is no concept in it"),
        ("", "n.txt", "there is no concept in it"),
        ('["a"]', "n.json", "a JSON array; expected an object of concepts"),
        ('{"a": ["b"]', "n.json", "cannot be read as JSON"),
        ('{"a": ["b"], "a": ["c"]}', "n.json", "'a' is there twice"),
        ('{"a": []}', "n.json", "concept 'a' has no names"),
        ('{"a": {"name": "b"}}', "n.json", "expected its names"),
        ('{"a": "b"}', "n.json", "concept 'a' is 'b'; expected its names"),
        ('{"a": [1]}', "n.json", "a name is 1, no text"),
        ('{"a": ["b", "c", "b"]}', "n.json", "concept 'a' has the name 'b' twice"),
        ('{"a": ["b", "-!-"]}', "n.json", "the name '-!-' of concept 'a' has no letter"),
        ('{"a": {"names": ["b"], "share": 1.5}}', "n.json", "has the share 1.5; it is from 0 to 1"),
        ('{"a": ["\\ud800"]}', "n.json", "a name is no text"),
        ("a\n", "n.txt", "n.txt:1: 'a': expected a concept, a tab and a name"),
        ("a\tb\n\tc\n", "n.txt", "n.txt:2:"),
        ("a\tb\t0.5\na\tc\t0.6\n", "n.txt", "concept 'a' has the shares 0.5 and 0.6"),
        ("a,b\n", "n.csv", "its first line lacks the columns concept and name"),
        ("concept,name\na,\n", "n.csv", "expected a concept, a comma and a name"),
    ],
)
def test_what_is_refused(text: str, name: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(CurateError) as raised:
        read(tmp_path, text, name=name)
    assert said in str(raised.value)
    assert str(raised.value).startswith(str(tmp_path / name))
    assert "\n" not in str(raised.value)
