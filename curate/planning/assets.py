"""The files beside the input that the output depends on: checked before work starts, and digested."""

import difflib

from curate import files, schema
from curate.config import Config, FurtherScore, Scorer, is_file_name
from curate.errors import CurateError
from curate.ops.scores.clip import known_models, known_tags, known_width
from curate.ops.scores.vectors import target_files
from curate.ops.selection.blocklists import read_block_lists
from curate.ops.selection.contamination import EmbeddingModel, check_embeddings, read_evaluation
from curate.ops.selection.uids import check_subset
from curate.ops.text.language import labels
from curate.ops.text.lists import read_items
from curate.planning.asked import measure_spec
from curate.planning.languages import check_languages
from curate.pool.tables import read_entries
from curate.run.directory import ANNOTATED
from curate.web.optout import read_list

EVALUATION_KEY = "evaluation set "


def check_assets(config: Config) -> dict[str, str]:
    """Digests of the files beside the input that the output depends on."""
    digests = check_metadata(config)
    if config.download.opt_out_list and config.download.enabled:
        digests["opt_out_list"] = _check_list(config.download.opt_out_list)
    if config.decontaminate is not None:
        digests |= check_evaluations(config.decontaminate.against)
        if config.score is not None and config.decontaminate.embedding_similarity is not None:
            model = embedding_model(config.score)
            for path in config.decontaminate.against:
                check_embeddings(files.absolute(path), model)
    kept = set(map(schema.kept_name, config.input.columns.keep))
    for name in kept & {*(config.score.also if config.score else ()), *config.scores}:
        raise CurateError(
            f"input.columns.keep: {name!r} is the name of a score, too: rename the score"
        )
    if config.score is not None and config.download.enabled:
        for name, scorer in config.score.scorers.items():
            digests |= _check_scorer(scorer, name=name)
        for name, derived in config.score.derived.items():
            digests |= _check_target(derived, name=name)
    for name, further in config.scores.items():
        digests |= _check_further(further, config, name=name)
    return digests


def _check_further(further: FurtherScore, config: Config, *, name: str) -> dict[str, str]:
    """The digest of a head's file, once it is known that what the score needs is there and fits."""
    where = f"scores.{name}"
    check_name(name, where=where)
    if config.score and name in config.score.also:
        raise CurateError(f"{where}: score.also.{name} has that name; give another")
    if further.weights is None:
        try:
            measure_spec(further, config).check()
        except CurateError as error:
            raise CurateError(f"{where}: {error}") from None
        return {}
    from curate.ops.scores.heads import load_head

    url = files.absolute(further.weights)
    try:
        head = load_head(url, activation=further.activation)
    except CurateError as error:
        raise CurateError(f"{where}.weights: {error}") from None
    model = config.score.model if config.score else ""
    if (width := known_width(model)) and width != head.width:
        raise CurateError(
            f"{where}.weights: {further.weights} is a head on {head.width} values, the embeddings of"
            f" {model} have {width}"
        )
    return {f"weights {name}": files.content_digest(url)}


def check_name(name: str, *, where: str) -> None:
    """Raise where no score can be called `name`, which `where` gives."""
    if name in schema.OWN or name == ANNOTATED:  # scores have folders of their names in there
        raise CurateError(f"{where}: {name} is taken by another column; give another name")


def _check_target(derived: object, *, name: str) -> dict[str, str]:
    """The digest of a target set's files, by ``target NAME``."""
    target = getattr(derived, "target", None)
    if target is None:
        return {}
    try:
        found = target_files(files.absolute(target))
    except CurateError as error:
        raise CurateError(f"score.{name}.target: {error}") from None
    return {f"target {name}": files.digest_of([files.content_digest(url) for url in found])}


