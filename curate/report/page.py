"""The page: facts, figures and thumbnails as one HTML file that asks nothing of the network."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import jinja2
from markupsafe import Markup, escape

from curate.config import Config
from curate.config.file import dump
from curate.report import entries, optouts, sankey, sheets, sweeps
from curate.report.charts import GRID, INK, MARK, Figure
from curate.report.distributions import Language
from curate.report.facts import Facts
from curate.report.wording import STAGES, UNDRAWN, alarms, meaning, survivor_in_words
from curate.rundir.directory import Counts
from curate.summaries.tallies import Example, Key

LANGUAGES = 40
"""Rows of a table of languages."""

FEW = 12
"""Rows of a table whose others can be opened."""

_TEMPLATE, _SCRIPT = (Path(__file__).with_name(x) for x in ("page.html.jinja", "page.js"))
_UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB")


def examples(facts: Facts) -> list[Example]:
    """Every pair that the page shows."""
    shown = [*facts.examples]
    for reason in (*facts.dropped, *facts.dead):
        shown += reason.examples
    for cluster in facts.duplicates.largest if facts.duplicates else ():
        shown += [cluster.survivor, *cluster.dropped]
    for cluster in facts.meanings.largest if facts.meanings else ():
        shown += [cluster.survivor, *cluster.dropped]
    for concept in facts.map.concepts if facts.map else ():
        shown += concept.examples
    for words in facts.words:
        shown += [one.pair for one in words.lowest]
    for score in facts.scores:
        shown += [*score.ends.highest, *score.ends.lowest]
        for sheet in score.sheets:
            shown += [*sheet.kept, *sheet.dropped]
    return shown


def render(
    facts: Facts,
    *,
    figures: Mapping[str, Figure],
    thumbnails: Mapping[Key, str],
    config: Config,
    name: str,
) -> str:
    """The page of the run `name` as HTML; `thumbnails` are data: URIs by `Example.key`."""
    return template(_TEMPLATE).render(
        facts=facts,
        name=name,
        languages=folded(facts.languages),
        verdict=verdict(facts),
        alarms=[
            *unfinished(facts),
            *alarms(_stages(facts), config=config),
            *([] if figures else [UNDRAWN]),
            *(entries.idle(facts.balance.languages, config.balance) if facts.balance else ()),
        ],
        figures=figures,
        thumbnails=thumbnails,
        config=dump(config),
        threshold=config.dedup.threshold,
        ngram=config.dedup.ngram,
        meanings={x: meaning(x, config) for x in _scored(facts)},
        blurred=config.download.faces == "blur",
        ignore_case=config.prepare.ignore_case,
        caption_keeps=config.dedup.caption_keeps,
        survivor=survivor_in_words(config, grown=any(x.wave for x in facts.origin.inputs)),
        looked_at=sheets.PARTS,
        epsilon=config.semdedup.epsilon if config.semdedup else 0.0,
        stages=STAGES,
        ink=INK,
        grid=GRID,
        most_languages=LANGUAGES,
        curves=sweeps.shown(facts.sweep) if facts.sweep else (),
        flow=sankey.drawings(facts),
        few=FEW,
        script=Markup(_script()),
        script_hash=f"sha256-{base64.b64encode(hashlib.sha256(_script().encode()).digest()).decode()}",
    )


def _scored(facts: Facts) -> list[str]:
    return [*(x.column for x in facts.scores), *(x.column for x in facts.labels)]


@cache
def template(path: Path) -> jinja2.Template:
    """The template in a file, with the filters of all pages; it may include what stands here."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([path.parent, Path(__file__).parent]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "n": number, "percent": percent, "size": size, "time": duration, "sig": significant,
        "svg": drawing, "web": is_web, "signal": optouts.meaning,
    }  # fmt: skip
    environment.globals["mark"] = MARK  # of the style sheet, which other pages have as well
    return environment.get_template(path.name)


@cache
def _script() -> str:
    """The page's script; its policy allows no other."""
    return "\n" + _SCRIPT.read_text("utf-8")


