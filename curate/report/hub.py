"""The head of the data card: what a hub of data sets reads of a set, and how its loader reads shards.

The types of all columns stand there, so that ``datasets.load_dataset("RUN/shards")`` takes none from
the first samples, where a column may have nothing but nulls.
"""

import pyarrow as pa
import yaml

from curate import files, schema
from curate.config import Config
from curate.planning.asked import parquet_alone
from curate.report.facts import Facts
from curate.schema import OF_PARTS
from curate.summaries.counting import UNKNOWN

_TASKS = ["zero-shot-image-classification", "image-to-text", "text-to-image"]
_SIZES = ("1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B", "100B", "1T")
_NAMES = {"double": "float64", "float": "float32", "halffloat": "float16"}


def shard_columns(facts: Facts) -> pa.Schema:
    """The columns of the shards' parquet files."""
    written = {
        schema.CAPTIONS.field(0): pa.field("captions", schema.WRITTEN_CAPTIONS),
        schema.WITH_LENT.field(0): pa.field("captions", schema.WRITTEN_WITH_LENT),
    }
    of_pairs = (written.get(x, x) for x in facts.columns)
    return pa.schema([*schema.FRONT, *(x for x in of_pairs if x.name not in OF_PARTS)])


def front_matter(facts: Facts, *, config: Config, name: str) -> str:
    """The YAML in front of the data card of the set `name`, between its two lines of dashes."""
    found: dict[str, object] = {
        "pretty_name": name,
        "license": "other",
        "license_name": "rights-of-the-owners",
        "task_categories": _TASKS,
        # Hubs know languages by codes of ISO 639, without the script.
        "language": list(
            dict.fromkeys(
                x.language.partition("_")[0]
                for x in facts.languages
                if x.kept and x.language != UNKNOWN
            )
        ),
        "size_categories": [_size_category(facts.kept)],
        "tags": ["clip", "image-text-pairs", *(["webdataset"] if facts.shards else [])],
    }
    if facts.shards:
        columns = [x for x in shard_columns(facts) if x.name not in parquet_alone(config)]
        # The loader's cache key is made of these lines, not of the files: without the digest
        # it would take one run's shards for another's.
        digest = files.digest_of([shard.sha256 for shard in facts.shards])
        found["configs"] = [
            {"config_name": "default", "description": f"shards {digest}", "data_files": "*.tar"}
        ]
        found["dataset_info"] = {
            "features": [
                *({"name": x, "dtype": "image"} for x in facts.image_endings(config)),
                {"name": "txt", "dtype": "string"},
                {"name": "json", "struct": [{"name": x.name, **_kind(x.type)} for x in columns]},
                {"name": "__key__", "dtype": "string"},
                {"name": "__url__", "dtype": "string"},
            ]
        }
    return f"---\n{yaml.safe_dump(found, sort_keys=False, allow_unicode=True)}---\n"


def _size_category(pairs: int) -> str:
    """What hubs file a set of so many rows under.

    >>> _size_category(999), _size_category(400_000_000)
    ('n<1K', '100M<n<1B')
    """
    place = sum(pairs >= 10**power for power in range(3, 3 + len(_SIZES)))
    if place == len(_SIZES):
        return f"n>{_SIZES[-1]}"
    return f"{_SIZES[place - 1]}<n<{_SIZES[place]}" if place else f"n<{_SIZES[0]}"


def _kind(kind: pa.DataType) -> dict[str, object]:
    """A column's type as `datasets` writes it down."""
    if pa.types.is_list(kind):
        inner = _kind(kind.value_type)
        return {"list": inner.get("dtype", inner.get("struct", inner))}
    if pa.types.is_struct(kind):
        return {"struct": [{"name": x.name, **_kind(x.type)} for x in kind]}
    return {"dtype": _NAMES.get(str(kind), str(kind))}
