"""prepare: raw (url, caption) rows -> cleaned pairs with uid, language and matched entries.

May drop: a pair that is not in the subset asked for, an empty caption, a URL that is not http(s) where
no image came with it, a language that is not wanted, what the text rules drop, a caption that matches
no entry. A retry is safe.

Cleaning: control characters and line breaks become a space each, outer white space is stripped.
Nothing else changes; spaces inside are kept as they are, because matching looks at them. White space
around URLs and uids is stripped before anything looks at them.
"""

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import ClassVar, Literal

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from curate import files, schema
from curate.config import Rule
from curate.config.paths import absolute
from curate.errors import CurateError, DamagedError
from curate.ops.captions import chars_and_words
from curate.ops.hashing import pair_uids
from curate.ops.selection.quantiles import Cuts, quantiles_of, read_by
from curate.ops.selection.uids import is_in_subset, open_subset
from curate.ops.text.language import CountsAs, identify
from curate.ops.text.lists import read_words
from curate.ops.text.matching import Matcher, has_no_spaces
from curate.ops.text.tags import ids_of, listed_ids, no_list, split_tags, union
from curate.ops.urls import stripped
from curate.planning.asked import counts_as, keeps_unmatched, sized_by_pool
from curate.planning.cutting import most_dead
from curate.planning.inputs import pool_format
from curate.planning.parts import source_of
from curate.planning.plan import Plan
from curate.planning.steps import Step
from curate.pool.rows import PoolFormat, UnreadableError, unreadable_rows
from curate.pool.tables import STAGED, read_entries, read_slice
from curate.reasons import DropReason, ErrorCode
from curate.rundir.directory import PLACES_FILE, Part, part_name
from curate.rundir.revocations import Revocations, load_revocations
from curate.schema import Column, Stage, kept_name
from curate.stages.captions import Captions, EachCaption, captions_of
from curate.stages.part import PartOutput, PartStep, Sieve, TakeParts, given
from curate.stages.select import apply_rules, stored_cuts

_CONTROLS = "[\x01-\x1f\x7f\u0085\u2028\u2029]|\x00"
_WEB_URL = r"(?i)^https?://[^\s/?#]+"
_UID = r"^[0-9a-f]{32}$"
_CARRIED = (*schema.PLACES.names, *schema.BOXED.names)
TEXT_BYTES = (1 << 31) - 1
"""Of a column of texts in one part, at most: Arrow's offsets have 32 bits."""


def clean(captions: Column) -> Column:
    """Captions with control characters as spaces and no outer white space; a null becomes empty."""
    texts = pc.fill_null(captions, "")
    if pc.any(pc.match_substring_regex(texts, _CONTROLS)).as_py():
        texts = pc.replace_substring_regex(texts, _CONTROLS, " ")
    return pc.utf8_trim_whitespace(texts)


def uids_of(table: pa.Table, captions: Column) -> Column:
    """The uid of each pair of a pool's rows and their cleaned captions.

    A row of RUN/input whose pair was revoked keeps the uid that is written there.
    """
    emptied = pc.and_(pc.is_null(table["url"]), pc.is_valid(table["uid"]))
    return pc.if_else(emptied, table["uid"], pair_uids(stripped(table["url"]), captions))


def count_listed(captions: pa.Array, words: pa.Array) -> pa.Array:
    """How many words of each caption, in lower case, are in the array `words`; int32.

    Captions have no outer white space.
    """
    split = pc.utf8_split_whitespace(pc.utf8_lower(captions))
    listed = pc.is_in(split.flatten(), value_set=words).to_numpy(zero_copy_only=False)
    total = np.append(0, np.cumsum(listed))
    ends = np.append(0, np.cumsum(pc.list_value_length(split).to_numpy()))
    return pa.array(np.diff(total[ends]), pa.int32())


def measures(captions: pa.Array, *, words_in: str | None) -> dict[str, pa.Array]:
    """The columns that say how long captions are, and how many of their words are in a list."""
    found = chars_and_words(captions)
    if words_in:
        found["words_in_list"] = count_listed(captions, load_words(words_in))
    return found