def drawing(figure: Figure, *, log: bool = False) -> Markup:
    """The SVG of a figure, with its title, and along which axis one points at it."""
    opened = f'<svg role="img" aria-label="{escape(figure.title)}" data-along="{figure.along}"'
    return Markup((figure.log if log else figure.svg).replace("<svg", opened, 1))


def folded(languages: Sequence[Language]) -> list[Language]:
    """The languages with a hundredth of the pairs of some column; the others, if several, as one."""
    columns = ("unwanted", "prepared", "kept")
    totals = {x: sum(getattr(one, x) for one in languages) for x in columns}
    rare = [one for one in languages if all(100 * getattr(one, x) <= totals[x] for x in columns)]
    if len(rare) < 2:
        return list(languages)
    sums = {x: sum(getattr(one, x) for one in rare) for x in columns}
    others = Language(f"{len(rare)} others, under 1% each", **sums)
    return [*(one for one in languages if one not in rare), others]


def _stages(facts: Facts) -> dict[str, Counts]:
    """The funnel as :func:`alarms` takes it."""
    return {
        one.stage: {
            "rows": one.rows,
            "kept": one.kept,
            "dropped": {x.reason: x.pairs for x in facts.dropped if x.stage == one.stage},
            "dead": {x.reason: x.pairs for x in facts.dead if x.stage == one.stage},
        }
        for one in facts.funnel
    }


def unfinished(facts: Facts) -> list[str]:
    """What a reader has to know of a run that was stopped."""
    if facts.origin.state in ("", "complete"):
        return []
    mixed = ", ".join(f"{n:,} of {stage}" for stage, n in facts.origin.earlier.items())
    told = f"; parts of an earlier configuration are among these numbers: {mixed}" if mixed else ""
    return [f"This run is not complete: its state is {facts.origin.state}{told}."]


def verdict(facts: Facts) -> str:
    """The run in one sentence."""
    if not facts.pairs:
        return "The pool was empty."
    into = ""
    if facts.shards is not None:
        into = f" in {len(facts.shards):,} {'shard' if len(facts.shards) == 1 else 'shards'}"
    return f"{facts.pairs:,} pairs in, {facts.kept:,} kept{into}."


def number(x: int) -> str:
    """With thousands separators.

    >>> number(1234567)
    '1,234,567'
    """
    return f"{x:,}"


def significant(x: float | None, digits: int = 4) -> str:
    """With a few significant digits and thousands separators; a dash for None.

    >>> significant(20_000.0), significant(0.123456)
    ('20,000', '0.1235')
    """
    if x is None:
        return "–"
    return f"{x:,.0f}" if abs(x) >= 10**digits else f"{x:,.{digits}g}"


def percent(share: float) -> str:
    """In percent, with one decimal; 0 and 100 only where they are exact.

    >>> percent(0.5), percent(0.0004), percent(0.0), percent(0.9999), percent(1.0)
    ('50.0%', '<0.1%', '0%', '>99.9%', '100%')
    """
    if share in (0, 1):
        return f"{share:.0%}"
    if share < 0.0005:
        return "<0.1%"
    return ">99.9%" if share >= 0.9995 else f"{share:.1%}"


def size(n: float) -> str:
    """Bytes in decimal units.

    >>> size(999), size(12_345_678)
    ('999 bytes', '12.3 MB')
    """
    power = 0
    while n >= 1000 and power < len(_UNITS) - 1:
        n, power = n / 1000, power + 1
    return f"{n:.3g} {_UNITS[power]}" if n < 100 else f"{n:.0f} {_UNITS[power]}"


def duration(seconds: float) -> str:
    """Seconds as a person says them.

    >>> duration(0.25), duration(75), duration(7300)
    ('0.2 s', '1 min 15 s', '2 h 02 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def is_web(url: str) -> bool:
    """Whether `url` is safe as the target of a link."""
    return url.startswith(("http://", "https://"))
