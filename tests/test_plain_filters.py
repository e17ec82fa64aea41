"""The published filters, on rows at their edges: the numbers are those of the papers."""

from typing import Any

import pyarrow as pa
import pytest

from curate.config import Config
from curate.config import file as config_file
from curate.ops.duplicates.graph import DedupRule, keys_of
from curate.ops.images.encoder import ImageEncoder, Refusal
from curate.ops.selection.rules import drops
from curate.ops.text.language import identify
from curate.reasons import DropReason

GOOD: dict[str, Any] = {
    "caption_chars": 40, "caption_words": 7, "image_bytes": 60_000, "smaller_side": 480,
    "aspect": 1.5, "clip_score": 0.35, "image_format": "jpeg",
}  # fmt: skip

EDGES: dict[str, dict[str, tuple[dict[str, Any], dict[str, Any]]]] = {
    "laion-400m": {
        "short_caption": ({"caption_chars": 5}, {"caption_chars": 4}),
        "small_file": ({"image_bytes": 5000}, {"image_bytes": 4999}),
        "animation": ({"image_format": "webp"}, {"image_format": "gif"}),
        "clip_score": ({"clip_score": 0.3}, {"clip_score": 0.2999}),
    },
    "laion-2b-en": {
        "short_caption": ({"caption_chars": 5}, {"caption_chars": 4}),
        "small_file": ({"image_bytes": 5000}, {"image_bytes": 4999}),
        "animation": ({"image_format": "webp"}, {"image_format": "gif"}),
        "clip_score": ({"clip_score": 0.28}, {"clip_score": 0.2799}),
    },
    "datacomp-basic": {
        "few_words": ({"caption_words": 3}, {"caption_words": 2}),
        "short_caption": ({"caption_chars": 6}, {"caption_chars": 5}),
        "small_image": ({"smaller_side": 200}, {"smaller_side": 199}),
        "elongated": ({"aspect": 600 / 200}, {"aspect": 601 / 200}),
    },
}


def recipe(name: str) -> Config:
    return config_file.load(str(config_file.recipes()[name]))


def failed(settings: Config, row: dict[str, Any]) -> list[str]:
    """The rules that drop a row; scores are as the model gives them, in float32."""
    table = pa.table({name: [value] for name, value in row.items()})
    dropped = drops(table, settings.select, cuts={})
    return [rule.label for rule, gone in zip(settings.select, dropped, strict=True) if gone.any()]


@pytest.mark.parametrize("name", EDGES)
def test_each_rule_stands_at_its_published_edge(name: str) -> None:
    settings = recipe(name)
    assert [rule.label for rule in settings.select] == list(EDGES[name])
    for label, (inside, outside) in EDGES[name].items():
        assert failed(settings, {**GOOD, **inside}) == []
        assert failed(settings, {**GOOD, **outside}) == [label]


def test_laion_400m_compares_url_and_text_and_laion_5b_the_url_alone() -> None:
    pairs = [("http://a.example/1", text) for text in ("A cat", "a cat", "A cat", "the cat")]
    pairs.append(("http://a.example/2", "A cat"))
    table = pa.table({"url": [x for x, _ in pairs], "caption": [x for _, x in pairs]})
    urls = [(url, "") for url, _ in pairs]
    for name, published in (("laion-400m", pairs), ("laion-2b-en", urls)):
        rule = DedupRule(**recipe(name).dedup.model_dump(exclude={"enabled"}))
        (keys,) = keys_of(table, "url", rule)
        assert rule.policy == ("url",)
        assert [keys.hashes.tolist().index(x) for x in keys.hashes.tolist()] == [
            published.index(x) for x in published
        ]


def test_what_is_compared_and_what_is_kept_as_it_is() -> None:
    laion, english, basic = map(recipe, EDGES)
    assert (laion.dedup.policy, english.dedup.policy, basic.dedup.enabled) == (
        ("url",),
        ("url",),
        False,
    )
    assert (laion.prepare.languages, english.prepare.languages) == (None, ("en",))
    assert basic.prepare.languages == ("en",)
    assert basic.input.columns.uid == "uid"
    assert basic.score is None
    assert identify(pa.array(["a photograph of a dog on a beach"]))[0].to_pylist() == ["en"]


@pytest.mark.parametrize("name", ["laion-400m", "laion-2b-en"])
def test_laion_refuses_vectors_and_bombs_before_decoding(name: str) -> None:
    download = recipe(name).download
    encoder = ImageEncoder(max_pixels=download.max_pixels)
    header = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
    most, over = (
        header + pixels.to_bytes(4, "big") + (1).to_bytes(4, "big") + b"\x08\x02" + bytes(100_000)
        for pixels in (89_478_484, 89_478_485)
    )
    found = [encoder(content) for content in (b"<svg xmlns='x'/>", over, most)]
    reasons = [one.reason for one in found if isinstance(one, Refusal)]
    assert reasons[:2] == [DropReason.VECTOR_IMAGE, DropReason.TOO_MANY_PIXELS]
    assert reasons[2] != DropReason.TOO_MANY_PIXELS
