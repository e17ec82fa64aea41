"""The shards for machines: ``croissant.json``, Croissant 1.1 (JSON-LD), as mlcroissant reads it.

Only images and captions are described: mlcroissant does not read JSON inside an archive. The data
card lists the columns of the JSON files.
"""

import json
from typing import Any

from curate.config import Config
from curate.report.facts import Facts
from curate.report.page import verdict

_MEDIA = {"jpg": "image/jpeg", "png": "image/png", "webp": "image/webp"}
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
            ("image-files", _one([_MEDIA[x] for x in endings]), _one([f"*.{x}" for x in endings])),
            ("caption-files", "text/plain", "*.txt"),
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
        "recordSet": [
            _records("image", "sc:ImageObject", files="image-files", ending="|".join(endings)),
            _records("caption", "sc:Text", files="caption-files", ending="txt"),
        ],
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _one(values: list[str]) -> str | list[str]:
    return values[0] if len(values) == 1 else values


def _records(name: str, kind: str, *, files: str, ending: str) -> dict[str, Any]:
    """A record set of keys and the contents of the files with `ending`, a regular expression."""
    of_set = {"fileSet": {"@id": files}}
    key = of_set | {
        "extract": {"fileProperty": "filename"},
        "transform": {"regex": rf"^(.+)\.(?:{ending})$"},
    }
    content = of_set | {"extract": {"fileProperty": "content"}}
    plural = f"{name}s"
    fields = (
        ("key", "sc:Text", "shard and index in it, zero-padded", key),
        (name, kind, f"the {name} of the pair", content),
    )
    return {
        "@type": "cr:RecordSet",
        "@id": plural,
        "name": plural,
        "description": f"The {plural} by key; image and caption of a pair have the same key.",
        "key": {"@id": f"{plural}/key"},
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"{plural}/{field}",
                "name": field,
                "description": description,
                "dataType": data_type,
                "source": source,
            }
            for field, data_type, description, source in fields
        ],
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
