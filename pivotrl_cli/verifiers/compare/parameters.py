"""Tool schemas, read for one purpose: when are two arguments the same?

A `Shape` is the part of a JSON Schema that speaks of one value. It answers what the schema declares about equality
(defaults, enumerations, sets) and never judges whether a value is valid. What it does not understand, it does not say:
without a schema every answer is empty.

Followed: `properties`, `additionalProperties`, `items`, `prefixItems`, local `$ref`, `allOf`, and the first branch of
`anyOf` or `oneOf` that admits the type of the value. Left out: remote references, `if`, `patternProperties`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

_MAX_STEPS = 8
_ANY_ORDER = re.compile(r"any order|unordered|order (?:does not|doesn't) matter|order is (?:free|irrelevant)", re.I)
_TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "null": type(None),
    "number": (int, float),
    "integer": (int, float),
}


class Shape(NamedTuple):
    """What a schema says of one value.

    `root` is where its local references start, `name` the parameter, `tool` the words of the tool's description.
    """

    node: Mapping[str, Any]
    root: Mapping[str, Any]
    name: str = ""
    tool: str = ""

    def facing(self, value: Any) -> Shape:
        """The shape with references followed and the branch chosen that admits the value's type."""
        return self if _plain(self.node) else self._replace(node=_flat(self.node, self.root, value, _MAX_STEPS))

    def key(self, name: str) -> Shape:
        """Of the value under a key of an object."""
        declared = self._mapping("properties")
        return self._child(declared.get(name, self.node.get("additionalProperties")))._replace(name=name)

    def item(self, index: int) -> Shape:
        """Of an item of a list."""
        prefix = self.node.get("prefixItems")
        if isinstance(prefix, list) and index < len(prefix):
            return self._child(prefix[index])
        return self._child(self.node.get("items"))

    def defaults(self) -> dict[str, Any]:
        """What an optional key stands for where it is left out."""
        required = self.node.get("required")
        held = required if isinstance(required, list) else []
        found = {}
        for name, schema in self._mapping("properties").items():
            if name in held:
                continue
            shape = self._child(schema)
            node = shape.node if "default" in shape.node else shape.facing(None).node
            if "default" in node:
                found[name] = node["default"]
        return found

    @property
    def enum_values(self) -> list[str] | None:
        """The strings that the value is chosen from, if it is."""
        choices = self.node.get("enum")
        return [choice for choice in choices if isinstance(choice, str)] if isinstance(choices, list) else None

    @property
    def about(self) -> str:
        """What the schema says of the value in words: its description, then the tool's."""
        words = [self.node.get("description"), self.tool]
        return " ".join(word for word in words if isinstance(word, str))[:2_000]

    @property
    def is_set(self) -> bool:
        """Whether the order of a list carries no meaning."""
        return self.node.get("uniqueItems") is True or _ANY_ORDER.search(str(self.node.get("description"))) is not None

    @property
    def takes_text_for_numbers(self) -> bool:
        """Whether the schema declares a number that may be written as a string."""
        types = self.node.get("type")
        return isinstance(types, list) and "string" in types and ("integer" in types or "number" in types)

    @property
    def is_formal(self) -> bool:
        """Whether a string has a declared form, so that it is not prose."""
        return "format" in self.node or "pattern" in self.node

    def _mapping(self, keyword: str) -> Mapping[str, Any]:
        return _dict(self.node.get(keyword))

    def _child(self, schema: Any) -> Shape:
        return self._replace(node=schema if isinstance(schema, dict) else {})


UNDECLARED = Shape({}, {})


def shape_of(tools: str, name: str) -> Shape:
    """The shape of a tool's arguments; `UNDECLARED` where no schema is known."""
    return _shapes(tools).get(name, UNDECLARED)


@lru_cache(maxsize=64)
def _shapes(tools: str) -> dict[str, Shape]:
    return {name: Shape(schema, schema, tool=about) for name, schema, about in _declared(tools)}


def declared_tools(tools: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Names and parameter schemas, nested as `{"function": {...}}` or flat; none where the text is not such a list."""
    return ((name, schema) for name, schema, _ in _declared(tools))


def _declared(tools: str) -> Iterator[tuple[str, dict[str, Any], str]]:
    try:
        declared = json.loads(tools)
    except (ValueError, RecursionError):
        return
    for tool in declared if isinstance(declared, list) else []:
        inner = _dict(_dict(tool).get("function")) or _dict(tool)
        if isinstance(inner.get("name"), str) and isinstance(inner.get("parameters"), dict):
            yield inner["name"], inner["parameters"], str(inner.get("description") or "")


def _plain(node: Mapping[str, Any]) -> bool:
    return not ("$ref" in node or "anyOf" in node or "oneOf" in node or "allOf" in node)


def _flat(node: Mapping[str, Any], root: Mapping[str, Any], value: Any, steps: int) -> dict[str, Any]:
    """One node with its references, branches and parts merged in; the node's own words win."""
    if steps == 0:
        return {}
    parts = [_target(node.get("$ref"), root), _branch(node, root, value), *_list(node.get("allOf"))]
    merged: dict[str, Any] = {}
    for part in parts:
        if isinstance(part, dict):
            merged = _merge_schemas(merged, part if _plain(part) else _flat(part, root, value, steps - 1))
    own = {key: word for key, word in node.items() if key not in ("$ref", "anyOf", "oneOf", "allOf")}
    return _merge_schemas(merged, own)


def _merge_schemas(under: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    properties = {**_dict(under.get("properties")), **_dict(over.get("properties"))}
    required = [*_list(under.get("required")), *_list(over.get("required"))]
    return {**under, **over, "properties": properties, "required": required}


def _branch(node: Mapping[str, Any], root: Mapping[str, Any], value: Any) -> Any:
    for branch in [*_list(node.get("anyOf")), *_list(node.get("oneOf"))]:
        target = _target(branch.get("$ref"), root) if isinstance(branch, dict) and "$ref" in branch else branch
        if isinstance(target, dict) and _admits(target.get("type"), value):
            return branch
    return None


def _admits(declared: Any, value: Any) -> bool:
    names = declared if isinstance(declared, list) else [declared]
    if isinstance(value, bool):
        return "boolean" in names or names == [None]
    return names == [None] or any(isinstance(value, _TYPES[n]) for n in names if isinstance(n, str) and n in _TYPES)


def _target(reference: Any, root: Mapping[str, Any]) -> Any:
    """What a local reference such as `#/$defs/Address` points at."""
    if not isinstance(reference, str) or not reference.startswith("#"):
        return None
    found: Any = root
    for step in reference[1:].split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
