"""score against a plain loop over open_clip's own API, with the scorer that ships for the demo."""

import io
import json
import threading
import time
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest

from curate import files, schema
from curate.errors import CurateError
from curate.ops.hashing import pair_uids
from curate.ops.scores.clip import ClipModel, ClipScorer
from curate.rundir.directory import Part, PartRecord, Run
from curate.rundir.journal import grown
from curate.schema import Stage
from curate.stages.score.model import ScoreStep, TakeScores
from tests.stages.rundir import drive, lay, lay_images, rows_of, table_of, uid_of

MODEL = "shipped://pipelines/demo/scorer/curate-mini.json"
WEIGHTS = "shipped://pipelines/demo/scorer/curate-mini.safetensors"
FOLDER = "score/annotated"
PICTURES = ["0001.jpg", "0004.jpg", "0008.jpg", "0010.jpg", "0011.jpg", "0012.jpg", "0014.jpg"]


@lru_cache
def captions() -> dict[str, str]:
    """The pool's caption of each picture."""
    lines = files.shipped("pipelines/demo/pool/pool.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    return {x["url"].rsplit("/", 1)[1]: x["caption"] for x in found if "/images/" in x["url"]}


@lru_cache
def reference() -> list[float]:
    """The cosine of each picture and its caption, one at a time."""
    import open_clip
    import torch
    from PIL import Image

    open_clip.add_model_config(files.resolve(MODEL))
    model, _, preprocess = open_clip.create_model_and_transforms(
        "curate-mini", pretrained=files.resolve(WEIGHTS)
    )
    tokenizer = open_clip.get_tokenizer("curate-mini")
    model.eval()
    scores = []
    for content, caption in zip(contents(), texts(), strict=True):
        with torch.no_grad():
            image = model.encode_image(preprocess(Image.open(io.BytesIO(content)))[None])
            text = model.encode_text(tokenizer([caption]))
        scores.append(torch.nn.functional.cosine_similarity(image, text).item())
    return scores


def contents() -> list[bytes]:
    folder = files.shipped("pipelines/demo/pool/images")
    return [(folder / name).read_bytes() for name in PICTURES]


def texts() -> list[str]:
    return [captions()[name] for name in PICTURES]


def pair(n: int, places: dict[str, tuple[int, int]]) -> dict[str, Any]:
    """The numbered pair as it comes to the score, its image at its place."""
    offset, size = places[uid_of(n)]
    return {"uid": uid_of(n), "caption": texts()[n], "tar_offset": offset, "tar_size": size,
            "stored_sha256": sha256(contents()[n]).hexdigest()}  # fmt: skip


def marked(*scores: tuple[int, float]) -> pa.Table:
    """Scores of the numbered pairs as an earlier run would have left them."""
    rows = []
    for n, value in scores:
        of = pair_uids(pa.array([sha256(contents()[n]).hexdigest()]), pa.array([texts()[n]]))
        rows.append({"uid": uid_of(n), "scored": of[0].as_py(), "clip_score": value})
    return table_of(rows, schema.SCORED)


def score_step(run: Run, *, digest: str = "d1", **settings: Any) -> ScoreStep:
    chosen: dict[str, Any] = {"model": MODEL, "pretrained": WEIGHTS, "batch_size": 3}
    for key in chosen.keys() & settings.keys():
        chosen[key] = settings.pop(key)
    model = ClipModel(**chosen)
    return ScoreStep(run=run, reads="dedup", digest=digest, own="o1", encode_format="jpg",
                     model=model, **settings)  # fmt: skip


def score(run: Run, step: ScoreStep, *parts: list[int]) -> list[tuple[str, float]]:
    """Lay parts of the numbered pictures, tars last row first, and run the step over them."""
    laid = []
    for index, numbers in enumerate(parts):
        images = {uid_of(n): contents()[n] for n in reversed(numbers)}
        places = lay_images(run, index, images)
        laid.append([pair(n, places) for n in numbers])
    columns = schema.after(Stage.DEDUP, enabled=[Stage.PREPARE, Stage.DOWNLOAD, Stage.DEDUP])
    given = lay(run, "dedup", laid, columns)
    yielded = drive(run, beam.ParDo(TakeScores(step)), given)
    assert [part.kept for part in yielded] == [len(numbers) for numbers in parts]
    for index in range(len(parts)):
        assert files.read_table(run.part(FOLDER, index)).schema.equals(schema.SCORED)
    return rows_of(run, FOLDER, "uid", "clip_score")


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_scores_are_open_clips_whatever_the_batch(run: Run, batch_size: int) -> None:
    """Parts of 1, 6 and 0 rows: a batch that is short, exact and absent."""
    step = score_step(run, batch_size=batch_size)
    found = score(run, step, [6], [5, 0, 1, 2, 3, 4], [])
    order = [6, 5, 0, 1, 2, 3, 4]
    assert [uid for uid, _ in found] == [uid_of(n) for n in order]
    expected = [reference()[n] for n in order]
    np.testing.assert_allclose([x for _, x in found], expected, atol=1e-5)
    assert max(expected) - min(expected) > 0.05  # so that a mix-up of rows would show


def test_known_scores_are_taken_over_and_the_rest_is_scored(run: Run) -> None:
    step = score_step(run, digest="d2")
    files.write_table(run.part(FOLDER, 0), marked((0, 2.0), (2, 4.0), (5, 7.0)))
    run.write_record(FOLDER, 0, PartRecord("d1", "o1", 3, 3))
    found = dict(score(run, step, [2, 1, 0, 3]))
    assert list(found) == [uid_of(n) for n in (2, 1, 0, 3)]
    assert (found[uid_of(2)], found[uid_of(0)]) == (4.0, 2.0)
    for n in (1, 3):
        assert found[uid_of(n)] == pytest.approx(reference()[n], abs=1e-5)
    record = run.record(FOLDER, 0)
    assert record is not None
    assert (record.digest, record.figures["reused"]) == ("d2", 2)


def test_a_part_that_is_known_needs_no_model(run: Run) -> None:
    files.write_table(run.part(FOLDER, 0), marked((0, 0.0), (1, 1.0), (2, 2.0)))
    run.write_record(FOLDER, 0, PartRecord("d1", "o1", 3, 3))
    step = score_step(run, digest="d2", model="no-such-model", pretrained=None)
    assert score(run, step, [1, 0]) == [(uid_of(1), 1.0), (uid_of(0), 0.0)]


def laid_again(run: Run, *, content: bytes, caption: str) -> Part:
    """The part of picture 0 with this image and caption under the same uid."""
    places = lay_images(run, 0, {uid_of(0): content})
    row = {**pair(0, places), "caption": caption, "stored_sha256": sha256(content).hexdigest()}
    return lay(run, "dedup", [[row]], _columns())[0]


@pytest.mark.parametrize(("changed", "embeddings"), [("image", "clip"), ("caption", "")])
def test_a_pair_whose_image_or_caption_changed_is_scored_again(
    run: Run, changed: str, embeddings: str
) -> None:
    """Other image settings, a web that changed, a caption that is cleaned in another way."""
    content = contents()[1] if changed == "image" else contents()[0]
    caption = texts()[1] if changed == "caption" else texts()[0]
    ((_, before),) = score(run, score_step(run, embeddings=embeddings), [0])
    fresh = Run(f"{run.root}-fresh")
    expected = []
    for one, digest in ((run, "d2"), (fresh, "d1")):
        part = laid_again(one, content=content, caption=caption)
        step = score_step(one, digest=digest, embeddings=embeddings)
        drive(one, beam.ParDo(TakeScores(step)), [part])
        expected.append(Path(one.part(FOLDER, 0, "npz" if embeddings else "parquet")).read_bytes())
    assert expected[0] == expected[1]
    assert bits(run) == bits(fresh)
    assert rows_of(run, FOLDER, "clip_score") != [before]
    part = laid_again(run, content=contents()[0], caption=texts()[0])
    drive(run, beam.ParDo(TakeScores(score_step(run, digest="d3"))), [part])
    assert rows_of(run, FOLDER, "clip_score") == [before]


def test_embeddings_of_another_image_than_the_scores_are_not_taken_over(run: Run) -> None:
    """A run that was killed between the two files, and set back to the image before."""
    step = score_step(run, embeddings="clip")
    score(run, step, [0])
    old, right = files.read_table(run.part(FOLDER, 0)), embedded(run)
    part = laid_again(run, content=contents()[1], caption=texts()[0])
    drive(run, beam.ParDo(TakeScores(replace(step, digest="d2"))), [part])
    files.write_table(run.part(FOLDER, 0), old)
    score(run, replace(step, digest="d3"), [0])
    np.testing.assert_array_equal(embedded(run)["clip_img"], right["clip_img"])


def test_scores_of_another_model_are_not_taken_over(run: Run) -> None:
    files.write_table(run.part(FOLDER, 0), marked((0, 9.0)))
    run.write_record(FOLDER, 0, PartRecord("d1", "o1", 1, 1))
    step = replace(score_step(run, digest="d2"), own="o2")
    found = score(run, step, [0])
    assert found[0][1] == pytest.approx(reference()[0], abs=1e-5)


def test_an_image_of_another_pair_is_never_scored(run: Run) -> None:
    """A tar that does not belong to its rows is found out by the names of its members."""
    step = score_step(run)
    score(run, step, [0])
    lay_images(run, 0, {uid_of(1): contents()[0]})
    run.write_record(FOLDER, 0, PartRecord("older", "other", 1, 1))
    before = files.read_table(run.part(FOLDER, 0))
    part = lay(run, "dedup", [files.read_table(run.part("dedup", 0)).to_pylist()], _columns())
    with pytest.raises(Exception, match=uid_of(0)):
        drive(run, beam.ParDo(TakeScores(step)), part)
    after = files.read_table(run.part(FOLDER, 0))
    assert after.equals(before)


def _columns() -> pa.Schema:
    return schema.after(Stage.DEDUP, enabled=[Stage.PREPARE, Stage.DOWNLOAD, Stage.DEDUP])


def bits(run: Run) -> dict[str, bytes]:
    return {uid: np.float32(x).tobytes() for uid, x in rows_of(run, FOLDER, "uid", "clip_score")}


def test_the_same_bits_whatever_the_parts_and_what_is_taken_over(tmp_path: Path) -> None:
    """Batches go from one part into the next, so what stands in a batch depends on the parts."""
    one, other, third = (Run(str(tmp_path / name)) for name in ("one", "other", "third"))
    score(one, score_step(one), [0, 1, 2, 3, 4, 5, 6])
    score(other, score_step(other), [6, 2], [5], [], [4, 0, 1, 3])
    assert bits(one) == bits(other)
    kept = files.read_table(one.part(FOLDER, 0)).slice(2, 3)
    files.write_table(third.part(FOLDER, 0), kept)
    third.write_record(FOLDER, 0, PartRecord("d1", "o1", 3, 3))
    score(third, score_step(third, digest="d2"), [6, 5, 4, 3, 2, 1, 0])
    assert bits(third) == bits(one)
    record = third.record(FOLDER, 0)
    assert record is not None
    assert record.figures["reused"] == 3


def test_a_record_stands_only_where_all_rows_are_scored(run: Run) -> None:
    """The tar of the second part is missing: the first, whose last batch waited, is not recorded."""
    step = score_step(run, batch_size=64)
    places = lay_images(run, 0, {uid_of(0): contents()[0]})
    rows = [[{"uid": uid_of(n), "caption": "a", "tar_offset": places[uid_of(0)][0],
              "tar_size": places[uid_of(0)][1]}] for n in (0, 1)]  # fmt: skip
    parts = lay(run, "dedup", rows, _columns())
    with pytest.raises(CurateError, match="it is gone") as caught:
        drive(run, beam.ParDo(TakeScores(step)), parts)
    told = str(caught.value)
    assert run.part("download", 1, "tar") in told
    assert "\n" not in told
    assert run.done(FOLDER) == []
    deadline = time.monotonic() + 10
    while _threads() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert _threads() == []
    lay_images(run, 1, {uid_of(1): contents()[0]})
    drive(run, beam.ParDo(TakeScores(step)), parts)
    assert run.done(FOLDER) == [0, 1]


def _threads() -> list[str]:
    return [x.name for x in threading.enumerate() if x.name in ("model", "ahead")]


class Failing(ClipModel):
    """A model whose second batch fails."""

    def load(self) -> Any:
        scorer = ClipModel(self.model, self.pretrained, batch_size=2).load()

        class Wrapped:
            batch_size, lanes, on_gpu = 2, 1, True
            prepare, collate = scorer.prepare, scorer.collate
            calls = 0

            def __call__(self, batch: Any) -> Any:
                Wrapped.calls += 1
                if Wrapped.calls == 2:
                    raise RuntimeError("CUDA error: an illegal memory access was encountered")
                return scorer(batch)

        return Wrapped()


def test_a_model_that_raises_ends_the_run_and_loses_nothing(run: Run) -> None:
    step = replace(score_step(run), model=Failing(MODEL, WEIGHTS))
    with pytest.raises(RuntimeError, match="illegal memory access"):
        score(run, step, [0, 1], [2, 3], [4])
    assert set(run.done(FOLDER)) <= {0}
    found = score(run, score_step(run), [0, 1], [2, 3], [4])
    np.testing.assert_allclose([x for _, x in found], reference()[:5], atol=1e-5)


@dataclass(frozen=True)
class Watched(ClipModel):
    """A model that notes, before each batch, what the journals in `folder` count."""

    folder: str = ""
    seen: ClassVar[list[dict[str, int]]] = []

    def load(self) -> Any:
        scorer = ClipModel(self.model, self.pretrained, batch_size=self.batch_size).load()
        folder, seen = self.folder, self.seen

        class Wrapped:
            batch_size, lanes, on_gpu = scorer.batch_size, 1, False
            prepare, collate = scorer.prepare, scorer.collate

            def __call__(self, batch: Any) -> Any:
                seen.append(counted(folder))
                return scorer(batch)

        return Wrapped()


def counted(folder: str) -> dict[str, int]:
    """Rows by the journals of parts that are in work."""
    found = {}
    for path in Path(folder).glob("*.journal"):
        (file,) = path.iterdir()
        with file.open("rb") as opened:
            found[path.name] = grown(opened)[0] - 1
    return found


def test_how_many_rows_of_a_part_are_done_is_told_until_its_record_stands(tmp_path: Path) -> None:
    """One row was known before; the batch in the middle is of both parts."""
    run, plain = Run(str(tmp_path / "run")), Run(str(tmp_path / "plain"))
    for one in (run, plain):
        files.write_table(one.part(FOLDER, 0), marked((1, 0.5)))
        one.write_record(FOLDER, 0, PartRecord("d0", "o1", 1, 1))
    folder = run.path(FOLDER)
    model = Watched(MODEL, WEIGHTS, batch_size=2, folder=folder)
    score(run, replace(score_step(run), model=model), [0, 1, 2, 3], [4, 5])
    first = [seen.get("part-00000.journal") for seen in Watched.seen]
    assert first[:2] == [1, 3]
    assert Watched.seen[2].get("part-00001.journal") == 1
    assert first[2] in (None, 4)  # its record may stand by now
    assert counted(folder) == {}
    score(plain, score_step(plain, batch_size=2), [0, 1, 2, 3], [4, 5])
    for name in ("part-00000.parquet", "part-00001.parquet"):
        assert files.read_bytes(run.path(FOLDER, name)) == files.read_bytes(
            plain.path(FOLDER, name)
        )
    assert files.names(folder) == files.names(plain.path(FOLDER))
    assert [x for x in files.names(folder) if not x.endswith((".json", ".parquet"))] == []


class Cramped(ClipModel):
    """A model that more than one pair is too much for."""

    def load(self) -> Any:
        import torch

        scorer = ClipScorer(ClipModel(self.model, self.pretrained, batch_size=2))
        encode_image, encode_text = scorer._encode

        def image(pixels: Any) -> Any:
            if len(pixels) > 1:
                raise torch.OutOfMemoryError("out of memory")
            return encode_image(pixels)

        scorer._encode = (image, encode_text)
        return scorer


def test_out_of_memory_stands_in_the_record(run: Run) -> None:
    step = replace(score_step(run), model=Cramped(MODEL, WEIGHTS))
    found = score(run, step, [0, 1, 2])
    np.testing.assert_allclose([x for _, x in found], reference()[:3], atol=1e-5)
    record = run.record(FOLDER, 0)
    assert record is not None
    assert record.figures["out_of_memory"] == 1


def test_an_undecodable_image_has_no_score_and_others_keep_theirs(run: Run) -> None:
    images = {uid_of(n): contents()[n] for n in range(3)} | {uid_of(1): contents()[1][:200]}
    places = lay_images(run, 0, images)
    rows = [{"uid": uid_of(n), "caption": texts()[n], "tar_offset": places[uid_of(n)][0],
             "tar_size": places[uid_of(n)][1]} for n in range(3)]  # fmt: skip
    parts = lay(run, "dedup", [rows], _columns())
    drive(run, beam.ParDo(TakeScores(score_step(run))), parts)
    found = rows_of(run, FOLDER, "clip_score")
    assert found[1] is None
    np.testing.assert_allclose([found[0], found[2]], [reference()[0], reference()[2]], atol=1e-5)


def embedded(run: Run, index: int = 0) -> dict[str, Any]:
    with np.load(run.part(FOLDER, index, "npz")) as found:
        return dict(found)


def test_embeddings_are_those_of_the_scores_and_are_taken_over(tmp_path: Path) -> None:
    """fp16 rows in the order of the part, under names as DataComp's, the uid with them."""
    runs = [Run(str(tmp_path / name)) for name in ("one", "other", "third")]
    for run in runs[:2]:
        score(run, score_step(run, embeddings="clip"), [4, 0, 2])
    found = embedded(runs[0])
    assert found.keys() == {"uid", "scored", "clip_img", "clip_txt"}
    assert found["uid"].tolist() == [uid_of(n).encode() for n in (4, 0, 2)]
    assert found["clip_img"].dtype == found["clip_txt"].dtype == np.float16
    cosine = (found["clip_img"].astype(float) * found["clip_txt"]).sum(axis=1)
    np.testing.assert_allclose(cosine, [reference()[n] for n in (4, 0, 2)], atol=2e-3)
    files_of = [Path(run.part(FOLDER, 0, "npz")) for run in runs]
    assert files_of[0].read_bytes() == files_of[1].read_bytes()
    for ending in ("npz", "parquet"):
        content = Path(runs[0].part(FOLDER, 0, ending)).read_bytes()
        files.write_bytes(runs[2].part(FOLDER, 0, ending), content)
    runs[2].write_record(FOLDER, 0, PartRecord("d1", "o1", 3, 3))
    score(runs[2], score_step(runs[2], digest="d2", embeddings="clip"), [2, 1, 4])
    again = embedded(runs[2])
    np.testing.assert_array_equal(again["clip_img"][[2, 0]], found["clip_img"][[0, 2]])
    record = runs[2].record(FOLDER, 0)
    assert record is not None
    assert record.figures["reused"] == 2


def test_scores_without_their_embeddings_are_not_taken_over(run: Run) -> None:
    files.write_table(run.part(FOLDER, 0), marked((0, 9.0), (1, 9.0)))
    run.write_record(FOLDER, 0, PartRecord("d1", "o1", 2, 2))
    found = score(run, score_step(run, digest="d2", embeddings="clip"), [0, 1])
    np.testing.assert_allclose([x for _, x in found], reference()[:2], atol=1e-5)
    assert np.isfinite(embedded(run)["clip_txt"]).all()
    score(run, score_step(run, digest="d3"), [0, 1])
    assert not files.exists(run.part(FOLDER, 0, "npz"))


def test_a_further_score_has_its_folder_and_is_joined(run: Run) -> None:
    further = score_step(run, digest="f1", name="other_score")
    assert further.folder == "score/annotated/other_score"
    order = [3, 1, 2]
    parts = _lay(run, order)
    drive(run, beam.ParDo(TakeScores(further)), parts)
    first = score_step(run, digest="d1", joined=("other_score",))
    drive(run, beam.ParDo(TakeScores(first)), parts)
    table = files.read_table(run.part(FOLDER, 0))
    assert table.column_names == ["uid", "scored", "clip_score", "other_score"]
    assert table["clip_score"].to_pylist() == table["other_score"].to_pylist()
    np.testing.assert_allclose(
        table["clip_score"].to_numpy(), [reference()[n] for n in order], atol=1e-5
    )


def _lay(run: Run, numbers: list[int]) -> list[Part]:
    places = lay_images(run, 0, {uid_of(n): contents()[n] for n in numbers})
    return lay(run, "dedup", [[pair(n, places) for n in numbers]], _columns())


def test_timings_say_how_long_the_model_ran_and_waited(run: Run) -> None:
    score(run, score_step(run), [0, 1, 2, 3], [4, 5])
    figures = [record.figures for _, record in run.records(FOLDER)]
    names = {"reused", "load_seconds", "model_seconds", "idle_seconds"}
    assert all(found.keys() == names for found in figures)
    assert all(found["model_seconds"] > 0 <= found["idle_seconds"] for found in figures)
