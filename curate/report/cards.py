"""The data card of a set: ``datacard.md``."""

import re
from collections.abc import Iterable

from curate import schema
from curate.asked import added_columns
from curate.config import Config
from curate.report.croissant import RIGHTS
from curate.report.facts import Facts
from curate.report.page import number, percent, significant, size, verdict
from curate.report.wording import STAGES
from curate.schema import Stage, kept_name

ROWS = 20
"""Rows of a table in the data card."""


HIDDEN = frozenset({"tar_offset", "tar_size", "matches"})
"""Columns that the shards' JSON files leave out; of these their parquet files have `matches`."""

COLUMNS = {
    "key": "shard and index in it, zero-padded; the name of the pair's files",
    "status": "`success`, as img2dataset has it for each pair of its shards",
    "error_message": "null, likewise",
    "uid": "128-bit hash of URL and caption, 32 hex digits, unless the input brought its own",
    "url": "where the image was fetched from",
    "caption": "the cleaned caption",
    "language": "of the caption, by fastText lid.176",
    "language_score": "probability of the most likely language, from 0 to 1",
    "caption_chars": "length of the caption in code points",
    "caption_words": "length of the caption in words",
    "words_in_list": "words of the caption that stand in the list of prepare.words_in",
    "width": "of the stored image, pixels",
    "height": "of the stored image, pixels",
    "original_width": "of the image as fetched, pixels",
    "original_height": "of the image as fetched, pixels",
    "smaller_side": "of the image as fetched, pixels",
    "aspect": "larger over smaller side of the image as fetched",
    "image_format": "of the image as fetched, by its content",
    "image_bytes": "size of the image as fetched",
    "sha256": "of the image as fetched, hex",
    "exif": "tags of the image as fetched, JSON, where they were asked for",
    "faces": "number of faces that were found in the image",
    "face_boxes": "left, top, right and bottom of each face, as shares of the upright image's width and"
    " height, before a crop or border",
    "blur_boxes": "what the pool said was to be blurred: left, top, right and bottom of each box",
    "cluster": "uid of the first pair of the cluster of duplicates",
    "cluster_size": "pairs in that cluster",
    "other_captions": "captions of the pairs that were dropped for this one",
    "clip_score": "cosine similarity of image and caption under the scoring model",
    "keep_probability": "probability with which balancing kept the pair",
    "word_score": "how rare the caption's words are in the pool (WFPP), from 0",
}


def datacard(facts: Facts, *, config: Config, name: str) -> str:
    """The data card of the set `name`, in Markdown."""
    lines = [f"# {name}", "", verdict(facts), "", *_summary(facts, config)]
    lines += ["", "## How it was made", ""]
    lines += _table(
        ("stage", "what it does", "in", "kept", "dropped", "dead"),
        [
            (s.stage, STAGES[Stage(s.stage)], s.rows, s.kept, s.dropped, s.dead)
            for s in facts.funnel
        ],
    )
    if facts.rules:
        lines += ["", "Rules:", ""]
        lines += _table(
            ("rule", "keeps a pair if", "pairs", "dropped", "would drop alone", "only it drops"),
            [(f"`{r.rule}`", r.asks, r.pairs, r.dropped, r.alone, r.only) for r in facts.rules],
        )
    if facts.dropped:
        lines += ["", "## Why pairs were dropped", ""]
        lines += _table(
            ("stage", "reason", "pairs", "of the pool", "meaning"),
            [
                (r.stage, f"`{r.reason}`", r.pairs, percent(r.share), r.explanation)
                for r in (*facts.dropped, *facts.dead)
            ],
        )
    lines += _balance(facts)
    lines += ["", "## Languages", ""]
    lines += _table(
        ("language", "pairs", "share"),
        [(o.language, o.kept, percent(o.kept / facts.kept)) for o in facts.languages if o.kept],
    )
    if facts.shards:
        lines += ["", "## Files", "", *_files(facts, config)]
    lines += ["", "## Limits", "", *_limits(facts)]
    lines += ["", "## Making it again", "", *_again(facts)]
    return "\n".join(lines) + "\n"


