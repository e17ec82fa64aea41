"""Why a pair left the pipeline: the closed vocabularies of the ledger and of the dead records.

A *drop* is policy: the pair was understood and is not wanted. A *dead* record could not be handled.
Anything that is neither (a full disk, a killed worker) is raised, and nothing is lost.

Each reason stands with its row, and whatever is to be known of a reason is asked of that.
"""

from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Literal, Self

SUCCESS = "success"
"""The outcome of a fetch that came to an image, as img2dataset writes it."""

LISTED, ROBOTS_TXT = "list: ", "robots.txt"
"""The ledger's value of an opt-out: an entry of a list after `LISTED`, the file, or else the header's
directive."""


@dataclass(frozen=True)
class Row:
    """What is known of a reason."""

    name: str  # as it stands in ledgers
    sentence: str  # what it means, and what the ledger's value is
    remedy: str  # what to look at where it took nearly all
    fetch: Literal["", "answer", "content"] = ""
    """The outcome of a fetch in place of an image, which `--retry` asks for again: of how the host
    answered, or of the content that came (img2dataset's failures to resize)."""
    transient: bool = False  # another attempt may mend it: `--retry-failed` asks for it again
    gone: bool = False  # the image is gone for good: link rot
    after_rules: bool = False  # pairs that leave for it have passed the rules of their stage
    intended: bool = False  # the configuration asks for it, whatever share it takes


class _Reason(StrEnum):
    row: Row

    def __new__(cls, row: Row) -> Self:
        reason = str.__new__(cls, row.name)
        reason._value_ = row.name
        reason.row = row
        return reason


_answer, _content = partial(Row, fetch="answer"), partial(Row, fetch="content")


