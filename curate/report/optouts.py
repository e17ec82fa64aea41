"""Opt-outs: how many pairs each signal held back, and of which hosts."""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from curate.config import Download
from curate.reasons import ROBOTS_TXT, DropReason
from curate.summaries.sites import LIST
from curate.summaries.tallies import Tallies, What
from curate.web.optout import TDM_RESERVATION

HOSTS = 10
"""Hosts shown, those with the most pairs that were held back."""

UNTOLD = "not told apart"
"""The signal of pairs that an earlier version counted."""


_MEANINGS = {
    ROBOTS_TXT: "file of the host that says what programs may fetch",
    LIST: "a host or URL on the list that the run was given (download.opt_out_list)",
    TDM_RESERVATION: "header that reserves the rights of text and data mining",
    UNTOLD: "counted by an earlier version",
}


@dataclass(frozen=True)
class Signal:
    """What asks that images are not used."""

    signal: str
    pairs: int  # held back
    heeded: bool  # under the configuration


@dataclass(frozen=True)
class Held:
    """A host that asks for it."""

    host: str
    pairs: int


@dataclass(frozen=True)
class OptOuts:
    """Opt-outs of a run: pairs that were not fetched, or not kept, for them."""

    pairs: int
    signals: tuple[Signal, ...]  # those that are heeded, and others that held pairs back
    hosts: tuple[Held, ...]  # of the URLs


def opt_outs(fetched: Tallies, hosts: pa.Table, *, pairs: int, asked: Download) -> OptOuts:
    """The opt-outs among the `pairs` that a download dropped for them; `hosts` are `schema.HOSTS`."""
    counts = {_name(x): 0 for x in asked.opt_out}
    counts |= {x: 0 for x, on in ((ROBOTS_TXT, asked.robots), (LIST, asked.opt_out_list)) if on}
    heeded = set(counts)
    for value, n in fetched.of_texts(What.OPT_OUT).items():
        counts[_name(value)] = counts.get(_name(value), 0) + n
    if rest := pairs - sum(counts.values()):
        counts[UNTOLD] = rest
    order = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    return OptOuts(
        pairs=pairs,
        signals=tuple(Signal(name, n, name in heeded) for name, n in order),
        hosts=tuple(_of_hosts(hosts)) if pairs else (),
    )


def meaning(signal: str) -> str:
    """What a signal is, in a line."""
    return _MEANINGS.get(signal, "header of the answer that brought the image")


def _name(signal: str) -> str:
    """A signal by its place and its value.

    >>> _name("noai"), _name("robots.txt"), _name("TDM-Reservation")
    ('X-Robots-Tag: noai', 'robots.txt', 'tdm-reservation')
    """
    lower = signal.lower()
    return lower if lower in (ROBOTS_TXT, LIST, TDM_RESERVATION) else f"X-Robots-Tag: {lower}"


def _of_hosts(hosts: pa.Table) -> list[Held]:
    found = pc.map_lookup(hosts["reasons"], pa.scalar(str(DropReason.OPTED_OUT)), "first")
    rows = pa.table([hosts["host"], found], ["host", "pairs"]).filter(pc.is_valid(found))
    order = [("pairs", "descending"), ("host", "ascending")]
    return [Held(**row) for row in rows.sort_by(order).slice(0, HOSTS).to_pylist()]
