"""Configuration files: reads YAML with overrides, writes it, and explains errors with line numbers."""

import difflib
import json
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from curate import files
from curate.config import Config, Model, paths
from curate.config.dialect import Dumper, parsed, problem
from curate.config.prices import Prices
from curate.errors import CurateError
from curate.files.texts import read_text
from curate.imported import folders_used, look_in


def parse_set(assignment: str) -> tuple[list[str], object]:
    """``a.b=VALUE`` as its path and its YAML value."""
    key, equals, value = assignment.partition("=")
    if not equals or not key:
        raise CurateError(f"--set {assignment}: expected key=value, as in --set balance.t=20")
    try:
        return key.split("."), parsed(value)[0]
    except yaml.YAMLError as error:
        raise CurateError(f"--set {assignment}: {problem(error)}") from None


def load(path: str, *, overrides: tuple[str, ...] = (), out: str | None = None) -> Config:
    """The configuration in the YAML file at `path`, with ``key=value`` overrides on top.

    Errors name the key, the file and the line.
    """
    document, node = _read(path)
    sources = {}
    for assignment in overrides:
        keys, value = parse_set(assignment)
        branch = document
        for key in keys[:-1]:
            branch = (
                branch.setdefault(key, {}) if branch.get(key) is not None else _branch(branch, key)
            )
            if not isinstance(branch, dict):
                raise CurateError(f"--set {assignment}: {key} is not a mapping")
        branch[keys[-1]] = value
        sources[tuple(keys)] = f"--set {assignment}"
    if out is not None:
        document["out"] = out
    try:
        config = Config.model_validate(document)
    except ValidationError as error:
        raise CurateError(_explain(error, path=path, node=node, sources=sources)) from None
    for folder in (*config.beam.python_path, files.absolute(path).rpartition("/")[0]):
        if (local := files.local_path(files.absolute(folder))) is not None:
            look_in(local)
    return config


def load_prices(path: str) -> Prices:
    """The prices in the YAML file at `path`."""
    document, node = _read(path)
    try:
        return Prices.model_validate(document)
    except ValidationError as error:
        raise CurateError(_explain(error, path=path, node=node, sources={}, of=Prices)) from None


def _read(path: str) -> tuple[dict[str, Any], yaml.Node | None]:
    """The mapping in the YAML file at `path`."""
    try:
        document, node = parsed(read_text(path))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise CurateError(f"{path}{line}: {problem(error)}") from None
    if not isinstance(document, dict):
        raise CurateError(f"{path}: expected a mapping of keys, found {type(document).__name__}")
    return document, node


def absolute(config: Config) -> Config:
    """The same with absolute paths, and with the folders of users' code in beam.python_path."""
    found = paths.absolute(config)
    code = tuple(dict.fromkeys((*found.beam.python_path, *folders_used())))
    beam = found.beam.model_copy(update={"python_path": code})
    return found.model_copy(update={"beam": beam})


def _branch(parent: dict[str, Any], key: str) -> dict[str, Any]:
    parent[key] = {}
    branch: dict[str, Any] = parent[key]
    return branch


def _explain(
    error: ValidationError,
    *,
    path: str,
    node: yaml.Node | None,
    sources: dict[tuple[str, ...], str],
    of: type[Model] = Config,
) -> str:
    first = error.errors()[0]
    loc = [part for part in first["loc"] if part != "[key]"]
    place = _assignment(tuple(map(str, loc)), sources)
    if place is None:
        place = f"{path}:{_line(node, loc)}" if loc else path
    key = ".".join(str(part) for part in loc)
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        message = "unknown key"
        if near := _nearest(loc, of):
            message += f", did you mean {near!r}?"
    elif first["type"] == "missing":
        message = "this key is required"
    elif key:
        message = message[0].lower() + message[1:]
        if not isinstance(first["input"], dict | list):
            message += f", not {first['input']!r}"
        if isinstance(first["input"], bool) and first["type"] == "string_type":
            message += ": YAML takes this word for a truth value, put it in quotes"
    more = error.error_count() - 1
    message += _advice(loc, first["msg"], first["type"], sources)
    tail = f" (and {more} more)" if more else ""
    return f"{place}: {key + ': ' if key else ''}{message}{tail}"


