"""Language identification against fastText's own `predict`, and on sentences that leave no doubt."""

from typing import Any

import fasttext
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate import files
from curate.ops.text.language import identify

SENTENCES = {
    "en": "a brown dog is running through the grass with a ball in its mouth",
    "de": "ein brauner Hund läuft mit einem Ball im Maul durch das Gras",
    "fr": "un chien brun court dans l'herbe avec une balle dans la gueule",
    "es": "un perro marrón corre por la hierba con una pelota en la boca",
    "ru": "коричневый пёс бежит по траве с мячом в зубах",
    "el": "ένας καφέ σκύλος τρέχει στο γρασίδι με μια μπάλα στο στόμα",
    "ar": "كلب بني يركض على العشب وفي فمه كرة",
    "hi": "एक भूरा कुत्ता मुँह में गेंद लेकर घास पर दौड़ रहा है",
    "th": "สุนัขสีน้ำตาลกำลังวิ่งบนหญ้าพร้อมลูกบอลในปาก",
    "ko": "갈색 개가 입에 공을 물고 풀밭을 달리고 있다",
    "ja": "茶色い犬がボールをくわえて草の上を走っています",
    "zh": "一只棕色的狗嘴里叼着球在草地上奔跑",
}
pieces = st.sampled_from(
    ["dog", "Hund", "chien", "犬", "สุนัข", "собака", "</s>", "__label__en", ",", "👍", "\t", "\r",
     "\0", "\N{LINE SEPARATOR}", "\N{NO-BREAK SPACE}", " ", "4", "e\N{COMBINING ACUTE ACCENT}"]
)  # fmt: skip
captions = st.lists(pieces, max_size=8).map(" ".join)


@pytest.fixture(scope="module")
def model() -> Any:
    return fasttext.load_model(str(files.shipped("curate/data/lid.176.ftz")))


@pytest.mark.parametrize("code", SENTENCES)
def test_plain_sentences(code: str) -> None:
    assert identify(pa.array([SENTENCES[code]]))[0].to_pylist() == [code]


def test_empty_and_null_captions_have_no_language() -> None:
    found, scores = identify(pa.array(["", SENTENCES["en"], None, SENTENCES["fr"], ""]))
    assert found.to_pylist() == [None, "en", None, "fr", None]
    assert (found.type, scores.type) == (pa.string(), pa.float32())
    assert [score and score > 0.9 for score in scores.to_pylist()] == [None, True, None, True, None]


@given(texts=st.lists(st.none() | captions, max_size=6))
@settings(max_examples=100, deadline=None)
def test_agrees_with_fasttext_one_caption_at_a_time(model: Any, texts: list[str | None]) -> None:
    expected = [_code(model, text) if text else None for text in texts]
    assert identify(pa.array(texts, pa.string()))[0].to_pylist() == expected


def _code(model: Any, text: str) -> str | None:
    labels, _ = model.predict(text)
    return str(labels[0]).removeprefix("__label__") if labels else None


@given(text=st.text(st.characters(codec="utf-8", exclude_characters="\n"), min_size=1))
@settings(max_examples=100, deadline=None)
def test_agrees_with_fasttext_on_any_unicode(model: Any, text: str) -> None:
    assert identify(pa.array([text]))[0].to_pylist() == [_code(model, text)]


def test_a_caption_does_not_change_its_neighbours() -> None:
    texts = [SENTENCES["de"], "</s>", "", "\0", SENTENCES["ja"], "</s> </s>", SENTENCES["ru"]]
    found = identify(pa.array(texts))[0].to_pylist()
    assert [found[0], found[2], found[4], found[6]] == ["de", None, "ja", "ru"]


def test_slices_and_chunks() -> None:
    texts = [SENTENCES[code] for code in ("en", "ru", "zh", "de")]
    expected = ["ru", "zh"]
    assert identify(pa.array(texts).slice(1, 2))[0].to_pylist() == expected
    chunked = pa.chunked_array([texts[:2], texts[2:]], pa.large_string()).slice(1, 2)
    assert identify(chunked)[0].to_pylist() == expected
    assert identify(pa.array([], pa.string()))[0].to_pylist() == []


def test_a_long_caption() -> None:
    assert identify(pa.array([(SENTENCES["fr"] + " ") * 5_000]))[0].to_pylist() == ["fr"]
