"""dedup against networkx over all pairs, compared one by one with sets in plain Python."""

import random
from itertools import combinations
from typing import Any

import networkx as nx
import pyarrow as pa

from curate import files, schema
from curate.ops.urls import normalise_url
from curate.run import Part, Run
from curate.schema import Stage
from curate.stages.dedup import CLUSTERS, Dedup, DedupRule, DedupStep, keys_of
from tests.stages.rundir import check_conserved, drive, gone, lay, rows_of, uid_of

Row = dict[str, Any]
EVERYTHING = ("url", "image", "caption")
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
    *,
    by: tuple[str, ...] = EVERYTHING,
    images: bool = True,
    backwards: bool = False,
    workers: int = 1,
    clustered: bool = False,
    threshold: float = 0.8,
) -> list[Part]:
    """Lay the parts and run the stage over them; the parts that it yields."""
    enabled = IMAGES if images else [Stage.PREPARE, Stage.DEDUP]
    reads = enabled[-2]
    laid = lay(run, reads, parts, schema.after(reads, enabled=enabled))
    columns = schema.after(Stage.DEDUP, enabled=enabled)
    rule = DedupRule(by=by, threshold=threshold, num_perm=128, ngram=5)
    step = DedupStep(run=run, reads=reads, digest="d", own="o", rule=rule, columns=columns)
    given = laid[::-1] if backwards else laid
    yielded = drive(run, Dedup(step, clustered=clustered), given, workers=workers)
    check_conserved(run, Stage.DEDUP, laid)
    assert files.read_table(run.part("dedup", 0)).schema.equals(columns)
    return yielded


def clusters(run: Run) -> list[tuple[int, int, int, str | None, int]]:
    """part, row, number of the survivor, reason, size."""
    table = files.read_table(run.path("dedup", "clusters.parquet"))
    assert table.schema.equals(CLUSTERS)
    return [
        (row["part"], row["row"], int(row["survivor"]), row["reason"], row["size"])
        for row in table.to_pylist()
    ]


def survivors(run: Run) -> list[int]:
    return [int(uid) for uid in rows_of(run, "dedup", "uid")]


def losses(run: Run, parts: int) -> list[tuple[int, str, int]]:
    found = gone(run, Stage.DEDUP, parts)
    return [(int(uid), reason, int(value or -1)) for uid, reason, value in found]


def test_a_pair_is_dropped_for_the_first_of_url_image_and_caption(run: Run) -> None:
    parts = [
        [pair(1, url="http://X.example:80/a?utm_source=s#f"), pair(2, image="ab" * 32)],
        [pair(3, caption=CAPTION), pair(4, image="ab" * 32, url="http://x.example/b"), pair(5)],
        [pair(6, url="http://x.example/a", image="cd" * 32, caption=CAPTION),
         pair(7, caption=CAPTION + "!")],
    ]  # fmt: skip
    yielded = dedup(run, parts)
    assert [part.kept for part in yielded] == [2, 1, 1]
    assert losses(run, 3) == [
        (4, "duplicate_image", 2), (3, "duplicate_caption", 7), (6, "duplicate_url", 1),
    ]  # fmt: skip
    assert clusters(run) == [
        (0, 0, 1, None, 2), (0, 1, 2, None, 2),
        (1, 0, 7, "duplicate_caption", 2), (1, 1, 2, "duplicate_image", 2),
        (2, 0, 1, "duplicate_url", 2), (2, 1, 7, None, 2),
    ]  # fmt: skip
    assert survivors(run) == [1, 2, 5, 7]


def test_the_larger_image_survives_then_the_longer_caption_then_the_smaller_uid(run: Run) -> None:
    """Four pairs of rows, each pair with a URL of its own; the survivor stands second."""
    matches = [
        (pair(11, side=100), pair(12, side=101)),
        (pair(21, caption="short one"), pair(22, caption="a longer one")),
        (pair(31, caption="a longer image"), pair(32, side=101, caption="a small one")),
        (pair(42, caption="abcdef"), pair(41, caption="ghijkl")),
    ]
    rows = [row | {"url": f"http://x.example/{k}"} for k, two in enumerate(matches) for row in two]
    dedup(run, [rows[:3], rows[3:]])
    assert survivors(run) == [12, 22, 32, 41]
    assert losses(run, 2) == [
        (11, "duplicate_url", 12), (21, "duplicate_url", 22), (31, "duplicate_url", 32),
        (42, "duplicate_url", 41),
    ]  # fmt: skip
    found = rows_of(run, "dedup", "cluster", "cluster_size")
    assert found == [(uid_of(n), 2) for n in (12, 22, 32, 41)]


