"""The shards for machines: ``croissant.json``, Croissant 1.1 (JSON-LD), as mlcroissant reads it."""

import json
from typing import Any

import pyarrow as pa
import pyarrow.types as pt

from curate import schema
from curate.config import Config
from curate.report.facts import Facts
from curate.report.page import verdict
from curate.schema import Stage

HIDDEN = frozenset({"tar_offset", "tar_size", "matches"})
"""Columns that the shards' JSON files leave out."""

COLUMNS = {
    "key": "shard and index in it, zero-padded; the name of the pair's files",
    "uid": "128-bit hash of URL and caption, 32 hex digits, unless the input brought its own",
    "url": "where the image was fetched from",
    "caption": "the cleaned caption",
    "language": "of the caption, by fastText lid.176",
    "caption_chars": "length of the caption in code points",
    "caption_words": "length of the caption in words",
    "width": "of the stored image, pixels",
    "height": "of the stored image, pixels",
    "original_width": "of the image as fetched, pixels",
    "original_height": "of the image as fetched, pixels",
    "smaller_side": "of the image as fetched, pixels",
    "aspect": "larger over smaller side of the image as fetched",
    "image_bytes": "size of the image as fetched",
    "sha256": "of the image as fetched, hex",
    "cluster": "uid of the pair that stands for the cluster of duplicates",
    "cluster_size": "pairs in that cluster",
    "clip_score": "cosine similarity of image and caption under the scoring model",
    "keep_probability": "probability with which balancing kept the pair",
}

_MEDIA = {"jpg": "image/jpeg", "png": "image/png", "webp": "image/webp"}
RIGHTS = "Images and captions belong to their owners; the set grants no rights in them."


def json_fields(facts: Facts) -> list[Any]:
    """The columns of the shards' JSON files, as Arrow fields."""
    enabled = [stage for stage in Stage if stage in {s.stage for s in facts.funnel}]
    last = [stage for stage in enabled if stage in schema.ADDED][-1]
    columns = schema.after(last, enabled=enabled)
    return [pa.field("key", pa.string()), *(f for f in columns if f.name not in HIDDEN)]


def croissant(facts: Facts, *, config: Config, name: str) -> str | None:
    """The shards as Croissant JSON-LD, paths relative to the report; None without shards.

    Who publishes the set adds ``url``, ``license``, ``creator`` and ``datePublished``.
    """
    if not facts.shards:
        return None
    ending = config.download.encode_format
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
    inside = [{"@id": tar["@id"]} for tar in tars]
    sets = [
        {
            "@type": "cr:FileSet",
            "@id": identifier,
            "name": identifier,
            "containedIn": inside,
            "encodingFormat": media,
            "includes": pattern,
        }
        for identifier, media, pattern in (
            ("image-files", _MEDIA[ending], f"*.{ending}"),
            ("json-files", "application/json", "*.json"),
        )
    ]
    document = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        "name": name,
        "description": f"Image-text pairs for contrastive training. {verdict(facts)} {RIGHTS}",
        "version": "1.0.0",
        "distribution": [*tars, *sets],
        "recordSet": [_images(ending), _pairs(facts)],
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _images(ending: str) -> dict[str, Any]:
    files = {"fileSet": {"@id": "image-files"}}
    key = files | {
        "extract": {"fileProperty": "filename"},
        "transform": {"regex": rf"^(.+)\.{ending}$"},
    }
    image = files | {"extract": {"fileProperty": "content"}}
    return {
        "@type": "cr:RecordSet",
        "@id": "images",
        "name": "images",
        "description": "The images by key.",
        "key": {"@id": "images/key"},
        "field": [
            _field("images", "key", "sc:Text", key),
            _field("images", "image", "sc:ImageObject", image, "the stored image"),
        ],
    }


def _pairs(facts: Facts) -> dict[str, Any]:
    fields = []
    for column in json_fields(facts):
        extract = {"extract": {"jsonPath": f"$.{column.name}"}}
        source = {"fileSet": {"@id": "json-files"}} | extract
        fields.append(_field("pairs", column.name, _type(column), source))
    fields[0]["references"] = {"field": {"@id": "images/key"}}
    return {
        "@type": "cr:RecordSet",
        "@id": "pairs",
        "name": "pairs",
        "description": "Caption, origin and scores of each image.",
        "key": {"@id": "pairs/key"},
        "field": fields,
    }


def _field(
    records: str, name: str, kind: str, source: dict[str, Any], description: str = ""
) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": f"{records}/{name}",
        "name": name,
        "description": description or COLUMNS.get(name, name),
        "dataType": kind,
        "source": source,
    }


def _type(column: Any) -> str:
    if column.name == "url":
        return "sc:URL"
    if pt.is_integer(column.type):
        return "sc:Integer"
    return "sc:Float" if pt.is_floating(column.type) else "sc:Text"


_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
