"""dedup against networkx over all pairs, compared one by one with sets in plain Python."""

import random
import unicodedata
from itertools import combinations
from typing import Any

import networkx as nx
import numpy as np
import pyarrow as pa
import pytest

from curate import files, schema
from curate.ops.duplicates.graph import DedupRule, Policy
from curate.ops.images import looks
from curate.ops.urls import normalise_url
from curate.rundir.directory import Part, Run
from curate.rundir.verdicts import NAME as VERDICTS_FILE
from curate.schema import Stage
from curate.stages.dedup.clusters import VERDICTS
from curate.stages.dedup.dedup import Dedup, DedupStep
from curate.stages.dedup.exchange import Spread
from tests.stages.rundir import check_conserved, drive, gone, lay, rows_of, uid_of

Row = dict[str, Any]
STRICT: tuple[Policy, ...] = ("url", "image", "caption")
IMAGES = [Stage.PREPARE, Stage.DOWNLOAD, Stage.DEDUP]
CAPTION = "an old red house by the river in the evening light"


def pair(number: int, *, url: str = "", image: str = "", caption: str = "", side: int = 100) -> Row:
    """A pair that is like no other, but for what is given."""
    text = caption or f"{random.Random(number).getrandbits(200):050x} {number:04d}"
    return {
        "uid": uid_of(number), "url": url or f"http://x.example/{number}", "caption": text,
        "caption_chars": len(text), "sha256": image or f"{number:064x}",
        "original_width": side, "original_height": 100,
    }  # fmt: skip


def dedup(
    run: Run,
    parts: list[list[Row]],
    *policy: Policy,
    images: bool = True,
    backwards: bool = False,
    workers: int = 1,
    partitions: int = 3,
    runs: int = 2,
    group: int = 2,
    kept: dict[str, str] | None = None,
    **rule: Any,
) -> list[Part]:
    """Lay the parts and run the stage over them; the parts that it yields."""
    enabled = IMAGES if images else [Stage.PREPARE, Stage.DEDUP]
    reads = enabled[-2]
    more = schema.OTHER_CAPTIONS if rule.get("keep_captions") else ()
    of_pool = [(name, pa.type_for_alias(kind)) for name, kind in (kept or {}).items()]
    added = schema.ADDED | {
        Stage.PREPARE: pa.schema([*schema.PREPARE, *of_pool]),
        Stage.DEDUP: pa.schema([*schema.DEDUP, *more]),
    }
    laid = lay(run, reads, parts, schema.after(reads, enabled=enabled, added=added))
    columns = schema.after(Stage.DEDUP, enabled=enabled, added=added)
    step = DedupStep(
        run=run, reads=reads, digest="d", own="o", columns=columns,
        rule=DedupRule(policy=policy or ("pair",), **rule),
    )  # fmt: skip
    given = laid[::-1] if backwards else laid
    spread = Spread(slots=partitions, runs=min(runs, partitions), parts=group, rows=partitions)
    yielded = drive(run, Dedup(step, spread=spread), given, workers=workers)
    check_conserved(run, Stage.DEDUP, laid)
    assert files.read_table(run.part("dedup", 0)).schema.equals(columns)
    return yielded


def clusters(run: Run, parts: int) -> list[tuple[int, int, int, str | None, int]]:
    """part, row, number of the cluster's first pair, reason, size."""
    found = []
    for part in range(parts):
        table = files.read_table(run.part("dedup/clusters", part))
        assert table.schema.equals(VERDICTS)
        found += [
            (part, row["row"], int(row["cluster"]), row["reason"], row["size"])
            for row in table.to_pylist()
        ]
    return found


def survivors(run: Run) -> list[int]:
    return [int(uid) for uid in rows_of(run, "dedup", "uid")]


def losses(run: Run, parts: int) -> list[tuple[int, str, int]]:
    found = gone(run, Stage.DEDUP, parts)
    return [(int(uid), reason.removeprefix("duplicate_"), int(value or -1))
            for uid, reason, value in found]  # fmt: skip


def would_drop(run: Run) -> dict[str, int]:
    found: dict[str, int] = files.read_json(run.path("dedup", "clusters.json"))["would_drop"]
    return found


