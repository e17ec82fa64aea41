"""What is counted of a stage, a group of parts at a time: written by the workers, folded by who asks.

A group is `PARTS` parts that follow each other. What is counted of it stands in three tables, each with
a digest of the records of its parts: so it counts while these records are what they were, and is
otherwise counted again from the files.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc

from curate import files
from curate.errors import AbsentError, DamagedError
from curate.rundir.directory import PartRecord, Run
from curate.rundir.layout import SUMMARIES
from curate.rundir.scratch import WORK, work
from curate.schema import Stage
from curate.summaries import places
from curate.summaries.counting import Counting
from curate.summaries.places import Places, is_of, marked
from curate.summaries.tallies import Tallies, What

PARTS = 256
"""Parts of a group."""
LARGE = 1 << 17
"""Places of a group that are too many to go through the engine."""
MOST = 1 << 20
"""Places of a group that a worker holds."""
_DIGITS = 5

Identities = dict[int, str]
"""What the records of some parts say that they are, by part."""


def number_of(part: int) -> int:
    """The number of the group of a part."""
    return part // PARTS


def identity(record: PartRecord) -> str:
    """A digest of what a record says of its part's rows."""
    held = [[name, *content] for name, content in record.wrote.items()]
    return files.digest_of(record.digest, record.rows, record.dropped, record.dead, held)


@dataclass
class Group:
    """What is counted of some parts of a group, and which of them are not counted yet."""

    of: Identities = field(default_factory=dict)
    tallies: Tallies = field(default_factory=Tallies)
    places: Places = field(default_factory=Places)
    left: set[int] = field(default_factory=set)

    def add(self, other: "Group") -> None:
        """Add other parts."""
        self.of |= other.of
        self.left |= other.left
        self.tallies.add(other.tallies)
        self.places.extend(other.places)

    @property
    def digest(self) -> str:
        """That of the records of its parts."""
        return digest_of(self.of)

    def travels(self, run: Run, stage: Stage) -> "Group":
        """The same without what is too large to go through the engine, which holds it in memory."""
        if len(self.places) > LARGE:
            name = files.digest_of(sorted(self.of.items()), sorted(self.left))
            self.places.lay_by(work(run, files.join(stage, SUMMARIES), WORK, f"{name}.npy"))
        self.tallies.compact()
        return self


def digest_of(of: Identities) -> str:
    """A digest of the records of the parts of a group."""
    return files.digest_of(sorted(of.items()))


def write(run: Run, counting: Counting, number: int, group: Group) -> None:
    """Write what is counted of a group, where it does not stand; what is left is counted from files."""
    if run.layout == 1 or (group.left and _stands(run, counting.stage, number, of=group.digest)):
        return
    for index in sorted(group.left):
        tallies, found = counting.again(run, index)
        group.tallies.add(tallies)
        group.places.extend(found)
    counts, pairs = group.tallies.tables()
    stage, of = counting.stage, group.digest
    files.write_table(_url(run, stage, number, "pairs"), marked(pairs, of=of))
    places.write(_url(run, stage, number, "places"), group.places, of=of)
    files.write_table(_url(run, stage, number, "counts"), marked(counts, of=of))  # the last


def _url(run: Run, stage: Stage, number: int, name: str) -> str:
    return run.path(stage, SUMMARIES, f"{number:0{_DIGITS}d}.{name}.parquet")


def _stands(run: Run, stage: Stage, number: int, *, of: str) -> bool:
    return _read(run, stage, number, of=of) is not None


def _read(run: Run, stage: Stage, number: int, *, of: str | None) -> Tallies | None:
    """What was counted of a group; None where it is not `of` its parts, where these are given."""
    counts, pairs = (_table(run, stage, number, name, of=of) for name in ("counts", "pairs"))
    return None if counts is None or pairs is None else Tallies.of_tables(counts, pairs)


