"""Settings of the download."""

import ipaddress
import re
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, field_serializer, field_validator, model_validator

from curate.config.model import Model, Positive
from curate.config.paths import FilePath
from curate.errors import hidden
from curate.reasons import DropReason

Interpolation = Literal[
    "nearest", "linear", "bilinear", "cubic", "bicubic", "area", "lanczos", "lanczos4"
]
_HOST = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")

_MAKING = ("image_size", "resize_mode", "only_if_bigger", "upscale_interpolation",
           "downscale_interpolation", "encode_format", "encode_quality")  # fmt: skip
"""Settings of how images are resized and encoded."""

_PROXY = re.compile(
    r"https?://([^/@\s:]+(:[^/@\s]*)?@)?([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}/?"
)


@dataclass(frozen=True)
class Change:
    """The effect of a changed setting on the rows that were fetched with its old value.

    `stage`: the stage is added or removed. `fetch`: all images are fetched again. `judge`: stored rows
    are judged again, and fetched again only where their columns do not suffice. `ask`: none, since it
    only changes how requests are made; failures that it may mend are retried on request.
    """

    redoes: Literal["stage", "fetch", "judge", "ask"]
    mends: frozenset[DropReason] = frozenset()
    if_set: bool = False  # at its default not in digests, for runs that are older than the setting
    lists: bool = False  # names files, whose content is in the digests instead


_FETCH, _JUDGE = Change("fetch"), Change("judge")
_LISTS = Change("judge", lists=True)
_CONNECTS = (DropReason.DNS, DropReason.REFUSED, DropReason.RESET, DropReason.TIMEOUT,
             DropReason.TLS, DropReason.PROTOCOL)  # fmt: skip
_BUSY = DropReason.TIMEOUT, DropReason.RESET, DropReason.HTTP_429, DropReason.HTTP_5XX


def _ask(*mends: DropReason) -> Change:
    return Change("ask", mends=frozenset(mends))


_WAY, _PACE = _ask(*_CONNECTS, DropReason.FORBIDDEN_ADDRESS), _ask(*_BUSY)
_WHO = _ask(DropReason.HTTP_403, DropReason.HTTP_429)


