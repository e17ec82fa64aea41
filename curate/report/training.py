"""``training_summary.md``: figures for a public summary of the content that a model was trained on.

The headings are those of the European Commission's template of July 2025 for providers of
general-purpose AI models (Regulation (EU) 2024/1689, article 53(1)(d)). A run knows some of what is
asked for there, and this says of the rest that it does not.
"""

from collections.abc import Iterator

import pyarrow as pa

from curate.config import Config
from curate.report.cards import _table, code, plain
from curate.report.domains import TENTH
from curate.report.facts import Facts
from curate.report.page import number, percent, size, verdict
from curate.summaries.counting import UNKNOWN

LISTED = 1000
"""Domains that are listed, as many as the template asks of small providers."""
LANGUAGES = 30
FILES = 20
PROVIDER = "_To be filled in by the provider: a run does not know it._"

_IMAGES = ((1_000_000, "less than 1 million"), (1_000_000_000, "1 million to 1 billion"))
_TOKENS = 1_000_000_000
_BYTES = 4
"""Of a character in UTF-8, at most; no common tokenizer makes more tokens than bytes."""


def training_summary(facts: Facts, *, config: Config, name: str, domains: pa.Table | None) -> str:
    """The figures of the set `name`, in Markdown; `domains` are all domains, the largest first."""
    lines = [
        f"# Figures for a public summary of training content: {plain(name)}",
        "",
        verdict(facts),
        "",
        "The headings are those of the European Commission's template (July 2025) for article 53(1)(d)"
        " of Regulation (EU) 2024/1689. These are figures of one set, for the provider of a model to"
        " use in such a summary. They are no summary themselves, and do not say that one is complete"
        " or correct.",
        "",
        "## 1. General information",
        "",
        "### 1.1 Provider identification, 1.2 Model identification",
        "",
        PROVIDER,
        "",
        "### 1.3 Modalities, overall training data size and other characteristics",
        "",
        *_general(facts),
        "",
        "## 2. List of data sources",
        "",
        "### 2.1 Publicly available datasets, 2.2 Private datasets of third parties",
        "",
        *_pool(facts),
        "",
        "### 2.3 Data crawled and scraped from online sources",
        "",
        *_crawled(facts, config),
        *_largest(facts, domains),
        "",
        "### 2.4 User data",
        "",
        "None is taken by the pipeline itself; whether the pool holds some is not known to it.",
        "",
        "### 2.5 Synthetic data",
        "",
        *_synthetic(facts),
        "",
        "### 2.6 Other sources of data",
        "",
        PROVIDER,
        "",
        "## 3. Data processing aspects",
        "",
        "### 3.1 Respect of reservation of rights from text and data mining exception or limitation",
        "",
        *_reservations(facts, config),
        "",
        "### 3.2 Removal of illegal content",
        "",
        *_removal(facts),
        "",
        "### 3.3 Other information",
        "",
        "Each stage's drops, with reasons, are in datacard.md; all figures are in report.json.",
    ]
    return "\n".join(lines) + "\n"


def _general(facts: Facts) -> Iterator[str]:
    has_images = facts.shards is not None
    yield f"- Modalities: text{' and images' if has_images else ''}, as pairs of image and caption"
    if has_images:
        bracket = next((x for most, x in _IMAGES if facts.kept < most), "more than 1 billion")
        stored = sum(shard.bytes for shard in facts.shards or ())
        yield f"- Images: {number(facts.kept)} ({bracket}); {size(stored)} in the shards"
    text = facts.volume
    few = text.characters * _BYTES < _TOKENS
    bracket = "less than 1 billion tokens" if few else "tokens depend on the tokenizer"
    words, letters = number(text.words), number(text.characters)
    yield f"- Text: {words} words, {letters} characters of captions ({bracket})"
    yield "- Type of content: images of the web and the texts that stand for them (alt texts, captions)"
    yield (
        "- Latest date of acquisition: not known. No date of a fetch is recorded with a pair; run.json"
        " has when the command ran that made the set, where one command did (`took`)."
    )
    yield "- Languages, as a model guesses them from each caption:"
    yield ""
    spoken = [one for one in facts.languages if one.kept]
    rows = [
        ("not known" if one.language == UNKNOWN else plain(one.language), one.kept,
         percent(one.kept / facts.kept))
        for one in spoken
    ]  # fmt: skip
    yield from _table(("language", "pairs", "share"), rows, most=LANGUAGES)


def _pool(facts: Facts) -> Iterator[str]:
    n = len(facts.origin.inputs)
    yield (
        f"The pool: {number(facts.pairs)} pairs of URL and caption in"
        f" {number(n)} {'file' if n == 1 else 'files'}. Whether they are a public dataset, and under"
        " which licence, is for the provider to say."
    )
    if facts.brings_images:
        yield ""
        yield "Some of its files hold the images themselves, which were not fetched."
    yield ""
    rows = [
        (code(one.path.rpartition("/")[2] or one.path),
         "–" if one.rows is None else number(one.rows), code(one.digest[:16]))
        for one in facts.origin.inputs
    ]  # fmt: skip
    if rows:
        yield from _table(("file", "rows", "digest"), rows, most=FILES)


