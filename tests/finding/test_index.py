"""An index over several groups of parts finds what an exact search finds."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate import files
from curate.config import Scorer
from curate.finding import index
from curate.finding.fates import _nth, _places
from curate.finding.query import similarities
from curate.finding.stored import IMAGE, TEXT, Embeddings
from curate.rundir.directory import SCORED, PartRecord, Run, part_name

WIDTH = 48


def record(rows: int, wrote: dict[str, files.Content], digest: str = "d") -> PartRecord:
    return PartRecord(
        digest=digest, own="o", rows=rows, kept=rows, dropped={}, dead={}, seconds=0.0, figures={},
        wrote=wrote,
    )  # fmt: skip


@pytest.fixture
def embeddings(tmp_path: Path) -> Embeddings:
    """Six parts of pairs in 300 clusters, some rows without an embedding, one part without any row."""
    run = Run(str(tmp_path))
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((300, WIDTH))
    for part, n in enumerate((9000, 9000, 0, 9000, 9000, 50)):
        rows = centres[rng.integers(0, 300, n)] + 0.7 * rng.standard_normal((n, WIDTH))
        vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)
        vectors[::100] = np.nan
        if not n:
            vectors = np.zeros((0, 0), np.float16)
        name = part_name(SCORED, part, "npz")
        held = files.write_arrays(
            run.path(name), uid=np.zeros(n, "S32"), x_img=vectors, x_txt=vectors[::-1].copy()
        )
        run.write_record(SCORED, part, record(n, {name: held}))
    return Embeddings(run, SCORED, Scorer(model="m", embeddings=True), "clip_score")


def exact(embeddings: Embeddings, queries: np.ndarray, k: int) -> list[set[tuple[int, int]]]:
    whole = [
        embeddings.all_of(part).astype(np.float32).reshape(-1, WIDTH) for part in embeddings.parts
    ]
    places = [
        (part, row)
        for part, one in zip(embeddings.parts, whole, strict=True)
        for row in range(len(one))
    ]
    values = np.stack([similarities(np.concatenate(whole), query) for query in queries])
    return [{places[at] for at in row} for row in np.argsort(-values, axis=1)[:, :k]]


@pytest.mark.parametrize("vectors", [1 << 20, 10_000])
def test_recall(embeddings: Embeddings, vectors: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "_BYTES", vectors * WIDTH)
    assert len(index.groups(embeddings)) == (1 if vectors > 40_000 else 4)
    for group in index.missing(embeddings):
        index.build(embeddings, group)
    assert not index.missing(embeddings)
    rng = np.random.default_rng(1)
    hits = 0
    queries = embeddings.rows(1, range(1, 51)) + 0.1 * rng.standard_normal((50, WIDTH)).astype("f4")
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    for query, truth in zip(queries, exact(embeddings, queries, 10), strict=True):
        near = [index.nearest(embeddings, x, query, k=20) for x in index.groups(embeddings)]
        pairs = {pair for parts, rows in near for pair in zip(parts, rows, strict=True)}
        hits += len(pairs.intersection(truth))
    assert hits >= 0.95 * 500


def test_an_index_is_the_same_whoever_builds_it(embeddings: Embeddings) -> None:
    import faiss

    (group,) = index.groups(embeddings)
    path = Path(embeddings.run.path(SCORED, group.name))
    built = []
    for threads in (1, 2):
        faiss.omp_set_num_threads(threads)
        index.build(embeddings, group)
        built.append(path.read_bytes())
    assert built[0] == built[1]


def test_another_digest_is_another_index(embeddings: Embeddings) -> None:
    run, (was,) = embeddings.run, index.groups(embeddings)
    index.build(embeddings, was)
    run.write_record(SCORED, 4, record(9000, {}, digest="another model"))
    (now,) = index.missing(embeddings)
    assert now.name != was.name
    assert not files.exists(run.path(SCORED, was.name))
    index.build(embeddings, now, kind=TEXT)
    index.remove_indexes(run)
    assert not [name for name in files.names(run.path(SCORED)) if name.endswith(".faiss")]


def test_rows_are_those_of_the_whole(embeddings: Embeddings) -> None:
    for kind in (IMAGE, TEXT):
        whole = embeddings.all_of(3, kind).astype(np.float32)
        for rows in ([5], [0, 8999, 7], list(range(0, 9000, 60))):
            assert np.array_equal(embeddings.rows(3, rows, kind), whole[rows], equal_nan=True)
    assert [embeddings.width(part) for part in embeddings.parts] == [WIDTH] * 2 + [0] + [WIDTH] * 3


def test_all_are_found_where_all_are_wanted(embeddings: Embeddings) -> None:
    for group in index.missing(embeddings):
        index.build(embeddings, group)
    (group,) = index.groups(embeddings)
    parts, _ = index.nearest(embeddings, group, np.eye(WIDTH, dtype=np.float32)[0], k=100_000)
    assert len(parts) == sum(int(n * 0.99) for n in (9000, 9000, 9000, 9000, 50))


texts = st.lists(st.sampled_from("abc"), max_size=8)


@given(texts, texts, texts)
def test_places_are_those_of_the_nth_of_equal_names(
    names: list[str], first: list[str], second: list[str]
) -> None:
    left = list(enumerate(first + second))
    expected = []
    for name in names:
        hit = next((one for one in left if one[1] == name), None)
        expected.append(hit[0] if hit else -1)
        if hit:
            left.remove(hit)
    arrays = [pa.array(x, pa.string()) for x in (names, first, second)]
    assert _places(arrays[0], arrays[1:]).tolist() == expected


@given(st.lists(st.integers(0, 3), max_size=12))
def test_nth(codes: list[int]) -> None:
    expected = [codes[:at].count(code) for at, code in enumerate(codes)]
    assert _nth(np.array(codes, np.int64)).tolist() == expected
