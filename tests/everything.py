"""A configuration with everything on that needs no further package, over a small pool of its own.

`lay` writes pool, lists, target and evaluation set into a folder and returns the path of the
configuration, `everything.yaml`; the run of it takes a few seconds and no network. `whole` is that
run, a fixture; who changes it works on a copy. A reader and a score of users' are in it, and a rule
over text with a list. Left out is what excludes another: `balance.wfpp` (the balance stands), sizes of
the pool (images come).
"""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from filelock import FileLock

from curate.files import shipped
from tests.users.runs import at_each_write, well

SCORER = shipped("pipelines/demo/scorer")
MODEL = {
    "model": str(SCORER / "curate-mini.json"),
    "pretrained": str(SCORER / "curate-mini.safetensors"),
}
OWN = '''
import pyarrow.parquet as pq


def rows(path):
    """A pool as users read it."""
    yield from pq.ParquetFile(path).iter_batches()


class Shade:
    """Columns of the image and of what another score left."""

    columns = {"contrast": "float32", "tone": "string"}
    reads = ("image", "image_embedding", "clip_score")
    version = "1"

    def __call__(self, batch):
        assert len(batch.image_embeddings) == len(batch.columns["clip_score"]) == len(batch.images)
        means = [image.mean() for image in batch.images]
        return {
            "contrast": [image.std() for image in batch.images],
            "tone": ["bright" if mean > 128 else "dark" for mean in means],
        }
'''
"""What users write: a file beside the configuration."""
PICTURES = 36
"""Pictures of the pool, each of which comes at least once."""
_WIDTH = 256
_THINGS = ("house", "tree", "boat", "flag", "bird", "stone")
_GERMAN = (
    "Auf diesem Bild ist ein altes Haus zu sehen", "Die Sammlung der Vögel im Museum der Stadt",
    "Ein Baum steht allein auf dem Feld im Winter", "Das Boot liegt im Hafen, das Wasser ist ruhig",
    "Eine Zeichnung von einem Stein auf dem Weg", "Die Flagge weht über dem Dach, Bild von oben",
    "Zwei Kinder spielen vor dem Haus mit einem Ball", "Bild einer Blume, die im Garten gewachsen ist",
    "Der Hund schläft unter dem Baum neben der Bank",
)  # fmt: skip


def uid_of(k: int) -> str:
    """The uid of row `k` of the pool."""
    return hashlib.md5(f"pair {k}".encode()).hexdigest()


