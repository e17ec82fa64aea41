"""What LSH finds of the near-duplicates among real captions, against exact all-pairs Jaccard.

Real captions (the demo's and the multilingual ones that ship) and edits of them, so that every
similarity from 0.4 up occurs. The curve of what was found is drawn beside the S-curve of the bands in
``runs/bench/near_duplicates.png``. The environment's CAPTIONS may name a text file of more captions,
one a line.
"""

import gzip
import json
import os
from collections import defaultdict
from pathlib import Path

import altair as alt
import networkx
import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from scipy.sparse import csr_array

from curate.files import shipped
from curate.ops.duplicates import components
from curate.ops.duplicates.graph import (
    Block,
    DedupRule,
    Meeting,
    keys_of,
    near_captions,
    pack,
    part_of,
    rows_of,
    slots_of,
    unpacked,
)
from curate.ops.duplicates.jaccard import jaccard
from curate.ops.duplicates.minhash import bands_and_rows

THRESHOLD = 0.8
NGRAM = 5
PLANTED = 6_000
TARGET = Path("runs/bench/near_duplicates.png")


def captions() -> list[str]:
    """Real captions, each once, and edits of some that are long enough, in the ratio of 2 to 1."""
    here = Path(__file__).parents[1] / "data" / "multilingual.jsonl.gz"
    with gzip.open(here, "rt") as file:
        lines = [json.loads(line) for line in file]
    demo = shipped("pipelines/demo/pool/pairs.jsonl").read_text().splitlines()
    found = dict.fromkeys(row["caption"] for row in [*map(json.loads, demo), *lines])
    if more := os.environ.get("CAPTIONS"):
        found |= dict.fromkeys(Path(more).read_text().splitlines())
    real = list(found)
    draw = np.random.RandomState(1)
    long = [text for text in real if len(text) >= 40]
    edits = []
    for k in range(PLANTED):
        letters = list(long[k % len(long)])
        for at in draw.randint(0, len(letters), 1 + k % 5):
            letters[at] = "#"
        edits.append("".join(letters))
    return real + edits


def exact(texts: list[str]) -> dict[tuple[int, int], float]:
    """The Jaccard similarity of all pairs that are 0.4 alike or more: products of sparse rows."""
    number: dict[str, int] = defaultdict(lambda: len(number))
    sets = [{t[i : i + NGRAM] for i in range(max(1, len(t) - NGRAM + 1))} for t in texts]
    columns = np.array([number[shingle] for one in sets for shingle in one])
    sizes = np.array([len(one) for one in sets])
    ends = np.r_[0, np.cumsum(sizes)]
    rows = csr_array(
        (np.ones(len(columns), np.int32), columns, ends), shape=(len(sets), len(number))
    )
    found: dict[tuple[int, int], float] = {}
    for start in range(0, len(sets), 500):
        common = (rows[start : start + 500] @ rows.T).tocoo()
        left, right = common.coords[0] + start, common.coords[1]
        alike = common.data / (sizes[left] + sizes[right] - common.data)
        chosen = (left < right) & (alike >= 0.4)
        found |= {
            (int(i), int(j)): float(s)
            for i, j, s in zip(left[chosen], right[chosen], alike[chosen], strict=True)
        }
    return found


def candidates(texts: list[str]) -> set[tuple[int, int]]:
    """The pairs that share a band."""
    rule = DedupRule(policy=("caption",), threshold=THRESHOLD, ngram=NGRAM, normalise=False)
    found: set[tuple[int, int]] = set()
    for keys in keys_of(pa.table({"caption": texts}), "caption", rule):
        if keys.meeting is not Meeting.EQUAL:
            hashes = keys.hashes >> np.uint64(64 - keys.meeting.bits)
            edges = components.bucket_edges(hashes, keys.rows, exact=False)
            found |= {(int(i), int(j)) for i, j in edges}
    return found


def measure(texts: list[str]) -> tuple[float, float, pd.DataFrame]:
    """Recall of pairs of 0.85 and more, precision once verified, and the curve, a bin a row."""
    true = exact(texts)
    met = candidates(texts)
    verified = {(i, j) for i, j in met if jaccard(texts[i], texts[j], ngram=NGRAM) >= THRESHOLD}
    near = [pair for pair, s in true.items() if s >= 0.85]
    recall = sum(pair in verified for pair in near) / len(near)
    precision = sum(true.get(pair, 0.0) >= THRESHOLD for pair in verified) / len(verified)
    bands, rows = bands_and_rows(THRESHOLD, 128)
    similarity: NDArray[np.float64] = np.array(list(true.values()))
    hit = np.array([pair in met for pair in true])
    cells = np.floor(similarity * 20 + 1e-9).astype(int)
    curve = pd.DataFrame(
        {
            "similarity": [float(similarity[cells == c].mean()) for c in np.unique(cells)],
            "pairs": [int((cells == c).sum()) for c in np.unique(cells)],
            "found": [float(hit[cells == c].mean()) for c in np.unique(cells)],
            "theory": [
                float((1 - (1 - similarity[cells == c] ** rows) ** bands).mean())
                for c in np.unique(cells)
            ],
        }
    )
    return recall, precision, curve


