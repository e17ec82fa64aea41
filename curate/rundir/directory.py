"""The run directory: where everything is, what is done, and what an interrupted run has left."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import metadata
from typing import Any, TypedDict, TypeVar

import pyarrow as pa

from curate import files, schema
from curate.errors import AbsentError, CurateError, DamagedError
from curate.ops.ahead import together
from curate.rundir import records as record_files
from curate.rundir.generation import bound
from curate.rundir.layout import ANNOTATED as ANNOTATED
from curate.rundir.layout import LAYOUT, folders, layout_of, place
from curate.rundir.records import PartRecord as PartRecord
from curate.rundir.records import part_index as part_index
from curate.schema import Stage

Thing = TypeVar("Thing")
Read = TypeVar("Read")
_AT_ONCE = 32  # parts that are read from a store
Beside = Mapping[str, pa.Schema]
"""Folders with columns of the rows of a part that stand in no other place."""
JOURNAL = "journal"
"""The ending of the folder of the journals of a part that is in work."""
TRANSIENT_ROWS = "transient"
"""The figure of rows whose download failed for a reason that may have passed."""
ALTERED = "altered"
"""The figure of rows whose outcome or detail is another after a retry."""
REUSED = "reused"
"""The figure of rows that were not fetched or scored again, since they had been before."""
ON_GPU = "on_gpu"
"""The figure of rows that a model scored on a GPU."""
ON_DEVICE = "on_device_"
"""What the figure of the rows begins with that one process of a model scored; then its number."""
DRAWS = "draws"
"""The figure of draws by soft cap sampling, of which a pair may have several."""
MATCHED = "matched"
"""The figure of pairs that a table of the user's has a row of."""
DRAWN = "drawn "
"""What the figure of the pairs of a language begins with that the balance's own draw takes, where all
pairs are written."""
SCORED = files.join(Stage.SCORE, ANNOTATED)
"""The folder of the scores of all rows, before rules."""
PLACES_FILE = "places.parquet"
"""Ending of the file beside a prepared part that says where its images lie, if the pool has them."""
CARD = "README.md"
"""The data card beside the shards, where hubs and their loaders look for it."""
MANIFEST = "manifest.json"
"""The list of the shards; it is there while their set is finished."""
SIZES = "sizes.json"
"""Pairs of each tar, as open_clip and DataComp read them in place of ``--train-num-samples``."""
SUBSET = "uids.npy"
"""The file of a run without images that lists the pairs which its last stage keeps."""
CLUSTERS = files.join(Stage.DEDUP, "clusters")
"""The folder of the verdicts on the pairs that are not alone."""
PAIRS = "pairs"
"""The key of clusters.json that says how many pairs came in, where some were revoked since."""


@dataclass(frozen=True)
class Part:
    """Consecutive rows of one input file: the element that travels through Beam."""

    index: int
    path: str
    start: int  # first row
    rows: int
    staged: bool = False  # whether `path` is a copy under RUN/input with the columns of schema.POOL
    images: bool = False  # whether rows of the copy say where their images lie
    copy: files.Content | None = None  # what the copy holds
    wave: int = 0  # with which addition to the pool it came
    kept: int = 0  # rows that the latest step kept
    fresh: bool = field(
        default=False, compare=False
    )  # whether the step at work has no record of it
    held: dict[str, files.Content] = field(default_factory=dict, compare=False)
    """The content of the tables that the next steps read, by name, as far as it is known."""