URL, IMAGE, OTHER = "http://x.example/same", "ab" * 32, "cd" * 32
POOL = [
    [pair(1, url=URL + "?utm_source=s#f"), pair(2, image=IMAGE, caption=CAPTION)],
    [pair(3, caption=CAPTION.upper()), pair(4, image=IMAGE), pair(5)],
    [pair(6, url=URL), pair(7, image=IMAGE, caption=CAPTION + "!"), pair(8, caption=CAPTION)],
]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        # 7 has the longer caption; 2 shows its picture under the same words.
        (["pair"], [(2, "pair", 7)]),
        (["url"], [(6, "url", 1)]),
        (["image"], [(2, "image", 4), (7, "image", 4)]),
        (["caption"], [(2, "caption", 7), (3, "caption", 7), (8, "caption", 7)]),
        (["url", "pair"], [(2, "pair", 7), (6, "url", 1)]),
        (["url", "image", "caption"],
         [(2, "image", 4), (8, "caption", 3), (6, "url", 1), (7, "image", 4)]),
    ],
)  # fmt: skip
def test_what_each_policy_drops(
    run: Run, policy: list[Policy], expected: list[tuple[int, str, int]]
) -> None:
    dedup(run, POOL, *policy)
    assert sorted(losses(run, 3)) == sorted(expected)
    counts = {"url": 1, "image": 2, "pair": 1, "caption": 3}
    asked = {"url", "image", *policy}
    assert would_drop(run) == {name: n for name, n in counts.items() if name in asked}


def test_a_pair_with_the_wrong_caption_does_not_win_by_the_size_of_its_image(run: Run) -> None:
    """The default asks for both: other words on the same picture are another pair."""
    rows = [pair(1, image=IMAGE, caption=CAPTION, side=200),
            pair(2, image=IMAGE, caption="a slalom water skier", side=900),
            pair(3, caption=CAPTION, side=900)]  # fmt: skip
    dedup(run, [rows])
    assert losses(run, 1) == []


def test_one_url_may_keep_all_its_distinct_captions(run: Run) -> None:
    rows = [pair(1, url=URL, caption="a cat"), pair(2, url=URL, caption="A cat!"),
            pair(3, url=URL, caption="the cat")]  # fmt: skip
    dedup(run, [rows[:1], rows[1:]], "url", url_keeps="distinct_captions")
    assert losses(run, 2) == [(1, "url", 2)]
    assert rows_of(run, "dedup", "cluster_size") == [2, 1]


def test_a_caption_may_keep_some_pairs(run: Run) -> None:
    rows = [pair(n, caption=CAPTION, side=100 + n) for n in range(1, 6)]
    dedup(run, [rows[:2], rows[2:]], "caption", caption_keeps=3)
    assert losses(run, 2) == [(1, "caption", 5), (2, "caption", 5)]
    assert rows_of(run, "dedup", "cluster", "cluster_size") == [(uid_of(5), 5)] * 3
    assert would_drop(run) == {"caption": 2, "image": 0, "url": 0}


def test_captions_of_dropped_pairs_stay_with_their_survivor(run: Run) -> None:
    """1 goes for 2 for its URL, 2 for 3 for its image: 3 has the words of both, its own not."""
    rows = [
        pair(1, url=URL, caption="one", side=100),
        pair(2, url=URL, image=IMAGE, caption="two", side=200),
        pair(3, image=IMAGE, caption="three", side=300),
        pair(4, image=IMAGE, caption="three", side=300),
        pair(5),
    ]
    dedup(run, [rows[:2], rows[2:]], "url", "image", keep_captions=True)
    assert rows_of(run, "dedup", "uid", "cluster_size", "other_captions") == [
        (uid_of(3), 4, ["two", "one"]), (uid_of(5), 1, []),
    ]  # fmt: skip
    assert sorted(losses(run, 2)) == [(1, "url", 3), (2, "image", 3), (4, "image", 3)]


def test_captions_stay_too_where_it_was_for_them_that_pairs_were_dropped(run: Run) -> None:
    """The text of a caption and its cluster are two things."""
    rows = [
        pair(1, caption=CAPTION, side=300),
        pair(2, caption=CAPTION + "!", side=200),
        pair(3, caption=CAPTION.upper(), image=IMAGE, side=100),
        pair(4, caption="another", image=IMAGE, side=90),
    ]
    dedup(run, [rows[:2], rows[2:]], *STRICT, keep_captions=True)
    assert rows_of(run, "dedup", "uid", "other_captions") == [
        (uid_of(1), [CAPTION + "!", CAPTION.upper(), "another"])
    ]


