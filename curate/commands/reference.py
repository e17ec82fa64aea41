"""What a user looks up: every key of a configuration, every column, reason and error.

python -m curate.commands.reference > docs/reference.md
"""

import textwrap
from collections.abc import Iterable, Iterator
from typing import Any, Literal, get_args, get_origin

import pyarrow as pa
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from curate import schema
from curate.config import Config
from curate.reasons import FETCH_FAILURES, TRANSIENT, DropReason, ErrorCode
from curate.report.wording import COLUMNS
from curate.schema import OF_PARTS, PARQUET_ALONE, Stage

_WIDTH = 96
_EXAMPLES: dict[str, object] = {
    "paths": "pairs/*.parquet", "model": "ViT-B-32", "target": "target.npy", "fraction": 0.5,
    "kind": "nsfw", "against": ["evaluation.parquet"], "keep": 100_000,
    "epsilon": 0.05, "below": 0.5, "language": "en",
}  # fmt: skip
"""What stands for a key without a default."""
_OTHERS = {
    "pair": "hash of URL and caption: the uid, unless the input brought its own",
    "look": "the image's colours in small, for dedup; later parts do not carry it",
    "stored_sha256": "of the stored image, hex",
    "evaluation_similarity": "cosine of the image to the nearest item of the evaluation sets",
    "outcome": "`success`, or a drop reason",
    "detail": "what it was about: a status, a size, a place in a file",
    "redirects": "URLs that an answer came by after the one asked for, the last being where it stood",
    "tar_offset": "of the stored image inside the part's tar, bytes",
    "tar_size": "bytes of the stored image",
    "stage": "where the pair left",
    "reason": "a drop reason, or `rule:NAME`",
    "value": "what the decision rested on: a score, a language, the pair that stays",
    "error": "one of the errors below",
    "entry_id": "line of the entry in its list, from 0, or of its concept",
    "entry": "the entry",
    "count": "pairs that match it",
    "probability": "with which each of them is kept for it",
    "kept": "of these pairs, those in the set",
    "host": "of the URL",
    "pairs": "that were asked of it",
    "fetched": "of them, those that came",
    "link_rot": "share that is gone for good: http_404, http_410 or dns",
    "bytes": "of the originals that came",
    "reasons": "why the others did not come, pairs by reason",
    "status": "`success`, as img2dataset writes it",
    "error_message": "null, as img2dataset writes it",
}
_RULES = """A rule of `select` is over any column of prepare, download, dedup and score but lists. It
applies at the first of prepare, download and score that runs and after which its columns exist. So a
`top_fraction` is of the pairs that reach the rules of its stage: of a column of the pool, those with a
caption and a URL, before any is fetched; of a score, those whose image came and could be scored.
Where nothing is fetched, `original_width`, `original_height`, `smaller_side` and `aspect` are of the
pool's columns `original_width` and `original_height`.
Scores of `score.also` and `scores` are columns too, under the names that they are given (float).
`dedup.prefer` takes columns of numbers, or of true and false, of prepare and download.
"""


def full_config() -> str:
    """Every key with its default and description, as YAML that loads as it is."""
    head = (
        "# Every key of a configuration. What stands here is the default, so keep only what you"
        " change;\n# input.paths is the one key that has none. Keys behind # belong to a part that is"
        " off.\n\n"
    )
    return head + "\n".join(_keys(Config)) + "\n"


