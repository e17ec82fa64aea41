"""The files of a pool that grows, as its run goes on with them."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from curate.errors import CurateError
from curate.planning.growing import Grown, digests_of, in_order, wave_of
from curate.planning.inputs import Input, Pool, PoolFile
from curate.rundir.directory import Run


def one(path: str, digest: str, form: str = "jsonl", **more: int) -> Input:
    """A file of 10 rows."""
    found: Input = {"name": path.rpartition("/")[2], "path": path, "format": form, "bytes": 1,
                    "digest": digest, "rows": 10}  # fmt: skip
    return found | more  # type: ignore[return-value]


def grown(tmp_path: Path, held: Sequence[Input], pool: Sequence[Input], **state: int) -> Grown:
    run = Run(str(tmp_path))
    run.update(inputs=list(held), **state)
    files = tuple(PoolFile(x["path"], [], x["format"]) for x in pool)
    found = in_order(run, Pool(files, ()), pool)
    assert [x.path for x in found.pool.files] == [x["path"] for x in found.inputs]
    assert list(found.pool.names) == [x["name"] for x in found.inputs]
    return found


def told(found: Grown) -> list[tuple[str, int]]:
    return [(x["path"], wave_of(x)) for x in found.inputs]


def test_files_are_known_by_what_they_hold_and_new_ones_follow(tmp_path: Path) -> None:
    held = [one("/p/m", "1"), one("/p/a", "2"), one("/p/z", "3", wave=1)]
    pool = [
        one("/p/0", "4"),
        one("/q/a", "2"),
        one("/q/b", "5"),
        one("/q/y", "3"),
        one("/q/z", "1"),
    ]
    found = grown(tmp_path, held, pool)
    assert told(found) == [("/q/z", 0), ("/q/a", 0), ("/q/y", 1), ("/p/0", 2), ("/q/b", 2)]
    assert (found.new, found.stands) == (2, None)
    assert [x["name"] for x in found.inputs] == ["m", "a", "z", "0", "b"]


def test_the_same_content_twice_is_two_files(tmp_path: Path) -> None:
    held = [one("/p/b", "1")]
    pool = [one("/p/a", "1"), one("/p/b", "1")]
    assert told(grown(tmp_path, held, pool)) == [("/p/b", 0), ("/p/a", 1)]
    both = [one("/p/a", "1"), one("/p/b", "1")]
    assert told(grown(tmp_path, both, pool)) == [("/p/a", 0), ("/p/b", 0)]
    with pytest.raises(CurateError, match="10 of its rows came from /p/b, no longer in the pool"):
        grown(tmp_path, both, pool[:1])


def test_files_whose_names_name_pairs_keep_them(tmp_path: Path) -> None:
    """As the run knows them; a new one of the same name is told by its whole path."""
    held = [one("/p/x/0.tar", "1", "webdataset")]
    pool = [one("/p/0.tar", "2", "webdataset"), one("/p/x/0.tar", "1", "webdataset")]
    found = grown(tmp_path, held, pool)
    assert [x["name"] for x in found.inputs] == ["0.tar", "/p/0.tar"]
    renamed = [one("/p/x/1.tar", "1", "webdataset")]
    with pytest.raises(CurateError, match=r"came from /p/x/0\.tar"):
        grown(tmp_path, held, renamed)


def test_a_wave_that_was_never_finished_may_go(tmp_path: Path) -> None:
    held = [one("/p/a", "1"), one("/p/b", "2", wave=1), one("/p/c", "3", wave=2),
            one("/p/d", "4", wave=2)]  # fmt: skip
    pool = [one("/p/a", "1"), one("/p/b", "2"), one("/p/c", "3"), one("/p/e", "5")]
    found = grown(tmp_path, held, pool, settled=1)
    assert told(found) == [("/p/a", 0), ("/p/b", 1), ("/p/c", 2), ("/p/e", 2)]
    assert (found.new, found.stands) == (2, 1)
    with pytest.raises(CurateError, match="20 of its rows came from /p/b, /p/d,"):
        grown(tmp_path, held, [pool[0], pool[2]], settled=1)
    with pytest.raises(CurateError, match="10 of its rows came from /p/d,"):
        grown(tmp_path, held, pool, settled=2)


def test_a_digest_a_wave(tmp_path: Path) -> None:
    waves = [one("a", "1"), one("b", "2", wave=1), one("c", "3", wave=2)]
    found = digests_of(waves, "first")
    assert found[0] == "first"
    assert len({*found}) == 3
    assert digests_of(waves[:2], "first") == found[:2]
    assert digests_of([one("a", "1")], "first") == ("first",)
    at_once = [*waves[:2], one("c", "3", wave=1)]
    assert digests_of(at_once, "first")[1] not in found
