"""download against a real server: every outcome, the tar, and what is not asked for twice."""

import hashlib
import io
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pytest
from PIL import Image

from curate import files, schema
from curate.commands import demo
from curate.ops.images.encoder import ImageEncoder
from curate.rundir.directory import PLACES_FILE, Run
from curate.schema import Stage
from curate.stages.download import FetchStep
from curate.stages.images import member_name, read_images
from curate.stages.part import TakePart
from curate.stages.select import SelectDownload
from curate.web.fetch import FetchPolicy
from tests.ops.images.doubles import AbortsHangsOrRaisesOnMarkedImages
from tests.stages.rundir import WithCuts, check_conserved, drive, gone, lay, rows_of, uid_of
from tests.stages.web import PICTURES, Web, serve

FOLDER = "download/annotated"
CLIENT = "curate-tests"


@pytest.fixture
def web() -> Iterator[Web]:
    with serve() as served:
        yield served


def pairs(*names: str) -> list[dict[str, Any]]:
    """A pair for each path on x.example, or for each URL; its uid follows from the name."""
    return [
        {"uid": hashlib.md5(name.encode()).hexdigest(),
         "url": name if "://" in name else f"http://x.example/{name}", "caption": f"about {name}"}
        for name in names
    ]  # fmt: skip


def fetch_step(run: Run, web: dict[str, str], **encoder: Any) -> FetchStep:
    policy = FetchPolicy(timeout=1.5, retries=0, max_bytes=100_000, max_redirects=3,
                         user_agent=CLIENT, opt_out=("noai",), connect_to=web)  # fmt: skip
    settings: dict[str, Any] = {"image_size": 48, "max_pixels": 59_999, **encoder}
    return FetchStep(run=run, reads="prepare", digest="d1", own="o1", policy=policy,
                     encoder=ImageEncoder(**settings))  # fmt: skip


