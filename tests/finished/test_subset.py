"""A run's kept pairs as a DataComp subset file, against the definition in plain Python."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from curate import files
from curate.cli import app
from curate.config import Config
from curate.finished import subset
from curate.finished.subset import write_subset
from curate.planning.plan import make_plan
from curate.rundir.directory import PartRecord, Run
from curate.running.execute import prepare_run
from tests.stages.rundir import uid_of

UIDS = [np.random.default_rng(i).bytes(16).hex() for i in range(300)] + [
    "f" * 32, uid_of(0), "f" * 16 + "0" * 16, "0" * 16 + "f" * 16, "8" + "0" * 31, uid_of(7), uid_of(7),
]  # fmt: skip


def datacomp_subset(uids: list[str]) -> Any:
    """A subset as DataComp defines it: (upper, lower) halves of each uid, each once, sorted."""
    halves = {(int(uid[:16], 16), int(uid[16:], 16)) for uid in uids}
    return np.array(sorted(halves), np.dtype("u8,u8"))


def keep(run: Run, stage: str, *parts: list[str]) -> None:
    """Write the parts that a stage has kept."""
    for index, uids in enumerate(parts):
        files.write_table(run.part(stage, index), pa.table({"uid": pa.array(uids, pa.string())}))
        run.write_record(stage, index, PartRecord("d", "o", len(uids), len(uids)))


@pytest.mark.parametrize("together", [1, 10, 100, 1 << 22])
def test_the_file_is_what_numpy_saves_of_the_sorted_uids(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, together: int
) -> None:
    monkeypatch.setattr(subset, "_TOGETHER", together)
    run = Run(str(tmp_path / "run"))
    keep(run, "score", UIDS[:100], [], UIDS[100:])
    target = str(tmp_path / "uids.npy")
    assert write_subset(run, "score", target) == (len(UIDS), len(UIDS) - 1)
    saved = io.BytesIO()
    np.save(saved, datacomp_subset(UIDS))
    assert Path(target).read_bytes() == saved.getvalue()
    found = np.load(target)
    assert found.dtype == np.dtype("u8,u8")


def test_no_pair_is_an_empty_subset(tmp_path: Path) -> None:
    target = str(tmp_path / "uids.npy")
    assert write_subset(Run(str(tmp_path / "run")), "prepare", target) == (0, 0)
    found = np.load(target)
    assert (found.shape, found.dtype) == ((0,), np.dtype("u8,u8"))


def test_the_command(tmp_path: Path) -> None:
    (tmp_path / "pool.jsonl").write_text("".join(f'{{"url": "http://x/{i}", "caption": "a"}}\n'
                                                 for i in range(4)))  # fmt: skip
    plan = make_plan(
        Config.model_validate(
            {
                "input": {"paths": str(tmp_path / "pool.jsonl")},
                "out": str(tmp_path / "run"),
                "part_rows": 2,
                "download": {"enabled": False},
            }
        )
    )
    prepare_run(plan)
    plan.run.update(digests={"prepare": "d", "dedup": "d"})
    keep(plan.run, "prepare", UIDS[:9], UIDS[9:20])
    out = tmp_path / "kept.npy"

    def run(*options: str) -> tuple[int, str]:
        arguments = ["subset", str(tmp_path / "run"), "--npy", str(out), *options]
        done = CliRunner().invoke(app, arguments)
        return done.exit_code, " ".join(done.output.split())

    assert run("--stage", "score")[0] == 1
    assert run()[0] == 1, "dedup, the last stage, is not done"
    assert not out.exists()
    status, said = run("--stage", "prepare")
    assert (status, said.endswith(f"20 pairs kept by prepare {out}")) == (0, True), said
    assert np.load(out).tolist() == datacomp_subset(UIDS[:20]).tolist()
    keep(plan.run, "dedup", UIDS[:2], UIDS[9:12])
    assert run()[1].endswith(f"5 pairs kept by dedup {out}")
    assert np.load(out).tolist() == datacomp_subset([*UIDS[:2], *UIDS[9:12]]).tolist()
    keep(plan.run, "dedup", UIDS[:2], [*UIDS[9:12], UIDS[0], UIDS[0]])
    assert "5 uids: 2 pairs have the uid of another, which is listed once" in run()[1]
    assert np.load(out).tolist() == datacomp_subset([*UIDS[:2], *UIDS[9:12]]).tolist()
