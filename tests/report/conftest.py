"""A run directory written by hand: every pair's fate is stated, and real files follow from it."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pytest

from curate import files, schema
from curate.config import Config
from curate.ops.hashing import pair_uids
from curate.ops.selection.balancing import entry_probs, t_to_p
from curate.report.write import write_report
from curate.rundir.directory import PartRecord, Run
from curate.rundir.tar import TarWriter
from curate.schema import Stage

STAGES = [Stage.PREPARE, Stage.DOWNLOAD, Stage.DEDUP, Stage.SCORE, Stage.BALANCE]


@dataclass(frozen=True)
class Fate:
    """A pair, and the stage at which it leaves."""

    uid: str
    caption: str
    url: str = "https://example.org/a.jpg"
    language: str = "en"
    matches: tuple[int, ...] = (0,)
    size: tuple[int, int] = (300, 200)  # of the original, width and height
    score: float = 0.3
    cluster_size: int = 1
    stage: Stage | None = None
    reason: str = ""
    value: str | None = None
    dead: bool = False

    def reaches(self, stage: Stage) -> bool:
        """Whether the pair comes into `stage`."""
        return self.stage is None or STAGES.index(self.stage) >= STAGES.index(stage)

    @property
    def has_image(self) -> bool:
        return self.reaches(Stage.DOWNLOAD) and not (
            self.stage is Stage.DOWNLOAD and not self.reason.startswith("rule:")
        )


def jpeg(uid: str) -> bytes:
    """A plain picture of 60 x 40 pixels whose colour depends on the uid."""
    colour = [16 * int(uid[i], 16) for i in (31, 30, 29)]
    pixels = np.full((40, 60, 3), colour, np.uint8)
    return cv2.imencode(".jpg", pixels)[1].tobytes()


def write_run(
    root: str,
    parts: list[list[Fate]],
    *,
    enabled: list[Stage],
    entries: dict[str, list[str]] | None = None,
    t: float = 2.0,
    quantiles: list[dict[str, Any]] | None = None,
) -> Run:
    """Write the files of a finished run as the stages do."""
    run = Run(root)
    for index, fates in enumerate(parts):
        places = _write_images(run, index, fates) if Stage.DOWNLOAD in enabled else {}
        for stage in enabled:
            _write_part(run, stage, index, fates, places=places, enabled=enabled)
    if Stage.BALANCE in enabled:
        _write_entries(run, [f for fates in parts for f in fates], entries or {}, t=t)
    if quantiles:
        files.write_json(run.path(Stage.SCORE, "quantiles.json"), quantiles)
    if Stage.DOWNLOAD in enabled:
        _write_shard(run, [f for fates in parts for f in fates if f.stage is None])
    rows = sum(map(len, parts))
    source = {"path": "pool.parquet", "rows": rows, "bytes": 1234, "digest": "d" * 64}
    run.update(
        seed=7, config_digest="c0ffee", versions={"curate": "0.1.0"}, inputs=[source], state="done"
    )
    return run


def pair_of(fate: Fate) -> str:
    """The hash of a pair's URL and caption."""
    found: list[str] = pair_uids(pa.array([fate.url]), pa.array([fate.caption])).to_pylist()
    return found[0]


def _columns(fate: Fate, place: tuple[int, int] | None) -> dict[str, Any]:
    width, height = fate.size
    fetched = {
        "width": 60, "height": 40, "original_width": width, "original_height": height,
        "smaller_side": min(fate.size), "aspect": max(fate.size) / min(fate.size),
        "image_format": "jpeg" if fate.url.endswith("jpg") else "png", "image_bytes": 5000,
        "sha256": fate.uid * 2, "md5": None, "phash": None, "phash_quality": 100, "look": None,
        "exif": None,
        "tar_offset": place[0] if place else None, "tar_size": place[1] if place else None,
        "stored_sha256": None,
    }  # fmt: skip
    return {
        "uid": fate.uid, "url": fate.url, "caption": fate.caption, "language": fate.language,
        "language_score": 0.9, "caption_chars": len(fate.caption),
        "caption_words": len(fate.caption.split()),
        "matches": list(fate.matches), **(fetched if place else dict.fromkeys(fetched)),
        "cluster": fate.uid, "cluster_size": fate.cluster_size, "clip_score": fate.score,
        "keep_probability": 1.0,
    }  # fmt: skip


def _write_images(run: Run, index: int, fates: list[Fate]) -> dict[str, tuple[int, int]]:
    places = {}
    with files.atomic_write(run.part(Stage.DOWNLOAD, index, "tar")) as file:
        tar = TarWriter(file)
        for fate in fates:
            if fate.has_image:
                content = jpeg(fate.uid)
                places[fate.uid] = (tar.add(f"{fate.uid}.jpg", content), len(content))
        tar.end()
    return places


