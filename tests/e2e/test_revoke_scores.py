"""`curate revoke` on a run with all kinds of scores, and every figure of its report counted again."""

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

from curate.files import shipped
from tests.e2e.conftest import Command, read_json
from tests.e2e.test_demo import kept, ledger, rows
from tests.e2e.test_revoke import content, revoked, rows_of

SCORER = shipped("pipelines/demo/scorer")
WIDTH = 256
COLUMNS = ("again", "norm_sim", "nearest_target", "neg_clip_loss")
CUT = {"clip_score": 0.8, "again": 0.9, "norm_sim": 0.7}


@pytest.fixture(scope="module")
def scored(
    curate: Command, some_pairs: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """A run with stored embeddings and what is made of them; a copy that pairs were revoked from."""
    folder = tmp_path_factory.mktemp("scored")
    run, after = folder / "run", folder / "revoked" / "run"
    random = np.random.default_rng(0)
    target, head = folder / "target.npy", folder / "head.npy"
    np.save(target, random.normal(size=(20, WIDTH)).astype(np.float32))
    np.save(head, random.normal(size=WIDTH).astype(np.float32))
    model = (
        f"model: {SCORER / 'curate-mini.json'}, pretrained: {SCORER / 'curate-mini.safetensors'}"
    )
    done = curate(
        "demo", "--out", str(run), *some_pairs, "--set", "score.embeddings=true",
        "--set", f"score.also.again={{{model}, embeddings: true}}",
        "--set", f"score.norm_sim={{target: {target}}}",
        "--set", f"score.nearest_target={{target: {target}, clusters: 9}}",
        "--set", "score.neg_clip_loss={batch_size: 64, batches: 2}",
        "--set", f"scores.taste={{kind: head, weights: {head}}}",
        "--set", "select=[{name: small_image, column: smaller_side, min: 64},"
        " {name: short_caption, column: caption_chars, min: 12},"
        " {name: wide, column: aspect, max: 1.6},"
        + ", ".join(f"{{column: {x}, top_fraction: {f}}}" for x, f in CUT.items()) + "]",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    shutil.copytree(run, after)
    revoked(after, "\n".join(sorted(chosen(run))) + "\n")
    return run, after


def clusters(run: Path) -> dict[str, list[str]]:
    """The uids of each cluster's pairs, those that stay and those that were dropped."""
    found: dict[str, list[str]] = {}
    for row in rows_of(run, "dedup"):
        found.setdefault(row["cluster"], []).append(row["uid"])
    for row in ledger(run):
        if row["stage"] == "dedup":
            found[row["value"]].append(row["uid"])
    return found


def chosen(run: Path) -> set[str]:
    """A pair that every reason dropped, kept ones, and first and other pairs of clusters."""
    by_reason = {row["reason"]: row["uid"] for row in ledger(run) if row["reason"] != "bad_url"}
    several = sorted((-len(uids), first) for first, uids in clusters(run).items() if len(uids) > 1)
    firsts = [first for _, first in several]
    others = [next(x for x in clusters(run)[first] if x != first) for first in firsts[1:3]]
    return {
        *by_reason.values(),
        firsts[0],
        firsts[-1],
        *others,
        *(x["uid"] for x in kept(run)[::6]),
    }


def facts(run: Path) -> Any:
    return read_json(run / "report/report.json")


def stored(run: Path, folder: str, part: str) -> dict[str, np.ndarray[Any, Any]]:
    with np.load(run / folder / f"{part}.npz") as found:
        return dict(found)


def test_all_that_was_scored_stays_row_by_row(scored: tuple[Path, Path]) -> None:
    before, after = scored
    gone = chosen(before)
    looked = 0
    for path in sorted(before.glob("annotated/score/part-*.parquet")):
        was = rows(path)
        here = [i for i, row in enumerate(was) if row["uid"] not in gone]
        looked += len(was) - len(here)
        uids = [was[i]["uid"] for i in here]
        assert rows(after / "annotated/score" / path.name) == [was[i] for i in here]
        assert {row["uid"] for row in rows_of_part(after, "dedup", path.name)} == set(uids)
        for name in COLUMNS:
            column = rows(before / "annotated/score" / name / path.name)
            now = rows(after / "annotated/score" / name / path.name)
            assert now == [column[i] for i in here], name
            record = read_json(after / "records/annotated/score" / name / f"{path.stem}.json")
            assert record["kept"] == record["rows"] == len(here)
        for folder in ("annotated/score", "annotated/score/again"):
            arrays, old = (stored(run, folder, path.stem) for run in (after, before))
            assert arrays["uid"].astype(str).tolist() == uids
            assert arrays.keys() == old.keys()
            for name, array in arrays.items():
                assert array.tobytes() == old[name][here].tobytes()
    assert looked >= 8
    for name, raw in content(after).items():
        if name.endswith(".npz"):
            assert not [uid for uid in gone if uid.encode() in raw], name


def rows_of_part(run: Path, folder: str, name: str) -> list[dict[str, Any]]:
    return rows(run / folder / name)


def reached(run: Path, stage: str) -> list[dict[str, Any]]:
    """The pairs of a run that came to the rules of a stage, with what these look at."""
    if stage == "prepare":
        late = [x for x in ledger(run) if x["stage"] == "prepare"
                and x["reason"] in ("rule:short_caption", "no_match")]  # fmt: skip
        found = [*rows_of(run, stage), *late]
        return [{"uid": x["uid"], "short_caption": len(x["caption"]) < 12} for x in found]
    if stage == "download":
        found = [x for x in rows_of(run, "annotated/download") if x["outcome"] == "success"]
        return [{"uid": x["uid"], "small_image": x["smaller_side"] < 64, "wide": x["aspect"] > 1.6}
                for x in found]  # fmt: skip
    cuts = {x["column"]: x["cut"] for x in read_json(run / "records/score/quantiles.json")["cuts"]}
    found = [
        {**row, "norm_sim": near["norm_sim"]}
        for row, near in zip(
            rows_of(run, "annotated/score"), rows_of(run, "annotated/score/norm_sim"), strict=True
        )
    ]
    return [{"uid": x["uid"], **{name: x[name] < cuts[name] for name in CUT}} for x in found]


def test_rules_are_counted_without_the_revoked_pairs(scored: tuple[Path, Path]) -> None:
    before, after = scored
    gone = chosen(before)
    shown = {
        one["rule"]: (one["pairs"], one["alone"], one["only"]) for one in facts(after)["rules"]
    }
    changed = 0
    for stage in ("prepare", "download", "score"):
        for left, run in ((gone, after), (set(), before)):
            pairs = [x for x in reached(before, stage) if x.pop("uid") not in left]
            for rule in pairs[0]:
                alone = [x for x in pairs if x[rule]]
                only = sum(sum(x.values()) == 1 for x in alone)
                told = {x["rule"]: (x["pairs"], x["alone"], x["only"]) for x in facts(run)["rules"]}
                assert told[rule] == (len(pairs), len(alone), only)
                changed += told[rule] != shown[rule]
    assert changed == len(shown)


def test_clusters_are_counted_as_they_are_now(scored: tuple[Path, Path]) -> None:
    before, after = scored
    gone = chosen(before)
    found = facts(after)["duplicates"]
    sizes = Counter(len([x for x in uids if x not in gone]) for uids in clusters(before).values())
    sizes = Counter({n: many for n, many in sizes.items() if n > 1})
    assert found["clusters"] == sizes.total()
    assert found["pairs"] == sum(n * many for n, many in sizes.items())
    assert sum(one["clusters"] for one in found["sizes"]) == sizes.total()
    assert found["pairs"] < facts(before)["duplicates"]["pairs"]
    seen = facts(before)["duplicates"]["pairs_in"]
    assert (found["looked_at"], found["pairs_in"]) == (seen, len(rows_of(after, "download")))
    policies = [{**one, "in_force": True} for one in facts(before)["duplicates"]["policies"]]
    assert [{**one, "in_force": True} for one in found["policies"]] == policies
    lost = seen - found["pairs_in"]
    assert f"{seen} pairs that dedup saw; {lost} of them were" in page(after)
    assert "pairs that dedup saw" not in page(before)


def page(run: Path) -> str:
    return (run / "report/index.html").read_text()


def test_hosts_languages_and_the_balance_are_counted_again(scored: tuple[Path, Path]) -> None:
    before, after = scored
    gone = chosen(before)
    fetched: dict[str, Counter[str]] = {}
    for pair, found in zip(
        rows_of(before, "prepare"), rows_of(before, "annotated/download"), strict=True
    ):
        if pair["uid"] not in gone:
            host = str(urlsplit(pair["url"]).hostname)
            fetched.setdefault(host, Counter())[found["outcome"]] += 1
    hosts = facts(after)["hosts"]
    assert hosts["pairs"] == sum(one.total() for one in fetched.values())
    assert hosts["hosts"] == len(fetched)
    table = rows(after / "report/hosts.parquet")
    assert {x["host"]: (x["pairs"], x["fetched"]) for x in table} == {
        host: (one.total(), one["success"]) for host, one in fetched.items()
    }
    transient = ("timeout", "reset", "refused", "http_5xx", "dns")
    assert hosts["transient"] <= sum(one[x] for one in fetched.values() for x in transient) + 6
    records = [read_json(x) for x in after.glob("records/annotated/download/part-*.json")]
    assert sum(x["figures"]["transient"] for x in records) == hosts["transient"]
    (english,) = facts(after)["languages"][:1]
    assert (english["language"], english["kept"]) == ("en", len(kept(after)))
    balance = facts(after)["balance"]
    scored_now = len(rows_of(after, "score"))
    assert balance["languages"][0]["pairs"] - balance["revoked"] == scored_now
    assert balance["revoked"] > 0
    assert facts(before)["balance"]["revoked"] == 0
    assert balance["languages"][0]["kept_pairs"] == len(kept(after))


def test_going_on_takes_over_what_is_left(
    scored: tuple[Path, Path], curate: Command, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    shutil.copytree(scored[1], out)
    before = content(out)
    (out / "records/annotated/score/norm_sim/part-00000.json").unlink()
    # as a run that was stopped at it leaves it
    cut_off = out / "records/annotated/score/part-00001.json"
    held = {key: value for key, value in read_json(cut_off).items() if key != "check"}
    cut_off.write_text(json.dumps(held | {"digest": ""}))
    done = curate("run", str(out / "config.yaml"), "--out", str(out))
    assert done.returncode == 0, done.stderr
    now = content(out)
    for name, raw in before.items():
        folder, _, file = name.rpartition("/")
        if folder in (f"annotated/score{x}" for x in ("", "/again", "/norm_sim")):
            assert file.endswith(".json") or now[name] == raw, name
    record = read_json(cut_off)
    assert record["figures"]["reused"] == record["rows"], "no model had to run"
    assert all(check["holds"] for check in facts(out)["checks"])
