"""What has been revoked from a run: ``revoked.parquet``, which every later step honours.

It holds hashes only, so that nothing of a revoked pair stays in it: a pair is its uid, a URL and a host
are the SHA-256 of their normal spelling, an image is the hash that it was revoked by.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from curate import files
from curate.errors import AbsentError, CurateError
from curate.ops.selection.blocklists import MAX_DISTANCE, BlockList, hashes_of
from curate.ops.urls import host_of, normalise_urls, stripped
from curate.reasons import DropReason
from curate.rundir.directory import Run

FILE = "revoked.parquet"
SCHEMA = pa.schema([("kind", pa.string()), ("value", pa.string())])
"""Kinds are uid, url, host, md5, sha256, pdq and caption; each row once, in order."""


def parents(host: str) -> Iterator[str]:
    """A host and the domains above it.

    >>> list(parents("img.example.org"))
    ['img.example.org', 'example.org', 'org']
    """
    while host:
        yield host
        host = host.partition(".")[2]


def fingerprint(text: str) -> str:
    """SHA-256, hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def caption_row(cluster: str, caption: str) -> tuple[str, str]:
    """The row of `SCHEMA` for a caption that the survivor of a cluster may keep."""
    return "caption", fingerprint(f"{cluster}\n{caption}")


@dataclass(frozen=True)
class Revocations:
    """The rows of a list, ready to be asked."""

    uids: pa.Array
    urls: frozenset[str]
    hosts: frozenset[str]
    images: BlockList
    captions: frozenset[str] = frozenset()  # of dropped pairs, which survivors may keep

    @classmethod
    def of(cls, rows: set[tuple[str, str]], *, distance: int) -> "Revocations":
        """From rows of `SCHEMA`."""
        values: dict[str, list[str]] = {}
        for kind, value in sorted(rows):
            values.setdefault(kind, []).append(value)
        lines = [f"{kind}:{x}" for kind in ("md5", "sha256", "pdq") for x in values.get(kind, ())]
        hashes = hashes_of(pa.array(lines, pa.string()))[0]
        return cls(
            pa.array(values.get("uid", ()), pa.string()),
            frozenset(values.get("url", ())),
            frozenset(values.get("host", ())),
            BlockList(hashes, distance=distance),
            frozenset(values.get("caption", ())),
        )

    def knows(self, cluster: str, caption: str) -> bool:
        """Whether a caption is that of a pair that was revoked, among the duplicates of a cluster."""
        return caption_row(cluster, caption)[1] in self.captions

    def pairs(self, table: pa.Table) -> NDArray[np.bool_]:
        """Which rows of a table with uid and url are listed by uid, URL or host, shape (n,)."""
        rows: NDArray[np.bool_] = np.logical_or.reduce(list(self.by_kind(table).values()))
        return rows

    def by_kind(self, table: pa.Table) -> dict[str, NDArray[np.bool_]]:
        """The same for each of uid, url and host."""
        found = {kind: np.zeros(len(table), np.bool_) for kind in ("uid", "url", "host")}
        found["uid"] |= np.asarray(pc.is_in(table["uid"], value_set=self.uids, skip_nulls=True))
        if self.urls or self.hosts:
            for row, url in enumerate(
                normalise_urls(stripped(pc.fill_null(table["url"], ""))).to_pylist()
            ):
                found["url"][row] = bool(self.urls) and fingerprint(url) in self.urls
                hosts = parents(host_of(url)) if self.hosts else ()
                found["host"][row] = any(fingerprint(host) in self.hosts for host in hosts)
        return found

    def gone(self, table: pa.Table) -> NDArray[np.bool_]:
        """Which rows of a table with a uid are to go."""
        if "url" not in table.column_names:
            uids = pc.is_in(table["uid"], value_set=self.uids, skip_nulls=True)
            return np.asarray(uids)
        gone = self.pairs(table)
        if "reason" in table.column_names:
            gone &= np.asarray(pc.not_equal(table["reason"], str(DropReason.REVOKED)))
        return gone

    def forgetful(self, table: pa.Table) -> pa.Table:
        """The table without the captions that survivors keep of revoked pairs."""
        if "other_captions" not in table.column_names or not self.captions:
            return table
        clusters, others = (table[x].to_pylist() for x in ("cluster", "other_captions"))
        left = [
            None if texts is None else [x for x in texts if not self.knows(cluster, x)]
            for cluster, texts in zip(clusters, others, strict=True)
        ]
        at = table.column_names.index("other_captions")
        return table.set_column(at, table.field(at), pa.array(left, table.field(at).type))


def rows_of(run: Run) -> set[tuple[str, str]]:
    """What was revoked from `run`, as rows of `SCHEMA`; none where nothing was."""
    try:
        table = files.read_table(run.path(FILE))
    except AbsentError:
        return set()
    return set(zip(*table.to_pydict().values(), strict=True))


def digest(rows: set[tuple[str, str]]) -> str:
    """A digest of rows: the key `revoked` of a run.json holds that of the rows that are taken out."""
    return files.digest_of(sorted(rows))


def is_pending(run: Run) -> bool:
    """Whether a revocation of `run` has begun and not ended."""
    rows = rows_of(run)
    return bool(rows) and run.state().get("revoked") != digest(rows)


def inherited(run: Run) -> str | None:
    """What the key `revoked` of a run.json has to be: for a rebalanced run, that of its source."""
    rows = rows_of(Run(run.source or run.root))
    return digest(rows) if rows else None


def check_settled(run: Run) -> None:
    """Refuse a run that holds pairs which were revoked from it or from its source."""
    if is_pending(run):
        raise CurateError(
            f"a revocation of {run.root} was interrupted; finish it first: curate revoke {run.root}"
        )
    if run.state() and run.state().get("revoked") != inherited(run):
        raise CurateError(
            f"pairs were revoked from {run.source}, from which {run.root} was made; revoke them here"
            f" too: curate revoke {run.root} --list FILE"
        )


def load_revocations(run: Run) -> Revocations | None:
    """What was revoked from `run`; None where nothing was."""
    rows = rows_of(run)
    return Revocations.of(rows, distance=MAX_DISTANCE) if rows else None


def write(run: Run, rows: set[tuple[str, str]]) -> Revocations:
    """Make `rows` all that is revoked from `run`."""
    files.write_table(run.path(FILE), _table(rows))
    return Revocations.of(rows, distance=MAX_DISTANCE)


def _table(rows: set[tuple[str, str]]) -> pa.Table:
    columns = list(zip(*sorted(rows), strict=True)) or [(), ()]
    return pa.table([pa.array(list(column), pa.string()) for column in columns], schema=SCHEMA)
