"""Every block of commands, code and settings in README and docs is run as printed, or says why not.

A new block is in neither list, and fails here until it is.
"""

import json
import re
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from curate.commands.demo import serve
from curate.config import Config
from curate.config import file as config_file
from curate.files import shipped
from curate.loading import Sampler
from curate.ops.scores.vectors import stored_vectors
from tests.e2e.conftest import SOME, Copied
from tests.e2e.shell import bash

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SCORER = shipped("pipelines/demo/scorer/curate-mini.safetensors")

NOT_HERE = {
    ("README.md", "git clone … && cd curate"): "needs the network; `make` set up what runs this",
    ("README.md", "pip install -e '.[gcp]'"): "needs docker and a cloud; the graph is translated by"
    " tests/engines/test_dataflow.py",
    ("dataflow.md", "curate run my.yaml --out gs://BUCKET/run -- --runner=DataflowRunner --project=P"
     " --region=R \\"): "needs a cloud, likewise",
    ("extending.md", "curate run gs://BUCKET/sharp.yaml --out gs://BUCKET/run -- "
     "--runner=DataflowRunner \\"): "needs a cloud, likewise",
    **{
        ("cluster.md", start): "needs a cluster; read by tests/engines/test_cluster_docs.py"
        for start in (
            "jobmanager.rpc.address: jm.example",
            "# on every machine of the cluster: Beam's jar on Flink's own class path",
            "apiVersion: flink.apache.org/v1beta1", "#!/bin/bash",
        )
    },
    ("checking.md", "curate publish runs/demo --repo me/demo --private"): "needs a hub; a fake of one"
    " is asked by tests/users/test_publish.py",
    ("browse.md", "curate browse runs/mine"): "serves until it is told to stop; driven by tests/browse",
    ("browse.md", "curate revoke runs/mine --list bad.txt               # out of the run, and out of"
     " its shards"): "wants a list that was saved by hand; run"
    " by tests/browse/test_questions.py",
    **{
        ("captions.md", start): "its model is fetched; run by tests/users/test_caption_weights.py"
        for start in ("captions:", "from curate.loading import weigh_captions")
    },
    ("loaders.md", "curate export runs/mine --format wids"): "needs packages that a plain checkout"
    " lacks; each format is written and read by tests/loaders",
    ("README.md", "python -m open_clip_train.main --model ViT-B-32 --batch-size 64 --workers 2 \\"):
    "run by tests/e2e/test_training.py",
}  # fmt: skip
RUN_HERE = {
    ("README.md", ". .venv/bin/activate                              # or in an environment of yours:"
     " pip install -e ."),
    ("README.md", "input:"), ("README.md", "import webdataset as wds"),
    ("README.md", "curate sweep runs/demo                                    # or --t 2,5,20, or"
     " --size 200,250"),
    ("checking.md", "curate peek runs/demo                         # the first ten samples: key, size,"
     " score, caption"),
    ("checking.md", "curate verify runs/demo                       # a run: its shards, and the files"
     " that its records vouch for"),
    ("checking.md", "curate verify runs/demo/shards --fix runs/repaired"),
    ("README.md", "curate rebalance runs/demo --out runs/t5 --t 5            # or --p 0.2, or --size"
     " 250"),
    ("README.md", "import curate"), ("README.md", "scores:"),
    ("growing.md", "cp new/*.parquet pairs/                   # or name them too: input.paths:"
     " [pairs/*.parquet, new/*.parquet]"),
    ("growing.md", "base: runs/mine                           # a finished run; its pool comes first"),
    ("captions.md", "# captions.yaml"), ("captions.md", "import webdataset as wds"),
    ("captions.md", "curate run captions.yaml --out runs/captions"),
    ("training.md", "# online.yaml"), ("training.md", "curate run online.yaml --out runs/online"),
    ("training.md", "import webdataset as wds"), ("training.md", "# capped.yaml"),
    ("loaders.md", "shards:"), ("find.md", "score:"),
    ("find.md", 'curate find runs/mine "a red bicycle on a beach"          # the 20 nearest pairs, kept'
     " and dropped"),
    ("find.md", "from curate.finding.search import search"),
    ("concepts.md", "{"), ("concepts.md", "import curate"),
    ("concepts.md", "curate concepts runs/mine --names names.json                          # the most"
     " frequent and the rarest"),
    ("find.md", "curate index runs/mine --format clip-retrieval --out runs/mine-clip"),
    ("library.md", "import curate"),
    ("library.md", "kept = run.table()  # the set: every column of its pairs"),
    ("library.md",
     'left = run.table("all", columns=["stage", "reason", "width", "clip_score"]).duckdb()'),
    ("library.md", 'for pair in run.pairs(where=pc.field("reason") == "rule:clip_score", limit=5):'),
    ("library.md", "run.figures  # the names of the report's figures"),
    ("library.md", "from curate.config import Balance, Columns, Config, Input, Prepare, Rule"),
    ("coming-from.md", "input:"), ("intranet.md", "download:"),
    ("intranet.md", "curate run my.yaml --out runs/mine --set"
     " download.connect_to='{pictures.intranet: 10.1.2.3:80}'"),
    ("intranet.md", "curate run my.yaml --out runs/mine --retry forbidden_address"),
    ("extending.md", "# sharpness.py"), ("extending.md", "# letters.py"),
    ("extending.md", "# probe.py"), ("extending.md", "# sharp.yaml"),
    ("extending.md", "curate run sharp.yaml --out runs/sharp --workers 2"),
    ("extending.md", "# animals.yaml"),
    ("extending.md", "printf '%s\\n' cat dog 'red fox' > animals.txt"),
    ("extending.md", "# readers.py"), ("extending.md", "# databases.py"), ("extending.md", "input:"),
    ("extending.md", "# try_sharpness.py"), ("extending.md", "# coyo.yaml"),
    ("extending.md", "curate plan coyo.yaml --out runs/coyo           # what there is to fetch, from"
     " the metadata alone"),
}  # fmt: skip


