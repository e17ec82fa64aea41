"""The score stage (tars, decoding, preprocessing, model, files) against the bare forward pass.

Both run the same pairs in batches of the same size on one core's worth of the model; the forward
pass has its batches ready in memory. ViT-B-32 has random weights: nothing can be downloaded here,
and the time does not depend on them.
"""

import json
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import apache_beam as beam
import numpy as np
import torch
from numpy.typing import NDArray

from curate import files, schema
from curate.ops.scores.clip import ClipModel
from curate.rundir.directory import Part, Run
from curate.schema import Stage
from curate.stages.score.model import ScoreStep, TakeScores
from tests.stages.rundir import drive, lay, lay_images, uid_of

SCORER = "shipped://pipelines/demo/scorer/curate-mini"
MINI = ClipModel(f"{SCORER}.json", f"{SCORER}.safetensors")
ROUNDS = 3
Floats = NDArray[np.float64]
PARTS = 6


def write_run(run: Run, pairs: int) -> list[Part]:
    """A run up to dedup: the demo's pictures, over and over."""
    folder = files.shipped("pipelines/demo/pool/images")
    pictures = sorted(folder.glob("*.jpg"))
    columns = schema.after(Stage.DEDUP, enabled=[Stage.PREPARE, Stage.DOWNLOAD, Stage.DEDUP])
    parts = []
    for index, numbers in enumerate(np.array_split(np.arange(pairs), PARTS)):
        images = {uid_of(n): pictures[n % len(pictures)].read_bytes() for n in numbers.tolist()}
        places = lay_images(run, index, images)
        parts.append(
            [
                {"uid": uid, "caption": f"a drawing of thing number {uid.lstrip('0')}",
                 "tar_offset": offset, "tar_size": size}
                for uid, (offset, size) in places.items()
            ]
        )  # fmt: skip
    return lay(run, "dedup", parts, columns)


def bare(model: ClipModel, pairs: int) -> Floats:
    """Seconds a pair of the forward pass alone, on both clocks."""
    scorer = model.load()
    folder = files.shipped("pipelines/demo/pool/images")
    contents = [path.read_bytes() for path in sorted(folder.glob("*.jpg"))[: scorer.batch_size]]
    captions = [f"a drawing of thing number {i}" for i in range(len(contents))]
    batch = scorer.collate([scorer.prepare(x) for x in contents], captions)
    passes = max(pairs // scorer.batch_size, 1)
    started = clocks()
    for _ in range(passes):
        scorer(batch)
    return (clocks() - started) / (passes * scorer.batch_size)


def clocks() -> Floats:
    """Seconds of the wall's clock and of this process on processors."""
    return np.array([time.perf_counter(), time.process_time()])


def stage(model: ClipModel, run: Run, parts: list[Part], *, digest: str) -> tuple[Floats, float]:
    """Seconds a pair of the whole stage, and the share of the model's time that it waited."""
    step = ScoreStep(run=run, reads="dedup", digest=digest, own=digest, model=model,
                     encode_format="jpg")  # fmt: skip
    started = clocks()
    drive(run, beam.ParDo(TakeScores(step)), parts)
    seconds = clocks() - started
    figures = [record.figures for _, record in run.records(step.folder)]
    idle, busy = (sum(x[f"{key}_seconds"] for x in figures) for key in ("idle", "model"))
    return seconds / sum(part.kept for part in parts), idle / (idle + busy)


def compare(name: str, model: ClipModel, *, pairs: int, goal: float, folder: Path) -> None:
    """Rounds of both in turn; what is printed is the median round."""
    run = Run(str(folder / name))
    parts = write_run(run, pairs)
    bare(model, 1)
    found = []
    for turn in range(ROUNDS):
        alone = bare(model, pairs // 2)
        whole, idle = stage(model, run, parts, digest=f"d{turn}")
        alone = (alone + bare(model, pairs // 2)) / 2
        found.append((*(alone / whole), 1 / alone[0], 1 / whole[0], idle))
    ratio, of_work, alone, whole, idle = sorted(found)[len(found) // 2]
    print(f"  {name}: {pairs} pairs in {PARTS} parts, median of {ROUNDS} rounds")
    print(f"    forward pass alone {alone:8.1f} pairs/s")
    print(f"    whole stage        {whole:8.1f} pairs/s")
    print(f"    ratio              {ratio:8.2f}   (at least {goal}; rounds {min(found)[0]:.2f} to"
          f" {max(found)[0]:.2f})")  # fmt: skip
    print(f"    of processor time  {of_work:8.2f}   (the ratio if one core had to do everything)")
    print(f"    the model waited   {idle:8.1%}   of its time, for its first batch included")


def ahead_of_the_model() -> None:
    """What decoding, preprocessing and tokenising cost, on one thread."""
    scorer = MINI.load()
    folder = files.shipped("pipelines/demo/pool/images")
    contents = [path.read_bytes() for path in sorted(folder.glob("*.jpg"))[:64]]
    started = time.thread_time()
    images = [scorer.prepare(content) for content in contents]
    decoding = (time.thread_time() - started) / len(contents)
    lines = files.shipped("pipelines/demo/pool/pool.jsonl").read_text().splitlines()
    captions = [json.loads(line)["caption"] for line in lines if "/images/" in line][:256]
    started = time.thread_time()
    for start in range(0, len(captions), scorer.batch_size):
        scorer.collate(images[:1], captions[start : start + scorer.batch_size])
    tokens = (time.thread_time() - started) / len(captions)
    print(f"  decoding and preprocessing {decoding * 1e3:.1f} ms an image,"
          f" tokenising {tokens * 1e3:.2f} ms a caption, both ahead of the model")  # fmt: skip


def compiled() -> None:
    """What torch.compile is worth here, and how far the scores move."""
    plain, fast = MINI.load(), replace(MINI, compile=True).load()
    pictures = sorted(files.shipped("pipelines/demo/pool/images").glob("*.jpg"))
    images = [plain.prepare(path.read_bytes()) for path in pictures[: plain.batch_size]]
    batch = plain.collate(images, [path.stem for path in pictures[: plain.batch_size]])
    started = time.perf_counter()
    apart = np.abs(fast(batch).scores - plain(batch).scores).max()
    first = time.perf_counter() - started
    times = bare(replace(MINI, compile=True), 64) / bare(MINI, 64)
    print(f"  torch.compile: {times[0]:.2f} of the time without once compiled, which takes"
          f" {first:.0f} s; scores differ by at most {apart:.1e}")  # fmt: skip
    if apart > 1e-5:
        raise SystemExit("the compiled model gives other scores")


def main() -> None:
    """The ratios of both models."""
    print(f"  load of the machine at the start: {os.getloadavg()[0]:.1f}")
    import open_clip

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ahead_of_the_model()
        compare("curate-mini", MINI, pairs=480, goal=0.7, folder=folder)
        torch.manual_seed(0)
        torch.save(open_clip.create_model("ViT-B-32").state_dict(), folder / "random.pt")
        vit = ClipModel("ViT-B-32", str(folder / "random.pt"))
        compare("ViT-B-32", vit, pairs=192, goal=0.9, folder=folder)
    compiled()
    print(f"  load of the machine at the end: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
