"""The shards for machines: ``croissant.json``, Croissant 1.1 (JSON-LD), as mlcroissant reads it.

One record a pair: image and caption beside the columns of the shards' parquet files. The images are in
the tars and the rest in the parquet files, joined by the pair's key; mlcroissant does not read JSON
inside an archive. For files in a folder it has one way, that of a repository (``git+https``), and takes
a local folder for it.
"""

import io
import json
from collections.abc import Iterator, Mapping

import pyarrow as pa

from curate.config import Config
from curate.report.facts import Facts
from curate.report.hub import shard_columns
from curate.report.page import verdict
from curate.report.wording import meaning

_MEDIA = {"jpg": "image/jpeg", "png": "image/png", "webp": "image/webp",
          "parquet": "application/x-parquet"}  # fmt: skip
_KINDS = {
    "string": "sc:Text", "bool": "sc:Boolean", "float": "sc:Float", "double": "sc:Float",
    **{f"{sign}int{bits}": "sc:Integer" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}  # fmt: skip
RIGHTS = "Images and captions belong to their owners; the set grants no rights in them."


def croissant(facts: Facts, *, config: Config, name: str) -> str | None:
    """The shards as Croissant JSON-LD, paths relative to the report; None without shards.

    Who publishes the set adds ``url``, ``license``, ``creator`` and ``datePublished``.
    """
    if not facts.shards:
        return None
    endings = facts.image_endings(config)
    tars = [
        {
            "@type": "cr:FileObject",
            "@id": f"{shard.name}.tar",
            "name": f"{shard.name}.tar",
            "contentUrl": f"../shards/{shard.name}.tar",
            "contentSize": f"{shard.bytes} B",
            "encodingFormat": "application/x-tar",
            "sha256": shard.sha256,
        }
        for shard in facts.shards
    ]
    folder = {
        "@type": "cr:FileObject",
        "@id": "shards",
        "name": "shards",
        "description": "The folder of the shards.",
        "contentUrl": "../shards",
        "encodingFormat": "git+https",
        "sha256": "none: the tars have theirs",
    }
    inside = [{"@id": tar["@id"]} for tar in tars]
    document = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        "name": name,
        "description": f"Image-text pairs for contrastive training. {verdict(facts)} {RIGHTS}",
        "version": "1.0.0",
        "distribution": [
            *tars,
            folder,
            _file_set("image-files", endings, inside=inside),
            _file_set("pair-files", ("parquet",), inside=[{"@id": "shards"}]),
        ],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": "pairs",
                "name": "pairs",
                "description": "A record a pair: its image, its caption, and what is known of them.",
                "key": {"@id": "pairs/key"},
                "field": [*_of_images(), *_of_tables(facts, config)],
            }
        ],
    }
    text = io.StringIO()  # of many shards the pieces, which `dumps` holds all at once, are much
    text.writelines(json.JSONEncoder(indent=1, ensure_ascii=False).iterencode(document))
    return text.getvalue() + "\n"


def _one(values: list[str]) -> str | list[str]:
    return values[0] if len(values) == 1 else values


def _file_set(
    name: str, endings: tuple[str, ...], *, inside: list[dict[str, str]]
) -> dict[str, object]:
    return {
        "@type": "cr:FileSet",
        "@id": name,
        "name": name,
        "containedIn": inside,
        "encodingFormat": _one([_MEDIA[ending] for ending in endings]),
        "includes": _one([f"*.{ending}" for ending in endings]),
    }


def _of_images() -> Iterator[dict[str, object]]:
    """The key, by which images and tables are joined, and the image."""
    of_set = {"fileSet": {"@id": "image-files"}}
    key = of_set | {"extract": {"fileProperty": "filename"}, "transform": {"regex": r"^([^.]+)"}}
    yield _field("key", "sc:Text", "shard and index in it, zero-padded", key) | {
        "references": {"fileSet": {"@id": "pair-files"}, "extract": {"column": "key"}}
    }
    content = of_set | {"extract": {"fileProperty": "content"}}
    yield _field("image", "sc:ImageObject", "the image as it is stored", content)


def _of_tables(facts: Facts, config: Config) -> Iterator[dict[str, object]]:
    """The columns of the parquet files, but lists of lists, for which Croissant has no type."""
    for column in shard_columns(facts):
        is_list = pa.types.is_list(column.type)
        kind = _KINDS.get(str(column.type.value_type if is_list else column.type))
        if column.name == "key" or kind is None:
            continue
        source = {"fileSet": {"@id": "pair-files"}, "extract": {"column": column.name}}
        kind = "sc:URL" if column.name == "url" else kind
        found = _field(column.name, kind, meaning(column.name, config), source)
        yield found | ({"repeated": True} if is_list else {})


def _field(
    name: str, kind: str, description: str, source: Mapping[str, object]
) -> dict[str, object]:
    return {
        "@type": "cr:Field",
        "@id": f"pairs/{name}",
        "name": name,
        "description": description or name,
        "dataType": kind,
        "source": source,
    }


_TERMS = (
    "arrayShape", "citeAs", "column", "containedIn", "equivalentProperty", "extract", "field",
    "fileObject", "fileProperty", "fileSet", "format", "includes", "isArray", "isLiveDataset",
    "jsonPath", "key", "md5", "parentField", "path", "recordSet", "references", "regex", "repeated",
    "replace", "samplingRate", "separator", "source", "subField", "transform",
)  # fmt: skip

_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "description": {"@container": "@language"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "name": {"@container": "@language"},
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
    **{term: f"cr:{term}" for term in _TERMS},
}
"""The context that Croissant 1.1 prescribes."""
