"""What `curate plan` says where much of a pool leaves by its text, and that it is true."""

import json
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate import Matcher
from curate.config import Config
from curate.config import file as config_file
from curate.files import shipped
from tests.e2e.conftest import Command

CAPTIONS = [
    *(f"A Photograph of a RED Fox in the snow, number {i}" for i in range(20)),
    *(f"a photograph of a red fox in the snow, number {i}" for i in range(20)),
    *(f"nothing of the kind is in this sentence {i}" for i in range(5)),
    *(
        f"Jpg {x}"
        for x in ("casa", "IMG", "nave", "foto", "el sol", "das", "la", "via", "roma", "bois")
    ),
]


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("advice")
    rows = [
        {"url": f"http://pictures.example/{i}.jpg", "caption": x} for i, x in enumerate(CAPTIONS)
    ]
    (folder / "pool.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "entries.txt").write_text("red fox\nfox\njpg\n")
    document = {
        "input": {"paths": str(folder / "pool.jsonl")},
        "prepare": {"languages": ["en"], "metadata": {"en": str(folder / "entries.txt")}},
        "dedup": {"enabled": False},
        "balance": {"t": 3},
    }
    (folder / "c.yaml").write_text(json.dumps(document))
    return folder


@pytest.fixture(scope="module")
def planned(pool: Path, curate: Command) -> str:
    done = curate("plan", str(pool / "c.yaml"), "--out", str(pool / "plan"))
    assert done.returncode == 0, done.stderr
    return " ".join(done.stdout.split())


def dropped(run: Path) -> dict[str, int]:
    found: dict[str, int] = json.loads((run / "run.json").read_text())["stages"]["prepare"][
        "dropped"
    ]
    return found


def test_plan_offers_to_ignore_case_with_what_it_would_match(
    pool: Path, curate: Command, planned: str
) -> None:
    told = re.search(
        r"(\d+) pairs match no entry \(\d+% of the pool\); (\d+) of them would", planned
    )
    assert told, planned
    before = dropped(pool / "plan")
    assert int(told[1]) == before["no_match"]
    options = ("--out", str(pool / "folded"), "--set", "prepare.ignore_case=true")
    done = curate("plan", str(pool / "c.yaml"), *options)
    assert "prepare.ignore_case: true" not in done.stdout
    assert before["no_match"] - dropped(pool / "folded").get("no_match", 0) == int(told[2]) >= 20
    for name in ("index.html", "datacard.md"):
        text = (pool / "folded/report" / name).read_text()
        assert "matched whatever their case" in text
        assert "matched whatever their case" not in (pool / "plan/report" / name).read_text()


def test_plan_speaks_of_unsure_where_short_captions_leave(
    pool: Path, curate: Command, planned: str
) -> None:
    told = re.search(
        r"of (\d+) the model is not sure: (prepare\.unsure: .*?\}) keeps these", planned
    )
    assert told, planned
    key, _, value = told[2].partition(": ")
    options = ("--out", str(pool / "unsure"), "--set", f"{key}={value}")
    done = curate("plan", str(pool / "c.yaml"), *options)
    assert done.returncode == 0, done.stderr
    gain = dropped(pool / "plan")["language"] - dropped(pool / "unsure").get("language", 0)
    assert gain == int(told[1]) > 0


def test_the_starter_configuration_names_both() -> None:
    text = shipped("pipelines/start.yaml").read_text()
    assert "# unsure: {" in text
    assert "# ignore_case: true" in text
    assert isinstance(config_file.load(str(shipped("pipelines/start.yaml"))), Config)


@given(
    st.lists(
        st.sampled_from(["red", "Red", "ΛΟΓΟΣ", "λογος", "Straße", "STRAßE", "ſun", "SUN", "x"])
    )
)
def test_folded_matching_is_that_of_texts_folded_by_hand(words: list[str]) -> None:
    entries = ["red", "RED", "λογος", "straße", "sun"]
    caption = " ".join(words)
    naive = {
        i for i, entry in enumerate(entries) if i != 1
        for word in words if word.upper().casefold() == entry.upper().casefold()
    }  # fmt: skip
    matched = Matcher(entries, ignore_case=True).match(pa.array([caption])).to_pylist()
    assert matched == [sorted(naive)]


def test_the_kept_captions_are_as_they_were_written(pool: Path, planned: str) -> None:
    kept = pq.read_table(pool / "plan/prepare")["caption"].to_pylist()
    assert set(kept) <= set(CAPTIONS)
