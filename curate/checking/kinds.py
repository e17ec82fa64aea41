"""What may be wrong with a set of shards: the closed vocabulary of `curate verify`.

A problem is told once, where it began: what follows of it (the hash of a tar with a broken image, the
count of one that is cut off) is no problem of its own.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Self

FIXED = "`--fix DIR` writes the set without it"
_AGAIN = "copy or make the shard again; "


@dataclass(frozen=True)
class Row:
    """What is known of a kind."""

    name: str
    remedy: str
    breaks: bool = False  # a sample with it is left out of a repaired copy


class Kind(StrEnum):
    """What is wrong."""

    row: Row

    def __new__(cls, name: str, remedy: str, breaks: bool = False) -> Self:
        """A kind by its row."""
        kind = str.__new__(cls, name)
        kind._value_ = name
        kind.row = Row(name, remedy, breaks)
        return kind

    # fmt: off
    # the tar
    UNREADABLE = ("unreadable", "copy or make the file again")
    TRUNCATED_TAR = ("truncated_tar", _AGAIN + "`--fix DIR` keeps the samples before")
    NO_END = ("no_end_of_archive", "the tar may lack samples: " + _AGAIN + "`--fix DIR` ends it")
    DAMAGED_HEADER = ("damaged_header", _AGAIN + "`--fix DIR` keeps the samples around it")
    BEHIND_END = ("behind_end", "loaders do not read it: join tars by `tar --concatenate`, not by cat;"
        " `--fix DIR` leaves it out")
    STRAY_MEMBER = ("stray_member", "name members KEY.ENDING and pack files, no links"
        " (tar --dereference --hard-dereference); `--fix DIR` leaves it out")
    # samples
    MISSING_IMAGE = ("missing_image", FIXED, True)
    MISSING_MEMBER = ("missing_member", FIXED, True)
    NOT_AN_IMAGE = ("not_an_image", FIXED, True)
    TRUNCATED_IMAGE = ("truncated_image", FIXED, True)
    UNDECODABLE_IMAGE = ("undecodable_image", FIXED, True)
    IMAGE_SIZE = ("image_size", "image and JSON are of two pairs: " + FIXED, True)
    CAPTION_NOT_UTF8 = ("caption_not_utf8", FIXED, True)
    EMPTY_CAPTION = ("empty_caption", FIXED, True)
    BAD_JSON = ("bad_json", FIXED, True)
    CAPTION_DIFFERS = ("caption_differs", "the .txt and the .json are of two pairs: " + FIXED, True)
    # keys
    DUPLICATE_KEY = ("duplicate_key", "loaders refuse or overwrite it: `--fix DIR` keeps the first",
        True)
    KEY_IN_TWO_SHARDS = ("key_in_two_shards", "`--fix DIR` keeps the first", True)
    MEMBERS_APART = ("members_apart", "pack with tar --sort=name; `--fix DIR` joins them")
    UNSORTED = ("unsorted", "pack with tar --sort=name; `--fix DIR` sorts them")
    # files beside
    TABLE_UNREADABLE = ("table_unreadable", "`--fix DIR` makes it of the JSON in the tar")
    TABLE_MISSING = ("table_missing", "`--fix DIR` makes it of the JSON in the tar")
    TABLE_KEYS = ("table_keys", "`--fix DIR` keeps the pairs of the tar")
    TABLE_DIFFERS = ("table_differs", "the table is of another tar, or was changed: " + FIXED, True)
    IMAGE_HASH = ("image_hash", "the image is not the one that was fetched: " + FIXED, True)
    COUNT = ("count", "`--fix DIR` counts anew")
    BYTES = ("bytes", "take the file from where the set was made, or make it again by `curate run`")
    HASH = ("hash", "take the file from where the set was made, or make it again by `curate run`")
    MISSING_FILE = ("missing_file", "copy it from where the set was made; `--fix DIR` lists what is"
        " there")
    UNLISTED_FILE = ("unlisted_file", "remove it, or write the lists anew: `--fix DIR` does")
    STALE_INDEX = ("stale_index", "write it again: curate export RUN --format wids or energon, or the"
        " loader's own tool")
    # a run
    UNFINISHED = ("unfinished", "go on with it: curate run RUN/config.yaml --out RUN")
    REVOCATION = ("revocation", "finish it: curate revoke RUN")
    RUN_FILE = ("run_file", "make it again: curate run RUN/config.yaml --out RUN")
    # fmt: on


@dataclass(frozen=True)
class Problem:
    """Something that is wrong, and where."""

    kind: Kind
    shard: str  # the file, relative to what is checked
    key: str = ""  # of the sample; none where it is about the whole file
    what: str = ""

    def line(self) -> str:
        """The problem on one line."""
        where = " ".join(filter(None, (self.shard, self.key)))
        what = f": {self.what}" if self.what else ""
        return " ".join(f"{where}  {self.kind}{what}; {self.kind.row.remedy}".splitlines())
