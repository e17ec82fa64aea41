"""An installation without the extras: what it does, and with which line it refuses what it does not."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from curate.files import shipped
from tests.users.runs import SMALL, pairs, well
from tests.users.test_crawls import CAPTIONS, by_member, record
from tests.users.test_language_model import configuration, prepared, trained

Base = Callable[..., "subprocess.CompletedProcess[str]"]
ABSENT = ("warcio", "selectolax", "fasttext", "img2dataset", "webdataset", "xxhash", "pandas", "wandb",
          "albumentations", "fire", "psutil", "datasets", "spacy", "onnxruntime")  # fmt: skip


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    """Run `curate ARGUMENTS` with links to all packages that are here but those."""
    packages = tmp_path_factory.mktemp("packages")
    for folder in map(Path, sys.path):
        if folder.name == "site-packages":
            for one in folder.iterdir():
                name = one.name.partition(".")[0].partition("-")[0].lower()
                if name not in ABSENT and not (packages / one.name).exists():
                    (packages / one.name).symlink_to(one)
    root = Path(__file__).parents[2]
    standard = [x for x in sys.path if x and "site-packages" not in x and Path(x) != root]
    code = (
        f"import sys; sys.path[:] = {[str(root), *standard, str(packages)]}\n"
        "from curate.cli import main; main()"
    )

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-S", "-c", code, *arguments], capture_output=True, text=True,
            timeout=240, check=False,
        )  # fmt: skip

    return run


@pytest.fixture(scope="module")
def crawl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Settings of a run over a WARC file, beside tables."""
    folder = tmp_path_factory.mktemp("crawl")
    (folder / "pool").mkdir()
    (folder / "pool/a.csv").write_text("url,caption\nhttp://pictures.example/1.jpg,a red house\n")
    (folder / "pool/b.warc.gz").write_bytes(by_member([record(i) for i in range(3)]))
    (folder / "c.yaml").write_text(
        f"input: {{paths: {folder}/pool}}\ndownload: {{enabled: false}}\n"
        "dedup: {enabled: false}\n"
    )
    return folder / "c.yaml"


def test_crawls_are_refused_before_anything_is_read(
    base: Base, crawl: Path, tmp_path: Path
) -> None:
    done = base("run", str(crawl), "--out", str(tmp_path / "run"))
    assert done.returncode == 1
    assert done.stderr.strip().splitlines() == [
        f"error input.paths: {crawl.parent}/pool/b.warc.gz: reading WARC files needs the package"
        " warcio: pip install 'curate-clip[crawls]'"
    ]
    assert not (tmp_path / "run").exists()


def test_a_run_over_a_crawl_is_gone_on_with_where_it_was_read(
    base: Base, crawl: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    well("run", str(crawl), "--out", str(run))
    rule = "select=[{name: r, column: caption_words, min: 4}]"
    done = base("run", str(crawl), "--out", str(run), "--force", "--set", rule)
    assert done.returncode == 0, done.stderr
    assert [row["caption"] for row in prepared(run)] == CAPTIONS[:3]


def test_another_language_model_is_refused_before_anything_starts(
    base: Base, tmp_path: Path
) -> None:
    model = trained(tmp_path / "own.bin")
    path = configuration(tmp_path, language_model=str(model))
    done = base("run", path, "--out", str(tmp_path / "run"))
    assert done.returncode == 1
    assert done.stderr.strip().splitlines() == [
        f"error prepare.language_model: {model}: it needs the package fasttext:"
        " pip install 'curate-clip[languages]'"
    ]
    assert not (tmp_path / "run").exists()


def test_the_demo_needs_no_extra(base: Base, tmp_path: Path) -> None:
    """On a few of its pairs, without the model: fetched, selected, balanced and reported."""
    pool = shipped("pipelines/demo/pool/pool.jsonl").read_text().splitlines()
    (tmp_path / "pool.jsonl").write_text("\n".join(pool[i] for i in SMALL[:40]) + "\n")
    done = base(
        "demo", "--out", str(tmp_path / "run"), "--workers", "1", "--set",
        f"input.paths={tmp_path}/pool.jsonl", "--set", "score=null", "--set",
        "select=[{column: caption_chars, top_fraction: 0.9}]",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert 10 < len(pairs(tmp_path / "run")) < 40
    assert (tmp_path / "run/report/index.html").exists()
