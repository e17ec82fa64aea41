"""Another model of languages than the shipped one: what `prepare.language_model` does to a run."""

from pathlib import Path
from typing import Any

import fasttext
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.config.file import load
from curate.report.wording import meaning
from tests.users.runs import document, refused, well

ENGLISH = ["a red house by the sea", "the dog runs over the beach", "two boats in the harbour"]
GERMAN = ["ein rotes Haus am Meer", "der Hund läuft über den Strand", "zwei Boote im Hafen"]
CHINESE = ["海边的红色房子", "狗在沙滩上跑", "港口里的两艘船"]
LABELS = {"eng_Latn": ENGLISH, "deu_Latn": GERMAN, "zho_Hans": CHINESE}


def trained(path: Path, labels: dict[str, list[str]] = LABELS, prefix: str = "__label__") -> Path:
    """A classifier of these captions, by the label that each is given."""
    lines = [f"{prefix}{label} {text}" for label, texts in labels.items() for text in texts]
    (path.parent / "lines.txt").write_text("\n".join(lines) + "\n")
    model = fasttext.train_supervised(
        str(path.parent / "lines.txt"), dim=8, epoch=200, lr=1.0, minn=1, maxn=3, bucket=5_000,
        minCount=1, thread=1, verbose=0, label=prefix,
    )  # fmt: skip
    model.save_model(str(path))
    return path


def configuration(folder: Path, **prepare: Any) -> str:
    """Settings of a run over the text alone of all captions, and one that is only white space."""
    captions = [*ENGLISH, *GERMAN, *CHINESE, " "]
    urls = [f"http://pictures.example/{i}.jpg" for i in range(len(captions))]
    pq.write_table(pa.table({"url": urls, "caption": captions}), folder / "pool.parquet")
    (folder / "zh.txt").write_text("房子\n沙滩\n")
    (folder / "c.yaml").write_text(
        f"input: {{paths: {folder}/pool.parquet}}\ndownload: {{enabled: false}}\n"
        f"dedup: {{enabled: false}}\nprepare: {prepare}\n"
    )
    return str(folder / "c.yaml")


def prepared(run: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(sorted(run.glob("prepare/*.parquet"))).to_pylist()
    return rows


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("model") / "own.bin")


@pytest.fixture(scope="module")
def ran(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that keeps English and German by their labels in the model."""
    folder = tmp_path_factory.mktemp("ran")
    rule = "select: [{column: language_score, min: 0.05}]\n"
    path = Path(
        configuration(folder, language_model=str(model), languages=["eng_Latn", "deu_Latn"])
    )
    path.write_text(path.read_text() + rule)
    well("run", str(path), "--out", str(folder / "run"))
    return folder / "run"


def test_captions_are_in_the_languages_that_the_library_says(ran: Path, model: Path) -> None:
    library = fasttext.load_model(str(model))
    rows = prepared(ran)
    assert [row["caption"] for row in rows] == [*ENGLISH, *GERMAN]
    for row in rows:
        (label,), (probability,) = library.predict(row["caption"])
        assert row["language"] == label.removeprefix("__label__")
        assert row["language_score"] == pytest.approx(min(probability, 1), rel=1e-6)
    dropped = pq.read_table(ran / "dropped/prepare").to_pylist()
    assert [row["value"] for row in dropped if row["reason"] == "language"] == ["zho_Hans"] * 3


def test_the_data_card_says_which_model_it_was(ran: Path) -> None:
    card = (ran / "report/datacard.md").read_text()
    config = load(str(ran / "config.yaml"))
    assert meaning("language", config) == "of the caption, by the fastText model own.bin"
    assert "language:\n- deu\n- eng\n" in card


def test_a_list_of_a_language_without_spaces_matches_inside_words(
    model: Path, tmp_path: Path
) -> None:
    metadata = {"zho_Hans": str(tmp_path / "zh.txt")}
    path = configuration(tmp_path, language_model=str(model), metadata=metadata)
    well("run", path, "--out", str(tmp_path / "run"))
    assert [row["matches"] for row in prepared(tmp_path / "run")] == [[0], [1]]


def test_another_model_makes_the_step_again_and_the_same_one_elsewhere_does_not(
    model: Path, tmp_path: Path
) -> None:
    def chain(**prepare: Any) -> str:
        well("run", configuration(tmp_path, **prepare), "--out", str(tmp_path / "run"), "--force")
        return str(document(tmp_path / "run/records/prepare/part-00000.json")["digest"])

    moved = tmp_path / "moved.bin"
    moved.write_bytes(model.read_bytes())
    first = chain(language_model=str(model))
    assert chain(language_model=str(moved)) == first
    trained(moved, {"eng_Latn": ENGLISH, "zho_Hans": CHINESE})
    assert chain(language_model=str(moved)) != first
    assert {row["language"] for row in prepared(tmp_path / "run")} == {"eng_Latn", "zho_Hans"}


def test_pairs_are_revoked_though_the_model_is_gone(ran: Path, tmp_path: Path) -> None:
    settings = ran / "config.yaml"
    settings.write_text(settings.read_text().replace("own.bin", "gone.bin"))
    (tmp_path / "list.txt").write_text(f"{prepared(ran)[0]['uid']}\n")
    well("revoke", str(ran), "--list", str(tmp_path / "list.txt"))
    assert [row["caption"] for row in prepared(ran)] == [*ENGLISH[1:], *GERMAN]


@pytest.mark.parametrize(
    ("named", "near"), [("en", "eng_Latn"), ("german", "deu_Latn"), ("zh", "zho_Hans")]
)
def test_a_language_is_one_of_the_models(
    model: Path, tmp_path: Path, named: str, near: str
) -> None:
    path = configuration(tmp_path, language_model=str(model), languages=[named])
    said = refused("plan", path, "--out", str(tmp_path / "run"))
    assert f"({model}) has no '{named}'" in said
    assert f"; nearest: {near}" in said


def test_what_is_no_such_model_is_refused_before_anything_starts(
    model: Path, tmp_path: Path
) -> None:
    bad = {
        "nothing.bin": "no such file",
        "text.bin": "not a classifier of fastText's",
        "vectors.bin": "not a classifier of fastText's",
        "others.bin": "a label is '#eng_Latn'; expected __label__#eng_Latn",
        "empty.bin": "a label is '__label__'; expected __label__ and a language code",
    }
    (tmp_path / "text.bin").write_text("hello")
    (tmp_path / "lines.txt").write_text("\n".join([*ENGLISH, *GERMAN] * 5))
    vectors = fasttext.train_unsupervised(
        str(tmp_path / "lines.txt"), dim=4, epoch=1, minCount=1, bucket=10, thread=1, verbose=0
    )
    vectors.save_model(str(tmp_path / "vectors.bin"))
    trained(tmp_path / "others.bin", prefix="#")
    trained(tmp_path / "empty.bin", {"": ENGLISH, "de": GERMAN})
    for name, told in bad.items():
        path = configuration(tmp_path, language_model=str(tmp_path / name))
        said = refused("run", path, "--out", str(tmp_path / "run"))
        assert "prepare.language_model: " in said
        assert f"{tmp_path / name}: {told}" in said
        assert not (tmp_path / "run").exists()
