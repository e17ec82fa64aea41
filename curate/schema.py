"""The stages in flow order, and the Arrow columns that each adds.

A part's table after a stage holds the columns of all enabled stages up to it, in this order.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Literal

import pyarrow as pa

from curate.errors import CurateError


class Stage(StrEnum):
    """The stages, cheapest first."""

    PREPARE = "prepare"
    DOWNLOAD = "download"
    DEDUP = "dedup"
    SCORE = "score"
    BALANCE = "balance"
    SHARDS = "shards"
    REPORT = "report"


BOXES = pa.list_(pa.field("element", pa.list_(pa.field("element", pa.float64()))))
"""Boxes in an image: left, top, right, bottom of each, as shares of its width and height."""

POOL = pa.schema(
    [
        ("url", pa.string()),
        ("caption", pa.string()),
        ("uid", pa.string()),  # null where the input has none
        ("error", pa.string()),  # ErrorCode of a row that could not be read, else null
        ("detail", pa.string()),  # the file, the place in it and what was wrong there
        ("file", pa.string()),  # where the image came with the pair: the file that holds its bytes
        ("offset", pa.int64()),  # of the image inside `file`, bytes
        ("size", pa.int64()),
        ("original_width", pa.int32()),  # of the image that it was made of, where the pool says so
        ("original_height", pa.int32()),
        ("sha256", pa.string()),  # of the file of that image, hex
        ("blur_boxes", BOXES),  # what to blur in the image; null where that is not known
    ]
)
"""What every reader yields."""

CANDIDATES = pa.list_(pa.struct([("source", pa.string()), ("text", pa.string())]))
"""All texts of an image on a page: the column `texts` of the copies that are made of crawls."""

PLACES = pa.schema(
    [
        POOL.field(name)
        for name in ("file", "offset", "size", "original_width", "original_height", "sha256")
    ]
)
"""Where the images of a part's rows lie, row by row, and what they were made of:
`places/part-00000.parquet`."""

PREPARE = pa.schema(
    [
        ("uid", pa.string()),  # 32 hex digits
        ("url", pa.string()),
        ("caption", pa.string()),  # cleaned
        ("language", pa.string()),  # ISO code of fastText lid.176, top 1
        ("language_score", pa.float32()),  # its probability, whatever prepare.unsure made of it
        ("caption_chars", pa.int32()),  # Unicode code points
        ("caption_words", pa.int32()),  # white-space separated
        ("matches", pa.list_(pa.field("element", pa.int32()))),  # ascending entry ids
    ]
)

LISTED = pa.schema([("words_in_list", pa.int32())])  # words of prepare.words_in
"""What prepare adds where it counts words of a list."""

SIDES = ("original_width", "original_height")
"""Columns of the pool that sizes are of where nothing is fetched."""

SIZED = pa.schema(
    [
        *((side, pa.int32()) for side in SIDES),
        ("smaller_side", pa.int32()),
        ("aspect", pa.float64()),
    ]
)
"""What prepare adds where rules are over sizes and nothing is fetched: those the pool states."""

BOXED = pa.schema([POOL.field("blur_boxes")])
"""What prepare adds where the pool says what to blur."""

FETCHED = pa.schema(
    [
        ("uid", pa.string()),
        ("pair", pa.string()),  # hash of URL and caption: the uid, unless the input brought its own
        ("outcome", pa.string()),  # `success`, a DropReason or an ErrorCode
        ("detail", pa.string()),  # what the outcome was about: a status code, a size
        ("redirects", pa.list_(pa.field("element", pa.string()))),  # URLs that an answer came by
        ("width", pa.int32()),  # of the stored image, pixels
        ("height", pa.int32()),
        ("original_width", pa.int32()),  # of the image that the server sent, pixels
        ("original_height", pa.int32()),
        ("smaller_side", pa.int32()),  # of the original
        ("aspect", pa.float64()),  # larger over smaller side of the original
        ("image_format", pa.string()),  # of the original, by its content: jpeg, png, webp, ...
        ("image_bytes", pa.int64()),  # of the original
        ("sha256", pa.string()),  # of the original, hex
        ("md5", pa.string()),  # of the original, hex; only where a block list holds MD5s
        ("phash", pa.string()),  # PDQ of the image, hex; null where it shows too little to tell
        ("phash_quality", pa.int32()),  # 0 (one colour) to 100
        ("look", pa.string()),  # its colours in small (ops.images.looks); null without a phash
        ("exif", pa.string()),  # of the original, JSON; null unless download.keep_exif
        ("tar_offset", pa.int64()),  # of the stored image inside the part's tar, bytes
        ("tar_size", pa.int64()),
        ("stored_sha256", pa.string()),  # of the stored image, hex
    ]
)
"""Every row that was fetched, whatever came of it: `annotated/download/`."""

_ONLY_FETCHED = ("uid", "pair", "outcome", "detail", "redirects")
DOWNLOAD = pa.schema([field for field in FETCHED if field.name not in _ONLY_FETCHED])

FACES = pa.schema([("faces", pa.int32()), ("face_boxes", BOXES)])
"""What the download adds where it looks for faces: boxes in the upright picture, before a crop."""

ROW = "_row"
"""The number of a row among those that were scored: a column while a step is at work."""

_UP_TO = {"look": Stage.DOWNLOAD}
"""Columns that only the next stage reads, which later parts do not carry."""

OF_PARTS = frozenset({"tar_offset", "tar_size", "stored_sha256", "look"})
"""Columns of the last stage that are for its parts alone: the shards leave them out."""
PARQUET_ALONE = frozenset({"matches"})
"""Columns of the shards' parquet files that their JSON files leave out."""