def blocks(page: Path) -> Iterator[str]:
    """The blocks of a page that say which language they are in."""
    for found in re.finditer(r"^ *```(\w+)\n(.*?)^ *```", page.read_text("utf-8"), re.M | re.S):
        yield found[2]


def block(page: str, start: str) -> str:
    (path,) = [path for path in PAGES if path.name == page]
    (found,) = [text for text in blocks(path) if text.startswith(start)]
    return found


def pool(folder: Path, *, host: str = "pictures.example") -> None:
    """Some of the demo's pairs, as pairs/*.parquet."""
    lines = shipped("pipelines/demo/pool/pool.jsonl").read_text().splitlines()
    rows = [json.loads(lines[i]) for i in SOME[20:60]]
    for row in rows:
        row["url"] = (row["url"] or "").replace("pictures.example", host)
    (folder / "pairs").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), folder / "pairs/0.parquet")


def test_every_block_is_in_a_list() -> None:
    found = {(page.name, text.splitlines()[0]) for page in PAGES for text in blocks(page)}
    assert found == RUN_HERE | NOT_HERE.keys()
    counts = {page.name: len(list(blocks(page))) for page in PAGES}
    assert sum(counts.values()) == len(found) + 1, "settings of a proxy begin as those of hosts do"
    assert not RUN_HERE & NOT_HERE.keys()


def test_a_pool_of_ones_own(tmp_path: Path) -> None:
    """In processes of their own; with the settings beside the commands, a smaller model, one worker."""
    pool(tmp_path)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    first, second, *rest = block("README.md", ". .venv/bin/activate").splitlines()
    bash(f"{first}\n{second}", tmp_path)
    assert yaml.safe_load((tmp_path / "my.yaml").read_text())["input"]
    settings = block("README.md", "input:").replace(
        "model: ViT-B-32, pretrained: laion2b_s34b_b79k",
        f"model: {SCORER.with_suffix('.json')}, pretrained: {SCORER}",
    )
    with serve() as addresses:
        settings += f"download: {{connect_to: {json.dumps(addresses)}}}\n"
        (tmp_path / "my.yaml").write_text(settings)
        said = bash("\n".join([first, *rest]).replace("--workers 8", "--workers 1"), tmp_path)
    assert "pairs would be fetched" in said
    assert len(pd.read_parquet(tmp_path / "runs/mine/balance")) > 0


