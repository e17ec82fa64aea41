"""What is counted of a part after a stage: the same from what a worker holds and from the files."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from curate import files, schema
from curate.ops.urls import host_names
from curate.planning.steps import Steps
from curate.reasons import SUCCESS, DropReason
from curate.rundir.directory import ANNOTATED, PART_STAGES, Beside, Run
from curate.schema import Column, Stage
from curate.summaries.places import Places
from curate.summaries.sites import in_the_set, signals
from curate.summaries.tallies import (
    BY_HOST,
    HOST_COLUMNS,
    SHOWN,
    Example,
    First,
    Ranked,
    Tallies,
    What,
    occurrences,
    rounded,
    smallest,
    summed,
)

UNKNOWN = "?"
"""What stands for no language, of a caption in which the model finds no word."""
NO_LANGUAGE = "unknown"
"""The group of the scores of such captions."""
ASPECT_FROM, ASPECT_STEP, ASPECT_CELLS = 1.0, 0.05, 2_000
_LARGEST = {What.CHARS: 99_999, What.WORDS: 19_999, What.SIDE: 65_535, What.STORED_SIDE: 65_535}
_PAIR = ["uid", "url", "caption"]
_FETCHED = ["url", "outcome", "image_bytes", "image_format", "smaller_side", "aspect", "tar_size"]


@dataclass(frozen=True)
class Counting:
    """What of a stage is counted, and where it stands."""

    stage: Stage
    reads: str  # the folder of the parts that come in
    added: pa.Schema  # the columns that the stage adds
    beside: Beside = field(default_factory=dict)  # folders with columns of its annotated rows
    is_last: bool = False  # after a download: what is kept is counted by host

    @classmethod
    def of(cls, steps: Steps, stage: Stage) -> "Counting":
        """The counting of a stage of a configuration."""
        added = steps.added.get(stage, pa.schema([]))
        last = [one for one in PART_STAGES if one in steps.stages][-1]
        is_last = stage is last and Stage.DOWNLOAD in steps.stages
        return cls(stage, steps.upstream(stage), added, steps.beside(stage), is_last)

    @property
    def columns(self) -> list[str]:
        """The columns of the rows before the stage's rules that are counted."""
        if self.stage is Stage.SCORE:
            return [*_PAIR, "language", *self.added.names]
        if self.stage is Stage.DEDUP:
            return ["language", "matches"]
        more = ["faces"] if "faces" in self.added.names else []
        return [*_FETCHED, *more] if self.stage is Stage.DOWNLOAD else []

    def count(
        self, part: int, *, seen: pa.Table | None, kept: pa.Table, dropped: pa.Table, dead: pa.Table
    ) -> tuple[Tallies, Places]:
        """What there is to say of a part, and where its pairs are found; `seen` has `columns`."""
        found, places = Tallies(), Places()
        _kept(found, kept, part=part)
        _left(found, dropped, First.DROPPED, part=part)
        _left(found, dead, First.DEAD, part=part)
        if self.stage is Stage.PREPARE:
            unwanted = dropped.filter(pc.equal(dropped["reason"], str(DropReason.LANGUAGE)))
            found.count_texts(What.UNWANTED, texts(unwanted["value"]))
            for table in (kept, dropped, dead):
                for name in ("uid", "url"):
                    places.add(table[name], part=part)
        if self.stage in (Stage.DEDUP, Stage.SCORE):
            places.add(dropped["value"], part=part)
        if self.stage is Stage.DOWNLOAD:
            opted_out = dropped.filter(pc.equal(dropped["reason"], str(DropReason.OPTED_OUT)))
            found.count_texts(What.OPT_OUT, texts(signals(opted_out["value"])))
            if seen is not None:
                _fetched(found, seen)
        if self.is_last:
            found.count_hosts(in_the_set(kept))
        if seen is not None and self.stage is Stage.DEDUP:
            _matches(found, What.MATCHES, seen)
            _matches(found, What.MATCHES_LEFT, kept)
            count_clusters(found, kept, part=part)
        if seen is not None and self.stage is Stage.SCORE:
            _scores(found, What.SCORED, seen, self.added, part=part)
            _scores(found, What.SELECTED, kept, self.added)
        return found, places

    def again(self, run: Run, part: int) -> tuple[Tallies, Places]:
        """The same from the files of a part that is done."""
        dropped, dead = (rows_left(run, f"{x}/{self.stage}", part) for x in ("dropped", "dead"))
        kept, seen = run.rows(self.stage, part), self._seen(run, part)
        return self.count(part, seen=seen, kept=kept, dropped=dropped, dead=dead)

    def _seen(self, run: Run, part: int) -> pa.Table | None:
        """The rows before the stage's rules; None where they are not of the rows that came in."""
        names = self.columns
        if not names:
            return None
        if self.stage is Stage.DEDUP:
            return run.rows(self.reads, part, columns=names)
        if self.stage is Stage.DOWNLOAD:
            inner = files.join(self.stage, ANNOTATED)
            table = run.rows(inner, part, present={"uid", *names})
        else:
            asked = {"uid", *self.added.names}
            table = run.annotated(self.stage, part, asked, beside=self.beside)
        of_pairs = [name for name in names if name not in table.column_names]
        pairs = run.rows(self.reads, part, columns=list(dict.fromkeys(["uid", *of_pairs])))
        if not pairs["uid"].equals(table["uid"]):
            return None  # of a run that is not finished
        for name in of_pairs:
            table = table.append_column(name, pairs[name])
        return table


