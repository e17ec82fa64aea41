"""Words by their first synset, over a WordNet of a few nouns."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from curate.cli import app
from curate.errors import CurateError
from curate.metadata.senses import Nouns, imagenet21k, read_synsets, words_of

INDEX = """\
  1 This software and database is being provided to you, the LICENSEE
bass n 3 3 @ ~ #m 3 3 04984514 02565324 02565072
dog n 7 5 @ ~ #m #p %p 7 1 02084071 10114209 10023039 09886220 07676602 03901548 02710044
hot_dog n 3 1 @ 3 0 07697537 10187990 07676602
mouse n 4 4 @ ~ #m %p 4 1 02330245 14289942 10335246 03793489
ox n 2 3 @ ~ #p 2 1 02403454 02403820
wolf n 5 2 @ ~ 5 1 02114100 11385000 11384804 10779000 10515194
wolves n 1 1 @ 1 0 09999999
box n 2 4 @ ~ 2 1 02883344 08522741
fireman n 4 1 @ 4 1 10091651 04580777 10090020 09884391
run n 3 3 @ ~ 3 1 00189565 00791078 07461050
"""
EXCEPTIONS = "mice mouse\noxen ox\nwolves wolf\ngeese goose\n"
SYNSETS = "n02084071\nn02330245 mouse\nn02403454\nn02114100\nn02883344\nn10091651\nn09999999\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "index.noun").write_text(INDEX)
    (tmp_path / "noun.exc").write_text(EXCEPTIONS)
    (tmp_path / "synsets.txt").write_text(SYNSETS)
    return tmp_path


@pytest.mark.parametrize(
    ("word", "synset"),
    [
        ("dog", 2084071),  # the first of its senses
        ("dogs", 2084071),
        ("bass", 4984514),
        ("boxes", 2883344),
        ("mice", 2330245),  # an exception
        ("mouses", 2330245),
        ("wolves", 9999999),  # the word itself before what the exceptions say
        ("geese", None),  # an exception that leads to no word
        ("firemen", 10091651),
        ("hot_dogs", 7697537),
        ("dog,", None),
        ("dogss", None),
    ],
)
def test_a_word_has_the_first_sense_of_the_first_form_that_is_one(
    folder: Path, word: str, synset: int | None
) -> None:
    assert Nouns(str(folder)).synset(word) == synset


def test_words_of_the_listed_synsets(folder: Path) -> None:
    synsets = read_synsets(str(folder / "synsets.txt"))
    assert len(synsets) == 7
    found = words_of(Nouns(str(folder)), synsets)
    assert {"dog", "dogs", "mouse", "mice", "ox", "oxen", "wolf", "wolves", "box", "boxes",
            "fireman", "firemen"} <= set(found)  # fmt: skip
    assert not {"bass", "hot_dog", "run", "runs", "geese"} & set(found), "their first is another"
    assert found == sorted(found)
    nouns = Nouns(str(folder))
    assert all(nouns.synset(word) in synsets for word in found)


def test_the_command(folder: Path) -> None:
    out = folder / "words.txt"
    arguments = ["metadata", "words", "--wordnet", str(folder), "--out", str(out)]
    done = CliRunner().invoke(app, [*arguments, "--synsets", str(folder / "synsets.txt")])
    assert done.exit_code == 0, done.output
    assert " words of 7 synsets" in done.output
    with_imagenet = CliRunner().invoke(app, arguments)
    assert " words of 21,841 synsets" in with_imagenet.output
    assert {"dog", "mice", "oxen"} <= set(out.read_text().split())


def test_the_list_that_comes_with_timm_is_imagenet_21k() -> None:
    synsets = read_synsets(imagenet21k())
    assert len(synsets) == 21_841
    assert 2084071 in synsets


def test_what_is_missing_is_named(folder: Path) -> None:
    (folder / "other.txt").write_text("dog\ncat\n")
    with pytest.raises(CurateError, match=r"other\.txt: no line of it begins with a synset"):
        read_synsets(str(folder / "other.txt"))
    with pytest.raises(CurateError, match=r"are both of WordNet 3\.0\?"):
        words_of(Nouns(str(folder)), {1, 2})
    (folder / "noun.exc").unlink()
    with pytest.raises(CurateError, match=r"no noun\.exc in it; expected the folder of WordNet"):
        Nouns(str(folder))
