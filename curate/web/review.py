"""The outcomes of an earlier run judged under today's settings, without a request.

An image that was stored may have to be dropped under today's settings; where a refusal depends on a
setting that has changed, the URL is to be fetched again.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from curate.ops.images.encoder import ImageEncoder, Refusal
from curate.reasons import LISTED, ROBOTS_TXT, DropReason
from curate.web.fetch import FetchPolicy, over, request_url
from curate.web.optout import OptOutList, wanted_directives
from curate.web.transport import FetchError

_NUMBERS = re.compile(r"\d+")


@dataclass(frozen=True)
class Review:
    """The settings that an outcome may depend on; rows have the columns of `schema.FETCHED`."""

    policy: FetchPolicy
    encoder: ImageEncoder
    opt_out_list: OptOutList | None = None

    def reopens(self, columns: Mapping[str, Any]) -> bool:
        """Whether today's settings permit what a row was refused for."""
        reason, detail = columns["outcome"], columns.get("detail") or ""
        if detail.startswith(f"{ROBOTS_TXT}: "):
            return not self.policy.robots
        numbers = [int(x) for x in _NUMBERS.findall(detail)]
        match reason:
            case DropReason.OPTED_OUT if detail.startswith(LISTED):
                listed = self.opt_out_list
                return listed is None or detail.removeprefix(LISTED) not in listed
            case DropReason.OPTED_OUT if detail == ROBOTS_TXT:
                return not self.policy.robots
            case DropReason.OPTED_OUT:
                return detail not in wanted_directives(self.policy.opt_out)
            case DropReason.TOO_LARGE:
                least = numbers[0] + detail.startswith("over")
                return least <= self.policy.max_bytes
            case DropReason.TOO_MANY_PIXELS:
                return numbers[0] * numbers[1] <= self.encoder.max_pixels
            case DropReason.DECOMPRESSION_BOMB:
                return self.encoder.bomb_of(*numbers[:3]) is None
            case DropReason.REDIRECTS:
                return numbers[0] < self.policy.max_redirects
        return False

    def refusal(
        self, columns: Mapping[str, Any], *, url: str | None, size_of: str = "original_"
    ) -> Refusal | None:
        """Why today's settings refuse a row, whatever its outcome was; None where they do not.

        `url` is None where the image was not fetched but came with the pool. `size_of` is the prefix of
        the columns ``width`` and ``height``.
        """
        hops = columns.get("redirects") or []
        if self.opt_out_list and url is not None:
            for each in (url, *hops):
                try:
                    entry = self.opt_out_list.entry(request_url(each))
                except FetchError:
                    continue
                if entry:
                    return Refusal(DropReason.OPTED_OUT, LISTED + entry)
        if (size := columns.get("image_bytes")) is None:
            return None
        most = self.policy.max_redirects
        if len(hops) > most:
            return Refusal(DropReason.REDIRECTS, over(most, hops[most]))
        if size > self.policy.max_bytes:
            return Refusal(DropReason.TOO_LARGE, str(size))
        return self.encoder.bomb_of(columns[f"{size_of}width"], columns[f"{size_of}height"], size)
