"""download: url -> the image in the part's tar, with its sizes and hash.

Images that came with the pool are read where they lie and go the same way as those that are fetched.
`FetchStep` writes an outcome for every pair to ``annotated/download``; `select` then drops those that
failed and those that the image rules drop. Rows of an earlier run under the same image settings are
judged by the limits and lists of today (`curate.web.review`) and taken over without a request; not
those that failed for a reason in `retry_failed`.

A retry is safe. In a local run directory it goes on with the part's journal, so what was stored when
the process was killed is not fetched again; in a remote one it fetches the part again.
"""

import hashlib
import io
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import apache_beam as beam
import pyarrow as pa
import pyarrow.compute as pc

from curate import files, schema
from curate.errors import DamagedError
from curate.ops.captions import own_captions
from curate.ops.hashing import pair_uids
from curate.ops.images.boxes import Box
from curate.ops.images.decoder import isolated
from curate.ops.images.encoder import ImageEncoder, Refusal, StoredImage
from curate.planning.asked import image_encoder
from curate.planning.plan import Plan
from curate.planning.steps import Step
from curate.pool.stored import Place, read_places
from curate.reasons import ROBOTS_TXT, SUCCESS, TRANSIENT, DropReason
from curate.rundir.directory import ALTERED, PLACES_FILE, REUSED, TRANSIENT_ROWS, Part, part_name
from curate.rundir.journal import Columns, Journal
from curate.rundir.tar import TarWriter, read_member
from curate.schema import Stage
from curate.stages.images import Member, member_name, row_keys, uid_of
from curate.stages.part import PartOutput, PartStep, TakePart, given
from curate.stages.unwanted import HASHES, NO_LISTS, Gate, Lists
from curate.web.fetch import Fetched, FetchPolicy, fetch
from curate.web.optout import read_list
from curate.web.review import Review

_NOT_ANSWERED = frozenset({DropReason.OPTED_OUT, DropReason.REDIRECTS})
"""Reasons for which, under today's settings, no request would have come to its end."""
_HEEDED = b"heeded"
"""Key of an annotated table's metadata: see `FetchStep._heeds`."""


