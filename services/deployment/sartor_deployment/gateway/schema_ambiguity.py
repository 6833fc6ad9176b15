"""How many readings of one beginning a schema allows: a grammar follows all, in a circle they multiply.

Alternatives that begin alike (two arrays, two objects of the same first property) stay open together. Where
two of them lead back to where they came from, each level of the answer doubles them: an engine never ends.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

_MOST_READINGS = 500
_ALTERNATIVES = ("anyOf", "oneOf")


class Ambiguous(Exception):
    """A schema whose readings multiply, or that refers to itself without an end; the message says which."""


def check_readings(schema: Mapping[str, Any]) -> None:
    """Returns where they stay few.

    Raises:
        Ambiguous: they do not.
    """
    _Readings(schema).of(schema)


class _Readings:
    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._known: dict[str, tuple[int, frozenset[str]]] = {}
        self._open: list[str] = []

    def of(self, node: Any) -> tuple[int, frozenset[str]]:
        """(readings, the references in it that lead back to what is being read now)."""
        if not isinstance(node, dict):
            return 1, frozenset()
        if isinstance(node.get("$ref"), str):
            return self._of_reference(node["$ref"])
        for key in _ALTERNATIVES:
            if isinstance(node.get(key), list):
                return self._of_alternatives(node[key])
        readings, back = 1, frozenset[str]()
        for each in _inside(node):
            count, leads = self.of(each)
            readings, back = max(readings, count), back | leads
        return readings, back

    def _of_reference(self, name: str) -> tuple[int, frozenset[str]]:
        if name in self._open:
            return 1, frozenset({name})
        if name not in self._known:
            self._open.append(name)
            count, back = self.of(self._target(name))
            self._open.pop()
            self._known[name] = count, back - {name}
        return self._known[name]

    def _of_alternatives(self, alternatives: list[Any]) -> tuple[int, frozenset[str]]:
        alike: defaultdict[str, list[tuple[int, frozenset[str]]]] = defaultdict(list)
        for each in alternatives:
            found = self.of(each)
            for beginning in self._beginnings(each, ()):
                alike[beginning].append(found)
        readings, back = 1, frozenset[str]()
        for group in alike.values():
            if sum(bool(leads) for _, leads in group) > 1:
                raise Ambiguous(
                    "alternatives that begin alike lead back to where they came from: let each begin with a"
                    " required property of its own, as a `const`"
                )
            readings = max(readings, sum(count for count, _ in group))
            back = back.union(*(leads for _, leads in group))
        if readings > _MOST_READINGS:
            raise Ambiguous(
                f"more than {_MOST_READINGS} readings of one beginning: let alternatives begin differently"
            )
        return readings, back

    def _beginnings(self, node: Any, seen: tuple[str, ...]) -> set[str]:
        """By what an answer tells this alternative from others."""
        if not isinstance(node, dict):
            return {"any"}
        name = node.get("$ref")
        if isinstance(name, str):
            if name in seen:
                raise Ambiguous(f"the reference {name} leads to itself without an end")
            return self._beginnings(self._target(name), (*seen, name))
        for key in _ALTERNATIVES:
            if isinstance(node.get(key), list):
                return {each for inner in node[key] for each in self._beginnings(inner, seen)}
        if "const" in node or "enum" in node:
            return {"value"}
        kinds = node.get("type", "object" if "properties" in node else "array" if "items" in node else "any")
        kinds = kinds if isinstance(kinds, list) else [kinds]
        return {_first(node) if kind == "object" else str(kind) for kind in kinds}

    def _target(self, name: str) -> Any:
        node: Any = self._root
        for step in name.lstrip("#").split("/")[1:]:
            node = node.get(step) if isinstance(node, dict) else None
        return node


def _inside(node: Mapping[str, Any]) -> list[Any]:
    found: list[Any] = [node.get("items"), node.get("additionalProperties")]
    for key in ("allOf", "prefixItems", "items"):
        found += node[key] if isinstance(node.get(key), list) else []
    properties = node.get("properties")
    return found + (list(properties.values()) if isinstance(properties, dict) else [])


def _first(node: Mapping[str, Any]) -> str:
    """An object's first property and its value, where both must be."""
    properties, required = node.get("properties"), node.get("required")
    if not isinstance(properties, dict) or not isinstance(required, list):
        return "object"
    name = next((each for each in properties if each in required), None)
    if name is None:
        return "object"
    value = properties[name]
    told = value.get("const", value.get("enum", "")) if isinstance(value, dict) else ""
    return f"object {json.dumps([name, told], sort_keys=True)}"
