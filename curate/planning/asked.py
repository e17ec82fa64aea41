"""What a configuration asks for: which models, further scores and columns of embeddings."""

from collections.abc import Mapping

import pyarrow as pa

from curate import files, schema
from curate.config import ENTITIES, Config, Download, FurtherScore, Model, Scorer
from curate.ops.captions import Choice
from curate.ops.images.encoder import ImageEncoder
from curate.ops.scores.clip import ClipModel
from curate.ops.scores.kinds import BESIDE, KINDS
from curate.ops.scores.scoring import ScoreSpec
from curate.ops.text.language import CountsAs
from curate.planning.own_scores import spec_of
from curate.pool.joined import UserTable

PARSER = "en_core_web_sm"
"""The parser of captions where none is named."""


def runs_model(config: Config) -> bool:
    """Whether image and caption are scored by an open_clip model."""
    return config.download.enabled and config.score is not None


def measured(config: Config) -> dict[str, FurtherScore]:
    """The further scores of the project's own with a step of their own, joined by the model's."""
    apart = ("head", "python", "table", *BESIDE)
    return {name: x for name, x in config.scores.items() if x.kind not in apart}


def headed(config: Config) -> dict[str, FurtherScore]:
    """The further scores that are heads, a part of the model's step."""
    return {name: one for name, one in config.scores.items() if one.kind == "head"}


def score_spec(name: str, config: Config) -> ScoreSpec:
    """What to load for the further score `name`."""
    further = config.scores[name]
    more: dict[str, object] = {}
    if further.kind in ("relations", "actions"):
        more["parser"] = further.parser or PARSER
    if further.kind in KINDS and KINDS[further.kind].model and config.score:
        more["model"] = clip_model(config.score, config.score.workers)
    if further.weights is not None:
        more["weights"] = files.absolute(further.weights)
    return spec_of(name, further, **more)


def clip_model(scorer: Scorer, workers: int | None = None) -> ClipModel:
    """What to load for a scorer, in so many processes a machine (`score.workers`)."""
    given = scorer.model_dump(include=set(ClipModel.__dataclass_fields__))
    return ClipModel(**{**given, "workers": workers})


def image_encoder(download: Download, **more: bool) -> ImageEncoder:
    """What makes the stored form of an image; `more` are fields that no setting of theirs gives."""
    given = download.model_dump(include=set(ImageEncoder.__dataclass_fields__))
    return ImageEncoder(**(given | {"image_size": download.stored_size} | more))


def sized_by_pool(config: Config) -> bool:
    """Whether rules are over sizes of images that nobody fetches: those are the pool's own."""
    asked = {name for rule in config.select for name in rule.columns}
    return not config.download.enabled and not asked.isdisjoint(schema.SIZED.names)


def keeps_unmatched(config: Config) -> bool:
    """Whether pairs that match no entry reach the balance: it looks at their nouns as well."""
    asked = config.balance.adaptive if config.balance else None
    return asked is not None and asked.nouns is not None


def parquet_alone(config: Config) -> frozenset[str]:
    """Columns of the shards' parquet files that their JSON files leave out.

    Ids of entries are, but for those that a trainer samples by.
    """
    seen = {name for name, one in config.scores.items() if one.kind == ENTITIES}
    balance = config.balance
    sampled = {balance.column} if balance is not None and balance.is_online else set()
    words = {f"{name}_words" for name in words_of(config)}
    return frozenset((schema.PARQUET_ALONE | seen | words) - sampled)


def words_of(config: Config) -> list[str]:
    """The scores that judge each word of a caption, which stand in the column NAME_words."""
    return [name for name, one in config.scores.items() if one.kind == "misaligned_words"]


def caption_tables(config: Config) -> dict[str, UserTable]:
    """The tables of the user's that captions come from, by source."""
    return {
        name: UserTable(
            source.path, source.key or source.on, ((source.column or "caption", "string"),),
            called=f"captions.{name}.path",
        )
        for name, source in config.captions.items()
        if source.path
    }  # fmt: skip


def captions_in(config: Config) -> pa.Schema:
    """The columns that prepare adds of several captions."""
    if not config.captions:
        return pa.schema([])
    return schema.WITH_LENT if lending(config) else schema.CAPTIONS


def lending(config: Config) -> str | None:
    """The source of captions that duplicates lend to the pairs that they are dropped for."""
    return next((name for name, source in config.captions.items() if source.duplicates), None)


def choice_of(config: Config) -> Choice:
    """Which of a pair's captions is chosen."""
    return Choice(config.caption.choose, config.caption.by, config.seed)


REST = "*"
"""The key of `prepare.counts_as` that stands for all languages without a list."""


def counts_as(config: Config) -> CountsAs | None:
    """Which languages count as another."""
    asked = dict(config.prepare.counts_as)
    if not asked:
        return None
    rest = asked.pop(REST, None)
    return CountsAs(asked, rest=rest, lists=frozenset(config.prepare.metadata))


def text_columns(config: Config) -> dict[str, str]:
    """The columns of the pool that captions and tags come from, by the key that names each."""
    named = {
        f"captions.{x}.column": one.column for x, one in config.captions.items() if not one.path
    }
    if config.input.columns.tags:
        named["input.columns.tags"] = config.input.columns.tags.column
    return {name: column for name, column in named.items() if column}


def keeps_shards(config: Config) -> bool:
    """Whether the shards of a set that grows stay: not where they would not be even any more.

    Nor where they say how likely each pair is kept, or how often it was drawn.
    """
    asked = config.balance
    says = asked is not None and (asked.writes_all or asked.soft_cap is not None)
    return not (config.shards.rewrite or config.shards.is_even or says)


def derived_of(config: Config) -> Mapping[str, Model]:
    """What is made of what the first model of `config` stores, by column."""
    if config.score is None or not runs_model(config):
        return {}
    found: dict[str, Model] = {**config.score.derived}
    sets = config.decontaminate
    if sets is not None and sets.embedding_similarity is not None:
        found[schema.SIMILARITY] = sets
    if config.caption.alip is not None:
        found[schema.CAPTION_WEIGHTS] = config.caption.alip
    return found