def fetched(run: Run, step: FetchStep, *parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Lay the parts, run the step over them, and read every annotated row."""
    laid = lay(run, "prepare", parts, schema.PREPARE)
    assert [p.kept for p in drive(run, beam.ParDo(TakePart(step)), laid)] == [len(p) for p in parts]
    tables = list(run.tables(FOLDER))
    assert all(table.schema.equals(schema.FETCHED) for table in tables)
    return [row for table in tables for row in table.to_pylist()]


def members(run: Run, part: int = 0) -> dict[str, bytes]:
    with tarfile.open(run.part("download", part, "tar")) as archive:
        found = {}
        for member in archive:
            assert (member.mtime, member.uid, member.gid, member.mode) == (0, 0, 0, 0o644)
            content = archive.extractfile(member)
            assert content is not None
            found[member.name] = content.read()
    return found


def figures(run: Run, part: int = 0) -> dict[str, float]:
    record = run.record(FOLDER, part)
    assert record is not None
    return record.figures


OUTCOMES = {
    "wide.png": ("success", None),
    "once": ("success", None),
    "for-others": ("success", None),
    "page": ("html_page", None),
    "text": ("not_an_image", b"just".hex()),
    "empty": ("empty_body", None),
    "cut": ("truncated", "jpeg, 400 bytes"),
    "broken": ("undecodable", "png"),
    "pixels": ("too_many_pixels", "300x200"),
    "drawing": ("vector_image", "svg"),
    "moves.gif": ("success", None),
    "moves.webp": ("success", None),
    "print.jpg": ("success", None),
    "deep.png": ("success", None),
    "profile.jpg": ("success", None),
    "turned.jpg": ("success", None),
    "palette.png": ("success", None),
    "large": ("too_large", "100001"),
    "403": ("http_403", "403"),
    "404": ("http_404", "404"),
    "410": ("http_410", "410"),
    "429": ("http_429", "429"),
    "418": ("http_4xx", "418"),
    "503": ("http_5xx", "503"),
    "304": ("http_other", "304"),
    "circle": ("redirects", "over 3: http://x.example/circle"),
    "inward": ("forbidden_address", "10.1.2.3 is not a public address"),
    "mail": ("bad_url", "mailto:someone@x.example"),
    "reserved": ("opted_out", "noai"),
    "slow": ("timeout", "1.5 s"),
    "http://gone.example/a.png": ("refused", ...),
    "http://192.168.7.7/a.png": ("forbidden_address", "192.168.7.7 is not a public address"),
    "http://no-such-host.invalid/a.png": ("dns", "no-such-host.invalid"),
    "https://x.example/wide.png": ("tls", ...),
    "silent": ("reset", ...),
    "garbage": ("protocol", ...),
}


def test_every_outcome_has_its_reason(run: Run, web: Web) -> None:
    names = list(OUTCOMES)
    found = fetched(run, fetch_step(run, web.addresses), pairs(*names))
    for name, row in zip(names, found, strict=True):
        outcome, detail = OUTCOMES[name]
        assert (row["outcome"], name) == (outcome, name)
        assert row["detail"] == detail or detail is ..., name
        assert (row["sha256"] is None) == (outcome != "success")
    successes = [name for name in names if OUTCOMES[name][0] == "success"]
    assert list(members(run)) == [f"{row['uid']}.jpg" for row in pairs(*successes)]
    assert web.hits["circle"] == 4  # the first request and three redirects


def test_a_decoder_that_crashes_or_hangs_loses_its_image_alone(run: Run, web: Web) -> None:
    """What the doubles do on marked images is real: an abort, and a sleep of ten minutes."""
    encoder = AbortsHangsOrRaisesOnMarkedImages(image_size=48)
    step = replace(fetch_step(run, web.addresses), encoder=encoder, decode_timeout=1)
    names = ["wide.png", "aborts", "tall.jpg", "hangs", "square.jpg"]
    found = fetched(run, step, pairs(*names))
    assert [(row["outcome"], row["detail"]) for row in found] == [
        ("success", None), ("decoder_crashed", "signal 6"), ("success", None),
        ("decoder_hung", "over 1 s"), ("success", None),
    ]  # fmt: skip
    assert len(members(run)) == 3


def test_an_image_that_the_format_has_no_room_for_is_undecodable(run: Run, web: Web) -> None:
    step = fetch_step(run, web.addresses, resize_mode="no", max_pixels=200_000)
    found = fetched(run, step, pairs("long.png", "wide.png"))
    assert [row["outcome"] for row in found] == ["undecodable", "success"]
    assert found[0]["detail"] == "2x70000 is no jpg"


def test_the_tar_holds_the_images_in_the_order_of_the_rows(run: Run, web: Web) -> None:
    names = ["small.webp", "404", "wide.png", "tall.jpg"]
    first, second = pairs(*names), pairs("square.jpg")
    found = fetched(run, fetch_step(run, web.addresses), first, second)
    stored = members(run)
    assert list(stored) == [f"{first[i]['uid']}.jpg" for i in (0, 2, 3)]
    raw = files.read_bytes(run.part("download", 0, "tar"))
    sizes = {"small.webp": (20, 30), "wide.png": (96, 48), "tall.jpg": (48, 86), "404": None}
    for name, row in zip(names, found, strict=False):
        if sizes[name] is None:
            assert {row[x] for x in schema.DOWNLOAD.names} == {None}
            continue
        content = stored[member_name(row["uid"], "jpg")]
        assert raw[row["tar_offset"] : row["tar_offset"] + row["tar_size"]] == content
        image = Image.open(io.BytesIO(content))
        assert image.format == "JPEG"
        assert image.size == (row["width"], row["height"]) == sizes[name]
        sent = PICTURES[name]
        original = Image.open(io.BytesIO(sent)).size
        assert (row["original_width"], row["original_height"]) == original
        assert (row["smaller_side"], row["aspect"]) == (
            min(original),
            max(original) / min(original),
        )
        assert (row["image_bytes"], row["sha256"]) == (len(sent), hashlib.sha256(sent).hexdigest())
    assert figures(run) == {
        "reused": 0, "transient": 0, "stored_bytes": sum(map(len, stored.values()))
    }  # fmt: skip
    kept = files.read_table(run.part(FOLDER, 1))
    assert list(read_images(run, 1, kept, encode_format="jpg")) == list(members(run, 1).values())


def test_a_changed_upstream_asks_for_new_rows_alone(run: Run, web: Web) -> None:
    step = fetch_step(run, web.addresses)
    fetched(run, step, pairs("wide.png", "404", "small.webp", "tall.jpg"))
    assert set(web.hits.values()) == {1}
    web.hits.clear()
    changed = pairs("tall.jpg", "square.jpg", "404", "wide.png")
    found = fetched(run, replace(step, digest="d2"), changed)
    assert web.hits == {"square.jpg": 1}
    assert figures(run)["reused"] == 3
    fresh = Run(run.path("fresh"))
    again = fetched(fresh, replace(step, run=fresh), changed)
    assert found == again
    tars = [files.read_bytes(r.part("download", 0, "tar")) for r in (run, fresh)]
    assert tars[0] == tars[1]


def test_changed_image_settings_ask_for_everything_again(run: Run, web: Web) -> None:
    step = fetch_step(run, web.addresses)
    fetched(run, step, pairs("wide.png", "404"))
    other = fetch_step(run, web.addresses, image_size=24, encode_format="png")
    found = fetched(run, replace(other, digest="d2", own="o2"), pairs("wide.png", "404"))
    assert web.hits == {"wide.png": 2, "404": 2}
    assert figures(run)["reused"] == 0
    assert (found[0]["width"], found[0]["height"]) == (48, 24)
    assert [name[-4:] for name in members(run)] == [".png"]


def test_a_standing_part_asks_for_nothing(run: Run, web: Web) -> None:
    step = fetch_step(run, web.addresses)
    rows = fetched(run, step, pairs("wide.png", "404"))
    assert fetched(run, step, pairs("wide.png", "404")) == rows
    assert web.hits == {"wide.png": 1, "404": 1}


def test_a_part_killed_between_its_tar_and_its_rows_can_be_done_again(run: Run, web: Web) -> None:
    step = fetch_step(run, web.addresses)
    fetched(run, step, pairs("wide.png", "tall.jpg"))
    interrupted = Run(run.path("interrupted"))
    changed = pairs("tall.jpg", "square.jpg")
    expected = fetched(interrupted, replace(step, run=interrupted), changed)
    newer = files.read_bytes(interrupted.part("download", 0, "tar"))
    files.write_bytes(run.part("download", 0, "tar"), newer)  # the tar is new, its rows are old
    assert fetched(run, replace(step, digest="d2"), changed) == expected


def test_the_demo_s_neighbours_are_dropped_with_their_outcome(run: Run) -> None:
    urls = {
        "http://pictures.example/images/0001.jpg": None,
        "http://pictures.example/moved/0002.jpg": None,
        "http://pictures.example/missing/0003.webp": ("http_404", "404"),
        "http://pictures.example/soft-404/0004.jpg": ("html_page", None),
        "http://pictures.example/mislabelled/0005.jpg": ("not_an_image", b"%PDF".hex()),
        "http://pictures.example/reserved/0006.webp": ("opted_out", "noai"),
        "http://gone.example/0007.jpg": ("refused", ...),
    }
    rows = [{"uid": uid_of(i), "url": url, "caption": "x"} for i, url in enumerate(urls)]
    parts = lay(run, "prepare", [rows[:4], rows[4:]], schema.PREPARE)
    columns = schema.after(Stage.DOWNLOAD, enabled=[Stage.PREPARE, Stage.DOWNLOAD])
    select = SelectDownload(
        run=run, reads="prepare", digest="d", own="o", rules=(), columns=columns
    )
    with demo.serve() as addresses:
        step = fetch_step(run, addresses, max_pixels=90_000_000)
        step = replace(step, policy=replace(step.policy, max_bytes=10_000_000))
        yielded = drive(run, _Both(step, select), parts)
    assert [part.kept for part in yielded] == [2, 0]
    assert rows_of(run, "download", "uid") == [uid_of(0), uid_of(1)]
    found = gone(run, Stage.DOWNLOAD, 2)
    assert [(uid, reason) for uid, reason, _ in found] == sorted(
        ((uid_of(i), x[0]) for i, x in enumerate(urls.values()) if x),
        key=lambda pair: (int(pair[0]) >= 4, pair[1]),
    )
    by_uid = {uid: value for uid, _, value in found}
    for i, expected in enumerate(urls.values()):
        assert expected is None or expected[1] is ... or by_uid[uid_of(i)] == expected[1]
    check_conserved(run, Stage.DOWNLOAD, parts)


class _Both(beam.PTransform):
    """Fetch and select, as in the whole graph."""

    def __init__(self, step: FetchStep, select: SelectDownload) -> None:
        super().__init__()
        self._step, self._select = step, select

    def expand(self, parts: Any) -> Any:
        return parts | "Fetch" >> beam.ParDo(TakePart(self._step)) | WithCuts(self._select)


def test_images_that_came_with_the_pool_are_read_and_not_fetched(run: Run, web: Web) -> None:
    came = {"tall.jpg": PICTURES["tall.jpg"], "cut": PICTURES["tall.jpg"][:400], "empty": b"",
            "large": bytes(100_001)}  # fmt: skip
    table = pairs("wide.png", "tall.jpg", "404", "cut", "empty", "large", "square.jpg")
    places = []
    for file, names in (("a.tar", ("tall.jpg", "large")), ("b.bin", ("cut", "empty"))):
        content = b"before"
        for name in names:
            places.append((name, run.path(file), len(content), len(came[name])))
            content += came[name]
        files.write_bytes(run.path(file), content)
    by_name = {name: dict(zip(("file", "offset", "size"), x, strict=True)) for name, *x in places}
    rows = [by_name.get(row["url"].rsplit("/", 1)[1], {}) for row in table]
    columns = pa.Table.from_pylist(rows, schema=schema.PLACES)
    files.write_table(run.part("prepare", 0, PLACES_FILE), columns)
    laid = [replace(part, images=True) for part in lay(run, "prepare", [table], schema.PREPARE)]
    drive(run, beam.ParDo(TakePart(fetch_step(run, web.addresses))), laid)
    found = run.tables(FOLDER).__next__().to_pylist()
    assert [row["outcome"] for row in found] == [
        "success", "success", "http_404", "truncated", "empty_body", "too_large", "success",
    ]  # fmt: skip
    assert web.hits == {"wide.png": 1, "404": 1, "square.jpg": 1}
    fetched_run = Run(run.path("fetched"))
    same = fetched(fetched_run, fetch_step(fetched_run, web.addresses), table)
    assert [row["sha256"] for row in found] == [row["sha256"] for row in same]
    assert members(run) == members(fetched_run)