def _summary(facts: Facts, config: Config) -> list[str]:
    lines = []
    if facts.shards:
        form = (
            f"{config.shards.rows:,} pairs a shard, images at {config.download.image_size} pixels"
        )
        lines.append(f"- Form: WebDataset, {form} ({config.download.resize_mode})")
        lines.append(f"- Size: {size(sum(shard.bytes for shard in facts.shards))}")
    captions = facts.captions
    lines.append(f"- Caption length, median: {significant(captions.words.median_after)} words")
    if facts.images:
        side = facts.images.smaller_side.median_after
        lines.append(f"- Smaller side of the originals, median: {significant(side)} pixels")
    for one in facts.scores:
        model = f" ({config.score.model})" if config.score and one.column == "clip_score" else ""
        median = significant(one.spread.median_after, 3)
        lines.append(f"- {one.column}, median: {median}{model}")
    return lines


def _balance(facts: Facts) -> list[str]:
    if not facts.balance:
        return []
    columns = ("language", "t", "tail share p", "matches", "kept", "head", "tail", "never matched")
    rows = [
        (o.language, significant(o.t), percent(o.p), o.matches, o.kept_matches, o.head, o.tail,
         o.unmatched)
        for o in facts.balance.languages
    ]  # fmt: skip
    text = (
        "MetaCLIP balancing: an entry that more than t pairs match is sampled down, each of its"
        " pairs being kept for it with probability t / count; a pair stays if any of its entries"
        " keeps it."
    )
    if facts.balance.revoked:
        text += (
            f" t was settled, and matches counted, with {facts.balance.revoked:,} that were revoked"
            " since; what is kept is counted without."
        )
    return ["", "## Balance", "", text, "", *_table(columns, rows)]


def _files(facts: Facts, config: Config) -> list[str]:
    ending = config.download.encode_format
    stages = [Stage(one.stage) for one in facts.funnel if one.stage in schema.ADDED]
    after = schema.after(stages[-1], enabled=stages, added=added_columns(config))
    names = ["key", "status", "error_message", *after.names]
    kept = {kept_name(x): f"`{x}` of the pool" for x in config.input.columns.keep}
    told = COLUMNS | kept
    columns = [f"- `{name}`: {told.get(name, '')}" for name in names if name not in HIDDEN]
    text = (
        f"Each shard is a tar with `KEY.{ending}`, `KEY.txt` (the caption) and `KEY.json`, and"
        " beside it stands a parquet file. Both have a pair's"
    )
    known_by = "the `entry_id`, in `balance/entries.parquet` under the caption's language,"
    if Stage.BALANCE not in stages:
        known_by = "the place, from 0 in the list of the caption's language,"
    matches = (
        f"The parquet file has `matches` as well: {known_by} of each entry that is in the caption."
    )
    return [text, "", *columns, "", matches]


def _limits(facts: Facts) -> list[str]:
    lines = [
        f"- {RIGHTS}",
        "- Nothing here removes personal, offensive or unsafe content unless a rule says so.",
        "- The language is a guess from a short text, and wrong more often the shorter it is.",
    ]
    if facts.scores:
        lines.append("- Selecting by a model's score keeps what that model knows.")
    if facts.images:
        lines.append("- URLs decay: fetching the pool again gives another set.")
    return lines


def _again(facts: Facts) -> list[str]:
    origin = facts.origin
    lines = ["`curate run config.yaml`, with the file of that name in the run directory.", ""]
    lines.append(f"- Seed: {origin.seed}")
    if origin.config_digest:
        lines.append(f"- Digest of the configuration: `{origin.config_digest}`")
    if origin.versions:
        found = ", ".join(f"{name} {version}" for name, version in origin.versions.items())
        lines.append(f"- Versions: {found}")
    return lines


def _table(columns: tuple[str, ...], rows: Iterable[tuple[str | int, ...]]) -> list[str]:
    """A Markdown table: numbers to the right, no more than `ROWS` rows."""
    rows = list(rows)
    shown = rows[:ROWS]
    right = [all(_is_number(row[i]) for row in shown) for i in range(len(columns))]
    lines = ["| " + " | ".join(columns) + " |"]
    lines.append("|" + "|".join("--:" if numeric else "---" for numeric in right) + "|")
    for row in shown:
        cells = [number(x) if isinstance(x, int) else x.replace("|", "\\|") for x in row]
        lines.append("| " + " | ".join(cells) + " |")
    if len(rows) > ROWS:
        lines += ["", f"And {len(rows) - ROWS:,} more, in report.json."]
    return lines


def _is_number(x: str | int) -> bool:
    return isinstance(x, int) or re.fullmatch(r"<?[\d.,]+%?", x) is not None