def sizes(width: Column, height: Column) -> dict[str, Column]:
    """The columns of `schema.SIZED`; null where a side is none, or no positive number."""
    sides = [pc.round(pc.cast(side, pa.float64())) for side in (width, height)]
    sound = pc.and_(*(pc.greater(side, 0) for side in sides))
    width, height = (pc.if_else(sound, side, None) for side in sides)
    smaller, larger = pc.min_element_wise(width, height), pc.max_element_wise(width, height)
    whole = [pc.cast(side, pa.int32()) for side in (width, height, smaller)]
    return dict(zip(schema.SIZED.names, [*whole, pc.divide(larger, smaller)], strict=True))


def languages_of(
    captions: pa.Array, *, model: str | None, unsure: tuple[float, str] | None,
    as_another: CountsAs | None = None,
) -> dict[str, pa.Array]:  # fmt: skip
    """The columns `language` and `language_score` of an array of captions."""
    languages, scores = identify(captions, model=model)
    if unsure:
        below, language = unsure
        languages = pc.if_else(pc.less(scores, below), language, languages)
    if as_another:
        languages = as_another.of(languages)
    return {"language": languages, "language_score": scores}


@lru_cache(maxsize=8)
def load_words(path: str) -> pa.Array:
    """The words of a list, one a line or a JSON array, as an array; read once a process."""
    return pa.array(sorted({x for one in read_words(path) for x in one.split()}), pa.string())


@lru_cache(maxsize=2)
def load_subset(path: str) -> NDArray[np.uint64]:
    """The uids of a subset file, mapped once a process."""
    return open_subset(path)


@lru_cache(maxsize=256)
def load_matcher(path: str, language: str, *, ignore_case: bool, released: bool) -> Matcher:
    """The matcher of an entry list, built once a process."""
    found = read_entries(path)
    no_space: bool | Literal["released"] = "released" if released else has_no_spaces(language)
    return Matcher(found.entries, no_space=no_space, ids=found.ids, ignore_case=ignore_case)


def match_by_language(
    captions: pa.Array, languages: pa.Array, *, metadata: dict[str, str], ignore_case: bool = False,
    released: bool = False,
) -> pa.Array:  # fmt: skip
    """The matched ids of each caption in the list of its language; none where there is no list.

    `released`: where entries need no space is as Meta CLIP 2's code has it.
    """
    found = [pa.array([], schema.PREPARE.field("matches").type)]
    places = []
    codes = np.asarray(languages.to_numpy(zero_copy_only=False), object)
    rest = np.ones(len(captions), np.bool_)
    for language, path in sorted(metadata.items()):
        rows = np.flatnonzero(codes == language)
        rest[rows] = False
        if len(rows):
            chosen = captions if len(rows) == len(captions) else captions.take(pa.array(rows))
            matcher = load_matcher(path, language, ignore_case=ignore_case, released=released)
            found.append(matcher.match(chosen))
            places.append(rows)
    left = np.flatnonzero(rest)
    if len(places) == 1 and not len(left):
        return found[-1]
    empty = pa.array(np.zeros(len(left) + 1, np.int32))
    found.append(pa.ListArray.from_arrays(empty, pa.array([], pa.int32()), type=found[0].type))
    back = np.empty(len(captions), np.int64)
    back[np.concatenate([*places, left])] = np.arange(len(captions))
    return pa.concat_arrays(found).take(pa.array(back))


def tags_by_language(
    rows: NDArray[np.int64], tags: pa.Array, languages: pa.Array, *, metadata: dict[str, str],
    ignore_case: bool = False,
) -> pa.ListArray:  # fmt: skip
    """The ids of the entries that the tags of each pair are, in the list of the pair's language.

    `rows` is the pair of each tag, ascending; `languages` are those of the pairs.
    """
    codes = np.asarray(languages.to_numpy(zero_copy_only=False), object)[rows]
    ids = np.full(len(rows), -1, np.int32)
    for language, path in metadata.items():
        ours = np.flatnonzero(codes == language)
        if len(ours):
            found = read_tags(path)
            ids[ours] = ids_of(
                tags.take(pa.array(ours)), entries=found[0], ids=found[1], ignore_case=ignore_case
            )
    return listed_ids(rows, ids, n=len(languages))