@dataclass(frozen=True)
class FetchStep(PartStep):
    """Fetch, check, resize and store the images of one part."""

    stage: ClassVar[Stage] = Stage.DOWNLOAD
    annotates: ClassVar[bool] = True

    policy: FetchPolicy
    encoder: ImageEncoder
    decode_timeout: float = 60.0  # seconds
    retry_failed: frozenset[str] = frozenset()  # reasons
    lists: Lists = NO_LISTS
    keep: bool = False  # images that came with the pool, as they are
    columns: pa.Schema = schema.DOWNLOAD  # of what is found out about an image

    def process(self, part: Part) -> PartOutput:
        """Outcomes go to the part's journal as they come, then to the tar in the order of the rows."""
        table = self.incoming(part)
        pairs = pair_uids(table["url"], own_captions(table)).to_pylist()
        keys, urls = row_keys(table["uid"].to_pylist(), pairs), table["url"].to_pylist()
        boxed = "blur_boxes" in table.column_names
        boxes = table["blur_boxes"].to_pylist() if boxed else [None] * len(keys)
        gate, review = self.gate, self._review()
        encoding, keeping = (
            isolated(encoder, timeout=self.decode_timeout)
            for encoder in (self.encoder, replace(self.encoder, keep=self.keep))
        )
        scratch = files.scratch(self.journal(part))
        with scratch as (file, earlier), encoding as encode, keeping as keep:
            journal = Journal(file, of=f"{self.own} {self._heeds}", earlier=earlier)
            old = self.reusable(part)
            failed = self._take_over(part, old, set(keys), journal, gate, review)
            came = self._places(part)
            missing = []
            for row, key in enumerate(keys):
                columns = journal.columns.get(key)
                if columns is None or self._asks(columns, gate, review):
                    missing.append(row)
                elif stop := _stop(columns, gate, review, url=urls[row], place=came.get(row)):
                    led = None if stop.reason in _NOT_ANSWERED else columns.get("redirects")
                    journal.put(key, _columns(stop)[0] | {"redirects": led}, b"")
            for rows, got in self._gather(came, missing, keys=keys, urls=urls):
                made: dict[tuple[Box, ...], StoredImage | Refusal] = {}  # by what is blurred
                for row in rows:
                    make, blur = (
                        keep if row in came else encode,
                        tuple(map(tuple, boxes[row] or ())),
                    )
                    if blur not in made:
                        made[blur] = (
                            Refusal(got.reason, got.detail)
                            if got.reason
                            else make(got.content, blur=blur)
                        )
                    image = gate.check(made[blur])
                    if row in came and isinstance(image, StoredImage):
                        image = gate.check(_made_of(image, came[row]))
                    columns, content = _columns(image)
                    redirects = {"redirects": got.redirects or None}
                    journal.put(keys[row], columns | redirects, content)
            annotated, size = self._write_tar(part, keys, pairs, journal, old)
        figures = {
            REUSED: len(keys) - len(missing),
            TRANSIENT_ROWS: sum(x in TRANSIENT for x in annotated["outcome"].to_pylist()),
            "stored_bytes": pc.sum(annotated["tar_size"]).as_py() or 0,
        }
        if self.retry_failed:
            recovered = sum(journal.columns[key]["outcome"] == SUCCESS for key in failed)
            figures |= {"retried": len(failed), "recovered": recovered}
            figures[ALTERED] = _changed(old, annotated, "outcome", "detail")
        if old is not None and not old.equals(annotated):
            self.run.retract(self.stage, part.index, own="")  # what was selected of other rows
        held = {part_name(self.stage, part.index, "tar"): files.Content(size)}
        return PartOutput(annotated, figures=figures, wrote=held)

    @property
    def _heeds(self) -> str:
        """The opt-outs that requests respect: stored rows do not tell whether a server would object."""
        asked = {
            *map(str.lower, self.policy.opt_out),
            *([ROBOTS_TXT] if self.policy.robots else ()),
        }
        return ",".join(sorted(asked))

    @cached_property
    def gate(self) -> Gate:
        """The block lists, and what was revoked from the run, which is locked; read once a worker."""
        return self.lists.open(self.run)

    def _review(self) -> Review:
        path = self.policy.opt_out_list
        return Review(self.policy, self.encoder, read_list(path) if path else None)

    def reusable(self, part: Part) -> pa.Table | None:
        """As for every step; None where they were fetched without an opt-out of today's settings."""
        old = super().reusable(part)
        if old is None:
            return None
        heeded = (old.schema.metadata or {}).get(_HEEDED, b"").decode().split(",")
        return old if set(self._heeds.split(",")) <= {*heeded, ""} else None

    def _asks(self, known: Columns, gate: Gate, review: Review) -> bool:
        """Whether a row with these columns of an earlier run has to be fetched again."""
        if gate.is_stale(known) or review.reopens(known):
            return True
        return known["outcome"] in self.retry_failed

    def _gather(
        self, came: dict[int, Place], rows: list[int], *, keys: list[str], urls: list[str]
    ) -> Iterator[tuple[list[int], Fetched]]:
        """The image of each of `rows`: those that came with the pool are read, the others fetched.

        A URL is asked for once, for all rows that have it.
        """
        for row, content in read_places((row, came[row]) for row in rows if row in came):
            if 0 < len(content) <= self.policy.max_bytes:
                yield [row], Fetched(row, content=content)
            else:
                reason = DropReason.TOO_LARGE if content else DropReason.EMPTY_BODY
                yield [row], Fetched(row, reason=reason, detail=str(len(content)))
        of: dict[str, list[int]] = {}
        for row in rows:
            if row not in came:
                of.setdefault(urls[row].strip().partition("#")[0], []).append(row)
        asked = list(of.values())
        uids = [uid_of(keys[first]) for first, *_ in asked]
        for got in fetch([urls[first] for first, *_ in asked], uids=uids, policy=self.policy):
            yield asked[got.index], got

    def _places(self, part: Part) -> dict[int, Place]:
        """Where the images lie that came with the pool, by row."""
        if not part.images:
            return {}
        table = self.run.rows(self.reads, part, PLACES_FILE)
        rows = zip(*(table[name].to_pylist() for name in schema.PLACES.names), strict=True)
        return {row: Place(*place) for row, place in enumerate(rows) if place[0] is not None}

    def _take_over(
        self, part: Part, old: pa.Table | None, keys: set[str], journal: Journal, gate: Gate,
        review: Review,
    ) -> set[str]:  # fmt: skip
        """Bring what an earlier run found into the journal; the rows that are to be tried again."""
        failed = {
            key
            for key in keys & journal.columns.keys()
            if self._asks(journal.columns[key], gate, review)
        }
        if old is None:
            return failed
        url = self.run.part(self.stage, part.index, "tar")
        with ExitStack() as opened:
            tar = opened.enter_context(files.open_read(url)) if files.exists(url) else io.BytesIO()
            known = row_keys(old["uid"].to_pylist(), old["pair"].to_pylist())
            for key, columns in zip(known, old.to_pylist(), strict=True):
                del columns["uid"], columns["pair"]
                if key in keys and self._asks(columns, gate, review):
                    failed.add(key)
                elif key in keys and key not in journal.columns:
                    content = b""
                    if columns["outcome"] == SUCCESS:
                        try:
                            names = "tar_offset", "tar_size", "stored_sha256"
                            member = Member(uid_of(key), *(columns[name] for name in names))
                            content = member.read(
                                tar, url=url, encode_format=self.encoder.encode_format
                            )
                        except DamagedError:
                            continue  # or a run killed here left a newer tar: it is fetched again
                    journal.put(key, columns, content)
        return failed

    def _write_tar(
        self, part: Part, keys: list[str], pairs: list[str], journal: Journal, old: pa.Table | None
    ) -> tuple[pa.Table, int]:
        """The rows of the part, once its tar holds their images, and the bytes of the tar.

        A tar that holds them already stays: later parts, and rebalanced runs, know its places.
        """
        rows = [
            {**journal.columns[key], "uid": uid_of(key), "pair": pair}
            for key, pair in zip(keys, pairs, strict=True)
        ]
        stored = [
            (key, row) for key, row in zip(keys, rows, strict=True) if row["outcome"] == SUCCESS
        ]
        if self._kept_places(part, stored, journal, old):
            size = files.size(self.run.part(self.stage, part.index, "tar"))
        else:
            with files.atomic_write(self.run.part(self.stage, part.index, "tar")) as file:
                tar = TarWriter(file, hashed=False)
                for key, row in stored:
                    content = journal.content(key)
                    name = member_name(row["uid"], self.encoder.encode_format)
                    row["tar_size"], row["tar_offset"] = len(content), tar.add(name, content)
                    row["stored_sha256"] = hashlib.sha256(content).hexdigest()
                tar.end()
            size = tar.size
        columns = pa.schema([*schema.OUTCOME, *self.columns], metadata={_HEEDED: self._heeds})
        return pa.Table.from_pylist(rows, schema=columns), size

    def _kept_places(
        self, part: Part, stored: list[tuple[str, Columns]], journal: Journal,
        old: pa.Table | None,
    ) -> bool:  # fmt: skip
        """Whether the part's tar holds the images of exactly these rows, at the places of `old`.

        Then the rows are given these places.
        """
        if old is None:
            return False
        known = row_keys(old["uid"].to_pylist(), old["pair"].to_pylist())
        places = {
            key: row
            for key, row in zip(known, old.to_pylist(), strict=True)
            if row["outcome"] == SUCCESS
        }
        if places.keys() != {key for key, _ in stored}:
            return False
        url = self.run.part(self.stage, part.index, "tar")
        if not files.exists(url) or files.size(url) % tarfile.RECORDSIZE:
            return False
        with files.open_read(url) as tar:
            for key, row in stored:
                offset, size = places[key]["tar_offset"], places[key]["tar_size"]
                name = member_name(row["uid"], self.encoder.encode_format)
                try:
                    if read_member(tar, name=name, offset=offset, size=size) != journal.content(
                        key
                    ):
                        return False
                except tarfile.ReadError:
                    return False
        for key, row in stored:
            row |= {x: places[key][x] for x in ("tar_offset", "tar_size", "stored_sha256")}
        return True