DEDUP = pa.schema(
    [
        ("cluster", pa.string()),  # uid of its first pair; its own where the pair is alone
        ("cluster_size", pa.int32()),  # pairs in the cluster, this one included
    ]
)

OTHER_CAPTIONS = pa.schema([("other_captions", pa.list_(pa.field("element", pa.string())))])
"""What dedup adds on request: captions of the dropped pairs of the cluster, each once."""

SCORED = pa.schema(
    [
        ("uid", pa.string()),
        ("scored", pa.string()),  # hash of the stored image and the caption that the score is of
        ("clip_score", pa.float32()),
    ]
)
"""Every row that was scored: `annotated/score/`; further scores follow, each in its column.

A score is null where the image could not be decoded.
"""

SCORE = pa.schema([("clip_score", pa.float32())])

DERIVED = pa.schema(
    [
        ("neg_clip_loss", pa.float32()),  # at most 0
        ("norm_sim", pa.float32()),
        ("nearest_target", pa.bool_()),
        ("simcore", pa.int32()),  # the round in which the image was taken, from 1; else null
        ("evaluation_similarity", pa.float32()),  # cosine to the nearest item of evaluation sets
    ]
)
"""What is made of stored embeddings, on request: each in a folder ``annotated/score/COLUMN``.

Null where the image could not be decoded.
"""

SIMILARITY, ITEM = "evaluation_similarity", "evaluation_item"
"""The similarity, and in the same folder the name of that nearest item."""

SEMANTIC = "semantic_duplicate"
"""Folder and column of the verdicts on semantic duplicates."""

GROUPS = "groups.json"
"""In that folder: how many pairs were compared, and the groups of those that mean the same."""

VERDICT = pa.schema(
    [
        ("uid", pa.string()),
        (SEMANTIC, pa.string()),  # uid of the pair that stays in its place; null where it is none
        ("semantic_cosine", pa.float32()),  # of the two images, or to the one that led to it
    ]
)
"""``annotated/score/semantic_duplicate``: every row that was scored, whatever the rules said."""

BALANCE = pa.schema([("keep_probability", pa.float64())])

WFPP = pa.schema([("word_score", pa.float64())])
"""What the balance adds where it prunes by word frequency."""

LEDGER = pa.schema(
    [
        ("uid", pa.string()),
        ("url", pa.string()),
        ("caption", pa.string()),
        ("stage", pa.string()),
        ("reason", pa.string()),  # DropReason or rule:NAME
        ("value", pa.string()),  # what the decision rested on: a score, a language, a survivor
    ]
)

DEAD = pa.schema(
    [
        ("uid", pa.string()),
        ("url", pa.string()),
        ("caption", pa.string()),
        ("stage", pa.string()),
        ("error", pa.string()),  # ErrorCode
        ("detail", pa.string()),
    ]
)

EMBEDDING = pa.field("embedding", pa.list_(pa.field("element", pa.float16())))
"""What `curate hash` adds where it is given a model: that of the image; null where there is none."""

EVALUATION = pa.schema(
    [
        ("name", pa.string()),  # of the item: its file or key, a row of a file of captions
        ("sha256", pa.string()),  # of the image's file, hex; null where there is none
        ("phash", pa.string()),  # PDQ, hex; null where there is none
        ("caption", pa.uint64()),  # hash of the normalised caption; null where there is none
    ]
)
"""What `curate hash` makes of an evaluation set, an item a row."""

