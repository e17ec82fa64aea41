"""Reasons, errors and stages in plain words."""

from collections.abc import Mapping
from typing import Any

from curate.config import Config, Rule
from curate.ops.scores.kinds import KINDS
from curate.planning.own_scores import is_beside, own_columns
from curate.reasons import ROWS, RULE_PREFIX, rule_reason
from curate.rundir.directory import Counts
from curate.schema import MEANINGS, OF_WORDS, WORD, Stage, kept_name

STAGES: dict[Stage, str] = {
    Stage.PREPARE: "clean the text, find its language, match it with the entry list",
    Stage.DOWNLOAD: "fetch, check and resize the images",
    Stage.DEDUP: "keep one pair of each cluster of duplicates",
    Stage.SCORE: "score how well image and caption agree",
    Stage.BALANCE: "thin out the pairs whose concepts are all frequent",
    Stage.SHARDS: "write the shards",
}

POLICIES: dict[str, str] = {
    "url": "one pair of those with the same URL, once it is written the same way",
    "image": "one pair of those with the same image",
    "pair": "one pair of those with the same image and nearly the same caption",
    "caption": "of the pairs with nearly the same caption as many as are asked for",
}
"""What each policy of dedup keeps."""

_MOST = 0.9
"""Share of what enters a stage over which one reason is alarming."""

UNDRAWN = (
    "The figures could not be drawn: this process may not have the addresses that the drawing engine"
    " reserves. Raise the limit (ulimit -v unlimited) and write the report again (curate report RUN)."
)


def alarms(stages: Mapping[str, Counts], *, config: Config) -> list[str]:
    """What is likely not meant: an empty set, or a stage that one reason has emptied.

    `stages` has `rows`, `kept`, `dropped` and `dead` of each stage, the latter two by reason, in any
    order. Rules of a top fraction, and balancing, do as they were told.
    """
    known = [stages[stage] for stage in Stage if stage in stages]
    empty = bool(known) and known[0]["rows"] > 0 and known[-1]["kept"] == 0
    found = ["No pair was kept: the set is empty."] if empty else []
    asked = {rule_reason(rule.label) for rule in config.select if rule.has_quantile}
    for stage, counts in ((stage, stages[stage]) for stage in Stage if stage in stages):
        for reason, n in {**counts["dropped"], **counts["dead"]}.items():
            row = ROWS.get(reason)
            meant = (row.intended if row else reason in asked) and n < counts["rows"]
            if n > _MOST * counts["rows"] and not meant:
                told = explain(reason, config=config)
                found.append(
                    f"{reason} took {n:,} of the {counts['rows']:,} pairs that entered {stage}."
                    f" {told}" + (f" Remedy: {row.remedy}" if row else "")
                )
    return found


def meaning(name: str, config: Config) -> str:
    """What a column says, in a line."""
    for score, one in config.scores.items():
        if name in (one.columns or ()):
            return f"of {one.call or one.path} (scores.{score})"
        if one.kind == "misaligned_words" and name.removeprefix(score) in OF_WORDS:
            return OF_WORDS[name.removeprefix(score)][1]
        if name == score:
            says = KINDS[one.kind].says if one.kind in KINDS else ""
            return says or f"score of kind {one.kind}"
        if is_beside(one) and name in own_columns(score, one).names:
            return f"of kind {one.kind} (scores.{score})"
    if config.score and name in config.score.also:
        return f"cosine similarity of image and caption under {config.score.also[name].model}"
    if name == "language" and (model := config.prepare.language_model):
        return f"of the caption, by the fastText model {model.rpartition('/')[2]}"
    kept = {kept_name(x): f"`{x}` of the pool" for x in config.input.columns.keep}
    return kept.get(name) or MEANINGS[name]


def explain(reason: str, *, config: Config) -> str:
    """A ledger's reason or a dead record's error as a sentence; the reason itself if unknown."""
    label = reason.removeprefix(RULE_PREFIX)
    if label != reason:
        for rule in config.select:
            if rule.label == label:
                return f"A rule of the configuration keeps a pair if {conditions(rule)}."
        return "A rule of the configuration."
    return ROWS[reason].sentence if reason in ROWS else reason


