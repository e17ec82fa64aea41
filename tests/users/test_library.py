"""`curate.run` and `curate.open`: a run as a notebook has it, of every kind that there is."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import curate
from curate import files
from curate.config import Balance, Columns, Config, Download, Input, Prepare, Rule
from curate.finished.tables import FATE
from tests.users.runs import well
from tests.users.test_earlier_runs import runs

__all__ = ["runs"]
pytestmark = pytest.mark.usefixtures("undrawn")


def fates(opened: curate.OpenedRun) -> Counter[tuple[str, str]]:
    """How many pairs of the pool have each verdict and reason, by the table of all."""
    table = opened.table("all", columns=["verdict", "reason"]).to_arrow()
    return Counter(zip(*(table[x].to_pylist() for x in ("verdict", "reason")), strict=True))


def add_up(opened: curate.OpenedRun, *, kept: int) -> None:
    """That the table of all is the funnel, pair by pair; so are those of each verdict."""
    found, stages = fates(opened), [x for x in opened.funnel if x.stage != "shards"]
    assert sum(found.values()) == stages[0].in_
    gone = sum((Counter(x.reasons) for x in stages), Counter[str]())
    assert {x: n for (_, x), n in found.items() if x} == gone
    assert sum(n for (verdict, _), n in found.items() if verdict == "kept") == kept
    assert opened.table("kept").count_rows() == stages[-1].kept
    for verdict, n in (
        ("dropped", sum(x.dropped for x in stages)),
        ("dead", sum(x.dead for x in stages)),
    ):
        assert opened.table(verdict).count_rows() == n
    for stage in stages:
        assert stage.in_ == stage.kept + stage.dropped + stage.dead
        assert opened.table(stage.stage).count_rows() == stage.kept


def test_a_run_with_everything_on(whole: Path) -> None:
    opened = curate.open(whole)
    add_up(opened, kept=opened.funnel.stages[-1].in_)
    table = opened.table("all")
    assert table.schema.names[: len(FATE)] == FATE.names
    assert {"clip_score", "width", "language", "contrast"} <= {*table.schema.names}
    by_rule = table.to_arrow(
        ["value", "clip_score", "width"], filter=pc.field("reason") == "rule:clip_score"
    )
    for row in by_rule.to_pylist():  # what was found out of a pair that left
        assert float(row["value"]) == pytest.approx(row["clip_score"], abs=1e-4)
        assert row["width"]
    in_all = table.to_arrow(["uid", "clip_score"], filter=pc.field("verdict") == "kept")
    assert in_all.equals(opened.table("kept", columns=["uid", "clip_score"]).to_arrow())
    assert duckdb.from_arrow(table).aggregate("count(*)").fetchall() == [(table.count_rows(),)]
    relation = opened.table("kept").duckdb()
    assert relation.aggregate("count(*), min(clip_score)").fetchall() == [
        (len(in_all), pc.min(in_all["clip_score"]).as_py())
    ]  # fmt: skip
    assert opened.table("kept").dataset.schema.equals(opened.table("kept").schema)
    assert len(opened.table("kept").to_pandas(["uid"])) == len(in_all)
    assert len(opened.table("all").head(3)) == 3


def test_pairs_have_their_images_kept_and_dropped(whole: Path) -> None:
    opened = curate.open(whole)
    kept = [*opened.pairs(where=pc.field("verdict") == "kept")]
    assert [x.uid for x in kept] == opened.table("kept").to_arrow(["uid"])["uid"].to_pylist()
    for pair in kept:
        assert pair.image is not None
        assert pair.image.size == (pair.columns["width"], pair.columns["height"])
    dropped = [*opened.pairs(where=pc.field("stage") == "score", limit=3)]
    assert dropped
    assert all(
        x.image is not None and x.verdict == "dropped" and x.reason in x.why for x in dropped
    )
    fetched = [*opened.pairs(where=pc.field("stage") == "prepare")]
    assert fetched
    assert all(x.image is None for x in fetched)
    of_uids = [*opened.pairs(pa.array([kept[-1].uid.upper(), kept[0].uid, "f" * 32]))]
    assert [x.uid for x in of_uids] == [kept[0].uid, kept[-1].uid]
    (story,) = opened.explain(kept[0].uid)
    assert "shards" in str(story)


def test_nothing_that_a_pair_says_is_markup_in_a_notebook(whole: Path) -> None:
    opened = curate.open(whole)
    pair = next(iter(opened.pairs(limit=1)))
    hostile = type(pair)(**{**vars(pair), "caption": "<script>alert(1)</script>", "value": "<b>"})
    for shown in (hostile._repr_html_(), curate.library.pairs.sheet([hostile])):
        assert "<script" not in shown
        assert "&lt;script" in shown
    assert opened.table("all")._repr_html_().count("<tr>") == 11
    assert opened.pairs(limit=30)._repr_html_().count("<figure") == 24
    assert "clip_score" in opened._repr_html_()


def test_figures_are_those_of_the_report(whole: Path) -> None:
    opened = curate.open(whole)
    assert {"funnel", "clip_score"} <= {*opened.figures}
    chart = opened.figure("funnel")
    assert chart.to_dict()["title"] == "Pairs through the stages"
    language = next(x for x in opened.figures if x.startswith("rank-")).partition("-")[2]
    assert (
        opened.figure("rank", language=language).to_dict()
        == opened.figure(f"rank-{language}").to_dict()
    )
    with pytest.raises(curate.CurateError, match=r"no figure 'rnk'; it has funnel, "):
        opened.figure("rnk")


def test_what_other_values_of_t_keep(small: Path) -> None:
    opened = curate.open(small)
    found = opened.sweep([1, 3])
    frame = found.to_pandas()
    assert list(frame["t"].dropna()) == [1, 3]
    assert len(frame) == 3
    assert frame["pairs"].is_monotonic_increasing
    assert "concepts" in repr(found)
    assert found.figure("concepts").to_dict()["layer"]
    with pytest.raises(curate.CurateError, match=r"^t 0: expected a number over 0$"):
        opened.sweep([0])
    assert opened.entries.count_rows(filter=pc.field("kept") > 0) > 10
    assert list(opened.pairs(limit=0)) == []
    with pytest.raises(curate.CurateError, match="limit -1: expected a number of pairs"):
        opened.pairs(limit=-1)


def test_it_is_rebalanced_and_revoked(run: Path, tmp_path: Path) -> None:
    opened = curate.open(run)
    before = opened.funnel.stages[-1].kept
    other = opened.rebalance(str(tmp_path / "all"), t=1000)
    reached = opened.funnel.stages[-2].in_
    assert other.funnel.stages[-1].kept == reached > before
    add_up(other, kept=reached)
    assert len([x for x in other.pairs(where=pc.field("verdict") == "kept") if x.image]) == reached
    with pytest.raises(curate.CurateError, match="give force=True to replace it") as error:
        opened.rebalance(str(tmp_path / "all"), t=2)
    assert "\n" not in str(error.value)
    uid = opened.table().head(1)["uid"][0].as_py()
    (tmp_path / "gone").write_text(uid)
    well("revoke", str(run), "--list", str(tmp_path / "gone"))
    with pytest.raises(curate.CurateError, match="revoke"):
        curate.open(tmp_path / "all")
    opened = curate.open(run)
    add_up(opened, kept=before - 1)
    (pair,) = opened.pairs(uid)
    assert (pair.verdict, pair.reason, pair.image, pair.caption) == (
        "dropped",
        "revoked",
        None,
        None,
    )


def test_a_run_that_is_not_finished(run: Path) -> None:
    """Pairs of parts that have not come to the last stage are pending."""
    for folder in ("shards", "balance", "records/balance", "entries"):
        files.remove(str(run / folder))
    last = max(run.glob("records/dedup/part-*.json"))
    last.unlink()
    document = json.loads((run / "run.json").read_text())
    document = {x: y for x, y in document.items() if x not in ("check", files.CHECK)}
    files.write_document(str(run / "run.json"), {**document, "state": "interrupted", "files": {}})
    opened = curate.open(run)
    found = fates(opened)
    assert sum(found.values()) == opened.funnel.stages[0].in_
    stages = Counter(
        opened.table("all")
        .to_arrow(["stage"], filter=pc.field("verdict") == "pending")["stage"]
        .to_pylist()
    )
    assert set(stages) == {"download", "dedup"}
    assert stages["dedup"] == opened.funnel.stages[-1].kept
    assert "interrupted" in repr(opened)
    with pytest.raises(curate.CurateError, match="was not balanced over entries"):
        opened.entries  # noqa: B018
    with pytest.raises(curate.CurateError, match="is not complete"):
        opened.sweep()
    assert "funnel" in opened.figures


def test_a_run_of_which_no_part_is_done(run: Path, small: Path) -> None:
    document = json.loads((run / "run.json").read_text())
    for path in run.iterdir():
        if path.name not in ("run.json", "config.yaml"):
            files.remove(str(path))
    document = {x: y for x, y in document.items() if x != files.CHECK}
    begun = {**document, "state": "failed", "files": {}, "stages": {}}
    files.write_document(str(run / "run.json"), begun)
    opened = curate.open(run)
    assert "0 pairs, 0 kept, failed" in repr(opened)
    assert [opened.table(x).count_rows() for x in ("all", "dropped", "dead")] == [0, 0, 0]
    assert [*opened.pairs()] == []
    with pytest.raises(curate.CurateError, match="no part is done yet"):
        opened.table()
    compared = curate.open(small).compare(opened)
    assert set(compared.matrix["b"]) == {"not in the pool"}
    assert "funnels" in compared.figures


def test_a_run_without_images_built_in_python(tmp_path: Path) -> None:
    captions = ["a red fox", "ein roter Fuchs im Wald", "a dog", "", "a very red house", None]
    urls = [f"http://x.example/{k}.jpg" for k in range(6)]
    pq.write_table(pa.table({"link": urls, "text": captions}), tmp_path / "pool.parquet")
    (tmp_path / "words.txt").write_text("red\nfox\ndog\n")
    config = Config(
        input=Input(
            paths=(str(tmp_path / "pool.parquet"),), columns=Columns(url="link", caption="text")
        ),
        prepare=Prepare(metadata={"en": str(tmp_path / "words.txt")}),
        download=Download(enabled=False),
        select=(Rule(column="caption_chars", min=6),),
        balance=Balance(t=100),
    )
    opened = curate.run(config, out=tmp_path / "run")
    add_up(opened, kept=opened.funnel.stages[-1].kept)
    assert [x.image for x in opened.pairs()] == [None] * 6
    assert opened.config.balance == config.balance
    again = curate.run(tmp_path / "run/config.yaml")
    assert again.root == opened.root
    with pytest.raises(curate.CurateError, match="no output folder: give out=RUN"):
        curate.run(config)
    with pytest.raises(curate.CurateError, match=r"retry: download\.enabled is false"):
        curate.run(config, out=tmp_path / "run", retry=["timeout"])
    with pytest.raises(curate.CurateError, match="give force=True"):
        curate.run(config.model_copy(update={"balance": Balance(t=1)}), out=tmp_path / "run")
    settings = curate.read_config(tmp_path / "run/config.yaml", overrides=["balance.t=1"])
    assert settings.balance == Balance(t=1)
    assert curate.run(settings, force=True).funnel.stages[-1].kept < 4


def test_of_layout_1_and_in_a_store(runs: Path, request: pytest.FixtureRequest) -> None:
    request.addfinalizer(lambda: files.remove("memory://library"))
    for path in (runs / "old").rglob("*"):
        if path.is_file():
            raw = path.read_bytes().replace(f"{runs}/".encode(), b"memory://library/")
            name = path.relative_to(runs)
            files.write_bytes(
                f"memory://library/{name}", path.read_bytes() if path.suffix != ".yaml" else raw
            )
    for where in (str(runs / "old"), str(runs / "old-t2"), "memory://library/old"):
        opened = curate.open(where)
        add_up(opened, kept=opened.funnel.stages[-1].kept)
        pair = next(iter(opened.pairs(where=pc.field("verdict") == "kept")))
        assert pair.image is not None
        kept = opened.table().duckdb().aggregate("count(*)").fetchall()
        assert kept == [(opened.funnel.stages[-1].kept,)]


def test_what_is_wrong_is_said_in_a_line(small: Path, run: Path, tmp_path: Path) -> None:
    opened = curate.open(str(small))
    wrong: dict[str, Callable[[], object]] = {
        r"no table 'balanced', did you mean 'balance'\? there are all, kept,":
            lambda: opened.table("balanced"),
        r"no column 'widht', did you mean 'width'\?": lambda: opened.table(columns=["widht"]),
        r"stands in table\('all'\)": lambda: opened.table("dropped", columns="width"),
        r"no column 'x'": lambda: opened.table().count_rows(filter=pc.field("x") > 1),
        r"pairs: no column 'widht', did you mean 'width'\?":
            lambda: [*opened.pairs(where=pc.field("widht") > 1)],
        r"expected an expression of pyarrow, as .*, not 'width > 1'":
            lambda: [*opened.pairs(where="width > 1")],
        r"table 'all': expected an expression of pyarrow": lambda: opened.table("all").to_arrow(
            filter="x"
        ),
        r"its rows are of several files": lambda: opened.table("all").dataset,
        r"no run here": lambda: curate.open(tmp_path / "none"),
        r"no pair with the uid": lambda: opened.explain("0" * 32),
        r"no such file": lambda: curate.run(tmp_path / "none.yaml"),
        r"^workers 0: expected 1 or more": lambda: curate.run(opened.config, workers=0),
        r"retry: 'never' is no failure": lambda: curate.run(opened.config, retry=["never"]),
    }  # fmt: skip
    for message, call in wrong.items():
        with pytest.raises(curate.CurateError, match=message) as error:
            call()
        assert "\n" not in str(error.value)
    part = next((run / "balance").glob("*.parquet"))
    part.write_bytes(part.read_bytes()[:-9])
    with pytest.raises(
        curate.CurateError, match=r"is damaged: .*; it is made again by: curate run "
    ):
        curate.open(run)


def test_importing_it_is_cheap() -> None:
    code = (
        "import sys, curate; dir(curate); curate.__all__; "
        "print([x for x in ('torch', 'numba', 'pyarrow', 'pandas', 'altair') if x in sys.modules])"
        "; from curate import *; print(open is __builtins__.open)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\nTrue\n"
