"""A download that is killed, and one whose failures are tried again."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from curate import files, schema
from curate.ops.hashing import pair_uids
from curate.ops.images.encoder import ImageEncoder
from curate.reasons import TRANSIENT
from curate.rundir.directory import Part, Run
from curate.rundir.journal import Journal
from curate.stages.download import FetchStep
from curate.stages.images import row_keys, uid_of
from curate.stages.part import TakePart
from curate.web.fetch import FetchPolicy
from tests.stages import web as loopback
from tests.stages.rundir import lay
from tests.stages.test_download import members, pairs
from tests.stages.web import Web, serve

FOLDER = "download/annotated"
NAMES = ["wide.png", "404", "tall.jpg", "503", "small.webp"]


@pytest.fixture
def web() -> Iterator[Web]:
    with serve() as served:
        yield served


def fetch_step(run: Run, web: Web, *, retry_failed: frozenset[str] = frozenset()) -> FetchStep:
    policy = FetchPolicy(timeout=5, retries=0, connect_to=web.addresses)
    return FetchStep(run=run, reads="prepare", digest="d1", own="o1", policy=policy,
                     encoder=ImageEncoder(image_size=48), retry_failed=retry_failed)  # fmt: skip


def take(step: FetchStep, part: Part) -> None:
    assert [p.kept for p in TakePart(step).process(part)] == [part.rows]


def written(run: Run) -> dict[str, Any]:
    """What stands of part 0: the bytes of its tar, its rows, and its files by name."""
    return {
        "tar": files.read_bytes(run.part("download", 0, "tar")),
        "rows": files.read_table(run.part(FOLDER, 0)).to_pylist(),
        "files": [
            name
            for folder in ("download", FOLDER)
            for name in files.names(run.path(folder))
            if not name.endswith((files.TEMPORARY, ".journal"))  # which `settle` removes
        ],
    }


def figures(run: Run) -> dict[str, float]:
    record = run.record(FOLDER, 0)
    assert record is not None
    return record.figures


def outcomes(run: Run) -> list[str]:
    return [row["outcome"] for row in files.read_table(run.part(FOLDER, 0)).to_pylist()]


class Killed(BaseException):
    """What no handler in the code under test expects."""


class Deadline:
    """Ends the process under test before or after the n-th thing that it does to its files."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, n: int) -> None:
        self.left = n
        for module, name in ((os, "replace"), (files, "remove")):
            monkeypatch.setattr(module, name, self._counted(getattr(module, name)))

    def _counted(self, act: Any) -> Any:
        def wrapped(*args: Any) -> Any:
            self._tick()
            result = act(*args)
            self._tick()
            return result

        return wrapped

    def _tick(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise Killed


def test_killed_at_any_write_nothing_stored_is_fetched_again(
    tmp_path: Path, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First a run, then one over other rows that takes most of them over: both ended everywhere."""
    fresh = Run(str(tmp_path / "fresh"))
    (first,) = lay(fresh, "prepare", [pairs(*NAMES)], schema.PREPARE)
    take(fetch_step(fresh, web), first)
    expected = [written(fresh)]
    changed = pairs("404", "square.jpg", *NAMES[2:])
    (second,) = lay(fresh, "prepare", [changed], schema.PREPARE)
    take(replace(fetch_step(fresh, web), digest="d2"), second)
    expected.append(written(fresh))
    moments = [0, 0]
    for again in (False, True):
        for n in range(1, 50):
            web.hits.clear()
            run = Run(str(tmp_path / f"{again}{n}"))
            if again:
                shutil.copytree(tmp_path / f"{False}{moments[0]}", run.root)
                lay(run, "prepare", [changed], schema.PREPARE)
            else:
                lay(run, "prepare", [pairs(*NAMES)], schema.PREPARE)
            step = replace(fetch_step(run, web), digest="d2" if again else "d1")
            with monkeypatch.context() as patched:
                Deadline(patched, n)
                try:
                    take(step, second if again else first)
                    finished = True
                except Killed:
                    finished = False
            take(step, second if again else first)
            assert written(run) == expected[again], n
            assert web.hits == ({"square.jpg": 1} if again else dict.fromkeys(NAMES, 1)), n
            moments[again] = n
            if finished:
                break
    assert min(moments) >= 7


def test_what_was_fetched_before_the_kill_is_taken_from_the_journal(
    run: Run, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    (part,) = lay(run, "prepare", [pairs(*NAMES)], schema.PREPARE)
    step = fetch_step(run, web)
    whole = Run(run.path("whole"))
    lay(whole, "prepare", [pairs(*NAMES)], schema.PREPARE)
    take(replace(step, run=whole), part)
    web.hits.clear()

    put = Journal.put

    def dying(self: Journal, *row: Any) -> None:
        if web.hits.total() >= 3:
            raise Killed
        put(self, *row)

    policy = replace(step.policy, concurrency=1)
    with monkeypatch.context() as patched:
        patched.setattr(Journal, "put", dying)
        with pytest.raises(Killed):
            take(replace(step, policy=policy), part)
    (journal,) = files.names(run.path(FOLDER, "part-00000.journal"))
    url = run.path(FOLDER, "part-00000.journal", journal)
    files.write_bytes(url, files.read_bytes(url) + b"\x07a record cut in half")
    before = dict(web.hits)
    stored = files.read_bytes(url).count(b'"outcome": "')
    assert 1 <= stored < sum(before.values()) <= len(NAMES)
    take(step, part)
    assert figures(run)["reused"] == stored
    assert web.hits.total() == sum(before.values()) + len(NAMES) - stored
    assert written(run) == written(whole)


def test_a_journal_of_other_image_settings_is_not_used(run: Run, web: Web) -> None:
    (part,) = lay(run, "prepare", [pairs("wide.png")], schema.PREPARE)
    with files.scratch(run.path(FOLDER, "part-00000.journal")) as (file, earlier):
        assert earlier == []
        columns = {"outcome": "http_404", "detail": "404"}
        (row,) = pairs("wide.png")
        hashed = pair_uids(pa.array([row["url"]]), pa.array([row["caption"]])).to_pylist()
        (key,) = row_keys([row["uid"]], hashed)
        Journal(file, of="o0").put(key, columns, b"")
    take(fetch_step(run, web), part)
    assert outcomes(run) == ["success"]
    assert web.hits == {"wide.png": 1}


def test_rows_of_one_uid_each_keep_their_own_image(run: Run, web: Web) -> None:
    rows = [
        row | {"uid": "0" * 32} for row in pairs("wide.png", "404", "tall.jpg")
    ]  # the input's uids need not be unique
    (part,) = lay(run, "prepare", [rows], schema.PREPARE)
    step = fetch_step(run, web)
    take(step, part)
    first = written(run)
    assert [row["width"] for row in first["rows"]] == [96, None, 48]
    take(replace(step, digest="d2"), part)
    assert written(run) == first
    assert set(web.hits.values()) == {1}


def test_a_row_never_takes_the_image_of_another_one_of_its_uid(run: Run, web: Web) -> None:
    """A rule that drops the first of two rows leaves the second with its own image."""
    rows = [row | {"uid": "0" * 32} for row in pairs("wide.png", "tall.jpg")]
    (part,) = lay(run, "prepare", [rows], schema.PREPARE)
    step = fetch_step(run, web)
    take(step, part)
    whole = written(run)
    (part,) = lay(run, "prepare", [rows[1:]], schema.PREPARE)
    take(replace(step, digest="d2"), part)
    (left,) = written(run)["rows"]
    assert {**left, "tar_offset": 0} == {**whole["rows"][1], "tar_offset": 0}
    assert left["sha256"] != whole["rows"][0]["sha256"]
    assert set(web.hits.values()) == {1}


def test_keys() -> None:
    keys = row_keys(list("abaauu"), list("abaacd"))
    assert keys == ["a", "b", "a.1", "a.2", "u.c", "u.d"]
    assert [uid_of(key) for key in keys] == list("abaauu")


def test_only_passing_failures_are_tried_again(
    run: Run, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [*NAMES, "http://gone.example/a.png", "429"]
    (part,) = lay(run, "prepare", [pairs(*names)], schema.PREPARE)
    take(fetch_step(run, web), part)
    assert outcomes(run) == ["success", "http_404", "success", "http_5xx", "success",
                             "refused", "http_429"]  # fmt: skip
    assert figures(run)["transient"] == 3
    before = members(run)
    web.hits.clear()
    monkeypatch.delitem(loopback.TYPED, "503")
    run.retract(FOLDER, 0, own="o1")
    take(fetch_step(run, web, retry_failed=TRANSIENT), part)
    assert web.hits == {"503": 1, "429": 1}
    assert outcomes(run) == ["success", "http_404", "success", "success", "success",
                             "refused", "http_429"]  # fmt: skip
    found = {name: figures(run)[name] for name in ("reused", "retried", "recovered", "transient")}
    assert found == {"reused": 4, "retried": 3, "recovered": 1, "transient": 2}
    after = members(run)
    assert list(after) == [f"{row['uid']}.jpg" for row in pairs(*NAMES) if row != pairs("404")[0]]
    assert {name: after[name] for name in before} == before
    fresh = Run(run.path("fresh"))
    lay(fresh, "prepare", [pairs(*names)], schema.PREPARE)
    take(fetch_step(fresh, web), part)
    assert written(fresh) == written(run)  # as if it had been well from the start


def test_a_retry_that_is_killed_goes_on(
    run: Run, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    (part,) = lay(run, "prepare", [pairs("429", "wide.png", "503")], schema.PREPARE)
    take(fetch_step(run, web), part)
    web.hits.clear()
    monkeypatch.delitem(loopback.TYPED, "503")
    run.retract(FOLDER, 0, own="o1")
    with monkeypatch.context() as patched:
        Deadline(patched, 3)  # the record is taken back; the tar would be next
        with pytest.raises(Killed):
            take(fetch_step(run, web, retry_failed=TRANSIENT), part)
    assert web.hits == {"503": 1, "429": 1}
    take(fetch_step(run, web, retry_failed=TRANSIENT), part)
    assert web.hits == {"503": 1, "429": 2}  # what came is there, what failed is tried again
    assert outcomes(run) == ["http_429", "success", "success"]
    assert (figures(run)["retried"], figures(run)["recovered"]) == (2, 1)
