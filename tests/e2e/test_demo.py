"""What the demo's run directory holds, read by programs that are not ours."""

import csv
import hashlib
import io
import json
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from curate.files import shipped
from tests.e2e.conftest import Command, read_json

NEIGHBOURS = {  # how many of each the pool holds, by the reason under which they must leave
    "refused": 8, "http_404": 6, "html_page": 6, "truncated": 6, "not_an_image": 5, "opted_out": 5,
    "empty_caption": 4, "bad_url": 2, "duplicate_url": 4, "duplicate_image": 11,
}  # fmt: skip


def ledger(run: Path) -> list[dict[str, Any]]:
    """All dropped pairs."""
    return [row for path in sorted(run.glob("dropped/*/*.parquet")) for row in rows(path)]


def rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a parquet file."""
    found: list[dict[str, Any]] = pq.ParquetFile(path).read().to_pylist()
    return found


def kept(run: Path) -> list[dict[str, Any]]:
    """All rows of the shards' parquet files."""
    return [row for path in sorted(run.glob("shards/*.parquet")) for row in rows(path)]


def test_the_funnel_adds_up(demo_run: Path) -> None:
    stages = read_json(demo_run / "run.json")["stages"]
    pool = shipped("pipelines/demo/pool/pool.jsonl").read_text().splitlines()
    entering = len(pool)
    for name in ("prepare", "download", "dedup", "score", "balance"):
        counts = stages[name]
        gone = sum(counts["dropped"].values()) + sum(counts["dead"].values())
        assert counts["rows"] == entering, name
        assert counts["rows"] == counts["kept"] + gone, name
        on_disk = sum(len(rows(path)) for path in demo_run.glob(f"{name}/part-*.parquet"))
        assert on_disk == counts["kept"], name
        entering = counts["kept"]
    assert entering == read_json(demo_run / "shards/manifest.json")["pairs"] == len(kept(demo_run))
    assert len(pool) == len(kept(demo_run)) + len(ledger(demo_run))


def test_every_bad_neighbour_is_in_the_ledger_under_its_own_reason(demo_run: Path) -> None:
    by_reason = Counter(row["reason"] for row in ledger(demo_run))
    page = (demo_run / "report/index.html").read_text()
    foreign = map(json.loads, shipped("pipelines/demo/pool/other_languages.jsonl").open())
    gone = {row["caption"]: row for row in ledger(demo_run)}
    for pair in foreign:
        assert gone[pair["caption"]]["reason"] == "language"
    for reason, planted in NEIGHBOURS.items():
        # A planted pair may be dropped for its language first: captions here are short.
        assert planted - 1 <= by_reason[reason] <= planted, (reason, by_reason[reason])
        assert reason in page
    assert by_reason["duplicate_caption"] >= 8
    tiny = [row for row in ledger(demo_run) if row["reason"] == "rule:small_image"]
    assert sum(row["value"] == "16" for row in tiny) >= 4
    assert by_reason["sampled_out"] > 20
    assert by_reason["rule:clip_score"] > 50


def test_a_duplicate_names_a_survivor_that_stayed(demo_run: Path) -> None:
    stayed = {row["uid"] for path in demo_run.glob("dedup/part-*.parquet") for row in rows(path)}
    found = [row for row in ledger(demo_run) if row["reason"].startswith("duplicate_")]
    assert found
    assert {row["value"] for row in found} <= stayed


def test_webdataset_reads_the_shards(demo_run: Path) -> None:
    import webdataset

    urls = [str(path) for path in sorted(demo_run.glob("shards/*.tar"))]
    samples = list(webdataset.WebDataset(urls, shardshuffle=False))
    expected = kept(demo_run)
    assert [sample["__key__"] for sample in samples] == [row["key"] for row in expected]
    for sample, row in zip(samples, expected, strict=True):
        assert sample["txt"].decode() == row["caption"]
        assert json.loads(sample["json"])["uid"] == row["uid"]
        image = Image.open(io.BytesIO(sample["jpg"]))
        image.load()
        assert image.size == (row["width"], row["height"])