@dataclass(frozen=True)
class Run:
    """A run directory at any fsspec URL."""

    root: str
    source: str | None = None  # the run whose stages before balance are this one's too
    layout: int = LAYOUT
    source_layout: int = LAYOUT
    generation: int = 0  # in which a job changes it; see `curate.rundir.generation`

    def __reduce__(self) -> "tuple[Callable[..., Run], tuple[object, ...]]":
        return _arrived, tuple(vars(self).values())

    @classmethod
    def to(cls, url: str, source: str | None = None) -> "Run":
        """The run at `url`, which exists or is to be made; a rebalance where it has a source."""
        root = files.absolute(url).rstrip("/")
        laid_out = (layout_of(cls(x).state(), root=x) if x else LAYOUT for x in (root, source))
        return cls(root, source, *laid_out)

    @classmethod
    def at(cls, url: str) -> "Run":
        """The run that exists at `url`."""
        root = files.absolute(url).rstrip("/")
        state = cls(root).state()
        if not state:
            raise CurateError(f"{url}: no run here (it has no run.json)")
        source = state.get("source")
        if source and not cls(source).state():
            raise CurateError(
                f"{url} is a rebalance of {source}, which is not there any more; put it back, or"
                f" if it was moved: curate rebalance WHERE --out {url} with the same t, p or size"
            )
        return cls.to(root, source)

    def makes(self, stage: Stage) -> bool:
        """Whether the files of `stage` are this run's own."""
        return self.source is None or stage not in BORROWED

    def path(self, *names: str) -> str:
        """The URL of a file in the run, which is named by the step that writes it: see `layout`."""
        name = "/".join(names)
        if self.source is not None:
            first, *more = name.split("/")
            owner = more[0] if first in ("dropped", "dead") and more else first
            if owner in BORROWED:
                return files.join(self.source, place(name, layout=self.source_layout))
        return files.join(self.root, place(name, layout=self.layout))

    def folders(self, stage: Stage) -> list[str]:
        """The URLs of all that `stage` has written to this run."""
        return [files.join(self.root, name) for name in folders(stage, layout=self.layout)]

    def part(self, folder: str, index: int, ending: str = "parquet") -> str:
        """The URL of a part's file: `folder` is a stage, or ``STAGE/annotated``."""
        return self.path(part_name(folder, index, ending))

    def ledger(self, stage: Stage, index: int) -> str:
        """The URL of the rows that `stage` dropped from a part."""
        return self.part(f"dropped/{stage}", index)

    def dead(self, stage: Stage, index: int) -> str:
        """The URL of the rows of a part that `stage` could not handle; there is none without any.

        But the first part has one always, so that the folder opens as a table.
        """
        return self.part(f"dead/{stage}", index)

    def record(self, folder: str, index: int) -> PartRecord | None:
        """The record of a part at a step, if the part was done."""
        return record_files.read(self.part(folder, index, "json"))

    def write_record(self, folder: str, index: int, record: PartRecord) -> None:
        """Mark a part done at a step; every other file of it must be written before."""
        files.write_document(self.part(folder, index, "json"), vars(record))

    def rows(
        self, folder: str, part: int | Part, ending: str = "parquet", **options: Any
    ) -> pa.Table:
        """A table of a part, checked against the record that vouches for it; see `files.read_table`.

        `folder` is one that `part` takes, ``dropped/STAGE`` or ``dead/STAGE``. The record is read
        where the part itself does not know what the table holds.

        Raises
        ------
        DamagedError
            Where it is gone, or not what was written.
        """
        index, told = (part.index, part.held) if isinstance(part, Part) else (part, {})
        name = part_name(folder, index, ending)
        url = self.path(name)
        if held := told.get(name):
            with suppress(DamagedError, AbsentError):  # or it was written again, as its record says
                return files.read_table(url, content=held, **options)
        record = self.record(step_of(folder), index)
        if record and not record.dead and folder.startswith("dead/"):
            return schema.DEAD.empty_table().select(options.get("columns") or schema.DEAD.names)
        held = record.wrote.get(name) if record else None
        try:
            return files.read_table(url, content=held, **options)
        except AbsentError:
            raise DamagedError(url, "it is gone") from None

    def retract(self, folder: str, index: int, *, own: str) -> None:
        """Take back that a part is done at a step, before any file of it changes.

        An annotated part made under the step's `own` settings keeps a record without a digest: its
        rows may be taken over.
        """
        record = self.record(folder, index)
        if record and record.own == own and ANNOTATED in folder:
            self.write_record(folder, index, replace(record, digest=""))
        elif record:
            files.remove(self.part(folder, index, "json"))

    def done(self, folder: str) -> list[int]:
        """Indices of the parts that have a record at a step, ascending."""
        found: list[int] = record_files.parts_in(self._records(folder)).to_pylist()
        return found

    def record_table(self, folder: str) -> pa.Table:
        """The records of the parts done at a step, of the schema `records.TABLE`, ascending."""
        return record_files.table(self._records(folder))

    def records(self, folder: str) -> Iterator[tuple[int, PartRecord]]:
        """Index and record of each part done at a step, ascending."""
        return record_files.each(self._records(folder))

    def index_records(self, folder: str) -> None:
        """Put the records of a step into one file, of which `records` reads what is still true."""
        if self.layout > 1:
            record_files.write_index(self._records(folder))

    def _records(self, folder: str) -> str:
        return self.part(folder, 0, "json").rpartition("/")[0]

    def tables(
        self, folder: str, columns: list[str] | None = None, present: Collection[str] | None = None
    ) -> Iterator[pa.Table]:
        """The rows of a stage, a part at a time, in order: all columns, these, or those there are."""
        read = partial(self.rows, folder, columns=columns, present=present)
        for _, table in self.each(self.done(folder), read):
            yield table

    def each(
        self, things: Iterable[Thing], read: Callable[[Thing], Read]
    ) -> Iterator[tuple[Thing, Read]]:
        """Indices of parts, or what else is read of the run, each with what `read` gives, in order.

        In a store many are read at once, since most of that is waiting; `read` keeps no state.
        """
        things = list(things)
        is_near = files.local_path(self.root) is not None
        read_ones = map(read, things) if is_near else together(read, things, threads=_AT_ONCE)
        return zip(things, read_ones, strict=True)

    def annotated(
        self, stage: Stage, part: int | Part, names: Collection[str] | None = None, *,
        beside: Beside | None = None,
    ) -> pa.Table:  # fmt: skip
        """What `stage` found out about a part's rows: those of these columns that it has, or all.

        `beside` are folders with further columns of the same rows. Of a run that is not finished
        they are null where nothing stands there yet, or a part of other rows.
        """
        inner = files.join(stage, ANNOTATED)
        wanted = {
            folder: [one for one in columns if names is None or one.name in names]
            for folder, columns in (beside or {}).items()
        }
        asked = {*names, "uid"} if names is not None and any(wanted.values()) else names
        table = self.rows(inner, part, present=asked)
        uids = table["uid"] if any(wanted.values()) else None
        if names is not None:
            table = table.select([name for name in table.column_names if name in names])
        for folder, columns in wanted.items():
            if not columns:
                continue
            found = None
            if self._has(folder, part):
                found = self.rows(folder, part, columns=["uid", *(one.name for one in columns)])
            for one in columns:
                column = pa.nulls(len(table), one.type)
                if found is not None and found["uid"].equals(uids):
                    column = found[one.name]
                table = table.append_column(one, column)
        return table

    def _has(self, folder: str, part: int | Part) -> bool:
        """Whether a part is done at a step, by what the part knows or else by its record."""
        if isinstance(part, Part):
            if part_name(folder, part.index) in part.held:
                return True
            part = part.index
        return self.record(folder, part) is not None

    def steps(self, stage: Stage, *, spare: bool = False) -> list[str]:
        """The folders of the steps of `stage` that have parts, in flow order.

        With `spare` also those in which something stands of no step of the configuration: a column
        that it had before, a score that was taken beside the run.
        """
        owner = self if self.makes(stage) else Run.to(str(self.source))
        state = owner.state()
        known = state.get("steps", state.get("digests", ()))  # older runs have the digests alone
        found = [x for x in known if x.partition("/")[0] == stage]
        if found and not spare:
            return found
        return list(dict.fromkeys((*self._annotated_folders(stage), *found, str(stage))))

    def _annotated_folders(self, stage: Stage) -> list[str]:
        inner = files.join(stage, ANNOTATED)
        names = files.names(self.path(inner))
        further = [files.join(inner, name) for name in names if "." not in name]
        return [inner, *further] if names else []

    def state(self) -> dict[str, Any]:
        """The content of run.json; empty where there is none."""
        try:
            return files.read_document(self.path("run.json"))
        except AbsentError:
            return {}

    def begin(self, **values: object) -> None:
        """Write a run.json in place of one that is lost: nothing of the run is known to be done."""
        document = {"layout": self.layout, "state": "failed", **values}
        files.write_document(self.path("run.json"), document)

    def update(self, **values: object) -> None:
        """Set keys of run.json."""
        files.write_document(
            self.path("run.json"), {"layout": self.layout, **self.state(), **values}
        )

    def content(self, digest: str) -> str:
        """`digest` of parts, with the retries since: they change rows under the same settings."""
        retries = Run(self.source or self.root).state().get("retries")
        return files.digest_of(digest, retries) if retries else digest

    def list_ahead(self) -> None:
        """List the folders in which its steps have left files, side by side."""
        with suppress(DamagedError):
            steps = self.state().get("steps", ())
            own = (x for stage in PART_STAGES if self.makes(stage) for x in self.folders(stage))
            of_steps = (x for step in steps for x in (self.path(step), self._records(step)))
            others = (self.path(x) for x in ("input", Stage.SHARDS, Stage.REPORT))
            files.list_ahead([*of_steps, *own, *others] if steps else [])

    def sweep(self) -> None:
        """Remove the temporary files that a killed command left; no other may be at work here."""
        for name in files.temporaries(self.root):
            files.remove(files.join(self.root, name))


