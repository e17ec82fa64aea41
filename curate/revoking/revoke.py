"""Taking pairs out of a run that is done, and keeping them out.

Afterwards the run is one whose `prepare` dropped the listed pairs (reason `revoked`, of which the
ledger holds the uid and nothing else), while what was decided about the other pairs stays decided:
clusters, cuts, t and samples are those that the run found. So files without a listed pair keep their
bytes.

The list is written to ``revoked.parquet`` first, as hashes, and every change after that is by the uids
in it: a revocation that was killed goes on where it stopped, and a repeat changes nothing.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from curate import files
from curate.config import file as config_file
from curate.errors import AbsentError, CurateError
from curate.files.texts import read_utf8
from curate.finished import indexes
from curate.ops.selection.blocklists import hashes_of, lines_of
from curate.ops.urls import host_of, normalise_url
from curate.planning.steps import steps_of
from curate.reasons import DropReason
from curate.revoking.parts import indices_of, read_or_empty
from curate.revoking.rewrite import Rewriter
from curate.rundir import revocations
from curate.rundir.borrowed import borrowed_by
from curate.rundir.damage import check_content, whole_files
from curate.rundir.directory import ANNOTATED, Run, totals
from curate.rundir.revocations import Revocations, fingerprint
from curate.schema import Stage

Rows = set[tuple[str, str]]
"""Rows of `revoked.parquet`: kind and value."""

_UID = r"^[0-9a-f]{32}$"
_HOST = r"^([a-z0-9_-]+\.)+[a-z0-9_-]+$"
_HASHES = {"md5": "md5", "sha256": "sha256", "pdq": "phash"}  # and the column of each


@dataclass(frozen=True)
class Revoked:
    """What a revocation did."""

    pairs: dict[str, int]  # of the run that the list names, by the kind of line that names them
    parts: tuple[int, ...]  # that held some
    rewritten: tuple[str, ...]  # shards that held some and were written again
    removed: tuple[str, ...]  # shards of which nothing was left
    unreadable: tuple[str, ...]  # shards that could not be read, and were removed
    untouched: int  # shards
    indexes: tuple[str, ...]  # lines on those beside the shards that could not be written again
    unknown: tuple[str, ...]  # kinds of hash on the list that the run has of no image


def read_list(url: str) -> Rows:
    """The lines of a revocation list.

    A line is a uid, a URL, a host (with all hosts under it) or a hash as in a block list; a prefix
    (``uid:``, ``url:``, ``host:``, ``md5:``, ``sha256:``, ``pdq:``) says which. Without one, 32 hex
    digits are looked for as uid and MD5, 64 as SHA-256 and PDQ.

    Raises
    ------
    CurateError
        Where the list is empty, or a line is nothing of these.
    """
    try:
        lines = lines_of(read_utf8(url))
    except CurateError as error:
        raise CurateError(f"--list {error}") from None
    if not len(lines):
        raise CurateError(f"--list {url}: the list is empty")
    hashes, others = hashes_of(lines)
    rows = {(kind, x.tobytes().hex()) for kind, found in hashes.items() for x in found}
    bare = lines.filter(pc.match_substring_regex(lines, _UID, ignore_case=True))
    rows |= {("uid", uid.lower()) for uid in bare.to_pylist()}
    for line in others.to_pylist():
        row = _named(line)
        if row is None:
            raise CurateError(
                f"--list {url}: {line[:80]!r} is no uid, URL, host or hash; say which it is with"
                " uid:, url:, host:, md5:, sha256: or pdq: in front"
            )
        rows.add(row)
    return rows


def _named(line: str) -> tuple[str, str] | None:
    kind, _, value = line.partition(":")
    kind, value = kind.lower(), value.strip()
    if kind == "uid":
        is_uid = pc.match_substring_regex(value.lower(), _UID).as_py()
        return ("uid", value.lower()) if is_uid else None
    if kind == "url" or "://" in line:
        return "url", fingerprint(normalise_url(value if kind == "url" else line))
    host = host_of(f"http://{value if kind == 'host' else line}").rstrip(".")
    if pc.match_substring_regex(host, _HOST).as_py():
        return "host", fingerprint(host)
    return None


def revoke(run: Run, listed: Rows | None) -> Revoked:
    """Take the pairs that `listed` (see `read_list`) names out of `run`; None goes on with a stop.

    Raises
    ------
    CurateError
        Where the run reads its pairs from another one, and that one still holds some of them; where
        there is nothing to go on with.
    """
    pending = revocations.is_pending(run)
    if listed is None and not pending:
        raise CurateError(f"{run.root}: no revocation was interrupted here; give --list FILE")
    found: dict[str, set[str]] = {}
    done = []
    if pending:
        done.append(_apply(run, revocations.rows_of(run)))
    unknown: tuple[str, ...] = ()
    if listed is not None:
        check_content(run)
        if run.source:
            _check_source(run, listed)
        found, unknown = _resolve(run, listed)
        known = revocations.rows_of(run) | revocations.rows_of(Run(run.source or run.root))
        uids = {("uid", uid) for some in found.values() for uid in some}
        done.append(_apply(run, known | listed | uids | _captions(run, uids)))
    return Revoked(
        pairs={kind: len(uids) for kind, uids in found.items() if uids},
        parts=tuple(sorted({index for one in done for index in one.parts})),
        rewritten=tuple(sorted({x for one in done for x in one.shards.rewritten})),
        removed=tuple(sorted({x for one in done for x in one.shards.removed})),
        unreadable=tuple(sorted({x for one in done for x in one.shards.unreadable})),
        untouched=done[-1].shards.untouched,
        indexes=tuple(dict.fromkeys(line for one in done for line in one.indexes)),
        unknown=unknown,
    )


def _check_source(run: Run, listed: Rows) -> None:
    if listed - revocations.rows_of(Run(str(run.source))):
        raise CurateError(
            f"{run.root} reads its pairs from {run.source}, which still holds them: first"
            f" curate revoke {run.source} --list FILE, then the same here"
        )


def _resolve(run: Run, listed: Rows) -> tuple[dict[str, set[str]], tuple[str, ...]]:
    """The uids that each kind of line names, and the kinds of hash that no image has."""
    if run.source:  # which holds them no more, but the uids of all that it was asked to revoke
        wanted = Revocations.of(revocations.rows_of(Run(run.source)), distance=0)
        named = (
            table["uid"].filter(pa.array(wanted.pairs(table))).to_pylist()
            for table in _pairs(run, Stage.BALANCE)
        )
        return {"uid": {uid for uids in named for uid in uids}}, ()
    config = config_file.load(run.path("config.yaml"))
    wanted = Revocations.of(listed, distance=config.download.block_distance)
    found: dict[str, set[str]] = {}
    for table in _pairs(run, Stage.PREPARE):
        for kind, rows in wanted.by_kind(table).items():
            uids = table["uid"].filter(pa.array(rows)).drop_null().to_pylist()
            found.setdefault(kind, set()).update(uids)
    seen = set()
    fetched = files.join(Stage.DOWNLOAD, ANNOTATED)
    names = ["uid", *_HASHES.values()]

    def read(index: int) -> pa.Table | None:
        with suppress(AbsentError):
            return files.read_table(run.part(fetched, index), columns=names)
        return None

    for _, table in run.each(indices_of(run, fetched), read):
        if table is None:
            continue
        seen |= {kind for kind, name in _HASHES.items() if table[name].null_count < len(table)}
        columns = [table[name].to_pylist() for name in names]
        for uid, md5, sha256, phash in zip(*columns, strict=True):
            if hit := wanted.images.find(md5=md5, sha256=sha256, pdq=phash):
                found.setdefault(hit.kind, set()).add(uid)
    unknown = {kind for kind, _ in listed if kind in _HASHES} - seen
    also = {("md5", uid) for kind, uid in listed if kind == "uid"}  # lines that may be either
    if not {row for row in listed if row[0] == "md5"} - also:
        unknown.discard("md5")
    return found, tuple(sorted(unknown))


def _captions(run: Run, uids: Rows) -> Rows:
    """What the survivors of clusters may keep of the pairs with these uids, where they were dropped."""
    wanted = pa.array([uid for _, uid in uids], pa.string())
    rows: Rows = set()

    def read(index: int) -> pa.Table:
        return read_or_empty(run.ledger(Stage.DEDUP, index))

    for _, ledger in run.each(indices_of(run, Stage.DEDUP), read):
        table = ledger.filter(pc.is_in(ledger["uid"], value_set=wanted))
        pairs = zip(*(table[x].to_pylist() for x in ("value", "caption")), strict=True)
        rows |= {revocations.caption_row(cluster, caption) for cluster, caption in pairs}
    return rows


def _pairs(run: Run, stage: Stage) -> Iterator[pa.Table]:
    """uid and url of every input pair of a stage, of all parts with files, done or not."""

    def read(index: int) -> list[pa.Table]:
        urls = run.part(stage, index), run.ledger(stage, index), run.dead(stage, index)
        return [read_or_empty(url) for url in urls]

    for _, tables in run.each(indices_of(run, stage), read):
        for table in tables:
            if "reason" in table.column_names:
                table = table.filter(pc.not_equal(table["reason"], str(DropReason.REVOKED)))
            yield table.select(["uid", "url"])


def _apply(run: Run, rows: Rows) -> Rewriter:
    """Take the pairs of `rows` out of all files of the run."""
    config = config_file.load(run.path("config.yaml"))
    run.sweep()  # they may hold pairs
    rewriter = Rewriter(run, revocations.write(run, rows), config, steps_of(config))
    rewriter.rewrite()
    rewriter.indexes = [*indexes.renew(run)]
    counts = {str(stage): totals(run, Stage(stage)) for stage in run.state().get("stages", {})}
    run.update(
        stages=counts, revoked=revocations.digest(rows), borrowed=borrowed_by(run),
        files=whole_files(run),
    )  # fmt: skip
    return rewriter


def said(done: Revoked) -> Iterator[str]:
    """What a revocation did, in lines for a person."""
    by = ", ".join(f"{n:,} by {kind}" for kind, n in sorted(done.pairs.items()))
    yield f"revoked {by or 'nothing: no listed pair was in the run'}"
    if done.unknown:
        yield f"not looked for: {', '.join(done.unknown)}; the run has no such hash of any image"
    yield f"parts   {', '.join(f'part-{i:05}' for i in done.parts) or 'none had to change'}"
    changed = [*done.rewritten, *(f"{name} (nothing was left)" for name in done.removed)]
    changed += [
        f"{name} (unreadable, so removed; curate run makes it again)" for name in done.unreadable
    ]
    yield from done.indexes
    yield f"shards  {', '.join(changed) or 'none'} written again, {done.untouched} as they were"
