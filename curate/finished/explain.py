"""The story of one pair: what each stage found, where it left, and what it rests on.

A uid or URL is looked for in the parts that may hold it (`curate.summaries`); where one does, the rest
of that part is read. Several pairs may have it: each has a story of its own.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate import files, schema
from curate.config import Config
from curate.config import file as config_file
from curate.errors import CurateError
from curate.finding.place import place_in_shards
from curate.finished import perspectives
from curate.finished.seen import counted_entries, with_names
from curate.ops.selection.quantiles import quantiles_of
from curate.ops.selection.sampling import drawn
from curate.ops.urls import WHITE_SPACE, normalise_url
from curate.reasons import rule_reason
from curate.report.wording import caption_in_words, choice_in_words, survivor_in_words
from curate.report.wording import explain as worded
from curate.report.wording import value as in_words
from curate.rundir.cuts import read_cuts
from curate.rundir.damage import check_part
from curate.rundir.directory import PART_STAGES, PartRecord, Run, step_of
from curate.rundir.revocations import load_revocations
from curate.schema import MATCHES, Column, Stage
from curate.summaries.groups import parts_with

Row = dict[str, Any]
_MOST_CUTS = 8
"""Groups of which the cuts are told, where the pair's own is not known."""

_OF_CAPTIONS = ("captions", "caption_source")
"""What a stage may change of a pair that has several captions."""
_INNER = ("pair", "scored", "error", schema.BOTH, *schema.OF_CAPTIONS.names, *schema.OF_PARTS)


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
    standing: Row = field(default_factory=dict)  # of a duplicate: the columns that ranked it lower


@dataclass(frozen=True)
class Story:
    """One pair of the pool."""

    uid: str
    url: str | None
    caption: str | None
    part: int
    chapters: tuple[Chapter, ...]

    def __str__(self) -> str:
        told = list(lines(self))
        width = max(len(heading) for heading, _ in told)
        return "\n".join(f"{heading:{width}}  {text}" for heading, text in told)


@dataclass(frozen=True)
class _Pair:
    """A row of a part: of those with the same uid, URL and caption that come in, the `nth` from 0.

    Where pairs have several captions, which is theirs changes on the way and does not tell them apart.
    """

    uid: str | None
    url: str | None
    caption: str | None
    nth: int
    several: bool = False

    def rows(self, run: Run, folder: str, index: int) -> list[int]:
        """The rows of a part's table that are of such pairs; none where there is no table."""
        if run.record(step_of(folder), index) is None:
            return []
        return self.among(run.rows(folder, index, columns=["uid", "url", "caption"]))

    def among(self, table: pa.Table) -> list[int]:
        """The rows of a table that are of such pairs; some keep nothing but the uid of a pair."""
        found = _is(table["uid"], self.uid)
        told = {"url": self.url} if self.several else {"url": self.url, "caption": self.caption}
        for name, value in told.items():
            found = pc.and_(found, pc.or_(pc.is_null(table[name]), _is(table[name], value)))
        rows: list[int] = np.flatnonzero(found).tolist()
        return rows


def _is(column: Column, value: str | None) -> Column:
    return pc.is_null(column) if value is None else pc.fill_null(pc.equal(column, value), False)


@dataclass(frozen=True)
class _Told(Run):
    """A run that is told of: its state and its records are read once."""

    known: dict[tuple[str, int], PartRecord | None] = field(default_factory=dict, compare=False)
    states: list[dict[str, Any]] = field(default_factory=list, compare=False)

    def state(self) -> dict[str, Any]:
        """The content of run.json."""
        if not self.states:
            self.states.append(super().state())
        return self.states[0]

    def record(self, folder: str, index: int) -> PartRecord | None:
        """The record of a part at a step, if the part was done."""
        if (folder, index) not in self.known:
            self.known[folder, index] = super().record(folder, index)
        return self.known[folder, index]


def stories(run: Run, wanted: str) -> tuple[Story, ...]:
    """The pairs with the uid or the URL `wanted`; either may belong to several.

    Raises
    ------
    CurateError
        Where no pair of the run has it.
    """
    run = _Told(run.root, run.source, run.layout, run.source_layout)
    config = config_file.load(run.path("config.yaml"))
    wanted = wanted.strip(WHITE_SPACE)
    is_url = "://" in wanted
    search = partial(_search, run, several=bool(config.captions))
    found = list(search("url" if is_url else "uid", wanted if is_url else wanted.lower()))
    if not found and is_url and normalise_url(wanted) != wanted:
        found = list(search("url", normalise_url(wanted)))
    if not found:
        _check_revoked(run, wanted, is_url=is_url)
        raise CurateError(
            f"{run.root}: no pair with the {'URL' if is_url else 'uid'} {wanted}"
            + ("" if is_url else "; a uid has 32 hex digits, anything with :// is taken for a URL")
        )
    for index in {index for index, _ in found}:
        check_part(run, index)
    return tuple(_story(run, config, index, pair) for index, pair in found)


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


