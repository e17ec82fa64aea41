"""The stages in flow order, and the Arrow columns that each adds.

A part's table after a stage holds the columns of all enabled stages up to it, in this order.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Literal, TypeAlias

import pyarrow as pa


class Stage(StrEnum):
    """The stages, cheapest first."""

    PREPARE = "prepare"
    DOWNLOAD = "download"
    DEDUP = "dedup"
    SCORE = "score"
    BALANCE = "balance"
    SHARDS = "shards"
    REPORT = "report"


MEANINGS: dict[str, str] = {}
"""What each column says, in a line: on data cards, in the report and in the reference."""

OF_PARTS, PARQUET_ALONE = set[str](), set[str]()
"""Columns of the last stage that shards leave out, as they are for its parts alone; and those of the
shards' parquet files that their JSON files leave out."""

MATCHES = "matches"
"""The column of all entries that a caption holds."""

_S, _I, _F = pa.string(), pa.int32(), pa.float32()
BOXES = pa.list_(pa.field("element", pa.list_(pa.field("element", pa.float64()))))
"""Boxes in an image: left, top, right, bottom of each, as shares of its width and height."""


_FIELDS: dict[str, pa.Field] = {}
_Column = tuple[str, pa.DataType, str]
_HiddenColumn = tuple[str, pa.DataType, str, set[str]]


def _columns(*columns: str | _Column | _HiddenColumn) -> pa.Schema:
    """Each column by name, type and meaning where it is first written; after that by its name.

    What it says stands beside the fields, not in their metadata, which would go into the files. The
    set that may follow is one of columns that the shards' files leave out.
    """
    names = [one if isinstance(one, str) else one[0] for one in columns]
    for one in columns:
        if not isinstance(one, str):
            _FIELDS[one[0]], MEANINGS[one[0]] = pa.field(one[0], one[1]), one[2]
            if len(one) == 4:
                one[3].add(one[0])
    return pa.schema([_FIELDS[name] for name in names])


POOL = _columns(
    ("url", _S, "where the image was fetched from"),
    ("caption", _S, "the cleaned caption"),
    ("uid", _S, "128-bit hash of URL and caption, 32 hex digits, unless the input brought its own"),
    ("error", _S, "why the record is dead: one of the errors"),  # null for a row that was read
    ("detail", _S, "what it was about: a status, a size, a place in a file"),
    ("file", _S, "file that holds the image that came with the pair"),
    ("offset", pa.int64(), "of that image inside the file, bytes"),
    ("size", pa.int64(), "of that image, bytes"),
    ("original_width", _I, "of the image as fetched, pixels"),
    ("original_height", _I, "of the image as fetched, pixels"),
    ("sha256", _S, "of the image as fetched, hex"),
    (
        "blur_boxes",
        BOXES,
        "what the pool said was to be blurred: left, top, right and bottom of each box",
    ),
)
"""What every reader yields. Sizes and hash are of what the pool's image was made of, where it says."""

CANDIDATES = pa.list_(pa.struct([("source", pa.string()), ("text", pa.string())]))
"""All texts of an image on a page: the column `texts` of the copies that are made of crawls."""

PLACES = _columns("file", "offset", "size", "original_width", "original_height", "sha256")
"""Where the images of a part's rows lie, row by row, and what they were made of:
`places/part-00000.parquet`."""

PREPARE = _columns(
    "uid",
    "url",
    "caption",
    ("language", _S, "of the caption, by fastText lid.176"),
    ("language_score", _F, "probability of the most likely language, from 0 to 1"),
    ("caption_chars", _I, "length of the caption in code points"),
    ("caption_words", _I, "length of the caption in words"),
    (MATCHES, pa.list_(pa.field("element", pa.int32())),
     "entries that occur in the caption: their ids, ascending", PARQUET_ALONE),
)  # fmt: skip

LISTED = _columns(
    ("words_in_list", _I, "words of the caption that stand in the list of prepare.words_in")
)
"""What prepare adds where it counts words of a list."""

