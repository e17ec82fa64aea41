"""The entries of a pair, and which of them its image shows (scores of kind entities), in words."""

from typing import Any

from curate import files
from curate.config import ENTITIES, Config
from curate.rundir.directory import Run
from curate.schema import MATCHES, Stage

Row = dict[str, Any]


def sights(config: Config) -> list[str]:
    """The columns of a run with what images show; that which its balance counts comes first."""
    found = [name for name, one in config.scores.items() if one.kind == ENTITIES]
    on = config.balance.column if config.balance else MATCHES
    return sorted(found, key=lambda name: name != on)


def with_names(run: Run, config: Config, found: Row, *, pair: Row) -> Row:
    """What was found of a pair, with the entries' names and cosines in the place of their ids.

    `pair` has its language and its matches.
    """
    for name in sights(config):
        cosines = found.pop(f"{name}_similarity", None)
        if name not in found or cosines is None or len(cosines) != len(pair.get(MATCHES) or ()):
            continue
        rows = counted_entries(run, pair["language"], pair[MATCHES])
        names = {row["entry_id"]: row["entry"] for row in rows}
        told = [
            f"{names.get(entry, f'entry {entry}')} {'' if cosine is None else f'{cosine:.3f}'}".strip()
            + ("" if entry in found[name] else " (not seen)")
            for entry, cosine in zip(pair[MATCHES], cosines, strict=True)
        ]
        found[name] = "; ".join(told)
    return found


def counted_entries(run: Run, language: str, ids: list[int]) -> list[Row]:
    """What the balance counted of some entries of a language; nothing where it counted none."""
    url = run.path(Stage.BALANCE, "entries.parquet")
    if not files.exists(url) or not ids:
        return []
    held = run.state().get("files", {}).get(f"{Stage.BALANCE}/entries.parquet")
    content = files.Content(*held) if held else None
    filters = [("language", "=", language), ("entry_id", "in", ids)]
    rows: list[Row] = files.read_table(url, content=content, filters=filters).to_pylist()
    return rows
