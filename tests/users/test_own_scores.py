"""Scores that users write: a file beside the configuration, its columns from there to the shards."""

import json
import shutil
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate import files
from curate import imported as own_code
from curate.config import file as config_file
from curate.errors import CurateError
from curate.files import shipped
from curate.ops.scores import scoring
from curate.planning.plan import Plan, make_plan
from curate.planning.resume import Standing, settle
from curate.rundir.directory import part_name
from curate.running.failures import check_dead
from curate.running.trial import try_models
from tests.users import runs
from tests.users.runs import document, moved, pairs, refused, well

CODE = '''
import numpy as np


class Look:
    """Several columns of image and width."""

    columns = {"contrast": "float32", "wide": "bool", "tone": "string"}
    reads = ("image", "width")
    version = "1"

    def __init__(self, bright=128):
        self.bright = bright

    def __call__(self, batch):
        assert all(x.dtype == np.uint8 and x.shape[2] == 3 for x in batch.images)
        means = [image.mean() for image in batch.images]
        return {
            "contrast": [image.std() for image in batch.images],
            "wide": [width > 240 for width in batch.columns["width"]],
            "tone": [None if m < 20 else "bright" if m > self.bright else "dark" for m in means],
        }


def letters(batch, plus=0):
    """One number of the caption, which fails where it begins with a c."""
    return [len(caption) + plus if caption[0] != "c" else 1 // 0 for caption in batch.captions]


letters.reads = ()
letters.version = "1"


class Redness:
    """Of what other scores left: embeddings, their columns."""

    reads = ["image_embedding", "text_embedding", "clip_score", "contrast"]
    columns = {"agreement": "float64"}
    version = "1"

    def __call__(self, batch):
        found = (batch.image_embeddings * batch.text_embeddings).sum(axis=1)
        assert np.allclose(found, batch.columns["clip_score"], atol=1e-2)
        return {"agreement": found}
'''
CALL = "def __call__(self, batch):\n        assert"
"""Where the first class is called."""
SCORER = shipped("pipelines/demo/scorer")
SCORES = (
    "{sight: {kind: python, call: own:Look, options: {bright: 100}}, letters: {kind: python, call:"
    " own:letters, batch_size: 7}, red: {kind: python, call: own:Redness, accelerator: true}}"
)
SOME = [i for k in range(8) for i in (2 * k, 2 * k + 1)]


def write(folder: Path, code: str = CODE) -> None:
    """The users' file, as a process that starts now finds it."""
    (folder / "own.py").write_text(code)
    forget()
    for path in folder.glob("__pycache__/own.*"):
        path.unlink()


def forget() -> None:
    """What this process has of the users' file, which no other process would have."""
    sys.modules.pop("own", None)
    scoring._loaded.clear()


def configuration(folder: Path, *options: str) -> Path:
    """A run of a few pictures with a model and scores of a user's, in `folder`."""
    write(folder)
    was, runs.SMALL = runs.SMALL, SOME
    try:
        return runs.small_run(
            folder, "--set", "part_rows=8", "--set", f"beam.python_path=[{folder}]",
            "--set", f"score={{model: {SCORER}/curate-mini.json, pretrained:"
            f" {SCORER}/curate-mini.safetensors, embeddings: true}}",
            "--set", f"scores={SCORES}", "--set", "input.max_dead_fraction=0.5",
            "--set", "select=[{column: tone, in: [bright, dark]}, {column: letters, min: 12},"
            " {column: agreement, top_fraction: 0.9}]", *options,
        )  # fmt: skip
    finally:
        runs.SMALL = was


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the file and a finished run, `run`."""
    folder = tmp_path_factory.mktemp("own")
    configuration(folder)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that folder, where its file is found."""
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path != str(made)])
    monkeypatch.setattr(own_code, "_folders", [])
    write(tmp_path)
    shutil.copy(made / "pool.jsonl", tmp_path)
    moved(made / "run", tmp_path / "run")
    path = tmp_path / "run/config.yaml"
    path.write_text(path.read_text().replace(str(made), str(tmp_path)))
    return tmp_path


