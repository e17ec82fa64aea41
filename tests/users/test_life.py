"""Each step of a configuration with everything on is taken out and put back, and the run is used.

After each change another balance is made, a pair is revoked, some are explained, and the report is made
again.
"""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from curate import schema
from curate.config import file as config_file
from curate.planning.asked import parquet_alone
from tests.everything import config
from tests.users.runs import document, moved, pairs, well
from tests.users.test_everything import card_columns
from tests.users.test_revoked import texts

pytestmark = [
    pytest.mark.usefixtures("undrawn"),
    pytest.mark.life,
    pytest.mark.timeout(1200),
]
Values = dict[str, dict[str, Any]]
LIVES: dict[str, tuple[tuple[str, ...], ...]] = {
    "some scores": (("norm_sim", "again", "told"), ("neg_clip_loss", "taste")),
    "others": (("nearest_target", "shade", "grain", "told"), ("simcore", "embedding_similarity")),
    "stages": (("semdedup",), ("dedup",), ("decontaminate", "balance")),
}
"""What is taken out at each change, when what was out before is put back.

With `told`, a rule of prepare, other pairs reach the steps than before.
"""
COLUMNS: dict[str, tuple[str, ...]] = {
    "shade": ("contrast", "tone"), "embedding_similarity": (schema.SIMILARITY,),
    "decontaminate": (schema.SIMILARITY,),
}  # fmt: skip
"""Of steps whose columns have other names than they."""
OWN = ("clip_score", "again", "taste", "grain", "norm_sim", schema.SIMILARITY, "contrast", "tone")
"""Columns whose value for a pair depends on no other pair."""
REASONS = {
    "told": "rule:told", "decontaminate": "contaminated", "dedup": "duplicate_image",
    "semdedup": "duplicate_meaning", "balance": "sampled_out",
}  # fmt: skip
"""Why pairs leave at a step while it is there."""
TELLS = ("revoked.parquet", "input/", "dropped/", "clusters/", "report/")
"""What may say that a pair was revoked, or call a cluster by it."""


@pytest.fixture(scope="module")
def values(whole: Path) -> Values:
    """What a run with everything found out about each pair, by uid."""
    found: Values = {}
    for path in sorted(whole.glob("annotated/score/**/*.parquet")):
        for row in pq.read_table(path).to_pylist():
            found.setdefault(row["uid"], {}).update(row)
    return found


def columns_of(step: str) -> tuple[str, ...]:
    """The columns that are gone with a step."""
    return COLUMNS.get(step, (step,))


def without(document: dict[str, Any], step: str) -> dict[str, Any]:
    """The configuration without a step or rule, and without conditions on a column of it."""
    out: dict[str, Any] = json.loads(json.dumps(document))
    out["select"] = [rule for rule in out["select"] if rule.get("name") != step]
    for rule in out["select"]:
        if "any_of" in rule:
            rule["any_of"] = [x for x in rule["any_of"] if x["column"] not in columns_of(step)]
    if step == "dedup":
        return out | {"dedup": {"enabled": False}}
    sections = (
        out,
        out.get("decontaminate", {}),
        out["score"],
        out["score"]["also"],
        out["scores"],
    )
    for section in sections:
        section.pop(step, None)
    return out


def run_with(run: Path, document: dict[str, Any]) -> None:
    """Bring the run to a configuration."""
    path = run.parent / "changed.yaml"
    path.write_text(yaml.safe_dump(document))
    well("run", str(path), "--out", str(run), "--force")


def check_whole(run: Path) -> None:
    """That report, card and files of a finished run are of one set, and its checks hold."""
    report = document(run / "report/report.json")
    assert report["checks"]
    assert all(check["holds"] for check in report["checks"]), report["checks"]
    stages = document(run / "run.json")["stages"]
    assert [one["kept"] for one in report["funnel"]][: len(stages)] == [
        one["kept"] for one in stages.values()
    ]
    rows = pairs(run)
    manifest = document(run / "shards/manifest.json")
    assert list(stages.values())[-1]["kept"] == manifest["pairs"] == len(rows) > 0
    card = card_columns(run)
    assert all(card.values()), card
    alone = parquet_alone(config_file.load(str(run / "config.yaml")))
    assert [name for name in rows[0] if name not in alone] == list(card)