def test_the_larger_image_survives_then_the_longer_caption_then_the_smaller_uid(run: Run) -> None:
    """Four pairs of rows, each pair with a URL of its own; the survivor stands second."""
    matches = [
        (pair(11, side=100), pair(12, side=101)),
        (pair(21, caption="short one"), pair(22, caption="a longer one")),
        (pair(31, caption="a longer image"), pair(32, side=101, caption="a small one")),
        (pair(42, caption="abcdef"), pair(41, caption="ghijkl")),
    ]
    rows = [row | {"url": f"http://x.example/{k}"} for k, two in enumerate(matches) for row in two]
    dedup(run, [rows[:3], rows[3:]], "url")
    assert survivors(run) == [12, 22, 32, 41]
    assert losses(run, 2) == [(11, "url", 12), (21, "url", 22), (31, "url", 32), (42, "url", 41)]
    found = rows_of(run, "dedup", "cluster", "cluster_size")
    assert found == [(uid_of(n), 2) for n in (12, 22, 32, 41)]


@pytest.mark.parametrize(
    ("prefer", "expected"),
    [
        (["image"], [3, 13]),  # the highest; nobody has one: the larger image
        (["-image"], [1, 13]),  # the lowest, where a null is no low value
        (["pair", "-image"], [2, 13]),
        (["-pair", "image"], [3, 12]),
        (["caption_chars"], [4, 11]),
    ],
)
def test_columns_say_who_survives(run: Run, prefer: list[str], expected: list[int]) -> None:
    """Their names are those that the clusters' own columns could have."""
    rows = [
        pair(1, image=IMAGE) | {"image": 0.25, "pair": False},
        pair(2, image=IMAGE) | {"image": 0.5, "pair": True},
        pair(3, image=IMAGE, side=90) | {"image": 0.75, "pair": False},
        pair(4, image=IMAGE, side=900, caption="x" * 60) | {"image": None, "pair": False},
        pair(11, image=OTHER, caption="y" * 70) | {"pair": None},
        pair(12, image=OTHER, side=80) | {"pair": False},
        pair(13, image=OTHER, side=130) | {"pair": True},
    ]
    kept = {"image": "float64", "pair": "bool"}
    dedup(run, [rows[:2], rows[2:5], rows[5:]], "image", kept=kept, prefer=tuple(prefer))
    assert survivors(run) == expected
    assert rows_of(run, "dedup", "cluster_size") == [4, 3]


def test_the_preferred_picture_is_the_original_of_its_copies(run: Run) -> None:
    """2 is near both others, which are not near each other: as the original it has them all."""
    rows = [pair(n) | hashed(*range(20 * n)) | {"score": float(n == 2)} for n in (1, 2, 3)]
    keys: dict[str, Any] = {"image_distance": 24, "kept": {"score": "float64"}}
    dedup(run, [rows[:1], rows[1:]], "image", prefer=("score",), **keys)
    assert losses(run, 2) == [(1, "image", 2), (3, "image", 2)]
    plain = Run(run.path("plain"))
    dedup(plain, [rows[:1], rows[1:]], "image", **keys)
    assert losses(plain, 2) == [(2, "image", 1)]


def test_of_the_same_pair_twice_the_earlier_row_survives(run: Run) -> None:
    dedup(run, [[pair(5)], [pair(1), pair(1)]])
    assert clusters(run, 2) == [(1, 0, 1, None, 2), (1, 1, 1, "duplicate_pair", 2)]
    assert survivors(run) == [5, 1]


def test_without_duplicates_no_verdict_is_given(run: Run) -> None:
    yielded = dedup(run, [[pair(1), pair(2)], [], [pair(3)]], *STRICT, keep_captions=True)
    assert clusters(run, 3) == []
    assert [part.kept for part in yielded] == [2, 0, 1]
    found = rows_of(run, "dedup", "cluster", "cluster_size", "other_captions")
    assert found == [(uid_of(i), 1, []) for i in (1, 2, 3)]