def survivor_in_words(config: Config, *, grown: bool = False) -> str:
    """Which pair of a cluster stays; in a pool that has `grown`, first of all an earlier one."""
    first, *then = [
        *(f"the {'lower' if x[0] == '-' else 'higher'} {x.removeprefix('-')}"
          for x in config.dedup.prefer),
        *(["the larger image"] if config.download.enabled else []),
        "the longer caption", "the smaller uid",
    ]  # fmt: skip
    earlier = "a pair that came to the pool earlier stays, of those that came together "
    before = earlier if grown and config.dedup.prefer_earlier else ""
    return f"Of a cluster {before}the pair with {first} stays, then {', then '.join(then)}."


def choice_in_words(config: Config, pair: Mapping[str, Any]) -> str:
    """Which of the captions of a kept pair is its own, and why."""
    first = "the first that was not left out"
    judged = any(one["score"] is not None for one in pair["captions"])
    how = {
        "all": first,
        "draw": "drawn by the weights",
        "best": f"the one with the highest {config.caption.by}" if judged else f"{first}, for now",
    }
    return (
        f"Of its captions that of {pair['caption_source']} is the pair's, {pair['caption']!r}:"
        f" {how[config.caption.choose]} (caption.choose {config.caption.choose})."
    )


def caption_in_words(one: Mapping[str, object]) -> str:
    """One of the captions of a pair: its source, and what is known of it or why it was left out."""
    told = f"caption of {one['source']}: {one['caption']!r}"
    if one.get("uid") is not None:
        told += f" of the pair {one['uid']}"
    if one["reason"] is not None:
        return f"{told}, left out: {one['reason']}"
    named = ", ".join(f"{x} {value(one[x])}" for x in ("score", "weight") if one[x] is not None)
    return f"{told}, {named}"


def conditions(rule: Rule) -> str:
    """What `rule` asks for.

    >>> conditions(Rule(column="smaller_side", min=200))
    'smaller_side is at least 200'
    >>> conditions(Rule(name="either", any_of=(Rule(column="a", min=1), Rule(column="b", max=2))))
    'a is at least 1 or b is at most 2'
    """
    for word, rules in ((" or ", rule.any_of), (" and ", rule.all_of)):
        if rules is not None:
            inner = [conditions(one) for one in rules]
            return word.join(f"({x})" if one.column is None else x
                             for one, x in zip(rules, inner, strict=True))  # fmt: skip
    asked = []
    if rule.min is not None:
        asked.append(f"at least {rule.min:g}")
    if rule.max is not None:
        asked.append(f"at most {rule.max:g}")
    if rule.between is not None:
        asked.append(f"from {rule.between[0]:g} to {rule.between[1]:g}")
    if rule.in_ is not None:
        asked.append("one of " + ", ".join(map(_value, rule.in_)))
    if rule.not_in is not None:
        asked.append("none of " + ", ".join(map(_value, rule.not_in)))
    if rule.same_as is not None:
        asked.append(f"the same as {rule.same_as}")
    if rule.matches is not None:
        asked.append(f'a text that matches "{rule.matches}"')
    if rule.not_matches is not None:
        asked.append(f'no text that matches "{rule.not_matches}"')
    if rule.contains_any is not None:
        asked.append(f"a text with a word or phrase of {rule.contains_any}")
    for mark, path in rule.lists.items():
        named = path.rpartition("/")[2]
        asked.append(f"{'one' if mark == 'keep' else 'none'} of those in {named}")
    if rule.top_fraction is not None:
        group = f" of its {rule.per}" if rule.per else ""
        asked.append(f"among the highest {100 * rule.top_fraction:.4g}%{group}")
    if rule.top is not None:
        group = f" of its {rule.per}" if rule.per else ""
        asked.append(f"among the highest {rule.top:,}{group}")
    if rule.every is not None:
        asked.append(f"divisible by {rule.every:,}")
    return f"{rule.column} is " + " and ".join(asked)


def _value(x: object) -> str:
    return str(x).lower() if isinstance(x, bool) else str(x)


def value(x: object) -> str:
    """A value of a column, with six significant digits; judged words each with its score."""
    if isinstance(x, list) and x and isinstance(x[0], dict) and x[0].keys() == set(WORD.names):
        return ", ".join(
            f"{one['word']} {one['score']:.2g}{' (misaligned)' if one['misaligned'] else ''}"
            for one in x
        )
    return f"{x:.6g}" if isinstance(x, float) else "none" if x is None else _value(x)
