"""Languages that share an entry list, and the rule of spaces that Meta CLIP 2 released."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.users.runs import document, refused, well

Pair = dict[str, Any]
GERMAN = [
    "der rote Fuchs sitzt im Garten unter dem Baum",
    "eine graue Katze schläft auf dem Dach des Hauses",
    "die alte Stadt und ihr Fluss in der Nacht",
    "das Pferd und der Fuchs stehen auf einer Wiese",
]
ENGLISH = [
    "a red fox in the garden of our house",
    "a grey cat on the roof of the house",
    "the old town and its river at night",
]
FRENCH = ["le renard rouge est assis dans le jardin de la maison", "un chat gris sur le toit"]
JAPANESE = ["赤ワインとチーズの写真です", "白い犬が公園で遊んでいます"]
LISTS = {
    "en": ["fox", "cat", "house", "Fuchs", "Katze", "der", "town"],
    "ja": ["ワイン", "犬", "写真", "赤ワイン"],
    "other": ["renard", "chat", "le"],
}


def written(folder: Path, **prepare: object) -> list[str]:
    """The pool and the lists in `folder`, and the arguments of a run over them."""
    texts = [*GERMAN, *ENGLISH, *FRENCH, *JAPANESE]
    pool = [{"url": f"http://x.example/{i}.jpg", "caption": x} for i, x in enumerate(texts)]
    (folder / "pool.jsonl").write_text("\n".join(map(json.dumps, pool)) + "\n")
    for name, entries in LISTS.items():
        (folder / f"{name}.txt").write_text("\n".join(entries) + "\n")
    config = {
        "input": {"paths": str(folder / "pool.jsonl")},
        "part_rows": 4,
        "prepare": {"metadata": {"en": str(folder / "en.txt")}, **prepare},
        "download": {"enabled": False},
        "dedup": {"enabled": False},
        "balance": {"t": 1000},
    }
    (folder / "run.yaml").write_text(json.dumps(config))
    return ["run", str(folder / "run.yaml"), "--out", str(folder / "run")]


def languages(run: Path) -> dict[str, str]:
    """The language of each caption in the set."""
    table = pq.read_table(sorted(run.glob("balance/part-*.parquet"))).to_pylist()
    return {row["caption"]: row["language"] for row in table}


def counts(run: Path) -> dict[tuple[str, str], int]:
    rows = pq.read_table(run / "entries/entries.parquet").to_pylist()
    return {(row["language"], row["entry"]): row["count"] for row in rows}


def test_languages_count_as_the_one_whose_list_they_share(tmp_path: Path) -> None:
    well(*written(tmp_path))
    run = tmp_path / "run"
    assert {*languages(run)} == {*ENGLISH}
    assert counts(run)["en", "fox"] == 1
    alone = counts(run)["en", "house"]
    others = {x: str(tmp_path / f"{x}.txt") for x in ("en", "other")}
    command = written(tmp_path, metadata=others, counts_as={"de": "en", "*": "other"})
    well(*command, "--force")
    found = languages(run)
    assert {found[x] for x in (*GERMAN, *ENGLISH) if x in found} == {"en"}
    assert {found[x] for x in FRENCH} == {"other"}
    whole = counts(run)
    assert whole["en", "Fuchs"] == sum("Fuchs" in x for x in GERMAN) == 2
    assert whole["en", "house"] == alone == 2
    assert whole["other", "le"] == sum(" le " in f" {x} " for x in FRENCH)
    told = document(run / "records/balance/thresholds.json")
    assert {*told} == {"en", "other"}, "one t for all that share a list"
    assert told["en"]["pairs"] == len([x for x in found.values() if x == "en"])
    assert "Nothing to do" in well(*command)
    uid = well("explain", str(run), "http://x.example/0.jpg")
    assert "Fuchs" in uid


def test_the_released_rule_is_a_setting_that_matches_again(tmp_path: Path) -> None:
    lists = {"ja": str(tmp_path / "ja.txt"), "en": str(tmp_path / "en.txt")}
    well(*written(tmp_path, metadata=lists))
    run = tmp_path / "run"
    assert {x: n for (of, x), n in counts(run).items() if of == "ja"} == {
        "ワイン": 1, "犬": 1, "写真": 1, "赤ワイン": 1,
    }  # fmt: skip
    well(*written(tmp_path, metadata=lists, spacing="released"), "--force")
    assert {x: n for (of, x), n in counts(run).items() if of == "ja"} == {
        "ワイン": 0, "犬": 1, "写真": 1, "赤ワイン": 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("prepare", "told"),
    [
        (
            {"counts_as": {"deu": "en"}},
            "prepare.counts_as.deu: the model of languages (lid.176) has no",
        ),
        ({"counts_as": {"de": "fr"}}, "prepare.counts_as.de: 'fr' has no list in prepare.metadata"),
        ({"counts_as": {"en": "en"}}, "prepare.counts_as.en: 'en' has a list of its own"),
        ({"spacing": "paper"}, "prepare.spacing"),
    ],
)
def test_refused_before_work(prepare: Pair, told: str, tmp_path: Path) -> None:
    assert told in refused(*written(tmp_path, **prepare))
    assert not (tmp_path / "run").exists()