_MATCHES = PREPARE.field(MATCHES).type

TAGS, BOTH = "tag_entries", "all_entries"
TAGGED = _columns(
    (TAGS, _MATCHES, "entries that are tags of the pair: their ids, ascending", PARQUET_ALONE),
    (BOTH, _MATCHES, "entries that occur in the caption or are tags of the pair: their ids, ascending",
     PARQUET_ALONE),
)  # fmt: skip
"""What prepare adds where the pool has tags."""
_OF_TEXT = (
    ("language", _S), ("language_score", _F), ("words_in_list", _I), ("matches", _MATCHES),
)  # fmt: skip
_OF_EACH = (
    ("source", _S), ("caption", _S),
    ("weight", pa.float64()),  # with which it is drawn; null where it was left out
    ("score", _F),  # by which the best is chosen, once a model has seen it
    ("reason", _S),  # why it was left out: a drop reason; what follows is null there
    *_OF_TEXT,
)  # fmt: skip
_WRITTEN = ("source", _S), ("caption", _S), ("score", _F), ("weight", pa.float64())
_UID = ("uid", _S)  # of the pair that a caption came with; null of the pair's others


def _list_of(*fields: tuple[str, pa.DataType]) -> pa.ListType:
    return pa.list_(pa.field("element", pa.struct(fields)))


CAPTIONS = _columns(
    ("captions", _list_of(*_OF_EACH),
     "all captions of the pair, its own first: source, caption, score, and the weight that it is"
     " drawn with"),
    ("caption_source", _S, "which of `captions` is the caption: the name of its source"),
)  # fmt: skip
"""What prepare adds where a pair may have several captions."""

WRITTEN_CAPTIONS = _list_of(*_WRITTEN)
"""The column `captions` in the shards: those that were not left out."""

WITH_LENT = pa.schema([("captions", _list_of(*_OF_EACH, _UID)), CAPTIONS.field("caption_source")])
WRITTEN_WITH_LENT = _list_of(*_WRITTEN, _UID)
"""The same where pairs have those of their duplicates, too: which pair each of them came with."""

LENT = _list_of(_UID, ("caption", _S), *_OF_TEXT)
"""Captions on their way from duplicates to the pairs that these are dropped for."""

SIDES = ("original_width", "original_height")
"""Columns of the pool that sizes are of where nothing is fetched."""

SIZED = _columns(
    *SIDES,
    ("smaller_side", _I, "of the image as fetched, pixels"),
    ("aspect", pa.float64(), "larger over smaller side of the image as fetched"),
)
"""What prepare adds where rules are over sizes and nothing is fetched: those the pool states."""

BOXED = _columns("blur_boxes")
"""What prepare adds where the pool says what to blur."""

OUTCOME = _columns(
    "uid",
    ("pair", _S, "hash of URL and caption: the uid, unless the input brought its own"),
    ("outcome", _S, "`success`, or a drop reason"),
    "detail",
    ("redirects", pa.list_(pa.field("element", pa.string())),
     "URLs that an answer came by after the one asked for, the last being where it stood"),
)  # fmt: skip
"""What came of asking for an image."""
DOWNLOAD = _columns(
    ("width", _I, "of the stored image, pixels"),
    ("height", _I, "of the stored image, pixels"),
    *SIDES,
    "smaller_side",
    "aspect",
    ("image_format", _S, "of the image as fetched, by its content"),
    ("image_bytes", pa.int64(), "size of the image as fetched"),
    "sha256",
    ("md5", _S, "of the image as fetched, hex, where a block list holds MD5s"),
    (
        "phash",
        _S,
        "perceptual hash (PDQ) of the image, hex; none where it shows too little to tell",
    ),
    ("phash_quality", _I, "how much the image shows, for that hash: 0 (one colour) to 100"),
    ("look", _S, "the image's colours in small, for dedup; later parts do not carry it", OF_PARTS),
    ("exif", _S, "tags of the image as fetched, JSON, where they were asked for"),
    ("tar_offset", pa.int64(), "of the stored image inside the part's tar, bytes", OF_PARTS),
    ("tar_size", pa.int64(), "bytes of the stored image", OF_PARTS),
    ("stored_sha256", _S, "of the stored image, hex", OF_PARTS),
)
FETCHED = pa.schema([*OUTCOME, *DOWNLOAD])
"""Every row that was fetched, whatever came of it: `annotated/download/`."""