def test_of_the_same_pair_twice_the_earlier_row_survives(run: Run) -> None:
    dedup(run, [[pair(5)], [pair(1), pair(1)]])
    assert clusters(run) == [(1, 0, 1, None, 2), (1, 1, 1, "duplicate_url", 2)]
    assert survivors(run) == [5, 1]


def test_a_chain_of_survivors_leads_to_the_last(run: Run) -> None:
    """1 loses to 2 for its URL, 2 to 3 for its image, 3 to 4 for its caption."""
    url, image = "http://x.example/same", "ab" * 32
    rows = [
        pair(1, url=url, side=100),
        pair(2, url=url, image=image, side=200),
        pair(3, image=image, side=300, caption=CAPTION),
        pair(4, side=400, caption=CAPTION),
        pair(5),
    ]
    dedup(run, [rows[:2], rows[2:]])
    assert clusters(run) == [
        (0, 0, 4, "duplicate_url", 4), (0, 1, 4, "duplicate_image", 4),
        (1, 0, 4, "duplicate_caption", 4), (1, 1, 4, None, 4),
    ]  # fmt: skip
    assert rows_of(run, "dedup", "uid", "cluster", "cluster_size") == [
        (uid_of(4), uid_of(4), 4), (uid_of(5), uid_of(5), 1),
    ]  # fmt: skip
    assert losses(run, 2) == [
        (1, "duplicate_url", 4), (2, "duplicate_image", 4), (3, "duplicate_caption", 4),
    ]  # fmt: skip


def test_a_pair_that_is_gone_joins_nobody_any_more(run: Run) -> None:
    """2 goes for its URL; that it shared an image with 3 does not matter then."""
    url, image = "http://x.example/same", "ab" * 32
    rows = [pair(1, url=url, side=300), pair(2, url=url, image=image), pair(3, image=image)]
    dedup(run, [rows])
    assert survivors(run) == [1, 3]
    assert clusters(run) == [(0, 0, 1, None, 2), (0, 1, 1, "duplicate_url", 2)]


def test_without_duplicates_the_table_of_clusters_is_empty(run: Run) -> None:
    yielded = dedup(run, [[pair(1), pair(2)], [], [pair(3)]])
    assert clusters(run) == []
    assert [part.kept for part in yielded] == [2, 0, 1]
    assert rows_of(run, "dedup", "cluster", "cluster_size") == [(uid_of(i), 1) for i in (1, 2, 3)]


def test_a_caption_whose_first_holder_went_for_its_url_still_finds_its_neighbours(run: Run) -> None:
    url = "http://x.example/same"
    rows = [
        pair(1, url=url, caption=CAPTION),  # stands for the caption, and goes for its URL
        pair(2, url=url, side=200),
        pair(3, caption=CAPTION),
        pair(4, caption=CAPTION + "s"),
    ]
    dedup(run, [rows])
    assert losses(run, 1) == [(1, "duplicate_url", 2), (3, "duplicate_caption", 4)]


def test_an_image_whose_first_holder_went_for_its_url_still_finds_its_copies(run: Run) -> None:
    url, image = "http://x.example/same", "ab" * 32
    rows = [pair(1, url=url, image=image), pair(2, url=url, side=200), pair(3, image=image),
            pair(4, image=image)]  # fmt: skip
    dedup(run, [rows])
    assert losses(run, 1) == [(1, "duplicate_url", 2), (4, "duplicate_image", 3)]


def test_only_what_is_asked_for_is_compared(run: Run) -> None:
    url, image = "http://x.example/same", "ab" * 32
    rows = [pair(1, url=url, image=image, caption=CAPTION), pair(2, url=url), pair(3, image=image),
            pair(4, caption=CAPTION)]  # fmt: skip
    dedup(run, [rows], by=("caption",))
    assert losses(run, 1) == [(4, "duplicate_caption", 1)]
    table = pa.Table.from_pylist(rows)
    rule = DedupRule(by=("image", "url"), threshold=0.8, num_perm=128, ngram=5)
    assert [kind for kind, _, _ in keys_of(table, rule)] == ["url", "image"]


def test_without_images_urls_and_captions_are_compared(run: Run) -> None:
    url = "http://x.example/same"
    rows = [pair(1, url=url, image="ab" * 32, caption="short"), pair(2, url=url, caption=CAPTION),
            pair(3, image="ab" * 32), pair(4, caption=CAPTION[:-1])]  # fmt: skip
    dedup(run, [rows], images=False)
    assert survivors(run) == [2, 3]
    assert losses(run, 1) == [(1, "duplicate_url", 2), (4, "duplicate_caption", 2)]