def hashed(*bits: int, level: int = 128) -> dict[str, str]:
    """A perceptual hash that has these bits besides a picture's own, and a look of one colour."""
    value = random.Random(9).getrandbits(256)
    for bit in bits:
        value ^= 1 << bit
    look = np.full(looks.SIZE, level, np.uint8)
    look[0] = 255  # pixels along the shorter side
    return {"phash": f"{value:064x}", "look": looks.spelled(look)}


def test_images_of_one_hash_and_two_colours_are_two(run: Run) -> None:
    """One group of four with the same hash, two by two in a colour, over two parts."""
    rows = [pair(n) | hashed(level=100 * (n % 2) + n) for n in range(1, 5)]
    dedup(run, [rows[:1], rows[1:]], "image")
    assert losses(run, 2) == [(3, "image", 1), (4, "image", 2)]


def test_near_images_are_one_and_a_chain_of_them_is_not(run: Run) -> None:
    """Each is ten bits from the one before; those within 24 bits of the largest go for it."""
    chain = [pair(n, side=100 + (n == 3)) | hashed(*range(10 * n)) for n in range(1, 8)]
    blank = [pair(n, image=IMAGE if n > 21 else "") for n in range(20, 24)]
    for k, partitions in enumerate((1, 7)):
        other = Run(run.path(str(k)))
        dedup(
            other, [chain[:3], blank, chain[3:]], "image", partitions=partitions, image_distance=24
        )
        assert losses(other, 3) == [
            (1, "image", 3), (2, "image", 3), (23, "image", 22), (4, "image", 3), (5, "image", 3),
            (7, "image", 6),
        ]  # fmt: skip
        assert would_drop(other)["image"] == 6


def test_near_images_with_nearly_the_same_caption_are_one_pair(run: Run) -> None:
    rows = [pair(1, caption=CAPTION) | hashed(), pair(2, caption=CAPTION + "!") | hashed(5),
            pair(3) | hashed(6), pair(4, caption=CAPTION)]  # fmt: skip
    dedup(run, [rows[:1], rows[1:]], image_distance=24)
    assert losses(run, 2) == [(1, "pair", 2)]


def test_without_images_a_picture_is_its_url(run: Run) -> None:
    rows = [pair(1, url=URL, image=IMAGE, caption=CAPTION), pair(2, url=URL, caption=CAPTION + "!"),
            pair(3, url=URL), pair(4, image=IMAGE, caption=CAPTION)]  # fmt: skip
    dedup(run, [rows], images=False)
    assert losses(run, 1) == [(1, "pair", 2)]


def test_verdicts_that_stand_are_used_as_they_are(run: Run) -> None:
    for part, rows in enumerate(([[1], [uid_of(9)], [2], ["duplicate_pair"], [None]], [[]] * 5)):
        table = pa.table(rows, schema=VERDICTS)
        files.write_table(run.part("dedup/clusters", part), table)
    files.write_document(run.path(VERDICTS_FILE), {"digest": "d"})
    dedup(run, [[pair(1), pair(2)], [pair(1)]])
    assert losses(run, 2) == [(2, "pair", 9)]
    assert survivors(run) == [1, 1]


def spelled(text: str) -> str:
    """Letters and digits of an ASCII caption in lower case, one space between."""
    kept = [c if c.isalnum() else " " for c in unicodedata.normalize("NFKC", text).lower()]
    return " ".join("".join(kept).split())


def jaccard(left: str, right: str) -> float:
    one, other = ({x[i : i + 5] for i in range(max(1, len(x) - 4))} for x in (left, right))
    return len(one & other) / len(one | other)


def varied(text: str, draw: random.Random) -> str:
    """The same text, or with another letter, a word less, in capitals: above 0.9 alike, or below 0.8.

    In between, bands may miss a pair; what they do find there is the business of their own tests.
    """
    while True:
        how, at, new = draw.random(), draw.randrange(len(text)), text
        if how < 0.4:
            new = text[:at] + draw.choice("xyz") + text[at + 1 :]
        elif how < 0.6:
            new = text.rsplit(" ", 1)[0]
        elif how < 0.8:
            new = text.upper() + "."
        if not 0.8 <= jaccard(spelled(text), spelled(new)) <= 0.9:
            return new