def _assignment(loc: tuple[str, ...], sources: dict[tuple[str, ...], str]) -> str | None:
    """The last --set whose key is `loc`, contains it, or is inside it."""
    for keys in reversed(sources):
        shared = min(len(keys), len(loc))
        if shared and keys[:shared] == loc[:shared]:
            return sources[keys]
    return None


def _advice(
    loc: list[int | str], message: str, kind: str, sources: dict[tuple[str, ...], str]
) -> str:
    """The remedy for an assignment that YAML reads differently from what was meant."""
    at = tuple(map(str, loc))
    for keys, source in sources.items():
        inside, value = keys[len(at) :], source.partition("=")[2]
        if not inside or keys[: len(at)] != at:
            continue
        if at == ("balance",) and "exactly one" in message:
            return f"; in place of the file's: --set balance='{{{'.'.join(inside)}: {value}}}'"
        if kind == "string_type" and len(at) > 1:
            key = ".".join((at[-1], *inside))
            return f"; a key that has dots needs braces: --set {'.'.join(at[:-1])}='{{{key}: {value}}}'"
    return ""


def _line(node: yaml.Node | None, loc: list[int | str]) -> int:
    line = 1
    for part in loc:
        if isinstance(node, yaml.MappingNode):
            pairs = {k.value: (k, v) for k, v in node.value}
            if str(part) not in pairs:
                return line
            key, node = pairs[str(part)]
            line = key.start_mark.line + 1
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            node = node.value[part]
            line = node.start_mark.line + 1
    return line


def _nearest(loc: list[int | str], of: type[Model]) -> str | None:
    known: Any = of.model_json_schema()
    definitions = known.get("$defs", {})
    for part in loc[:-1]:
        if isinstance(part, str):
            known = known.get("properties", {}).get(part) or _values(known)
        known = known.get("items", known)
        for option in (known, *known.get("anyOf", ()), *known.get("allOf", ())):
            option = option.get("items", option)
            if "$ref" in option:
                known = definitions[option["$ref"].rsplit("/", 1)[1]]
                break
    found = difflib.get_close_matches(str(loc[-1]), known.get("properties", {}), n=1)
    return found[0] if found else None


def _values(schema: Any) -> Any:
    """The schema of the values of a mapping whose keys anyone may choose."""
    by_pattern = schema.get("patternProperties", {}).values()
    found: Any = next(iter(by_pattern), schema.get("additionalProperties"))
    return found if isinstance(found, dict) else {}


def dump(config: Config) -> str:
    """The resolved configuration as YAML that :func:`load` reads back."""
    document = config.model_dump(mode="json", by_alias=True, exclude_none=True)
    return yaml.dump(document, Dumper=Dumper, sort_keys=False, allow_unicode=True)


def json_schema() -> str:
    """The JSON schema of the configuration."""
    return json.dumps(Config.model_json_schema(), indent=1)


def recipes() -> dict[str, Path]:
    """The shipped recipes by name."""
    return {path.stem: path for path in sorted(files.shipped("pipelines/recipes").glob("*.yaml"))}


def recipe_meant(name: str) -> str:
    """A hint for a `name` that is no file but like the name of a recipe; else empty."""
    asked = name.removesuffix(".yaml")
    near = difflib.get_close_matches(asked, recipes(), n=1, cutoff=0.8)
    if not near:
        return ""
    meant = "it is a recipe" if near[0] == asked else f"did you mean the recipe {near[0]!r}?"
    return f"; {meant}: curate config --recipe {near[0]} > {near[0]}.yaml"
