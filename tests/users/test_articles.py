"""Packages of PubMed Central's open-access set as a pool, from the first run to a revocation."""

from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from tests.pool.packages import article, figure, folder, package, picture
from tests.users.runs import curate, moved, pairs, refused, well

KEEP = ["article", "pmid", "doi", "license", "figure", "label", "mentions"]


def members(pmc: int) -> dict[str, bytes]:
    """The files of an article with three figures, of which one has no file and one no caption."""
    cited = '<p>See <xref ref-type="fig" rid="a">Figure 1</xref>.</p>'
    figures = (
        figure("a", f"two rats of article {pmc}", label="Figure 1"),
        figure("b", "", label="Figure 2"),
        figure("lost", f"a plot of article {pmc}"),
    )
    return {
        f"PMC{pmc}/x.nxml": article(*figures, pmc=pmc, body=cited),
        f"PMC{pmc}/a.jpg": picture(20 * pmc), f"PMC{pmc}/b.jpg": picture(7),
        f"PMC{pmc}/a.gif": picture(1), f"PMC{pmc}/paper.pdf": b"%PDF-1.4",
    }  # fmt: skip


def pool(at: Path) -> Path:
    """Eight articles: packages in folders, one of them cut off, and a folder of an article."""
    for pmc in range(1, 8):
        package(at / f"{pmc % 2:02d}" / f"PMC{pmc}.tar.gz", members(pmc))
    broken = at / "01" / "PMC9.tar.gz"
    broken.write_bytes((at / "01" / "PMC1.tar.gz").read_bytes()[:400])
    folder(at / "more", members(8))
    return at


def config(at: Path, *paths: str, **changes: Any) -> Path:
    given = {"paths": paths, "format": "jats", "columns": {"keep": KEEP}}
    whole = {"input": given, "part_rows": 10, "dedup": {"enabled": False}, "shards": {"rows": 5}}
    path = at / "c.yaml"
    path.write_text(yaml.safe_dump(whole | changes))
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    at = tmp_path_factory.mktemp("articles")
    well("run", str(config(at, str(pool(at / "pool")))), "--out", str(at / "run"))
    return at


def brightness(run: Path) -> dict[str, int]:
    """That of each stored image, by the caption that it has."""
    found = {}
    for part in sorted((run / "download").glob("part-?????.parquet")):
        content = part.with_suffix(".tar").read_bytes()
        for row in pq.read_table(part).to_pylist():
            image = content[row["tar_offset"] : row["tar_offset"] + row["tar_size"]]
            pixels: Any = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR)
            found[row["caption"]] = int(pixels[0, 0, 0])
    return found


def ledger(run: Path, kind: str = "dropped") -> pa.Table:
    found = [pq.read_table(x) for x in sorted((run / kind / "prepare").glob("*.parquet"))]
    return pa.concat_tables(found)


def test_figures_are_pairs_with_what_is_known_of_them(made: Path) -> None:
    found = {one["article"]: one for one in pairs(made / "run")}
    assert sorted(found) == [f"PMC{k}" for k in range(1, 9)]
    one = found["PMC3"]
    assert {x: one[x] for x in ("caption", *KEEP)} == {
        "caption": "two rats of article 3", "article": "PMC3", "pmid": "1003", "doi": "10.1/3",
        "license": "https://creativecommons.org/licenses/by/4.0/", "figure": "a",
        "label": "Figure 1", "mentions": "See Figure 1.",
    }  # fmt: skip
    assert one["url"] == "file:///PMC3/a.jpg"
    shades = brightness(made / "run")
    assert len(shades) == 8
    for k in range(1, 9):
        assert abs(shades[f"two rats of article {k}"] - 20 * k) < 4
    told = [x for x in (made / "run").rglob("*") if x.is_file() and "shards" in x.parts]
    assert not [x for x in told if str(made).encode() in x.read_bytes()]


def test_what_makes_no_pair_is_told(made: Path) -> None:
    left = ledger(made / "run")
    assert Counter(left["reason"].to_pylist()) == {"no_image_file": 8, "empty_caption": 8}
    gone = left.filter(pa.compute.equal(left["reason"], "no_image_file"))
    assert set(gone["value"].to_pylist()) == {"lost"}
    (dead,) = ledger(made / "run", "dead").to_pylist()
    assert dead["error"] == "unreadable_file"
    assert dead["detail"].endswith("its gz data: it is cut off; fetch or pack it again")
    assert "01/PMC9.tar.gz" in dead["detail"]
    said = well("explain", str(made / "run"), "file:///PMC2/lost.jpg")
    assert "no_image_file" in said


