"""`curate metadata`: the options of the builder of entry lists, and the list of a pool's tags."""

import dataclasses
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from curate.commands.terminal import Set, one_line_errors, out_console
from curate.errors import CurateError
from curate.metadata.recipe import RECIPES, Limits, Source

if TYPE_CHECKING:
    from curate.metadata.build import Built

app = typer.Typer(help="Entry lists: the concepts a pool is balanced over.", no_args_is_help=True)
Paths = list[str] | None


_SHOWN = 10
"""Entries of a source that are shown from either end of it."""


def _files(option: str, text: str) -> object:
    return typer.Option(option, metavar="FILE", help=text, rich_help_panel="Sources (repeatable)")


def _limit(text: str) -> object:
    return typer.Option(help=text, rich_help_panel="Limits (default: the recipe's)")


@app.callback()
def _group() -> None:
    pass


@app.command()
def build(
    out: Annotated[str, typer.Option("--out", help="The list to write; MANIFEST.json beside it.")],
    recipe: Annotated[str, typer.Option(help="Limits and order: v1 or v2 of MetaCLIP.")] = "v1",
    language: Annotated[str, typer.Option(help="Code of the list's language.")] = "en",
    numbers: Annotated[bool, typer.Option("--numbers", help="The strings 0 to 99.")] = False,
    lists: Annotated[Paths, _files("--list", "An entry a line; taken whole.")] = None,
    wordnet: Annotated[
        Paths, _files("--wordnet", "Folder of WordNet's database files, an OMW .tab, or a list.")
    ] = None,
    unigrams: Annotated[
        Paths, _files("--unigrams", "Lines `word count` (tab, space or comma).")
    ] = None,
    bigrams: Annotated[Paths, _files("--bigrams", "Lines `word word count`.")] = None,
    pmi_unigrams: Annotated[
        Paths, _files("--pmi-unigrams", "Word counts of the text of --bigrams, for PMI alone.")
    ] = None,
    titles: Annotated[
        Paths, _files("--titles", "Titles in order, `title<TAB>views`, or hourly pageview rows.")
    ] = None,
    captions: Annotated[
        Paths, _files("--captions", "Texts whose words and pairs are counted: a pool or lines.")
    ] = None,
    caption_column: Annotated[str, typer.Option(help="Their column.")] = "caption",
    ignore_case: Annotated[
        bool,
        typer.Option("--ignore-case", help="All in lower case, for runs with prepare.ignore_case."),
    ] = False,
    stop_words: Annotated[
        Paths,
        typer.Option(
            "--stop-words",
            metavar="FILE",
            help="Words, one a line, that are no entries and begin or end no pair;"
            " shipped://metadata/stop-words-en.txt for English. Repeatable.",
        ),
    ] = None,
    limit: Annotated[int | None, _limit("Entries in all.")] = None,
    min_count: Annotated[int | None, _limit("Of a word.")] = None,
    unigram_share: Annotated[float | None, _limit("Of the distinct words, by count.")] = None,
    max_unigrams: Annotated[int | None, _limit("Words.")] = None,
    min_pmi: Annotated[float | None, _limit("Of a pair, in bits.")] = None,
    min_bigram_count: Annotated[int | None, _limit("Of a pair.")] = None,
    max_bigrams: Annotated[int | None, _limit("Pairs, by PMI.")] = None,
    min_row_views: Annotated[int | None, _limit("Of an hourly row.")] = None,
    min_views: Annotated[int | None, _limit("Of a title.")] = None,
    title_share: Annotated[float | None, _limit("Of the distinct titles, by views.")] = None,
    max_titles: Annotated[int | None, _limit("Titles.")] = None,
    licence: Annotated[
        list[str] | None,
        typer.Option(metavar="SOURCE=TEXT", help="What the manifest says; repeatable."),
    ] = None,
    memory_mb: Annotated[
        int, typer.Option(help="Counts held; the process takes some three times it.")
    ] = 1024,
) -> None:
    """Build an entry list from word lists, counts, titles or your own captions.

    Sources are read in the order numbers, list, wordnet, unigrams, bigrams, titles; an entry counts for
    the first that has it. For instance:

    curate metadata build --captions pairs/ --numbers --recipe v2 --language de --out de.txt
    """
    from curate.metadata.build import Inputs
    from curate.metadata.build import build as build_list

    with one_line_errors():
        started = time.monotonic()
        if recipe not in RECIPES:
            raise CurateError(f"--recipe {recipe}: expected one of {', '.join(RECIPES)}")
        if memory_mb < 1:
            raise CurateError(f"--memory-mb {memory_mb}: expected 1 or more")
        given = {
            "limit": limit,
            "min_count": min_count,
            "unigram_share": unigram_share,
            "max_unigrams": max_unigrams,
            "min_pmi": min_pmi,
            "min_bigram_count": min_bigram_count,
            "max_bigrams": max_bigrams,
            "min_row_views": min_row_views,
            "min_views": min_views,
            "title_share": title_share,
            "max_titles": max_titles,
        }
        changes: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
        inputs = Inputs(
            numbers=numbers,
            lists=tuple(lists or ()),
            wordnet=tuple(wordnet or ()),
            unigrams=tuple(unigrams or ()),
            bigrams=tuple(bigrams or ()),
            pmi_unigrams=tuple(pmi_unigrams or ()),
            titles=tuple(titles or ()),
            captions=tuple(captions or ()),
            caption_column=caption_column,
            ignore_case=ignore_case,
            stop_words=tuple(stop_words or ()),
            licences=_licences(licence or []),
        )
        limits = dataclasses.replace(RECIPES[recipe], **changes)
        built = build_list(
            inputs, limits=limits, language=language, out=out, memory=memory_mb << 20
        )
        for line in _told(built, limits):
            out_console.print(line)
        out_console.print(
            f"{built.entries:,} entries  {built.path}  {time.monotonic() - started:.0f} s"
        )


