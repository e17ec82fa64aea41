"""Reasons, errors and stages in plain words."""

from collections.abc import Mapping
from typing import Any

from curate.config import Config, Rule
from curate.reasons import RULE_PREFIX, DropReason, ErrorCode, rule_reason
from curate.schema import Stage

STAGES: dict[Stage, str] = {
    Stage.PREPARE: "clean the text, find its language, match it with the entry list",
    Stage.DOWNLOAD: "fetch, check and resize the images",
    Stage.DEDUP: "keep one pair of each cluster of duplicates",
    Stage.SCORE: "score how well image and caption agree",
    Stage.BALANCE: "thin out the pairs whose concepts are all frequent",
    Stage.SHARDS: "write the shards",
}

POLICIES: dict[str, str] = {
    "url": "one pair of those with the same URL, once it is written the same way",
    "image": "one pair of those with the same image",
    "pair": "one pair of those with the same image and nearly the same caption",
    "caption": "of the pairs with nearly the same caption as many as are asked for",
}
"""What each policy of dedup keeps."""

COLUMNS = {
    "key": "shard and index in it, zero-padded; the name of the pair's files",
    "status": "`success`, as img2dataset has it for each pair of its shards",
    "error_message": "null, likewise",
    "uid": "128-bit hash of URL and caption, 32 hex digits, unless the input brought its own",
    "url": "where the image was fetched from",
    "caption": "the cleaned caption",
    "language": "of the caption, by fastText lid.176",
    "language_score": "probability of the most likely language, from 0 to 1",
    "caption_chars": "length of the caption in code points",
    "caption_words": "length of the caption in words",
    "words_in_list": "words of the caption that stand in the list of prepare.words_in",
    "width": "of the stored image, pixels",
    "height": "of the stored image, pixels",
    "original_width": "of the image as fetched, pixels",
    "original_height": "of the image as fetched, pixels",
    "smaller_side": "of the image as fetched, pixels",
    "aspect": "larger over smaller side of the image as fetched",
    "image_format": "of the image as fetched, by its content",
    "image_bytes": "size of the image as fetched",
    "sha256": "of the image as fetched, hex",
    "md5": "of the image as fetched, hex, where a block list holds MD5s",
    "phash": "perceptual hash (PDQ) of the image, hex; none where it shows too little to tell",
    "phash_quality": "how much the image shows, for that hash: 0 (one colour) to 100",
    "exif": "tags of the image as fetched, JSON, where they were asked for",
    "faces": "number of faces that were found in the image",
    "face_boxes": "left, top, right and bottom of each face, as shares of the upright image's width and"
    " height, before a crop or border",
    "blur_boxes": "what the pool said was to be blurred: left, top, right and bottom of each box",
    "cluster": "uid of the first pair of the cluster of duplicates",
    "cluster_size": "pairs in that cluster",
    "matches": "entries that occur in the caption: their ids, ascending",
    "other_captions": "captions of the pairs that were dropped for this one",
    "clip_score": "cosine similarity of image and caption under the scoring model",
    "neg_clip_loss": "agreement of image and caption beyond that of others in a batch, at most 0",
    "norm_sim": "how near the image is to the target set",
    "nearest_target": "whether the image lies in a cluster that the target set lies in",
    "simcore": "round in which SIMCore took the image, from 1; none where it did not",
    "keep_probability": "probability with which balancing kept the pair",
    "word_score": "how rare the caption's words are in the pool (WFPP), from 0",
}