def _check_scorer(scorer: Scorer, *, name: str) -> dict[str, str]:
    """The digests of a scorer's files, by ``KEY NAME``."""
    where = f"score.also.{name}" if name else "score"
    check_name(name, where=where)
    digests = {}
    for key in ("model", "pretrained"):
        value = getattr(scorer, key)
        if is_file_name(value):
            if not files.exists(value):
                raise CurateError(f"{where}.{key}: {value}: no such file")
            digests[f"{key} {name}"] = files.content_digest(value)
    if not scorer.model.startswith("hf-hub:"):
        if not is_file_name(scorer.model):
            _nearest(scorer.model, known_models(), where=f"{where}.model", what="no model")
        if scorer.pretrained is None:
            raise CurateError(
                f"{where}.pretrained: {scorer.model} needs weights: an open_clip tag, or the path of"
                " a checkpoint"
            )
        if not is_file_name(scorer.model) and not is_file_name(scorer.pretrained):
            _nearest(
                scorer.pretrained, known_tags(scorer.model), where=f"{where}.pretrained",
                what=f"for {scorer.model} no weights",
            )  # fmt: skip
    return digests


def _check_list(path: str) -> str:
    url = files.absolute(path)
    try:
        read_list(url)
    except CurateError as error:
        raise CurateError(f"download.opt_out_list: {error}") from None
    return files.content_digest(url)


def check_metadata(config: Config) -> dict[str, str]:
    """Digests of each language's entry list and of other lists, once it is known that they read."""
    digests = _check_language_model(config.prepare.language_model)
    check_languages(config)
    for language, path in sorted(config.prepare.metadata.items()):
        url = files.absolute(path)
        try:
            read_entries(url)
        except CurateError as error:
            raise CurateError(f"prepare.metadata.{language}: {error}") from None
        digests[language] = files.content_digest(url)
    if words_in := config.prepare.words_in:
        url = files.absolute(words_in)
        if not files.exists(url):
            raise CurateError(
                f"prepare.words_in: {words_in}: no such file; see curate metadata words -h"
            )
        try:
            words = read_items(url)[0]
        except CurateError as error:
            raise CurateError(f"prepare.words_in: {error}") from None
        if not any(word.strip() for word in words):
            raise CurateError(f"prepare.words_in: {words_in}: there is no word in it")
        digests["words_in"] = files.content_digest(url)
    if uids_in := config.prepare.uids_in:
        url = files.absolute(uids_in)
        try:
            check_subset(url)
        except CurateError as error:
            raise CurateError(f"prepare.uids_in: {error}") from None
        digests["uids_in"] = files.content_digest(url)
    return digests


def _check_language_model(path: str | None) -> dict[str, str]:
    """The digest of the file, once it is known that captions can be told apart by it."""
    if path is None:
        return {}
    url = files.absolute(path)
    if not files.exists(url):
        raise CurateError(f"prepare.language_model: {path}: no such file")
    try:
        labels(url)
    except CurateError as error:
        raise CurateError(f"prepare.language_model: {error}") from None
    return {"language_model": files.content_digest(url)}


def check_evaluations(paths: tuple[str, ...]) -> dict[str, str]:
    """The digests of files of hashes, once it is known that they can be read."""
    digests = {}
    for path in paths:
        url = files.absolute(path)
        read_evaluation(url)
        digests[EVALUATION_KEY + path] = files.content_digest(url)
    return digests


def embedding_model(scorer: Scorer) -> EmbeddingModel:
    """Which model embeds, however its files are called."""
    found = _check_scorer(scorer, name="")
    keys = ("model", "pretrained")
    return EmbeddingModel(
        scorer.model, scorer.pretrained,
        files.digest_of([found.get(f"{key} ") or getattr(scorer, key) for key in keys]),
    )  # fmt: skip


def check_block_lists(config: Config) -> dict[str, int]:
    """Hashes on the block lists by kind, once it is known that they can be read."""
    if not config.download.enabled or not config.download.block_lists:
        return {}
    hashes = read_block_lists(tuple(map(files.absolute, config.download.block_lists)))
    return {kind: len(found) for kind, found in hashes.items() if len(found)}


def _nearest(value: str, known: list[str], *, where: str, what: str) -> None:
    if value not in known:
        near = difflib.get_close_matches(value, known, n=3, cutoff=0.5)
        hint = f"; nearest: {', '.join(near)}" if near else ""
        raise CurateError(f"{where}: open_clip has {what} {value!r}{hint}")
