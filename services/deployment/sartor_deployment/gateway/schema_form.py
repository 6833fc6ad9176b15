"""What a JSON schema in a request may ask of an engine.

An engine makes a grammar of it and tries tokens against that grammar, one thread for all of its slots:
thousands of alternatives would make everybody wait, and one that contradicts itself takes all memory. What
is `strict` promises an answer that obeys it: there, what the engine would silently leave out is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sartor_deployment.gateway.errors import ApiError
from sartor_deployment.gateway.schema_ambiguity import Ambiguous, check_readings

_MOST_BYTES = 65_536
_MOST_DEPTH = 32
_MOST_CHOICES = 500
_MOST_COUNT = 1000
_MOST_COUNTED = 5000
_MOST_PATTERN = 512
_MOST_PATTERN_PLACES = 256
_MOST_PATTERN_OPTIONS = 64
_BY_NAME = ("properties", "$defs", "definitions", "patternProperties", "dependentSchemas")
_IN_ROWS = ("anyOf", "oneOf", "allOf", "prefixItems")
_SINGLE = ("items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames")
_RANGES = (("minItems", "maxItems"), ("minLength", "maxLength"), ("minimum", "maximum"))
_COUNTS = ("minItems", "maxItems", "minLength", "maxLength")
_BOUNDS = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}
_NOT_ENFORCED = {
    "not", "if", "then", "else", "contains", "minContains", "maxContains", "uniqueItems", "minProperties",
    "maxProperties", "patternProperties", "propertyNames", "dependentRequired", "dependentSchemas",
    "unevaluatedProperties", "unevaluatedItems", "multipleOf",
}  # fmt: skip
_CONTENT = _BOUNDS | {
    *_COUNTS, "properties", "required", "items", "prefixItems", "enum", "const", "pattern", "allOf",
}  # fmt: skip


@dataclass(slots=True)
class _Budget:
    choices: int = 0
    counted: int = 0


def check_schema(schema: Any, place: str, *, strict: bool) -> None:
    """Returns where an engine can take it; `place` is the parameter it came in.

    Raises:
        ApiError: 400 invalid_schema, with what to change.
    """
    if not isinstance(schema, dict):
        raise _refused(place, "must be an object: a JSON schema")
    try:
        size = len(json.dumps(schema))
    except RecursionError:
        size = _MOST_BYTES + 1
    if size > _MOST_BYTES:
        raise _refused(place, f"is larger than {_MOST_BYTES} bytes: ask for less at a time")
    budget = _Budget()
    for at, node, depth in _nodes(schema, place, 0):
        if depth > _MOST_DEPTH:
            raise _refused(place, f"is nested deeper than {_MOST_DEPTH} levels: use `$ref` or flatten it")
        _spend(node, place, budget)
        _check_node(node, at)
        if strict:
            _check_enforced(node, at)
    try:
        check_readings(schema)
    except (Ambiguous, RecursionError) as error:
        raise _refused(place, f"cannot be a grammar: {error}") from error


def _nodes(node: Mapping[str, Any], at: str, depth: int) -> Iterator[tuple[str, Mapping[str, Any], int]]:
    """The schema and all in it: where, what, how deep."""
    yield at, node, depth
    for key in _BY_NAME:
        inner = node.get(key)
        for name, each in inner.items() if isinstance(inner, dict) else ():
            if isinstance(each, dict):
                yield from _nodes(each, f"{at}.{key}.{str(name)[:40]}", depth + 1)
    for key in (*_IN_ROWS, *_SINGLE):
        inner = node.get(key)
        for number, each in enumerate(inner if isinstance(inner, list) else [inner]):
            if isinstance(each, dict):
                where = f"[{number}]" if isinstance(inner, list) else ""
                yield from _nodes(each, f"{at}.{key}{where}", depth + 1)


def _spend(node: Mapping[str, Any], place: str, budget: _Budget) -> None:
    for key in ("enum", "anyOf", "oneOf", "properties", "type"):
        inner = node.get(key)
        budget.choices += len(inner) if isinstance(inner, list | dict) else 0
    if budget.choices > _MOST_CHOICES:
        raise _refused(
            place,
            f"has more than {_MOST_CHOICES} properties and alternatives in all: the engine would take"
            " minutes, and all others would wait. Ask for text there and compare it yourself",
        )
    counts = [node[key] for key in _COUNTS if isinstance(node.get(key), int)]
    budget.counted += max(counts, default=0)
    if max(counts, default=0) > _MOST_COUNT or budget.counted > _MOST_COUNTED:
        raise _refused(
            place,
            f"counts items or characters beyond {_MOST_COUNT} ({_MOST_COUNTED} in all): leave the bound out,"
            " and limit the answer by max_tokens",
        )


def _check_node(node: Mapping[str, Any], at: str) -> None:
    for least, most in _RANGES:
        low, high = node.get(least), node.get(most)
        if isinstance(low, int | float) and isinstance(high, int | float) and low > high:
            raise _refused(at, f"has {least} {low} above {most} {high}: no value obeys it")
    pattern = node.get("pattern")
    if isinstance(pattern, str):
        _check_pattern(pattern, f"{at}.pattern")


def _check_enforced(node: Mapping[str, Any], at: str) -> None:
    kinds = node.get("type")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    left_out = {*node} & _NOT_ENFORCED
    if "number" in kinds:
        left_out |= {*node} & _BOUNDS
    for key in ("$ref", "anyOf", "oneOf"):
        if key in node:
            left_out |= {*node} & _CONTENT
    if "pattern" in node:
        left_out |= {*node} & {"minLength", "maxLength", "format"}
        why = _not_enforced(str(node["pattern"]))
        if why:
            raise _refused(
                f"{at}.pattern",
                f"holds {why}, which the engine does not enforce; {_HOW}",
                "unsupported_schema",
            )
    if left_out:
        names = ", ".join(sorted(left_out))
        raise _refused(
            at, f"has {names}, which the engine does not enforce there; {_HOW}", "unsupported_schema"
        )
    needed, known = node.get("required"), node.get("properties")
    missing = {*map(str, needed)} - {*(known or {})} if isinstance(needed, list) else set()
    if missing and isinstance(known, dict | None):
        raise _refused(
            f"{at}.required", f"names {', '.join(sorted(missing)[:5])}, which `properties` does not describe"
        )


_HOW = "leave it out, or say `strict: false` and check the answer yourself"


def _check_pattern(pattern: str, at: str) -> None:
    try:
        tree = _parse(pattern) if len(pattern) <= _MOST_PATTERN else None
    except (re.error, RecursionError, OverflowError) as error:
        raise _refused(at, f"cannot be read as a regular expression: {error}") from error
    places, options = _cost(tree) if tree is not None else (_MOST_PATTERN_PLACES + 1, 0)
    if places > _MOST_PATTERN_PLACES or options > _MOST_PATTERN_OPTIONS:
        raise _refused(
            at,
            f"is too long for the engine: {_MOST_PATTERN} characters, {_MOST_PATTERN_PLACES} repeated and"
            f" {_MOST_PATTERN_OPTIONS} optional places are the most. Use * or +, or check it yourself",
        )


def _parse(pattern: str) -> Any:
    """Python's own tree of it: parsed, never run."""
    return re._parser.parse(pattern)  # type: ignore[attr-defined]