def again(folder: Path, *options: str) -> str:
    """Run what was changed."""
    return well("run", str(folder / "run/config.yaml"), "--force", *options)


def annotated(folder: Path, name: str) -> dict[str, bytes]:
    """The files of a score, by name."""
    found = (folder / "run/annotated/score" / name).glob("part-*.parquet")
    return {path.name: path.read_bytes() for path in found}


def reused(folder: Path, name: str) -> float:
    """Pairs whose values were taken over."""
    found = (folder / "run/records/annotated/score" / name).glob("*.json")
    return float(sum(document(path)["figures"]["reused"] for path in found))


def test_columns_are_in_the_shards_the_report_and_the_story_of_a_pair(made: Path) -> None:
    run = made / "run"
    rows = pairs(run)
    assert rows
    for row in rows:
        assert row["contrast"] > 0
        assert row["wide"] == (row["width"] > 240)
        assert row["tone"] in ("bright", "dark")
        assert row["letters"] == len(row["caption"]) >= 12
        assert row["agreement"] == pytest.approx(row["clip_score"], abs=1e-2)
    with tarfile.open(next(run.glob("shards/*.tar"))) as tar:
        names = [name for name in tar.getnames() if name.endswith(".json")]
        held = json.load(tar.extractfile(names[0]))  # type: ignore[arg-type]
    assert {"contrast", "wide", "tone", "letters", "agreement"} <= held.keys()
    report = document(run / "report/report.json")
    assert {one["column"] for one in report["scores"]} == {
        "clip_score", "contrast", "letters", "agreement"}  # fmt: skip
    labels = {one["column"]: one for one in report["labels"]}
    tones = {one["value"]: one["after"] for one in labels["tone"]["values"]}
    assert sum(tones.values()) == sum(
        one["kept"] for one in report["funnel"] if one["stage"] == "score"
    )
    assert {one["value"] for one in labels["wide"]["values"]} <= {"true", "false"}
    card = (run / "report/datacard.md").read_text()
    assert "`contrast`: of own:Look (scores.sight)" in card
    told = well("explain", str(run), rows[0]["uid"])
    assert f"tone {rows[0]['tone']}" in told


def test_a_pair_that_a_score_fails_for_is_dead_and_says_why(made: Path) -> None:
    run = made / "run"
    dead = [
        row for path in run.glob("dead/score/*.parquet") for row in pq.read_table(path).to_pylist()
    ]
    assert dead
    for row in dead:
        assert row["caption"].startswith("c")
        assert row["error"] == "score_failed"
        assert row["detail"].startswith("scores.letters: own:letters: ZeroDivisionError: ")
    told = well("explain", str(run), dead[0]["uid"])
    assert "dead: score_failed = scores.letters: own:letters: ZeroDivisionError" in told


def test_a_changed_version_is_computed_again_and_nothing_else_is(folder: Path) -> None:
    before = {name: annotated(folder, name) for name in (".", "sight", "red")}
    write(folder, CODE.replace('letters.version = "1"', 'letters.version = "2"').replace(
        "len(caption) + plus", "len(caption) + 100 + plus"))  # fmt: skip
    again(folder, "--workers", "2")
    assert all(row["letters"] == len(row["caption"]) + 100 for row in pairs(folder / "run"))
    assert {name: annotated(folder, name) for name in before} == before
    n = sum(pq.read_table(path).num_rows for path in folder.glob("run/dedup/*.parquet"))
    assert (reused(folder, "letters"), reused(folder, "red")) == (0, n)


