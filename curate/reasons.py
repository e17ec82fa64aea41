"""Why a pair left the pipeline: the closed vocabularies of the ledger and of the dead records.

A *drop* is policy: the pair was understood and is not wanted. A *dead* record could not be handled.
Anything that is neither (a full disk, a killed worker) is raised, and nothing is lost.
"""

from enum import StrEnum

SUCCESS = "success"
"""The outcome of a fetch that came to an image, as img2dataset writes it."""


class DropReason(StrEnum):
    """Why a pair was dropped; ``rule:NAME`` (see :func:`rule_reason`) joins these for select rules."""

    REVOKED = "revoked"  # taken out of the run by `curate revoke`
    # prepare
    EMPTY_CAPTION = "empty_caption"
    BAD_URL = "bad_url"
    NOT_IN_SUBSET = "not_in_subset"
    LANGUAGE = "language"
    NO_MATCH = "no_match"
    # download: the outcome of the fetch
    DNS = "dns"
    REFUSED = "refused"
    RESET = "reset"
    TIMEOUT = "timeout"
    TLS = "tls"
    PROTOCOL = "protocol"
    HTTP_403 = "http_403"
    HTTP_404 = "http_404"
    HTTP_410 = "http_410"
    HTTP_429 = "http_429"
    HTTP_4XX = "http_4xx"
    HTTP_5XX = "http_5xx"
    HTTP_OTHER = "http_other"
    REDIRECTS = "redirects"
    FORBIDDEN_ADDRESS = "forbidden_address"
    OPTED_OUT = "opted_out"
    EMPTY_BODY = "empty_body"
    TOO_LARGE = "too_large"
    # download: the content
    HTML_PAGE = "html_page"
    NOT_AN_IMAGE = "not_an_image"
    VECTOR_IMAGE = "vector_image"
    TOO_MANY_PIXELS = "too_many_pixels"
    DECOMPRESSION_BOMB = "decompression_bomb"
    TRUNCATED = "truncated"
    UNDECODABLE = "undecodable"
    DECODER_CRASHED = "decoder_crashed"
    DECODER_HUNG = "decoder_hung"
    BLOCKED = "blocked"
    CONTAMINATED = "contaminated"
    # dedup
    DUPLICATE_URL = "duplicate_url"
    DUPLICATE_IMAGE = "duplicate_image"
    DUPLICATE_PAIR = "duplicate_pair"
    DUPLICATE_CAPTION = "duplicate_caption"
    # score: the same meaning
    DUPLICATE_MEANING = "duplicate_meaning"
    # balance
    SAMPLED_OUT = "sampled_out"
    FREQUENT_WORDS = "frequent_words"


class ErrorCode(StrEnum):
    """Why a record is dead."""

    BAD_ROW = "bad_row"
    UNREADABLE_FILE = "unreadable_file"
    NULL_URL = "null_url"
    BAD_UID = "bad_uid"
    SCORE_NOT_FINITE = "score_not_finite"
    IMAGE_UNDECODABLE = "image_undecodable"


FETCH_FAILURES = frozenset(list(DropReason)[
    list(DropReason).index(DropReason.DNS) : list(DropReason).index(DropReason.DECODER_HUNG) + 1
])  # fmt: skip
"""What may become of a fetch in place of an image: any of it can be asked again."""
CONTENT_FAILURES = frozenset(list(DropReason)[
    list(DropReason).index(DropReason.HTML_PAGE) : list(DropReason).index(DropReason.DECODER_HUNG) + 1
])  # fmt: skip
"""Of these, what becomes of a file that came: img2dataset's failures to resize."""

_CONNECTS = frozenset({DropReason.DNS, DropReason.REFUSED, DropReason.RESET, DropReason.TIMEOUT,
                       DropReason.TLS, DropReason.PROTOCOL})  # fmt: skip
_BUSY = frozenset({DropReason.TIMEOUT, DropReason.RESET, DropReason.HTTP_429, DropReason.HTTP_5XX})
MENDS = {
    "connect_to": _CONNECTS | {DropReason.FORBIDDEN_ADDRESS},
    "proxy": _CONNECTS | {DropReason.FORBIDDEN_ADDRESS},
    "timeout": frozenset({DropReason.TIMEOUT}),
    "decode_timeout": frozenset({DropReason.DECODER_HUNG}),
    "retries": _CONNECTS | _BUSY,
    "concurrency": _BUSY,
    "per_host": _BUSY,
    "per_host_rate": _BUSY,
    "user_agent": frozenset({DropReason.HTTP_403, DropReason.HTTP_429}),
    "contact": frozenset({DropReason.HTTP_403, DropReason.HTTP_429}),
}
"""Settings of how the download asks, not of what it stores, and the failures that each may mend."""

RULE_PREFIX = "rule:"


def rule_reason(name: str) -> str:
    """The ledger's reason for the select rule called `name`: ``rule:NAME``."""
    return RULE_PREFIX + name


ALONE, ONLY = "alone:", "only:"
"""Figures of a part: pairs that the rule of this name would drop by itself, and that no other drops."""