def _changed(old: pa.Table | None, new: pa.Table, *names: str) -> int:
    """How many rows differ from what they were in one of these columns."""
    if old is None or not old["uid"].equals(new["uid"]):
        return len(new)
    was, now = (table.select(names).to_pylist() for table in (old, new))
    return sum(one != other for one, other in zip(was, now, strict=True))


def _stop(
    columns: Columns, gate: Gate, review: Review, *, url: str, place: Place | None
) -> Refusal | None:
    """Why a row of an earlier run is to be dropped by now; with the `place` of an image that came."""
    # What the pool says of an original is not what was decoded here.
    size_of = "" if place and place.original_width else "original_"
    if stop := review.refusal(columns, url=None if place else url, size_of=size_of):
        return stop
    if columns["outcome"] != SUCCESS:
        return None
    hashes = {x: columns[x] for x in HASHES}
    hit = gate.verdict(**hashes)
    if hit is None and place and place.sha256:
        hit = gate.verdict(**(hashes | {"sha256": columns.get("stored_sha256")}))
    return Refusal(hit[0], str(hit[1])) if hit else None


def _made_of(image: StoredImage, place: Place) -> StoredImage:
    """An image that came with the pool, with what the pool says of its original."""
    known = {name: getattr(place, name) for name in ("original_width", "original_height", "sha256")}
    return replace(image, **{name: value for name, value in known.items() if value is not None})


def _columns(image: StoredImage | Refusal) -> tuple[Columns, bytes]:
    if isinstance(image, Refusal):
        return {"outcome": str(image.reason), "detail": image.detail or None}, b""
    columns = {name: value for name, value in vars(image).items() if name != "content"}
    sides = (image.original_width, image.original_height)
    derived = {"smaller_side": min(sides), "aspect": max(sides) / min(sides)}
    return {"outcome": SUCCESS, **columns, **derived}, image.content


def transform(plan: Plan, step: Step) -> beam.PTransform:
    """Parts of pairs -> parts whose images are fetched; a map."""
    return beam.ParDo(TakePart(step_of(plan, step)))


def step_of(plan: Plan, step: Step) -> FetchStep:
    """What fetches the images of a part under `plan`."""
    download = plan.config.download
    hashed = download.perceptual_hash or "pdq" in plan.blocked
    return FetchStep(
        **given(plan, step),
        policy=FetchPolicy(
            **download.model_dump(include=set(FetchPolicy.__dataclass_fields__) - {"proxy"}),
            proxy=download.proxy,  # with its password, which no dump has
        ),
        encoder=image_encoder(download, perceptual_hash=hashed, md5="md5" in plan.blocked),
        keep=download.keeps,
        columns=plan.steps.added[step.stage],
        lists=Lists(tuple(map(files.absolute, download.block_lists)), download.block_distance),
        retry_failed=plan.retry_failed,
        decode_timeout=download.decode_timeout,
    )