def _arrived(*values: Any) -> Run:
    """A run in another process, which changes it only while it is of its generation."""
    run = Run(*values)
    bound(run.root, run.generation)
    return run


def earlier(run: Run, stage: Stage) -> int:
    """How many parts of `stage` are not those of the configuration that the run was started with last.

    None of a stage that it borrows, and of a run that does not say.
    """
    digest = run.state().get("digests", {}).get(stage)
    if digest is None or not run.makes(stage):
        return 0
    return sum(one != digest for one in run.record_table(stage)["digest"].to_pylist())


def part_name(folder: str, index: int, ending: str = "parquet") -> str:
    """The name of a part's file, relative to the run.

    >>> part_name("dropped/score", 7)
    'dropped/score/part-00007.parquet'
    """
    return f"{folder}/part-{index:05d}.{ending}"


def step_of(folder: str) -> str:
    """The folder of the step that writes to `folder`.

    >>> step_of("dropped/score"), step_of("score")
    ('score', 'score')
    """
    return folder.removeprefix("dropped/").removeprefix("dead/")


class Counts(TypedDict):
    """What became of the pairs that entered a stage."""

    rows: int
    kept: int
    dropped: dict[str, int]  # by reason
    dead: dict[str, int]  # by error


class Totals(Counts):
    """The counts of a stage over all its parts, as run.json has them."""

    parts: int
    figures: dict[str, float]
    seconds: float


