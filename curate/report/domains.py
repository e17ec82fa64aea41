"""Where the set comes from: hosts, domains, top-level domains and countries, before and after.

Made of what the stages counted by host: nothing of the pool is read, and no address is looked up.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.files import shipped
from curate.reasons import SUCCESS
from curate.report.hosts import Hosts, Tally
from curate.report.suffixes import shipped as shipped_suffixes
from curate.schema import DOMAINS
from curate.summaries.sites import NO_HOST
from curate.summaries.tallies import summed

SHOWN = 20
"""Hosts and domains shown, those with the most pairs in the set."""
TLDS = 60
"""Top-level domains shown; the others are one row."""
OTHERS = "others"
TENTH = 0.1
_COUNTRIES = "curate/data/countries.tsv"
_NUMBERS = ("asked", "fetched", "bytes", "kept", "kept_bytes")


@dataclass(frozen=True)
class Site:
    """Pairs of a host, or of several that have something in common."""

    name: str
    asked: int  # pairs that came into the download
    fetched: int  # of them, those whose image came
    bytes: int  # of these originals
    kept: int | None  # pairs in the set; None where they were not counted
    kept_bytes: int | None  # of their originals


@dataclass(frozen=True)
class Largest:
    """The largest tenth of some sites, and the share of the set that comes from it."""

    sites: int  # in the tenth, rounded up
    of: int  # with pairs in the set
    pairs: float
    bytes: float


@dataclass(frozen=True)
class Domains:
    """The sites of a run, each kind with the most pairs in the set first."""

    unit: str  # what a domain is here: "registrable domain", or "host" where no list tells
    counted: bool  # whether the pairs of the set were counted by host
    total: Site
    hosts: tuple[Site, ...]
    domains: tuple[Site, ...]
    tlds: tuple[Site, ...]
    countries: tuple[Site, ...]  # of country-code top-level domains
    largest_hosts: Largest | None  # the tenth with the most pairs
    largest_domains: Largest | None  # the tenth with the most bytes
    missed: int  # pairs by which the count of a host or domain may be too low


@dataclass(frozen=True)
class Sites:
    """The facts, and all domains, which are many: `schema.DOMAINS`."""

    facts: Domains
    table: pa.Table


def domains(asked: Tally, kept: Tally, hosts: Hosts, *, in_the_set: int) -> Sites:
    """What there is to say of the sites of a run.

    `asked` are the outcomes of the download by host and `kept` the pairs of the set, of which there are
    `in_the_set`: where others were counted, by an earlier version, how many were kept is not known.
    """
    counted = kept.totals.total() == in_the_set
    kept = kept if counted else Tally()
    by_host = _joined(asked.held(), kept.held())
    suffixes = shipped_suffixes()
    names = by_host["site"].to_pylist()
    registered = [suffixes.registrable(x) for x in names] if suffixes else names
    ones = pa.repeat(1, len(by_host))
    by_domain = by_host.set_column(0, "site", pa.array(registered, pa.string()))
    by_domain = summed(by_domain.append_column("hosts", ones), ["site"], ["hosts", *_NUMBERS])
    keys = [("kept_bytes", "descending"), ("kept", "descending"), ("bytes", "descending"),
            ("asked", "descending"), ("site", "ascending")]  # fmt: skip
    by_domain = by_domain.sort_by(keys)
    by_tld = _joined(asked.tlds(), kept.tlds())
    tlds = [replace(x, name=_readable(x.name)) for x in _sites(by_tld, len(by_tld), counted)]
    found = Domains(
        unit="registrable domain" if suffixes else "host",
        counted=counted,
        total=_sum("", tlds),
        hosts=tuple(_sites(by_host, SHOWN, counted)),
        domains=tuple(_sites(by_domain, SHOWN, counted)),
        tlds=_folded(_merged(tlds)),
        countries=tuple(_countries(tlds)),
        largest_hosts=_largest(by_host, "kept") if counted else None,
        largest_domains=_largest(by_domain, "kept_bytes") if counted else None,
        missed=hosts.missed + kept.missed,
    )
    table = by_domain.rename_columns(DOMAINS.names)
    if not counted:
        nulls = pa.nulls(len(table), pa.int64())
        for name in ("kept", "kept_bytes"):
            table = table.set_column(table.column_names.index(name), name, nulls)
    return Sites(found, table.cast(DOMAINS))


def _joined(asked: pa.Table, kept: pa.Table) -> pa.Table:
    """A row a site with `_NUMBERS`, from pairs by host and outcome before and after."""
    came = pc.equal(asked["outcome"], SUCCESS)
    zeros, of_kept = pa.repeat(0, len(asked)), pa.repeat(0, len(kept))
    before = [asked["host"], asked["pairs"], pc.if_else(came, asked["pairs"], 0), asked["bytes"],
              zeros, zeros]  # fmt: skip
    after = [kept["host"], of_kept, of_kept, of_kept, kept["pairs"], kept["bytes"]]
    names = ["site", *_NUMBERS]
    rows = pa.concat_tables([pa.table(before, names), pa.table(after, names)])
    found = summed(rows, ["site"], _NUMBERS)
    # Of a host that was let go from one side only, no fewer pairs were asked than are kept.
    for name, least in (("asked", "kept"), ("fetched", "kept"), ("bytes", "kept_bytes")):
        most = pc.max_element_wise(found[name], found[least])
        found = found.set_column(found.column_names.index(name), name, most)
    keys = [("kept", "descending"), ("asked", "descending"), ("site", "ascending")]
    return found.sort_by(keys)


def _sites(table: pa.Table, most: int, counted: bool) -> Iterator[Site]:
    keys = [("kept", "descending"), ("asked", "descending"), ("site", "ascending")]
    for row in table.sort_by(keys).slice(0, most).select(["site", *_NUMBERS]).to_pylist():
        kept = {} if counted else {"kept": None, "kept_bytes": None}
        yield Site(row.pop("site"), **row | kept)


def _largest(table: pa.Table, by: str) -> Largest | None:
    """The tenth of the sites in the set that is largest in the column `by`."""
    table = table.filter(
        pc.and_(pc.greater(table["kept"], 0), pc.not_equal(table["site"], NO_HOST))
    )
    pairs, sizes = (table[name].to_numpy() for name in ("kept", "kept_bytes"))
    if not len(pairs):
        return None
    n = int(np.ceil(TENTH * len(pairs)))
    top = np.argsort(-table[by].to_numpy(), kind="stable")[:n]
    shares = (float(x[top].sum() / max(x.sum(), 1)) for x in (pairs, sizes))
    return Largest(n, len(pairs), *shares)


def _sum(name: str, sites: Sequence[Site]) -> Site:
    def of(number: str) -> int | None:
        values = [getattr(one, number) for one in sites]
        return None if None in values else sum(values)

    return Site(name, **{number: of(number) for number in _NUMBERS})  # type: ignore[arg-type]


def _merged(sites: Sequence[Site]) -> list[Site]:
    """One site of those with the same name."""
    by_name: dict[str, list[Site]] = {}
    for one in sites:
        by_name.setdefault(one.name, []).append(one)
    found = [_sum(name, group) for name, group in by_name.items()]
    return sorted(found, key=lambda one: (-(one.kept or 0), -one.asked, one.name))


def _folded(sites: Sequence[Site]) -> tuple[Site, ...]:
    if len(sites) <= TLDS:
        return tuple(sites)
    return *sites[: TLDS - 1], _sum(OTHERS, sites[TLDS - 1 :])


def _readable(tld: str) -> str:
    """A top-level domain in its own script."""
    try:
        return tld.encode().decode("idna")
    except UnicodeError:
        return tld


def _countries(tlds: Sequence[Site]) -> Iterator[Site]:
    """Those of countries, by country; several may be of one."""
    names = countries()
    of_countries = [replace(x, name=names[x.name]) for x in tlds if x.name in names]
    yield from _merged(of_countries)


@cache
def countries() -> dict[str, str]:
    """The country or territory of each country-code top-level domain."""
    lines = shipped(_COUNTRIES).read_text("utf-8").splitlines()
    return dict(line.split("\t") for line in lines)