FACES = _columns(
    ("faces", _I, "number of faces that were found in the image"),
    ("face_boxes", BOXES, "left, top, right and bottom of each face, as shares of the upright image's"
     " width and height, before a crop or border"),
)  # fmt: skip
"""What the download adds where it looks for faces."""

JPEG_QUALITY = _columns(
    ("jpeg_quality", _I, "that the image as fetched was last saved at, 1 to 100, by its quantisation"
     " tables; none where it is no JPEG"),
)  # fmt: skip
"""What the download adds where it is asked to."""

ROW = "_row"
"""The number of a row among those that were scored: a column while a step is at work."""

_UP_TO = {"look": Stage.DOWNLOAD}
"""Columns that only the next stage reads, which later parts do not carry."""

DEDUP = _columns(
    ("cluster", _S, "uid of the first pair of the cluster of duplicates"),
    ("cluster_size", _I, "pairs in that cluster"),
)

OTHER_CAPTIONS = _columns(
    ("other_captions", pa.list_(pa.field("element", pa.string())),
     "captions of the pairs that were dropped for this one"),
)  # fmt: skip
"""What dedup adds on request, each caption once."""

SCORED = _columns(
    "uid",
    ("scored", _S, "hash of the stored image and the caption that the score is of"),
    ("clip_score", _F, "cosine similarity of image and caption under the scoring model"),
)
"""Every row that was scored: `annotated/score/`; further scores follow, each in its column.

A score is null where the image could not be decoded.
"""

AGREEMENT = "caption_agreement"
OF_CAPTIONS = pa.schema([
    ("caption_scores", pa.list_(pa.float32())),  # of each of `captions`; null where there is none
    ("caption_at", _I),  # the place among them of the one that is chosen; not of further models
    (AGREEMENT, pa.list_(pa.float32())),  # cosine of each of them to the first; of ALIP's gates alone
])  # fmt: skip
"""What ``annotated/score`` has beside it where pairs have several captions."""

SCORE = _columns("clip_score")

CAPTION_WEIGHTS = "caption_weights"
SIMILARITY, ITEM = "evaluation_similarity", "evaluation_item"
"""The similarity to evaluation sets, and in the same folder the name of the nearest item."""

DERIVED = _columns(
    ("neg_clip_loss", _F,
     "agreement of image and caption beyond that of others in a batch, at most 0"),
    ("norm_sim", _F, "how near the image is to the target set"),
    ("nearest_target", pa.bool_(), "whether the image lies in a cluster that the target set lies in"),
    ("simcore", _I, "round in which SIMCore took the image, from 1; none where it did not"),
    ("visual_cluster", _I, "number of the cluster that the image lies in, from 0"),
    ("cluster_rank", _I, "place among the pairs of this cluster, in the order of the pool, from 0"),
    (SIMILARITY, _F, "cosine of the image to the nearest item of the evaluation sets"),
    (CAPTION_WEIGHTS, pa.list_(pa.field("element", _F)),
     "of each of `captions`: what the loss of the pair with it counts (ALIP); none of one that no gate"
     " weighs"),
)  # fmt: skip
"""What is made of stored embeddings or of their cosines, on request: each in a folder
``annotated/score/COLUMN``.

Null where the image could not be decoded.
"""

NAMES = frozenset({"visual_cluster"})
"""Columns of numbers that are names: counted as those are, with no mean and no lowest value."""

NEAREST = _columns((ITEM, _S, "item of the evaluation sets that the image is nearest to"))
"""What the folder of the similarity has beside it."""