def _search(run: Run, column: str, value: str, *, several: bool) -> Iterator[tuple[int, _Pair]]:
    """Each pair with that value, and its part; pairs may have several captions."""

    def read(index: int) -> list[Row]:
        found: list[Row] = []
        for folder in (Stage.PREPARE, f"dropped/{Stage.PREPARE}", f"dead/{Stage.PREPARE}"):
            table = run.rows(folder, index, columns=["uid", "url", "caption"])
            found += table.filter(_is(table[column], value)).to_pylist()
        return found

    for index, rows in run.each(parts_with(run, Stage.PREPARE, [value]), read):
        seen: Counter[tuple[str | None, ...]] = Counter()
        for row in rows:
            same = row["uid"], row["url"], row["caption"]
            kind = same[:2] if several else same
            yield index, _Pair(*same, nth=seen[kind], several=several)
            seen[kind] += 1


def _at(run: Run, folder: str, index: int, row: int) -> Row:
    """A row of a part's table."""
    return run.rows(folder, index).slice(row, 1).to_pylist()[0]  # type: ignore[no-any-return]


def _annotated(run: Run, stage: Stage, index: int, before: Stage | None, row: int | None) -> Row:
    """What a stage found out about a `row` of the part that came `before`, whatever became of it.

    Left out is what steps found that are none of the run's any more, and what is of other rows.
    """
    if before is None or row is None:
        return {}
    uids = run.rows(before, index, columns=["uid"])["uid"]
    found: Row = {}
    for name in run.steps(stage):
        own = name != stage and files.exists(run.part(name, index))
        if own and run.rows(name, index, columns=["uid"])["uid"].equals(uids):
            found |= _at(run, name, index, row)
    return found


def _story(run: Run, config: Config, index: int, pair: _Pair) -> Story:
    """The story of a pair of the part `index`."""
    chapters: list[Chapter] = []
    known = {"uid", "url", "caption"}
    at: int | None = None  # the pair's row in the part of the stage before, `last`
    last: Stage | None = None
    kept: Row = {}
    for stage in PART_STAGES:
        before, annotated = kept, _annotated(run, stage, index, last, at)
        rows = pair.rows(run, stage, index)
        stays = pair.nth < len(rows)
        if stays:
            at, last = rows[pair.nth], stage
            kept = _at(run, stage, index, at)
        columns = {**annotated, **(kept if stays else {})}
        added = {
            name: value
            for name, value in columns.items()
            if name not in _INNER
            and value is not None
            and (name not in known or (name in _OF_CAPTIONS and before.get(name) != value))
        }
        known |= added.keys()
        if stage is Stage.SCORE:
            added = with_names(run, config, added, pair=before)
        if stays:
            for name in (MATCHES, schema.TAGS) if stage is Stage.PREPARE else ():
                if name in added:
                    added[name] = _entries(run, index, kept, pair, ids=kept[name])
            has_others = added.get("cluster_size", 1) > 1
            if stage is Stage.SCORE:
                has_others = config.semdedup is not None
            others = tuple(_cluster(run, stage, kept["uid"])) if has_others else ()
            why = ""
            if stage is Stage.BALANCE:
                why = _drawn(config, kept) or perspectives.in_words(run, config, kept)
            if "captions" in added:
                why = choice_in_words(config, kept)
            chapters.append(Chapter(stage, "kept", added, why=why, others=others))
            continue
        left = pair.nth - len(rows)
        ledger, dead = f"dropped/{stage}", f"dead/{stage}"
        dropped = pair.rows(run, ledger, index)
        if left < len(dropped):
            gone = _at(run, ledger, index, dropped[left])
            reason, value = gone["reason"], gone["value"] or ""
            row = {**before, **annotated}
            why = worded(reason, config=config) + _cut(run, config, stage, reason, row=row)
            others, standing = (), {}
            if stage is Stage.BALANCE:
                told = perspectives.in_words(run, config, row)
                why = f"{why} {told}".strip()
            if reason.startswith("duplicate_"):
                others = tuple(_survivors(run, config, stage, value))
            if stage is Stage.DEDUP:
                told = survivor_in_words(config, grown=bool(run.state().get("grown")))
                why, standing = f"{why} {told}", _standing(before, config)
            chapters.append(Chapter(stage, "dropped", added, reason, value, why, others, standing))
            break
        if left - len(dropped) < len(broken := pair.rows(run, dead, index)):
            failed = _at(run, dead, index, broken[left - len(dropped)])
            reason, value = failed["error"], failed["detail"] or ""
            why = worded(reason, config=config)
            chapters.append(Chapter(stage, "dead", added, reason, value, why))
            break
    else:
        if at is not None and (
            place := place_in_shards(run, config, part=index, row=at, uid=kept["uid"])
        ):
            chapters.append(Chapter(Stage.SHARDS, "written", {**place}))
    return Story(pair.uid or "", pair.url, pair.caption, index, tuple(chapters))


