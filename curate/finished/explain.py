"""The story of one pair: what each stage found, where it left, and what it rests on.

A uid or URL is looked for in the columns of that name, a part at a time, until one
holds it; of that part alone the rest is read.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from curate import config_file, files, schema
from curate.config import Config
from curate.cuts import read_cuts
from curate.errors import CurateError
from curate.ops.quantiles import quantiles_of
from curate.ops.urls import normalise_url
from curate.reasons import rule_reason
from curate.report.wording import explain as worded
from curate.revocations import load_revocations
from curate.run import ANNOTATED, PART_STAGES, Run
from curate.schema import Stage

Row = dict[str, Any]

_INNER = ("pair", "tar_offset", "tar_size", "stored_sha256", "scored", "look")
_DERIVED = (*schema.DERIVED.names, schema.SEMANTIC)


@dataclass(frozen=True)
class Chapter:
    """What became of the pair at a stage."""

    stage: str
    verdict: str  # kept, dropped, dead, or written for the shards
    found: Row  # the columns that the stage added
    reason: str = ""
    value: str = ""
    why: str = ""  # the reason in words
    others: tuple[Row, ...] = ()  # pairs of the same cluster: uid, url, caption, and what they are


@dataclass(frozen=True)
class Story:
    """One pair of the pool."""

    uid: str
    url: str | None
    caption: str | None
    part: int
    chapters: tuple[Chapter, ...]


def stories(run: Run, wanted: str) -> tuple[Story, ...]:
    """The pairs with the uid or the URL `wanted`; a URL may belong to several.

    Raises
    ------
    CurateError
        Where no pair of the run has it.
    """
    config = config_file.load(run.path("config.yaml"))
    is_url = "://" in wanted
    found = list(_search(run, "url" if is_url else "uid", wanted if is_url else wanted.lower()))
    if not found and is_url and normalise_url(wanted) != wanted:
        found = list(_search(run, "url", normalise_url(wanted)))
    if not found:
        _check_revoked(run, wanted, is_url=is_url)
        raise CurateError(
            f"{run.root}: no pair with the {'URL' if is_url else 'uid'} {wanted}"
            + ("" if is_url else "; a uid has 32 hex digits, anything with :// is taken for a URL")
        )
    return tuple(_story(run, config, index, row) for index, row in found)


def _check_revoked(run: Run, wanted: str, *, is_url: bool) -> None:
    """Raise if `wanted` was revoked: nothing but hashes is left of it."""
    revoked = load_revocations(run)
    column = pa.array([wanted if is_url else wanted.lower()], pa.string())
    nothing = pa.nulls(1, pa.string())
    pair = {"uid": nothing, "url": column} if is_url else {"uid": column, "url": nothing}
    if revoked and revoked.pairs(pa.table(pair))[0]:
        raise CurateError(
            f"{run.root}: {wanted} was revoked from this run (`curate revoke`); nothing of it was kept"
        )


def _search(run: Run, column: str, value: str) -> Iterator[tuple[int, Row]]:
    """Part and uid, url, caption of each pair with that value; for a uid, only the first."""
    seen = set()
    for index in run.done(Stage.PREPARE):
        for url in (
            run.part(Stage.PREPARE, index),
            run.ledger(Stage.PREPARE, index),
            run.dead(Stage.PREPARE, index),
        ):
            if not pc.any(pc.equal(files.read_table(url, columns=[column])[column], value)).as_py():
                continue
            names = ["uid", "url", "caption"]
            table = files.read_table(url, columns=names)
            for row in table.filter(pc.equal(table[column], value)).to_pylist():
                if row["uid"] not in seen:
                    seen.add(row["uid"])
                    yield index, row
        if seen and column == "uid":
            return


def _row(url: str, uid: str | None, *, link: str | None = None) -> Row | None:
    """The row of a pair in a part's file; None where it is not there.

    A pair without a uid is known by its URL, `link`.
    """
    if (uid is None and link is None) or not files.exists(url):
        return None
    wanted = ("url", "=", link) if uid is None else ("uid", "=", uid)
    table = files.read_table(url, filters=[wanted])
    if uid is None:
        table = table.filter(pc.is_null(table["uid"]))
    return table.slice(0, 1).to_pylist()[0] if len(table) else None


def _story(run: Run, config: Config, index: int, pair: Row) -> Story:
    chapters: list[Chapter] = []
    uid, known = pair["uid"], {"uid", "url", "caption"}
    for stage in PART_STAGES:
        annotated = _row(run.part(files.join(stage, ANNOTATED), index), uid) or {}
        for name in _DERIVED if stage is Stage.SCORE else ():
            url = run.part(files.join(stage, ANNOTATED, name), index)
            annotated |= _row(url, uid) or {}
        kept = _row(run.part(stage, index), uid)
        columns = {**annotated, **(kept or {})}
        added = {
            name: value
            for name, value in columns.items()
            if name not in known and name not in _INNER and value is not None
        }
        known |= added.keys()
        if kept is not None:
            if stage is Stage.PREPARE and "matches" in added:
                added["matches"] = _entries(run, config, index, kept)
            has_others = added.get("cluster_size", 1) > 1
            if stage is Stage.SCORE:
                has_others = config.semdedup is not None
            others = tuple(_cluster(run, stage, uid)) if has_others else ()
            chapters.append(Chapter(stage, "kept", added, others=others))
            continue
        gone = _row(run.ledger(stage, index), uid)
        dead = _row(run.dead(stage, index), uid, link=pair["url"]) if gone is None else None
        if gone:
            reason, value = gone["reason"], gone["value"] or ""
            others = tuple(_survivor(run, stage, value)) if reason.startswith("duplicate_") else ()
            why = worded(reason, config=config) + _cut(run, config, stage, reason)
            chapters.append(Chapter(stage, "dropped", added, reason, value, why, others))
        elif dead:
            reason, value = dead["error"], dead["detail"] or ""
            why = worded(reason, config=config)
            chapters.append(Chapter(stage, "dead", added, reason, value, why))
        if gone or dead:
            break
    else:
        if place := _shard(run, uid):
            chapters.append(Chapter(Stage.SHARDS, "written", place))
    return Story(uid or "", pair["url"], pair["caption"], index, tuple(chapters))


def _cut(run: Run, config: Config, stage: Stage, reason: str) -> str:
    """The values that a rule of a top fraction came to in this run, in words."""
    rules = [rule for rule in config.select if rule_reason(rule.label) == reason]
    asked = {quantile for rule in rules for quantile in quantiles_of([rule])}
    found = [
        f"{cut.value:.6g}" + (f" ({group})" if group is not None else "")
        for (quantile, group), cut in read_cuts(run, stage).items()
        if quantile in asked
    ]
    return f" In this run that is from {', '.join(found)} on." if found else ""


def _entries(run: Run, config: Config, index: int, kept: Row) -> Any:
    """The matched entries; for a pair that came as far as the balance, with what was counted there."""
    url = run.path(Stage.BALANCE, "entries.parquet")
    ids = kept["matches"]
    if not files.exists(url) or not ids:
        return len(ids)
    filters = [("language", "=", kept["language"]), ("entry_id", "in", ids)]
    rows = files.read_table(url, filters=filters).to_pylist()
    ahead = [stage for stage in PART_STAGES if stage is not Stage.BALANCE and run.done(stage)]
    if _row(run.part(ahead[-1], index), kept["uid"]) is None:
        return "; ".join(row["entry"] for row in rows)
    return "; ".join(
        f"{row['entry']} ({row['count']:,} pairs, p {row['probability']:.3g})" for row in rows
    )


def _cluster(run: Run, stage: Stage, survivor: str) -> Iterator[Row]:
    """The pairs that a stage dropped for a survivor."""
    for index in run.done(stage):
        table = files.read_table(run.ledger(stage, index), filters=[("value", "=", survivor)])
        yield from table.select(["uid", "url", "caption", "reason"]).to_pylist()


def _survivor(run: Run, stage: Stage, uid: str) -> Iterator[Row]:
    """The pair that a stage kept in the place of others."""
    for index in run.done(stage):
        url = run.part(stage, index)
        if pc.is_in(pa.scalar(uid), value_set=_column(url, "uid")).as_py():
            row = _row(url, uid) or {}
            yield {**{name: row[name] for name in ("uid", "url", "caption")}, "reason": "survivor"}
            return


def _column(url: str, name: str) -> pa.Array:
    return files.read_table(url, columns=[name])[name].combine_chunks()


def _shard(run: Run, uid: str) -> Row | None:
    """Shard and key of a pair."""
    for name in files.names(run.path(Stage.SHARDS)):
        if name.endswith(".parquet"):
            url = run.path(Stage.SHARDS, name)
            if pc.is_in(pa.scalar(uid), value_set=_column(url, "uid")).as_py():
                row = _row(url, uid) or {}
                return {"shard": name.removesuffix(".parquet") + ".tar", "key": row["key"]}
    return None


def lines(story: Story) -> Iterator[tuple[str, str]]:
    """The story in lines for a person: (heading, text)."""
    yield "uid", story.uid
    yield "url", story.url or "(not kept)"
    yield "caption", story.caption or "(not kept)"
    yield "part", f"{story.part}"
    for chapter in story.chapters:
        text = chapter.verdict
        if chapter.reason:
            text += f": {chapter.reason}" + (f" = {chapter.value}" if chapter.value else "")
        yield chapter.stage, text
        if chapter.why:
            yield "", chapter.why
        for name, value in chapter.found.items():
            yield "", f"{name} {f'{value:.6g}' if isinstance(value, float) else value}"
        for other in chapter.others:
            yield "", f"{other['reason']}: {other['uid']} {other['url']} {other['caption']!r}"