def pool() -> list[list[Row]]:
    """About 300 pairs in three parts; captions alike and equal, URLs and images twice."""
    draw = random.Random(3)
    words = [f"{draw.getrandbits(40):x}"[: draw.randint(2, 9)] for _ in range(400)]
    rows: list[Row] = []
    for _ in range(150):
        text = " ".join(draw.choices(words, k=draw.randint(4, 14)))
        rows.append(pair(len(rows), caption=text, side=draw.choice([100, 200])))
        for _ in range(draw.choice([0, 0, 1, 3])):
            before = rows[-1]
            rows.append(pair(len(rows), caption=varied(text, draw), side=draw.choice([100, 200])))
            if draw.random() < 0.3:
                rows[-1] |= {"url": rows[draw.randrange(len(rows))]["url"] + "#x"}
            if draw.random() < 0.3:
                rows[-1] |= {"sha256": rows[draw.randrange(len(rows))]["sha256"]}
            elif draw.random() < 0.5:
                rows[-1] |= {"sha256": before["sha256"]}
    draw.shuffle(rows)
    return [rows[:90], rows[90:230], rows[230:]]


def naive(rows: list[Row], policies: tuple[Policy, ...]) -> list[tuple[int, str | None]]:
    """First pair of the cluster, and reason, of each position, by comparing all pairs."""
    order = sorted(
        range(len(rows)),
        key=lambda i: (-rows[i]["original_width"], -rows[i]["caption_chars"], rows[i]["uid"], i),
    )
    texts = [spelled(row["caption"]) for row in rows]
    urls = [normalise_url(row["url"]) for row in rows]

    def alike(policy: Policy, i: int, j: int) -> bool:
        if policy == "url":
            return urls[i] == urls[j]
        same = bool(rows[i]["sha256"] == rows[j]["sha256"])
        if policy == "image" or (policy == "pair" and not same):
            return same
        return jaccard(texts[i], texts[j]) >= 0.8

    stands_for, reason = list(range(len(rows))), dict.fromkeys(range(len(rows)))
    why: dict[int, str | None] = dict(reason)
    for policy in policies:
        graph = nx.Graph()
        graph.add_nodes_from(range(len(rows)))
        graph.add_edges_from(e for e in combinations(range(len(rows)), 2) if alike(policy, *e))
        for members in nx.connected_components(graph):
            first, *others = [i for i in order if i in members and not why[i]] or [-1]
            for i in others:
                stands_for[i], why[i] = first, f"duplicate_{policy}"
    for _ in policies:
        stands_for = [stands_for[i] for i in stands_for]
    return [(stands_for[i], why[i]) for i in range(len(rows))]


@pytest.mark.parametrize("policies", [("pair",), STRICT])
def test_clusters_are_networkxs(run: Run, policies: tuple[Policy, ...]) -> None:
    """However the parts come, and into however many pieces the work is cut."""
    parts = pool()
    rows = [row for part in parts for row in part]
    fate = naive(rows, policies)
    firsts = [first for first, _ in fate]
    where = [(part, row) for part, found in enumerate(parts) for row in range(len(found))]
    expected = [
        (*where[i], int(rows[first]["uid"]), reason, firsts.count(first))
        for i, (first, reason) in enumerate(fate) if firsts.count(first) > 1
    ]  # fmt: skip
    reasons = [reason for _, reason in fate]
    assert min(reasons.count(f"duplicate_{policy}") for policy in policies) >= 10
    variants: list[dict[str, Any]] = [
        {"partitions": 1}, {"partitions": 2, "backwards": True},
        {"partitions": 7, "runs": 3, "group": 1}, {"partitions": 256, "runs": 1, "group": 3},
    ]  # fmt: skip
    if policies == ("pair",):
        variants.append({"partitions": 256, "workers": 2})
    others = [Run(run.path(str(k))) for k in range(len(variants))]
    for other, variant in zip(others, variants, strict=True):
        dedup(other, parts, *policies, **variant)
        assert clusters(other, 3) == expected
        for index in range(3):
            for folder in ("dedup", "dedup/clusters", "dropped/dedup"):
                found = files.read_bytes(other.part(folder, index))
                assert found == files.read_bytes(others[0].part(folder, index))