REASONS: dict[str, str] = {
    DropReason.EMPTY_CAPTION: "Nothing is left of the caption once it is cleaned.",
    DropReason.BAD_URL: "The URL is not one that an image can be fetched from over HTTP.",
    DropReason.NOT_IN_SUBSET: "The pair's uid is not in the subset file that prepare.uids_in names.",
    DropReason.LANGUAGE: "The caption is in a language that was not asked for; the value is the"
    " language found. Short captions are often taken for another: prepare.unsure keeps those.",
    DropReason.NO_MATCH: "No entry of the list occurs in the caption, so it could not be balanced."
    " About half of a raw web pool goes here.",
    DropReason.DNS: "The host's name has no address: the site is gone, or the URL was never valid.",
    DropReason.REFUSED: "The host answered, but does not take connections.",
    DropReason.RESET: "The host closed the connection before the image was complete.",
    DropReason.TIMEOUT: "The host did not send the image within the time allowed.",
    DropReason.TLS: "No secure connection could be made, for example with an expired certificate.",
    DropReason.PROTOCOL: "What the host sent was not valid HTTP.",
    DropReason.HTTP_403: "The host forbids access to the image (status 403).",
    DropReason.HTTP_404: "The image is not there any more (status 404).",
    DropReason.HTTP_410: "The image was removed for good (status 410).",
    DropReason.HTTP_429: "The host asked for fewer requests and did not relent (status 429).",
    DropReason.HTTP_4XX: "The host rejected the request with another status from 400 to 499.",
    DropReason.HTTP_5XX: "The host failed, on every attempt (status 500 to 599).",
    DropReason.HTTP_OTHER: "The host answered with a status that carries no image.",
    DropReason.REDIRECTS: "Too many redirects, or one that leads nowhere.",
    DropReason.FORBIDDEN_ADDRESS: "The URL leads to a private or local address; only hosts that"
    " download.connect_to names are fetched from such a one.",
    DropReason.OPTED_OUT: "The host asks that the image is not used, or a list given to the run does;"
    " the value is the header, the file or the entry that says so.",
    DropReason.EMPTY_BODY: "The host answered with no content.",
    DropReason.TOO_LARGE: "The file is larger than the limit in bytes.",
    DropReason.HTML_PAGE: "The host sent a web page in place of the image.",
    DropReason.NOT_AN_IMAGE: "The file is not in an image format that is decoded here.",
    DropReason.VECTOR_IMAGE: "The file is a drawing in SVG, which has no pixels and may hold programs.",
    DropReason.TOO_MANY_PIXELS: "The image has more pixels than the limit.",
    DropReason.DECOMPRESSION_BOMB: "The file claims far more pixels than its few bytes can hold.",
    DropReason.TRUNCATED: "The file ends before its format says so.",
    DropReason.UNDECODABLE: "The file looks like an image but cannot be decoded.",
    DropReason.DECODER_CRASHED: "The decoder broke down over the image, twice.",
    DropReason.DECODER_HUNG: "The decoder did not finish the image within the time allowed.",
    DropReason.BLOCKED: "The image is on a list of images that must not be stored; the value is its"
    " hash, and nothing else of it was kept.",
    DropReason.CONTAMINATED: "The image or the caption is in an evaluation set, or the image is as"
    " similar to one of it as decontaminate.embedding_similarity; the value is the item of the set.",
    DropReason.REVOKED: "The pair was taken out of the run later (`curate revoke`); nothing of it but"
    " its uid was kept.",
    DropReason.DUPLICATE_URL: "Another pair has the same URL, once both are written the same way;"
    " the value is the pair that stays.",
    DropReason.DUPLICATE_IMAGE: "Another pair has the same image, or one that looks the same"
    " (dedup.image_distance); the value is the pair that stays.",
    DropReason.DUPLICATE_PAIR: "Another pair has the same image and nearly the same caption; the"
    " value is the pair that stays.",
    DropReason.DUPLICATE_CAPTION: "Another pair has nearly the same caption; the value is the pair"
    " that stays.",
    DropReason.DUPLICATE_MEANING: "Another pair's image means nearly the same (semdedup): their"
    " embeddings' cosine is over 1 - epsilon; the value is the pair that stays.",
    DropReason.SAMPLED_OUT: "Balancing: all entries of the caption are frequent, and chance was"
    " against the pair; the value is its probability of being kept.",
    DropReason.FREQUENT_WORDS: "Pruning by word frequency: the words of the caption are frequent in the"
    " pool; the value is its score, and pairs with higher ones filled the fraction to keep.",
    ErrorCode.BAD_ROW: "The row could not be read; the value names the file, the row and what is wrong"
    " with it.",
    ErrorCode.UNREADABLE_FILE: "The file could not be read, or not to its end; the value names it and"
    " says where reading stopped. What is missing counts as one row, unless the file says how many.",
    ErrorCode.NULL_URL: "The input has no URL in this row.",
    ErrorCode.BAD_UID: "The input's uid is not 32 hexadecimal digits.",
    ErrorCode.SCORE_NOT_FINITE: "The model gave a score that is not a number.",
    ErrorCode.IMAGE_UNDECODABLE: "The stored image could not be decoded for the model.",
}


_MOST = 0.9
"""Share of what enters a stage over which one reason is alarming."""
_INTENDED = frozenset({DropReason.SAMPLED_OUT, DropReason.FREQUENT_WORDS, DropReason.REVOKED,
                       DropReason.NOT_IN_SUBSET})  # fmt: skip