def rows_left(run: Run, folder: str, part: int) -> pa.Table:
    """The rows of a part in a ledger: ``dropped/STAGE`` or ``dead/STAGE``; none where there is none."""
    if not files.exists(run.part(folder, part)):
        return (schema.DEAD if folder.startswith("dead/") else schema.LEDGER).empty_table()
    return run.rows(folder, part)


def texts(column: Column) -> dict[str, int]:
    """How often each text occurs; `UNKNOWN` for none."""
    values, counts = (x.to_pylist() for x in pc.value_counts(column).flatten())
    return {value or UNKNOWN: n for value, n in zip(values, counts, strict=True)}


def _label(x: object) -> str:
    return "none" if x is None else str(x).lower() if isinstance(x, bool) else str(x)


def _whole(found: Tallies, what: What, column: Column) -> None:
    """Count whole numbers; all from the largest on as one."""
    found.count(what, *occurrences(column, largest=_LARGEST[what]))


def _shapes(found: Tallies, table: pa.Table, side: What, aspect: What, kind: What) -> None:
    """Count sides, cells of aspects and formats of images."""
    _whole(found, side, table["smaller_side"])
    shapes = table["aspect"].drop_null().to_numpy()
    cells = np.floor((shapes[np.isfinite(shapes)] - ASPECT_FROM) / ASPECT_STEP + 1e-6)
    found.count(aspect, *np.unique(np.clip(cells, 0, ASPECT_CELLS - 1), return_counts=True))
    found.count_texts(kind, texts(table["image_format"]))


def _kept(found: Tallies, kept: pa.Table, *, part: int) -> None:
    _whole(found, What.CHARS, kept["caption_chars"])
    _whole(found, What.WORDS, kept["caption_words"])
    found.count_texts(What.LANGUAGE, texts(kept["language"]))
    if "image_format" in kept.column_names:
        _shapes(found, kept, What.SIDE, What.ASPECT, What.FORMAT)
    found.show(First.KEPT, _ranked(kept, First.KEPT, part=part))


def _left(found: Tallies, table: pa.Table, first: First, *, part: int) -> None:
    """Count the rows of a ledger, and show some of each reason."""
    names = {"reason": "reason", "value": "value"}
    if first is First.DEAD:
        names = {"reason": "error", "value": "detail"}
    column = table[names["reason"]]
    counts = texts(column)
    found.count_texts(What.LEDGER if first is First.DROPPED else What.DEAD, counts)
    for reason in counts.keys() - {DropReason.REVOKED}:  # of whose pairs nothing is shown
        rows = table.filter(pc.equal(column, reason)) if len(counts) > 1 else table
        found.show(first, _ranked(rows, first, part=part, **names), reason)


def _ranked(table: pa.Table, first: First, *, part: int, **names: str) -> list[Ranked]:
    return [(0.0, pair) for pair in smallest(table, part=part, n=SHOWN[first], **names)]


def _fetched(found: Tallies, seen: pa.Table) -> None:
    """Count what was asked for by host and outcome, and the images that were stored."""
    rows = seen.filter(pc.equal(seen["outcome"], SUCCESS))
    _shapes(found, rows, What.STORED_SIDE, What.STORED_ASPECT, What.STORED_FORMAT)
    sums = {name: pc.sum(rows[name]).as_py() or 0 for name in ("image_bytes", "tar_size")}
    if "faces" in seen.column_names:
        sums["faces"] = pc.sum(rows["faces"]).as_py() or 0
        sums["with_faces"] = pc.sum(pc.greater(rows["faces"], 0)).as_py() or 0
    found.count_texts(What.SUM, sums)
    found.count_hosts(by_host(seen["url"], seen["outcome"], seen["image_bytes"]))