def totals(run: Run, stage: Stage) -> Totals:
    """Counts of a stage over all its parts: rows, kept, dropped, dead, seconds, figures."""
    rows = kept = parts = 0
    seconds = 0.0
    dropped: dict[str, int] = {}
    dead: dict[str, int] = {}
    figures: dict[str, float] = {}
    for folder in dict.fromkeys((*run.steps(stage), str(stage))):
        for _, record in run.records(folder):
            seconds += record.seconds
            for counts, more in ((dropped, record.dropped), (dead, record.dead)):
                for reason, n in more.items():
                    counts[reason] = counts.get(reason, 0) + n
            for name, value in record.figures.items():
                figures[name] = figures.get(name, 0) + value
            if folder == stage:
                parts, rows, kept = parts + 1, rows + record.rows, kept + record.kept
    return {
        "parts": parts,
        "rows": rows,
        "kept": kept,
        "dropped": dict(sorted(dropped.items())),
        "dead": dict(sorted(dead.items())),
        "figures": dict(sorted(figures.items())),
        "seconds": round(seconds, 3),
    }


DISTRIBUTION = "curate-clip"
"""The name of this project on the package index."""


def versions() -> dict[str, str]:
    """Versions of what a run's output depends on."""
    names = ("curate", "apache-beam", "pyarrow", "numpy", "open_clip_torch", "torch",
             "opencv-python-headless")  # fmt: skip
    found = {}
    for name in names:
        try:
            found[name] = metadata.version(DISTRIBUTION if name == "curate" else name)
        except metadata.PackageNotFoundError:
            found[name] = "absent"
    return found


PART_STAGES = tuple(schema.ADDED)
"""The stages whose output is parts."""

BORROWED = frozenset(PART_STAGES) - {Stage.BALANCE}
"""The stages that a rebalanced run reads from its source."""
