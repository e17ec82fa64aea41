"""The errors that are shown to a person as one line."""

import re

_USER = re.compile(r"(https?://)[^/\s]+@")


class CurateError(Exception):
    """Something the user can mend: the message names the thing, its value and the remedy."""


class AbsentError(CurateError):
    """There is no such file."""


def hidden(text: str) -> str:
    """`text` without the user and password of URLs in it, to be shown or written.

    >>> hidden("--set download.proxy=http://me:secret@proxy:3128")
    '--set download.proxy=http://proxy:3128'
    """
    return _USER.sub(r"\1", text)


class DamagedError(CurateError):
    """A file of a run that is not what was written: gone, empty, cut off or changed.

    Made of the file's URL and why; or of its whole message, by whoever hands it on (pickle, Beam).
    """

    def __init__(self, url: str, why: str | None = None) -> None:
        super().__init__(url if why is None else f"{url}{_IS_DAMAGED}{why}")

    @property
    def url(self) -> str:
        """The file's."""
        return str(self).partition(_IS_DAMAGED)[0]


_IS_DAMAGED = " is damaged: "