def by_host(urls: Column, outcomes: Column, sizes: Column) -> pa.Table:
    """Pairs and bytes by host and outcome, of one pair a row; `sizes` are bytes, or null."""
    ones = pa.array(np.ones(len(urls), np.int64))
    columns = [host_names(urls), outcomes, ones, pc.fill_null(sizes, 0)]
    rows = pa.table(columns, [*HOST_COLUMNS])
    return summed(rows.filter(pc.is_valid(rows["host"])), BY_HOST)


def _matches(found: Tallies, what: What, table: pa.Table) -> None:
    """Count the pairs that match each entry, by language."""
    languages = pc.unique(table["language"]).drop_null().to_pylist()
    for language in languages:
        rows = table["matches"]
        if len(languages) > 1:
            rows = rows.filter(pc.equal(table["language"], language))
        found.count(what, *occurrences(pc.list_flatten(rows)), language)


def count_clusters(found: Tallies, kept: pa.Table, *, part: int) -> None:
    """Count the clusters by size, each at its first pair, and show the largest."""
    is_first = pc.and_(pc.equal(kept["cluster"], kept["uid"]), pc.greater(kept["cluster_size"], 1))
    rows = kept.select([*_PAIR, "cluster_size"]).filter(is_first)
    if not len(rows):
        return
    found.count(What.CLUSTERS, *occurrences(rows["cluster_size"]))
    keys = [("cluster_size", "descending"), *((name, "ascending") for name in _PAIR)]
    largest = rows.take(pc.sort_indices(rows, sort_keys=keys)[: SHOWN[First.CLUSTER]])
    found.show(
        First.CLUSTER,
        [(-float(row.pop("cluster_size")), Example(part, **row)) for row in largest.to_pylist()],
    )


def _scores(
    found: Tallies, what: What, table: pa.Table, added: pa.Schema, *, part: int | None = None
) -> None:
    """Count the values of each column, numbers by language; show the ends where the `part` is given."""
    languages = pc.fill_null(table["language"], NO_LANGUAGE)
    if isinstance(languages, pa.ChunkedArray):
        languages = languages.combine_chunks()
    coded = languages.dictionary_encode()
    codes = np.asarray(coded.indices)
    for one in added:
        column = table[one.name]
        if schema.is_label(one):
            rows = pc.value_counts(column).to_pylist()
            counts = {_label(row["values"]): row["counts"] for row in rows}
            found.count_texts(what, counts, one.name)
        if not schema.is_score(one):
            continue
        values = column.cast(pa.float64()).to_numpy()
        sound = np.isfinite(values)
        short = rounded(values)
        for code, language in enumerate(coded.dictionary.to_pylist()):
            ours = np.unique(short[sound & (codes == code)], return_counts=True)
            found.count(what, *ours, group_of(one.name, language))
        if part is not None:
            for first, sign in ((First.LOWEST, 1.0), (First.HIGHEST, -1.0)):
                found.show(first, ends(table, sign * values, values, n=SHOWN[first], part=part),
                           one.name)  # fmt: skip


def group_of(column: str, language: str) -> str:
    """The group of the values of a score of the captions in a language."""
    return f"{column}\n{language}"


def by_language(found: Tallies, column: str) -> Mapping[str, str]:
    """The groups of the values of a score, by language."""
    groups = (group.partition("\n") for group in found.groups(What.SCORED))
    return {language: group_of(column, language) for name, _, language in groups if name == column}


def ends(
    pairs: pa.Table, rank: NDArray[np.float64], values: NDArray[np.float64], *, n: int, part: int
) -> list[Ranked]:
    """The `n` pairs of a part with the lowest finite `rank`, ties by uid, each with its value."""
    at = np.flatnonzero(np.isfinite(rank))
    if len(at) > n:  # ties at the last place are broken by uid
        at = at[rank[at] <= np.partition(rank[at], n - 1)[n - 1]]
    rows = pairs.select(_PAIR).take(pa.array(at)).to_pylist()
    found = [
        (float(rank[i]), Example(part, row["uid"], row["url"], row["caption"], value=f"{x:.4g}"))
        for i, x, row in zip(at, values[at], rows, strict=True)
    ]
    return sorted(found, key=lambda one: (one[0], one[1].uid))[:n]