@lru_cache(maxsize=64)
def read_tags(path: str) -> tuple[pa.Array, list[int] | None]:
    """The entries of a list and, where these are of concepts, the ids of those; read once a process."""
    found = read_entries(path)
    return pa.array(found.entries, pa.string()), found.ids


@dataclass(frozen=True)
class PrepareStep(PartStep):
    """Cleaning, language, matching and text rules on one part."""

    stage: ClassVar[Stage] = Stage.PREPARE

    pool: PoolFormat
    languages: tuple[str, ...] | None
    metadata: dict[str, str]
    rules: tuple[Rule, ...]
    max_dead: int | None = None  # rows in the whole pool
    words_in: str | None = None
    uids_in: str | None = None
    language_model: str | None = None  # a file; else the shipped one
    unsure: tuple[float, str] | None = None  # a probability; the language of what is below it
    as_another: CountsAs | None = None  # languages that count as another
    ignore_case: bool = False  # in matching
    released: bool = False  # where entries need no space: as Meta CLIP 2's code has it
    keeps_unmatched: bool = False  # pairs that match no entry
    sized: bool = False  # by what the pool says of its images
    captions: Captions | None = None  # beside the pairs' own
    tags: tuple[str, str | None] | None = None  # their column, as the run has it, and separator

    @cached_property
    def cuts(self) -> Cuts:
        """The cuts of the rules, which are written before the first part comes; read once a worker."""
        return stored_cuts(self.run, self.stage, self.rules)

    @cached_property
    def revoked(self) -> Revocations | None:
        """What was revoked from the run, which is locked; read once a worker."""
        return load_revocations(self.run)

    def incoming(self, part: Part) -> pa.Table:
        """The part's rows of the pool; if these cannot be read, as many rows with the error."""
        pool = replace(self.pool, format=STAGED.format) if part.staged else self.pool
        content = files.read_bytes(part.path) if part.copy else None
        if part.copy and content is not None:
            part.copy.check(part.path, content)
        try:
            table = read_slice(
                part.path, start=part.start, rows=part.rows, pool=pool, content=content
            )
        except UnreadableError as error:
            if part.staged:
                raise DamagedError(part.path, str(error).removeprefix(f"{part.path}: ")) from None
            return self.pool.with_all(unreadable_rows(error, rows=part.rows))
        for name in ("url", "caption", "uid"):
            if (pc.sum(pc.binary_length(table[name])).as_py() or 0) > TEXT_BYTES:
                raise CurateError(
                    f"{part.path}: rows {part.start:,} to {part.start + part.rows:,} hold over"
                    f" {TEXT_BYTES:,} bytes of {name}s, more than a part can; set part_rows to less"
                    f" than {part.rows}"
                )
        return table

    @property
    def columns(self) -> pa.Schema:
        """The columns of a part afterwards."""
        return schema.prepared(
            listed=self.words_in is not None,
            boxed=self.pool.blur_boxes is not None,
            kept=dict(self.pool.keep),
            sized=self.sized,
            captions=self.captions.columns if self.captions else (),
            tagged=self.tags is not None,
        )

    def process(self, part: Part) -> PartOutput:
        """Read, clean, tell the language, match, and apply the text rules."""
        table = self.incoming(part)
        pairs = self._sieved(table)
        sieve = self._of_captions(pairs)
        self._tell_languages(sieve)
        captions = sieve.table["caption"].combine_chunks()
        languages = sieve.table["language"].combine_chunks()
        matches = match_by_language(
            captions, languages, metadata=self.metadata, ignore_case=self.ignore_case,
            released=self.released,
        )  # fmt: skip
        self._append(sieve, {**measures(captions, words_in=self.words_in), "matches": matches})
        if self.tags:
            self._append(sieve, self._tagged(sieve, languages))
        rules = apply_rules(sieve, self.rules, cuts=self.cuts)
        if self.metadata and not self.keeps_unmatched:
            lengths = pc.list_value_length(sieve.table[schema.BOTH if self.tags else "matches"])
            sieve.remove(pc.equal(lengths, 0), reason=DropReason.NO_MATCH)
        if isinstance(sieve, EachCaption):
            rules |= sieve.end()
        total = pc.sum(pc.list_value_length(pairs.table["matches"])).as_py() or 0
        output = pairs.output(columns=self.columns, figures={"matches": total, **rules})
        if part.images:
            places = pairs.table.select(schema.PLACES.names)
            url = self.run.part(self.folder, part.index, PLACES_FILE)
            held = {part_name(self.folder, part.index, PLACES_FILE): files.write_table(url, places)}
            output = replace(output, wrote=held)
        self._check(part, output.dead, stripped(table["uid"]))
        return output

    def sound(self, part: Part) -> pa.Table:
        """The columns that quantiles are of, for the rows that reach the rules."""
        names = read_by(quantiles_of(self.rules))
        sieve = self._of_captions(self._sieved(self.incoming(part)))
        if self._wanted or {"language", "language_score"} & set(names):
            self._tell_languages(sieve)
        if set(names) - set(sieve.table.column_names):
            captions = sieve.table["caption"].combine_chunks()
            self._append(sieve, measures(captions, words_in=self.words_in))
        return sieve.table.select(names)

    def _of_captions(self, pairs: Sieve) -> Sieve:
        """What the text steps look at: the pairs, or each of the captions that they have."""
        return EachCaption(pairs, self.captions, clean=clean) if self.captions else pairs

    def _sieved(self, table: pa.Table) -> Sieve:
        """What comes before any text is looked at, cheapest first, so that later checks see less."""
        given, caption = stripped(table["uid"]), clean(table["caption"])
        columns = {
            "uid": uids_of(table, caption),
            "url": stripped(table["url"]),
            "caption": caption,
        }
        rest = {name: table[name] for name in ("error", "detail", *_CARRIED, *self.pool.kept.names)}
        sieve = Sieve(pa.table({**columns, "given": given, **rest}), stage=self.stage)
        for error in (ErrorCode.BAD_ROW, ErrorCode.UNREADABLE_FILE):
            rows = pc.fill_null(pc.equal(sieve.table["error"], str(error)), False)
            sieve.remove(rows, reason=error, value=sieve.table["detail"])
        if self.tags:
            self._check_tags(sieve)
        if self.pool.uid:
            given = sieve.table["given"]
            sieve.table = sieve.table.set_column(0, "uid", given)
        if revoked := self.revoked:
            sieve.remove(revoked.pairs(sieve.table), reason=DropReason.REVOKED)
        if self.pool.uid:
            given = sieve.table["given"]
            valid = pc.fill_null(pc.match_substring_regex(given, _UID), False)
            sieve.remove(pc.invert(valid), reason=ErrorCode.BAD_UID, value=given)
        sieve.remove(pc.is_null(sieve.table["url"]), reason=ErrorCode.NULL_URL)
        if self.uids_in:
            held = is_in_subset(sieve.table["uid"], load_subset(self.uids_in))
            sieve.remove(~held, reason=DropReason.NOT_IN_SUBSET)
        if not self.captions:
            sieve.remove(pc.equal(sieve.table["caption"], ""), reason=DropReason.EMPTY_CAPTION)
        no_file = pc.equal(sieve.table["error"], str(DropReason.NO_IMAGE_FILE))
        detail = sieve.table["detail"]
        sieve.remove(pc.fill_null(no_file, False), reason=DropReason.NO_IMAGE_FILE, value=detail)
        url = sieve.table["url"]
        can_be_had = pc.or_(
            pc.match_substring_regex(url, _WEB_URL), pc.is_valid(sieve.table["size"])
        )
        sieve.remove(pc.invert(can_be_had), reason=DropReason.BAD_URL, value=url)
        if self.sized:
            stated = sizes(*(sieve.table[kept_name(name)] for name in schema.SIDES))
            carried = [name for name in schema.SIDES if name in sieve.table.column_names]
            sieve.table = sieve.table.drop_columns(carried)
            self._append(sieve, stated)
        return sieve

    def _check(self, part: Part, dead: pa.Table, given: Column) -> None:
        """Fail as soon as one part alone has more dead rows than the whole pool may have."""
        if self.max_dead is not None and len(dead) > self.max_dead:
            first = dead.slice(0, 1).to_pylist()[0]
            path, before = source_of(self.run, part)
            told = first["detail"] or first["error"]
            if first["error"] == ErrorCode.BAD_UID:
                uid = first["detail"]
                row = before + 1 + pc.index(pc.fill_null(given, ""), uid or "").as_py()
                told = f"row {row:,}: uid {uid!r} is not 32 hex digits (input.columns.uid)"
            raise CurateError(
                f"{path}: {len(dead):,} of {part.rows:,} rows cannot be used, more than"
                f" input.max_dead_fraction allows for the whole input ({self.max_dead:,});"
                f" the first: {told}"
            )

    @property
    def _wanted(self) -> tuple[str, ...] | None:
        """The languages whose captions stay; None for all."""
        return self.languages or tuple(sorted(self.metadata)) or None

    def _tell_languages(self, sieve: Sieve) -> None:
        """Append the languages, and take out the captions in those that are not wanted."""
        captions = sieve.table["caption"].combine_chunks()
        columns = languages_of(
            captions, model=self.language_model, unsure=self.unsure, as_another=self.as_another
        )
        self._append(sieve, columns)
        if self._wanted is not None:
            others = pc.invert(pc.is_in(sieve.table["language"], pa.array(self._wanted)))
            sieve.remove(others, reason=DropReason.LANGUAGE, value=sieve.table["language"])

    def _tagged(self, sieve: Sieve, languages: pa.Array) -> dict[str, Column]:
        """The columns of the entries that are tags; their texts were seen to be tags."""
        column, separator = self.tags or ("", None)
        found = split_tags(sieve.table[column], separator=separator)
        ids = tags_by_language(
            found.rows, found.tags, languages, metadata=self.metadata, ignore_case=self.ignore_case
        )
        return {schema.TAGS: ids, schema.BOTH: union(sieve.table["matches"], ids)}

    def _check_tags(self, sieve: Sieve) -> None:
        """Take out the rows whose tags are no list, where nothing separates them."""
        column, separator = self.tags or ("", None)
        bad = split_tags(sieve.table[column], separator=separator).bad
        if bad.any():
            texts = sieve.table[column].to_pylist()
            told = [no_list(x, column=column) if y else "" for x, y in zip(texts, bad, strict=True)]
            sieve.remove(bad, reason=ErrorCode.BAD_ROW, value=pa.array(told))

    @staticmethod
    def _append(sieve: Sieve, columns: dict[str, Column]) -> None:
        for name, column in columns.items():
            sieve.table = sieve.table.append_column(name, column)