SEMANTIC = "semantic_duplicate"
"""Folder and column of the verdicts on semantic duplicates."""

GROUPS = "groups.json"
"""In that folder: how many pairs were compared, and the groups of those that mean the same."""

VERDICT = _columns(
    "uid",
    (SEMANTIC, _S, "uid of the pair that stays in its place; none where it is no duplicate"),
    ("semantic_cosine", _F, "of the two images, or to the one that led to it"),
)
"""``annotated/score/semantic_duplicate``: every row that was scored, whatever the rules said."""

BALANCE = _columns(
    ("keep_probability", pa.float64(), "probability with which balancing kept the pair")
)

SOFT_CAP = _columns(
    ("weight", _I, "times that soft cap sampling drew the pair: how often a trainer takes it")
)
"""What the balance adds, and alone, where it draws with repeats."""

OF_NOUNS = _columns(
    ("nouns", pa.list_(pa.field("element", pa.string())),
     "nouns of the caption: their lemmas, each as often as it occurs", PARQUET_ALONE),
)  # fmt: skip
"""What the balance adds where it looks at the nouns of captions."""

WFPP = _columns(
    ("word_score", pa.float64(), "how rare the caption's words are in the pool (WFPP), from 0")
)
"""What the balance adds where it prunes by word frequency."""

FRONT = _columns(
    ("key", _S, "shard and index in it, zero-padded; the name of the pair's files"),
    ("status", _S, "`success`, as img2dataset has it for each pair of its shards"),
    ("error_message", _S, "null, likewise"),
)
"""The first columns of the shards' files."""

LEDGER = _columns(
    "uid",
    "url",
    "caption",
    ("stage", _S, "where the pair left"),
    ("reason", _S, "a drop reason, or `rule:NAME`"),
    ("value", _S, "what the decision rested on: a score, a language, the pair that stays"),
)

DEAD = _columns("uid", "url", "caption", "stage", "error", "detail")

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

ENTRIES = _columns(
    "language",
    ("entry_id", _I, "line of the entry in its list, from 0, or of its concept"),
    ("entry", _S, "the entry"),
    ("count", pa.int64(), "pairs that match it"),
    ("probability", pa.float64(), "with which each of them is kept for it"),
    ("kept", pa.int64(), "of these pairs, those in the set"),
)
"""`entries/entries.parquet`: an entry a row, `kept` counted over the sampled pairs."""

SEEN_ENTRIES = pa.schema([
    *ENTRIES,
    *_columns(("mentioned", pa.int64(),
               "pairs whose captions hold it, where `count` is of those whose images show it")),
])  # fmt: skip
"""The same where pairs are counted for the entries that their images show (`balance.on`)."""

PAIRS = _columns(
    "language",
    "entry_id",
    "entry",
    ("other_id", _I, "line of the other entry, or of its concept"),
    ("other_entry", _S, "the entry that the same captions match"),
    "count",
    "probability",
    "kept",
)
"""`entries/pairs.parquet`: two entries a row that more than tau pairs match together."""

NOUNS = _columns(
    ("noun", _S, "lemma of a noun"),
    ("occurrences", pa.int64(), "of it, in the captions of all pairs"),
    "probability",
    ("kept_occurrences", pa.int64(), "of these, those in the set"),
)
"""`entries/nouns.parquet`: a noun a row that occurs more than tau times."""

HOSTS = _columns(
    ("host", _S, "of the URL"),
    ("pairs", pa.int64(), "that were asked of it"),
    ("fetched", pa.int64(), "of them, those that came"),
    ("link_rot", pa.float64(), "share that is gone for good: http_404, http_410 or dns"),
    ("bytes", pa.int64(), "of the originals that came"),
    ("reasons", pa.map_(pa.string(), pa.int64()), "why the others did not come, pairs by reason"),
)
"""`report/hosts.parquet`: a host a row, those with the most pairs first."""

