"""`curate verify` without decoding, on page-cached tars: MB a second, against a loop over `tarfile`.

The loop does what a script would do that looks for broken samples: it reads each member, parses the
JSON and looks at the first bytes of images. The tars hold the demo's pictures, stored as a run stores
them, with captions and JSON as long as those of a run.
"""

import hashlib
import json
import os
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from curate.checking.sets import find
from curate.checking.shard import check
from curate.checking.task import Options
from curate.checking.verify import check_all
from curate.files import shipped
from curate.ops.images.encoder import ImageEncoder, StoredImage
from curate.rundir.tar import TarWriter

PAIRS = 10_000
TARS = 2
ROUNDS = 2
QUICK = "verify --quick, a process"
COLUMNS = 40
"""Keys of a JSON file, about as many as a run with scores has."""


def stored() -> list[StoredImage]:
    """The demo's pictures as a run stores them."""
    encoder = ImageEncoder()
    found = map(
        encoder, (x.read_bytes() for x in sorted(shipped("pipelines/demo/pool/images").iterdir()))
    )
    return [one for one in found if isinstance(one, StoredImage)]


def write_set(folder: Path) -> int:
    """Write the tars, each with its table and a manifest of all; their bytes."""
    images, shards = stored(), []
    for n in range(TARS):
        rows = []
        with open(folder / f"{n:05d}.tar", "wb") as file:
            tar = TarWriter(file)
            for k in range(PAIRS):
                key, image = f"{n:05d}{k:04d}", images[k % len(images)]
                caption = f"a picture of something, number {k}, as its alt text says"
                row = {"key": key, "status": "success", "caption": caption, "uid": f"{k:032x}",
                       "url": f"https://images.example/{n}/{k}.jpg", "width": image.width,
                       "height": image.height, "sha256": image.sha256}  # fmt: skip
                document = {**row, **{f"column_{i}": i / 7 for i in range(COLUMNS - len(row))}}
                tar.add(f"{key}.jpg", image.content)
                tar.add(f"{key}.txt", caption.encode())
                tar.add(f"{key}.json", json.dumps(document).encode())
                rows.append(row)
            sha256 = tar.end()
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{n:05d}.parquet")
        shards.append({"name": f"{n:05d}", "pairs": PAIRS, "bytes": tar.size, "sha256": sha256})
    manifest = {"pairs": PAIRS * TARS, "digest": "", "shards": shards}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return sum(one.stat().st_size for one in folder.glob("*.tar"))


def by_tarfile(folder: Path) -> None:
    """The loop of a script."""
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                file = tar.extractfile(member)
                content = file.read() if file else b""
                if member.name.endswith(".json"):
                    json.loads(content)
                elif member.name.endswith(".txt"):
                    content.decode()
                else:
                    assert content.startswith(b"\xff\xd8\xff")


def main() -> None:
    """One process, then two; what the hashes of a manifest cost; and what hashing alone takes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        size = write_set(folder)
        tasks = find([name]).tasks

        def timed(work: Callable[[], object]) -> tuple[float, float]:
            """MB a second, and a second of a processor, those of its children included."""
            started, spent = time.perf_counter(), sum(os.times()[:4])
            work()
            took = time.perf_counter() - started, sum(os.times()[:4]) - spent
            return size / 1e6 / took[0], size / 1e6 / took[1]

        for task in tasks:
            assert check(task, Options()).problems == []
        quick, whole = Options(hashes=False), Options()
        cases: dict[str, Callable[[], object]] = {
            "loop over tarfile": lambda: by_tarfile(folder),
            QUICK: lambda: [*check_all(tasks, quick, workers=1)],
            "verify, hashes too, a process": lambda: [*check_all(tasks, whole, workers=1)],
            "verify --quick, two processes": lambda: [*check_all(tasks, quick, workers=2)],
            "verify, hashes too, two": lambda: [*check_all(tasks, whole, workers=2)],
            "SHA-256 alone": lambda: [
                hashlib.sha256(x.read_bytes()) for x in sorted(folder.glob("*.tar"))
            ],
        }
        each = {x: [timed(work) for _ in range(ROUNDS)] for x, work in cases.items()}
    best = {x: tuple(max(rates) for rates in zip(*some, strict=True)) for x, some in each.items()}
    print(
        f"  {TARS} tars, {PAIRS * TARS:,} pairs, {size / 1e6:,.0f} MB, page-cached; best of {ROUNDS}"
    )
    loop = best["loop over tarfile"][1]
    for x, (rate, spent) in best.items():
        print(
            f"  {x:32} {rate:7,.0f} MB/s {spent:7,.0f} a processor   {spent / loop:5.2f} of the loop"
        )
    print(f"  wanted without decoding: 500 a processor, is {best[QUICK][1]:,.0f}")


if __name__ == "__main__":
    main()