def _write_part(
    run: Run,
    stage: Stage,
    index: int,
    fates: list[Fate],
    *,
    places: dict[str, tuple[int, int]],
    enabled: list[Stage],
) -> None:
    incoming = [fate for fate in fates if fate.reaches(stage)]
    kept = [fate for fate in incoming if fate.stage is not stage]
    gone = [fate for fate in incoming if fate.stage is stage]
    rows = [_columns(fate, places.get(fate.uid)) for fate in incoming]
    if stage in (Stage.DOWNLOAD, Stage.SCORE):
        folder = files.join(stage, "annotated")
        annotated = schema.FETCHED if stage is Stage.DOWNLOAD else schema.SCORED
        outcomes = [
            row
            | {"outcome": "success" if fate.has_image else fate.reason, "detail": fate.value}
            | {"pair": pair_of(fate), "redirects": None, "scored": None}
            for row, fate in zip(rows, incoming, strict=True)
        ]
        files.write_table(run.part(folder, index), _table(outcomes, annotated))
        record = PartRecord("digest", "own", rows=len(incoming), kept=len(incoming), seconds=0.5)
        run.write_record(folder, index, record)
    wanted = schema.after(stage, enabled=enabled)
    table = _table([r for r, f in zip(rows, incoming, strict=True) if f in kept], wanted)
    files.write_table(run.part(stage, index), table)
    for dead, folder_url, shape in (
        (False, run.ledger(stage, index), schema.LEDGER),
        (True, run.dead(stage, index), schema.DEAD),
    ):
        left = [
            {"uid": f.uid, "url": f.url, "caption": f.caption, "stage": stage, "reason": f.reason,
             "error": f.reason, "value": f.value, "detail": f.value}
            for f in gone if f.dead is dead
        ]  # fmt: skip
        files.write_table(folder_url, _table(left, shape))
    record = PartRecord(
        "digest",
        "own",
        rows=len(incoming),
        kept=len(kept),
        dropped=dict(sorted(Counter(f.reason for f in gone if not f.dead).items())),
        dead=dict(sorted(Counter(f.reason for f in gone if f.dead).items())),
        figures={
            figure + fate.reason.removeprefix("rule:"): 1
            for fate in gone
            for figure in ("alone:", "only:")
            if fate.reason.startswith("rule:")
        },
        seconds=1.0,
    )
    run.write_record(stage, index, record)


def _table(rows: list[dict[str, Any]], shape: pa.Schema) -> pa.Table:
    return pa.table([pa.array([row[f.name] for row in rows], f.type) for f in shape], schema=shape)


def _write_entries(run: Run, fates: list[Fate], entries: dict[str, list[str]], *, t: float) -> None:
    tables, thresholds = [], {}
    for language, names in entries.items():
        ours = [f for f in fates if f.language == language and f.reaches(Stage.BALANCE)]
        before = Counter(entry for f in ours for entry in f.matches)
        after = Counter(entry for f in ours if f.stage is None for entry in f.matches)
        counts = [before[i] for i in range(len(names))]
        columns = [
            [language] * len(names), range(len(names)), names, counts, entry_probs(counts, t=t),
            [after[i] for i in range(len(names))],
        ]  # fmt: skip
        tables.append(pa.table([pa.array(c) for c in columns], schema.ENTRIES.names))
        thresholds[language] = {
            "t": t, "p": t_to_p(counts, t=t), "pairs": len(ours), "matches": sum(counts),
            "entries": len(names),
        }  # fmt: skip
    table = pa.concat_tables(tables).cast(schema.ENTRIES)
    files.write_table(run.path(Stage.BALANCE, "entries.parquet"), table)
    files.write_json(run.path(Stage.BALANCE, "thresholds.json"), thresholds)


def _write_shard(run: Run, kept: list[Fate]) -> None:
    with files.atomic_write(run.path(Stage.SHARDS, "00000.tar")) as file:
        tar, rows = TarWriter(file), []
        for i, fate in enumerate(kept):
            key = f"00000{i:04d}"
            rows.append(document := {"key": key, "status": "success", "error_message": None,
                                     **_columns(fate, (0, 0))})  # fmt: skip
            tar.add(f"{key}.jpg", jpeg(fate.uid))
            tar.add(f"{key}.txt", fate.caption.encode())
            tar.add(f"{key}.json", json.dumps(document).encode())
        digest = tar.end()
    files.write_table(run.path(Stage.SHARDS, "00000.parquet"), pa.Table.from_pylist(rows))
    shard = {"name": "00000", "pairs": len(kept), "bytes": tar.size, "sha256": digest}
    manifest = {"pairs": len(kept), "bytes": tar.size, "shards": [shard]}
    files.write_json(run.path(Stage.SHARDS, "manifest.json"), manifest)