def test_open_clips_training_loader_reads_the_shards(demo_run: Path, tmp_path: Path) -> None:
    """`open_clip_train` itself: its loader, its arguments, its tokenizer; all pairs, once."""
    import open_clip
    from open_clip_train.data import get_dataset_size, get_wds_dataset
    from open_clip_train.params import parse_args

    names = sorted(path.stem for path in demo_run.glob("shards/*.tar"))
    n = len(kept(demo_run))
    urls = f"{demo_run}/shards/{{{names[0]}..{names[-1]}}}.tar"
    assert get_dataset_size(urls) == (n, len(names))  # of sizes.json
    arguments = parse_args(
        ["--train-data", urls, "--train-num-samples", str(n), "--val-data", urls,
         "--val-num-samples", str(n), "--dataset-type", "webdataset", "--batch-size", "16",
         "--workers", "1", "--model", "ViT-B-32"]
    )  # fmt: skip
    arguments.distributed, arguments.rank, arguments.world_size = False, 0, 1
    tokenizer = open_clip.get_tokenizer("ViT-B-32")
    preprocess = open_clip.image_transform(64, is_train=False)
    loader = get_wds_dataset(arguments, preprocess, is_train=False, tokenizer=tokenizer).dataloader
    seen: Counter[tuple[int, ...]] = Counter()
    for images, tokens in loader:
        assert images.shape[1:] == (3, 64, 64)
        assert bool(images.isfinite().all())
        seen.update(tuple(row) for row in tokens.tolist())
    captions = tokenizer([row["caption"] for row in kept(demo_run)])
    assert seen == Counter(tuple(row) for row in captions.tolist())


def test_the_manifest_tells_the_truth(demo_run: Path) -> None:
    manifest = read_json(demo_run / "shards/manifest.json")
    for shard in manifest["shards"]:
        content = (demo_run / "shards" / f"{shard['name']}.tar").read_bytes()
        assert hashlib.sha256(content).hexdigest() == shard["sha256"]
        assert len(content) == shard["bytes"]
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            assert {member.mtime for member in tar} == {0}
            assert len(tar.getnames()) == 3 * shard["pairs"]


def test_entries_count_what_naive_counting_counts(demo_run: Path) -> None:
    before: Counter[int] = Counter()
    after: Counter[int] = Counter()
    for folder, counter in (("score", before), ("balance", after)):
        for path in demo_run.glob(f"{folder}/part-*.parquet"):
            for row in rows(path):
                counter.update(row["matches"])
    entries = rows(demo_run / "entries/entries.parquet")
    assert [row["count"] for row in entries] == [before[i] for i in range(len(entries))]
    assert [row["kept"] for row in entries] == [after[i] for i in range(len(entries))]
    for row in entries:
        assert row["probability"] == pytest.approx(2 / max(row["count"], 2))


def test_kept_captions_hold_their_entries_by_the_definition(demo_run: Path) -> None:
    entries = shipped("metadata/en-small.txt").read_text().splitlines()
    for row in kept(demo_run)[:40]:
        spaced = row["caption"]
        for mark in ",.;:?!`":
            spaced = spaced.replace(mark, f" {mark} ")
        spaced = f" {spaced} "
        naive = [i for i, entry in enumerate(entries) if f" {entry} " in spaced]
        assert row["matches"] == naive


