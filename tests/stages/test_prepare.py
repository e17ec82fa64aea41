"""prepare against plain Python: cleaning, uids, languages, matches, and why each pair left."""

import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from curate import files, schema
from curate.config import Rule
from curate.ops.captions import word_count
from curate.ops.selection.quantiles import Quantile
from curate.ops.text.language import identify
from curate.pool.rows import PoolFormat
from curate.rundir.cuts import read_cuts
from curate.rundir.directory import Part, Run
from curate.schema import Stage
from curate.stages.part import TakePart
from curate.stages.prepare import (
    PrepareStep,
    clean,
    count_listed,
    match_by_language,
)
from tests.stages.rundir import WithCuts, check_conserved, dead, drive, gone, rows_of, uid_of

URL = "http://x.example/a.jpg"
ENGLISH = ["red fox", "fox", "snow", "two dogs", "dogs", "The", "beach", "river , red"]
CHINESE = ["狐狸", "红色", "天安门", "雪地", "fox", ",", "风景"]


def naive_uid(url: str, caption: str) -> str:
    halves = [
        xxhash.xxh64_hexdigest(
            caption.encode(), seed=xxhash.xxh64_intdigest(url.encode(), seed=key)
        )
        for key in (int.from_bytes(b"curate"), int.from_bytes(b"pair"))
    ]
    return "".join(halves)


def naive_matches(caption: str, entries: Sequence[str], *, no_space: bool = False) -> list[int]:
    spaced = "".join(f" {c} " if c in ",.;:?!`" else c for c in caption)
    spaced = f" {spaced} "

    def free(c: str) -> bool:
        cjk = unicodedata.name(c).startswith("CJK UNIFIED")
        return no_space and (cjk or unicodedata.category(c).startswith("P"))

    return [
        i for i, e in enumerate(entries)
        if ("" if free(e[0]) else " ") + e + ("" if free(e[-1]) else " ") in spaced
    ]  # fmt: skip