DOMAINS = _columns(
    ("domain", _S, "registrable domain; the host where no list of public suffixes is installed"),
    ("hosts", pa.int64(), "of it"),
    "pairs",
    "fetched",
    "bytes",
    "kept",
    ("kept_bytes", pa.int64(), "of the originals of the pairs in the set"),
)
"""`report/domains.parquet`: a domain a row, those with the most bytes in the set first."""

ADDED = {
    Stage.PREPARE: PREPARE,
    Stage.DOWNLOAD: DOWNLOAD,
    Stage.DEDUP: DEDUP,
    Stage.SCORE: SCORE,
    Stage.BALANCE: BALANCE,
}


ON_REQUEST = {
    Stage.PREPARE: (LISTED, BOXED, CAPTIONS, TAGGED),
    Stage.DOWNLOAD: (FACES, JPEG_QUALITY),
    Stage.DEDUP: (OTHER_CAPTIONS,),
    Stage.SCORE: (DERIVED,),
    Stage.BALANCE: (OF_NOUNS, WFPP, SOFT_CAP),
}
"""The columns that each stage adds where it is asked for them."""


def most(stage: Stage) -> pa.Schema:
    """The columns that `stage` adds where it is asked for all that it can add."""
    further = (field for columns in ON_REQUEST.get(stage, ()) for field in columns)
    return pa.schema([*ADDED[stage], *further])


Column: TypeAlias = pa.Array | pa.ChunkedArray
"""The values of a column: in one piece, or in several as a table holds them."""

WORD = pa.struct(
    [
        ("word", pa.string()),
        ("start", pa.int32()),  # its characters in the caption; null where the tokenizer moved them
        ("end", pa.int32()),
        ("score", pa.float32()),
        ("misaligned", pa.bool_()),  # whether that is below the threshold
    ]
)
"""A word of a caption that was judged against the image."""
OF_WORDS = {
    "": (pa.float32(), "what the words that the image denies add up to; 0 where there is none"),
    "_cosine": (pa.float32(), 'cosine similarity of the image and "A photo depicts " + caption'),
    "_words": (pa.list_(WORD), "each word of the caption, and how far the image bears it out"),
}
"""The columns of a score of kind misaligned_words by what follows its name, and what they say."""

Kind = Literal["string", "bool", "int64", "float32", "float64"]
"""The types of columns that travel with the pairs, by their names in Arrow."""

OF_SEVERAL = frozenset((*CAPTIONS.names, *OF_CAPTIONS.names))
"""Names of columns of a run whose pairs have several captions, which in others are free."""

OWN = frozenset(
    name
    for columns in (
        POOL,
        FETCHED,
        *map(most, ADDED),
        SCORED,
        NEAREST,
        VERDICT,
        FRONT,
        LEDGER,
        DEAD,
    )
    for name in columns.names
) - {*SOFT_CAP.names, *OF_NOUNS.names, *CAPTIONS.names} | {
    "texts", "given", "failure", ROW, EMBEDDING.name,
}  # fmt: skip
"""Names of columns that some step writes beside those of the pool: a score can have none of them, and a
column of the pool that has is renamed."""


def is_label(column: pa.Field) -> bool:
    """Whether the values of a score are names: texts, flags, or one of `NAMES`."""
    kind = column.type
    of_names = pa.types.is_string(kind) or pa.types.is_boolean(kind)
    return bool(of_names or column.name in NAMES)


def is_score(column: pa.Field) -> bool:
    """Whether the values of a score are amounts."""
    kind = column.type
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    return bool(is_number and column.name not in NAMES)


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
    *,
    listed: bool,
    boxed: bool,
    kept: Mapping[str, str],
    sized: bool = False,
    captions: Iterable[pa.Field] = (),
    tagged: bool = False,
) -> pa.Schema:
    """What prepare adds: `captions`, tags, words of a list, boxes, the pool's sizes, what is kept."""
    return pa.schema(
        [
            *PREPARE,
            *captions,
            *(TAGGED if tagged else ()),
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
