"""`minhash_signatures` against datasketch (with the same shingle hash) and rensa, on one core.

59 shingles a caption, 128 permutations, shingling included. rensa's sketch is another one, so only
datasketch's signatures can be compared with ours.
"""

from collections.abc import Callable
from typing import Any

import datasketch
import numpy as np
import pyarrow as pa
import rensa
import xxhash

from curate import minhash_signatures
from tests.bench import pools

CAPTIONS = 100_000
CHARACTERS = 63
NGRAM = 5
PERMUTATIONS = 128


def shingles(caption: str) -> list[str]:
    """The character n-grams of a caption that is longer than one."""
    return [caption[i : i + NGRAM] for i in range(len(caption) - NGRAM + 1)]


def bulk(captions: list[str]) -> Any:
    """datasketch's signatures, shape (n, 128); xxhash's XXH32 is our shingle hash, in C."""
    sets = [[shingle.encode() for shingle in shingles(caption)] for caption in captions]
    made = datasketch.MinHash.bulk(
        sets, num_perm=PERMUTATIONS, seed=1, hashfunc=xxhash.xxh32_intdigest
    )
    return np.array([sketch.hashvalues for sketch in made])


def sketched(captions: list[str]) -> list[Any]:
    """rensa's sketches, one caption at a time."""
    made = []
    for caption in captions:
        sketch = rensa.RMinHash(PERMUTATIONS, 1)
        sketch.update(shingles(caption))
        made.append(sketch)
    return made


def in_bulk(captions: list[str]) -> Any:
    """rensa's sketches, all in one call."""
    sets = [shingles(caption) for caption in captions]
    return rensa.RMinHash.digest_matrix_from_token_sets(sets, PERMUTATIONS, 1)


def main() -> None:
    """Rates and their ratios in one run, and that the signatures are datasketch's."""
    texts = [
        (caption * CHARACTERS)[:CHARACTERS]
        for caption in pools.captions(CAPTIONS, vocabulary=pools.words(50_000)).to_pylist()
    ]
    captions = pa.array(texts)
    minhash_signatures(captions[:10])

    def rate(work: Callable[[], object], n: int) -> float:
        return n / pools.best(work)

    with pools.one_core():
        ours = rate(lambda: minhash_signatures(captions), CAPTIONS)
        reference = rate(lambda: bulk(texts[:10_000]), 10_000)
        single = rate(lambda: sketched(texts[:50_000]), 50_000)
        matrix = rate(lambda: in_bulk(texts[:50_000]), 50_000)
    wrong = 0
    for start in range(0, CAPTIONS, 10_000):
        found = minhash_signatures(captions[start : start + 10_000])
        wrong += int((found != bulk(texts[start : start + 10_000])).any(axis=1).sum())
    print(
        f"  {CAPTIONS:,} captions of {CHARACTERS - NGRAM + 1} shingles, {PERMUTATIONS} permutations"
    )
    print(f"  minhash_signatures       {ours:10,.0f} captions/s")
    print(f"  datasketch MinHash.bulk  {reference:10,.0f} captions/s,"
          f" ratio {ours / reference:5.1f}  (at least 20)")  # fmt: skip
    print(f"  rensa, a caption at once {single:10,.0f} captions/s,"
          f" ratio {ours / single:5.1f}  (at least 1.5)")  # fmt: skip
    print(f"  rensa, all at once       {matrix:10,.0f} captions/s, ratio {ours / matrix:5.1f}")
    print(f"  signatures that differ from datasketch's: {wrong} of {CAPTIONS:,}")
    if wrong:
        raise SystemExit("the signatures differ")
