"""The settings of a run: one frozen tree, checked before anything starts."""

import ipaddress
import re
from collections.abc import Iterator
from typing import Annotated, Literal, TypeGuard, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from curate.schema import Kind, kept_name

Positive = Annotated[int, Field(gt=0)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Interpolation = Literal[
    "nearest", "linear", "bilinear", "cubic", "bicubic", "area", "lanczos", "lanczos4"
]
_HOST = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")
LOCAL_RUNNER = "FnApiRunner"
COLUMN_NAME = "^[a-z][a-z0-9_]*$"


class Model(BaseModel):
    """Frozen; an unknown key is an error. A default has its field's type, as it has once read back."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False
    )

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_value_for_a_number(cls, value: object, info: ValidationInfo) -> object:
        kinds = _kinds(cls.model_fields[info.field_name or ""].annotation)
        values = value if isinstance(value, list | tuple) else (value,)
        if kinds & {int, float} and bool not in kinds and any(isinstance(x, bool) for x in values):
            raise ValueError("input should be a number")
        return value


def _kinds(annotation: object) -> set[object]:
    """The types that an annotation consists of."""
    if get_origin(annotation) is Literal:
        return set()
    inner = get_args(annotation)
    return set().union(*map(_kinds, inner)) if inner else {annotation}


class Columns(Model):
    """Names of the input's columns."""

    url: str = Field("url", description="of the images' URLs")
    caption: str = Field("caption", description="of the captions")
    uid: str | None = Field(
        None,
        description="128 bits as 32 hex digits; else from url + caption. Pairs that share one are kept"
        " apart, but are sampled, subset and revoked together",
    )
    blur_boxes: str | None = Field(
        None,
        description="boxes to blur in each image: lists of left, top, right and bottom, as shares of"
        " its width and height",
    )
    keep: tuple[str, ...] | dict[str, Kind] = Field(
        (),
        description="further columns that travel with each pair, for rules and the shards: names, or"
        " names with types; default: as in the pool. One that curate has too becomes pool_NAME",
    )

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

    paths: tuple[str, ...] = Field(min_length=1, description="files, folders or globs")
    format: Literal[
        "auto", "parquet", "csv", "tsv", "quoted-tsv", "jsonl", "wat", "warc", "img2dataset",
        "webdataset",
    ] = Field("auto", description="auto: by each file's name, else its content")  # fmt: skip
    columns: Columns = Columns()
    max_dead_fraction: float = Field(
        0.1,
        ge=0,
        le=1,
        description="the run fails where more of the files, or of the rows, cannot be used; one bad"
        " row of several is no failure, unless this is 0",
    )

    @field_validator("paths", mode="before", json_schema_input_type=str | tuple[str, ...])
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value


class Unsure(Model):
    """What the language of a caption is where the model is not sure of it."""

    below: Fraction = Field(description="the probability of the most likely one, language_score")
    language: str = Field(description="ISO code of the language that such captions count as")


class Prepare(Model):
    """Text: cleaning, language, entry matching."""

    languages: tuple[str, ...] | None = Field(
        None, description="keep captions in these (ISO codes); default: those with metadata, or all"
    )
    unsure: Unsure | None = Field(
        None, description="keep captions in a language, though the model takes them for another"
    )
    metadata: dict[str, str] = Field(
        default_factory=dict, description="entry list of each language, one entry a line"
    )
    words_in: str | None = Field(
        None, description="words to count in captions as words_in_list, one a line, lower case"
    )
    uids_in: str | None = Field(
        None,
        description="DataComp subset file (.npy of u8,u8, sorted): keep the pairs whose uids it has",
    )


class Download(Model):
    """Fetching and encoding images."""

    enabled: bool = Field(True, description="false: text stages only, and no shards")
    timeout: float = Field(
        30.0, gt=0, description="seconds for one attempt, from the name's look-up to the last byte"
    )
    retries: int = Field(2, ge=0, description="further attempts after a transient failure")
    concurrency: Positive = Field(128, description="requests in flight a worker")
    per_host: Positive = Field(16, description="requests in flight at one host a worker")
    per_host_rate: float | None = Field(
        None, gt=0, description="requests a second to one host a worker; default: no such limit"
    )
    max_bytes: Positive = Field(50_000_000, description="largest body, bytes")
    max_pixels: Positive = Field(89_478_484, description="largest image, pixels")
    max_pixels_per_byte: float = Field(
        1_000, gt=0, description="over it, an image of more than 1,048,576 pixels is a bomb"
    )
    decode_timeout: float = Field(60.0, gt=0, description="seconds for one image, then it is hung")
    max_redirects: int = Field(5, ge=0, description="followed for one URL")
    user_agent: str = Field(
        "Mozilla/5.0 (compatible; curate/0.1; +https://pypi.org/project/curate)",
        description="what hosts see as the name of this program",
    )
    contact: str | None = Field(
        None, pattern=r"^[!-'*-~]+$", description="mail or URL of who runs this, for the user agent"
    )
    opt_out: tuple[str, ...] = Field(
        ("noai", "noimageai", "noindex", "noimageindex", "tdm-reservation"),
        description="X-Robots-Tag directives, and the header tdm-reservation, that drop the image",
    )
    opt_out_list: str | None = Field(
        None,
        description="file of hosts (with their subdomains) and URLs to leave alone, one a line",
    )
    robots: bool = Field(True, description="ask only for what each host's robots.txt permits")
    connect_to: dict[str, str] = Field(
        default_factory=dict,
        description="HOST: ADDRESS:PORT to dial in its place; the only way to a private address",
    )
    image_size: Positive = Field(256, description="pixels, of the side that resize_mode means")
    resize_mode: Literal["no", "keep_ratio", "keep_ratio_largest", "center_crop", "border"] = Field(
        "keep_ratio",
        description="keep_ratio: the smaller side becomes image_size; keep_ratio_largest: the larger;"
        " center_crop: a square, cut; border: a square, padded; as in img2dataset",
    )
    only_if_bigger: bool = Field(True, description="leave smaller images as they are")
    upscale_interpolation: Interpolation = Field("lanczos", description="where an image grows")
    downscale_interpolation: Interpolation = Field("area", description="where it shrinks")
    fast_decode: bool = Field(
        False,
        description="decode JPEGs at a fraction of their size: twice as fast, nearly the same",
    )
    skip_reencode: bool = Field(
        False, description="store the file itself where nothing needs to change"
    )
    disable_all_reencoding: bool = Field(
        False, description="store each file as it came, EXIF included; decoded for its hash alone"
    )
    keep_exif: bool = Field(False, description="EXIF tags as JSON in the column `exif`")
    encode_format: Literal["jpg", "png", "webp"] = Field("jpg", description="of stored images")
    encode_quality: int = Field(95, ge=0, le=100, description="png: compression level, 0 to 9")
    faces: Literal["find", "blur"] | None = Field(
        None,
        description="find: their boxes as the column `face_boxes`, their number as `faces`. blur: none"
        " is stored sharp either. A face is found from a 64th of the image's longer side on",
    )
    perceptual_hash: bool = Field(True, description="compute the PDQ hash of each image")
    block_lists: tuple[str, ...] = Field(
        (), description="files of hashes (md5, sha256, PDQ) of images that must not be stored"
    )
    block_distance: int = Field(
        31, ge=0, le=31, description="bits between the PDQ hashes of what counts as one picture"
    )

    @field_validator("user_agent")
    @classmethod
    def _one_line(cls, value: str) -> str:
        if not re.fullmatch("[ -~]+", value):
            raise ValueError("one line of printable ASCII is what fits into a header")
        return value

    @field_validator("connect_to")
    @classmethod
    def _addresses(cls, value: dict[str, str]) -> dict[str, str]:
        for host, target in value.items():
            address, _, port = target.rpartition(":")
            bare = address[1:-1] if address.startswith("[") else address
            try:
                fits = (":" in bare) is (bare != address) and bool(ipaddress.ip_address(bare))
            except ValueError:
                fits = False
            if not fits or not re.fullmatch("[0-9]{1,5}", port) or not 0 < int(port) < 65_536:
                raise ValueError(
                    f"{host}: expected ADDRESS:PORT, such as 127.0.0.1:80 or [::1]:80, not {target!r}"
                )
            if not _HOST.fullmatch(host):
                raise ValueError(f"expected a HOST or HOST:PORT, not {host!r}")
        return value

    @model_validator(mode="after")
    def _png_level(self) -> "Download":
        if self.encode_format == "png" and self.encode_quality > 9:
            raise ValueError("encode_quality is a compression level from 0 to 9 for png")
        return self

    @model_validator(mode="after")
    def _decoded(self) -> "Download":
        if self.faces and self.disable_all_reencoding:
            raise ValueError(
                "faces and disable_all_reencoding, which decodes nothing, exclude each other"
            )
        return self


Policy = Literal["url", "image", "pair", "caption"]
_POLICIES = get_args(Policy)
_PRESETS = {"strict": ("url", "image", "caption")}


class Dedup(Model):
    """Which pairs are duplicates of each other, and what stays of a cluster of them.

    Of a cluster the pair with the larger image stays, then the longer caption, then the smaller uid.
    """

    enabled: bool = Field(True, description="false: duplicates stay")
    policy: tuple[Policy, ...] = Field(
        ("pair",),
        min_length=1,
        description="url: one pair a URL. image: one an image. pair: one of those with the same"
        " image and nearly the same caption. caption: one of those with nearly the same caption."
        " strict: url, image and caption",
    )
    url_keeps: Literal["one", "distinct_captions"] = Field(
        "one", description="under `url`: one pair, or one of each of its captions"
    )
    caption_keeps: Positive = Field(1, description="under `caption`: pairs of a cluster")
    keep_captions: bool = Field(
        False, description="keep captions of dropped pairs with the survivor, as other_captions"
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
        description="bits of 256 between the PDQ hashes of what counts as the same image, if both look"
        " the same in small, with their colours; 0, or an image without a hash: only the same file",
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

    @field_validator("policy")
    @classmethod
    def _in_order(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(policy for policy in _POLICIES if policy in value)


class Decontaminate(Model):
    """Drops pairs that are in an evaluation set, before the image rules."""

    against: tuple[str, ...] = Field(
        min_length=1, description="files of hashes that `curate hash` made of the sets"
    )
    image_distance: int = Field(
        31,
        ge=0,
        le=31,
        description="bits between the PDQ hashes of what counts as one image; 0: only the same file",
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
    """Drops pairs whose image means what another's does (SemDeDup), of those that all rules keep.

    By the embeddings of the first model. Inside a cluster of k-means the pair that is farthest from
    the centroid comes first, then the smaller uid.
    """

    epsilon: Fraction = Field(
        description="images with a cosine over 1 - epsilon mean the same; what share that drops"
        " depends on the model and on the pool: try it on a part"
    )
    against: Literal["kept", "earlier"] = Field(
        "kept",
        description="kept: a pair is dropped for one that stays. earlier: also for one that was"
        " dropped itself, as the code of the paper does it",
    )
    clusters: Positive | None = Field(
        None, description="of k-means; default: one for 8,800 pairs, as in the paper"
    )
    sample: int = Field(
        4_000_000,
        ge=1_000,
        description="images that the centroids are found from, at most; held by one worker",
    )


class Scorer(Model):
    """An open_clip model and how it is run."""

    model: str = Field(description="open_clip name, hf-hub: id, or the path of a model config")
    pretrained: str | None = Field(None, description="open_clip tag or path of a checkpoint")
    batch_size: Positive | None = Field(
        None, description="pairs in one forward pass; default: 16 on a CPU, 256 on a GPU"
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="auto: bf16 on a GPU that has it, else fp16; fp32 on a CPU"
    )
    compile: bool = Field(False, description="run the model through torch.compile")
    embeddings: bool = Field(
        False, description="store those of image and caption (fp16) as part-*.npz beside the scores"
    )


class NegClipLoss(Model):
    """The column `neg_clip_loss`: the agreement of each pair beyond that of others in its batch."""

    batches: Positive = Field(10, description="times that batches are drawn; their mean counts")
    batch_size: Positive = Field(32_768, description="pairs a batch, about")
    temperature: float = Field(0.01, gt=0, description="tau of the contrastive loss")


class NormSim(Model):
    """The column `norm_sim`: how near the image is to a target set."""

    target: str = Field(
        description="image embeddings of the same model: .npy, .npz, or a folder of them such as"
        " another run's score/annotated"
    )
    norm: Literal["max", 2] = Field(
        "max", description="max: the highest cosine; 2: the root of the sum of their squares"
    )


class NearestTarget(Model):
    """The column `nearest_target`: whether the image lies in a cluster that a target set lies in."""

    target: str = Field(description="image embeddings, as for norm_sim")
    clusters: Positive = Field(100_000, description="centroids of the pool's images, at most")
    sample: Positive = Field(
        4_000_000, description="images that the centroids are found from, about; held by one worker"
    )


class SimCore(Model):
    """The column `simcore`: the round in which the image was taken for a target set, null if never.

    Each round takes the nearest image that is left to each centroid of the target set.
    """

    target: str = Field(description="image embeddings, as for norm_sim")
    keep: Positive = Field(description="images to take; one worker holds so many for each centroid")
    clusters: Positive = Field(100, description="centroids of the target set, at most")
    tau: Fraction | None = Field(
        None,
        description="end before a round whose images are, on average, nearer by less than this share"
        " of the first round's; the paper's is 0.95",
    )


class Score(Scorer):
    """Image-text alignment by an open_clip model."""

    also: dict[Annotated[str, Field(pattern=COLUMN_NAME)], Scorer] = Field(
        default_factory=dict, description="further models, each by the name of its column"
    )
    neg_clip_loss: NegClipLoss | None = Field(None, description="needs `embeddings`")
    norm_sim: NormSim | None = Field(None, description="needs `embeddings`")
    nearest_target: NearestTarget | None = Field(None, description="needs `embeddings`")
    simcore: SimCore | None = Field(None, description="needs `embeddings`")
    accelerator: str = Field(
        "type:nvidia-tesla-t4;count:1;install-nvidia-driver", description="hint for the workers"
    )
    min_ram: str = Field("16GB", description="hint for the workers")

    @property
    def scorers(self) -> dict[str, Scorer]:
        """All models by the name of their column; this one comes last, under an empty name."""
        return {**self.also, "": self}

    @property
    def derived(self) -> dict[str, NegClipLoss | NormSim | NearestTarget | SimCore]:
        """What is made of the first model's embeddings, by the name of its column."""
        asked = {
            "neg_clip_loss": self.neg_clip_loss,
            "norm_sim": self.norm_sim,
            "nearest_target": self.nearest_target,
            "simcore": self.simcore,
        }
        return {name: one for name, one in asked.items() if one is not None}

    @model_validator(mode="after")
    def _stored(self) -> "Score":
        for name in self.derived:
            if not self.embeddings:
                raise ValueError(f"{name} is made of stored embeddings: set embeddings: true")
        return self


class FurtherScore(Model):
    """A score of a kind of its own."""

    kind: Literal["relations", "actions", "profanity", "text_area", "text_overlap", "masked_clip",
                  "nsfw", "head"] = Field(
        description="relations, actions, profanity: of the caption (English). text_area: share of the"
        " image. text_overlap: share of the caption that is written in the image. masked_clip: the"
        " model's score once text is masked. nsfw: probability. head: of CLIP image embeddings"
    )  # fmt: skip
    parser: str | None = Field(
        None, description="spaCy package for relations and actions; default: en_core_web_sm"
    )
    weights: str | None = Field(
        None, description="file of a head's linear layers: .pt, .pth, .safetensors or .npy"
    )
    activation: Literal["none", "relu"] = Field(
        "none", description="between the layers of a head; LAION's aesthetic heads have none"
    )

    @model_validator(mode="after")
    def _fits(self) -> "FurtherScore":
        if (self.weights is not None) != (self.kind == "head"):
            raise ValueError("`weights` and kind head go together")
        if self.activation != "none" and self.kind != "head":
            raise ValueError(f"`activation` is of a head, not of {self.kind}")
        if self.parser is not None and self.kind not in ("relations", "actions"):
            raise ValueError(f"`parser` is of relations and actions, not of {self.kind}")
        return self


class Rule(Model):
    """Keep the pairs whose `column` satisfies all the conditions given; a null satisfies none.

    `any_of` and `all_of` hold further rules in place of a column, and need a `name`.
    """

    name: str = Field("", description="in the ledger; default: the column")
    column: str | None = Field(
        None, description="what the rule is over; docs/reference.md lists them"
    )
    min: float | None = Field(None, description="lowest value to keep")
    max: float | None = Field(None, description="highest value to keep")
    between: tuple[float, float] | None = Field(None, description="lowest and highest to keep")
    in_: tuple[bool | str | int | float, ...] | None = Field(
        None, alias="in", description="values to keep"
    )
    not_in: tuple[bool | str | int | float, ...] | None = Field(
        None, description="values not to keep"
    )
    same_as: str | None = Field(
        None, description="keep where this other column has the same value, as a hash that was told"
    )
    top_fraction: float | None = Field(
        None, gt=0, le=1, description="of the pairs that reach the stage, highest first"
    )
    per: str | None = Field(
        None, description="top_fraction of each group that has one value in this column"
    )
    any_of: tuple["Rule", ...] | None = Field(
        None, description="rules of which one has to hold, in place of a column"
    )
    all_of: tuple["Rule", ...] | None = Field(
        None, description="rules that all have to hold, in place of a column"
    )

    @model_validator(mode="after")
    def _something(self) -> "Rule":
        conditions = (
            self.min, self.max, self.between, self.in_, self.not_in, self.same_as, self.top_fraction
        )  # fmt: skip
        given = [condition for condition in conditions if condition is not None]
        forms = [self.column, self.any_of, self.all_of]
        if sum(form is not None for form in forms) != 1 or (given and self.column is None):
            raise ValueError("a rule is over one `column`, or else has one of any_of and all_of")
        if self.column is not None and not given:
            raise ValueError(
                "a rule needs one of min, max, between, in, not_in, same_as, top_fraction (or any_of,"
                " all_of)"
            )
        if self.per is not None and self.top_fraction is None:
            raise ValueError("`per` says of what groups top_fraction is, and there is none")
        for low, high, what in ((self.min, self.max, "min {} is over max {}"),
                                (*(self.between or (None, None)), "between {} and {}")):  # fmt: skip
            if low is not None and high is not None and low > high:
                raise ValueError(f"{what.format(f'{low:g}', f'{high:g}')}: nothing could be kept")
        for key, rules in (("any_of", self.any_of), ("all_of", self.all_of)):
            if rules is not None and not rules:
                raise ValueError(f"{key} holds no rule")
            for rule in rules or ():
                if rule.name:
                    raise ValueError(
                        f"{rule.name!r} stands in {key}: only the rule around it has a name"
                    )
        return self

    @property
    def label(self) -> str:
        """The rule's name in the ledger."""
        return self.name or self.column or ""

    def leaves(self) -> Iterator["Rule"]:
        """The rules over a column that this one consists of, itself if it is one."""
        if self.column is not None:
            yield self
        for rule in (*(self.any_of or ()), *(self.all_of or ())):
            yield from rule.leaves()

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the rule looks at, those of `per` and `same_as` included."""
        named = [name for leaf in self.leaves() for name in (leaf.column, leaf.same_as, leaf.per)]
        return tuple(dict.fromkeys(name for name in named if name is not None))

    @property
    def has_quantile(self) -> bool:
        """Whether the rule can only be applied once all pairs are known."""
        return any(leaf.top_fraction is not None for leaf in self.leaves())


class Wfpp(Model):
    """Pruning by word frequency, which needs no metadata."""

    fraction: Fraction = Field(description="of the pairs to keep: those whose words are rarest")
    threshold: float = Field(
        1e-7,
        gt=0,
        lt=1,
        description="share of all words up to which a word does not count as frequent",
    )


class Balance(Model):
    """MetaCLIP balancing by one of `t`, `p` and `size`, or `wfpp` in its place."""

    t: float | None = Field(None, gt=0, description="pairs an entry before it is sampled down")
    p: Fraction | None = Field(None, description="share of the matches that lies in the tail")
    size: Positive | None = Field(None, description="expected number of pairs to keep")
    wfpp: Wfpp | None = Field(None, description="prune pairs of frequent words, without metadata")
    reference: str = Field("en", description="the language whose t is given; its p goes to others")

    @model_validator(mode="after")
    def _exactly_one(self) -> "Balance":
        if sum(x is not None for x in (self.t, self.p, self.size, self.wfpp)) != 1:
            raise ValueError("give exactly one of t, p, size and wfpp")
        return self


class Shards(Model):
    """WebDataset output."""

    rows: Positive = Field(10_000, description="pairs a shard")


class Beam(Model):
    """The engine; nothing here changes the output."""

    runner: str = Field(LOCAL_RUNNER, description="name of a Beam runner; this one is local")
    workers: Positive = Field(1, description="local worker processes")
    options: tuple[str, ...] = Field((), description="further Beam options, as on a command line")


class Config(Model):
    """A whole run."""

    input: Input
    out: str | None = Field(None, description="the run directory, any fsspec URL")
    seed: int = Field(0, description="of the balancing's chance")
    part_rows: Positive = Field(
        10_000, le=1_000_000, description="pairs a part, the unit of work and of resume"
    )
    prepare: Prepare = Prepare()
    download: Download = Download()
    decontaminate: Decontaminate | None = None
    dedup: Dedup = Dedup()
    score: Score | None = None
    scores: dict[Annotated[str, Field(pattern=COLUMN_NAME)], FurtherScore] = Field(
        default_factory=dict, description="further scores, each by the name of its column"
    )
    select: tuple[Rule, ...] = Field(
        (),
        description="rules: each drops the pairs that do not satisfy it, at the first stage that"
        " has its columns",
    )
    semdedup: SemDedup | None = None
    balance: Balance | None = None
    shards: Shards = Shards()
    beam: Beam = Beam()

    @model_validator(mode="after")
    def _consistent(self) -> "Config":
        by_entries = self.balance if self.balance and not self.balance.wfpp else None
        if by_entries and not self.prepare.metadata:
            raise ValueError("balance needs prepare.metadata, an entry list to match captions with")
        if by_entries and by_entries.reference not in self.prepare.metadata:
            have = ", ".join(sorted(self.prepare.metadata))
            raise ValueError(
                f"balance.reference is {by_entries.reference!r} but prepare.metadata has only {have}"
            )
        for language in self.prepare.languages or ():
            if self.prepare.metadata and language not in self.prepare.metadata:
                raise ValueError(f"prepare.languages: {language!r} has no list in prepare.metadata")
        languages = self.prepare.languages or tuple(self.prepare.metadata)
        unsure = self.prepare.unsure
        if unsure and languages and unsure.language not in languages:
            raise ValueError(
                f"prepare.unsure.language: {unsure.language!r} is none of those that are kept"
                f" ({', '.join(languages)}); to drop such captions, a rule over language_score does"
            )
        for name, further in self.scores.items():
            of_caption = further.kind in ("relations", "actions", "profanity")
            if not self.download.enabled and not of_caption:
                raise ValueError(f"scores.{name}: {further.kind} needs images; enable download")
            if further.kind == "masked_clip" and self.score is None:
                raise ValueError(
                    f"scores.{name}: masked_clip needs score.model, which scores again"
                )
            if further.kind == "head" and not (self.score and self.score.embeddings):
                raise ValueError(
                    f"scores.{name}: a head needs score.model and score.embeddings: true"
                )
        if self.input.columns.blur_boxes and self.download.disable_all_reencoding:
            raise ValueError(
                "input.columns.blur_boxes: nothing is blurred with download.disable_all_reencoding"
            )
        kept = [kept_name(name) for name in self.input.columns.keep]
        for name in kept:
            if kept.count(name) > 1:
                raise ValueError(f"input.columns.keep: {name!r} would stand there twice")
            if name in {**self.scores, **(self.score.also if self.score else {})}:
                raise ValueError(
                    f"input.columns.keep: {name!r} is the name of a score, too: rename the score"
                )
        if self.decontaminate and not self.download.enabled:
            raise ValueError("decontaminate needs download.enabled: it looks at images")
        near = self.decontaminate and self.decontaminate.image_distance
        if near and not self.download.perceptual_hash:
            raise ValueError(
                "decontaminate needs download.perceptual_hash; or set decontaminate.image_distance: 0"
            )
        by_embedding = {
            "semdedup": self.semdedup,
            "decontaminate.embedding_similarity": self.decontaminate
            and self.decontaminate.embedding_similarity,
        }
        has_embeddings = self.download.enabled and self.score and self.score.embeddings
        for key, asked in by_embedding.items():
            if asked is not None and not has_embeddings:
                raise ValueError(
                    f"{key} compares stored embeddings: set score.model and score.embeddings: true"
                )
        labels = [rule.label for rule in self.select]
        if "" in labels:
            raise ValueError("a select rule with any_of or all_of needs a `name` for the ledger")
        for label in labels:
            if labels.count(label) > 1:
                raise ValueError(f"two select rules are called {label!r}: give them a `name` each")
        return self


def is_file_name(name: str | None) -> TypeGuard[str]:
    """Whether a model or checkpoint is given as a file, not by its name at open_clip or a hub."""
    if not name or name.startswith("hf-hub:"):
        return False
    return "/" in name or name.endswith((".json", ".pt", ".safetensors"))