# fmt: off
class DropReason(_Reason):
    """Why a pair was dropped; ``rule:NAME`` (see :func:`rule_reason`) joins these for select rules."""

    REVOKED = Row("revoked", "The pair was taken out of the run later (`curate revoke`); nothing of it"
        " but its uid was kept.",
        "a run with another --out has them, if that is meant.", intended=True)
    # prepare
    EMPTY_CAPTION = Row("empty_caption", "Nothing is left of the caption once it is cleaned.",
        "is input.columns.caption the column of the captions?")
    BAD_URL = Row("bad_url", "The URL is not one that an image can be fetched from over HTTP.",
        "is input.columns.url the column of the URLs?")
    NO_IMAGE_FILE = Row("no_image_file", "The article names an image of which its package holds no"
        " file; the value is the name in the article.",
        "do the packages of input.paths hold the images (.jpg) beside the articles (.nxml)?")
    NOT_IN_SUBSET = Row("not_in_subset", "The pair's uid is not in the subset file that prepare.uids_in"
        " names.",
        "is prepare.uids_in a subset of this pool, and input.columns.uid its column of"
        " uids?", intended=True)
    LANGUAGE = Row("language", "The caption is in a language that was not asked for; the value is the"
        " language found. Short captions are often taken for another: prepare.unsure keeps those.",
        "see prepare.languages, prepare.metadata and prepare.unsure.")
    NO_MATCH = Row("no_match", "No entry of the list occurs in the caption, so it could not be"
        " balanced. About half of a raw web pool goes here.",
        "see the lists of prepare.metadata.", after_rules=True)
    # download: how the host answered
    DNS = _answer("dns", "The host's name has no address: the site is gone, or the URL was never"
        " valid.",
        "does this machine have a network and a name server? Then"
        " --retry-failed.", transient=True, gone=True)
    REFUSED = _answer("refused", "The host answered, but does not take connections.",
        "does this machine have a network? Then --retry-failed.", transient=True)
    RESET = _answer("reset", "The host closed the connection before the image was complete.",
        "see download.per_host, then --retry-failed.", transient=True)
    TIMEOUT = _answer("timeout", "The host did not send the image within the time allowed.",
        "see download.timeout and download.concurrency, then --retry-failed.", transient=True)
    TLS = _answer("tls", "No secure connection could be made, for example with an expired certificate.",
        "does this machine's clock go right? Then --retry tls.")
    PROTOCOL = _answer("protocol", "What the host sent was not valid HTTP.",
        "is what download.proxy or download.connect_to names an HTTP server? Then"
        " --retry-failed.", transient=True)
    HTTP_403 = _answer("http_403", "The host forbids access to the image (status 403).",
        "see download.user_agent and download.contact, then --retry http_403.")
    HTTP_404 = _answer("http_404", "The image is not there any more (status 404).",
        "is input.columns.url the column of the images' URLs, and is the pool recent?", gone=True)
    HTTP_410 = _answer("http_410", "The image was removed for good (status 410).",
        "is the pool recent?", gone=True)
    HTTP_429 = _answer("http_429", "The host asked for fewer requests and did not relent (status 429).",
        "see download.per_host_rate, then --retry-failed.", transient=True)
    HTTP_4XX = _answer("http_4xx", "The host rejected the request with another status from 400 to 499.",
        "do the URLs ask for a login or a key?")
    HTTP_5XX = _answer("http_5xx", "The host failed, on every attempt (status 500 to 599).",
        "later: --retry-failed.", transient=True)
    HTTP_OTHER = _answer("http_other", "The host answered with a status that carries no image.",
        "is input.columns.url the column of the images' URLs?")
    REDIRECTS = _answer("redirects", "Too many redirects, or one that leads nowhere.",
        "see download.max_redirects.")
    FORBIDDEN_ADDRESS = _answer("forbidden_address", "The URL leads to a private or local address; only"
        " hosts that download.connect_to names are fetched from such a one.",
        "for a host of your own: download.connect_to: {HOST: ADDRESS:PORT}, and then --retry"
        " forbidden_address.")
    OPTED_OUT = _answer("opted_out", "The host asks that the image is not used, or a list given to the"
        " run does; the value is the header, the file or the entry that says so.",
        "see download.robots, download.opt_out and download.opt_out_list.")
    EMPTY_BODY = _answer("empty_body", "The host answered with no content.",
        "later: --retry empty_body.")
    TOO_LARGE = _answer("too_large", "The file is larger than the limit in bytes.",
        "see download.max_bytes.")
    # download: the content
    HTML_PAGE = _content("html_page", "The host sent a web page in place of the image.",
        "is input.columns.url the column of the images' URLs, not of the pages that show them?")
    NOT_AN_IMAGE = _content("not_an_image", "The file is not in an image format that is decoded here.",
        "is input.columns.url the column of the images' URLs?")
    VECTOR_IMAGE = _content("vector_image", "The file is a drawing in SVG, which has no pixels and may"
        " hold programs.",
        "is input.columns.url the column of the pictures made of the drawings?")
    TOO_MANY_PIXELS = _content("too_many_pixels", "The image has more pixels than the limit.",
        "see download.max_pixels.")
    DECOMPRESSION_BOMB = _content("decompression_bomb", "The file claims far more pixels than its few"
        " bytes can hold.",
        "see download.max_pixels_per_byte.")
    TRUNCATED = _content("truncated", "The file ends before its format says so.",
        "are the files whole where they come from? Then --retry truncated.")
    UNDECODABLE = _content("undecodable", "The file looks like an image but cannot be decoded.",
        "are the files whole where they come from? Then --retry undecodable.")
    DECODER_CRASHED = _content("decoder_crashed", "The decoder broke down over the image, twice.",
        "does this machine have memory enough? Then --retry decoder_crashed.")
    DECODER_HUNG = _content("decoder_hung", "The decoder did not finish the image within the time"
        " allowed.",
        "see download.decode_timeout, then --retry decoder_hung.")
    # download: what the content is
    BLOCKED = Row("blocked", "The image is on a list of images that must not be stored; the value is"
        " its hash, and nothing else of it was kept.",
        "see download.block_lists.")
    CONTAMINATED = Row("contaminated", "The image or the caption is in an evaluation set, or the image"
        " is as similar to one of it as decontaminate.embedding_similarity; the value is the item of"
        " the set.",
        "see decontaminate.")
    # dedup
    DUPLICATE_URL = Row("duplicate_url", "Another pair has the same URL, once both are written the same"
        " way; the value is the pair that stays.",
        "see dedup.policy and dedup.url_keeps.")
    DUPLICATE_IMAGE = Row("duplicate_image", "Another pair has the same image, or one that looks the"
        " same (dedup.image_distance); the value is the pair that stays.",
        "see dedup.policy and dedup.image_distance.")
    DUPLICATE_PAIR = Row("duplicate_pair", "Another pair has the same image and nearly the same"
        " caption; the value is the pair that stays.",
        "see dedup.policy, dedup.image_distance and dedup.threshold.")
    DUPLICATE_CAPTION = Row("duplicate_caption", "Another pair has nearly the same caption; the value"
        " is the pair that stays.",
        "see dedup.policy, dedup.threshold and dedup.caption_keeps.")
    # score
    DUPLICATE_MEANING = Row("duplicate_meaning", "Another pair's image means nearly the same"
        " (semdedup): their embeddings' cosine is over 1 - epsilon; the value is the pair that stays.",
        "see semdedup.epsilon.", after_rules=True)
    # balance
    SAMPLED_OUT = Row("sampled_out", "Balancing: all entries of the caption are frequent (with"
        " balance.adaptive: what it holds is, or it holds nothing that counts), and chance was against"
        " the pair; the value is its probability of being kept.",
        "see balance.t, or balance.adaptive; curate sweep shows what others keep.", intended=True)
    NOT_DRAWN = Row("not_drawn", "Soft cap sampling did not draw the pair once; the value is its"
        " score.",
        "see balance.soft_cap.size.", intended=True)
    FREQUENT_WORDS = Row("frequent_words", "Pruning by word frequency: the words of the caption are"
        " frequent in the pool; the value is its score, and pairs with higher ones filled the fraction"
        " to keep.",
        "see balance.wfpp.fraction.", intended=True)


