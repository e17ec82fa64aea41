"""Settings of `dedup`, `decontaminate` and `semdedup`."""

from typing import Annotated, Literal, get_args

from pydantic import Field, field_validator

from curate.config.model import Fraction, Model, Positive
from curate.config.paths import FilePath

Policy = Literal["url", "image", "pair", "caption"]
_POLICIES = get_args(Policy)
_PRESETS = {"strict": ("url", "image", "caption")}


class Dedup(Model):
    """Which pairs are duplicates of each other, and which of a cluster survives.

    The survivor of a cluster is the first pair by `prefer`, then by the larger image, the longer
    caption, the smaller uid; where the pool has grown, first of all by when a pair came.
    """

    enabled: bool = Field(True, description="false: duplicates are kept")
    policy: tuple[Policy, ...] = Field(
        ("pair",),
        min_length=1,
        description="url: one pair a URL. image: one an image. pair: one of those with the same"
        " image and nearly the same caption. caption: one of those with nearly the same caption."
        " strict: url, image and caption",
    )
    url_keeps: Literal["one", "distinct_captions"] = Field(
        "one", description="with `url`: keep one pair of a URL, or one for each of its captions"
    )
    caption_keeps: Positive = Field(1, description="with `caption`: pairs to keep of a cluster")
    prefer: tuple[Annotated[str, Field(pattern=r"^-?[^-]")], ...] = Field(
        (),
        description="columns of prepare and download, and kept ones of the pool, that decide which pair"
        " survives: the higher value, with -COLUMN the lower, null last; ties go to the larger"
        " image, the longer caption, the smaller uid",
    )
    prefer_earlier: bool = Field(
        True,
        description="of a pool that has grown, the pair that came earlier stays, before `prefer` is"
        " looked at; false: as if all had come at once",
    )
    keep_captions: bool = Field(
        False,
        description="keep captions of dropped pairs with the survivor, as other_captions: bare texts;"
        " captions.NAME.duplicates makes captions of them",
    )
    normalise: bool = Field(
        True, description="compare captions without case, punctuation and width (NFKC)"
    )
    threshold: Fraction = Field(0.8, description="Jaccard similarity of two captions' shingles")
    num_perm: Positive = Field(128, description="MinHash permutations")
    ngram: Positive = Field(5, description="characters a shingle")
    image_distance: int = Field(
        31,
        ge=0,
        le=31,
        description="bits of 256 between two PDQ hashes up to which images count as the same, if their"
        " colour thumbnails agree, too (for images below 64 pixels a quarter of it, of the 64 bits of"
        " low frequencies); 0, or an image without a hash: only the same file",
    )

    @field_validator(
        "policy",
        mode="before",
        json_schema_input_type=Policy | Literal["strict"] | tuple[Policy, ...],
    )
    @classmethod
    def _preset_or_one(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        if value not in (*_POLICIES, *_PRESETS):
            known = ", ".join((*_POLICIES, *_PRESETS))
            raise ValueError(f"expected one of {known}, or a list of the first {len(_POLICIES)}")
        return _PRESETS.get(value, (value,))

    @field_validator("prefer", mode="before", json_schema_input_type=str | tuple[str, ...])
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @field_validator("prefer")
    @classmethod
    def _each_once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        names = [name.removeprefix("-") for name in value]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"{name!r} is listed twice")
        return value

    @field_validator("policy")
    @classmethod
    def _in_order(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(policy for policy in _POLICIES if policy in value)


class Decontaminate(Model):
    """Drops pairs that are in an evaluation set, before the image rules."""

    against: tuple[FilePath, ...] = Field(
        examples=[["evaluation.parquet"]],
        min_length=1,
        description="files of hashes that `curate hash` made of the sets",
    )
    image_distance: int = Field(
        31,
        ge=0,
        le=31,
        description="bits between two PDQ hashes up to which images count as the same; 0: only the same"
        " file",
    )
    captions: bool = Field(
        True, description="drop captions of the sets too, whatever their case and punctuation"
    )
    embedding_similarity: float | None = Field(
        None,
        gt=0,
        le=1,
        description="also drop images with this cosine to one of the sets, by the score model's"
        " embeddings; the files need them: curate hash --config",
    )


class SemDedup(Model):
    """Drops semantic duplicates (SemDeDup) among the pairs that all rules keep.

    By the image embeddings of the first model. In a cluster of k-means the pair that is farthest from
    the centroid comes first; ties go to the smaller uid.
    """

    epsilon: Fraction = Field(
        examples=[0.05],
        description="images with a cosine over 1 - epsilon are semantic duplicates; the share that it"
        " drops depends on the model and on the pool: try it on a sample",
    )
    against: Literal["kept", "earlier"] = Field(
        "kept",
        description="kept: a pair is compared with those that are kept. earlier: also with those that"
        " were dropped, as in the code of the paper",
    )
    clusters: Positive | None = Field(
        None, description="of k-means; default: one for 8,800 pairs, as in the paper"
    )
    sample: int = Field(
        4_000_000,
        ge=1_000,
        description="images that the centroids are found from, at most; held by one worker",
    )