def clusters(texts: list[str], *, partitions: int) -> set[frozenset[int]]:
    """What the stage's steps make of the captions, cut into as many parts as there are partitions."""
    rule = DedupRule(policy=("caption",), threshold=THRESHOLD, ngram=NGRAM, normalise=False)
    captions = pa.array(texts)
    parts = np.array_split(np.arange(len(texts)), partitions)
    blocks: dict[Meeting, list[Block]] = defaultdict(list)
    for part, numbers in enumerate(parts):
        table = pa.table({"caption": captions.take(pa.array(numbers))})
        for keys in keys_of(table, "caption", rule):
            packed = pack([slots_of([keys], slots=partitions)], range(partitions))
            blocks[keys.meeting].append(Block(part, 1, packed))
    equal, alike = [components.no_edges()], [components.no_edges()]
    for how, some in blocks.items():
        for hashes, nodes in unpacked(some, how=how, all_slots=partitions, slots=partitions):
            exact = how is Meeting.EQUAL
            edges = components.bucket_edges(hashes, nodes, exact=exact)
            (equal if exact else alike).append(edges)
    edges = components.unique_edges(np.concatenate(alike))
    nodes = np.unique(edges)
    starts = np.array([numbers[0] for numbers in parts])
    rows = pa.table({"caption": captions.take(pa.array(starts[part_of(nodes)] + rows_of(nodes)))})
    joined = near_captions(rows, np.searchsorted(nodes, edges), rule)
    found = components.members(components.merge([*equal, nodes[joined]]))
    of_root: dict[int, set[int]] = defaultdict(set)
    for node, root in zip(
        starts[part_of(found[:, 0])] + rows_of(found[:, 0]), found[:, 1], strict=True
    ):
        of_root[int(root)].add(int(node))
    return set(map(frozenset, of_root.values()))


def connected(texts: list[str]) -> set[frozenset[int]]:
    """The components of the verified candidates, by networkx."""
    graph = networkx.Graph(
        (i, j)
        for i, j in candidates(texts)
        if jaccard(texts[i], texts[j], ngram=NGRAM) >= THRESHOLD
    )
    first: dict[str, int] = {}
    graph.add_edges_from((first.setdefault(text, i), i) for i, text in enumerate(texts))
    return {frozenset(x) for x in networkx.connected_components(graph) if len(x) > 1}


def draw(curve: pd.DataFrame) -> None:
    """The curve beside the theory's."""
    bands, rows = bands_and_rows(THRESHOLD, 128)
    s = np.linspace(0.4, 1, 121)
    theory = pd.DataFrame({"similarity": s, "found": 1 - (1 - s**rows) ** bands})
    x = alt.X("similarity:Q", title="true Jaccard similarity", scale=alt.Scale(domain=[0.4, 1]))
    y = alt.Y("found:Q", title="share of the pairs found")
    chart = alt.Chart(theory, width=480, height=300).mark_line(color="#999").encode(x, y)
    chart += alt.Chart(curve).mark_point(filled=True, size=60).encode(x, y)
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    title = f"found by {bands} bands of {rows} (points) and 1 - (1 - s^{rows})^{bands} (line)"
    chart.properties(title=title).save(str(TARGET), scale_factor=2)


def main() -> None:
    """Recall, precision and the curve."""
    texts = captions()
    recall, precision, curve = measure(texts)
    draw(curve)
    print(f"  {len(texts):,} captions, {PLANTED:,} of them edits of others; threshold {THRESHOLD}")
    print(f"  recall of pairs of 0.85 and more   {recall:.4f}  (at least 0.95)")
    print(f"  precision once verified            {precision:.4f}  (at least 0.99)")
    print("  similarity      pairs    found   theory")
    for row in curve.itertuples():
        print(f"  {row.similarity:10.3f} {row.pairs:10,} {row.found:8.3f} {row.theory:8.3f}")
    print(f"  drawn in {TARGET}")
    expected = connected(texts)
    for partitions in (1, 2, 7):
        if clusters(texts, partitions=partitions) != expected:
            raise SystemExit(f"with {partitions} partitions the clusters are not networkx's")
    print(f"  {len(expected):,} clusters, networkx's, with 1, 2 and 7 partitions")
    if recall < 0.95 or precision < 0.99:
        raise SystemExit("too few were found, or too many that are not")