def test_a_table_of_clusters_that_stands_is_used_as_it_is(run: Run) -> None:
    table = pa.table([[0], [1], [uid_of(9)], ["duplicate_image"], [2]], schema=CLUSTERS)
    files.write_table(run.path("dedup", "clusters.parquet"), table)
    dedup(run, [[pair(1), pair(2)], [pair(1)]], clustered=True)
    assert losses(run, 2) == [(2, "duplicate_image", 9)]
    assert survivors(run) == [1, 1]


def shingles(text: str) -> set[str]:
    return {text[i : i + 5] for i in range(max(1, len(text) - 4))}


def jaccard(left: set[str], right: set[str]) -> float:
    return len(left & right) / len(left | right)


def varied(text: str, draw: random.Random) -> str:
    """The same text, or with another letter, or a word less: above 0.9 alike, or below 0.8.

    In between, bands may miss a pair; what they do find there is the business of their own tests.
    """
    while True:
        how, at, new = draw.random(), draw.randrange(len(text)), text
        if how < 0.4:
            new = text[:at] + draw.choice("xyz") + text[at + 1 :]
        elif how < 0.6:
            new = text.rsplit(" ", 1)[0]
        if not 0.8 <= jaccard(shingles(text), shingles(new)) <= 0.9:
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
            rows.append(pair(len(rows), caption=varied(text, draw), side=draw.choice([100, 200])))
            if draw.random() < 0.3:
                rows[-1] |= {"url": rows[draw.randrange(len(rows))]["url"] + "#x"}
            if draw.random() < 0.3:
                rows[-1] |= {"sha256": rows[draw.randrange(len(rows))]["sha256"]}
    draw.shuffle(rows)
    return [rows[:90], rows[90:230], rows[230:]]


def naive(rows: list[Row], threshold: float) -> dict[int, tuple[int, str | None]]:
    """Final survivor and reason of each position, by comparing all pairs."""
    order = sorted(
        range(len(rows)),
        key=lambda i: (-rows[i]["original_width"], -rows[i]["caption_chars"], rows[i]["uid"], i),
    )
    place = {i: k for k, i in enumerate(order)}
    sets = [shingles(row["caption"]) for row in rows]
    urls = [normalise_url(row["url"]) for row in rows]

    def alike(by: str, i: int, j: int) -> bool:
        if by == "url":
            return urls[i] == urls[j]
        if by == "image":
            return bool(rows[i]["sha256"] == rows[j]["sha256"])
        return jaccard(sets[i], sets[j]) >= threshold

    fate: dict[int, tuple[int, str | None]] = {i: (i, None) for i in range(len(rows))}
    for by in EVERYTHING:
        graph = nx.Graph()
        graph.add_nodes_from(i for i in fate if fate[i][0] == i)
        graph.add_edges_from(e for e in combinations(sorted(graph), 2) if alike(by, *e))
        head = {i: min(c, key=place.__getitem__) for c in nx.connected_components(graph) for i in c}
        for i, (survivor, reason) in fate.items():
            lost = survivor == i and head[i] != i
            fate[i] = (head[survivor], f"duplicate_{by}" if lost else reason)
    return fate


def test_clusters_are_networkxs_however_the_parts_come(run: Run) -> None:
    parts = pool()
    rows = [row for part in parts for row in part]
    dedup(run, parts)
    fate = naive(rows, 0.8)
    sizes: dict[int, int] = {}
    for survivor, _ in fate.values():
        sizes[survivor] = sizes.get(survivor, 0) + 1
    where = [(part, row) for part, found in enumerate(parts) for row in range(len(found))]
    expected = [
        (*where[i], int(rows[survivor]["uid"]), reason, sizes[survivor])
        for i, (survivor, reason) in sorted(fate.items()) if sizes[survivor] > 1
    ]  # fmt: skip
    assert clusters(run) == expected
    reasons = [reason for _, reason in fate.values()]
    assert min(reasons.count(f"duplicate_{by}") for by in EVERYTHING) >= 10
    first = files.read_bytes(run.path("dedup", "clusters.parquet"))
    for variant in ({"backwards": True}, {"workers": 2}):
        other = Run(run.path("-".join(variant)))
        dedup(other, parts, **variant)
        assert files.read_bytes(other.path("dedup", "clusters.parquet")) == first
        for index in range(len(parts)):
            assert files.read_bytes(other.part("dedup", index)) == files.read_bytes(
                run.part("dedup", index)
            )