def check_forgotten(run: Path, pair: dict[str, Any]) -> None:
    """That no file holds the URL, and no other than `TELLS` the uid.

    A cluster goes on being called by the uid of the pair that stayed in it.
    """
    for path in filter(Path.is_file, run.rglob("*")):
        name = path.relative_to(run).as_posix()
        told = texts(path)
        assert pair["url"] not in told, name
        if path.suffix == ".parquet" and "uid" in pq.read_schema(path).names:
            told = " ".join(map(str, pq.read_table(path, columns=["uid"])["uid"].to_pylist()))
        if not name.startswith(TELLS) and path.name != schema.GROUPS:
            assert pair["uid"] not in told, name


def check_told(run: Path, uid: str, *, row: dict[str, Any], gone: set[str]) -> None:
    """That the story of a pair tells what `row` says, and of no step that is taken out."""
    [story] = json.loads(well("explain", str(run), uid, "--json"))
    told = {key: x for one in story["chapters"] for key, x in one["found"].items()}
    assert not gone & told.keys()
    for name in told.keys() & row.keys() - {"status", "matches", "seen"}:  # told by their names
        near = pytest.approx(row[name], rel=1e-4) if isinstance(row[name], float) else row[name]
        assert told[name] == near, name
    assert {x for x in OWN if row.get(x) is not None and x not in gone} <= told.keys()


def use(run: Path, *, values: Values, out: set[str], t: int) -> None:
    """Balance again, revoke a pair, explain some, report; the run is whole after each."""
    gone_columns = {name for step in out for name in columns_of(step)}
    check_whole(run)
    stages = document(run / "run.json")["stages"].values()
    dropped = {reason for one in stages for reason in one["dropped"]}
    for step, reason in REASONS.items():
        assert (reason in dropped) == (step not in out), step
    other = run.parent / f"t{t}"
    well("rebalance", str(run), "--out", str(other), "--t", str(t))
    check_whole(other)
    gone, *_, stays = pairs(run)
    (run.parent / "revoked.txt").write_text(gone["uid"] + "\n")
    well("revoke", str(run), "--list", str(run.parent / "revoked.txt"))
    check_whole(run)
    check_forgotten(run, gone)
    left = pq.read_table(run / "dropped/score").to_pylist()[-1]["uid"]
    check_told(run, stays["uid"], row=stays, gone=gone_columns)
    known = values.get(left, {})
    check_told(run, left, row={x: known[x] for x in OWN if x in known}, gone=gone_columns)
    for row in (*pairs(run), *pairs(other)):
        assert gone_columns.isdisjoint(row)
        of_captions = {schema.CAPTION_WEIGHTS}  # which this pool's pairs have one of
        assert {*OWN, *schema.DERIVED.names} - gone_columns - of_captions <= row.keys()
        known = values.get(row["uid"], {})  # of a pair that was a duplicate nothing is known
        for name in known.keys() & {*OWN} - gone_columns:
            assert row[name] == pytest.approx(known[name], abs=1e-5), name
    before = (run / "report/report.json").read_bytes()
    well("report", str(run))
    assert (run / "report/report.json").read_bytes() == before


@pytest.mark.parametrize("life", LIVES)
def test_each_step_is_taken_out_and_put_back(
    whole: Path, values: Values, tmp_path: Path, life: str
) -> None:
    run, full = moved(whole, tmp_path / "run"), config(whole.parent)
    for t, steps in enumerate((*LIVES[life], ()), 2):
        changed = full
        for step in steps:
            before, changed = changed, without(changed, step)
            assert changed != before, step
        run_with(run, changed)
        use(run, values=values, out=set(steps), t=t)
