"""What a run will do: the pool cut into parts, a digest for each step, and what stands already.

A step's digest covers its own settings and the digests of all steps before it, so a changed setting
makes exactly the steps that depend on it stale. Settings that change nothing in the output (where to
connect, how many at once, which runner) are in no digest.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from curate import files, schema
from curate.config import Config, Rule, is_file_name
from curate.errors import CurateError
from curate.ops.clip import known_models
from curate.ops.optout import read_list
from curate.ops.tables import PoolFormat, parquet_row_groups, read_batches, read_entries
from curate.run import ANNOTATED, PART_STAGES, Part, Run
from curate.schema import Stage

FORMAT = 2
"""Raised when the files that a step writes change, so that older ones are made again."""

_FETCH_KEYS = {"max_bytes", "max_pixels", "max_redirects", "opt_out", "robots", "image_size",
               "resize_mode", "only_if_bigger", "encode_format", "encode_quality"}  # fmt: skip
_SCORE_KEYS = {"model", "pretrained", "precision", "batch_size"}
_RULE_STAGES = (Stage.PREPARE, Stage.DOWNLOAD, Stage.SCORE)


@dataclass(frozen=True)
class StepDigest:
    """`own`: the step's settings alone; `chain`: with all that came before."""

    own: str
    chain: str


@dataclass(frozen=True)
class Plan:
    """A checked run, ready to be built into a graph."""

    config: Config
    run: Run
    parts: tuple[Part, ...]
    stages: tuple[Stage, ...]  # those that run, in flow order
    digests: dict[str, StepDigest]  # by folder
    inputs: tuple[dict[str, Any], ...]
    input_digest: str
    retry_failed: bool = False  # fetch again what failed for a reason that may have passed

    def rules(self, stage: Stage) -> tuple[Rule, ...]:
        """The select rules that apply at the end of `stage`."""
        return tuple(r for r in self.config.select if rule_stage(r, self.stages) is stage)

    def upstream(self, stage: Stage) -> str:
        """The folder of the parts that `stage` reads."""
        before = [s for s in PART_STAGES if s in self.stages]
        position = before.index(stage) if stage in before else len(before)
        return str(before[position - 1]) if position else ""

    def columns(self, stage: Stage) -> pa.Schema:
        """The columns of a part after `stage`."""
        return schema.after(
            stage,
            enabled=self.stages,
            dedup=dedup_columns(self.config),
            balance=balance_columns(self.config),
        )


def enabled_stages(config: Config) -> tuple[Stage, ...]:
    """The stages that `config` asks for, in flow order."""
    images = config.download.enabled
    wanted = {
        Stage.PREPARE: True,
        Stage.DOWNLOAD: images,
        Stage.DEDUP: config.dedup.enabled,
        Stage.SCORE: images and config.score is not None,
        Stage.BALANCE: config.balance is not None,
        Stage.SHARDS: images,
        Stage.REPORT: True,
    }
    return tuple(stage for stage in Stage if wanted[stage])


def dedup_columns(config: Config) -> pa.Schema:
    """The columns that the deduplication adds."""
    more = schema.OTHER_CAPTIONS if config.dedup.keep_captions else ()
    return pa.schema([*schema.DEDUP, *more])


def balance_columns(config: Config) -> pa.Schema:
    """The columns that the balance adds."""
    return schema.WFPP if config.balance and config.balance.wfpp else schema.BALANCE


def rule_stage(rule: Rule, stages: tuple[Stage, ...]) -> Stage:
    """The first stage after which the column of `rule` exists."""
    for stage in _RULE_STAGES:
        if stage in stages and rule.column in schema.ADDED[stage].names:
            kind = schema.ADDED[stage].field(rule.column).type
            ordered = pa.types.is_integer(kind) or pa.types.is_floating(kind)
            if not ordered and (rule.in_ is None and rule.not_in is None):
                raise CurateError(f"select rule {rule.label!r}: {rule.column} is not a number")
            for key, values in (("in", rule.in_), ("not_in", rule.not_in)):
                try:
                    pa.array(values or (), kind)
                except (pa.ArrowException, TypeError):
                    raise CurateError(
                        f"select rule {rule.label!r}: {key} {list(values or ())} does not fit"
                        f" {rule.column}, which is {kind}"
                    ) from None
            if pa.types.is_list(kind):
                raise CurateError(f"select rule {rule.label!r}: {rule.column} is a list")
            if rule.top_fraction is not None and stage is Stage.PREPARE:
                raise CurateError(
                    f"select rule {rule.label!r}: top_fraction needs a column of download or score"
                )
            return stage
    known = [
        name
        for stage in _RULE_STAGES
        if stage in stages
        for name in schema.ADDED[stage].names
        if name not in ("uid", "url", "caption", "matches")
    ]
    raise CurateError(
        f"select rule {rule.label!r}: no column {rule.column!r} in this run; known: "
        + ", ".join(known)
    )