def _keys(model: type[BaseModel]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        key = field.alias or name
        inner, kind = _model_in(field.annotation)
        told = field.description or (inner.__doc__ or "" if inner else "")
        told = told.split("\n\n")[0] + (" (required)" if field.is_required() else "")
        yield from _comment(told, _choices(field.annotation))
        default = _default(field)
        if inner is None or inner is model:
            yield _line(key, _EXAMPLES[key] if field.is_required() else default)
        elif kind == "one" and (field.is_required() or isinstance(default, dict)):
            yield f"{key}:"
            yield from _indented(_keys(inner))
        else:
            yield _line(key, default)
            lead = {"one": [], "many": ["  -"], "named": ["  my_score:"]}[kind]
            lines = [f"{key}:", *lead, *_indented(_keys(inner), depth=1 + len(lead))]
            yield from (f"# {line}".rstrip() for line in lines)


def _default(field: FieldInfo) -> Any:
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    return list(value) if isinstance(value, tuple) else value


def _model_in(annotation: Any) -> tuple[type[BaseModel] | None, str]:
    """The model that a field holds, and whether it is `one`, `many` in a list or `named` in a map."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, "one"
    kinds = {tuple: "many", dict: "named"}
    for argument in get_args(annotation):
        inner, kind = _model_in(argument)
        if inner is not None:
            return inner, kinds.get(get_origin(annotation), kind)
    return None, "one"


def _choices(annotation: Any) -> tuple[object, ...]:
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    found = [_choices(argument) for argument in get_args(annotation)]
    return next((one for one in found if one), ())


def _comment(told: str, choices: tuple[object, ...]) -> Iterator[str]:
    text = " ".join(told.split())
    if len(choices) > 1 and not all(f"{one}:" in text for one in choices):
        text += f" ({', '.join(map(str, choices))})"
    yield from (f"# {line}" for line in textwrap.wrap(text, _WIDTH - 2))


def _line(key: str, value: object) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=1000)
    return f"{key}: {text.removesuffix('...' + chr(10)).strip()}"


def _indented(lines: Iterable[str], *, depth: int = 1) -> Iterator[str]:
    for line in lines:
        yield "  " * depth + line


def reference() -> str:
    """The page of columns, reasons and errors, in Markdown."""
    lines = [
        "# Reference", "",
        "Generated by `make reference`; a test compares them. All keys"
        " of a configuration: `curate config --full`, or `--schema` as JSON schema.", "",
        "## Columns of the parts, and of rules", "", *_RULES.splitlines(), "",
        "A part's file `STAGE/part-00000.parquet` has the columns of all stages up to it.", "",
    ]  # fmt: skip
    score = schema.scores(derived=schema.DERIVED.names)
    for stage, columns in (
        (Stage.PREPARE, schema.prepared(listed=True, boxed=True, kept={})),
        (Stage.DOWNLOAD, pa.schema([*schema.DOWNLOAD, *schema.FACES])),
        (Stage.DEDUP, pa.schema([*schema.DEDUP, *schema.OTHER_CAPTIONS])), (Stage.SCORE, score),
        (Stage.BALANCE, pa.schema([*schema.BALANCE, *schema.WFPP])),
    ):  # fmt: skip
        lines += [f"### {stage}", "", *_columns(columns), ""]
    lines += ["## Other files", ""]
    fetched = pa.schema(
        [schema.FETCHED.field(name) for name in ("uid", "outcome", "detail", "redirects")]
    )
    for path, told, columns in (
        ("annotated/download/part-00000.parquet",
         "every row that was asked for; with the columns of download", fetched),
        ("dropped/STAGE/part-00000.parquet", "the ledger: pairs that were not wanted", schema.LEDGER),
        ("dead/STAGE/part-00000.parquet", "records that could not be handled", schema.DEAD),
        ("entries/entries.parquet", "an entry a row", schema.ENTRIES),
        ("report/hosts.parquet", "a host a row, those with the most pairs first", schema.HOSTS),
    ):  # fmt: skip
        lines += [f"### {path}", "", f"{told[0].upper()}{told[1:]}.", "", *_columns(columns), ""]
    names = ", ".join(f"`{name}`" for name in sorted({*OF_PARTS, *PARQUET_ALONE} - {"look"}))
    lines += [
        "### shards/00000.parquet, and KEY.json in shards/00000.tar", "",
        f"The columns of the last stage (in KEY.json without {names}), and in front of them:", "",
        *_columns(pa.schema([(x, pa.string()) for x in ("key", "status", "error_message")])), "",
        "## Why pairs are dropped", "",
        "`rule:NAME` is a rule of `select`. *Again*: `--retry-failed` asks again; the others marked"
        " `--retry` only by name.", "",
        "| reason | meaning | again |", "|---|---|---|",
    ]  # fmt: skip
    for reason in DropReason:
        again = "yes" if reason in TRANSIENT else "`--retry`" if reason in FETCH_FAILURES else ""
        lines.append(f"| `{reason}` | {reason.row.sentence} | {again} |")
    lines += ["", "## Why records are dead", "", "| error | meaning |", "|---|---|"]
    lines += [f"| `{error}` | {error.row.sentence} |" for error in ErrorCode]
    return "\n".join(lines) + "\n"


def _columns(columns: Iterable[pa.Field]) -> Iterator[str]:
    yield "| column | type | meaning |"
    yield "|---|---|---|"
    for field in columns:
        kind = str(field.type).replace("element: ", "")
        yield f"| `{field.name}` | {kind} | {COLUMNS.get(field.name) or _OTHERS[field.name]} |"


if __name__ == "__main__":
    print(reference(), end="")
