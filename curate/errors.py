"""The error that is shown to a person as one line."""


class CurateError(Exception):
    """Something the user can mend: the message names the thing, its value and the remedy."""
