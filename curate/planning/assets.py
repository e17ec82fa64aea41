"""The files beside the input that the output depends on: checked before work starts, and digested."""

import difflib
from collections.abc import Callable, Iterable

from curate import files, schema
from curate.config import Adaptive, Config, FurtherScore, Scorer, VisualCluster, is_file_name
from curate.config.paths import Named, paths_in
from curate.errors import CurateError
from curate.extras import install, require
from curate.ops.scores.clip import known_models, known_tags, known_width
from curate.ops.scores.vectors import target_files
from curate.ops.scores.visual import read_clusters
from curate.ops.selection.blocklists import read_block_lists
from curate.ops.selection.contamination import EmbeddingModel, check_embeddings, read_evaluation
from curate.ops.selection.uids import check_subset
from curate.ops.text.language import labels
from curate.ops.text.lists import read_words
from curate.planning.asked import caption_tables, score_spec
from curate.planning.languages import check_languages
from curate.planning.steps import Steps
from curate.planning.tables import user_table
from curate.pool.joined import table_files
from curate.pool.tables import read_entries
from curate.rundir.directory import ANNOTATED
from curate.schema import Stage
from curate.web.optout import read_list

_READERS: dict[str, Callable[[str], object]] = {
    "metadata": read_entries,
    "language_model": labels,
    "words_in": read_words,
    "uids_in": check_subset,
    "contains_any": read_words,
    "opt_out_list": read_list,
    "against": read_evaluation,
    "target": target_files,
    "centroids": read_clusters,
    "path": table_files,
}
"""What raises where a file is not what its key asks for; block lists and models are read later."""
_MADE_BY = {
    "words_in": "; see curate metadata words -h",
    "against": "; make it with: curate hash SET --out FILE.parquet",
}


def check_assets(config: Config) -> dict[str, str]:
    """Digests of the files beside the input that the output depends on, by the path as it is written.

    Raises
    ------
    CurateError
        Naming the key and the file that is not there or cannot be used.
    """
    unused = () if config.download.enabled else ("download.", "score.")
    digests = content_digests(x for x in paths_in(config) if not x.key.startswith(unused))
    check_languages(config)
    for table in caption_tables(config).values():
        table.check()
    sets = config.decontaminate
    if sets is not None and sets.embedding_similarity is not None and config.score is not None:
        model = embedding_model(config.score)
        for path in sets.against:
            check_embeddings(files.absolute(path), model)
    kept = set(map(schema.kept_name, config.input.columns.keep))
    for name in kept & {*(config.score.also if config.score else ()), *config.scores}:
        raise CurateError(
            f"input.columns.keep: {name!r} is the name of a score, too: rename the score"
        )
    if config.score is not None and config.download.enabled:
        for name, scorer in config.score.scorers.items():
            _check_scorer(scorer, name=name)
        if config.score.visual_cluster is not None:
            _check_clusters(config.score.visual_cluster, model=config.score.model)
    for name, further in config.scores.items():
        _check_further(further, config, name=name)
    if config.balance is not None and config.balance.adaptive is not None:
        check_parser(config.balance.adaptive)
    return digests


def check_parser(asked: Adaptive) -> None:
    """That the parser is there with which the balance finds nouns.

    Raises
    ------
    CurateError
        Saying what to install.
    """
    if asked.nouns is not None:
        by = "balance.adaptive.nouns"
        require("spacy", by=by, command=install("scores"))
        download = f"python -m spacy download {asked.parser}"
        require(asked.parser, by=f"{by} (balance.adaptive.parser)", command=download)


def check_texts(config: Config, steps: Steps) -> dict[str, str]:
    """The same of what pairs are prepared with: lists of entries, of words, of uids."""
    rules = steps.rules.get(Stage.PREPARE, ())
    named = (one for rule in rules for one in paths_in(rule, under="select"))
    digests = content_digests([*paths_in(config.prepare, under="prepare"), *named])
    digests |= content_digests(x for x in paths_in(config) if x.key.startswith("captions."))
    check_languages(config)
    return digests


def content_digests(named: Iterable[Named]) -> dict[str, str]:
    """The digest of the content of each of these files, by the path as it is written.

    Raises
    ------
    CurateError
        Naming the key and the file that is not there, or not what its key asks for.
    """
    digests = {}
    for one in named:
        if not one.mark.counts:
            continue
        url = files.absolute(one.path)
        try:
            if not one.mark.several and not files.exists(url):
                made_by = _MADE_BY.get(one.field, "")
                raise CurateError(f"{one.path}: no such file{made_by}")
            if read := _READERS.get(one.field):
                read(url)
            several = target_files if one.field == "target" else table_files
            digests[one.path] = (
                files.digest_of([files.content_digest(x) for x in several(url)])
                if one.mark.several
                else files.content_digest(url)
            )
        except CurateError as error:
            raise CurateError(f"{one.key}: {error}") from None
    return digests


def _check_further(further: FurtherScore, config: Config, *, name: str) -> None:
    """That what the score needs is there, and that a head fits the model."""
    where = f"scores.{name}"
    check_name(name, where=where)
    if config.score and name in config.score.also:
        raise CurateError(f"{where}: score.also.{name} has that name; give another")
    if further.path is not None:
        user_table(name, further).check()
        return
    if further.weights is None:
        score_spec(name, config).check()
        return
    from curate.ops.scores.heads import load_head

    try:
        head = load_head(files.absolute(further.weights), activation=further.activation)
    except CurateError as error:
        raise CurateError(f"{where}.weights: {error}") from None
    model = config.score.model if config.score else ""
    if (width := known_width(model)) and width != head.width:
        raise CurateError(
            f"{where}.weights: {further.weights} is a head on {head.width} values, the embeddings of"
            f" {model} have {width}"
        )


def _check_clusters(asked: VisualCluster, *, model: str) -> None:
    """That clusters, given or to be found, fit the embeddings of the model."""
    width = known_width(model)
    if width and asked.centroids:
        given = read_clusters(files.absolute(asked.centroids)).width
        if given != width:
            raise CurateError(
                f"score.visual_cluster.centroids: {asked.centroids} is of embeddings of {given} values,"
                f" those of {model} have {width}"
            )
    elif width and asked.whiten and asked.whiten > width:
        raise CurateError(
            f"score.visual_cluster.whiten: {asked.whiten} components of embeddings of {width} values"
            f" ({model}); give at most that"
        )


def check_name(name: str, *, where: str) -> None:
    """Raise where no score can be called `name`, which `where` gives."""
    if name in schema.OWN or name == ANNOTATED:  # scores have folders of their names in there
        raise CurateError(f"{where}: {name} is taken by another column; give another name")


def _check_scorer(scorer: Scorer, *, name: str) -> None:
    """That open_clip knows what is no file."""
    where = f"score.also.{name}" if name else "score"
    check_name(name, where=where)
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


def embedding_model(scorer: Scorer) -> EmbeddingModel:
    """Which model embeds, however its files are called."""
    _check_scorer(scorer, name="")
    names = scorer.model, scorer.pretrained
    found = content_digests(x for x in paths_in(scorer, under="score") if x.path in names)
    digest = files.digest_of([found.get(name or "", name) for name in names])
    return EmbeddingModel(scorer.model, scorer.pretrained, digest)


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
