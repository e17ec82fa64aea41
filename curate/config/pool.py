"""Settings of what is read, and of the text stage."""

import difflib
from typing import Annotated

from pydantic import AfterValidator, Field, WithJsonSchema, field_validator, model_validator

from curate.config.model import Fraction, Model
from curate.config.paths import FilePath, PlacePath
from curate.formats import AUTO, FORMATS
from curate.imported import IMPORT_NAME, is_import_name
from curate.schema import Kind

Column = str | Annotated[int, Field(strict=True, ge=1)]
"""A column by its name; or by its place from 1 on, in csv and tsv files without a header."""


def _format_name(text: str) -> str:
    if text not in (AUTO, *FORMATS) and not is_import_name(text):
        near = difflib.get_close_matches(text, (AUTO, *FORMATS), n=1)
        hint = f", did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"expected {AUTO}, {', '.join(FORMATS)}, or a reader as MODULE:NAME{hint}")
    return text


FormatName = Annotated[
    str,
    AfterValidator(_format_name),
    WithJsonSchema(
        {"type": "string", "anyOf": [{"enum": [AUTO, *FORMATS]}, {"pattern": f"^{IMPORT_NAME}$"}]}
    ),
]
"""A format of a pool, by its name in `curate.formats`; or a reader of users'."""


class Columns(Model):
    """Names of the input's columns; or their places, where csv and tsv files have no header."""

    url: Column = Field(
        "url",
        description="of the images' URLs; a number in csv and tsv files without a header, as in"
        " {url: 2, caption: 1}",
    )
    caption: Column = Field("caption", description="of the captions")
    uid: Column | None = Field(
        None,
        description="128 bits as 32 hex digits; else from url + caption. Pairs that share one are kept"
        " apart, but are sampled, subset and revoked together",
    )
    blur_boxes: Column | None = Field(
        None,
        description="boxes to blur in each image: lists of left, top, right and bottom, as shares of"
        " its width and height",
    )
    image: Column | None = Field(
        None,
        description="paths of images that are there already, relative to the folder of the file that"
        " names them, or whole, as also in file://; pairs without one are fetched by their URL",
    )
    keep: tuple[str, ...] | dict[str, Kind] = Field(
        (),
        description="further columns that travel with each pair, for rules and the shards: names, or"
        " names with types; default: as in the pool. One that curate has too becomes pool_NAME",
    )

    @property
    def by_place(self) -> bool:
        """Whether columns are told by their places: csv and tsv files then have no header."""
        return isinstance(self.url, int)

    @model_validator(mode="after")
    def _told_alike(self) -> "Columns":
        told = {"url": self.url, "caption": self.caption, "uid": self.uid,
                "blur_boxes": self.blur_boxes, "image": self.image}  # fmt: skip
        others = [key for key, x in told.items() if x and isinstance(x, int) is not self.by_place]
        if others:
            key, x = others[0], told[others[0]]
            raise ValueError(
                f"{key} is {x!r} and url {self.url!r}: give all columns by name, or where files have no"
                " header all by their places from 1 on, as in {url: 2, caption: 1}"
            )
        return self

    @property
    def kept(self) -> dict[str, Kind]:
        """The further columns, once each has its type."""
        if not isinstance(self.keep, dict):
            if self.keep:
                raise AssertionError("the pool has not been asked for the types of its columns")
            return {}
        return self.keep


class Input(Model):
    """The pool."""

    paths: tuple[PlacePath, ...] = Field(
        examples=["pairs/*.parquet"],
        min_length=1,
        description="files, folders, globs or ranges as in shards/{00000..00010}.tar, read in this"
        " order, and by name within each; a file that several of them match is read once, at the first."
        " In folders and for wildcards, names that begin with . or _ are left out, and files of no"
        " known format; links are followed",
    )
    format: FormatName = Field(
        AUTO,
        description=f"{', '.join((AUTO, *FORMATS))}, or a reader of your own, MODULE:NAME"
        " (docs/extending.md). auto: by each file's name, else its content. images: folders of"
        " pictures with a .txt, the caption, or a .json, with the keys of columns, beside each; also"
        " told by auto where there are no tables",
    )
    columns: Columns = Columns()
    image_folders: tuple[PlacePath, ...] = Field(
        (),
        description="folders that images named in columns.image may be read from, beside that of the"
        " file that names them; links and .. lead nowhere else",
    )
    max_dead_fraction: float = Field(
        0.1,
        ge=0,
        le=1,
        description="the run fails where more of the files, or of the rows, cannot be used, or where"
        " scores of `scores` fail for more of the pairs; one bad row of several is no failure, unless"
        " this is 0",
    )

    @field_validator("paths", mode="before", json_schema_input_type=str | tuple[str, ...])
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value


class Unsure(Model):
    """What the language of a caption is where the model is not sure of it."""

    below: Fraction = Field(
        examples=[0.5], description="the probability of the most likely one, language_score"
    )
    language: str = Field(
        examples=["en"], description="ISO code of the language that such captions count as"
    )


class Prepare(Model):
    """Text: cleaning, language, entry matching."""

    languages: tuple[str, ...] | None = Field(
        None, description="keep captions in these (ISO codes); default: those with metadata, or all"
    )
    language_model: FilePath | None = Field(
        None,
        description="fastText classifier (.bin or .ftz) with a label __label__CODE for each language,"
        " whose codes languages and metadata then name; needs the extra `languages`. Default: lid.176",
    )
    unsure: Unsure | None = Field(
        None, description="keep captions in a language, though the model takes them for another"
    )
    metadata: dict[str, FilePath] = Field(
        default_factory=dict,
        description="entry list of each language: one entry a line, or a JSON array",
    )
    ignore_case: bool = Field(
        False,
        description="match entries whatever their case; MetaCLIP's matching is case-sensitive",
    )
    words_in: FilePath | None = Field(
        None, description="words to count in captions as words_in_list, one a line, lower case"
    )
    uids_in: FilePath | None = Field(
        None,
        description="DataComp subset file (.npy of u8,u8, sorted): keep the pairs whose uids it has",
    )