def rows() -> list[dict[str, Any]]:
    """The pool: each picture with a caption, and again as another file, with another or nearly the
    same caption; at the end pairs that leave early."""
    found: list[dict[str, Any]] = []

    def add(url: str, caption: str, image: str | None, stars: int) -> None:
        boxes = [[0.1, 0.1, 0.3, 0.3]] if len(found) % 5 == 0 else None
        found.append({
            "id": uid_of(len(found)), "url": url, "caption": caption, "image": image, "stars": stars,
            "width": 7, "boxes": boxes,
        })  # fmt: skip

    told = _captions()
    for k in range(PICTURES):
        caption = f"{told[k]}, a {_THINGS[k % len(_THINGS)]}"
        if k % 4 == 3:
            caption = _GERMAN[k // 4]
        add(f"http://a.example/{k}.png", caption, f"{k}.png", k % 5)
        if k % 3 == 0:
            add(f"http://b.example/{k}.png", f"{k} is what someone else calls it: {told[-k - 1]}",
                f"small/{k}.png", 9)  # fmt: skip
        if k % 6 == 1:
            add(f"http://c.example/{k}.png", caption + "!", f"{k}.png", 1)
    add("http://127.0.0.1/private.png", "A picture at an address that is private", None, 1)
    add("http://a.example/none.png", "", "0.png", 1)
    add("ftp://a.example/old.png", "A picture at an address of another kind", None, 1)
    add(
        "http://a.example/fr.png",
        "Une image avec une légende en français, pour tout dire",
        "1.png",
        1,
    )
    add("http://a.example/nothing.png", "Words that are in none of the lists at all", "2.png", 1)
    add("http://left.example/1.png", "A boat of which its host wants nobody to know", None, 1)
    return found


def _captions() -> list[str]:
    """Captions of the demo's pool, of different lengths."""
    lines = shipped("pipelines/demo/pool/pool.jsonl").read_text().splitlines()[: 2 * PICTURES]
    return [json.loads(line)["caption"][:80] for line in lines]


def _pictures(folder: Path) -> None:
    (folder / "small").mkdir(parents=True)
    k = 0
    for path in sorted(shipped("pipelines/demo/pool/images").iterdir()):
        pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if pixels is None or pixels.ndim != 3 or pixels.shape[2] != 3 or max(pixels.shape) > 600:
            continue
        smaller = cv2.resize(pixels, None, fx=0.8, fy=0.8, interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(folder / f"{k}.png"), pixels)
        cv2.imwrite(str(folder / "small" / f"{k}.png"), smaller)
        k += 1
        if k == PICTURES:
            return


def config(folder: Path) -> dict[str, Any]:
    """The document; all files that it names are in `folder`."""
    target = str(folder / "target.npy")
    return {
        "input": {
            "paths": str(folder / "pool" / "pool.parquet"), "format": "own_everything:rows",
            "columns": {"uid": "id", "image": "image", "blur_boxes": "boxes",
                        "keep": ["stars", "width"]},
        },
        "part_rows": 20,
        "prepare": {
            "languages": ["en", "de"], "unsure": {"below": 0.3, "language": "en"},
            "metadata": {x: str(folder / f"{x}.txt") for x in ("en", "de")}, "ignore_case": True,
            "words_in": str(folder / "words.txt"), "uids_in": str(folder / "uids.npy"),
        },
        "download": {
            "image_size": 96, "faces": "find", "jpeg_quality": True, "keep_exif": True, "retries": 0,
            "block_lists": [str(folder / "blocked.txt")], "opt_out_list": str(folder / "left.txt"),
        },
        "decontaminate": {
            "against": [str(folder / "evaluation.parquet")], "image_distance": 0,
            "embedding_similarity": 0.96,
        },
        "dedup": {
            "policy": ["url", "image", "pair", "caption"], "url_keeps": "distinct_captions",
            "image_distance": 0, "prefer": ["stars"], "keep_captions": True,
        },
        "score": {
            **MODEL, "embeddings": True, "also": {"again": {**MODEL, "embeddings": True}},
            "neg_clip_loss": {"batches": 2, "batch_size": 16}, "norm_sim": {"target": target},
            "nearest_target": {"target": target, "clusters": 4, "sample": 100},
            "simcore": {"target": target, "keep": 20, "clusters": 3},
            "visual_cluster": {"clusters": 5, "whiten": 8}, "cluster_rank": {},
        },
        "scores": {
            "taste": {"kind": "head", "weights": str(folder / "head.npy")},
            "grain": {"kind": "noise"},
            "denied": {"kind": "misaligned_words", "below": -1e-4},
            "seen": {"kind": "entities", "min_similarity": 0.1},
            "style": {"kind": "prompts", "groups": {"photo": ["a photo"], "other": ["a drawing"]}},
            "shade": {"kind": "python", "call": "own_everything:Shade", "batch_size": 8},
        },
        "select": [
            {"column": "caption_chars", "min": 12},
            {"name": "long", "column": "caption_words", "top_fraction": 0.9},
            {"name": "told", "column": "caption", "contains_any": str(folder / "told.txt")},
            {"column": "smaller_side", "min": 20},
            {"name": "big", "column": "image_bytes", "top_fraction": 0.95},
            {"column": "clip_score", "top_fraction": 0.9, "per": "language"},
            {"name": "derived", "any_of": [
                {"column": "norm_sim", "top_fraction": 0.9}, {"column": "nearest_target", "in": [True]},
                {"column": "neg_clip_loss", "min": -5}, {"column": "simcore", "min": 1},
                {"column": "visual_cluster", "not_in": [4]}, {"column": "cluster_rank", "every": 5},
                {"column": "again", "min": -1}, {"column": "denied", "min": -9},
                {"column": "taste", "min": -9}, {"column": "grain", "max": 99},
                {"column": "style", "in": ["photo"]}, {"column": "style_other", "max": 1},
                {"column": "tone", "in": ["bright"]}, {"column": "contrast", "min": 0},
            ]},
        ],
        "semdedup": {"epsilon": 0.07, "clusters": 3, "sample": 1000},
        "balance": {"t": 3},
        "shards": {"rows": 10},
        "beam": {"python_path": [str(folder)]},
    }  # fmt: skip


def lay(folder: Path) -> Path:
    """Write the pool and all files beside it into `folder`; the path of the configuration."""
    _pictures(folder / "pool")
    pairs = rows()
    table = pa.Table.from_pylist(pairs)
    at = table.column_names.index("boxes")
    boxes = table["boxes"].cast(pa.list_(pa.list_(pa.float64())))
    pq.write_table(table.set_column(at, "boxes", boxes), folder / "pool" / "pool.parquet")
    (folder / "en.txt").write_text("\n".join([*_THINGS, "picture", "someone", "collection"]) + "\n")
    (folder / "de.txt").write_text(
        "\n".join(["Haus", "Baum", "Boot", "Stein", "Flagge", "Bild"]) + "\n"
    )
    (folder / "words.txt").write_text("house\npicture\n")
    (folder / "told.txt").write_text("a\nsomeone else\nim\nder\n")
    (folder / "own_everything.py").write_text(OWN)
    (folder / "left.txt").write_text("left.example\n")
    blocked = (folder / "pool" / "5.png").read_bytes()
    (folder / "blocked.txt").write_text(hashlib.md5(blocked).hexdigest() + "\n")
    halves = [
        (int(x["id"][:16], 16), int(x["id"][16:], 16)) for x in pairs if x["image"] != "7.png"
    ]
    np.save(folder / "uids.npy", np.array(sorted(halves), np.dtype("u8,u8")))
    random = np.random.default_rng(0)
    np.save(folder / "target.npy", random.normal(size=(20, _WIDTH)).astype(np.float32))
    np.save(folder / "head.npy", random.normal(size=_WIDTH).astype(np.float32))
    (folder / "set").mkdir()
    for k in (10, 20):
        shutil.copy(folder / "pool" / f"{k}.png", folder / "set")
    image = cv2.imread(str(folder / "pool" / "14.png"))
    cv2.imwrite(str(folder / "set" / "another.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, 60])
    path = folder / "everything.yaml"
    document = config(folder)
    model = {"input": {"paths": "none"}, "score": {**MODEL, "embeddings": True}}
    (folder / "model.yaml").write_text(yaml.safe_dump(model))
    well(
        "hash", str(folder / "set"), "--out", str(folder / "evaluation.parquet"),
        "--config", str(folder / "model.yaml"),
    )  # fmt: skip
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


@pytest.fixture(scope="session")
def whole(shared: Path) -> Path:
    """A finished run of it, which the first test process makes; beside it `written`, what it wrote."""
    folder = shared / "everything"
    with FileLock(shared / "everything.lock"):
        if not (folder / "written").exists():
            written: list[str] = []
            folder.mkdir()
            with at_each_write(written.append):
                well("run", str(lay(folder)), "--out", str(folder / "run"))
            (folder / "written").write_text("\n".join(written))
    return folder / "run"