def _cost(tree: Any) -> tuple[int, int]:
    """(places when repetitions are written out, how many of them may be left out)."""
    places = options = 0
    for operator, value in tree:
        kind = str(operator)
        if kind in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
            least, most, inner = value
            times = max(int(least), 1) if most is re._parser.MAXREPEAT else int(most)  # type: ignore[attr-defined]
            within, optional = _cost(inner)
            places += times * within
            may = times - int(least)
            options += min(times * optional + may * max(within, 1), 10**9)
        elif kind == "SUBPATTERN":
            within, optional = _cost(value[-1])
            places, options = places + within, options + optional
        elif kind == "BRANCH":
            branches = [_cost(each) for each in value[1]]
            places += sum(each[0] for each in branches)
            options += sum(each[1] for each in branches) + (1 if len(branches) > 1 else 0)
        else:
            places += 1
    return places, options


def _not_enforced(pattern: str) -> str:
    """What in it the engine's grammar has no word for; "" where it has all."""
    if not pattern.startswith("^") or not pattern.endswith("$"):
        return "no ^ at its beginning or no $ at its end"
    first, *inside, last = _parse(pattern)
    if not str(first[0]) == str(last[0]) == "AT":
        return "alternatives outside of a group"
    return _unknown(inside)


def _unknown(tree: Any) -> str:
    for operator, value in tree:
        kind = str(operator)
        if kind in ("LITERAL", "NOT_LITERAL", "ANY", "RANGE", "NEGATE"):
            continue
        if kind == "CATEGORY":
            return r"a class such as \d or \w (write [0-9] or [A-Za-z0-9_])"
        if kind in ("MAX_REPEAT", "MIN_REPEAT"):
            inner = [value[2]]
        elif kind == "SUBPATTERN":
            inner = [value[-1]]
        elif kind == "BRANCH":
            inner = value[1]
        elif kind == "IN":
            inner = [value]
        else:
            return "a look-around, an anchor in its middle or a reference to a group"
        found = next(filter(None, map(_unknown, inner)), "")
        if found:
            return found
    return ""


def _refused(place: str, text: str, code: str = "invalid_schema") -> ApiError:
    return ApiError(400, f"'{place}' {text}", code, place)
