"""An entry list of two columns through prepare and balance: counts are those of concepts."""

from collections import Counter
from pathlib import Path

import apache_beam as beam
import pyarrow as pa
from pyarrow import parquet

from curate import files, schema
from curate.pool.rows import PoolFormat
from curate.rundir.directory import Part, Run
from curate.schema import Stage
from curate.stages.balance import Balance, BalanceStep, Target
from curate.stages.part import TakePart
from curate.stages.prepare import PrepareStep
from tests.stages.rundir import drive, rows_of

ENABLED = [Stage.PREPARE, Stage.BALANCE]
LIST = "cat\nkitten\tcat\ntabby cat\tcat\nhouse\nmansion\thouse\nthe\n"
CONCEPTS = {"cat": {"cat", "kitten", "tabby cat"}, "house": {"house", "mansion"}, "the": {"the"}}
CAPTIONS = [
    "the kitten and the cat are sleeping in front of the house",
    "a tabby cat is sitting on the roof of a mansion",
    "this is the largest mansion of the whole country",
    "there was an old house standing here and a kitten",
]


def test_a_concept_has_one_row_and_one_count(run: Run, tmp_path: Path) -> None:
    pool = tmp_path / "pool.parquet"
    urls = [f"http://x.example/{i}" for i in range(len(CAPTIONS))]
    parquet.write_table(pa.table({"url": urls, "caption": CAPTIONS}), pool)
    metadata = {"en": str(tmp_path / "en.txt")}
    Path(metadata["en"]).write_text(LIST, encoding="utf-8")
    prepare = PrepareStep(run=run, reads="", digest="d", own="o", languages=None, metadata=metadata,
                          pool=PoolFormat("parquet", "url", "caption"), rules=())  # fmt: skip
    balance = BalanceStep(run=run, reads="prepare", digest="d", own="o", metadata=metadata, seed=0,
                          target=Target(t=2, p=None, size=None, reference="en"),
                          columns=schema.after(Stage.BALANCE, enabled=ENABLED))  # fmt: skip
    parts = [Part(0, str(pool), 0, 2), Part(1, str(pool), 2, 2)]
    drive(run, beam.ParDo(TakePart(prepare)), parts)
    matched = [
        sorted(
            i for i, entries in enumerate(CONCEPTS.values())
            if any(f" {entry} " in f" {caption} " for entry in entries)
        )
        for caption in CAPTIONS
    ]  # fmt: skip
    assert matched == [[0, 1, 2], [0, 1, 2], [1, 2], [0, 1]]
    assert rows_of(run, "prepare", "matches") == matched

    drive(run, Sampled(balance), parts)
    counts = Counter(name for ids in matched for name in (list(CONCEPTS)[i] for i in ids))
    found = files.read_table(run.path("balance", "entries.parquet"))
    assert found.select(["entry_id", "entry", "count"]).to_pylist() == [
        {"entry_id": i, "entry": name, "count": counts[name]} for i, name in enumerate(CONCEPTS)
    ]


class Sampled(beam.PTransform):
    """The parts that come out of the balance."""

    def __init__(self, step: BalanceStep) -> None:
        super().__init__()
        self._step = step

    def expand(self, parts: beam.PCollection) -> beam.PCollection:
        return parts | Balance(self._step)