def pool_format(config: Config) -> PoolFormat:
    """How the configured input is read."""
    columns = config.input.columns
    return PoolFormat(config.input.format, columns.url, columns.caption, columns.uid)


def make_plan(config: Config) -> Plan:
    """Check everything that can be checked before work starts, and cut the pool into parts.

    Raises
    ------
    CurateError
        Naming the input, option or file that is at fault.
    """
    if not config.out:
        raise CurateError("no output folder: give --out RUN or the key `out`")
    run = Run(files.absolute(config.out))
    stages = enabled_stages(config)
    for rule in config.select:
        rule_stage(rule, stages)
    assets = _check_assets(config)
    inputs = tuple(_inputs(config))
    pool = pool_format(config)
    input_digest = files.digest_of(
        [x["digest"] for x in inputs], config.part_rows, asdict(pool) | {"format": None}
    )
    _check_out(run, input_digest)
    parts, rows = _load_parts(run, inputs, input_digest) or _cut_parts(
        run, inputs, config, input_digest
    )
    inputs = tuple({**found, "rows": n} for found, n in zip(inputs, rows, strict=True))
    plan = Plan(config, run, parts, stages, {}, inputs, input_digest)
    return replace(plan, digests=chain(step_settings(plan, assets), start=input_digest))


def _inputs(config: Config) -> Iterator[dict[str, Any]]:
    for pattern in config.input.paths:
        found = files.expand(files.absolute(pattern))
        if not found:
            raise CurateError(f"input.paths: {pattern}: no such file, folder or match")
        for path in found:
            yield {
                "path": path, "bytes": files.size(path), "digest": files.content_digest(path)
            }  # fmt: skip


def _check_assets(config: Config) -> dict[str, str]:
    """Digests of the files beside the input that the output depends on."""
    digests = check_metadata(config)
    if config.download.opt_out_list and config.download.enabled:
        digests["opt_out_list"] = _check_list(config.download.opt_out_list)
    if config.score is not None and config.download.enabled:
        for key in ("model", "pretrained"):
            value = getattr(config.score, key)
            if is_file_name(value):
                if not files.exists(value):
                    raise CurateError(f"score.{key}: {value}: no such file")
                digests[key] = files.content_digest(value)
            elif key == "model" and not value.startswith("hf-hub:"):
                _check_model(value)
    return digests


def _check_list(path: str) -> str:
    url = files.absolute(path)
    try:
        read_list(url)
    except CurateError as error:
        raise CurateError(f"download.opt_out_list: {error}") from None
    return files.content_digest(url)


def check_metadata(config: Config) -> dict[str, str]:
    """The digest of each language's entry list, once it is known that it can be read."""
    digests = {}
    for language, path in sorted(config.prepare.metadata.items()):
        url = files.absolute(path)
        try:
            read_entries(url)
        except CurateError as error:
            raise CurateError(f"prepare.metadata.{language}: {error}") from None
        digests[language] = files.content_digest(url)
    return digests


def _check_model(name: str) -> None:
    import difflib

    known = known_models()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        hint = f"; nearest: {', '.join(near)}" if near else ""
        raise CurateError(f"score.model: open_clip has no model {name!r}{hint}")


def _check_out(run: Run, input_digest: str) -> None:
    state = run.state()
    if state and state.get("input_digest") != input_digest:
        raise CurateError(
            f"{run.root} holds a run over another input (or other part_rows or columns); give"
            " another --out, or remove that folder"
        )
    if not state and set(files.names(run.root)) - {"input"}:
        raise CurateError(f"{run.root} is not empty and holds no run; give another --out")


Cut = tuple[tuple[Part, ...], list[int]]
"""The parts, and the rows of each input file."""


