"""Which hosts gave their images and which have lost them: outcomes of the download by host.

They are added a group of parts at a time. At most `MOST` hosts are held: beyond that the smaller half
is let go, and `Hosts.missed` says by how many pairs a count may then be too low. Totals are exact,
those of top-level domains too.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate import schema
from curate.reasons import SUCCESS, TRANSIENT, DropReason
from curate.summaries.tallies import BY_HOST, summed

MOST = 1 << 18
"""Hosts held; with their outcomes about 200 MB."""

SHOWN = 20
"""Hosts shown, those with the most pairs."""

ROT = frozenset(reason for reason in DropReason if reason.row.gone)
"""Outcomes that say that the link is dead: the image is gone, or its host."""

NO_TLD = ""
"""The top-level domain of an address, and of a name that has no dot."""
_TLD = r"\.(?P<tld>[^.\[\]:]*[^.\[\]:0-9][^.\[\]:]*)\.?$"

_NONE = pa.table(
    {"host": pa.array([], pa.string()), "outcome": pa.array([], pa.string()),
     "pairs": pa.array([], pa.int64()), "bytes": pa.array([], pa.int64())}
)  # fmt: skip


@dataclass(frozen=True)
class Host:
    """What became of the pairs of one host."""

    host: str
    pairs: int
    fetched: int
    link_rot: float  # share of the pairs
    bytes: int  # of the originals that were fetched
    reasons: dict[str, int]  # of the pairs that were not, most frequent first


@dataclass(frozen=True)
class Hosts:
    """All hosts together, and the largest of them."""

    hosts: int
    pairs: int
    link_rot: float  # share of the pairs
    transient: int  # pairs that failed for a reason that may pass
    missed: int  # pairs by which the count of a host may be too low
    top: tuple[Host, ...]


class Tally:
    """Counts by host and outcome that stay below a bound in memory."""

    def __init__(self, *, most: int = MOST) -> None:
        self.totals: Counter[str] = Counter()  # pairs by outcome, over all hosts
        self.missed = 0
        self._most = most
        self._counted = _NONE
        self._new: list[pa.Table] = []
        self._let_go = _NONE  # by top-level domain in place of the host

    def add(self, rows: pa.Table) -> None:
        """Add pairs and bytes by host and outcome."""
        for row in summed(rows, ["outcome"]).to_pylist():
            self.totals[row["outcome"]] += row["pairs"]
        self._new.append(rows)
        if sum(map(len, self._new)) > max(self._most, len(self._counted)):
            self.held()

    def held(self) -> pa.Table:
        """Pairs and bytes by host and outcome, of the hosts that are held."""
        counted = summed(pa.concat_tables([self._counted, *self._new]), BY_HOST)
        hosts = _ranked(summed(counted, ["host"]))
        if len(hosts) > self._most:
            kept = self._most // 2
            self.missed += hosts["pairs"][kept].as_py()
            wanted = hosts["host"].slice(0, kept).combine_chunks()
            stays = pc.is_in(counted["host"], wanted)
            gone = by_tld(counted.filter(pc.invert(stays)))
            self._let_go = summed(pa.concat_tables([self._let_go, gone]), BY_HOST)
            counted = counted.filter(stays)
        self._counted, self._new = counted, []
        return counted

    def tlds(self) -> pa.Table:
        """Pairs and bytes by top-level domain, in the column ``host``, and outcome: of all hosts."""
        return summed(pa.concat_tables([by_tld(self.held()), self._let_go]), BY_HOST)

    def table(self) -> pa.Table:
        """A row a host, those with the most pairs first: `schema.HOSTS`."""
        counted = self.held()
        success = pc.equal(counted["outcome"], SUCCESS)
        rot = pc.is_in(counted["outcome"], pa.array(sorted(ROT), pa.string()))
        for name, mask in (("fetched", success), ("rot", rot)):
            counted = counted.append_column(name, pc.if_else(mask, counted["pairs"], 0))
        names = ["pairs", "bytes", "fetched", "rot"]
        hosts = _ranked(summed(counted, ["host"], names))
        failed = counted.filter(pc.invert(success))
        rank = pc.index_in(failed["host"], hosts["host"].combine_chunks())
        order = [("rank", "ascending"), ("pairs", "descending"), ("outcome", "ascending")]
        failed = failed.append_column("rank", rank).sort_by(order)
        ends = np.cumsum(np.bincount(rank.to_numpy(), minlength=len(hosts)))
        reasons = pa.MapArray.from_arrays(
            pa.array(np.concatenate([[0], ends]), pa.int32()),
            failed["outcome"].combine_chunks(), failed["pairs"].combine_chunks(),
        )  # fmt: skip
        share = pc.divide(pc.cast(hosts["rot"], pa.float64()), hosts["pairs"])
        columns = [hosts["host"], hosts["pairs"], hosts["fetched"], share, hosts["bytes"], reasons]
        return pa.table(columns, schema=schema.HOSTS)


def by_tld(counted: pa.Table) -> pa.Table:
    """The same with the top-level domain in place of each host; `NO_TLD` where it has none."""
    found = pc.struct_field(pc.extract_regex(counted["host"], _TLD), "tld")
    tlds = pc.fill_null(found, NO_TLD)
    return summed(counted.set_column(counted.column_names.index("host"), "host", tlds), BY_HOST)


def _ranked(hosts: pa.Table) -> pa.Table:
    return hosts.sort_by([("pairs", "descending"), ("host", "ascending")])


def summary(tally: Tally, hosts: pa.Table) -> Hosts:
    """The totals, and the first rows of the `hosts` of a tally."""
    pairs = tally.totals.total()
    top = hosts.slice(0, SHOWN).to_pylist()
    return Hosts(
        hosts=len(hosts),
        pairs=pairs,
        link_rot=sum(tally.totals[outcome] for outcome in ROT) / max(pairs, 1),
        transient=sum(tally.totals[outcome] for outcome in TRANSIENT),
        missed=tally.missed,
        top=tuple(Host(**{**row, "reasons": dict(row["reasons"])}) for row in top),
    )