def test_options_are_changed_and_a_score_is_taken_out_and_put_back(folder: Path) -> None:
    run = folder / "run"
    before = [path.read_bytes() for path in sorted(run.glob("shards/*.parquet"))]
    again(folder, "--set", "scores.letters.options={plus: 1000}")
    assert all(row["letters"] == len(row["caption"]) + 1000 for row in pairs(run))
    uid = pairs(run)[0]["uid"]
    config = (run / "config.yaml").read_text()
    again(folder, "--set", "scores={}", "--set", "select=[]")
    assert not {"letters", "tone"} & pairs(run)[0].keys()
    well("explain", str(run), uid)
    well("report", str(run))
    (run / "config.yaml").write_text(config)
    again(folder, "--set", "scores.letters.options={}")
    assert [path.read_bytes() for path in sorted(run.glob("shards/*.parquet"))] == before


def test_pairs_are_revoked_without_the_users_code(folder: Path) -> None:
    (folder / "own.py").unlink()
    forget()
    rows = pairs(folder / "run")
    (folder / "list.txt").write_text(rows[0]["uid"] + "\n")
    well("revoke", str(folder / "run"), "--list", str(folder / "list.txt"))
    left = pairs(folder / "run")
    assert [row["uid"] for row in left] == [row["uid"] for row in rows[1:]]
    for name in ("sight", "letters", "red"):
        for path in (folder / "run/annotated/score" / name).glob("*.parquet"):
            assert rows[0]["uid"] not in pq.read_table(path)["uid"].to_pylist()
    well("report", str(folder / "run"))
    well("explain", str(folder / "run"), left[0]["uid"])


@pytest.mark.parametrize(
    ("was", "now", "told"),
    [
        (
            "return [len(",
            "return [1, 2] + [len(",
            "scores.letters: own:letters: expected 7 values of",
        ),
        ('caption[0] != "c"', "caption == 3", "own:letters: it fails for every pair: ZeroDivision"),
        (
            '"tone": [None',
            '"mood": [None',
            "scores.sight: own:Look: expected a column 'tone', it gave",
        ),
    ],
)
def test_a_score_that_does_not_do_as_it_says_ends_the_run(
    folder: Path, was: str, now: str, told: str
) -> None:
    write(folder, CODE.replace(was, now).replace('version = "1"', 'version = "2"'))
    assert told in refused("run", str(folder / "run/config.yaml"), "--force")


