"""Put an entry list together: read the sources, choose by the recipe, write the list and MANIFEST."""

import dataclasses
import hashlib
import math
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate import files
from curate.errors import CurateError
from curate.files import listing
from curate.metadata import sources
from curate.metadata.counts import Counts
from curate.metadata.ngrams import NgramCounts, lift
from curate.metadata.recipe import Limits, Source
from curate.metadata.select import Selection, Tally
from curate.ops.text.matching import fold, has_no_spaces
from curate.schema import Column

MANIFEST = "MANIFEST.json"

Candidates = Iterator[tuple[pa.Array, pa.Array]]


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """The files of each source. Files of one source add up."""

    numbers: bool = False
    lists: tuple[str, ...] = ()
    wordnet: tuple[str, ...] = ()
    unigrams: tuple[str, ...] = ()
    bigrams: tuple[str, ...] = ()
    pmi_unigrams: tuple[str, ...] = ()  # word counts of the text of `bigrams`; default: unigrams
    titles: tuple[str, ...] = ()
    captions: tuple[str, ...] = ()
    caption_column: str = "caption"
    ignore_case: bool = False  # all in lower case; what differs in case alone adds up
    stop_words: tuple[str, ...] = ()  # lists of words that are no entry, nor either word of a pair
    licences: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        given = set(_SOURCE_OF) - {"pmi_unigrams", "stop_words"}
        if not (self.numbers or any(getattr(self, name) for name in given)):
            raise CurateError("no source given; give at least one, such as --unigrams FILE")
        if self.bigrams and self.captions:
            raise CurateError("--bigrams and --captions: the PMI of two texts; give one of them")
        if self.pmi_unigrams and not self.bigrams:
            raise CurateError("--pmi-unigrams counts the words of --bigrams; give those too")
        if self.bigrams and not (self.unigrams or self.pmi_unigrams):
            raise CurateError(
                "--bigrams need the word counts of the same text: give --unigrams or --pmi-unigrams"
            )


_SOURCE_OF = {
    "lists": Source.LIST,
    "wordnet": Source.WORDNET,
    "unigrams": Source.UNIGRAMS,
    "bigrams": Source.BIGRAMS,
    "titles": Source.TITLES,
    "captions": "captions",
    "pmi_unigrams": "pmi-unigrams",
    "stop_words": "stop-words",
}


@dataclass(kw_only=True)
class Built:
    """What was written."""

    entries: int
    tallies: dict[str, Tally]
    lowest: dict[str, float | None]  # count, PMI or views of the last that was taken
    stopped: dict[str, int]  # stop words, and pairs with one, that a source offered
    taken: dict[str, list[str]]  # by source, the best first
    path: str


def build(inputs: Inputs, *, limits: Limits, language: str, out: str, memory: int) -> Built:
    """Write the entry list `out` and its record in the MANIFEST.json beside it.

    `memory`, in bytes, is for the counts held at a time; the rest waits on disk. The process takes up
    to some three times as much. The result does not depend on it.
    """
    with ExitStack() as stack:
        builder = _Builder(inputs, limits=limits, language=language, memory=memory, stack=stack)
        record = builder.record()
    entries = builder.selection.entries
    if not entries:
        raise CurateError(f"{out}: no entry passed the limits: {_nearest(builder)}")
    content = "".join(f"{entry}\n" for entry in entries).encode()
    manifest = files.join(os.path.dirname(out) or ".", MANIFEST)
    known = files.read_json(manifest) if files.exists(manifest) else {}
    if not isinstance(known, dict):
        raise CurateError(f"{manifest}: not a record of entry lists; move it away")
    known[os.path.basename(out)] = {
        "entries": len(entries),
        "sha256": hashlib.sha256(content).hexdigest(),
        **record,
    }
    files.write_bytes(out, content)
    files.write_json(manifest, dict(sorted(known.items())))
    return Built(
        entries=len(entries), tallies=builder.tallies, lowest=builder.lowest,
        stopped=builder.stopped, taken=builder.taken, path=out,
    )  # fmt: skip


def _nearest(builder: "_Builder") -> str:
    """What the sources offered in vain, and the options that say why."""
    limits = builder.limits
    said = {
        Source.UNIGRAMS: f"--min-count {limits.min_count}",
        Source.BIGRAMS: f"--min-pmi {limits.min_pmi:.3g} or --min-bigram-count"
        f" {limits.min_bigram_count}",
        Source.TITLES: f"--min-views {limits.min_views}",
    }
    below = {x: tally.below for x, tally in builder.tallies.items() if tally.below}
    found = [f"{n:,} {x} are below {said[Source(x)]}" for x, n in below.items()]
    return "; ".join(found) or "the sources hold none that can be one"