class ErrorCode(_Reason):
    """Why a record is dead."""

    BAD_ROW = Row("bad_row", "The row could not be read; the value names the file, the row and what is"
        " wrong with it.",
        "see input.format and input.columns.")
    UNREADABLE_FILE = Row("unreadable_file", "The file could not be read, or not to its end; the value"
        " names it and says where reading stopped. What is missing counts as one row, unless the file"
        " says how many.",
        "are the files of input.paths whole, and of input.format?")
    NULL_URL = Row("null_url", "The input has no URL in this row.",
        "is input.columns.url the column of the URLs?")
    BAD_UID = Row("bad_uid", "The input's uid is not 32 hexadecimal digits.",
        "see input.columns.uid.")
    SCORE_NOT_FINITE = Row("score_not_finite", "A score is infinite or not a number; the value names"
        " the score and the column, and there is none where it is the model's.",
        "for the model see score.precision: fp32, for another score what it computes.")
    IMAGE_UNDECODABLE = Row("image_undecodable", "The stored image could not be decoded for a score.",
        "see download.disable_all_reencoding and download.skip_reencode.")
    SCORE_FAILED = Row("score_failed", "A score failed for the pair; the value names the score and says"
        " how.",
        "see the score in scores, and what it raises in the value.")
# fmt: on


ROWS: dict[str, Row] = {reason: reason.row for reason in (*DropReason, *ErrorCode)}
"""The row of each reason and error, by its name as it stands in ledgers."""

FETCH_FAILURES = frozenset(reason for reason in DropReason if reason.row.fetch)
"""What may become of a fetch in place of an image: any of it can be asked again."""
TRANSIENT = frozenset(reason for reason in DropReason if reason.row.transient)
"""What another attempt may mend."""

RULE_PREFIX = "rule:"


def rule_reason(name: str) -> str:
    """The ledger's reason for the select rule called `name`: ``rule:NAME``."""
    return RULE_PREFIX + name


def reached_rules(reason: str) -> bool:
    """Whether a pair that left for `reason` had come to the rules of its stage.

    >>> reached_rules("rule:clip_score"), reached_rules("no_match"), reached_rules("language")
    (True, True, False)
    """
    return reason.startswith(RULE_PREFIX) or (reason in ROWS and ROWS[reason].after_rules)


ALONE, ONLY = "alone:", "only:"
"""Figures of a part: pairs that the rule of this name would drop by itself, and that no other drops."""