def _drawn(config: Config, row: Row) -> str:
    """Whether the run's own draw takes a pair that is written whatever that says."""
    if config.balance is None or not config.balance.writes_all:
        return ""
    if config.balance.soft_cap:
        return (
            "" if row["weight"] else "Written as all are (balance.write: all), and not drawn once."
        )
    keeps = drawn([row["uid"]], pa.array([row["keep_probability"]]), seed=config.seed)[0]
    told = "keeps" if keeps else "leaves out"
    return f"Written as all are (balance.write: all); the run's own draw {told} this pair."


def _standing(row: Row, config: Config) -> Row:
    """What decides whether a pair stays in its cluster, in that order."""
    names = [name.removeprefix("-") for name in config.dedup.prefer]
    names += ["original_width", "original_height", "caption_chars"]
    return {name: row[name] for name in names if name in row}


def _cut(run: Run, config: Config, stage: Stage, reason: str, *, row: Row) -> str:
    """The values that a rule of a top fraction came to, in words: that of the row's group, if known."""
    rules = [rule for rule in config.select if rule_reason(rule.label) == reason]
    asked = {quantile for rule in rules for quantile in quantiles_of([rule])}
    found = [
        f"{cut.value:.6g}" + (f" ({group})" if group is not None else "")
        for (quantile, group), cut in read_cuts(run, stage).items()
        if quantile in asked and (quantile.per not in row or group == _group(row[quantile.per]))
    ]
    found[_MOST_CUTS:] = ["…"] if len(found) > _MOST_CUTS else []
    return f" In this run that is from {', '.join(found)} on." if found else ""


def _group(value: object) -> str | None:
    """A value of the column `per`, as cuts name it."""
    found: str | None = pa.array([value]).cast(pa.string())[0].as_py()
    return found


def _entries(run: Run, index: int, kept: Row, pair: _Pair, *, ids: list[int]) -> int | str:
    """The entries of these ids; for a pair that came as far as the balance, with what was counted."""
    rows = counted_entries(run, kept["language"], ids)
    if not rows:
        return len(ids)
    ahead = [stage for stage in _stages(run, index) if stage is not Stage.BALANCE]
    if pair.nth >= len(pair.rows(run, ahead[-1], index)):
        return "; ".join(row["entry"] for row in rows)
    return "; ".join(
        f"{row['entry']} ({row['count']:,} pairs, p {row['probability']:.3g})" for row in rows
    )


def _cluster(run: Run, stage: Stage, survivor: str) -> Iterator[Row]:
    """The pairs that a stage dropped for a survivor."""
    read = partial(run.rows, f"dropped/{stage}", filters=[("value", "=", survivor)])
    for _, table in run.each(parts_with(run, stage, [survivor]), read):
        yield from table.select(["uid", "url", "caption", "reason"]).to_pylist()


def _survivors(run: Run, config: Config, stage: Stage, uid: str) -> Iterator[Row]:
    """The pair that a stage kept in the place of others; several where some have the same uid."""
    parts = [x for x in parts_with(run, Stage.PREPARE, [uid]) if run.record(stage, x)]
    for _, table in run.each(parts, partial(run.rows, stage, filters=[("uid", "=", uid)])):
        for row in table.to_pylist():
            if stage is not Stage.DEDUP or row["cluster_size"] > 1:
                told = {name: row[name] for name in ("uid", "url", "caption")}
                told["reason"] = "survivor"
                if stage is Stage.DEDUP:
                    told["standing"] = _standing(row, config)
                yield told


def _stages(run: Run, part: int) -> list[Stage]:
    """The stages that a part is through."""
    return [stage for stage in PART_STAGES if run.record(stage, part)]


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
        if chapter.standing:
            yield "", f"this pair: {_listed(chapter.standing)}"
        for name, value in chapter.found.items():
            if name == "captions":
                yield from (("", caption_in_words(one)) for one in value)
            else:
                yield "", f"{name} {in_words(value)}"
        for other in chapter.others:
            yield "", f"{other['reason']}: {other['uid']} {other['url']} {other['caption']!r}"
            if "standing" in other:
                yield "", f"{other['reason']}: {_listed(other['standing'])}"


def _listed(values: Row) -> str:
    return ", ".join(f"{name} {in_words(value)}" for name, value in values.items())