class _Builder:
    def __init__(
        self, inputs: Inputs, *, limits: Limits, language: str, memory: int, stack: ExitStack
    ) -> None:
        self.inputs = inputs
        self.limits = limits
        self.language = language
        self.no_space = has_no_spaces(language)
        self.memory = memory
        self.stack = stack
        self.selection = Selection(limits=limits)
        self.tallies: dict[str, Tally] = {}
        self.lowest: dict[str, float | None] = {}
        self.skipped: dict[str, int] = {}
        self.stopped: dict[str, int] = {}
        self.taken: dict[str, list[str]] = {}
        words = [word for block in self._plain(inputs.stop_words) for word in block.to_pylist()]
        self.stop_words = self._folded(pa.array(words, pa.large_string()))

    def record(self) -> dict[str, object]:
        """Choose from all sources, in their order; what the manifest says of it."""
        inputs, limits = self.inputs, self.limits
        if inputs.numbers:
            self._take(Source.NUMBERS, _in_order([str(i) for i in range(100)], self._folded))
        if inputs.lists:
            self._take(Source.LIST, _numbered(self._plain(inputs.lists)))
        if inputs.wordnet:
            names = (sources.wordnet(p, synset_names=limits.synset_names) for p in inputs.wordnet)
            unique = dict.fromkeys(name for found in names for name in found)
            self._take(Source.WORDNET, _in_order(list(unique), self._folded))
        if inputs.unigrams or inputs.bigrams or inputs.captions:
            self._take_ngrams()
        if inputs.titles:
            self._take_titles()
        return {
            "recipe": limits.recipe,
            "language": self.language,
            "sources": {name: dataclasses.asdict(tally) for name, tally in self.tallies.items()},
            "lowest": self.lowest,
            "limits": dataclasses.asdict(limits),
            **({"ignore_case": True} if inputs.ignore_case else {}),
            **({"stopped": self.stopped} if inputs.stop_words else {}),
            "inputs": self._files(),
            "licences": self._licences(),
        }

    def _take(
        self,
        source: Source,
        candidates: Candidates,
        *,
        threshold: float = -math.inf,
        most: int | None = None,
        share: float = 1.0,
    ) -> float | None:
        tally = self.tallies[source] = Tally()
        before = len(self.selection.entries)
        lowest = self.selection.take(
            candidates, tally=tally, threshold=threshold, most=most, share=share
        )
        self.taken[source] = self.selection.entries[before:]
        return lowest

    def _folded(self, entries: Column) -> Column:
        """Strings as they count: folded where case is ignored."""
        return fold(entries) if self.inputs.ignore_case else entries

    def _unstopped(self, table: pa.Table, source: Source) -> pa.Table:
        """The rows of (entry, count) whose first and last words are no stop words."""
        if not len(self.stop_words):
            return table
        words = pc.split_pattern(table["entry"].combine_chunks(), " ")
        ends = (pc.list_element(words, 0), pc.list_slice(words, 1, 2, return_fixed_size_list=False))
        stopped = pc.is_in(ends[0], value_set=self.stop_words)
        if source is Source.BIGRAMS:
            stopped = pc.or_(stopped, pc.is_in(pc.list_flatten(ends[1]), value_set=self.stop_words))
        left = table.filter(pc.invert(stopped))
        self.stopped[source] = self.stopped.get(source, 0) + len(table) - len(left)
        return left

    def _take_ngrams(self) -> None:
        """Words, then pairs; the PMI of a pair is that within its own text."""
        inputs, limits = self.inputs, self.limits
        words, pairs = self._count_captions()
        own = self._known(words) if inputs.captions else None
        for path in inputs.unigrams:
            self._add(words, path, sources.COUNTED, sources.counted)
        if inputs.unigrams or inputs.captions:
            self.lowest["unigram_count"] = self._take(
                Source.UNIGRAMS,
                _scored(words, lambda found: self._unstopped(found, Source.UNIGRAMS)),
                threshold=limits.min_count,
                most=limits.max_unigrams,
                share=limits.unigram_share,
            )
        for path in inputs.bigrams:
            self._add(pairs, path, sources.PAIRS, sources.pairs)
        if inputs.bigrams:
            if inputs.pmi_unigrams:
                words = self.stack.enter_context(closing(Counts(memory=self.memory // 4)))
                for path in inputs.pmi_unigrams:
                    self._add(words, path, sources.COUNTED, sources.counted)
            own = self._known(words)
        if own is not None:
            lowest = self._take(
                Source.BIGRAMS,
                self._lifts(pairs, words=own[0], total=own[1]),
                threshold=2.0**limits.min_pmi,
                most=limits.max_bigrams,
            )
            self.lowest["bigram_pmi"] = lowest and round(math.log2(lowest), 6)

    def _known(self, words: Counts) -> tuple[pa.Table, int]:
        """The counts of words that may be in a pair that counts, and the sum of all."""
        return words.table(at_least=self.limits.min_bigram_count), words.total

    def _count_captions(self) -> tuple[Counts, Counts]:
        """Counts of the words and pairs of the captions; none where there are no captions."""
        ngrams = NgramCounts(memory=self.memory, by_character=self.no_space)
        self.stack.enter_context(closing(ngrams.words))
        self.stack.enter_context(closing(ngrams.pairs))
        for pattern in self.inputs.captions:
            for path in _expanded(pattern, option="--captions"):
                for batch in sources.texts(path, column=self.inputs.caption_column):
                    ngrams.add(self._folded(batch))
        ngrams.flush()
        return ngrams.words, ngrams.pairs

    def _lifts(self, pairs: Counts, *, words: pa.Table, total: int) -> Candidates:
        for found in pairs.partitions():
            table = self._unstopped(found, Source.BIGRAMS)
            score = lift(table, words=words, total=total)
            score[table["count"].to_numpy() < self.limits.min_bigram_count] = 0
            entries = table["entry"].combine_chunks()
            if self.no_space:
                entries = pc.replace_substring(entries, " ", "")
            yield entries, pa.array(score)

    def _take_titles(self) -> None:
        limits = self.limits
        kinds = {path: sources.title_kind(path) for path in self.inputs.titles}
        if len(set(kinds.values())) > 1:
            said = ", ".join(f"{path} ({kind})" for path, kind in kinds.items())
            raise CurateError(f"--titles of different kinds do not add up: {said}")
        kind = next(iter(kinds.values()))
        if kind is sources.TitleKind.PLAIN:
            self._take(
                Source.TITLES,
                _numbered(self._plain(self.inputs.titles)),
                most=limits.max_titles,
                share=limits.title_share,
            )
            return
        counts = self.stack.enter_context(closing(Counts(memory=self.memory)))
        domains = (self.language, f"{self.language}.m")[: 1 + limits.mobile_views]
        for path in self.inputs.titles:
            if kind is sources.TitleKind.COUNTED:
                self._add(counts, path, sources.COUNTED, sources.counted)
                continue
            rows = sources.Rows(path, sources.VIEWS)
            for found in sources.pageviews(
                rows, domains=domains, min_row_views=limits.min_row_views
            ):
                counts.add(self._folded(found[0]), found[1])
            self.skipped[path] = rows.skipped
        self.lowest["title_views"] = self._take(
            Source.TITLES,
            _scored(counts, lambda found: found),
            threshold=limits.min_views,
            most=limits.max_titles,
            share=limits.title_share,
        )

    def _plain(self, paths: tuple[str, ...]) -> Iterator[pa.Array]:
        for path in paths:
            empty = True
            for block in sources.plain(path):
                empty = empty and not len(block)
                yield self._folded(block)
            if empty:
                raise CurateError(f"{path}: no entry in it; expected one a line")

    def _add(
        self, counts: Counts, path: str, pattern: str, read: Callable[[sources.Rows], Candidates]
    ) -> None:
        rows = sources.Rows(path, pattern)
        for entries, numbers in read(rows):
            counts.add(self._folded(entries), numbers)
        self.skipped[path] = rows.skipped

    def _files(self) -> list[dict[str, object]]:
        found: list[dict[str, object]] = []
        for name, source in _SOURCE_OF.items():
            for given in getattr(self.inputs, name):
                if source == "captions":
                    paths = listing.expand(given)
                elif source == Source.WORDNET:
                    paths = sources.wordnet_files(given, synset_names=self.limits.synset_names)
                else:
                    paths = [given]
                for path in paths:
                    file: dict[str, object] = {
                        "source": str(source),
                        "name": os.path.basename(path),
                        "bytes": files.size(path),
                        "sha256": files.content_digest(path),
                    }
                    if path in self.skipped:
                        file["skipped_lines"] = self.skipped[path]
                    found.append(file)
        return found

    def _licences(self) -> dict[str, str]:
        known = {}
        for path in self.inputs.wordnet:
            if licence := sources.wordnet_licence(path):
                known[str(Source.WORDNET)] = licence
        return {**known, **self.inputs.licences}


def _expanded(pattern: str, *, option: str) -> list[str]:
    found = listing.expand(pattern)
    if not found:
        raise CurateError(f"{option} {pattern}: no such file")
    return found


def _in_order(entries: list[str], folded: Callable[[pa.Array], pa.Array]) -> Candidates:
    return _numbered(iter([folded(pa.array(entries, pa.large_string()))]))


def _numbered(blocks: Iterator[pa.Array]) -> Candidates:
    """Entries whose counts fall in their order: the first one has the highest."""
    at = 0
    for block in blocks:
        yield block, pa.array(-np.arange(at, at + len(block), dtype=np.float64))
        at += len(block)


def _scored(counts: Counts, left: Callable[[pa.Table], pa.Table]) -> Candidates:
    for table in map(left, counts.partitions()):
        yield table["entry"], table["count"].cast(pa.float64())
