"""Settings of `input` and `prepare`."""

import difflib
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, WithJsonSchema, field_validator, model_validator

from curate.config.model import Fraction, Model
from curate.config.paths import FilePath, PlacePath
from curate.formats import AUTO, FORMATS
from curate.imported import IMPORT_NAME, is_import_name
from curate.schema import Kind

Column = str | Annotated[int, Field(strict=True, ge=1)]
"""A column by name; or by position, from 1, in csv and tsv files without a header."""


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
"""A format of `curate.formats` by name, or a user's reader as MODULE:NAME."""


class Tags(Model):
    """The column of the pairs' tags, and what separates them."""

    column: str = Field(examples=["tags"], description="of lists; or of texts, with a `separator`")
    separator: str | None = Field(
        None,
        min_length=1,
        examples=[","],
        description="what stands between the tags of a text; white space around tags does not count",
    )


class Columns(Model):
    """Names of the input's columns; or positions, for csv and tsv files without a header."""

    url: Column = Field(
        "url",
        description="of the images' URLs; a number in csv and tsv files without a header, as in"
        " {url: 2, caption: 1}",
    )
    caption: Column = Field("caption", description="of the captions")
    uid: Column | None = Field(
        None,
        description="128 bits as 32 hex digits; default: a hash of url and caption. Pairs with the same"
        " uid are separate rows, but are sampled, subset and revoked together",
    )
    blur_boxes: Column | None = Field(
        None,
        description="boxes to blur in each image: lists of left, top, right and bottom, as shares of"
        " its width and height",
    )
    image: Column | None = Field(
        None,
        description="paths of images that need no download, relative to the folder of the file that"
        " names them, or absolute, also as file://; pairs without one are fetched by their URL",
    )
    tags: Tags | None = Field(
        None,
        description="tags of the pairs, which are entries of the lists of prepare.metadata where they"
        " are equal to one, and which balance.on may count: a column of lists, or one of texts as in"
        ' {column: tags, separator: ","}',
    )
    keep: tuple[str, ...] | dict[str, Kind] = Field(
        (),
        description="further columns to keep with each pair, for rules and the shards: names, or names"
        " with types; default: the pool's types. One whose name is a column of curate's becomes"
        " pool_NAME",
    )

    @property
    def by_place(self) -> bool:
        """Whether columns are given by position: csv and tsv files then have no header."""
        return isinstance(self.url, int)

    @field_validator("tags", mode="before", json_schema_input_type=str | Tags | None)
    @classmethod
    def _by_name_alone(cls, value: object) -> object:
        return {"column": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _told_alike(self) -> "Columns":
        told = {"url": self.url, "caption": self.caption, "uid": self.uid,
                "blur_boxes": self.blur_boxes, "image": self.image}  # fmt: skip
        others = [key for key, x in told.items() if x and isinstance(x, int) is not self.by_place]
        if others:
            key, x = others[0], told[others[0]]
            raise ValueError(
                f"{key} is {x!r} and url {self.url!r}: give all columns by name, or, for files"
                " without a header, all by position from 1, as in {url: 2, caption: 1}"
            )
        return self

    @property
    def kept(self) -> dict[str, Kind]:
        """The columns to keep with their types, once these are known."""
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
        " Folders and wildcards leave out names that begin with . or _ and files of unknown formats;"
        " symbolic links are followed",
    )
    format: FormatName = Field(
        AUTO,
        description=f"{', '.join((AUTO, *FORMATS))}, or a reader of your own, MODULE:NAME"
        " (docs/extending.md). auto: by each file's name, else its content. images: folders of"
        " pictures with a .txt, the caption, or a .json, with the keys of columns, beside each; auto"
        " recognises them where there are no tables",
    )
    columns: Columns = Columns()
    image_folders: tuple[PlacePath, ...] = Field(
        (),
        description="folders that images named in columns.image may be in, beside the folder of the"
        " file that names them; symbolic links and .. that lead elsewhere are refused",
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
    """The language of captions for which the model is unsure."""

    below: Fraction = Field(
        examples=[0.5], description="language_score, the probability of the most likely language"
    )
    language: str = Field(
        examples=["en"], description="ISO code of the language that these captions count as"
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
        None, description="let captions with a low language_score count as one language"
    )
    metadata: dict[str, FilePath] = Field(
        default_factory=dict,
        description="entry list of each language: one entry a line, or a JSON array",
    )
    counts_as: dict[str, str] = Field(
        default_factory=dict,
        description="languages whose captions count as another, which has the list, as in {yue: zh}:"
        " they are matched with it and counted together, and `language` is the other. The key * stands"
        " for all without a list of their own",
    )
    spacing: Literal["language", "released"] = Field(
        "language",
        description="where an entry needs no space beside it. language: at punctuation and characters"
        " of scripts without spaces, in lists of languages without spaces (Meta CLIP 2). released: as"
        " its code has it: in all lists, and kana, bopomofo and full-width forms are none of these",
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
        description="keep the pairs whose uids it has: a DataComp subset file (.npy of u8,u8, sorted),"
        " or a text, one uid a line",
    )
