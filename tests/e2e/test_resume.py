"""Runs that are cut off, repeated and changed; same bytes whatever happened."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from tests.e2e.conftest import Command, Copied, output_bytes, read_json


def start(*arguments: str) -> "subprocess.Popen[str]":
    """`curate ARGUMENTS` in a process group of its own, under way."""
    return subprocess.Popen(
        [sys.executable, "-m", "curate.cli", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "COLUMNS": "160"},
    )


def wait_for(process: "subprocess.Popen[str]", condition: Callable[[], bool]) -> None:
    """Until `condition` holds, while the process runs, for two minutes at the most."""
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_two_workers_that_were_killed_give_the_bytes_of_one(
    some_run: Path, some_pairs: tuple[str, ...], downloaded: Copied, curate: Command
) -> None:
    """Behind the download every part is made by one of two workers, before the kill or after it."""
    killed = downloaded("killed")
    arguments = ("demo", "--out", str(killed), *some_pairs)
    process = start(*arguments, "--workers", "2")
    scored = killed / "records" / "annotated" / "score"
    wait_for(process, lambda: len(list(scored.glob("*.json"))) >= 1)
    os.killpg(process.pid, signal.SIGSTOP)
    workers = psutil.Process(process.pid).children(recursive=True)
    assert len(workers) >= 2
    second = curate(*arguments)
    assert second.returncode == 1
    assert second.stderr.startswith(f"error another curate command is at work in {killed}; wait")
    assert len(second.stderr.splitlines()) == 1
    process.kill()
    os.killpg(process.pid, signal.SIGCONT)
    process.communicate()
    assert psutil.wait_procs(workers, timeout=20)[1] == [], "they follow the one that started them"
    assert not (killed / "shards" / "manifest.json").exists()
    done = curate(*arguments, "--workers", "2")
    assert done.returncode == 0, done.stderr
    assert "skipped: prepare 6/6, download 6/6, dedup" in done.stdout
    assert output_bytes(killed) == output_bytes(some_run)
    assert not [*killed.rglob("*.tmp"), *killed.glob(".lock")]


def test_ctrl_c_says_how_to_go_on_and_going_on_shows_what_is_skipped(
    downloaded: Copied, some_run: Path, some_pairs: tuple[str, ...], curate: Command
) -> None:
    out = downloaded("stopped")
    process = start("demo", "--out", str(out), *some_pairs)
    wait_for(process, lambda: len(list((out / "records/annotated/score").glob("*.json"))) >= 1)
    os.kill(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stderr.strip().count("\n") == 0
    assert f"demo --out {out}" in stderr
    assert read_json(out / "run.json")["state"] == "interrupted"
    done = curate("demo", "--out", str(out), *some_pairs)
    assert done.returncode == 0, done.stderr
    assert "skipped: prepare 6/6, download 6/6, dedup" in done.stdout
    assert read_json(out / "run.json")["state"] == "complete"
    assert output_bytes(out) == output_bytes(some_run)


def test_a_changed_t_redoes_the_balance_alone_and_equals_a_run_with_that_t(
    some_run: Path, some_pairs: tuple[str, ...], some_copied: Copied, curate: Command
) -> None:
    changed = some_copied("changed")
    stamps = {
        path: path.stat().st_mtime_ns
        for stage in ("prepare", "download", "dedup", "score")
        for path in (changed / stage).rglob("part-*")
    }
    done = curate("demo", "--out", str(changed), *some_pairs, "--force", "--set", "balance.t=1")
    assert done.returncode == 0, done.stderr
    assert "Stale (what they depend on changed), so done again: balance" in done.stdout
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    assert read_json(changed / "records/balance/thresholds.json")["en"]["t"] == 1
    fewer = read_json(changed / "shards/manifest.json")["pairs"]
    assert fewer < read_json(some_run / "shards/manifest.json")["pairs"]
    back = curate("demo", "--out", str(changed), *some_pairs, "--force")
    assert back.returncode == 0, back.stderr
    assert output_bytes(changed) == output_bytes(some_run)


def test_a_changed_image_rule_fetches_and_scores_nothing_again(
    some_run: Path, some_pairs: tuple[str, ...], some_copied: Copied, curate: Command
) -> None:
    out = some_copied("rule")
    before = read_json(some_run / "run.json")["stages"]["download"]["dropped"]["rule:small_image"]
    rules = (
        "select=[{name: short_caption, column: caption_chars, min: 5},"
        " {column: smaller_side, min: 150}, {column: clip_score, min: 0.2}]"
    )
    done = curate("demo", "--out", str(out), *some_pairs, "--force", "--set", rules)
    assert done.returncode == 0, done.stderr
    stages = read_json(out / "run.json")["stages"]
    assert stages["download"]["dropped"]["rule:smaller_side"] > before
    fetched = [read_json(path) for path in (out / "records/annotated/download").glob("*.json")]
    assert sum(record["figures"]["reused"] for record in fetched) == 0  # not even looked at
    scored = [read_json(path) for path in (out / "records/annotated/score").glob("*.json")]
    assert all(record["figures"]["reused"] == record["rows"] for record in scored)