ENTRIES = pa.schema(
    [
        ("language", pa.string()),
        ("entry_id", pa.int32()),
        ("entry", pa.string()),
        ("count", pa.int64()),
        ("probability", pa.float64()),
        ("kept", pa.int64()),
    ]
)
"""`entries/entries.parquet`: an entry a row, `kept` counted over the sampled pairs."""

HOSTS = pa.schema(
    [
        ("host", pa.string()),
        ("pairs", pa.int64()),
        ("fetched", pa.int64()),
        ("link_rot", pa.float64()),  # share of the pairs: http_404, http_410 or dns
        ("bytes", pa.int64()),  # of the originals that were fetched
        ("reasons", pa.map_(pa.string(), pa.int64())),  # of the pairs that were not
    ]
)
"""`report/hosts.parquet`: a host a row, those with the most pairs first."""

ADDED = {
    Stage.PREPARE: PREPARE,
    Stage.DOWNLOAD: DOWNLOAD,
    Stage.DEDUP: DEDUP,
    Stage.SCORE: SCORE,
    Stage.BALANCE: BALANCE,
}


ON_REQUEST = (LISTED, BOXED, FACES, OTHER_CAPTIONS, DERIVED, WFPP)
"""The columns that a stage adds where it is asked for them."""

Kind = Literal["string", "bool", "int64", "float32", "float64"]
"""The types of columns that travel with the pairs, by their names in Arrow."""

OWN = frozenset(
    name
    for columns in (POOL, FETCHED, *ADDED.values(), *ON_REQUEST, SCORED, VERDICT, LEDGER, DEAD)
    for name in columns.names
) | {"key", "status", "error_message", "texts", "given", "failure", ROW, ITEM, EMBEDDING.name}
"""Names of columns that some step writes: a score can have none of them, and a column of the pool that
has is renamed."""


def kept_name(column: str) -> str:
    """What a column of the pool is called in a run: as it is, unless curate has one of that name.

    >>> kept_name("similarity"), kept_name("width")
    ('similarity', 'pool_width')
    """
    return f"pool_{column}" if column in OWN else column


def kept_columns(keep: Mapping[str, str]) -> pa.Schema:
    """The columns of the pool that travel with each pair, given the type of each."""
    return pa.schema([(kept_name(name), pa.type_for_alias(kind)) for name, kind in keep.items()])


def prepared(
    *, listed: bool, boxed: bool, kept: Mapping[str, str], sized: bool = False
) -> pa.Schema:
    """What prepare adds: words counted of a list, boxes, sizes that the pool states, what is kept."""
    return pa.schema(
        [
            *PREPARE,
            *(LISTED if listed else ()),
            *(SIZED if sized else ()),
            *(BOXED if boxed else ()),
            *kept_columns(kept),
        ]
    )


def scores(
    names: Iterable[str] = (), *, clip: bool = True, derived: Iterable[str] = ()
) -> pa.Schema:
    """What the score stage adds: `clip_score`, if a model runs, these further scores, the derived."""
    further = [pa.field(name, pa.float32()) for name in names]
    first = SCORE if clip else ()
    return pa.schema([*first, *further, *(DERIVED.field(name) for name in derived)])


def after(
    stage: Stage, *, enabled: Iterable[Stage], added: Mapping[Stage, pa.Schema] = ADDED
) -> pa.Schema:
    """The columns of a part after `stage`, given the stages that run and what each adds.

    Those that only the stage after it reads go no further than that.
    """
    enabled = set(enabled)
    fields: list[pa.Field] = []
    for upstream, columns in added.items():
        if upstream in enabled:
            fields += [x for x in columns if _UP_TO.get(x.name, stage) is stage]
        if upstream is stage:
            break
    return pa.schema(fields)


def check(table: pa.Table, schema: pa.Schema, *, where: str) -> pa.Table:
    """`table` unchanged if its columns are those of `schema`; the difference as an error if not."""
    if table.schema.remove_metadata().equals(schema):
        return table
    found, wanted = set(table.schema.names), set(schema.names)
    if found == wanted:
        return table.select(schema.names).cast(schema)
    raise CurateError(
        f"{where}: columns {sorted(wanted - found)} are missing and {sorted(found - wanted)} are not"
        " expected; this part was written by another version: delete it and run again"
    )
