"""The download stage against the img2dataset program and a bare loop, on JPEGs behind nginx.

Processor seconds (user and system, children included) an image, each program in a process of its own,
the least of several rounds. What a program spends before its first image is left out: its run over a
few images is subtracted. The server's time counts for nobody. The measured programs are
``python -m tests.bench.images PROGRAM FOLDER COUNT``.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate.files import shipped
from tests.bench import _server

COUNT = 4_000
FEW = 200
ROUNDS = 2
SIZE = 256
PROGRAMS = ("img2dataset", "curate", "fast", "bare")


def canvases(n: int = 12, side: int = 2_600) -> Iterator[Any]:
    """Large pictures: the demo pool's images enlarged, beside and over each other, with grain."""
    import cv2

    random = np.random.RandomState(0)
    paths = sorted(shipped("pipelines/demo/pool/images").iterdir())
    for _ in range(n):
        low = random.randint(0, 256, (9, 9, 3)).astype(np.float32)
        canvas = cv2.resize(low, (side, side), interpolation=cv2.INTER_CUBIC)
        for path in random.choice(np.array(paths, object), 60):
            picture: Any = cv2.imread(str(path), cv2.IMREAD_COLOR)
            wide = random.randint(300, 1_100)
            tall = max(1, round(picture.shape[0] * wide / picture.shape[1]))
            picture = cv2.resize(picture, (wide, tall), interpolation=cv2.INTER_CUBIC)[:side]
            y, x = random.randint(0, side - len(picture) + 1), random.randint(0, side - wide)
            place = canvas[y : y + len(picture), x : x + wide]
            place += 0.75 * (picture - place)
        canvas += random.normal(0, 5, canvas.shape)
        yield np.clip(canvas, 0, 255).astype(np.uint8)


def write_pictures(folder: Path, count: int) -> int:
    """`count` JPEGs of sides of 400 to 1,200 pixels in `folder`; their mean size in bytes."""
    import cv2

    random = np.random.RandomState(1)
    sheets = list(canvases())
    total = 0
    for number in range(count):
        sheet = sheets[random.randint(len(sheets))]
        tall, wide = random.randint(400, 1_201, 2)
        y, x = random.randint(0, len(sheet) - tall), random.randint(0, len(sheet) - wide)
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(random.randint(75, 93))]
        content = cv2.imencode(".jpg", sheet[y : y + tall, x : x + wide], quality)[1].tobytes()
        (folder / f"{number:05d}.jpg").write_bytes(content)
        total += len(content)
    return total // count


def run_img2dataset(folder: Path, count: int) -> None:
    """The program, as its users start it: its workers are children of this process."""
    from img2dataset import download

    download(
        url_list=str(folder / f"pool-{count}.parquet"), input_format="parquet",
        output_folder=str(folder / f"img2dataset-{count}"), output_format="webdataset",
        image_size=SIZE, resize_mode="keep_ratio", resize_only_if_bigger=True, encode_quality=95,
        processes_count=1, thread_count=32, enable_wandb=False,
    )  # fmt: skip


def run_curate(folder: Path, count: int, *, name: str = "curate", **image: Any) -> None:
    """The download stage's step on one part, without an engine."""
    from curate import config, files, schema
    from curate.ops.images.encoder import ImageEncoder
    from curate.rundir.directory import Part, PartRecord, Run
    from curate.stages.download import FetchStep
    from curate.stages.part import TakePart
    from curate.web.fetch import FetchPolicy

    urls = pq.read_table(folder / f"pool-{count}.parquet")["url"]
    run = Run(str(folder / f"{name}-{count}"))
    table = schema.PREPARE.empty_table().to_pydict() | {
        "uid": [f"{i:032x}" for i in range(count)], "url": urls.to_pylist(),
    }  # fmt: skip
    rows = pa.table({key: values or [None] * count for key, values in table.items()})
    files.write_table(run.part("prepare", 0), rows.cast(schema.PREPARE))
    run.write_record("prepare", 0, PartRecord("x", "x", count, count))
    address = (folder / "address").read_text()
    download = config.Download(connect_to={"127.0.0.1": address}, perceptual_hash=False)
    settings = download.model_dump() | image
    encoding = ImageEncoder.__dataclass_fields__.keys() & settings.keys()
    step = FetchStep(
        run=run, reads="prepare", digest="d", own="o",
        policy=FetchPolicy(**{x: settings[x] for x in FetchPolicy.__dataclass_fields__}),
        encoder=ImageEncoder(**{x: settings[x] for x in encoding}),
    )  # fmt: skip
    list(TakePart(step).process(Part(0, "", 0, count)))


def run_fast(folder: Path, count: int) -> None:
    """The same with `fast_decode`."""
    run_curate(folder, count, name="fast", fast_decode=True)


