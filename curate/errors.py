"""The errors that are shown to a person as one line."""

import re

_USER = re.compile(r"(https?://)[^/\s]+@")


class CurateError(Exception):
    """Something the user can mend: the message names the thing, its value and the remedy."""


def hidden(text: str) -> str:
    """`text` without the user and password of URLs in it, to be shown or written.

    >>> hidden("--set download.proxy=http://me:secret@proxy:3128")
    '--set download.proxy=http://proxy:3128'
    """
    return _USER.sub(r"\1", text)


class DamagedError(CurateError):
    """A file of a run that is not what was written: gone, empty, cut off or changed."""

    def __init__(self, url: str, why: str) -> None:
        super().__init__(f"{url} is damaged: {why}")
        self.url = url
