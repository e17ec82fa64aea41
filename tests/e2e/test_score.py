"""`curate score`: a second model's score on the demo's finished run, and nothing else made again."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from curate import files
from curate.config import Scorer
from curate.errors import CurateError
from curate.files import shipped
from curate.finished import rescore
from tests.e2e.conftest import Command, Copied, read_json
from tests.e2e.test_rebalance import snapshot

SCORER = shipped("pipelines/demo/scorer")
WEIGHTS = str(SCORER / "curate-mini.safetensors")


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Another model: the shipped one over wider pictures."""
    document = json.loads((SCORER / "curate-mini.json").read_text())
    document["vision_cfg"]["image_size"] = 192
    path = tmp_path_factory.mktemp("model") / "Mini-192.json"
    path.write_text(json.dumps(document))
    return str(path)


def columns(run: Path, folder: str) -> dict[str, list[Any]]:
    table = pq.ParquetDataset(sorted((run / folder).glob("part-*.parquet"))).read()
    found: dict[str, list[Any]] = table.to_pydict()
    return found


def test_a_second_score_beside_the_first(some_copied: Copied, curate: Command, wide: str) -> None:
    run = some_copied("scored")
    before = snapshot(run)
    done = curate("score", str(run), "--model", wide, "--pretrained", WEIGHTS, "--workers", "2")
    assert done.returncode == 0, done.stderr
    after = snapshot(run)
    folder = "annotated/score/mini_192"
    assert {path: after[path] for path in before} == before
    parts = sorted(str(path.relative_to(run)) for path in run.glob("records/dedup/part-*.json"))
    added = {str(Path(path).relative_to(run)) for path in after.keys() - before.keys()}
    assert added == {part.replace("dedup", folder) for part in parts} | {
        part.replace("records/dedup", folder).replace(".json", ".parquet") for part in parts
    }
    first, second = columns(run, "annotated/score"), columns(run, folder)
    assert first["uid"] == second["uid"]
    assert first["clip_score"] != second["mini_192"]
    n = len(first["uid"])
    assert f"({n} of {n} pairs; 5 % under " in done.stdout
    _, _, command = done.stdout.rpartition("curate run ")
    assert command.split() == [
        str(run / "config.yaml"), "--out", str(run), "--set", f"score.also.mini_192.model={wide}",
        "--set", f"score.also.mini_192.pretrained={WEIGHTS}", "--force",
    ]  # fmt: skip

    rules = (
        "select=[{name: small_image, column: smaller_side, min: 64},"
        " {name: short_caption, column: caption_chars, min: 5},"
        " {column: clip_score, top_fraction: 0.8}, {column: mini_192, top_fraction: 0.5}]"
    )
    done = curate("run", *command.split(), "--set", rules)
    assert done.returncode == 0, done.stderr
    now = snapshot(run)
    for path, seen in after.items():
        stands = ("download", "dedup", folder, f"records/{folder}")
        if path.startswith(tuple(str(run / x) for x in stands)):
            assert now[path] == seen
    for record in map(read_json, (run / "records/annotated/score").glob("part-*.json")):
        assert record["figures"]["reused"] == record["rows"]
    joined = columns(run, "annotated/score")
    assert joined["mini_192"] == second["mini_192"]
    assert joined["clip_score"] == first["clip_score"]
    kept = columns(run, "score")
    assert min(kept["mini_192"]) >= sorted(second["mini_192"], reverse=True)[n // 2]
    assert "mini_192" in pq.read_schema(run / "shards/00000.parquet").names
    dropped = read_json(run / "run.json")["stages"]["score"]["dropped"]
    assert dropped.keys() == {"rule:clip_score", "rule:mini_192"}


def refused(run: Path, name: str, **scorer: str) -> str:
    with pytest.raises(CurateError) as caught:
        rescore.make_plan(str(run), Scorer(**scorer), name=name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_cannot_be_scored_is_said(some_copied: Copied, wide: str, tmp_path: Path) -> None:
    run = some_copied("refused")
    model = {"model": wide, "pretrained": WEIGHTS}
    assert "no run here" in refused(tmp_path / "none", "a", **model)
    assert "--name Bad: expected small letters" in refused(run, "Bad", **model)
    assert "clip_score is taken by another column" in refused(run, "clip_score", **model)
    assert "needs weights" in refused(run, "a", model=wide)
    assert "gone.pt: no such file" in refused(run, "a", model=wide, pretrained="./gone.pt")
    nearest = refused(run, "a", model="ViT-B-23", pretrained=WEIGHTS)
    assert "open_clip has no model 'ViT-B-23'; nearest: ViT-B-32" in nearest
    (run / "records/dedup/part-00001.json").unlink()
    assert "its parts after dedup are not those" in refused(run, "a", **model)
    state = read_json(run / "run.json")
    files.write_document(str(run / "run.json"), state | {"state": "interrupted"})
    assert "is not complete (its state is interrupted)" in refused(run, "a", **model)
    files.write_document(str(run / "run.json"), state | {"source": str(tmp_path)})
    files.write_document(str(tmp_path / "run.json"), state)
    assert f"is a rebalance of {tmp_path}" in refused(run, "a", **model)


def test_names_of_columns() -> None:
    assert rescore.column_name("ViT-B-16-SigLIP-384") == "vit_b_16_siglip_384"
    assert rescore.column_name("hf-hub:apple/DFN2B-CLIP-ViT-B-16") == "dfn2b_clip_vit_b_16"
    assert rescore.column_name("/models/My Model.json") == "my_model"