def uid(n: int) -> str:
    """A uid that sorts as `n` does."""
    return f"{n:032x}"


def config(**changes: Any) -> Config:
    """The configuration of the runs here."""
    document: dict[str, Any] = {
        "input": {"paths": ["pool.parquet"]},
        "prepare": {"metadata": {"en": "en.txt", "de": "de.txt"}},
        "score": {"model": "tiny"},
        "select": [
            {"name": "small", "column": "smaller_side", "min": 100},
            {"column": "clip_score", "min": 0.2},
            {"name": "best", "column": "clip_score", "top_fraction": 0.9},
        ],
        "balance": {"t": 2},
    }
    return Config.model_validate(document | changes)


FATES = [
    [
        Fate(uid(1), "a cat on a mat", matches=(0, 1), cluster_size=3),
        Fate(uid(2), "a cat | a dog", matches=(0, 2), url="https://example.org/b.PNG?w=1"),
        Fate(uid(3), "<script>alert(1)</script> cat", url="javascript:alert(1)"),
        Fate(uid(4), "zzz", matches=(), stage=Stage.PREPARE, reason="no_match"),
        Fate(uid(5), "un chat", language="fr", stage=Stage.PREPARE, reason="language", value="fr"),
        Fate(uid(6), "cat", stage=Stage.DOWNLOAD, reason="http_404", value="404"),
        Fate(uid(7), "cat", stage=Stage.DOWNLOAD, reason="rule:small", value="50", size=(90, 50)),
        Fate(uid(8), "cat", stage=Stage.PREPARE, reason="null_url", url="", dead=True),
    ],
    [
        Fate(uid(9), "ein Hund", language="de", matches=(0,), url="https://example.org/x"),
        Fate(uid(10), "zz", matches=(), stage=Stage.PREPARE, reason="no_match"),
        Fate(uid(11), "cat", stage=Stage.DEDUP, reason="duplicate_image", value=uid(1)),
        Fate(uid(12), "cat", stage=Stage.DEDUP, reason="duplicate_url", value=uid(1)),
        Fate(uid(13), "cat", stage=Stage.SCORE, reason="rule:clip_score", value="0.1", score=0.1),
        Fate(uid(14), "a cat", stage=Stage.BALANCE, reason="sampled_out", value="0.4"),
    ],
]
"""Fourteen pairs in two parts, of which four are kept."""


QUANTILES: list[dict[str, Any]] = [
    {"column": "clip_score", "top_fraction": 0.9, "per": None, "group": None, "pairs": 6,
     "cut": 0.15},
]  # fmt: skip


ENTRIES = {"en": ["cat", "mat", "dog", "yak"], "de": ["Hund"]}


@pytest.fixture
def full_config() -> Config:
    """Every stage."""
    return config()


@pytest.fixture
def full_run(tmp_path: Path) -> Run:
    """Every stage ran: 14 pairs in, 4 kept."""
    root = str(tmp_path / "full")
    return write_run(root, FATES, enabled=STAGES, entries=ENTRIES, quantiles=QUANTILES)


@pytest.fixture(scope="session")
def reported_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Every stage ran, the report as well; tests read it only."""
    root = str(tmp_path_factory.mktemp("runs") / "full")
    run = write_run(root, FATES, enabled=STAGES, entries=ENTRIES, quantiles=QUANTILES)
    write_report(run, config())
    return run


@pytest.fixture
def text_config() -> Config:
    """Text alone."""
    return config(download={"enabled": False}, score=None, select=[])


@pytest.fixture
def text_run(tmp_path: Path) -> Run:
    """Without download there are neither images nor scores nor shards: 11 pairs in, 4 kept."""
    fates = [[f for f in part if f.stage not in (Stage.DOWNLOAD, Stage.SCORE)] for part in FATES]
    stages = [Stage.PREPARE, Stage.DEDUP, Stage.BALANCE]
    return write_run(str(tmp_path / "text"), fates, enabled=stages, entries=ENTRIES)


@pytest.fixture
def unbalanced_config() -> Config:
    """Neither duplicates nor balance."""
    return config(balance=None, dedup={"enabled": False})


@pytest.fixture
def unbalanced_run(tmp_path: Path) -> Run:
    """Neither dedup nor balance ran: 11 pairs in, 4 kept."""
    fates = [[f for f in part if f.stage not in (Stage.DEDUP, Stage.BALANCE)] for part in FATES]
    stages = [Stage.PREPARE, Stage.DOWNLOAD, Stage.SCORE]
    return write_run(str(tmp_path / "unbalanced"), fates, enabled=stages)