def lists(tmp_path: Path, **entries: list[str]) -> dict[str, str]:
    for language, names in entries.items():
        (tmp_path / f"{language}.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
    return {language: str(tmp_path / f"{language}.txt") for language in entries}


def prepare(
    run: Run,
    pool: list[dict[str, Any]],
    *,
    size: int = 100,
    uid: str | None = None,
    languages: tuple[str, ...] | None = None,
    metadata: dict[str, str] | None = None,
    rules: tuple[Rule, ...] = (),
    words_in: str | None = None,
    uids_in: str | None = None,
    unsure: tuple[float, str] | None = None,
) -> list[Part]:
    """Run the stage over a parquet pool in parts of `size`; the parts that it yields."""
    path = run.path("pool.parquet")
    columns = [("url", pa.string()), ("caption", pa.string()), ("id", pa.string())]
    table = pa.Table.from_pylist(pool, schema=pa.schema(columns))
    files.write_table(path, table)
    step = PrepareStep(
        run=run, reads="", digest="d", own="o", pool=PoolFormat("parquet", "url", "caption", uid),
        languages=languages, metadata=metadata or {}, rules=rules,
        words_in=words_in, uids_in=uids_in, unsure=unsure,
    )  # fmt: skip
    parts = [
        Part(i, path, start, min(size, len(pool) - start))
        for i, start in enumerate(range(0, len(pool), size))
    ]
    yielded = drive(run, beam.ParDo(TakePart(step)), parts)
    check_conserved(run, Stage.PREPARE, parts)
    for index in range(len(parts)):
        kept = files.read_table(run.part("prepare", index))
        wanted = schema.prepared(listed=words_in is not None, boxed=False, kept={})
        assert kept.schema.equals(wanted)
    return yielded


@pytest.mark.parametrize(
    ("raw", "cleaned"),
    [
        ("a red fox", "a red fox"),
        ("  a red fox \n", "a red fox"),
        ("a\tred\r\nfox", "a red  fox"),
        ("a  b", "a  b"),
        ("a\x00b\x07c\x7fd", "a b c d"),
        ("one\u2028two\u2029three\u0085four", "one two three four"),
        ("\u3000狐狸\u00a0", "狐狸"),
        ("a\u00a0b", "a\u00a0b"),
        ("Ünï — „cödé“", "Ünï — „cödé“"),
        ("\x00\n \t", ""),
        ("", ""),
        (None, ""),
    ],
)
def test_cleaning(raw: str | None, cleaned: str) -> None:
    assert clean(pa.array([raw], pa.string())).to_pylist() == [cleaned]
    among = pa.chunked_array([pa.array(["x\ny"]), pa.array([raw], pa.string())])
    assert clean(among).to_pylist() == ["x y", cleaned]


texts = st.text(st.sampled_from("ab \t\n\r\x00\x1f\x7f\u0085\u2028\u00a0\u3000é狐"), max_size=12)


@given(captions=st.lists(texts, max_size=6))
def test_cleaning_and_word_counts_are_those_of_python(captions: list[str]) -> None:
    breaks = {*map(chr, range(32)), "\x7f", "\u0085", "\u2028", "\u2029"}
    expected = ["".join(" " if c in breaks else c for c in text).strip() for text in captions]
    cleaned = clean(pa.array(captions, pa.string()))
    assert cleaned.to_pylist() == expected
    assert word_count(cleaned).to_pylist() == [len(text.split()) for text in expected]


def test_each_pair_leaves_for_the_first_reason_that_holds(run: Run, tmp_path: Path) -> None:
    pool: list[tuple[str | None, str | None]] = [
        (URL, "a red fox in the snow"),
        (None, "a red fox in the snow"),
        (None, ""),
        (URL, None),
        (URL, " \n\t"),
        ("ftp://x.example/a.jpg", ""),
        ("ftp://x.example/a.jpg", "a red fox in the snow"),
        ("data:image/png;base64,AAAA", "a red fox in the snow"),
        ("http:///a.jpg", "a red fox in the snow"),
        ("HTTPS://X.example", "a red fox in the snow"),
        ("www.x.example/a.jpg", "ein kleiner Hund auf der Wiese"),
        (URL, "ein kleiner Hund auf der Wiese"),
        (URL, "the quiet street in the evening"),
        (URL, "two dogs playing on the beach"),
    ]
    metadata = lists(tmp_path, en=ENGLISH)
    rules = (Rule(name="long", column="caption_chars", max=25),)
    rows = [{"url": url, "caption": caption} for url, caption in pool]
    yielded = prepare(run, rows, size=5, metadata=metadata, rules=rules)
    assert [part.kept for part in yielded] == [1, 1, 0]

    def uid(row: int) -> str:
        url, caption = pool[row]
        return naive_uid(url or "", (caption or "").strip())

    assert rows_of(run, "prepare", "uid") == [uid(0), uid(9)]
    assert dead(run, Stage.PREPARE, 3) == [(uid(1), "null_url", None), (uid(2), "null_url", None)]
    assert gone(run, Stage.PREPARE, 3) == [
        (uid(3), "empty_caption", None),
        (uid(4), "empty_caption", None),
        (uid(5), "empty_caption", None),
        (uid(6), "bad_url", "ftp://x.example/a.jpg"),
        (uid(7), "bad_url", "data:image/png;base64,AAAA"),
        (uid(8), "bad_url", "http:///a.jpg"),
        (uid(10), "bad_url", "www.x.example/a.jpg"),
        (uid(11), "language", "de"),
        (uid(12), "rule:long", "31"),
        (uid(13), "rule:long", "29"),
    ]


def test_a_caption_that_matches_nothing_is_dropped_after_the_rules(
    run: Run, tmp_path: Path
) -> None:
    captions = ["the quiet street in the evening", "a red fox in the snow", "the old street"]
    rules = (Rule(column="caption_words", min=4),)
    rows = [{"url": URL, "caption": caption} for caption in captions]
    prepare(run, rows, metadata=lists(tmp_path, en=ENGLISH), rules=rules)
    assert rows_of(run, "prepare", "caption", "matches") == [(captions[1], [0, 1, 2])]
    assert gone(run, Stage.PREPARE, 1) == [
        (naive_uid(URL, captions[2]), "rule:caption_words", "3"),
        (naive_uid(URL, captions[0]), "no_match", None),
    ]
    record = run.record("prepare", 0)
    assert record is not None
    assert record.figures == {"matches": 3, "alone:caption_words": 1, "only:caption_words": 1}


def test_uids_of_the_input_are_taken_as_they_are_or_the_record_is_dead(run: Run) -> None:
    uids = [uid_of(7), "0123456789abcdef" * 2, None, "abc", "g" * 32, uid_of(8) + "0", ""]
    rows = [{"url": URL, "caption": "a red fox in the snow", "id": uid} for uid in uids]
    rows.append({"url": None, "caption": "the fox", "id": uid_of(9)})
    prepare(run, rows, uid="id")
    assert rows_of(run, "prepare", "uid") == uids[:2]
    assert dead(run, Stage.PREPARE, 1) == [
        *((uid, "bad_uid", uid) for uid in uids[2:]),
        (uid_of(9), "null_url", None),
    ]
    assert gone(run, Stage.PREPARE, 1) == []


def test_a_uid_depends_on_url_and_cleaned_caption_alone(run: Run) -> None:
    pool = [
        (URL, "a red fox"),
        (URL, " a red\tfox\n"),
        (URL + "#", "a red fox"),
        (URL, "a red Fox"),
    ]
    prepare(run, [{"url": url, "caption": caption} for url, caption in pool], size=3)
    uids = rows_of(run, "prepare", "uid")
    assert uids == [naive_uid(url, " ".join(caption.split())) for url, caption in pool]
    assert len(set(uids)) == 3


def test_captions_are_matched_with_the_list_of_their_language(run: Run, tmp_path: Path) -> None:
    captions = [
        ("en", "two dogs, playing on the beach; The snow"),
        ("zh", "一只红色的狐狸在雪地里"),
        ("en", "the dogs and the foxes walk in the snow"),
        ("zh", "北京的天安门广场,红旗"),
        ("en", "a red fox by the river,red and old"),
        ("zh", "一张美丽的风景照片"),
    ]
    metadata = lists(tmp_path, en=ENGLISH, zh=CHINESE)
    rows = [{"url": URL, "caption": caption} for _, caption in captions]
    prepare(run, rows, size=4, metadata=metadata)
    found = rows_of(run, "prepare", "language", "caption", "matches")
    entries = {"en": ENGLISH, "zh": CHINESE}
    assert found == [
        (x, caption, naive_matches(caption, entries[x], no_space=x == "zh"))
        for x, caption in captions
    ]
    assert [matches for _, _, matches in found] == [
        [2, 3, 4, 5, 6], [0, 1, 3], [2, 4], [2, 5], [0, 1, 7], [6],
    ]  # fmt: skip


def test_all_languages_are_kept_where_none_is_asked_for(run: Run) -> None:
    captions = ["a red fox in the snow", "ein kleiner Hund auf der Wiese", "一张美丽的风景照片"]
    rows = [{"url": URL, "caption": caption} for caption in captions]
    prepare(run, rows)
    assert rows_of(run, "prepare", "language", "caption_chars", "caption_words", "matches") == [
        ("en", 21, 6, []), ("de", 30, 6, []), ("zh", 9, 1, []),
    ]  # fmt: skip


def test_languages_narrow_the_metadata_and_work_without_it(run: Run, tmp_path: Path) -> None:
    captions = ["a red fox in the snow", "ein kleiner Hund auf der Wiese", "一只红色的狐狸在雪地里"]
    rows = [{"url": URL, "caption": caption} for caption in captions]
    metadata = lists(tmp_path, en=ENGLISH, zh=CHINESE)
    prepare(run, rows, metadata=metadata, languages=("zh",))
    assert rows_of(run, "prepare", "caption", "matches") == [(captions[2], [0, 1, 3])]
    assert [(r, v) for _, r, v in gone(run, Stage.PREPARE, 1)] == [
        ("language", "en"), ("language", "de"),
    ]  # fmt: skip
    other = Run(run.path("other"))
    prepare(other, rows, languages=("de",))
    assert rows_of(other, "prepare", "caption", "matches") == [(captions[1], [])]


def test_matching_by_language_keeps_the_order_of_the_rows(tmp_path: Path) -> None:
    metadata = lists(tmp_path, en=ENGLISH, zh=CHINESE)
    captions = pa.array(["fox", "fox", "snow", "狐狸fox", "fox", "dogs"])
    languages = pa.array(["zh", "en", "en", "zh", "fr", "en"])
    found = match_by_language(captions, languages, metadata=metadata)
    assert found.to_pylist() == [[4], [1], [2], [0], [], [4]]
    assert match_by_language(captions[:0], languages[:0], metadata=metadata).to_pylist() == []


def test_text_rules_drop_with_the_value_they_looked_at(run: Run) -> None:
    captions = ["a fox", "the red fox runs", "the old red fox runs in the snow"]
    rules = (
        Rule(column="caption_words", min=3, max=4),
        Rule(name="tongue", column="language", not_in=("en",)),
    )  # fmt: skip
    prepare(run, [{"url": URL, "caption": caption} for caption in captions], rules=rules)
    assert rows_of(run, "prepare", "uid") == []
    assert gone(run, Stage.PREPARE, 1) == [
        (naive_uid(URL, captions[0]), "rule:caption_words", "2"),
        (naive_uid(URL, captions[2]), "rule:caption_words", "8"),
        (naive_uid(URL, captions[1]), "rule:tongue", "en"),
    ]


def test_words_of_a_list_are_counted_and_can_be_asked_for(run: Run, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("fox\nfoxes\n.22\n\n")
    captions = ["a Fox met two foxes in the snow", "a fox, and no other", "the street in the evening",
                "fox  FOX\u2003fox in the night", "a rifle of .22 inches"]  # fmt: skip
    rule = Rule(name="listed", column="words_in_list", min=1)
    rows = [{"url": URL, "caption": caption} for caption in captions]
    prepare(run, rows, rules=(rule,), words_in=str(tmp_path / "words.txt"))
    assert rows_of(run, "prepare", "caption", "words_in_list") == [
        (captions[0], 2), (captions[3], 3), (captions[4], 1),
    ]  # fmt: skip
    assert [(reason, value) for _, reason, value in gone(run, Stage.PREPARE, 1)] == [
        ("rule:listed", "0"), ("rule:listed", "0"),
    ]  # fmt: skip


@given(st.lists(st.text(alphabet="ab \u3000é\n", max_size=9), max_size=6))
@settings(deadline=None)
def test_listed_words_are_counted_as_python_splits(texts: list[str]) -> None:
    captions = [text.strip() for text in texts]
    words = pa.array(["a", "b", "é", "ab"])
    found = count_listed(pa.array(captions, pa.string()), words).to_pylist()
    assert found == [sum(w in words.to_pylist() for w in c.split()) for c in captions]


def test_a_caption_whose_language_is_not_sure_counts_as_another(tmp_path: Path, run: Run) -> None:
    captions = [
        "Airbrush, art, tool",
        "ein brauner Hund läuft durch das Gras",
        "a dog runs on the grass",
    ]
    pool = [{"url": f"http://x.example/{i}", "caption": x} for i, x in enumerate(captions)]
    metadata = lists(tmp_path, en=["tool", "dog"])
    names = ("caption", "language", "language_score")
    prepare(run, pool, metadata=metadata)
    assert [row[0] for row in rows_of(run, "prepare", *names)] == captions[2:]
    by_caption = dict(zip(captions, identify(pa.array(captions))[1].to_pylist(), strict=True))
    assert by_caption[captions[0]] < 0.5 < by_caption[captions[1]]
    other = Run(str(tmp_path / "other"))
    prepare(other, pool, metadata=metadata, unsure=(0.5, "en"))
    assert rows_of(other, "prepare", *names) == [
        (x, "en", by_caption[x]) for x in (captions[0], captions[2])
    ]
    third = Run(str(tmp_path / "third"))
    sure = (Rule(column="language_score", min=0.5),)
    prepare(third, pool, metadata=metadata, unsure=(0.5, "en"), rules=sure)
    assert [row[0] for row in rows_of(third, "prepare", *names)] == captions[2:]


def test_a_subset_is_taken_before_anything_else_is_looked_at(run: Run, tmp_path: Path) -> None:
    uids = [f"{n:032x}" for n in (5, 2**64, 7, 1, 9)]
    captions = [
        "a red fox in the snow",
        "Der Hund schläft in der Sonne",
        "",
        "a cat on a mat",
        "a dog",
    ]
    pool: list[dict[str, Any]] = [
        {"url": f"http://x.example/{i}", "caption": caption, "id": uid}
        for i, (caption, uid) in enumerate(zip(captions, uids, strict=True))
    ]
    pool += [pool[0], {"url": None, "caption": "x", "id": uids[4]}]
    wanted = [uids[2], uids[0], uids[1], "f" * 32]
    halves = sorted((int(uid[:16], 16), int(uid[16:], 16)) for uid in wanted)
    np.save(tmp_path / "subset.npy", np.array(halves, np.dtype("u8,u8")))
    prepare(run, pool, uid="id", languages=("en",), uids_in=str(tmp_path / "subset.npy"), size=4)
    assert rows_of(run, "prepare", "uid") == [uids[0], uids[0]]
    assert sorted(gone(run, Stage.PREPARE, 2)) == sorted(
        [(uids[1], "language", "de"), (uids[2], "empty_caption", None),
         (uids[3], "not_in_subset", None), (uids[4], "not_in_subset", None)]
    )  # fmt: skip


@pytest.mark.parametrize("languages", [None, ("en",)])
def test_a_top_fraction_of_a_pools_column_is_datacomps(
    run: Run, languages: tuple[str, ...] | None
) -> None:
    """Its cut: the value at int(n * fraction) of all, descending; here of all that reach the rules."""
    random = np.random.default_rng(3)
    scores = random.choice(np.linspace(-0.2, 0.5, 90, dtype=np.float32), 300)
    told = ["a red fox in the deep snow", "Der Hund schläft in der Sonne am Meer"]
    captions = [told[int(x)] for x in random.random(300) < 0.25]
    path = run.path("pool.parquet")
    table = pa.table(
        {"url": [f"http://x.example/{i}" for i in range(300)], "caption": captions,
         "score": pa.array(scores, mask=np.arange(300) == 7), "n": range(300)}
    )  # fmt: skip
    files.write_table(path, table)
    rules = (
        Rule(name="best", column="score", top_fraction=0.3),
        Rule(name="long", column="caption_chars", top_fraction=0.9, per="language"),
    )
    keep = (("score", "float32"), ("n", "int64"))
    step = PrepareStep(
        run=run, reads="", digest="d", own="o", metadata={}, languages=languages, rules=rules,
        pool=PoolFormat("parquet", "url", "caption", None, keep=keep),
    )  # fmt: skip
    parts = [Part(i, path, 70 * i, min(70, 300 - 70 * i)) for i in range(5)]
    for _ in range(2):  # the second time everything stands
        drive(run, WithCuts(step), parts)
        check_conserved(run, Stage.PREPARE, parts)
    reaching = [i for i in range(300) if languages is None or captions[i] == told[0]]
    of = np.array([scores[i] for i in reaching if i != 7])
    cut = -np.sort(-of)[int(len(of) * 0.3)]
    wanted = [i for i in reaching if i != 7 and scores[i] >= cut]
    assert rows_of(run, "prepare", "n") == wanted
    assert len(wanted) > int(len(of) * 0.3), "ties stay"
    assert read_cuts(run, Stage.PREPARE)[Quantile("score", 0.3), None].value == cut