def test_a_set_that_grows(tmp_path: Path) -> None:
    pool(tmp_path)
    rows = pq.read_table(tmp_path / "pairs/0.parquet")
    (tmp_path / "new").mkdir()
    pq.write_table(rows[30:], tmp_path / "new/1.parquet")
    pq.write_table(rows[:30], tmp_path / "pairs/0.parquet")
    with serve() as addresses:
        settings = {
            "input": {"paths": "pairs/*.parquet"}, "balance": {"t": 20},
            "prepare": {"metadata": {"en": "shipped://metadata/en-small.txt"}},
            "download": {"connect_to": addresses},
        }  # fmt: skip
        (tmp_path / "my.yaml").write_text(yaml.safe_dump(settings))
        bash("curate run my.yaml --out runs/mine", tmp_path)
        more = {**settings, **yaml.safe_load(block("growing.md", "base: runs/mine"))}
        (tmp_path / "more.yaml").write_text(yaml.safe_dump(more))
        bash("curate run more.yaml --out runs/more", tmp_path)
        said = bash(block("growing.md", "cp new/*.parquet"), tmp_path)
    assert "runs/mine grows by 1 file: 10 rows to the 30 that it has" in said
    assert "Grows by 1 file: 10 rows; 1 shard stays, but for pairs that leave" in said
    grown, beside = (tmp_path / f"runs/{x}/shards/manifest.json" for x in ("mine", "more"))
    assert len(json.loads(grown.read_text())["shards"]) == 2
    assert grown.read_bytes() == beside.read_bytes()


