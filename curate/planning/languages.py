"""Checks that the language model knows the language codes that a configuration names."""

import difflib
from collections.abc import Iterable, Iterator
from textwrap import shorten

from curate import files
from curate.config import Config
from curate.errors import CurateError
from curate.ops.text.language import labels
from curate.planning.asked import REST

_OTHERWISE = {
    code: code_of
    for code_of, codes in (
        line.split(": ")
        for line in """
af: afr afrikaans
ar: ara arabic
az: aze azerbaijani
be: bel belarusian
bg: bul bulgarian
bn: ben bengali bangla
bo: tib bod tibetan
bs: bos bosnian
ca: cat catalan
cs: cze ces czech cz
cy: wel cym welsh
da: dan danish dk
de: ger deu german deutsch
el: gre ell greek gr
en: eng english
eo: epo esperanto
es: spa spanish castilian
et: est estonian
eu: baq eus basque
fa: per fas persian farsi
fi: fin finnish
fr: fre fra french
ga: gle irish
gl: glg galician
gu: guj gujarati
he: heb hebrew iw
hi: hin hindi
hr: hrv croatian
hu: hun hungarian
hy: arm hye armenian
id: ind indonesian in
is: ice isl icelandic
it: ita italian
ja: jpn japanese jp
ka: geo kat georgian
kk: kaz kazakh
km: khm khmer
kn: kan kannada
ko: kor korean kr
la: lat latin
lo: lao
lt: lit lithuanian
lv: lav latvian
mk: mac mkd macedonian
ml: mal malayalam
mn: mon mongolian
mr: mar marathi
ms: may msa malay
my: bur mya burmese
ne: nep nepali
nl: dut nld dutch
no: nor nob nb norwegian
nn: nno
pa: pan punjabi
pl: pol polish
pt: por portuguese
ro: rum ron romanian
ru: rus russian
sa: san sanskrit
si: sin sinhala
sk: slo slk slovak
sl: slv slovenian
sq: alb sqi albanian
sr: srp serbian
sv: swe swedish
sw: swa swahili
ta: tam tamil
te: tel telugu
th: tha thai
tl: tgl fil tagalog filipino
tr: tur turkish
uk: ukr ukrainian ua
ur: urd urdu
uz: uzb uzbek
vi: vie vietnamese
yi: yid yiddish
yue: cantonese
zh: chi zho cmn chinese mandarin cn
""".strip().splitlines()
    )
    for code in codes.split()
}
"""Other codes and English names of languages, and the code that lid.176 has for each."""


def check_languages(config: Config) -> None:
    """That every language that `config` names is one that captions can be found to be in.

    Raises
    ------
    CurateError
        Naming the key, the language, and the nearest that there are.
    """
    model = config.prepare.language_model
    others = set(config.prepare.counts_as.values())  # they need be none that captions are in
    named = [(where, language) for where, language in _named(config) if language not in others]
    known = set(labels(model and files.absolute(model))) if named else set()
    for where, language in named:
        if language in known:
            continue
        near = _nearest(language, sorted(known))
        hint = f"; nearest: {', '.join(near)}" if near else f"; it has {_listed(known)}"
        raise CurateError(
            f"{where}: the model of languages ({model or 'lid.176'}) has no {language!r}, so no caption"
            f" would be in it{hint}"
        )


def _named(config: Config) -> Iterator[tuple[str, str]]:
    """Each language that is named, and the key that names it."""
    prepare = config.prepare
    yield from (("prepare.languages", x) for x in prepare.languages or ())
    yield from ((f"prepare.metadata.{x}", x) for x in prepare.metadata)
    yield from ((f"prepare.counts_as.{x}", x) for x in prepare.counts_as if x != REST)
    if prepare.unsure:
        yield "prepare.unsure.language", prepare.unsure.language
    for rule in config.select:
        for leaf in rule.leaves():
            if leaf.column == "language":
                values = (*(leaf.in_ or ()), *(leaf.not_in or ()))
                yield from ((f"select rule {rule.label!r}", str(x)) for x in values)


def _listed(known: Iterable[str]) -> str:
    return shorten(", ".join(sorted(known)), 1_000, placeholder=" …")


def _nearest(language: str, known: list[str]) -> list[str]:
    """The codes that are meant most likely, the likeliest first.

    >>> [_nearest(x, ["de", "en", "pt"])[:1] for x in ("EN", "english", "ger", "pt-BR", "e")]
    [['en'], ['en'], ['de'], ['pt'], ['en']]
    >>> _nearest("zh", ["eng_Latn", "zho_Hans", "zho_Hant"])
    ['zho_Hans', 'zho_Hant']
    """
    meant = [x for x in known if _usual(x) == _usual(language)]
    folded = language.strip().lower()
    return meant[:3] or difflib.get_close_matches(folded, known, n=3, cutoff=0.5)


def _usual(language: str) -> str:
    """The code that lid.176 has for a language, without region or script.

    >>> [_usual(x) for x in ("English", "ger", "zho_Hans", "pt-BR", "xx")]
    ['en', 'de', 'zh', 'pt', 'xx']
    """
    folded = language.strip().lower()
    first = folded.replace("_", "-").partition("-")[0]
    return _OTHERWISE.get(folded) or _OTHERWISE.get(first, first)
