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

from curate import files
from curate.errors import AbsentError, DamagedError
from curate.run.directory import PartRecord, Run
from curate.run.layout import SUMMARIES
from curate.schema import Stage
from curate.summaries import places
from curate.summaries.counting import Counting
from curate.summaries.places import Places, is_of, marked
from curate.summaries.tallies import Tallies, What

PARTS = 256
"""Parts of a group."""
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
    with suppress(AbsentError, DamagedError):
        counts, pairs = (files.read_table(_url(run, stage, number, x)) for x in ("counts", "pairs"))
        if of is None or (is_of(counts.schema, of) and is_of(pairs.schema, of)):
            return Tallies.of_tables(counts, pairs)
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
    """How many pairs a complete run keeps after a stage in the parts before `part`.

    The groups tell it, and of the part's own group the records.
    """
    number = number_of(part)

    def count(group: int) -> int | None:
        found = _read(run, stage, group, of=None)
        return found.of_texts(What.LANGUAGE).total() if found else None

    counts = [n for _, n in run.each(range(number), count)]
    if None in counts:
        return sum(record.kept for index, record in run.records(stage) if index < part)
    own = run.each(range(number * PARTS, part), partial(run.record, stage))
    return sum(n for n in counts if n) + sum(record.kept for _, record in own if record)


def parts_with(run: Run, stage: Stage, texts: Sequence[str]) -> list[int]:
    """The parts of a stage in which one of some texts may occur.

    They are uids and URLs of the pairs that came into `prepare`; of another stage the uids of pairs
    that others were dropped for.
    """

    owner = run if run.makes(stage) else Run.to(str(run.source))
    state = owner.state()
    groups: dict[int, Identities | None] = {}
    if state.get("state") == "complete":  # then what is counted is of its parts
        groups = dict.fromkeys(range(number_of(state["parts"] - 1) + 1))
    else:
        groups |= _groups(run, stage)

    def find(number: int) -> Iterable[int]:
        of = groups[number]
        url = _url(run, stage, number, "places")
        found = places.find(url, texts, of=None if of is None else digest_of(of))
        if found is not None:
            return found
        first = number * PARTS
        return range(first, min(first + PARTS, state["parts"])) if of is None else of

    return [index for _, found in run.each(groups if texts else (), find) for index in found]
