"""The YAML of configuration files: what a scalar is taken for, and what is an error."""

import re
from textwrap import shorten
from typing import Any

import yaml


class _Loader(yaml.SafeLoader):
    """YAML 1.1 without some surprises: 010 is no octal number, 10:00 and 2001-01-01 are strings."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """A mapping whose keys `on`, `no` and the like, which would be booleans, are strings."""
        found: yaml.MappingNode = super().compose_mapping_node(anchor)
        for key, _ in found.value:
            key.tag = _STRING if key.tag == _BOOL else key.tag
        return found

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Construct a value; an error that names the line where it does not fit its tag."""
        try:
            return super().construct_object(node, deep=deep)
        except (ValueError, KeyError, AttributeError):  # what PyYAML's constructors end in
            kind = node.tag.rpartition(":")[2]
            raise yaml.MarkedYAMLError(
                problem=f"{shorten(str(node.value), width=60)!r} is no {kind} that can be read",
                problem_mark=node.start_mark,
            ) from None


_INT, _FLOAT, _TIMESTAMP, _BOOL, _STRING = (
    f"tag:yaml.org,2002:{kind}" for kind in ("int", "float", "timestamp", "bool", "str")
)
_Loader.yaml_implicit_resolvers = {
    first: [one for one in resolvers if one[0] not in (_INT, _FLOAT, _TIMESTAMP)]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    _INT, re.compile(r"[-+]?(0b[01_]+|0x[0-9a-fA-F_]+|0|[1-9][0-9_]*)$"), [*"-+0123456789"]
)
_Loader.add_implicit_resolver(
    _FLOAT,
    re.compile(
        r"([-+]?[0-9][0-9_]*\.[0-9_]*([eE][-+]?[0-9]+)?|[-+]?\.[0-9][0-9_]*([eE][-+]?[0-9]+)?"
        r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$"
    ),
    [*"-+.0123456789"],
)


class Dumper(yaml.SafeDumper):
    """Quotes strings that this `_Loader` or another YAML parser would take for a number."""


Dumper.yaml_implicit_resolvers = {
    first: [*yaml.SafeDumper.yaml_implicit_resolvers.get(first, ()), *more]
    for first, more in _Loader.yaml_implicit_resolvers.items()
}


def parsed(text: str) -> tuple[Any, yaml.Node | None]:
    """The document in `text`, and its node graph for line numbers; a repeated key is an error."""
    try:
        node = yaml.compose(text, Loader=_Loader)
        _check_keys(node)
        return yaml.load(text, Loader=_Loader), node
    except RecursionError:
        raise yaml.MarkedYAMLError(problem="brackets are nested too deeply") from None


def _check_keys(root: yaml.Node | None) -> None:
    nodes = [root]
    seen: set[int] = set()
    while nodes:
        node = nodes.pop()
        if node is None or id(node) in seen or isinstance(node, yaml.ScalarNode):
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            nodes += node.value
            continue
        lines: dict[str, int] = {}
        for key, value in node.value:
            nodes += [key, value]
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in lines:
                raise yaml.MarkedYAMLError(
                    problem=f"the key {key.value!r} is in line {lines[key.value]} already",
                    problem_mark=key.start_mark,
                )
            lines[key.value] = key.start_mark.line + 1


def problem(error: yaml.YAMLError) -> str:
    """What is wrong with a text, in words."""
    told = getattr(error, "problem", None) or "cannot be read"
    return told if told.startswith("the key ") else f"not YAML: {told}"
