"""entities: matches and stored embeddings -> the entries of a caption that its image shows.

First each entry of the lists is embedded by the model's text tower, on the workers that run models,
a block of a list at a time: ``NAME/texts/DIGEST/00000.npy`` is a block's vectors, and DIGEST says of
which list, model and templates they are, so a block that stands is not made again. A part then needs
its own matches and embeddings alone: a changed threshold looks at no model. A retry finds the same.

Beside the column that goes on, ``NAME`` (ids), a part's file has ``NAME_similarity``: the cosine of
each of the pair's matches, in their order.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, NamedTuple

import apache_beam as beam
import numpy as np
import pyarrow as pa

from curate import files
from curate.config import FurtherScore
from curate.ops.scores.clip import ClipModel
from curate.ops.scores.entities import (
    BLOCK,
    Entities,
    EntryVectors,
    entry_vectors,
    similarities,
)
from curate.ops.selection.balancing import match_arrays
from curate.planning.asked import clip_model
from curate.planning.plan import Plan
from curate.planning.steps import Step
from curate.pool.tables import read_entries
from curate.rundir.directory import SCORED, Part
from curate.schema import MATCHES, Stage
from curate.stages.balance import by_language
from curate.stages.derived.column import read_stored
from curate.stages.part import PartOutput, PartStep, TakePart, given
from curate.stages.score.accelerator import on_accelerator
from curate.stages.timing import timed

TEXTS = "texts"
"""The folder, in that of the step, of the entries' vectors."""
SIMILARITY = "{}_similarity"
"""What the column of all cosines is called, given the name of the score."""

Vectors = dict[str, tuple[str, ...]]
"""By language the files of its entries' vectors, in order."""


class Block(NamedTuple):
    """Entries of a language's list that are embedded together, and where their vectors go."""

    language: str
    nth: int
    url: str


@lru_cache(maxsize=4)
def _entries(path: str) -> list[str]:
    return read_entries(path).concepts


@dataclass(frozen=True)
class EntitiesStep(PartStep):
    """The entries that the images of one part show."""

    stage: ClassVar[Stage] = Stage.SCORE
    annotates: ClassVar[bool] = True

    name: str
    min_similarity: float
    templates: tuple[str, ...]
    metadata: dict[str, str]
    model: ClipModel
    of_model: str  # digest of what the model's embeddings depend on

    @property
    def folder(self) -> str:
        """``annotated/score/NAME``."""
        return files.join(super().folder, self.name)

    def blocks(self, language: str) -> Iterator[Block]:
        """The blocks of a language's list."""
        entries = _entries(self.metadata[language])
        digest = files.digest_of(Entities.version, self.of_model, self.templates, BLOCK, entries)
        for nth in range(-(-len(entries) // BLOCK)):
            url = self.run.path(self.folder, TEXTS, digest, f"{nth:05}.npy")
            yield Block(language, nth, url)

    def process(self, part: Part, vectors: Vectors) -> PartOutput:
        """Compare each pair's matches with its image; by `vectors`, which are written by then."""
        table = self.run.rows(self.reads, part, columns=["uid", "language", MATCHES])
        if not self.run.rows(SCORED, part, columns=["uid"])["uid"].equals(table["uid"]):
            raise AssertionError(
                f"{SCORED} of part {part.index} is not of the rows of {self.reads}"
            )
        stored, matches = read_stored(self.run, part.index), table[MATCHES]
        offsets, ids = match_arrays(matches)
        cosines = np.full(len(ids), np.nan, np.float32)
        for language, rows in by_language(table):
            here = np.zeros(len(table), bool)
            here[rows] = True
            found = similarities(
                matches.take(pa.array(rows)), stored[rows], EntryVectors(vectors.get(language, ()))
            )
            cosines[np.repeat(here, np.diff(offsets))] = found
        seen = Entities(self.min_similarity, self.templates).seen(matches, cosines)
        values = pa.array(cosines, mask=np.isnan(cosines))
        all_ = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values)
        columns = {"uid": table["uid"], self.name: seen, SIMILARITY.format(self.name): all_}
        return PartOutput(pa.table(columns))


class EmbedBlock(beam.DoFn):
    """Block -> the same, once its vectors are written."""

    def __init__(self, step: EntitiesStep) -> None:
        self._step = step

    @timed
    def process(self, block: Block) -> Iterator[Block]:
        """Nothing is done, and no model loaded, for a block that stands."""
        step = self._step
        if not files.exists(block.url):
            entries = _entries(step.metadata[block.language])
            some = entries[block.nth * BLOCK : (block.nth + 1) * BLOCK]
            found = entry_vectors(step.model.load(), some, templates=step.templates)
            files.write_array(block.url, found)
        yield block


def _together(blocks: list[Block], *, step: EntitiesStep) -> Vectors:
    """The files of each language's blocks; those of other lists, models or templates are removed."""
    found: Vectors = {}
    for block in sorted(blocks):
        found[block.language] = (*found.get(block.language, ()), block.url)
    held = {block.url.split("/")[-2] for block in blocks}
    folder = step.run.path(step.folder, TEXTS)
    for name in files.names(folder):
        if name not in held:
            files.remove(files.join(folder, name))
    return found


class LookForEntries(beam.PTransform):
    """Parts that are scored -> the same, once it is known which entries their images show."""

    def __init__(self, step: EntitiesStep, *, embed: beam.PTransform) -> None:
        super().__init__()
        self._step, self._embed = step, embed

    def expand(self, parts: beam.PCollection) -> beam.PCollection:
        """Embed the entries, of which no part is needed; then each part by itself."""
        step = self._step
        vectors = (
            parts.pipeline
            | "Languages" >> beam.Create(sorted(step.metadata))
            | "Blocks" >> beam.FlatMap(step.blocks)
            | "Spread" >> beam.Reshuffle()
            | "Embed" >> self._embed
            | "All" >> beam.combiners.ToList()
            | "Together" >> beam.Map(_together, step=step)
        )
        return parts | "Compare" >> beam.ParDo(TakePart(step), beam.pvalue.AsSingleton(vectors))


def transform(plan: Plan, step: Step) -> beam.PTransform:
    """What embeds the entries of all lists, on accelerator workers, and then looks at each part."""
    asked, config = step.settings, plan.config
    if not isinstance(asked, FurtherScore) or asked.min_similarity is None or config.score is None:
        raise AssertionError(f"{step.folder} has no entries to look for")
    own = EntitiesStep(
        **given(plan, step),
        name=step.name,
        min_similarity=asked.min_similarity,
        templates=asked.templates,
        metadata={x: files.absolute(path) for x, path in config.prepare.metadata.items()},
        model=clip_model(config.score, config.score.workers),
        of_model=plan.digests[SCORED].own,
    )
    return LookForEntries(own, embed=on_accelerator(beam.ParDo(EmbedBlock(own)), config))
