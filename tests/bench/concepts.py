"""`curate concepts`: 500,000 names in 1,000,000 captions, and memory as captions grow.

The reference is an automaton of pyahocorasick over the names' words, which is asked for each caption:
what a program of this kind would do. Environment: CAPTIONS and NAMES are their numbers.
"""

import os
import re
import resource
import tempfile
import time
import unicodedata
from typing import Any

import ahocorasick
import pyarrow as pa

from curate import files
from curate.concepts.counting import frequencies
from curate.concepts.names import Concepts, concepts_of
from curate.config import Config
from curate.config import file as config_file
from curate.rundir.directory import PartRecord, Run
from tests.bench import pools

CAPTIONS = int(os.environ.get("CAPTIONS", "1000000"))
NAMES = int(os.environ.get("NAMES", "500000"))
OF_EACH = 5  # names a concept
PART = 50_000
SOME = 50_000  # captions that the reference sees


def lay(folder: str, captions: pa.Array) -> Run:
    """A run that prepared these captions: of each part a fifth was dropped."""
    run = Run(folder)
    config = Config.model_validate(
        {"input": {"paths": "x"}, "download": {"enabled": False}, "dedup": {"enabled": False}}
    )
    files.write_bytes(run.path("config.yaml"), config_file.dump(config).encode())
    for part, start in enumerate(range(0, len(captions), PART)):
        texts = captions.slice(start, PART)
        n = len(texts)
        at = n // 5
        columns = {
            "uid": [f"{start + i:032x}" for i in range(n)],
            "url": [f"http://x.example/{start + i}" for i in range(n)],
            "caption": texts,
        }
        table = pa.table(columns)
        gone = table.slice(0, at)
        for name in ("stage", "reason", "value"):
            gone = gone.append_column(name, pa.array(["prepare"] * at))
        files.write_table(run.part("dropped/prepare", part), gone)
        files.write_table(run.part("prepare", part), table.slice(at))
        record = PartRecord("d", "o", n, n - at, dropped={"language": at})
        run.write_record("prepare", part, record)
    return run


def words(text: str) -> str:
    """The words of a text between spaces, as the published search reads it."""
    plain = unicodedata.normalize("NFD", text.replace("'", "").replace('"', "").lower())
    found = re.findall(r"[^\W_]+", re.sub("[\u0300-\u036f]", "", plain))
    return f" {' '.join(found)} "


def automaton_of(concepts: Concepts) -> Any:
    """pyahocorasick's automaton of the names, each with all concepts that have it."""
    of: dict[str, list[int]] = {}
    for name, concept in zip(concepts.names, concepts.of.tolist(), strict=True):
        of.setdefault(words(name), []).append(concept)
    automaton = ahocorasick.Automaton()
    for name, found in of.items():
        automaton.add_word(name, found)
    automaton.make_automaton()
    return automaton


def counted(automaton: Any, captions: list[str], n: int) -> list[int]:
    """The captions of each of `n` concepts."""
    counts = [0] * n
    for caption in captions:
        found = {x for _, concepts in automaton.iter(words(caption)) for x in concepts}
        for concept in found:
            counts[concept] += 1
    return counts


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def main() -> None:
    """Rates, their ratio, memory as the pool grows, and that the counts are the same."""
    vocabulary = pools.words(320_000)
    listed = pools.entries(NAMES, vocabulary=vocabulary)
    listed = [name for name in listed if words(name).strip()]
    started = time.process_time()
    of_each = [[*dict.fromkeys(listed[i : i + OF_EACH])] for i in range(0, len(listed), OF_EACH)]
    concepts = concepts_of({f"concept {i}": x for i, x in enumerate(of_each)}, called="names")
    matcher = concepts.matcher
    built = time.process_time() - started
    captions = pools.captions(CAPTIONS, vocabulary=vocabulary)
    with tempfile.TemporaryDirectory() as folder, pools.one_core():
        small = lay(f"{folder}/small", captions.slice(0, CAPTIONS // 4))
        run = lay(f"{folder}/run", captions)
        frequencies(lay(f"{folder}/few", captions.slice(0, SOME)), concepts)  # kernels are compiled
        before = peak()
        frequencies(small, concepts)
        quarter = peak()
        started = time.process_time()
        found = frequencies(run, concepts)
        own = time.process_time() - started
        whole = peak()
        first = frequencies(lay(f"{folder}/some", captions.slice(0, SOME)), concepts)
    automaton = automaton_of(concepts)
    some = captions.slice(0, SOME).to_pylist()
    started = time.process_time()
    theirs = counted(automaton, some, len(concepts.concepts))
    plain = time.process_time() - started
    n, of, times = len(concepts.names), len(concepts.concepts), found.of_names[:, 0].sum()
    print(f"  {n:,} names of {of:,} concepts, {CAPTIONS:,} captions, {times:,} matches")
    print(f"  names into tables: {built:.1f} s of processor, {matcher.nbytes / 1e6:.0f} MB")
    print(f"  counted        {CAPTIONS / own:12,.0f} captions/s of processor ({own:.1f} s)")
    print(f"  pyahocorasick  {SOME / plain:12,.0f} captions/s")
    print(f"  ratio          {CAPTIONS / own / (SOME / plain):12.1f}")
    print(
        f"  peak {before:.2f} GB before, {quarter:.2f} GB for a quarter of the pool, {whole:.2f} GB for"
        " all of it"
    )
    if first.of_concepts[:, 0].tolist() != theirs:
        raise SystemExit("the counts differ")
    print("  the counts of the first captions are the reference's")
