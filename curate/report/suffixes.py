"""The registrable domain of a host: what somebody registers, as example.co.uk is of img.example.co.uk.

Where names may be registered is told by the Public Suffix List (publicsuffix.org). A copy of it travels
in pymongo, which Beam brings; without one a host stands for itself.
"""

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

_PACKAGE, _LIST = "pymongo", "public_suffix_list.dat"


@dataclass(frozen=True)
class Suffixes:
    """The rules of the list, in lower case and Punycode."""

    rules: frozenset[str]
    wildcards: frozenset[str]  # of ``*.NAME`` the name
    exceptions: frozenset[str]  # of ``!NAME`` the name

    @classmethod
    def of(cls, text: str) -> "Suffixes":
        """The rules of a list, a rule a line."""
        lines = [line.split()[0].lower() for line in text.splitlines() if line.strip()]
        rules = [line for line in lines if not line.startswith("//")]
        return cls(
            frozenset(x for x in rules if x[0] not in "*!"),
            frozenset(x[2:] for x in rules if x.startswith("*.")),
            frozenset(x[1:] for x in rules if x.startswith("!")),
        )

    def registrable(self, host: str) -> str:
        """The domain under which `host` is registered; itself where it is a suffix or an address."""
        host = host.rstrip(".")
        labels = host.split(".")
        if "[" in host or labels[-1].isdigit():
            return host
        names = labels if host.isascii() else [_punycode(x) for x in labels]
        last = len(names) - 1
        for i in range(len(names)):
            name, parent = ".".join(names[i:]), ".".join(names[i + 1 :])
            if name in self.exceptions:
                return ".".join(labels[i:])
            if name in self.rules or parent in self.wildcards or i == last:
                return ".".join(labels[max(i - 1, 0) :])
        return host


def _punycode(label: str) -> str:
    try:
        return label.encode("idna").decode()
    except UnicodeError:
        return label


@cache
def shipped() -> Suffixes | None:
    """The list that is installed; None where none is."""
    package = find_spec(_PACKAGE)
    path = Path(package.origin).parent / _LIST if package and package.origin else None
    return Suffixes.of(path.read_text("utf-8")) if path and path.is_file() else None