class Download(Model):
    """Fetching and encoding images."""

    enabled: Annotated[bool, Change("stage")] = Field(
        True, description="false: text stages only, and no shards"
    )
    timeout: Annotated[float, _ask(DropReason.TIMEOUT)] = Field(
        30.0, gt=0, description="seconds for one attempt, from the DNS look-up to the last byte"
    )
    retries: Annotated[int, _ask(*_CONNECTS, *_BUSY)] = Field(
        2, ge=0, description="further attempts after a transient failure"
    )
    concurrency: Annotated[Positive, _PACE] = Field(128, description="requests in flight a worker")
    per_host: Annotated[Positive, _PACE] = Field(
        16, description="requests in flight at one host a worker"
    )
    per_host_rate: Annotated[float | None, _PACE] = Field(
        None, gt=0, description="requests a second to one host a worker; default: no such limit"
    )
    max_bytes: Annotated[Positive, _JUDGE] = Field(50_000_000, description="largest body, bytes")
    max_pixels: Annotated[Positive, _JUDGE] = Field(89_478_484, description="largest image, pixels")
    max_pixels_per_byte: Annotated[float, _JUDGE] = Field(
        1_000,
        gt=0,
        description="an image over it, and over 1,048,576 pixels, is a decompression bomb",
    )
    decode_timeout: Annotated[float, _ask(DropReason.DECODER_HUNG)] = Field(
        60.0, gt=0, description="seconds for decoding one image; then its decoder counts as hung"
    )
    max_redirects: Annotated[int, _JUDGE] = Field(5, ge=0, description="followed for one URL")
    user_agent: Annotated[str, _WHO] = Field(
        "Mozilla/5.0 (compatible; curate/0.1; +https://pypi.org/project/curate-clip)",
        description="the User-Agent header",
    )
    contact: Annotated[str | None, _WHO] = Field(
        None,
        pattern=r"^[!-'*-~]+$",
        description="your mail address or URL, added to the user agent",
    )
    opt_out: Annotated[tuple[str, ...], _JUDGE] = Field(
        ("noai", "noimageai", "noindex", "noimageindex", "tdm-reservation"),
        description="X-Robots-Tag directives, and the header tdm-reservation, that drop the image",
    )
    opt_out_list: Annotated[FilePath | None, _LISTS] = Field(
        None,
        description="file of hosts (with their subdomains) and URLs that are not fetched, one a line",
    )
    robots: Annotated[bool, _JUDGE] = Field(
        True, description="fetch only what each host's robots.txt permits"
    )
    connect_to: Annotated[dict[str, str], _WAY] = Field(
        default_factory=dict,
        description="HOST: ADDRESS:PORT to connect to instead; the only way to a private address",
    )
    proxy: Annotated[str | None, _WAY] = Field(
        None,
        repr=False,
        description="http://USER:PASSWORD@HOST:PORT, if the web is reachable only by a proxy; it then"
        " decides which addresses are allowed. User and password are not written into the run",
    )
    image_size: Annotated[Positive | None, _FETCH] = Field(
        None,
        description="pixels, of the side that resize_mode means; default: 256, and images that come"
        " with the pool stay byte for byte as they are, unless another of these is set:"
        " resize_mode, only_if_bigger, upscale_interpolation, downscale_interpolation,"
        " encode_format, encode_quality",
    )
    resize_mode: Annotated[
        Literal["no", "keep_ratio", "keep_ratio_largest", "center_crop", "border"], _FETCH
    ] = Field(
        "keep_ratio",
        description="keep_ratio: the smaller side becomes image_size; keep_ratio_largest: the larger;"
        " center_crop: a square, cut; border: a square, padded; as in img2dataset",
    )
    only_if_bigger: Annotated[bool, _FETCH] = Field(
        True, description="leave smaller images as they are"
    )
    upscale_interpolation: Annotated[Interpolation, _FETCH] = Field(
        "lanczos", description="where an image grows"
    )
    downscale_interpolation: Annotated[Interpolation, _FETCH] = Field(
        "area", description="where it shrinks"
    )
    fast_decode: Annotated[bool, _FETCH] = Field(
        False,
        description="decode JPEGs at a fraction of their size: twice as fast, nearly the same",
    )
    skip_reencode: Annotated[bool, _FETCH] = Field(
        False, description="store the file itself where nothing needs to change"
    )
    disable_all_reencoding: Annotated[bool, _FETCH] = Field(
        False,
        description="store each file as it was served, EXIF included; decoded only for its hash",
    )
    keep_exif: Annotated[bool, _FETCH] = Field(
        False, description="EXIF tags as JSON in the column `exif`"
    )
    encode_format: Annotated[Literal["jpg", "png", "webp"], _FETCH] = Field(
        "jpg", description="of stored images"
    )
    encode_quality: Annotated[int, _FETCH] = Field(
        95, ge=0, le=100, description="png: compression level, 0 to 9"
    )
    faces: Annotated[Literal["find", "blur"] | None, Change("fetch", if_set=True)] = Field(
        None,
        description="find: adds their boxes as the column `face_boxes`, their number as `faces`. blur:"
        " blurs them, too. The smallest face found is a 64th of the image's longer side",
    )
    jpeg_quality: Annotated[bool, Change("fetch", if_set=True)] = Field(
        False,
        description="adds the column `jpeg_quality`: 1 to 100, by the quantisation tables of the file"
        " that came; none for other formats",
    )
    perceptual_hash: Annotated[bool, _FETCH] = Field(
        True, description="compute the PDQ hash of each image"
    )
    block_lists: Annotated[tuple[FilePath, ...], _LISTS] = Field(
        (), description="files of hashes (md5, sha256, PDQ) of images that must not be stored"
    )
    block_distance: Annotated[int, _LISTS] = Field(
        31,
        ge=0,
        le=31,
        description="bits between two PDQ hashes up to which images count as the same picture",
    )

    @classmethod
    def changes(cls) -> dict[str, Change]:
        """The effect of a change of each setting."""
        marks = {name: field.metadata for name, field in cls.model_fields.items()}
        return {name: next(x for x in marks[name] if isinstance(x, Change)) for name in marks}

    def digested(self, redoes: Literal["fetch", "judge"]) -> dict[str, object]:
        """The settings whose change has that effect, for digests; without those that name files."""
        fields = type(self).model_fields
        names = {
            name
            for name, change in self.changes().items()
            if change.redoes == redoes and not change.lists
            if not change.if_set or getattr(self, name) != fields[name].default
        }
        return self.model_dump(include=names)

    @property
    def stored_size(self) -> int:
        """Pixels of the side that resize_mode determines, for images that are encoded."""
        return self.image_size or 256

    @property
    def keeps(self) -> bool:
        """Whether images that come with the pool are stored unchanged: `_MAKING` is at its defaults."""
        fields = type(self).model_fields
        return all(getattr(self, name) == fields[name].default for name in _MAKING)

    @field_validator("proxy")
    @classmethod
    def _is_proxy(cls, value: str | None) -> str | None:
        if value is not None and not _PROXY.fullmatch(value):
            raise ValueError("expected http://HOST:PORT or http://USER:PASSWORD@HOST:PORT")
        return value

    @field_serializer("proxy")
    def _without_password(self, value: str | None) -> str | None:
        return value and hidden(value)

    @field_validator("user_agent")
    @classmethod
    def _one_line(cls, value: str) -> str:
        if not re.fullmatch("[ -~]+", value):
            raise ValueError("expected one line of printable ASCII, as a header needs")
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
                "faces needs decoded images, and disable_all_reencoding leaves them undecoded: drop one"
            )
        return self