def step_of(plan: Plan, step: Step) -> PrepareStep:
    """What reads and prepares a part under `plan`."""
    prepare = plan.config.prepare
    dead = plan.config.input.max_dead_fraction
    tags = plan.config.input.columns.tags
    return PrepareStep(
        **given(plan, step),
        pool=pool_format(plan.config),
        languages=prepare.languages,
        metadata={x: files.absolute(path) for x, path in prepare.metadata.items()},
        words_in=files.absolute(prepare.words_in) if prepare.words_in else None,
        uids_in=files.absolute(prepare.uids_in) if prepare.uids_in else None,
        language_model=files.absolute(prepare.language_model) if prepare.language_model else None,
        unsure=(prepare.unsure.below, prepare.unsure.language) if prepare.unsure else None,
        as_another=counts_as(plan.config),
        ignore_case=prepare.ignore_case,
        released=prepare.spacing == "released",
        keeps_unmatched=keeps_unmatched(plan.config),
        rules=tuple(map(absolute, step.rules)),
        sized=sized_by_pool(plan.config),
        captions=captions_of(plan),
        tags=(kept_name(tags.column), tags.separator) if tags else None,
        max_dead=most_dead(sum(part.rows for part in plan.parts), fraction=dead),
    )


def transform(plan: Plan, step: Step) -> beam.PTransform:
    """Parts of the pool -> parts that are prepared; a map."""
    return TakeParts(step_of(plan, step))
