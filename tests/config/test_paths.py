"""Keys that name files: all of them are marked, and what is done with paths is done with each."""

from collections.abc import Iterator
from typing import Any, get_args, get_origin

import pytest
from pydantic import BaseModel

from curate.config import Config, Score
from curate.config.paths import absolute, mark_of, paths_in
from curate.planning.assets import _READERS

NO_FILES = {
    "Input": {"format"},
    "Tags": {"column", "separator"},
    "Columns": {"url", "caption", "uid", "blur_boxes", "image", "keep"},
    "Unsure": {"language"},
    "Prepare": {"counts_as", "languages"},
    "CaptionSource": {"key", "column"},
    "Alip": {"of"},
    "Caption": {"by", "join"},
    "Download": {"user_agent", "contact", "opt_out", "connect_to", "proxy"},
    "Dedup": {"prefer"},
    "Score": {"accelerator", "min_ram"},
    "FurtherScore": {"parser", "prompts", "groups", "templates", "call", "key", "columns"},
    "Rule": {"name", "column", "in_", "not_in", "same_as", "per", "matches", "not_matches"},
    "Adaptive": {"parser"},
    "Balance": {"on", "reference"},
    "SoftCap": {"column"},
    "Beam": {"runner", "options"},
}
"""Keys whose texts name something else."""

NAMED = {"model": "{}/m.json", "pretrained": "{}/w.pt"}
FULL: dict[str, Any] = {
    "input": {"paths": ["{}/pool.parquet"], "image_folders": ["{}/images"]},
    "out": "{}/run", "base": "{}/base",
    "prepare": {"metadata": {"en": "{}/en.txt"}, "words_in": "{}/words.txt", "uids_in": "{}/uids.npy",
                "language_model": "{}/languages.bin"},
    "captions": {"recap": {"path": "{}/recap/*.parquet"}},
    "download": {"opt_out_list": "{}/out.txt", "block_lists": ["{}/block.txt"]},
    "decontaminate": {"against": ["{}/hashes.parquet"]},
    "score": NAMED | {
        "embeddings": True, "also": {"other": NAMED}, "norm_sim": {"target": "{}/a.npy"},
        "nearest_target": {"target": "{}/b.npy"}, "simcore": {"target": "{}/c", "keep": 5},
        "visual_cluster": {"centroids": "{}/d.npz"},
    },
    "scores": {"looks": {"kind": "head", "weights": "{}/head.pt"},
               "joined": {"kind": "table", "path": "{}/table.csv"}},
    "select": [{"column": "caption", "contains_any": "{}/phrases.txt"},
               {"column": "language", "in_file": "{}/kept.csv", "not_in_file": "{}/left.csv"}],
    "balance": {"t": 5},
    "beam": {"python_path": ["{}/code"]},
}  # fmt: skip
"""Each key that names files, once; {} is where they lie."""


def models(model: type[BaseModel], seen: set[type[BaseModel]]) -> Iterator[type[BaseModel]]:
    """The models that settings are made of."""
    if model in seen:
        return
    seen.add(model)
    yield model
    for field in model.model_fields.values():
        for inner in types(field.annotation):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                yield from models(inner, seen)


def types(annotation: object) -> Iterator[object]:
    """An annotation and what it consists of; of a mapping, what it holds."""
    yield annotation
    inner = get_args(annotation)
    for one in inner[1:] if get_origin(annotation) is dict else inner:
        yield from types(one)


def filled(document: Any, folder: str) -> Any:
    if isinstance(document, dict):
        return {name: filled(x, folder) for name, x in document.items()}
    if isinstance(document, list):
        return [filled(x, folder) for x in document]
    return document.format(folder) if isinstance(document, str) else document


ALL = Config.model_validate(filled(FULL, "/x"))


def test_each_key_of_texts_is_one_that_names_files_or_one_that_does_not() -> None:
    marked, others = set(), set()
    for model in models(Config, set()):
        for name, field in model.model_fields.items():
            if mark_of(field.annotation, field.metadata):
                marked.add(name)
            elif str in types(field.annotation):
                others.add((model.__name__, name))
    assert others == {(model, name) for model, names in NO_FILES.items() for name in names}
    read = marked - {"drop_clusters"}  # which is not_in_file once it is read
    assert {one.field for one in paths_in(ALL)} == read
    counts = {one.field for one in paths_in(ALL) if one.mark.counts}
    assert counts >= _READERS.keys()
    assert counts - _READERS.keys() == {
        "block_lists", "model", "pretrained", "weights", "in_file", "not_in_file",
    }  # fmt: skip


def test_an_earlier_run_s_configuration_can_be_repeated_from_anywhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir("/")
    found = absolute(Config.model_validate(filled(FULL, "here")))
    assert found == Config.model_validate(filled(FULL, "/here"))
    there = Config.model_validate(filled(FULL, "gs://b"))
    assert absolute(there) == there
    named = Score(model="ViT-B-32", pretrained="openai")
    assert absolute(named) == named