def run_bare(folder: Path, count: int) -> None:
    """Decode, resize, encode; prints its own processor seconds, without reading the files."""
    import cv2

    cv2.setNumThreads(1)
    spent = 0.0
    for number in range(count):
        content = np.frombuffer((folder / "pictures" / f"{number:05d}.jpg").read_bytes(), np.uint8)
        started = time.process_time()
        pixels: Any = cv2.imdecode(content, cv2.IMREAD_UNCHANGED)
        height, width = pixels.shape[:2]
        scale = SIZE / min(height, width)
        size = (round(width * scale), round(height * scale))
        small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
        cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
        spent += time.process_time() - started
    print(spent)


def measure(program: str, folder: Path, count: int) -> float:
    """Processor seconds of `program` over `count` images."""
    for old in folder.glob(f"{program}-{count}"):
        shutil.rmtree(old)
    command = [sys.executable, "-m", "tests.bench.images", program, str(folder), str(count)]
    log = folder / "log"
    with log.open("w") as words:
        child = subprocess.Popen(command, stdout=words, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{program} failed:\n{log.read_text()[-2000:]}")
    return float(log.read_text()) if program == "bare" else used.ru_utime + used.ru_stime


def stored(folder: Path, program: str, count: int) -> dict[int, bytes]:
    """The images that a program stored, by their place in the pool."""
    if program == "img2dataset":
        (tar,) = (folder / f"img2dataset-{count}").glob("*.tar")
    else:
        tar = folder / f"{program}-{count}" / "download" / "part-00000.tar"
    images = {}
    with tarfile.open(tar) as archive:
        for member in archive:
            if member.name.endswith(".jpg"):
                file = archive.extractfile(member)
                images[int(member.name[:-4], 10 if program == "img2dataset" else 16)] = (
                    file.read() if file else b""
                )
    return images


def differences(exact: dict[int, bytes], fast: dict[int, bytes]) -> tuple[float, float]:
    """Mean absolute difference (of 255) and PSNR (dB) of the stored pixels."""
    import cv2

    absolute, squared = [], []
    for number in sorted(exact)[::10]:
        both: Any = [
            cv2.imdecode(np.frombuffer(images[number], np.uint8), cv2.IMREAD_COLOR)
            for images in (exact, fast)
        ]
        one, other = (pixels.astype(float) for pixels in both)
        absolute.append(np.abs(one - other).mean())
        squared.append(((one - other) ** 2).mean())
    return float(np.mean(absolute)), float(10 * np.log10(255**2 / np.mean(squared)))


def main(count: int = COUNT, rounds: int = ROUNDS) -> None:
    """The four programs in turn; their costs, ratios, and whether the bytes are the same."""
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)  # nginx, started by root, reads as nobody
        (folder / "pictures").mkdir()
        mean = write_pictures(folder / "pictures", count)
        costs: dict[str, list[float]] = {program: [] for program in PROGRAMS}
        with _server.serve(folder / "pictures") as address:
            (folder / "address").write_text(address)
            for n in (FEW, count):
                urls = [f"http://{address}/{number:05d}.jpg" for number in range(n)]
                pq.write_table(pa.table({"url": urls}), folder / f"pool-{n}.parquet")
            for _ in range(rounds):
                for program in PROGRAMS:
                    spent = [measure(program, folder, n) for n in (FEW, count)]
                    costs[program].append((spent[1] - spent[0]) / (count - FEW))
        exact, reference, fast = (stored(folder, x, count) for x in ("curate", *PROGRAMS[::2]))
        off, psnr = differences(exact, fast)
    best = {program: 1e3 * min(each) for program, each in costs.items()}
    print(f"  {count:,} JPEGs of 400 to 1,200 pixels, {mean / 1e3:.0f} KB, behind {_server.NAME},"
          f" to {SIZE} pixels; best of {rounds}")  # fmt: skip
    words = {"img2dataset": "img2dataset", "curate": "download stage", "bare": "bare loop",
             "fast": "with fast_decode"}  # fmt: skip
    for program, word in words.items():
        print(f"  {word:28} {best[program]:8.2f} ms an image")
    ratios = {
        "img2dataset / stage": (best["img2dataset"] / best["curate"], "at least 1.4"),
        "stage / bare loop": (best["curate"] / best["bare"], "at most 1.15"),
        "img2dataset / fast_decode": (best["img2dataset"] / best["fast"], "at least 2.5"),
    }
    for word, (ratio, wanted) in ratios.items():
        print(f"  {word:28} {ratio:8.2f}   ({wanted})")
    print(f"  fast_decode differs by {off:.2f} of 255 on average, PSNR {psnr:.1f} dB")
    wrong = sum(exact.get(number) != content for number, content in reference.items())
    print(f"  images whose bytes differ from img2dataset's: {wrong} of {len(reference)}")
    if wrong or not len(exact) == len(reference) == count:
        raise SystemExit("the stored images differ")


if __name__ == "__main__":
    globals()[f"run_{sys.argv[1]}"](Path(sys.argv[2]), int(sys.argv[3]))