_REMEDIES: dict[str, str] = {
    DropReason.EMPTY_CAPTION: "is input.columns.caption the column of the captions?",
    DropReason.BAD_URL: "is input.columns.url the column of the URLs?",
    DropReason.NOT_IN_SUBSET: "is prepare.uids_in a subset of this pool, and input.columns.uid its"
    " column of uids?",
    DropReason.LANGUAGE: "see prepare.languages, prepare.metadata and prepare.unsure.",
    DropReason.NO_MATCH: "see the lists of prepare.metadata.",
    DropReason.FORBIDDEN_ADDRESS: "for a host of your own: download.connect_to: {HOST: ADDRESS:PORT},"
    " and then --retry forbidden_address.",
    DropReason.DNS: "does this machine have a network and a name server? Then --retry-failed.",
    DropReason.REFUSED: "does this machine have a network? Then --retry-failed.",
    DropReason.TIMEOUT: "see download.timeout and download.concurrency, then --retry-failed.",
    DropReason.HTTP_429: "see download.per_host_rate, then --retry-failed.",
    DropReason.HTTP_5XX: "later: --retry-failed.",
    DropReason.OPTED_OUT: "see download.robots, download.opt_out and download.opt_out_list.",
    DropReason.TOO_LARGE: "see download.max_bytes.",
    DropReason.TOO_MANY_PIXELS: "see download.max_pixels.",
    DropReason.BLOCKED: "see download.block_lists.",
    DropReason.CONTAMINATED: "see decontaminate.",
    ErrorCode.BAD_UID: "see input.columns.uid.",
    ErrorCode.NULL_URL: "is input.columns.url the column of the URLs?",
}
"""What to look at where a reason took nearly all."""

UNDRAWN = (
    "The figures could not be drawn: this process may not have the addresses that the drawing engine"
    " reserves. Raise the limit (ulimit -v unlimited) and write the report again (curate report RUN)."
)


def alarms(stages: Mapping[str, Mapping[str, Any]], *, config: Config) -> list[str]:
    """What is likely not meant: an empty set, or a stage that one reason has emptied.

    `stages` has `rows`, `kept`, `dropped` and `dead` of each stage, the latter two by reason, in any
    order. Rules of a top fraction, and balancing, do as they were told.
    """
    known = [stages[stage] for stage in Stage if stage in stages]
    empty = bool(known) and known[0]["rows"] > 0 and known[-1]["kept"] == 0
    found = ["No pair was kept: the set is empty."] if empty else []
    asked = {rule_reason(rule.label) for rule in config.select if rule.has_quantile}
    for stage, counts in ((stage, stages[stage]) for stage in Stage if stage in stages):
        for reason, n in {**counts["dropped"], **counts["dead"]}.items():
            meant = reason in _INTENDED | asked and n < counts["rows"]
            if n > _MOST * counts["rows"] and not meant:
                remedy = _REMEDIES.get(reason, "")
                told = explain(reason, config=config)
                found.append(
                    f"{reason} took {n:,} of the {counts['rows']:,} pairs that entered {stage}."
                    f" {told}" + (f" Remedy: {remedy}" if remedy else "")
                )
    return found


def explain(reason: str, *, config: Config) -> str:
    """A ledger's reason or a dead record's error as a sentence; the reason itself if unknown."""
    label = reason.removeprefix(RULE_PREFIX)
    if label != reason:
        for rule in config.select:
            if rule.label == label:
                return f"A rule of the configuration keeps a pair if {conditions(rule)}."
        return "A rule of the configuration."
    return REASONS.get(reason, reason)


def survivor_in_words(config: Config) -> str:
    """Which pair of a cluster stays."""
    first, *then = [
        *(f"the {'lower' if x[0] == '-' else 'higher'} {x.removeprefix('-')}"
          for x in config.dedup.prefer),
        *(["the larger image"] if config.download.enabled else []),
        "the longer caption", "the smaller uid",
    ]  # fmt: skip
    return f"Of a cluster the pair with {first} stays, then {', then '.join(then)}."


def conditions(rule: Rule) -> str:
    """What `rule` asks for.

    >>> conditions(Rule(column="smaller_side", min=200))
    'smaller_side is at least 200'
    >>> conditions(Rule(name="either", any_of=(Rule(column="a", min=1), Rule(column="b", max=2))))
    'a is at least 1 or b is at most 2'
    """
    for word, rules in ((" or ", rule.any_of), (" and ", rule.all_of)):
        if rules is not None:
            inner = [conditions(one) for one in rules]
            return word.join(f"({x})" if one.column is None else x
                             for one, x in zip(rules, inner, strict=True))  # fmt: skip
    asked = []
    if rule.min is not None:
        asked.append(f"at least {rule.min:g}")
    if rule.max is not None:
        asked.append(f"at most {rule.max:g}")
    if rule.between is not None:
        asked.append(f"from {rule.between[0]:g} to {rule.between[1]:g}")
    if rule.in_ is not None:
        asked.append("one of " + ", ".join(map(_value, rule.in_)))
    if rule.not_in is not None:
        asked.append("none of " + ", ".join(map(_value, rule.not_in)))
    if rule.same_as is not None:
        asked.append(f"the same as {rule.same_as}")
    if rule.top_fraction is not None:
        group = f" of its {rule.per}" if rule.per else ""
        asked.append(f"among the highest {100 * rule.top_fraction:.4g}%{group}")
    return f"{rule.column} is " + " and ".join(asked)


def _value(x: object) -> str:
    return str(x).lower() if isinstance(x, bool) else str(x)


def value(x: object) -> str:
    """A value of a column, with six significant digits."""
    return f"{x:.6g}" if isinstance(x, float) else "none" if x is None else _value(x)