def content(run: Path) -> dict[str, bytes]:
    return {
        str(x.relative_to(run)): x.read_bytes()
        for x in sorted(run.rglob("*"))
        if x.suffix in (".parquet", ".tar") and "summaries" not in x.parts
    }


def test_a_second_run_has_nothing_to_do_and_a_lost_part_is_made_again(
    made: Path, tmp_path: Path
) -> None:
    run = moved(made / "run", tmp_path / "run")
    before = content(run)
    again = well("run", str(run / "config.yaml"), "--out", str(run))
    assert "nothing" in again.lower(), again
    (run / "records/annotated/download/part-00001.json").unlink()
    (run / "annotated/download/part-00001.parquet").unlink()
    (run / "download/part-00001.tar").unlink()
    well("run", str(run / "config.yaml"), "--out", str(run))
    assert content(run) == before
    workers = tmp_path / "workers"
    well("run", str(made / "c.yaml"), "--out", str(workers), "--set", "beam.workers=2")
    assert content(workers) == before


def test_a_revoked_figure_is_gone_from_the_run_and_stays_away(made: Path, tmp_path: Path) -> None:
    run = moved(made / "run", tmp_path / "run")
    listed = tmp_path / "list.txt"
    listed.write_text("url:file:///PMC4/a.jpg\nurl:file:///PMC5/lost.jpg\n")
    assert "revoked 2 by url" in well("revoke", str(run), "--list", str(listed))
    for path in run.rglob("*.parquet"):
        told = str(pq.read_table(path).to_pylist())
        assert "two rats of article 4" not in told, path
        assert "a plot of article 5" not in told, path
    well("run", str(run / "config.yaml"), "--out", str(run))
    assert sorted(one["article"] for one in pairs(run)) == [
        f"PMC{k}" for k in range(1, 9) if k != 4
    ]
    assert Counter(ledger(run)["reason"].to_pylist())["revoked"] == 2


def test_a_pool_of_articles_grows_by_a_folder(tmp_path: Path) -> None:
    """Of one that has other packages than before nothing is taken over in silence."""
    for k in (1, 2, 3, 4):
        package(tmp_path / ("old" if k < 3 else "new") / f"PMC{k}.tar.gz", members(k))
    old, new = str(tmp_path / "old"), str(tmp_path / "new")
    out = ("--out", str(tmp_path / "run"))
    well("run", str(config(tmp_path, old)), *out)
    assert "Grows by 1 file" in well("run", str(config(tmp_path, old, new)), *out)
    assert sorted(one["article"] for one in pairs(tmp_path / "run")) == [
        f"PMC{k}" for k in (1, 2, 3, 4)
    ]
    package(tmp_path / "new/PMC5.tar.gz", members(5))
    told = refused("run", str(config(tmp_path, old, new)), *out)
    assert f"rows came from {new}, no longer in the pool, or not as it was" in told


def test_packages_are_read_in_a_store_too(tmp_path: Path) -> None:
    store = fsspec.filesystem("memory")
    for path in sorted(pool(tmp_path / "pool").rglob("*")):
        if path.is_file():
            store.pipe_file(f"/pmc/{path.relative_to(tmp_path / 'pool')}", path.read_bytes())
    try:
        path = config(tmp_path, "memory://pmc")
        well("run", str(path), "--out", str(tmp_path / "run"))
    finally:
        store.rm("/pmc", recursive=True)
    assert len(pairs(tmp_path / "run")) == 8


def test_paragraphs_that_cite_a_figure_may_be_its_second_caption(tmp_path: Path) -> None:
    package(tmp_path / "pool/PMC1.tar.gz", members(1))
    path = config(tmp_path, str(tmp_path / "pool"), captions={"cited": {"column": "mentions"}})
    well("run", str(path), "--out", str(tmp_path / "run"))
    (one,) = [x for x in pairs(tmp_path / "run") if x["url"].endswith("/a.jpg")]
    assert "See Figure 1." in str(one)


def test_nothing_to_read_is_told(tmp_path: Path) -> None:
    folder(tmp_path / "pool", {"paper.pdf": b"%PDF", "notes.txt": b"x"})
    done = curate(
        "run", str(config(tmp_path, str(tmp_path / "pool"))), "--out", str(tmp_path / "run")
    )
    assert done.returncode == 1
    assert "nothing to read in it; there are 2 files of no known format" in done.stderr