@pytest.mark.parametrize(
    ("option", "code", "told"),
    [
        ("call=owns:Look", CODE, "scores.sight.call: owns:Look: no module 'owns'"),
        ("call=own:Looks", CODE, "has no 'Looks', did you mean 'Look'?"),
        ("call=own", CODE, "scores.sight.call"),
        ("options={dark: 1}", CODE, "'dark'; it takes bright\n"),
        ("options={brigt: 1}", CODE, "argument 'brigt', did you mean 'bright'?\n"),
        ("cal=own:Look", CODE, "scores.sight.cal: unknown key, did you mean 'call'?\n"),
        ("batch_size=0", CODE, "scores.sight.batch_size"),
        ("kind=nsfw", CODE, "`call` and kind python go together"),
        ("call=own:Look", "import nothing_there", "No module named 'nothing_there'"),
        ("call=own:Look", CODE.replace('"width")', '"widht")'), "no column 'widht' that is there"),
        ("call=own:Look", CODE.replace('"wide":', '"width":'), "width is taken by another column"),
        ("call=own:Look", CODE.replace('"bool"', '"boolean"'), "column 'wide' is 'boolean'; expected"),
        ("call=own:Look", CODE.replace("bright=128):", "bright=128):\n        open('no.pt')"),
         "scores.sight: own:Look cannot be loaded: FileNotFoundError"),
        ("call=own:Look", CODE.replace(CALL, CALL.replace("__call__", "of")),
         "own:Look: the class Look has no method `__call__(self, batch)`"),
        ("call=own:Look", CODE.replace(CALL, CALL.replace(", batch", "")),
         "the class Look is to have a method `__call__(self, batch)`: too many"),
        ("call=own:Look", CODE.replace('"width")', '"images")'), "before it, did you mean 'image'?\n"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_score_is_said_before_anything_starts(
    folder: Path, option: str, code: str, told: str
) -> None:
    write(folder, code.replace('version = "1"', 'version = "3"'))
    before = document(folder / "run/run.json")["digests"]
    said = refused(
        "run", str(folder / "run/config.yaml"), "--force", "--set", f"scores.sight.{option}"
    )
    assert told in said
    if "cannot be loaded" not in told:
        assert document(folder / "run/run.json")["digests"] == before
    else:
        assert said.endswith("by the working directory: give an absolute path or a URL\n")


def planned(folder: Path, *overrides: str) -> Plan:
    """What the run in `folder` would do under its configuration with these changes."""
    return make_plan(config_file.load(str(folder / "run/config.yaml"), overrides=overrides))


def test_a_score_is_constructed_before_a_run_elsewhere_but_for_one_on_an_accelerator(
    folder: Path,
) -> None:
    write(folder, CODE.replace("self.bright = bright", "self.bright = bright / 0"))
    elsewhere, nothing = "beam.runner=DataflowRunner", Standing({}, {}, clustered=False)
    with pytest.raises(CurateError, match="sight: own:Look cannot be loaded: ZeroDivisionError"):
        try_models(planned(folder, elsewhere), nothing)
    try_models(planned(folder, elsewhere, "scores.sight.accelerator=true"), nothing)


def test_a_plan_knows_the_columns_that_a_score_declares(folder: Path) -> None:
    options = str(folder / "run/config.yaml"), "--out", str(folder / "plan")
    assert "not judged here" in well("plan", *options)
    told = [refused(command, *options, "--set", "select=[{column: sight, min: 1}]")
            for command in ("plan", "run")]  # fmt: skip
    assert told[0] == told[1]
    assert "sight" in told[0]
    write(folder, CODE.replace('"width")', '"widht")'))
    assert "no column 'widht' that is there before it, did" in refused("plan", *options)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({}, "the first with: own:letters: ZeroDivisionError: "),
        ({"error": "score_not_finite", "detail": "scores.letters: letters is nan"},
         "the first with: letters is nan; see "),
        ({"error": "score_not_finite", "detail": None}, ""),
    ],
)  # fmt: skip
def test_a_score_that_fails_for_a_share_of_the_pairs_is_named(
    folder: Path, change: dict[str, str | None], told: str
) -> None:
    """Infinite numbers and NaN count as what it raises does, but for those of the model."""
    plan = planned(folder, "input.max_dead_fraction=0")
    for index, record in plan.run.records("score"):
        rows = plan.run.rows("dead/score", index)
        changed = [{**row, **change} for row in rows.to_pylist()]
        held = files.write_table(
            plan.run.part("dead/score", index), pa.Table.from_pylist(changed, rows.schema)
        )
        dead = {change.get("error") or error: n for error, n in record.dead.items()}
        wrote = {**record.wrote, part_name("dead/score", index): held}
        plan.run.write_record("score", index, replace(record, dead=dead, wrote=wrote))
    if not told:
        check_dead(plan)
        return
    with pytest.raises(CurateError) as raised:
        check_dead(plan)
    assert str(raised.value).startswith("scores.letters failed for 1 of ")
    assert told in str(raised.value)
    assert "dead/score" in str(raised.value)


def test_what_is_only_looked_through_is_told_apart(folder: Path) -> None:
    standing = settle(
        planned(folder, "prepare.ignore_case=true", "scores.letters.options={plus: 1}")
    )
    assert standing.stale.keys() >= {"prepare", "score", "score/annotated/letters"}
    assert standing.taken_over.keys() == {
        "download/annotated", "score/annotated", "score/annotated/sight", "score/annotated/red",
    }  # fmt: skip
