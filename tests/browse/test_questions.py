"""What the page is told: against the run's files, read one by one; and who is told nothing."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import fsspec
import pyarrow.parquet as pq
import pytest

from curate.rundir.directory import Run
from tests.browse.served import Served, serving
from tests.users.runs import curate, document, moved, pairs, refused, small_run, well

Row = dict[str, Any]


def rows(run: Path) -> list[Row]:
    """Every pair of a run, with what any file says of it, joined a row at a time."""
    at, found = Run.at(str(run)), []
    stages = ["prepare", "download", "dedup", "balance"]
    for part in range(document(run / "run.json")["parts"]):
        known: dict[str, Row] = {}
        for stage in stages:
            if stage == "download":
                for row in at.rows("download/annotated", part).to_pylist():
                    known[row["uid"]] |= row
            for kind in ("dropped", "dead"):
                for row in at.rows(f"{kind}/{stage}", part).to_pylist():
                    row["reason"] = row.pop("error", None) or row.get("reason")
                    found.append({**known.get(row["uid"], {}), **row, "verdict": kind})
            for row in at.rows(stage, part).to_pylist():
                known[row["uid"]] = {**known.get(row["uid"], {}), **row}
                if stage == stages[-1]:
                    found.append({**row, "verdict": "kept", "stage": stage, "reason": None})
    return found


def uids(found: list[Row]) -> Counter[str]:
    return Counter(row["uid"] for row in found)


SELECTIONS: dict[str, tuple[list[tuple[str, object]], Callable[[Row], bool]]] = {
    "verdict": ([("is.verdict", "kept")], lambda x: x["verdict"] == "kept"),
    "stage": ([("is.stage", "dedup"), ("is.verdict", "dropped")],
              lambda x: (x["stage"], x["verdict"]) == ("dedup", "dropped")),
    "reasons": ([("is.reason", "language"), ("is.reason", "rule:small_image")],
                lambda x: x["reason"] in ("language", "rule:small_image")),
    "language": ([("is.language", "en")], lambda x: x.get("language") == "en"),
    "no language": ([("is.language", "")], lambda x: x.get("language") is None),
    "host": ([("is.host", "gone.example")], lambda x: (x["url"] or "").startswith("http://gone.example/")),
    "text": ([("q", " BLACK")], lambda x: "black" in (x["caption"] or "").lower()),
    "range": ([("min.original_width", "300"), ("max.original_width", "320")],
              lambda x: 300 <= (x.get("original_width") or 0) <= 320),
    "range of those dropped": ([("max.caption_chars", "30"), ("is.verdict", "dropped")],
                               lambda x: x["verdict"] != "kept" and x.get("caption_chars", 99) <= 30),
    "nothing": ([("q", "%_\\'; DROP")], lambda x: False),
}  # fmt: skip


@pytest.mark.parametrize("name", SELECTIONS)
def test_selections_are_those_of_the_files(served: Served, run: Path, name: str) -> None:
    fields, holds = SELECTIONS[name]
    expected = uids([row for row in rows(run) if holds(row)])
    assert bool(expected) == (name != "nothing")
    assert uids(served.all_pairs(*fields)) == expected
    counted = served.ask("groups", *fields)
    assert all(row["pairs"] > 0 for row in counted)
    in_force = [(x, y) for x, y in fields if x not in ("is.verdict", "is.stage", "is.reason")]
    assert sum(row["pairs"] for row in counted) == len(served.all_pairs(*in_force))
    status, _, content = served.reply(f"/api/uids?{urlencode(fields)}")
    assert status == 200
    assert content.decode().split() == sorted(expected)


def test_entries_are_found_by_name_and_filter(served: Served, run: Path) -> None:
    counted = {row["entry"]: row for row in served.ask("entries", ("q", "symb"))}
    number = counted["symbol"]["entry_id"]
    expected = [row for row in rows(run) if number in (row.get("matches") or ())]
    assert len(expected) > 1
    assert uids(served.all_pairs(("entry", f"en:{number}"))) == uids(expected)
    (bar,) = (x for x in served.ask("histogram", ("column", "entry"), ("q", "a"))["bars"]
              if x["name"] == "symbol")  # fmt: skip
    said = [row for row in expected if "a" in row["caption"].lower()]
    assert (bar["pairs"], bar["kept"]) == (len(said), sum(x["verdict"] == "kept" for x in said))


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("column", ["original_width", "caption", "language_score", "reason"])
def test_pages_of_a_sorted_selection_go_on_where_the_last_ended(
    served: Served, run: Path, column: str, order: str
) -> None:
    found = served.all_pairs(("sort", column), ("order", order))
    assert uids(found) == uids(rows(run))
    values = [x[column] if column in x else x["columns"][column] for x in found]
    there = [x for x in values if x is not None]
    assert values == [*sorted(there, reverse=order == "desc"), *[None] * (len(values) - len(there))]


def test_histograms_add_up(served: Served, run: Path) -> None:
    everything = rows(run)
    for column in ("original_width", "language_score", "caption_words"):
        found = served.ask("histogram", ("column", column))
        values = [x[column] for x in everything if x.get(column) is not None]
        assert sum(bar["pairs"] for bar in found["bars"]) == len(values)
        assert found["missing"] == len(everything) - len(values)
        assert found["bars"][0]["low"] == min(values)
        assert found["bars"][-1]["high"] == max(values)
        kept = [x for x in everything if x["verdict"] == "kept"]
        assert sum(bar["kept"] for bar in found["bars"]) == len(kept)
    found = served.ask("histogram", ("column", "reason"))
    counts = Counter(row["reason"] for row in everything)
    assert {x["value"]: x["pairs"] for x in found["bars"]} == {x: y for x, y in counts.items() if x}
    assert found["missing"] == counts[None]


def test_a_story_is_what_explain_says_with_its_cluster(served: Served, run: Path) -> None:
    dropped = next(row for row in rows(run) if (row["reason"] or "").startswith("duplicate_"))
    found = served.ask("pair", ("uid", dropped["uid"]))["runs"]
    told = json.loads(well("explain", str(run), dropped["uid"], "--json"))
    (story,) = found[0]["stories"]
    assert [{x: story[x] for x in told[0]}] == told
    members = {x["uid"] for x in story["cluster"]["pairs"]}
    survivor = dropped["value"]
    assert {dropped["uid"], survivor} <= members
    assert {x["uid"] for x in rows(run) if x.get("value") == survivor} <= members
    assert uids(served.all_pairs(("cluster", survivor))).keys() == members
    (of_survivor,) = served.ask("pair", ("uid", survivor))["runs"][0]["stories"]
    assert {x["uid"] for x in of_survivor["cluster"]["pairs"]} == members


def test_a_kept_pair_has_its_entries_its_draw_and_its_place(served: Served, run: Path) -> None:
    for pair in pairs(run)[:3]:
        (story,) = served.ask("pair", ("uid", pair["uid"]))["runs"][0]["stories"]
        assert [x["entry_id"] for x in story["entries"]]
        assert story["draw"] < story["chapters"][-2]["found"]["keep_probability"]
        assert story["chapters"][-1]["found"]["key"] == pair["key"]


def test_two_runs_are_compared_pair_by_pair(served: Served, run: Path, other: Path) -> None:
    ours, theirs = ({x["uid"] for x in pairs(one)} for one in (run, other))
    assert ours < theirs  # of a larger t
    assert uids(served.all_pairs(("fate.1", "differs"))).keys() == theirs - ours
    assert uids(served.all_pairs(("fate.1", "kept"), ("is.verdict", "kept"))).keys() == ours
    left = served.all_pairs(("run", 1), ("fate.0", "left"), ("is.verdict", "kept"))
    assert uids(left).keys() == theirs - ours
    assert {x["fates"]["0"]["reason"] for x in left} == {"sampled_out"}
    assert served.all_pairs(("fate.1", "absent")) == []
    (_, there) = served.ask("pair", ("uid", left[0]["uid"]))["runs"]
    assert there["stories"][0]["chapters"][-1]["verdict"] == "written"


def test_images_are_of_the_pair_that_is_named(served: Served, run: Path) -> None:
    version = served.ask("runs")["version"]
    found = served.all_pairs(("is.stage", "balance"))
    for pair in (*found[:3], found[-1]):
        status, headers, content = served.reply(f"/image/{version}/0/{pair['id']}")
        assert (status, headers["x-content-type-options"]) == (200, "nosniff")
        assert headers["content-type"] == "image/jpeg"
        part, row = (int(x) for x in pair["id"].split("/")[1:])
        if pair["verdict"] == "kept":
            at = (
                pq.read_table(run / f"balance/part-{part:05d}.parquet").slice(row, 1).to_pylist()[0]
            )
            tar = (run / f"download/part-{part:05d}.tar").read_bytes()
            assert content == tar[at["tar_offset"] : at["tar_offset"] + at["tar_size"]]
        _, headers, small = served.reply(f"/image/{version}/0/{pair['id']}?small")
        assert headers["content-type"] == "image/webp"
        assert small[8:12] == b"WEBP"
    assert {x["picture"] for x in served.all_pairs(("is.stage", "dedup"))} == {True}
    assert {x["picture"] for x in served.all_pairs(("is.stage", "prepare"))} == {False}


REFUSED: dict[str, dict[str, str | None]] = {
    "no token": {"Cookie": None},
    "another token": {"Cookie": "curate_{port}=" + "x" * 32},
    "a token of another port": {"Cookie": "curate_1={token}"},
    "another host": {"Host": "evil.example:{port}"},
    "another port": {"Host": "127.0.0.1:1"},
    "no host": {"Host": None},
    "another origin": {"Origin": "http://evil.example"},
    "another server of this machine": {"Origin": "http://127.0.0.1:1"},
    "no origin at all": {"Origin": "null"},
    "another site": {"Sec-Fetch-Site": "cross-site"},
}


@pytest.mark.parametrize("why", REFUSED)
@pytest.mark.parametrize("path", ["/", "/static/main.js", "/api/runs", "/api/uids", "/nothing"])
def test_strangers_are_refused(served: Served, why: str, path: str) -> None:
    given = {
        x: y and y.format(port=served.port, token=served.token) for x, y in REFUSED[why].items()
    }
    status, headers, content = served.reply(path, given)
    assert status in ((400, 421) if "Host" in given else (403,))
    assert b"prepare" not in content
    assert "set-cookie" not in headers


def test_the_link_gives_the_key_and_nothing_else_does(served: Served) -> None:
    status, headers, _ = served.reply(f"/?token={served.token}", {"Cookie": None})
    assert status == 200
    assert headers["set-cookie"].endswith("; Path=/; HttpOnly; SameSite=Strict")
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["referrer-policy"] == "no-referrer"
    assert "access-control-allow-origin" not in headers
    for path in (f"/api/runs?token={served.token}", f"/?token={served.token}x", "/?token="):
        assert served.reply(path, {"Cookie": None})[0] == 403


def test_what_changes_something_has_to_come_from_the_page(served: Served) -> None:
    body = json.dumps({"name": "mine", "run": 0, "fields": [["is.verdict", "kept"]]})
    own = f"http://127.0.0.1:{served.port}"
    for origin in (None, "http://evil.example", f"http://localhost:{served.port}"):
        status, _, _ = served.reply("/api/selections", {"Origin": origin}, method="POST", body=body)
        assert status == 403
    assert not served.selections.exists()
    for name in ("../up", "/tmp/x", ".hidden", "a/b", "", "a\nb"):
        wrong = json.dumps({"name": name, "run": 0})
        status, _, said = served.reply(
            "/api/selections", {"Origin": own}, method="POST", body=wrong
        )
        assert (status, b"is no name for a list" in said) == (400, True)
    status, _, _ = served.reply("/api/selections", {"Origin": own}, method="POST", body=body)
    assert status == 200
    status, _, said = served.reply("/api/selections", {"Origin": own}, method="POST", body=body)
    assert (status, json.loads(said)["pairs"]) == (200, None)


@pytest.mark.parametrize("path", [
    "/../run.json", "/static/../../run.json", "/static/..%2f..%2frun.json", "/static/%2e%2e/server.py",
    "/image/{version}/0/0/0/../../../../run.json", "/image/{version}/0/0/0/..%2frun.json",
    "//etc/passwd",
    "/image/{version}/9/0/0/0", "/image/{version}/0/99/0/0", "/image/{version}/0/0/99/0",
    "/image/{version}/0/0/0/99999", "/image/other/0/0/0/0", "/image/{version}/0/0/0/-1",
    "/image/{version}/0/0/0/99999999999999999999999999",
])  # fmt: skip
def test_paths_lead_to_no_file(served: Served, path: str) -> None:
    status, _, content = served.reply(path.format(version=served.ask("runs")["version"]))
    assert status in (404, 410)
    assert len(content) < 100


@pytest.mark.parametrize("fields", [
    [("is.caption; --", "x")], [("min.caption", "1")], [("min.original_width", "1 OR 1=1")],
    [("sort", "uid, url")], [("sort", "1")], [("after", "[1,2]")], [("after", '["a",0,0,"0)"]')],
    [("run", "7")], [("run", "-1")], [("entry", "en:1)")],
    [("fate.1", "x")], [("fate.7", "kept")], [("after", "[" * 9999)],
])  # fmt: skip
def test_questions_that_make_no_sense_are_refused_in_words(
    served: Served, fields: list[tuple[str, object]]
) -> None:
    said = served.refused("pairs", *fields)
    assert str(fields[0][0]).partition(".")[2] in said or str(fields[0][1])[:40] in said
    assert "SELECT" not in said


def test_lists_are_taken_by_revoke_subset_and_prepare(
    served: Served, run: Path, tmp_path: Path
) -> None:
    listed = served.selections / "few.txt"
    chosen = sorted(x["uid"] for x in pairs(run)[:3])
    body = json.dumps({"name": "few", "run": 0, "uids": chosen[::-1]})
    own = f"http://127.0.0.1:{served.port}"
    status, _, said = served.reply("/api/selections", {"Origin": own}, method="POST", body=body)
    assert (status, json.loads(said)) == (200, {"path": str(listed), "pairs": 3})
    assert listed.read_text().split() == chosen
    told = well("subset", str(run), "--npy", str(tmp_path / "few.npy"), "--list", str(listed))
    assert told.startswith("3 pairs kept by balance and in ")
    small_run(tmp_path, "--set", f"prepare.uids_in={listed}")
    assert {x["uid"] for x in pairs(tmp_path / "run")} == set(chosen)
    copy = moved(run, tmp_path / "copy")
    with serving(copy, selections=tmp_path) as page:
        (before,) = page.all_pairs(("q", chosen[0]))
        image = f"/image/{page.ask('runs')['version']}/0/{before['id']}?small"
        assert page.reply(image)[0] == 200
        well("revoke", str(copy), "--list", str(listed))
        assert page.reply(image)[0] == 410
        for uid in chosen:
            assert page.all_pairs(("q", uid)) == page.all_pairs(("is.uid", uid)) == []
            (story,) = page.ask("pair", ("uid", uid))["runs"][0]["stories"]
            assert (story["url"], story["caption"], "card" in story) == (None, None, False)
        assert page.ask("groups", ("is.reason", "revoked")) == page.ask("groups")
        assert "revoked" not in {x["reason"] for x in page.ask("groups")}
        assert len(page.all_pairs()) == len(rows(run)) - 3


def test_a_run_that_is_not_finished(run: Path, tmp_path: Path) -> None:
    copy = moved(run, tmp_path / "copy")
    at = Run.at(str(copy))
    for folder, part in (("dedup", 1), ("balance", 1), ("balance", 2)):
        Path(at.part(folder, part, "json")).unlink()
    at.update(state="failed")
    with serving(copy, selections=tmp_path) as page:
        assert "is not complete" in page.ask("runs")["runs"][0]["notice"]
        through = [("download", 1), ("dedup", 2)]
        for stage, part in through:
            found = page.all_pairs(("is.verdict", "waiting"), ("is.stage", stage))
            assert uids(found) == uids(at.rows(stage, part).to_pylist())
        kept = page.all_pairs(("is.verdict", "kept"))
        assert uids(kept) == uids(
            [x for part in (0, 3) for x in at.rows("balance", part).to_pylist()]
        )


def test_a_run_without_images_or_balance(tmp_path: Path) -> None:
    run = small_run(tmp_path, "--set", "download.enabled=false", "--set", "balance=null",
                    "--set", "select=[]", "--set", "dedup.policy=[url,caption]")  # fmt: skip
    with serving(run, selections=tmp_path) as page:
        told = page.ask("runs")["runs"][0]
        assert (told["images"], told["entries"]) == (False, False)
        found = page.all_pairs()
        assert {x["picture"] for x in found} == {False}
        assert page.refused("entries", ("q", "a")).endswith("no entries are counted in this run")
        kept = page.all_pairs(("is.verdict", "kept"))
        assert page.reply(f"/image/{page.ask('runs')['version']}/0/{kept[0]['id']}")[0] == 404
        (story,) = page.ask("pair", ("uid", kept[0]["uid"]))["runs"][0]["stories"]
        assert story["chapters"][-1]["stage"] == "dedup"


def test_a_run_in_a_store(run: Path, tmp_path: Path) -> None:
    store = fsspec.filesystem("memory")
    store.put(str(run), "/browsed", recursive=True)
    with serving("memory://browsed", selections=tmp_path) as page:
        assert uids(page.all_pairs()) == uids(rows(run))
        kept = page.all_pairs(("is.verdict", "kept"))[0]
        image = f"/image/{page.ask('runs')['version']}/0/{kept['id']}?small"
        assert page.reply(image)[2][8:12] == b"WEBP"
    store.rm("/browsed", recursive=True)


def test_what_is_no_run_and_a_port_that_is_taken(run: Path, served: Served, tmp_path: Path) -> None:
    assert "no run here" in refused("browse", str(tmp_path), "--no-open")
    said = refused("browse", str(run), "--no-open", "--port", str(served.port))
    assert "leave --port out for a free one" in said
    assert curate("browse").returncode == 2