def test_scores_separate_wrong_captions(demo_run: Path) -> None:
    """The planted wrong captions are of other pictures; the shipped scorer must notice most."""
    true = {f"http://pictures.example/{p['path']}": p["caption"] for p in
            map(json.loads, shipped("pipelines/demo/pool/pairs.jsonl").open())}  # fmt: skip
    scores: dict[bool, list[float]] = {True: [], False: []}
    for path in sorted(demo_run.glob("dedup/part-*.parquet")):
        scored = rows(demo_run / "annotated/score" / path.name)
        for row, score in zip(rows(path), scored, strict=True):
            url, caption = row["url"], row["caption"]
            if url in true and not caption.endswith("!"):
                scores[caption != true[url]].append(score["clip_score"])
    assert len(scores[True]) >= 10
    higher = np.greater.outer(scores[False], scores[True]).mean()  # the AUC
    assert higher > 0.85


def test_the_summary_shows_the_funnel_and_where_things_are(demo_run: Path) -> None:
    shown = (demo_run.parent / "stdout").read_text()
    assert "509 pairs in 6 parts" in shown
    for stage in ("prepare", "download", "dedup", "score", "balance"):
        assert any(line.startswith(stage) for line in shown.splitlines())
    assert f"report  {demo_run}/report/index.html" in shown
    assert f"shards  {demo_run}/shards" in shown


def test_the_resolved_config_loads_again(demo_run: Path, curate: Command, tmp_path: Path) -> None:
    from curate.config import file as config_file

    again = config_file.load(str(demo_run / "config.yaml"))
    assert again.balance is not None
    assert again.balance.t == 2
    assert config_file.dump(again) == (demo_run / "config.yaml").read_text()


def test_report_writes_the_same_page_again(demo_run: Path, curate: Command) -> None:
    before = (demo_run / "report/report.json").read_bytes()
    done = curate("report", str(demo_run))
    assert done.returncode == 0, done.stderr
    assert (demo_run / "report/report.json").read_bytes() == before


def test_parquet_and_json_agree(demo_run: Path) -> None:
    first = sorted(demo_run.glob("shards/*.tar"))[0]
    by_key = {row["key"]: row for row in rows(first.with_suffix(".parquet"))}
    with tarfile.open(first) as tar:
        for member in tar:
            if member.name.endswith(".json"):
                file = tar.extractfile(member)
                assert file is not None
                document = json.load(file)
                row = by_key[document["key"]]
                assert document["status"] == "success"
                texts = (
                    "exif",
                    "md5",
                    "phash",
                )  # empty where there is none: one type in all samples
                wanted = {x: (row[x] or "") if x in texts else row[x] for x in document}
                assert wanted == document


def test_csv_input_gives_the_same_pairs(demo_run: Path, curate: Command, tmp_path: Path) -> None:
    """The pool as CSV ends in the same kept pairs: readers do not change a pair."""
    pool = [json.loads(line) for line in shipped("pipelines/demo/pool/pool.jsonl").open()]
    with (tmp_path / "pool.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["url", "caption"])
        writer.writeheader()
        writer.writerows(pool)
    (tmp_path / "c.yaml").write_text(
        f"input: {{paths: {tmp_path}/pool.csv}}\npart_rows: 100\n"
        "prepare: {languages: [en], metadata: {en: 'shipped://metadata/en-small.txt'}}\n"
        "download: {enabled: false}\ndedup: {enabled: false}\nbalance: {t: 2}\n"
    )
    done = curate("run", str(tmp_path / "c.yaml"), "--out", str(tmp_path / "run"))
    assert done.returncode == 0, done.stderr
    for path in sorted((tmp_path / "run/prepare").glob("*.parquet")):
        ours, theirs = rows(path), rows(demo_run / "prepare" / path.name)
        assert [row["uid"] for row in ours] == [row["uid"] for row in theirs]
    uids = np.load(tmp_path / "run/subset/balance/uids.npy")
    expected = sorted(
        (int(row["uid"][:16], 16), int(row["uid"][16:], 16))
        for path in (tmp_path / "run/balance").glob("*.parquet")
        for row in rows(path)
    )  # fmt: skip
    assert uids.dtype == np.dtype("u8,u8")
    assert uids.tolist() == expected
