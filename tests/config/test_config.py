"""The configuration: what it accepts, and the line that a person reads where it does not."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from curate import files
from curate.config import Balance, Config, Download, Rule
from curate.config import file as config_file
from curate.config.file import dump, json_schema, load, parse_set
from curate.errors import CurateError

FULL = """\
# a comment
input:
  paths: [a.parquet, b/*.csv]
  format: auto
  columns: {url: link, caption: text, uid: id}
out: runs/x
seed: 7
prepare:
  languages: [en, de]
  metadata:
    en: en.txt
    de: de.txt
download:
  timeout: 5
  connect_to:
    site.test: 127.0.0.1:80
dedup:
  policy: [caption, url]
select:
  - column: caption_words
    min: 3
  - name: alike
    column: clip_score
    top_fraction: 0.3
  - column: language
    in: [en, 7, 0.5]
balance:
  t: 20
"""
MINIMAL = "input:\n  paths: pool.parquet\n"


def written(folder: Path, text: str) -> str:
    path = folder / "run.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def error_of(folder: Path, text: str, *overrides: str) -> str:
    path = written(folder, text)
    with pytest.raises(CurateError) as error:
        load(path, overrides=overrides)
    message = str(error.value)
    assert "\n" not in message
    return message.replace(path, "run.yaml")


def test_a_full_file(tmp_path: Path) -> None:
    loaded = load(written(tmp_path, FULL))
    assert loaded.input.paths == ("a.parquet", "b/*.csv")
    assert loaded.input.columns.uid == "id"
    assert loaded.prepare.metadata == {"en": "en.txt", "de": "de.txt"}
    assert loaded.download.timeout == 5.0
    assert loaded.download.connect_to == {"site.test": "127.0.0.1:80"}
    assert loaded.dedup.policy == ("url", "caption")
    assert [rule.label for rule in loaded.select] == ["caption_words", "alike", "language"]
    assert loaded.select[2].in_ == ("en", 7, 0.5)
    assert loaded.balance == Balance(t=20, reference="en")
    assert (loaded.seed, loaded.out) == (7, "runs/x")


@pytest.mark.parametrize("contact", ["", "a\r\nX: y", "a (b)", "é@example.org"])
def test_a_contact_fits_into_a_header(contact: str) -> None:
    assert Download(contact="mailto:me@example.org").contact
    with pytest.raises(ValidationError):
        Download(contact=contact)


def test_a_minimal_file_has_the_defaults(tmp_path: Path) -> None:
    loaded = load(written(tmp_path, MINIMAL))
    assert loaded.input.paths == ("pool.parquet",)
    assert (loaded.score, loaded.balance, loaded.select, loaded.out) == (None, None, (), None)
    assert loaded.download == Download()
    assert loaded.download.max_pixels == 89_478_484
    directives = ("noai", "noimageai", "noindex", "noimageindex", "tdm-reservation")
    assert loaded.download.opt_out == directives
    assert loaded.dedup.threshold == 0.8
    assert loaded.shards.rows == loaded.part_rows == 10_000


@pytest.mark.parametrize("text", [FULL, MINIMAL])
def test_what_is_dumped_loads_as_the_same(tmp_path: Path, text: str) -> None:
    loaded = load(written(tmp_path, text))
    again = tmp_path / "again.yaml"
    again.write_text(dump(loaded), encoding="utf-8")
    assert load(str(again)) == loaded
    assert dump(load(str(again))) == dump(loaded)
    assert "null" not in dump(loaded)


@pytest.mark.parametrize(
    "text",
    ["1.5e5", "+.5", "-.5", "1.e5", ".5e3", "010", "1e5", "0x1", "10:00", "yes", "2026-11-22"],
)
def test_a_text_that_looks_like_a_number_survives_a_dump(tmp_path: Path, text: str) -> None:
    made = Config.model_validate(
        {"input": {"paths": text}, "select": [{"column": "licence", "in": [text]}]}
    )
    assert load(written(tmp_path, dump(made))) == made


words = st.text("aé中: #'\"-{}[]&*!|>%@`,?\\0", min_size=1, max_size=8)
rules = st.builds(
    Rule,
    name=words,
    column=words,
    min=st.none() | st.floats(-1e9, 0),
    max=st.floats(0, 1e9),
    not_in=st.none() | st.lists(words | st.integers(), max_size=3).map(tuple),
)


@given(
    paths=st.lists(words, min_size=1, max_size=3),
    kept=st.lists(rules, max_size=3),
    lists=st.dictionaries(words, words, max_size=2),
)
@settings(max_examples=80, deadline=None)
def test_any_text_survives_a_dump(
    tmp_path_factory: pytest.TempPathFactory,
    paths: list[str],
    kept: list[Rule],
    lists: dict[str, str],
) -> None:
    kept = list({rule.label: rule for rule in kept}.values())
    made = Config.model_validate(
        {"input": {"paths": paths}, "select": kept, "prepare": {"metadata": lists}}
    )
    path = tmp_path_factory.mktemp("config") / "run.yaml"
    path.write_text(dump(made), encoding="utf-8")
    assert load(str(path)) == made


# Errors, as a person reads them.


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "run.yaml: expected a mapping of keys, found NoneType"),
        ("- a\n", "run.yaml: expected a mapping of keys, found list"),
        ("seed: 1\n", "run.yaml:1: input: this key is required"),
        ("seed: 1\ninput: {}\n", "run.yaml:2: input.paths: this key is required"),
        (
            MINIMAL + "blance: {t: 3}\n",
            "run.yaml:3: blance: unknown key, did you mean 'balance'?",
        ),
        (
            MINIMAL + "download:\n\n  timeot: 3\n",
            "run.yaml:5: download.timeot: unknown key, did you mean 'timeout'?",
        ),
        (
            MINIMAL + "select:\n  - column: a\n    mim: 3\n    max: 4\n",
            "run.yaml:5: select.0.mim: unknown key, did you mean 'min'?",
        ),
        (
            "input:\n  paths: a\n  columns:\n    urls: x\n",
            "run.yaml:4: input.columns.urls: unknown key, did you mean 'url'?",
        ),
        (
            MINIMAL + "balance:\n  t: 3\n  sise: 2\n  ttt: 1\n",
            "run.yaml:5: balance.sise: unknown key, did you mean 'size'? (and 1 more)",
        ),
        (MINIMAL + "zzzzzz: 1\n", "run.yaml:3: zzzzzz: unknown key"),
        (
            MINIMAL + "download: {timeout: 0}\n",
            "run.yaml:3: download.timeout: input should be greater than 0, not 0",
        ),
        (
            MINIMAL + "seed: one\n",
            "run.yaml:3: seed: input should be a valid integer,"
            " unable to parse string as an integer, not 'one'",
        ),
        (
            MINIMAL + "download:\n  encode_format: gif\n",
            "run.yaml:4: download.encode_format: input should be 'jpg', 'png' or 'webp', not 'gif'",
        ),
        (
            MINIMAL + "download: {encode_format: png}\n",
            "run.yaml:3: download: encode_quality is a compression level from 0 to 9 for png",
        ),
        (
            MINIMAL + "dedup: {threshold: 1}\n",
            "run.yaml:3: dedup.threshold: input should be less than 1, not 1",
        ),
        (
            MINIMAL + "select:\n  - column: a\n",
            "run.yaml:4: select.0: a rule needs one of min, max, between, in, not_in, same_as,"
            " matches, not_matches, contains_any, in_file, not_in_file, top_fraction, top, every (or"
            " any_of, all_of)",
        ),
        (
            MINIMAL + "select:\n  - {name: a, min: 3}\n",
            "run.yaml:4: select.0: a rule is over one `column`, or else has one of any_of and all_of",
        ),
        (
            MINIMAL + "select: [{column: a, between: [0.3, 0.2]}]\n",
            "run.yaml:3: select.0: between 0.3 and 0.2: nothing could be kept",
        ),
        (
            MINIMAL + "select: [{column: a, min: 1, per: language}]\n",
            "run.yaml:3: select.0: `per` needs top_fraction or top, whose groups it names",
        ),
        (
            MINIMAL + "select:\n  - name: a\n    any_of:\n      - {column: b, mim: 3}\n",
            "run.yaml:6: select.0.any_of.0.mim: unknown key, did you mean 'min'?",
        ),
        (
            MINIMAL + "select:\n  - name: a\n    any_of: []\n",
            "run.yaml:4: select.0: any_of holds no rule",
        ),
        (
            MINIMAL + "select:\n  - name: a\n    all_of: [{name: c, column: b, min: 3}]\n",
            "run.yaml:4: select.0: 'c' is inside all_of: only the outer rule has a name",
        ),
        (
            MINIMAL + "select:\n  - all_of: [{column: b, min: 3}]\n",
            "run.yaml: a select rule with any_of or all_of needs a `name` for the ledger",
        ),
        (
            MINIMAL + "select:\n  - column: a\n    min: 2\n  - {column: b, min: 3, max: 2}\n",
            "run.yaml:6: select.1: min 3 is over max 2: nothing could be kept",
        ),
        (
            MINIMAL + "select: [{column: a, min: 1}, {column: a, max: 2}]\n",
            "run.yaml: two select rules are called 'a': give them a `name` each",
        ),
        (
            MINIMAL + "prepare: {metadata: {en: x}}\nbalance: {}\n",
            "run.yaml:4: balance: give exactly one of t, p, size and wfpp",
        ),
        (
            MINIMAL + "prepare: {metadata: {en: x}}\nbalance: {t: 1, p: 0.1}\n",
            "run.yaml:4: balance: give exactly one of t, p, size and wfpp",
        ),
        (
            MINIMAL + "balance: {t: 3}\n",
            "run.yaml: balance needs prepare.metadata, an entry list to match captions with",
        ),
        (
            MINIMAL + "prepare: {metadata: {fr: x, de: y}}\nbalance: {t: 3}\n",
            "run.yaml: balance.reference is 'en' but prepare.metadata has only de, fr",
        ),
        (
            MINIMAL + "prepare: {languages: [de, fr], unsure: {below: 0.5, language: en}}\n",
            "run.yaml: prepare.unsure.language: 'en' is not among the languages to keep (de, fr); to"
            " drop such captions, use a rule over language_score",
        ),
        (
            MINIMAL + "prepare: {metadata: {zh: x, yue: y}, counts_as: {yue: zh}}\n",
            "run.yaml: prepare.counts_as.yue: 'yue' has a list of its own, prepare.metadata.yue, which"
            " nothing would be matched with: leave one of the two out",
        ),
        (
            MINIMAL + "prepare: {metadata: {en: x}, counts_as: {yue: zh}}\n",
            "run.yaml: prepare.counts_as.yue: 'zh' has no list in prepare.metadata",
        ),
        (
            MINIMAL + "prepare: {languages: [en, fr], metadata: {en: x}}\n",
            "run.yaml: prepare.languages: 'fr' has no list in prepare.metadata",
        ),
        (
            "input: {paths: []}\n",
            "run.yaml:1: input.paths: tuple should have at least 1 item after validation, not 0",
        ),
        (
            "input: 3\n",
            "run.yaml:1: input: input should be a valid dictionary or instance of Input, not 3",
        ),
        (
            MINIMAL + "select: []\nseed: 1\nselect:\n  - {column: a, min: 1}\n",
            "run.yaml:5: the key 'select' is in line 3 already",
        ),
        (
            MINIMAL + "download: {timeout: 5,\n  timeout: 50}\n",
            "run.yaml:4: the key 'timeout' is in line 3 already",
        ),
        (
            MINIMAL + "select:\n  - {column: a, min: .nan}\n",
            "run.yaml:4: select.0.min: input should be a finite number, not nan",
        ),
        (
            MINIMAL + "select:\n  - {column: a, between: [0, .inf]}\n",
            "run.yaml:4: select.0.between.1: input should be a finite number, not inf",
        ),
        (
            MINIMAL + "select:\n  - {column: a, between: [no, 1]}\n",
            "run.yaml:4: select.0.between: input should be a number",
        ),
        (MINIMAL + "seed: yes\n", "run.yaml:3: seed: input should be a number, not True"),
        (
            MINIMAL + "download: {per_host_rate: true}\n",
            "run.yaml:3: download.per_host_rate: input should be a number, not True",
        ),
        (
            MINIMAL + "part_rows: 10:00\n",
            "run.yaml:3: part_rows: input should be a valid integer,"
            " unable to parse string as an integer, not '10:00'",
        ),
        (
            MINIMAL + "part_rows: 2000000\n",
            "run.yaml:3: part_rows: input should be less than or equal to 1000000, not 2000000",
        ),
        (
            MINIMAL + 'download:\n  user_agent: "a\\r\\nX-Evil: 1"\n',
            "run.yaml:4: download.user_agent: expected one line of printable ASCII, as a header needs,"
            " not 'a\\r\\nX-Evil: 1'",
        ),
        (
            MINIMAL + "download: {connect_to: {a.example: nonsense}}\n",
            "run.yaml:3: download.connect_to: a.example: expected ADDRESS:PORT,"
            " such as 127.0.0.1:80 or [::1]:80, not 'nonsense'",
        ),
        ("a: [1\nb: 2\n", "run.yaml:2: not YAML: expected ',' or ']', but got ':'"),
        ("a:\n\t- b\n", "run.yaml:2: not YAML: found character '\\t' that cannot start any token"),
        ("a: 1\n---\nb: 2\n", "run.yaml:2: not YAML: but found another document"),
    ],
)  # fmt: skip
def test_an_error_names_the_key_the_line_and_the_remedy(
    tmp_path: Path, text: str, message: str
) -> None:
    assert error_of(tmp_path, text) == message


def test_a_country_that_yaml_takes_for_no(tmp_path: Path) -> None:
    message = error_of(tmp_path, MINIMAL + "prepare:\n  languages:\n    - en\n    - no\n")
    assert message == (
        "run.yaml:6: prepare.languages.1: input should be a valid string, not False:"
        " YAML takes this word for a truth value, put it in quotes"
    )


@pytest.mark.parametrize(
    "target", ["127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:0", "127.0.0.1:65536", "a.test:80",
               "::1:80", "[::1", "[127.0.0.1]:80", ":80", "127.0.0.1:80\n"]
)  # fmt: skip
def test_a_host_is_mapped_to_an_address_and_a_port(target: str) -> None:
    for fine in ({"a.example": "127.0.0.1:80"}, {"[::1]:81": "[::1]:80", "b.test:9": "10.0.0.1:1"}):
        assert Download(connect_to=fine).connect_to == fine
    with pytest.raises(ValidationError, match=r"expected ADDRESS:PORT"):
        Download(connect_to={"a.example": target})
    for host in ("", "a b", "http://a", "a:b", "a/", "*"):
        with pytest.raises(ValidationError, match="expected a HOST or HOST:PORT"):
            Download(connect_to={host: "127.0.0.1:80"})


@pytest.mark.parametrize(
    ("text", "value"),
    [("010", 10), ("10", 10), ("1_000", 1000), ("0x10", 16), ("-7", -7), ("0", 0), ("'5'", 5)],
)
def test_whole_numbers_are_what_they_look_like(tmp_path: Path, text: str, value: int) -> None:
    assert load(written(tmp_path, MINIMAL + f"seed: {text}\n")).seed == value


@pytest.mark.parametrize("text", ["1.5", "+1.5", "1.5e0", "15e-1", "1.5E+0"])
def test_numbers_are_what_they_look_like(tmp_path: Path, text: str) -> None:
    assert (
        load(written(tmp_path, MINIMAL + f"download: {{timeout: {text}}}\n")).download.timeout
        == 1.5
    )


def test_what_only_looks_like_a_date_or_a_time_is_a_text(tmp_path: Path) -> None:
    found = load(written(tmp_path, "input: {paths: [2026-11-22, 10:00, 1:30.5]}\n"))
    assert found.input.paths == ("2026-11-22", "10:00", "1:30.5")


def test_a_mapping_that_is_merged_may_be_overridden(tmp_path: Path) -> None:
    text = "input: {paths: x}\nscores:\n  a: &a {kind: nsfw}\n  b: {<<: *a, kind: text_area}\n"
    assert load(written(tmp_path, text)).scores["b"].kind == "text_area"


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("1" + "0" * 5_000, "'[...]' is no int that can be read"),
        ("0x_", "'0x_' is no int that can be read"),
        ("!!int abc", "'abc' is no int that can be read"),
        ("!!bool abc", "'abc' is no bool that can be read"),
        ("!!timestamp abc", "'abc' is no timestamp that can be read"),
    ],
)
def test_a_value_that_is_none_of_its_kind_is_named_with_its_line(
    tmp_path: Path, value: str, problem: str
) -> None:
    path = written(tmp_path, MINIMAL + f"seed: {value}\n")
    with pytest.raises(CurateError) as error:
        load(path)
    assert str(error.value) == f"{path}:{MINIMAL.count(chr(10)) + 1}: not YAML: {problem}"
    with pytest.raises(CurateError, match=r"--set seed=.*: not YAML: .* that can be read"):
        parse_set(f"seed={value}")


@pytest.mark.parametrize("depth", [300, 3_000])
def test_brackets_in_brackets_are_one_line(tmp_path: Path, depth: int) -> None:
    rules = "{name: a, any_of: [" * depth + "]}" * depth
    with pytest.raises(CurateError, match="too deeply"):
        load(written(tmp_path, MINIMAL + f"select: [{rules}]\n"))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    path = str(tmp_path / "absent.yaml")
    with pytest.raises(CurateError) as error:
        load(path)
    assert str(error.value) == f"{path}: no such file"


def test_a_folder_is_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(CurateError, match=r": it is a folder, not a file$"):
        load(str(tmp_path))


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_bytes(b"input: \xff\xfe\0")
    with pytest.raises(
        CurateError, match=r"run\.yaml: line 1 is not UTF-8, nor marked as UTF-16; save it"
    ):
        load(str(path))


# Overrides.


@pytest.mark.parametrize(
    ("overrides", "key", "value"),
    [
        (("seed=9",), ("seed",), 9),
        (("seed=9", "seed=10"), ("seed",), 10),
        (("download.timeout=2.5",), ("download", "timeout"), 2.5),
        (("input.paths=x.csv",), ("input", "paths"), ("x.csv",)),
        (("input.paths=[x, y]",), ("input", "paths"), ("x", "y")),
        (("balance={t: 3}",), ("balance", "t"), 3),
        (("balance.t=null", "balance.size=5"), ("balance", "size"), 5),
        (("balance=null",), ("balance",), None),
        (("select=[]",), ("select",), ()),
        (("score.model=ViT-B-32",), ("score", "model"), "ViT-B-32"),
        (("out=a=b",), ("out",), "a=b"),
        (("out=null",), ("out",), None),
        (("dedup.policy=[image]",), ("dedup", "policy"), ("image",)),
        (("dedup.policy=pair",), ("dedup", "policy"), ("pair",)),
        (("dedup.policy=strict",), ("dedup", "policy"), ("url", "image", "caption")),
        (("prepare.metadata.fr=fr.txt",), ("prepare", "metadata"),
         {"en": "en.txt", "de": "de.txt", "fr": "fr.txt"}),
        (("beam=null", "beam.workers=3"), ("beam", "workers"), 3),
    ],
)  # fmt: skip
def test_overrides(
    tmp_path: Path, overrides: tuple[str, ...], key: tuple[str, ...], value: object
) -> None:
    found: Any = load(written(tmp_path, FULL), overrides=overrides)
    for part in key:
        found = getattr(found, part)
    assert found == value


def test_out_has_the_last_word(tmp_path: Path) -> None:
    path = written(tmp_path, FULL)
    assert load(path, overrides=("out=b",), out="c").out == "c"
    assert load(path, overrides=("out=b",)).out == "b"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed", "--set seed: expected key=value, as in --set balance.t=20"),
        ("=3", "--set =3: expected key=value, as in --set balance.t=20"),
        ("seed=x", "--set seed=x: seed: input should be a valid integer,"
         " unable to parse string as an integer, not 'x'"),
        ("download.timeot=3", "--set download.timeot=3: download.timeot: unknown key,"
         " did you mean 'timeout'?"),
        ("balance.t=-1", "--set balance.t=-1: balance.t: input should be greater than 0, not -1"),
        ("seed.deep=1", "--set seed.deep=1: seed is not a mapping"),
        ("select.0.min=3", "--set select.0.min=3: select is not a mapping"),
        ("dedup.policy=all", "--set dedup.policy=all: dedup.policy: expected one of url, image, pair,"
         " caption, strict, or a list of the first 4, not 'all'"),
        ("select=[{column: a}]", "--set select=[{column: a}]: select.0: a rule needs one of min, max,"
         " between, in, not_in, same_as, matches, not_matches, contains_any, in_file, not_in_file,"
         " top_fraction, top, every (or any_of, all_of)"),
        ("prepare.metadata={en: 3}", "--set prepare.metadata={en: 3}: prepare.metadata.en: input should"
         " be a valid string, not 3"),
        ("balance.p=0.2", "--set balance.p=0.2: balance: give exactly one of t, p, size and wfpp;"
         " in place of the file's: --set balance='{p: 0.2}'"),
        ("download.connect_to.a.example=b:1", "--set download.connect_to.a.example=b:1:"
         " download.connect_to.a: input should be a valid string; a key that has dots needs braces:"
         " --set download.connect_to='{a.example: b:1}'"),
        ("seed={", "--set seed={: not YAML: expected the node content, but found '<stream end>'"),
        ("balance={t: 1, t: 2}",
         "--set balance={t: 1, t: 2}: the key 't' is in line 1 already"),
        ("balance.t=.inf",
         "--set balance.t=.inf: balance.t: input should be a finite number, not inf"),
        ("seed='", "--set seed=': not YAML: found unexpected end of stream"),
    ],
)  # fmt: skip
def test_an_error_in_an_override_names_it(tmp_path: Path, override: str, message: str) -> None:
    assert error_of(tmp_path, FULL, override) == message


def test_parse_set() -> None:
    assert parse_set("a.b=[1, x]") == (["a", "b"], [1, "x"])
    assert parse_set("a=") == (["a"], None)
    assert parse_set("a=b: 1") == (["a"], {"b": 1})


# The tree itself.


def test_the_tree_is_frozen_all_the_way_down() -> None:
    made = Config.model_validate({"input": {"paths": "x"}})
    models: list[BaseModel] = [made, made.input, made.download, made.dedup, made.beam]
    for model in models:
        name = next(iter(type(model).model_fields))
        with pytest.raises(ValidationError, match="frozen"):
            setattr(model, name, None)


@pytest.mark.parametrize(
    ("given", "valid"),
    [
        ({"t": 1}, True), ({"p": 0.5}, True), ({"size": 10}, True), ({}, False), ({"t": 0}, False),
        ({"p": 0}, False), ({"p": 1}, False), ({"size": 0}, False), ({"t": 1, "size": 2}, False),
        ({"t": 0.5}, True), ({"size": 1.5}, False), ({"t": "many"}, False),
        ({"wfpp": {"fraction": 0.5}}, True), ({"wfpp": {"fraction": 0.5}, "t": 1}, False),
        ({"wfpp": {}}, False), ({"wfpp": {"fraction": 1.5}}, False),
        ({"wfpp": {"fraction": 0.5, "threshold": 0}}, False),
    ],
)  # fmt: skip
def test_balance_has_one_aim(given: dict[str, object], valid: bool) -> None:
    if valid:
        assert Balance.model_validate(given).model_dump(exclude_unset=True) == given
    else:
        with pytest.raises(ValidationError):
            Balance.model_validate(given)


def test_word_frequencies_need_no_entry_list() -> None:
    given = {"input": {"paths": "a.csv"}, "balance": {"wfpp": {"fraction": 0.5}}}
    balance = Config.model_validate(given).balance
    assert balance is not None
    assert balance.wfpp is not None
    assert balance.wfpp.threshold == 1e-7


def test_a_rule_may_be_called_in() -> None:
    rule = Rule.model_validate({"column": "x", "in": ["1", 1, 1.5]})
    assert rule.in_ is not None
    assert [(type(value), value) for value in rule.in_] == [(str, "1"), (int, 1), (float, 1.5)]


def test_drop_clusters_is_short_for_a_rule_over_a_column(tmp_path: Path) -> None:
    full = {"name": "drop_clusters", "column": "visual_cluster", "not_in_file": "a.csv"}
    short = Rule.model_validate({"drop_clusters": "a.csv"})
    assert short == Rule.model_validate(full)
    assert Rule(name="plots", drop_clusters="a.csv").label == "plots"
    either = Rule.model_validate({"name": "x", "any_of": [{"drop_clusters": "a.csv"}, full]})
    assert either.any_of == (short, short)
    (tmp_path / "a.yaml").write_text("input: {paths: x}\nselect: [{drop_clusters: a.csv}]\n")
    (rule,) = load(str(tmp_path / "a.yaml")).select
    assert rule == short
    with pytest.raises(ValidationError, match="drop_clusters stands for `column` and not_in_file"):
        Rule(column="x", drop_clusters="a.csv", min=3)


@pytest.mark.parametrize("quality", [0, 9, 10, 95, 100, 101, -1])
def test_the_quality_of_a_png_is_a_level(quality: int) -> None:
    for encode_format, most in (("jpg", 100), ("webp", 100), ("png", 9)):
        options = {"encode_format": encode_format, "encode_quality": quality}
        if 0 <= quality <= most:
            assert Download.model_validate(options).encode_quality == quality
        else:
            with pytest.raises(ValidationError, match="encode_quality"):
                Download.model_validate(options)


def test_the_json_schema_knows_every_key() -> None:
    schema = json.loads(json_schema())
    assert set(schema["properties"]) == set(Config.model_fields)
    assert schema["required"] == ["input"]
    assert schema["additionalProperties"] is False
    assert "in" in schema["$defs"]["Rule"]["properties"]


@pytest.mark.parametrize(
    "path", sorted(files.shipped("pipelines").rglob("*.yaml")), ids=lambda x: x.stem
)
def test_the_json_schema_accepts_what_ships(path: Path) -> None:
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    document.setdefault("input", {}).setdefault("paths", "pool.parquet")
    jsonschema.Draft202012Validator(json.loads(json_schema())).validate(document)


@pytest.mark.parametrize(
    ("key", "value", "valid"),
    [("paths", "a.csv", True), ("paths", ["a", "b"], True), ("paths", 3, False),
     ("policy", "strict", True), ("policy", "url", True), ("policy", ["url", "pair"], True),
     ("policy", "all", False), ("policy", ["strict"], False)],
)  # fmt: skip
def test_the_json_schema_accepts_what_the_program_does(
    key: str, value: object, valid: bool
) -> None:
    document: dict[str, Any] = {"input": {"paths": ["x"]}, "dedup": {}}
    document["input" if key == "paths" else "dedup"][key] = value
    assert jsonschema.Draft202012Validator(json.loads(json_schema())).is_valid(document) is valid
    if valid:
        Config.model_validate(document)
    else:
        with pytest.raises(ValidationError):
            Config.model_validate(document)


@pytest.mark.parametrize("name", sorted(config_file.recipes()))
def test_a_shipped_recipe_is_valid_and_says_what_it_does(name: str) -> None:
    text = config_file.recipes()[name].read_text(encoding="utf-8")
    assert text.startswith("#"), "a recipe begins with its command, time and result"
    document = yaml.safe_load(text)
    document.setdefault("input", {}).setdefault("paths", "pool.parquet")
    Config.model_validate(document)


def test_defaults_have_the_types_that_they_are_read_back_with(tmp_path: Path) -> None:
    """1000 and 1000.0 are equal, but not in a digest: a repeated run would fetch everything again."""
    (tmp_path / "c.yaml").write_text("input: {paths: pool.parquet}\nscore: {model: m}\n")
    first = load(str(tmp_path / "c.yaml"))
    (tmp_path / "again.yaml").write_text(dump(first))
    again = load(str(tmp_path / "again.yaml"))
    assert json.dumps(first.model_dump()) == json.dumps(again.model_dump())


def test_keys_that_yaml_takes_for_booleans_are_names(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(
        "input: {paths: x}\nprepare: {metadata: {no: norsk.txt}}\n"
        "captions: {recap: {path: y, on: url}}\n"
    )
    config = load(str(tmp_path / "run.yaml"))
    assert config.prepare.metadata == {"no": "norsk.txt"}
    assert config.captions["recap"].on == "url"
    (tmp_path / "again.yaml").write_text(dump(config))
    assert load(str(tmp_path / "again.yaml")) == config
    (tmp_path / "run.yaml").write_text("input: {paths: x}\ncaptions: {on: {}, 'on': {}}\n")
    with pytest.raises(CurateError, match=r"run\.yaml:2: the key 'on' is in line 2 already"):
        load(str(tmp_path / "run.yaml"))