def test_what_is_done_with_the_demo(copied: Copied, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    copied("demo").rename(tmp_path / "runs/demo")
    assert "pairs kept" in bash(block("README.md", "curate sweep runs/demo"), tmp_path)
    bash(block("README.md", "curate rebalance runs/demo"), tmp_path)
    assert bash(block("checking.md", "curate peek"), tmp_path).count("\n") == 10 + 20 + 1
    assert bash(block("checking.md", "curate verify runs/demo  "), tmp_path).count("clean: ") == 3
    assert (
        bash(block("checking.md", "curate verify runs/demo/shards"), tmp_path).count("clean: ") == 2
    )
    assert len(pd.read_parquet(tmp_path / "runs/t5/balance")) > 0
    code = block("README.md", "import webdataset as wds").replace("    ...", "    print(caption)")
    said = bash(f"python - <<'END'\n{code}END", tmp_path)
    assert len(said.splitlines()) == len(pd.read_parquet(tmp_path / "runs/demo/balance"))


def test_what_is_found_in_a_run(tmp_path: Path) -> None:
    """The settings that are printed, with a smaller model."""
    pool(tmp_path)
    settings = yaml.safe_load(block("find.md", "score:"))
    score = Config.model_validate({"input": {"paths": "x"}, **settings}).score
    assert score is not None
    assert score.embeddings
    picture = ROOT / "tests/data/astronaut.jpg"
    (tmp_path / "picture.jpg").write_bytes(picture.read_bytes())
    said = bash(
        "curate demo --out runs/mine --set input.paths=pairs/*.parquet --set score.embeddings=true\n"
        + block("find.md", "curate find") + block("find.md", "curate index")
        + f"python - <<'END'\n{block('find.md', 'from curate.finding')}END",
        tmp_path,
    )  # fmt: skip
    assert re.search(r"^uids  flags.txt  \(5\)$", said, re.M)
    assert len((tmp_path / "flags.txt").read_text().split()) == 5
    assert len(re.findall(r"^\d\.\d+ kept \d+\.tar ", said, re.M)) == 5
    kept = pd.read_parquet(tmp_path / "runs/mine-embeddings")
    assert len(kept) == len(pd.read_parquet(tmp_path / "runs/mine/balance"))
    assert (tmp_path / "runs/mine-clip/img_emb/img_emb_0.npy").exists()


def test_concepts_of_a_run(tmp_path: Path) -> None:
    """With one template in place of eighty, which are as many texts."""
    pool(tmp_path)
    (tmp_path / "names.json").write_text(block("concepts.md", "{"))
    commands = block("concepts.md", "curate concepts").replace(
        "--per 500", "--per 500 --template '{}'"
    )
    said = bash(
        "curate demo --out runs/mine --set input.paths=pairs/*.parquet --set score.embeddings=true\n"
        + commands + f"python - <<'END'\n{block('concepts.md', 'import curate')}END",
        tmp_path,
    )  # fmt: skip
    best = pd.read_csv(tmp_path / "best.csv")
    listed = json.loads(block("concepts.md", "{"))
    counts = {concept: sum(best["concept"] == concept) for concept in listed}
    assert counts["flag"] > 0 == counts["hypsiglena"]
    shards = pd.concat(map(pd.read_parquet, (tmp_path / "runs/best").glob("*.parquet")))
    assert sorted(shards["uid"]) == sorted(best["uid"])
    assert len(np.load(tmp_path / "best.npy")) == len(best) < len(np.load(tmp_path / "named.npy"))
    assert f"too few: {', '.join(f'{name} {n}' for name, n in counts.items())}" in said
    assert said.rstrip().endswith("{'flag': 'flag', 'tree': 'tree'}")


def test_the_library(copied: Copied, tmp_path: Path) -> None:
    """Its blocks follow each other in one program, on the demo's run."""
    pool(tmp_path)
    (tmp_path / "runs").mkdir()
    copied("demo").rename(tmp_path / "runs/demo")
    path = next(x for x in PAGES if x.name == "library.md")
    code = "".join(blocks(path)).replace("workers=2", "workers=1")
    with serve() as addresses:
        fetched = f"download=Download(connect_to={addresses!r}), balance=Balance(t=20)"
        code = code.replace("balance=Balance(t=20)", fetched)
        code = code.replace("from curate.config import ", "from curate.config import Download, ")
        code += "print(story); print(len(run.table().to_arrow()), compared.changed.count_rows())\n"
        (tmp_path / "program.py").write_text(code)
        said = bash("python program.py", tmp_path)
    assert "rule:clip_score" in said
    n, changed = map(int, said.splitlines()[-1].split())
    assert n == len(pd.read_parquet(tmp_path / "runs/mine/balance")) > 0
    assert changed == len(pd.read_parquet(tmp_path / "compare/changed.parquet")) > 0


def test_the_functions_give_what_is_beside_them(tmp_path: Path) -> None:
    code = block("README.md", "import curate")
    results = [line.rpartition("  # ")[2] for line in code.splitlines() if "  # " in line]
    assert len(results) == 2
    code = code.replace("curate.keep_prob", "kept = curate.keep_prob")
    code += "print(matches.to_pylist())\nprint(list(kept))\n"
    said = bash(f"python - <<'END'\n{code}END", tmp_path)
    assert [
        json.loads(re.sub(r"np\.float64\(([\d.]+)\)", r"\1", x)) for x in said.splitlines()
    ] == [json.loads(one) for one in results]


def test_the_further_scores_are_settings(tmp_path: Path) -> None:
    """Their models are tried by the tests of each."""
    document = yaml.safe_load(block("README.md", "scores:"))
    score = {
        "model": str(SCORER.with_suffix(".json")),
        "pretrained": str(SCORER),
        "embeddings": True,
    }
    found = Config.model_validate({"input": {"paths": "x"}, "score": score, **document})
    assert list(found.scores) == list(document["scores"])


def test_mixed_shards_are_settings(tmp_path: Path) -> None:
    """Their making is tried by tests/users/test_mixed.py."""
    document = yaml.safe_load(block("loaders.md", "shards:"))
    shards = Config.model_validate({"input": {"paths": "x"}, **document}).shards
    assert (shards.bytes, shards.is_even, shards.multiple_of) == (500_000_000, True, 32)


def test_scores_that_the_pool_brings(tmp_path: Path) -> None:
    (tmp_path / "metadata").mkdir()
    n = 50
    uids = [f"{i:032x}" for i in range(n)]
    table = {"uid": uids, "url": [f"http://x.example/{i}" for i in range(n)],
             "text": [f"picture {i}" for i in range(n)],
             "clip_l14_similarity_score": [i / n for i in range(n)]}  # fmt: skip
    pq.write_table(pa.table(table), tmp_path / "metadata/0.parquet")
    (tmp_path / "my.yaml").write_text(block("coming-from.md", "input:"))
    bash("curate run my.yaml --out runs/mine", tmp_path)
    kept = pd.read_parquet(tmp_path / "runs/mine/prepare")
    assert sorted(kept["uid"]) == uids[-len(kept) :]
    assert len(kept) == pytest.approx(0.3 * n, abs=1)


def test_hosts_of_ones_own_network(tmp_path: Path) -> None:
    """Named in the file, and on the command line; the printed address is that of the test's server."""
    pool(tmp_path, host="pictures.intranet")
    with serve() as addresses:
        here = addresses["pictures.example"]
        settings = block("intranet.md", "download:\n  connect_to:").replace("10.1.2.3:80", here)
        (tmp_path / "my.yaml").write_text(f"input: {{paths: pairs/*.parquet}}\n{settings}")
        found = config_file.load(str(tmp_path / "my.yaml")).download.connect_to
        assert found == {"pictures.intranet": here, "localhost": "127.0.0.1:8000"}
        proxy = yaml.safe_load(block("intranet.md", "download:\n  proxy:"))
        assert Config.model_validate({"input": {"paths": "x"}, **proxy}).download.proxy
        for start in (
            "curate run my.yaml --out runs/mine --set",
            "curate run my.yaml --out runs/mine --retry",
        ):
            said = bash(block("intranet.md", start).replace("10.1.2.3:80", here), tmp_path)
    assert "Nothing to fetch again: no download failed as forbidden_address" in said
    assert len(list((tmp_path / "runs/mine/download").glob("*.parquet"))) == 1


COYO = {"id": pa.int64(), "url": pa.string(), "text": pa.string(), "width": pa.int64(),
        "height": pa.int64(), "image_phash": pa.string(), "text_length": pa.int64(),
        "word_count": pa.int64(), "num_tokens_bert": pa.int64(), "num_tokens_gpt": pa.int64(),
        "num_faces": pa.int64(), "clip_similarity_vitb32": pa.float64(),
        "clip_similarity_vitl14": pa.float64(), "nsfw_score_opennsfw2": pa.float64(),
        "nsfw_score_gantman": pa.float64(), "watermark_score": pa.float64(),
        "aesthetic_score_laion_v2": pa.float64()}  # fmt: skip
"""The columns of COYO-700M's metadata, as its hub page has them."""


def coyo(folder: Path) -> None:
    """Two files of COYO's columns over some of the demo's pairs; most fail one rule, by their place."""
    lines = shipped("pipelines/demo/pool/pool.jsonl").read_text().splitlines()
    rows: list[dict[str, object]] = []
    for k, line in enumerate(lines[i] for i in SOME[20:60]):
        found = json.loads(line)
        rows.append({
            **{name: 1 for name, kind in COYO.items() if pa.types.is_integer(kind)},
            "id": 4896263451343 + k, "url": found["url"], "text": found["caption"],
            "width": 100 if k % 10 == 0 else 640, "height": 100 if k % 10 == 1 else 480,
            "image_phash": "d8d0c0e4f0b1a1e9", "clip_similarity_vitb32": 0.2 if k % 5 == 0 else 0.3,
            "clip_similarity_vitl14": 0.25, "nsfw_score_opennsfw2": 0.01,
            "nsfw_score_gantman": 0.9 if k % 5 == 1 else 0.02,
            "watermark_score": 0.7 if k % 5 == 2 else 0.1,
            "aesthetic_score_laion_v2": 4.0 if k % 5 == 3 else 5.5,
        })  # fmt: skip
    (folder / "coyo").mkdir()
    for number in range(2):
        table = pa.Table.from_pylist(rows[number::2], pa.schema(COYO))
        pq.write_table(table, folder / f"coyo/part-{number:05d}.snappy.parquet")


def test_a_pool_with_a_reader_and_scores_of_ones_own(tmp_path: Path) -> None:
    """The whole configuration begins with the settings that stand beside the reader."""
    coyo(tmp_path)
    for name in ("readers", "sharpness", "letters"):
        (tmp_path / f"{name}.py").write_text(block("extending.md", f"# {name}.py"))
    part, settings = (
        yaml.safe_load(block("extending.md", "input:")),
        block("extending.md", "# coyo.yaml"),
    )
    whole = yaml.safe_load(settings)
    names = [rule["column"] for rule in part["select"]]
    assert part["input"] == whole["input"]
    assert part["select"] == whole["select"][: len(names)]
    with serve() as addresses:
        settings += f"download: {{connect_to: {json.dumps(addresses)}}}\n"
        (tmp_path / "coyo.yaml").write_text(settings)
        commands = block("extending.md", "curate plan coyo.yaml --out runs/coyo")
        said = bash(commands.replace("--workers 2", "--workers 1"), tmp_path)
    assert "pairs would be fetched" in said
    assert "rule sharpness, rule clip_score" in said
    kept = pd.read_parquet(tmp_path / "runs/coyo/dedup")
    assert len(kept)
    assert {*names} <= {*kept.columns}
    assert (kept["nsfw"] == 0.02).all()
    assert (kept["pool_width"] == 640).all()
    gone = pd.read_parquet(tmp_path / "runs/coyo/dropped/prepare")["reason"]
    assert {f"rule:{name}" for name in names} <= {*gone}
    scored = pd.read_parquet(tmp_path / "runs/coyo/score")
    assert len(scored)
    assert (scored["sharpness"] >= 100).all()
    assert (scored["letters"] > 0).all()


def test_scores_of_ones_own(tmp_path: Path) -> None:
    """The probe, which needs a model, is one more score of the printed configuration."""
    pool(tmp_path)
    for name in ("sharpness", "letters", "probe"):
        (tmp_path / f"{name}.py").write_text(block("extending.md", f"# {name}.py"))
    np.save(tmp_path / "probe.npy", np.full(256, 2, np.float32))
    settings = yaml.safe_load(block("extending.md", "# sharp.yaml"))
    thresholds = {rule["column"]: rule["min"] for rule in settings["select"]}
    settings["scores"]["probe"] = {
        "kind": "python",
        "call": "probe:Probe",
        "options": {"weights": str(tmp_path / "probe.npy")},
    }
    settings["score"] = {
        "model": str(SCORER.with_suffix(".json")),
        "pretrained": str(SCORER),
        "embeddings": True,
    }
    with serve() as addresses:
        settings["download"] = {"connect_to": addresses}
        (tmp_path / "sharp.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
        commands = block("extending.md", "curate run sharp.yaml")
        said = bash(commands.replace("--workers 2", "--workers 1"), tmp_path)
    tried = bash(f"python - <<'END'\n{block('extending.md', '# try_sharpness.py')}END", tmp_path)
    assert re.fullmatch(r"\{'sharpness': \[.*\d.*\], 'sharp_part': \['(top|bottom)'\]\}\n", tried)
    assert re.search(r"sharpness [\d.]+", said)
    kept = pd.read_parquet(tmp_path / "runs/sharp/score")
    gone = pd.read_parquet(tmp_path / "runs/sharp/dropped/score")
    assert {*gone["reason"]} == {f"rule:{name}" for name in thresholds}
    assert all((kept[name] >= least).all() for name, least in thresholds.items())
    assert {*kept["sharp_part"]} <= {"top", "bottom", None}
    with np.load(tmp_path / "runs/sharp/annotated/score/part-00000.npz") as stored:
        vectors = stored_vectors(stored, kind="img").astype(np.float32)
        sums = dict(zip(stored["uid"].astype(str), vectors.sum(axis=1), strict=True))
    found = [2 * sums[uid] for uid in kept["uid"]] * kept["clip_score"]
    assert kept["probe"].to_numpy() == pytest.approx(found.to_numpy(), abs=1e-2)


def test_several_captions_a_pair(tmp_path: Path) -> None:
    pool(tmp_path)
    table = pq.read_table(tmp_path / "pairs/0.parquet")
    titles = pa.array([f"title {k}" if k % 2 else None for k in range(len(table))])
    pq.write_table(table.append_column("title", titles), tmp_path / "pairs/0.parquet")
    (tmp_path / "recap").mkdir()
    recap = {
        "url": table["url"],
        "text": [f"a recaption of {x}" for x in table["caption"].to_pylist()],
    }
    pq.write_table(pa.table(recap), tmp_path / "recap/0.parquet")
    with serve() as addresses:
        settings = block("captions.md", "# captions.yaml")
        settings += f"download: {{connect_to: {json.dumps(addresses)}}}\n"
        (tmp_path / "captions.yaml").write_text(settings)
        bash(block("captions.md", "curate run captions.yaml"), tmp_path)
    kept = pd.read_parquet(tmp_path / "runs/captions/dedup")
    assert {*kept["caption_source"]} == {"original", "recap", "title"}
    code = block("captions.md", "import webdataset").replace(
        "        ...", "        print(caption)"
    )
    said = bash(f"python - <<'END'\n{code}END", tmp_path).splitlines()
    half = len(said) // 2
    jpegs = json.loads((tmp_path / "runs/captions/shards/sizes.json").read_text())["00000.tar"]
    assert 0 < half <= jpegs
    assert said[:half] == [x for x in kept["caption"] if x in said[:half]]
    assert said[:half] != said[half:]


def test_balancing_while_training(tmp_path: Path) -> None:
    pool(tmp_path)
    with serve() as addresses:
        fetched = f"download: {{connect_to: {json.dumps(addresses)}}}\n"
        (tmp_path / "online.yaml").write_text(block("training.md", "# online.yaml") + fetched)
        bash(block("training.md", "curate run online.yaml"), tmp_path)
        table = pq.read_table(tmp_path / "runs/online/shards/00000.parquet")
        code = block("training.md", "import webdataset").replace(
            "        ...", "        print(epoch, caption)"
        )
        said = bash(f"python - <<'END'\n{code}END", tmp_path).splitlines()
        sampler = Sampler(str(tmp_path / "runs/online/shards"))
        assert said == [
            f"{epoch} {caption}"
            for epoch in range(3)
            for caption in table["caption"].filter(
                pa.array(sampler.takes(table, t=5 + 5 * epoch, epoch=epoch))
            ).to_pylist()
        ]  # fmt: skip
        n = len(table)
        quality = {"uid": table["uid"], "quality": [3.0 * k / n for k in range(n)]}
        pq.write_table(pa.table(quality), tmp_path / "flyt.parquet")
        (tmp_path / "capped.yaml").write_text(block("training.md", "# capped.yaml") + fetched)
        bash("curate run capped.yaml --out runs/capped", tmp_path)
    drawn = pd.read_parquet(tmp_path / "runs/capped/balance")
    assert drawn["weight"].sum() == 50
    assert drawn["weight"].max() > 1


def test_rules_over_text(tmp_path: Path) -> None:
    (tmp_path / "animals.yaml").write_text(block("extending.md", "# animals.yaml"))
    captions = ["a RED  fox", "foxes", "a Stock photo of a cat", "his pet", "a dog"]
    places = ["1.jpg", "1b.jpg", "2.jpg", "cats/3.jpg", "4.jpg?utm_source=x"]
    urls = [f"http://pictures.example/{place}" for place in places]
    (tmp_path / "pairs").mkdir()
    pq.write_table(pa.table({"url": urls, "caption": captions}), tmp_path / "pairs/0.parquet")
    said = bash(block("extending.md", "printf"), tmp_path)
    assert "Stock photo" in said.rpartition("rule:stock")[2]
    kept = pd.read_parquet(tmp_path / "runs/animals/prepare")["caption"]
    assert [*kept] == ["a RED  fox", "his pet"]
    gone = pd.read_parquet(tmp_path / "runs/animals/dropped/prepare")["reason"]
    assert sorted(gone) == ["rule:animals", "rule:stock", "rule:tracked"]


def test_a_reader_of_databases(tmp_path: Path) -> None:
    (tmp_path / "databases.py").write_text(block("extending.md", "# databases.py"))
    with closing(sqlite3.connect(tmp_path / "pool.db")) as database:
        database.execute("CREATE TABLE pairs (url, caption, license)")
        rows = [(f"http://x.example/{k}.jpg", f"picture {k}", f"CC-{k}") for k in range(5)]
        database.executemany("INSERT INTO pairs VALUES (?, ?, ?)", rows)
        database.commit()
    given = {"paths": "pool.db", "format": "databases:Pairs", "columns": {"keep": ["license"]}}
    settings = {"input": given,
                "download": {"enabled": False}}  # fmt: skip
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(settings))
    bash("curate run my.yaml --out run", tmp_path)
    assert [*pd.read_parquet(tmp_path / "run/prepare")["license"]] == [row[2] for row in rows]
