"""The data card of a set: ``datacard.md``, and beside the shards ``README.md``."""

import re
from collections.abc import Iterable

from curate.config import Config, Shards
from curate.planning.asked import parquet_alone
from curate.report.croissant import RIGHTS
from curate.report.facts import Facts
from curate.report.hub import front_matter, shard_columns
from curate.report.page import number, percent, significant, size, verdict
from curate.report.wording import STAGES, meaning
from curate.schema import Stage

ROWS = 20
"""Rows of a table in the data card."""


def datacard(facts: Facts, *, config: Config, name: str) -> str:
    """The data card of the set `name`, in Markdown."""
    head = front_matter(facts, config=config, name=name)
    lines = [f"# {plain(name)}", "", verdict(facts), "", *_summary(facts, config)]
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
            [
                (code(r.rule), plain(r.asks), r.pairs, r.dropped, r.alone, r.only)
                for r in facts.rules
            ],
        )
    if facts.dropped:
        lines += ["", "## Why pairs were dropped", ""]
        lines += _table(
            ("stage", "reason", "pairs", "of the pool", "meaning"),
            [
                (r.stage, code(r.reason), r.pairs, percent(r.share), plain(r.explanation))
                for r in (*facts.dropped, *facts.dead)
            ],
        )
    lines += _balance(facts, ignore_case=config.prepare.ignore_case)
    lines += ["", "## Languages", ""]
    lines += _table(
        ("language", "pairs", "share"),
        [(o.language, o.kept, percent(o.kept / facts.kept)) for o in facts.languages if o.kept],
    )
    if facts.shards:
        lines += ["", "## Files", "", *_files(facts, config)]
    lines += ["", "## Limits", "", *_limits(facts)]
    lines += ["", "## Making it again", "", *_again(facts)]
    return head + "\n" + "\n".join(lines) + "\n"


def _cut(shards: Shards) -> str:
    """How the shards were cut."""
    form = (
        f"some {size(shards.bytes)} a shard" if shards.bytes else f"{shards.rows:,} pairs a shard"
    )
    form = f"{form} at most, all even" if shards.is_even else form
    return f"{form}, in a random order" if shards.order == "mixed" else form


def _summary(facts: Facts, config: Config) -> list[str]:
    lines = []
    if facts.shards:
        form = (
            f"{_cut(config.shards)}, images at {config.download.stored_size} pixels"
            f" ({config.download.resize_mode})"
        )
        if config.download.keeps and facts.brings_images:
            form += ", those that came with the pool as they were"
        lines.append(f"- Form: WebDataset, {form}")
        lines.append(f"- Size: {size(sum(shard.bytes for shard in facts.shards))}")
    if facts.written:
        lines.append(f"- {facts.written}")
    captions = facts.captions
    lines.append(f"- Caption length, median: {significant(captions.words.median_after)} words")
    if facts.images:
        side = facts.images.smaller_side.median_after
        lines.append(f"- Smaller side of the originals, median: {significant(side)} pixels")
    for one in facts.scores:
        model = (
            f" ({plain(config.score.model)})" if config.score and one.column == "clip_score" else ""
        )
        median = significant(one.spread.median_after, 3)
        lines.append(f"- {one.column}, median: {median}{model}")
    return lines


def _balance(facts: Facts, *, ignore_case: bool) -> list[str]:
    if facts.perspectives:
        return _perspectives(facts)
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
    if ignore_case:
        text += " Entries were matched whatever their case, unlike MetaCLIP's."
    if sight := facts.balance.sight:
        text += (
            f" Counted are the entries of a caption that its image shows (`{sight.on}`):"
            f" {sight.seen:,} of {sight.mentions:,} matches; {sight.unseen:,} of the"
            f" {sight.entries:,} entries that captions mention are seen in none of these images."
        )
    if facts.balance.revoked:
        text += (
            f" t was settled, and matches counted, with {facts.balance.revoked:,} that were revoked"
            " since; what is kept is counted without."
        )
    return ["", "## Balance", "", text, "", *_table(columns, rows)]


def _perspectives(facts: Facts) -> list[str]:
    columns = ("perspective", "share r", "tau", "entities", "head", "occurrences", "kept",
               "of the head", "kept")  # fmt: skip
    rows = [
        (x.name, significant(x.share), x.tau, x.entities, x.head, x.occurrences, x.kept,
         x.head_occurrences, x.kept_head)
        for x in facts.perspectives
    ]  # fmt: skip
    text = (
        "Adaptive rebalancing (ADR): of each perspective, tau is the count with which its entities,"
        " most frequent first, reach the share r of all occurrences; an entity that occurs f times"
        " passes with probability tau / f, and a perspective if any of its entities does."
    )
    return ["", "## Balance", "", text, "", *_table(columns, rows)]


def _files(facts: Facts, config: Config) -> list[str]:
    ending, *others = facts.image_endings(config)
    also = "".join(f" or `.{x}`" for x in others)
    alone = parquet_alone(config)
    names = [x for x in shard_columns(facts).names if x not in alone]
    columns = [f"- `{name}`: {meaning(name, config)}" for name in names]
    text = (
        f"Each shard is a tar with `KEY.{ending}`{also}, `KEY.txt` (the caption) and `KEY.json`, and"
        " beside it stands a parquet file. Both have a pair's"
    )
    known_by = "the `entry_id`, in `entries/entries.parquet` under the caption's language,"
    if Stage.BALANCE not in {one.stage for one in facts.funnel}:
        known_by = "the place, from 0 in the list of the caption's language,"
    matches = (
        f"The parquet file has `matches` as well: {known_by} of each entry that is in the caption."
    )
    if not alone:
        matches = (
            f"`matches` is {known_by} of each entry. `counts.npz` has how many pairs match each:"
            " `curate.loading.resample` takes from these files what any t keeps."
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


def _table(
    columns: tuple[str, ...], rows: Iterable[tuple[str | int, ...]], *, most: int = ROWS
) -> list[str]:
    """A Markdown table: numbers to the right, no more than `most` rows."""
    rows = list(rows)
    shown = rows[:most]
    right = [all(_is_number(row[i]) for row in shown) for i in range(len(columns))]
    lines = ["| " + " | ".join(columns) + " |"]
    lines.append("|" + "|".join("--:" if numeric else "---" for numeric in right) + "|")
    for row in shown:
        cells = [number(x) if isinstance(x, int) else x.replace("|", "\\|") for x in row]
        lines.append("| " + " | ".join(cells) + " |")
    if len(rows) > most:
        lines += ["", f"And {len(rows) - most:,} more, in report.json."]
    return lines


def code(text: str) -> str:
    """`text` as Markdown code on one line, whatever is in it.

    >>> print(code("a"), code("a`b"))
    `a` ``a`b``
    """
    text = " ".join(text.split())
    fence = "`" * (max(map(len, re.findall("`+", text)), default=0) + 1)
    room = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{room}{text}{room}{fence}"


def plain(text: str) -> str:
    """`text` on one line of Markdown, nothing in which is taken for formatting, a link or HTML.

    >>> print(plain("<b>clip_score</b> *is* [a](b)"))
    \\<b>clip_score\\</b> \\*is\\* \\[a\\](b)
    """
    return re.sub(r"([\\`*\[\]<~$]|\b_|_\b|&(?=[#\w]+;))", r"\\\1", " ".join(text.split()))


def _is_number(x: str | int) -> bool:
    return isinstance(x, int) or re.fullmatch(r"<?[\d.,]+%?", x) is not None
