"""Another balance over what a run holds: its matches and images are read in place.

The new run is a run directory of its own without the folders of the stages before balance. Its
digests go on from those in the source's records, so its shards are those of a whole run.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
from pydantic import ValidationError

from curate import files
from curate.config import ENTITIES, Balance, Beam, Config
from curate.config import file as config_file
from curate.errors import CurateError
from curate.planning.assets import check_texts
from curate.planning.digests import chain
from curate.planning.plan import Plan
from curate.planning.steps import steps_of
from curate.rundir import borrowed, lock
from curate.rundir.directory import Part, Run, part_name
from curate.rundir.revocations import check_settled
from curate.schema import MATCHES, Stage

_AT_ONCE = 4096  # records that are taken apart together, as Python's objects are ten times as large


@dataclass(frozen=True)
class Source:
    """A complete run, as the stages from balance on see it."""

    run: Run
    config: Config
    parts: tuple[Part, ...]  # as they reach the balance
    reads: str  # the folder that they are in
    digest: str  # of all that they depend on

    @property
    def reference(self) -> str:
        """The language whose t is given."""
        return self.config.balance.reference if self.config.balance else "en"

    def on(self, asked: str | None) -> str:
        """What is counted: `asked`, or where that is None what the run's own balance counts.

        Raises
        ------
        CurateError
            Where the run has no such score.
        """
        balance = self.config.balance
        on = asked or (balance.on if balance else MATCHES)
        known = self.config.counted
        if on not in known:
            raise CurateError(
                f"--on {on}: {self.run.root} has no score of kind {ENTITIES} of that name; known:"
                f" {', '.join(known)}"
            )
        return on


def open_source(url: str, *, matched: bool = True) -> Source:
    """The run at `url`; of a rebalanced run, the one that it rebalances.

    Raises
    ------
    CurateError
        Where the run is not complete, has no matches, or has others than its entry lists give.
    """
    run = borrowed.open_run(url)
    if run.source:
        return open_source(run.source, matched=matched)
    state = run.state()
    if state["state"] != "complete":
        raise CurateError(
            f"{url} is not complete (its state is {state['state']}); go on with it first:"
            f" curate run {run.path('config.yaml')}"
        )
    config = config_file.load(run.path("config.yaml"))
    if matched and not config.prepare.metadata:
        raise CurateError(f"{url} has no matches to balance: it ran without prepare.metadata")
    steps = steps_of(config)
    reads = steps.upstream(Stage.BALANCE)
    records = run.record_table(reads)
    digests = records["digest"].unique().to_pylist()
    if len(records) != state["parts"] or len(digests) != 1:
        raise CurateError(
            f"{url}: of {state['parts']} parts, {len(records)} are done after {reads} under"
            f" {len(digests)} settings; go on with it first: curate run {run.path('config.yaml')}"
        )
    assets = check_texts(config, steps)
    alone = chain(steps, config, assets, start="", only=lambda step: step.stage is Stage.PREPARE)
    prepare = alone[Stage.PREPARE]
    if {*run.record_table(Stage.PREPARE)["own"].to_pylist()} - {prepare.own}:
        raise CurateError(
            f"{url}: a file has changed since its captions were prepared; it is one of"
            f" {', '.join(assets)}"
        )
    return Source(run, config, (*_parts(run, reads, records),), reads, run.content(digests[0]))


def _parts(run: Run, reads: str, records: pa.Table) -> Iterator[Part]:
    """The parts of these records, each with the content of its table."""
    for rows in records.to_batches(max_chunksize=_AT_ONCE):
        columns = (rows[x].to_pylist() for x in ("part", "kept", "wrote"))
        for index, kept, wrote in zip(*columns, strict=True):
            name = part_name(reads, index)
            own = (x for x in wrote if x["name"] == name)
            held = {x["name"]: files.Content(x["size"], x["crc32"]) for x in own}
            yield Part(index, run.part(reads, index), 0, kept, kept=kept, held=held)


def target(
    *, t: float | None, p: float | None, size: int | None, reference: str, on: str = MATCHES
) -> Balance:
    """The balance that the options of the same names ask for; exactly one of the first three."""
    try:
        return Balance(t=t, p=p, size=size, reference=reference, on=on)
    except ValidationError as error:
        first = error.errors()[0]
        if not first["loc"]:
            raise CurateError("give exactly one of --t, --p and --size") from None
        message = first["msg"][0].lower() + first["msg"][1:]
        raise CurateError(f"--{first['loc'][0]} {first['input']}: {message}") from None


def make_plan(source: Source, *, balance: Balance, out: str, beam: Beam) -> Plan:
    """The stages of `source` from balance on, into the folder `out`, on the engine `beam`."""
    if balance.reference not in source.config.prepare.metadata:
        have = ", ".join(sorted(source.config.prepare.metadata))
        raise CurateError(f"--reference {balance.reference}: the run's entry lists are for {have}")
    run = Run.to(out, source.run.root)
    _check_out(run, out)
    config = source.config.model_copy(update={"balance": balance, "out": out, "beam": beam})
    state = source.run.state()
    steps = steps_of(config)
    own = chain(steps, config, {}, start=source.digest, only=lambda step: run.makes(step.stage))
    return Plan(config, run, source.parts, steps, own, state["inputs"], state["input_digest"])


def check_apart(source: str, out: str) -> None:
    """Raise where the folder `out` is in the run directory `source`."""
    if f"{files.absolute(out).rstrip('/')}/".startswith(f"{source}/"):
        raise CurateError(f"--out {out} is in the run that is to stay as it is; give another")


def _check_out(run: Run, out: str) -> None:
    check_apart(str(run.source), out)
    state = Run(run.root).state()
    moved = state.get("borrowed") and state["borrowed"] == borrowed.borrowed_by(run)
    if state and state.get("source") != run.source and not (state.get("source") and moved):
        raise CurateError(
            f"{out} holds a run that is no rebalance of {run.source}; give another --out, or"
            " remove that folder"
        )
    if not borrowed.changed(run, settings_only=True):  # else all of it is made again
        check_settled(run)
    if not state and set(files.names(run.root)) - {lock.NAME}:
        raise CurateError(f"{out} is not empty and holds no run; give another --out")