def _load_parts(run: Run, inputs: tuple[dict[str, Any], ...], input_digest: str) -> Cut | None:
    url = run.path("input", "parts.json")
    if not files.exists(url):
        return None
    found = files.read_json(url)
    if found["digest"] != input_digest or found["format"] != FORMAT:
        return None
    parts = tuple(Part(**part) for part in found["parts"])
    if not {part.path for part in parts if not part.staged} <= {x["path"] for x in inputs}:
        return None  # the pool has moved
    return parts, found["rows"]


def _cut_parts(
    run: Run, inputs: tuple[dict[str, Any], ...], config: Config, input_digest: str
) -> Cut:
    """A part never spans two files. Files without a way into their middle are copied in slices."""
    pool = pool_format(config)
    size = config.part_rows
    parts: list[Part] = []
    counts = []
    for number, path in enumerate(x["path"] for x in inputs):
        counts.append(sum(part.rows for part in parts))
        groups = parquet_row_groups(path, pool=pool) if pool.of(path) == "parquet" else None
        if groups is not None and max(groups, default=0) <= 4 * size:
            rows = sum(groups)
            for start in range(0, rows, size):
                parts.append(Part(len(parts), path, start, min(size, rows - start)))
            continue
        for k, table in enumerate(_rechunk(read_batches(path, pool=pool), size)):
            copy = run.path("input", f"file-{number:05d}-{k:05d}.parquet")
            files.write_table(copy, table)
            parts.append(Part(len(parts), copy, 0, len(table), staged=True))
    if not parts:
        raise CurateError(f"input.paths: {inputs[0]['path']}: the input holds no rows")
    files.write_json(
        run.path("input", "parts.json"),
        {
            "format": FORMAT,
            "digest": input_digest,
            "rows": (rows := np.diff([*counts, sum(part.rows for part in parts)]).tolist()),
            "parts": [asdict(part) for part in parts],
        },
    )
    return tuple(parts), rows


def _rechunk(tables: Iterator[pa.Table], rows: int) -> Iterator[pa.Table]:
    held: list[pa.Table] = []
    n = 0
    for table in tables:
        held.append(table)
        n += len(table)
        while n >= rows:
            joined = pa.concat_tables(held)
            yield joined.slice(0, rows)
            held, n = [joined.slice(rows)], n - rows
    if n:
        yield pa.concat_tables(held)


def step_settings(plan: Plan, assets: dict[str, str]) -> dict[str, object]:
    """What the output of each step depends on, by its folder, in flow order."""
    config = plan.config

    def rules(stage: Stage) -> list[object]:
        return [rule.model_dump(by_alias=True) for rule in plan.rules(stage)]

    metadata = {x: digest for x, digest in assets.items() if x in config.prepare.metadata}
    settings: dict[str, object] = {
        Stage.PREPARE: [config.prepare.languages, metadata, rules(Stage.PREPARE)]
    }
    if Stage.DOWNLOAD in plan.stages:
        fetch = config.download.model_dump(include=_FETCH_KEYS)
        opt_outs = {"opt_out_list": assets["opt_out_list"]} if "opt_out_list" in assets else {}
        settings[files.join(Stage.DOWNLOAD, ANNOTATED)] = fetch | opt_outs
        settings[Stage.DOWNLOAD] = rules(Stage.DOWNLOAD)
    if Stage.DEDUP in plan.stages:
        settings[Stage.DEDUP] = config.dedup.model_dump()
    if Stage.SCORE in plan.stages and config.score:
        files_of = {key: assets.get(key) for key in ("model", "pretrained")}
        model = config.score.model_dump(include=_SCORE_KEYS)
        settings[files.join(Stage.SCORE, ANNOTATED)] = [model, files_of]
        settings[Stage.SCORE] = rules(Stage.SCORE)
    if config.balance is not None:
        settings[Stage.BALANCE] = [config.balance.model_dump(), config.seed]
    if Stage.SHARDS in plan.stages:
        settings[Stage.SHARDS] = config.shards.model_dump()
    return {str(folder): own for folder, own in settings.items()}


def chain(settings: dict[str, object], *, start: str) -> dict[str, StepDigest]:
    """The digest of each step by its folder; `start` is that of what comes before the first."""
    digests = {}
    for folder, own in settings.items():
        start = files.digest_of(FORMAT, folder, own, start)
        digests[folder] = StepDigest(files.digest_of(FORMAT, folder, own), start)
    return digests