@app.command()
def tags(
    config: Annotated[str, typer.Argument(metavar="CONFIG", help="A run's YAML file.")],
    out: Annotated[str, typer.Option("--out", help="The list to write: lines, or a .json.")],
    set_: Set = None,
    min_count: Annotated[int, typer.Option(help="Rows that a tag is in, at least.")] = 1,
) -> None:
    """List all tags of a pool (input.columns.tags), by name, for prepare.metadata.

    curate metadata tags tag-balance.yaml --min-count 5 --out tags.txt
    """
    from curate.config.file import load
    from curate.metadata.tags import tag_counts, write_list

    with one_line_errors():
        started = time.monotonic()
        found = tag_counts(load(config, overrides=tuple(set_ or ())))
        if not len(found.tags):
            raise CurateError(f"{config}: no tag in {found.rows:,} rows")
        written, left = write_list(found, out, min_count=min_count)
        more = f"; {left:,} left out, which no line of a list holds" if left else ""
        out_console.print(
            f"{written:,} of {len(found.tags):,} tags of {found.rows:,} rows{more}  {out}"
            f"  {time.monotonic() - started:.0f} s"
        )


def _told(built: "Built", limits: Limits) -> Iterator[str]:
    """Lines with the counts of each source's candidates, and its first and last entries."""
    thresholds = {
        Source.UNIGRAMS: f"--min-count {limits.min_count:,}",
        Source.BIGRAMS: f"--min-pmi {limits.min_pmi:.3g} or --min-bigram-count"
        f" {limits.min_bigram_count:,}",
        Source.TITLES: f"--min-views {limits.min_views:,}",
    }
    lowest = {
        Source.UNIGRAMS: ("unigram_count", "count"),
        Source.BIGRAMS: ("bigram_pmi", "PMI"),
        Source.TITLES: ("title_views", "views"),
    }
    for name, tally in built.tallies.items():
        source = Source(name)
        yield (
            f"{name:10} {tally.taken:>9,} of {tally.offered:,}: {tally.below:,} below"
            f" {thresholds.get(source, 'the threshold')}, {tally.unfit:,} unfit,"
            f" {tally.duplicate:,} offered before, {tally.over:,} over the limit"
            + (
                f"; {built.stopped[name]:,} with a stop word left out"
                if name in built.stopped
                else ""
            )
        )
        taken = built.taken[name]
        if not taken:
            continue
        key, unit = lowest.get(source, ("", ""))
        last = built.lowest.get(key)
        yield f"{'':10} first: {', '.join(taken[:_SHOWN])}{' …' if len(taken) > _SHOWN else ''}"
        if len(taken) > _SHOWN:
            rest = taken[_SHOWN:][-_SHOWN:]
            yield f"{'':10} last{f' ({unit} {last:,.6g})' if last else ''}: {', '.join(rest)}"


def _licences(given: list[str]) -> dict[str, str]:
    found = {}
    known = [*Source, "captions"]
    for text in given:
        source, equals, licence = text.partition("=")
        if not equals or source not in known:
            raise CurateError(
                f"--licence {text}: expected SOURCE=TEXT with one of {', '.join(known)}"
            )
        found[source] = licence
    return found


@app.command()
def words(
    wordnet: Annotated[
        str, typer.Option(metavar="DIR", help="Folder of WordNet 3.0's database files.")
    ],
    out: Annotated[str, typer.Option("--out", help="The list of words to write, one a line.")],
    synsets: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="A noun synset a line (n02084071); default: ImageNet-21k."
        ),
    ] = None,
) -> None:
    """List the words whose first WordNet synset is one of --synsets, for prepare.words_in.

    DataComp's text-based filter keeps a caption if it has such a word. WordNet's files come with
    many systems, as in Debian's package wordnet-base, under /usr/share/wordnet.
    """
    from curate import files
    from curate.metadata import senses

    with one_line_errors():
        wanted = senses.read_synsets(synsets or senses.imagenet21k())
        found = senses.words_of(senses.Nouns(wordnet), wanted)
        files.write_bytes(out, "".join(f"{word}\n" for word in found).encode())
        out_console.print(f"{len(found):,} words of {len(wanted):,} synsets  {out}")