def _crawled(facts: Facts, config: Config) -> Iterator[str]:
    hosts = facts.hosts
    if hosts is None or facts.domains is None:
        yield "Nothing was fetched: the run works on text alone."
        return
    asked = config.download
    yield "- Crawler: curate, which fetches the images of given URLs and follows no links of pages"
    contact = f", contact {code(asked.contact)}" if asked.contact else ""
    yield f"- Name it goes by: {code(asked.user_agent)}{contact}"
    heeds = (
        ", ".join(code(x.signal) for x in facts.opt_outs.signals if x.heeded)
        if facts.opt_outs
        else ""
    )
    yield (
        f"- Behaviour: signals heeded: {heeds or 'none'}. It has no accounts, solves no captchas, waits"
        " where a host asks it to (Retry-After), and opens at most"
        f" {asked.per_host} connections to a host from each worker."
    )
    yield "- Period of collection: not known; see 1.3"
    yield "- Content: images that the pool's URLs name, with the captions that the pool has"
    yield (
        f"- Size: {number(hosts.pairs)} pairs asked of {number(hosts.hosts)} hosts,"
        f" {number(facts.domains.total.fetched)} images fetched, {size(facts.domains.total.bytes)}"
    )


def _largest(facts: Facts, domains: pa.Table | None) -> Iterator[str]:
    """The tenth of the domains with the most bytes in the set."""
    found = facts.domains
    if found is None or domains is None:
        return
    yield ""
    yield "#### Most relevant domain names"
    yield ""
    if found.largest_hosts is None or found.largest_domains is None:
        yield (
            "No pair of the set comes from the web."
            if found.counted
            else "Not known: an earlier version made the run, which did not count the set by host."
        )
        return
    by_pairs, by_bytes = found.largest_hosts, found.largest_domains
    yield (
        f"- The top {TENTH:.0%} of all hosts by pairs, {number(by_pairs.sites)} of"
        f" {number(by_pairs.of)}: {percent(by_pairs.pairs)} of the pairs of the set"
    )
    yield (
        f"- The top {TENTH:.0%} of all domain names by size of the content,"
        f" {number(by_bytes.sites)} of {number(by_bytes.of)}: {percent(by_bytes.bytes)} of its bytes,"
        f" {percent(by_bytes.pairs)} of its pairs"
    )
    yield f"- A domain here is a {found.unit}. Bytes are those of the originals of the set's images."
    if found.missed:
        yield (
            "- There are more hosts than are counted at a time: small ones are left out, and a count"
            f" may be up to {number(found.missed)} pairs low."
        )
    yield ""
    named = domains.filter(pa.compute.not_equal(domains["domain"], ""))
    rows = [
        (code(row["domain"]), row["kept"], size(row["kept_bytes"]))
        for row in named.slice(0, min(by_bytes.sites, LISTED)).to_pylist()
    ]
    yield from _table(("domain", "pairs in the set", "bytes"), rows, most=LISTED)
    if by_bytes.sites > LISTED:
        yield ""
        yield f"The others of the {number(by_bytes.sites)}, in the same order, are in domains.parquet."


def _synthetic(facts: Facts) -> Iterator[str]:
    if not facts.sources:
        yield "The pipeline makes none. Whether a model wrote captions of the pool is not known to it."
        return
    yield (
        "Pairs have captions of several sources; which a model wrote is for the provider to say."
    )
    yield ""
    rows = [(code(one.source), one.captions, one.chosen) for one in facts.sources]
    yield from _table(("source", "captions", "pairs whose caption it is"), rows)


def _reservations(facts: Facts, config: Config) -> Iterator[str]:
    opted = facts.opt_outs
    if opted is None:
        yield "Nothing was fetched, so no reservation was looked for."
        return
    yield (
        f"{number(opted.pairs)} pairs were held back for a reservation. It is looked for before a"
        " fetch (list, robots.txt) and in the answer's headers; what only pages say (meta tags, terms)"
        " is not seen."
    )
    yield ""
    rows = [(code(x.signal), "yes" if x.heeded else "no", x.pairs) for x in opted.signals]
    if rows:
        yield from _table(("signal", "heeded", "pairs held back"), rows)
        yield ""
    if config.download.robots:
        yield "From a host whose robots.txt cannot be read, nothing is fetched."
    yield "`curate revoke` takes pairs out of a finished set when their owners ask for it later."


def _removal(facts: Facts) -> Iterator[str]:
    dropped = {one.reason: one.pairs for one in facts.dropped}
    blocked = dropped.get("blocked", 0)
    yield (
        f"{number(blocked)} images were on block lists of hashes (download.block_lists), of which"
        f" nothing but the hash is kept; {number(dropped.get('revoked', 0))} pairs were revoked since."
        " No other search for illegal content is part of the pipeline, unless a rule of the"
        " configuration says so."
    )
