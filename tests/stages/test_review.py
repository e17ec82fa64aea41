"""Limits and lists that change over stored images: what is asked for again, and what falls out.

The oracle of each change is a run that had the new settings from the start.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from curate import files, schema
from curate.rundir.directory import Run
from curate.stages.download import FetchStep
from curate.stages.part import TakePart
from tests.stages import web as loopback
from tests.stages.rundir import lay
from tests.stages.test_download import FOLDER, fetch_step, figures, members, pairs
from tests.stages.web import Web, serve

NAMES = ["wide.png", "small.webp", "tall.jpg", "pixels", "once", "twice", "large", "reserved", "404",
         "text"]  # fmt: skip
HOST = "http://x.example/"
ROBOTS = b"User-agent: *\nDisallow: /small\n"


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    monkeypatch.setitem(loopback.MOVED, "twice", "/once")
    monkeypatch.setitem(loopback.TYPED, "robots.txt", (200, ROBOTS))
    with serve() as served:
        yield served


def changed(
    step: FetchStep,
    tmp_path: Path,
    *,
    digest: str,
    listed: list[str] | None = None,
    **settings: Any,
) -> FetchStep:
    """The step under other settings; `own` is the same, as none of them says what an image is."""
    of_encoder = {
        x: settings.pop(x) for x in ("max_pixels", "max_pixels_per_byte") if x in settings
    }
    if listed is not None:
        path = tmp_path / f"{digest}.txt"
        path.write_text("\n".join(listed) + "\n")
        settings["opt_out_list"] = str(path)
    return replace(
        step,
        digest=digest,
        policy=replace(step.policy, **settings),
        encoder=replace(step.encoder, **of_encoder),
    )


def rows(step: FetchStep, names: Sequence[str] = NAMES) -> list[dict[str, Any]]:
    """What the step finds of the names."""
    (part,) = lay(step.run, "prepare", [pairs(*names)], schema.PREPARE)
    assert [one.kept for one in TakePart(step).process(part)] == [len(names)]
    found: list[dict[str, Any]] = files.read_table(step.run.part(FOLDER, 0)).to_pylist()
    return found


CHANGES: dict[str, tuple[dict[str, Any], dict[str, Any], set[str]]] = {
    "a list is added": ({}, {"listed": [f"{HOST}small.webp", f"{HOST}404"]}, set()),
    "a list names where a redirect led": ({}, {"listed": [f"{HOST}once"]}, set()),
    "a list names a host": ({}, {"listed": ["example"]}, set()),
    "a list is left out": ({"listed": [f"{HOST}small.webp", f"{HOST}once"]}, {},
                           {"small.webp", "once", "twice", "wide.png"}),
    "a list is another": ({"listed": [f"{HOST}small.webp", f"{HOST}tall.jpg"]},
                          {"listed": [f"{HOST}wide.png", f"{HOST}tall.jpg"]}, {"small.webp"}),
    "larger files": ({}, {"max_bytes": 200_000}, {"large"}),
    "hardly larger files": ({}, {"max_bytes": 100_000}, set()),
    "as large as is asked": ({}, {"max_bytes": 100_001}, {"large"}),
    "smaller files": ({}, {"max_bytes": 1_000}, set()),
    "more pixels": ({}, {"max_pixels": 60_000}, {"pixels"}),
    "fewer pixels": ({}, {"max_pixels": 4_000}, set()),
    "fewer redirects": ({}, {"max_redirects": 1}, set()),
    "none": ({}, {"max_redirects": 0}, set()),
    "more redirects": ({"max_redirects": 0}, {"max_redirects": 1}, {"once", "twice", "wide.png"}),
    "one reservation less": ({"opt_out": ("noai", "noindex")}, {"opt_out": ("noindex",)},
                             {"reserved"}),
    "one reservation more": ({}, {"opt_out": ("noai", "noindex")}, set(NAMES)),
    "without robots.txt": ({"robots": True}, {"robots": False}, {"small.webp"}),
    "with robots.txt": ({}, {"robots": True}, {*NAMES, "robots.txt"} - {"small.webp"}),
    "a user agent": ({}, {"user_agent": "another"}, set()),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_asks_for_what_it_may_mend_and_ends_as_a_new_run(
    run: Run, web: Web, tmp_path: Path, name: str
) -> None:
    before, after, asked = CHANGES[name]
    base = fetch_step(run, web.addresses)
    first = rows(changed(base, tmp_path, digest="d1", **before))
    web.hits.clear()
    step = changed(base, tmp_path, digest="d2", **after)
    found = rows(step)
    assert set(web.hits) == asked
    fresh = Run(run.path("fresh"))
    for was, row, new in zip(first, found, rows(replace(step, run=fresh)), strict=True):
        refused = "success" not in (was["outcome"], new["outcome"])
        assert row == new or (refused and row == was)  # a refusal that stands keeps its reason
    assert members(run) == members(fresh)
    assert files.read_bytes(run.part("download", 0, "tar")) == files.read_bytes(
        fresh.part("download", 0, "tar")
    )


def test_what_was_stored_under_less_is_not_used_later_either(
    run: Run, web: Web, tmp_path: Path
) -> None:
    """Heeding less makes no row heed more: the way back asks for everything."""
    base = fetch_step(run, web.addresses)
    more: dict[str, Any] = {"opt_out": ("noai", "noindex")}
    rows(changed(base, tmp_path, digest="d1", **more))
    rows(changed(base, tmp_path, digest="d2"))
    assert figures(run)["reused"] == len(NAMES)
    rows(changed(base, tmp_path, digest="d3", **more))
    assert figures(run)["reused"] == 0


def test_bombs_are_judged_by_what_is_known_of_them(run: Run, web: Web, tmp_path: Path) -> None:
    """An image over `SMALL` pixels, and a limit of pixels a byte that it meets or not."""
    base = fetch_step(run, web.addresses, max_pixels=10**7)
    size = (1_300, 900)
    loopback.PICTURES["vast.png"] = loopback.picture(*size)
    try:
        pixels, sent = size[0] * size[1], len(loopback.PICTURES["vast.png"])
        over, under = pixels / sent * 0.9, pixels / sent * 1.1
        outcomes = []
        for digest, limit in (("d1", under), ("d2", over), ("d3", over * 0.9), ("d4", under)):
            step = changed(base, tmp_path, digest=digest, max_pixels_per_byte=limit)
            web.hits.clear()
            (row,) = rows(step, ["vast.png"])
            outcomes.append((row["outcome"], row["detail"], web.hits.total()))
    finally:
        del loopback.PICTURES["vast.png"]
    bomb = ("decompression_bomb", f"1300x900 in {sent} bytes", 0)
    assert outcomes == [("success", None, 1), bomb, bomb, ("success", None, 1)]