def _table(
    run: Run, stage: Stage, number: int, name: str, *, of: str | None,
    columns: list[str] | None = None,
) -> pa.Table | None:  # fmt: skip
    """One of the tables of a group, on the same terms."""
    with suppress(AbsentError, DamagedError):
        found = files.read_table(_url(run, stage, number, name), columns=columns)
        if of is None or is_of(found.schema, of):
            return found
    return None


def _groups(run: Run, stage: Stage) -> dict[int, Identities]:
    """The groups of the parts of a stage that are done."""
    found: dict[int, Identities] = {}
    for index, record in run.records(stage):
        found.setdefault(number_of(index), {})[index] = identity(record)
    return found


def tallies(run: Run, counting: Counting) -> Iterator[Tallies]:
    """What is counted of a stage, a group at a time, in order."""
    stage, groups = counting.stage, _groups(run, counting.stage)
    stored = run.each(groups, lambda x: _read(run, stage, x, of=digest_of(groups[x])))
    for number, found in stored:
        if found is None:
            found = Tallies()
            for _, (more, _) in run.each(groups[number], partial(counting.again, run)):
                found.add(more)
        yield found


def whole(
    run: Run, counting: Counting, *, hosts: Callable[[pa.Table], object] | None = None
) -> Tallies:
    """What is counted of all parts of a stage; its hosts, which are many, go to `hosts` by group."""
    merged = Tallies()
    for found in tallies(run, counting):
        if found.hosts is not None and hosts:
            hosts(found.hosts)
        found.hosts = None
        merged.add(found)
    return merged


def refresh(run: Run, counting: Counting) -> None:
    """Make what is counted of a stage that of its parts as they are; of others nothing is left."""
    groups = _groups(run, counting.stage)
    for name in files.names(run.path(counting.stage, SUMMARIES)):
        if not name[:_DIGITS].isdigit() or int(name[:_DIGITS]) not in groups:
            files.remove(run.path(counting.stage, SUMMARIES, name))
    stored = run.each(groups, lambda x: _read(run, counting.stage, x, of=digest_of(groups[x])))
    for number, found in stored:
        if found is None:
            of = groups[number]
            write(run, counting, number, Group(of=of, left=set(of)))


def kept_before(run: Run, stage: Stage, part: int) -> int:
    """How many pairs a stage keeps in the parts before `part`: by what is counted of the groups before
    its own, and by the records of its own group.
    """  # fmt: skip
    groups, number = _standing(run, stage), number_of(part)

    def count(before: int) -> int:
        parts, of = groups[before]
        found = _table(run, stage, before, "counts", of=of, columns=["what", "pairs"])
        if found is not None:
            return int(
                pc.sum(found["pairs"].filter(pc.equal(found["what"], What.LANGUAGE))).as_py() or 0
            )
        return sum(one.kept for one in map(partial(run.record, stage), parts) if one)

    whole = sum(n for _, n in run.each((x for x in groups if x < number), count))
    own = run.each((x for x in groups[number][0] if x < part), partial(run.record, stage))
    return whole + sum(one.kept for _, one in own if one)


def parts_with(run: Run, stage: Stage, texts: Sequence[str]) -> list[int]:
    """The parts of a stage in which one of some texts may occur.

    They are uids and URLs of the pairs that came into `prepare`; of another stage the uids of pairs
    that others were dropped for.
    """
    groups = _standing(run, stage) if texts else {}

    def find(number: int) -> Iterable[int]:
        parts, of = groups[number]
        found = places.find(_url(run, stage, number, "places"), texts, of=of)
        return parts if found is None else found

    return [index for _, found in run.each(groups, find) for index in found]


def _standing(run: Run, stage: Stage) -> dict[int, tuple[Iterable[int], str | None]]:
    """The parts of each group that are done at a stage, and of which digest what is counted has to be.

    None of a complete run: what is counted there is of its parts, and no record has to be looked at.
    """
    owner = run if run.makes(stage) else Run.to(str(run.source))
    state = owner.state()
    if state.get("state") != "complete":
        return {x: (of, digest_of(of)) for x, of in _groups(run, stage).items()}
    parts = range(state["parts"])
    return {number_of(x): (parts[x : x + PARTS], None) for x in parts[::PARTS]}
