"""What a YAML file may say: fields with kinds, read from nodes so that every fault has its line.

Scalars are read from their written text, never from YAML's guess: the language `no` stays "no", and `4e-4` is
a number.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

Value = str | int | float | bool | list["Value"] | dict[str, "Value"]

_ID = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_NULLS = ("", "~", "null", "Null", "NULL")


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """Something wrong in the file; lines and columns count from 1."""

    line: int
    column: int
    path: str
    message: str


@dataclass(slots=True)
class Reading:
    """What has been read so far: the faults, and the line of each field by its path in the message."""

    faults: list[Fault] = field(default_factory=list)
    lines: dict[str, int] = field(default_factory=dict)

    def fault(self, node: Node, path: str, message: str) -> None:
        mark = node.start_mark
        self.faults.append(Fault(mark.line + 1, mark.column + 1, path, message))


class Kind(Protocol):
    """How one value is read; None after a fault."""

    def read(self, node: Node, path: str, target: str, reading: Reading) -> Value | None: ...


@dataclass(frozen=True, slots=True)
class Text:
    """Any text, not empty."""

    def read(self, node: Node, path: str, target: str, reading: Reading) -> Value | None:
        if not isinstance(node, ScalarNode):
            reading.fault(node, path, "must be a text")
            return None
        if node.style is None and node.value in _NULLS:
            reading.fault(node, path, "is empty")
            return None
        return str(node.value)


@dataclass(frozen=True, slots=True)
class Id:
    """A resource id."""

    def read(self, node: Node, path: str, target: str, reading: Reading) -> Value | None:
        text = Text().read(node, path, target, reading)
        if isinstance(text, str) and not _ID.fullmatch(text):
            reading.fault(
                node,
                path,
                f"{text!r} is not an id: 1 to 63 lower-case letters, digits and hyphens, "
                "with a letter or digit at both ends",
            )
            return None
        return text


@dataclass(frozen=True, slots=True)
class Reference:
    """The id of another part; stored as its full resource name, `collection` within the project."""

    collection: str

    def read(self, node: Node, path: str, target: str, reading: Reading) -> Value | None:
        return Id().read(node, path, target, reading)


@dataclass(frozen=True, slots=True)
class Number:
    """A number within bounds."""

    least: float | None = None
    most: float | None = None
    whole: bool = False

    def read(self, node: Node, path: str, target: str, reading: Reading) -> Value | None:
        what = "a whole number" if self.whole else "a number"
        try:
            text = node.value.replace("_", "") if isinstance(node, ScalarNode) and node.style is None else ""
            value = int(text) if self.whole else float(text)
        except ValueError:
            shown = repr(node.value) if isinstance(node, ScalarNode) else "a list or section"
            reading.fault(node, path, f"must be {what}, not {shown}")
            return None
        if value != value or (self.least is not None and value < self.least):
            reading.fault(node, path, f"must be at least {self.least:g}")
            return None
        if self.most is not None and value > self.most:
            reading.fault(node, path, f"must be at most {self.most:g}")
            return None
        return value


@dataclass(frozen=True, slots=True)
class Flag:
    """true or false."""

    def read(self, node: Node, path: str, target: str, reading: Reading) -> Value | None:
        written = node.value.lower() if isinstance(node, ScalarNode) and node.style is None else ""
        if written not in ("true", "false"):
            reading.fault(node, path, "must be true or false")
            return None
        return bool(written == "true")


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few words, stored as the constant of an enum."""

    prefix: str
    words: tuple[str, ...]

    def read(self, node: Node, path: str, target: str, reading: Reading) -> Value | None:
        text = Text().read(node, path, target, reading)
        if not isinstance(text, str):
            return None
        if text not in self.words:
            reading.fault(node, path, f"{text!r} is not known{suggestion(text, self.words)}")
            return None
        return f"{self.prefix}_{text.upper()}"


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list of values of one kind."""

    kind: Kind

    def read(self, node: Node, path: str, target: str, reading: Reading) -> Value | None:
        if not isinstance(node, SequenceNode):
            reading.fault(node, path, "must be a list, as [a, b] or lines that begin with '- '")
            return None
        values: list[Value] = []
        for i, item in enumerate(node.value):
            reading.lines[f"{target}[{i}]"] = item.start_mark.line + 1
            value = self.kind.read(item, f"{path}[{i}]", f"{target}[{i}]", reading)
            if value is not None:
                values.append(value)
        return values


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a section; `to` is the field's dotted path in the message, the key itself by default."""

    name: str
    kind: Kind
    to: str = ""
    required: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """A section of keys. A key whose target is "." puts its own keys beside the section's."""

    keys: tuple[Key, ...]

    def read(self, node: Node, path: str, target: str, reading: Reading) -> Value | None:
        if not isinstance(node, MappingNode):
            known = ", ".join(key.name for key in self.keys)
            reading.fault(node, path, f"must be a section with keys ({known})")
            return None
        values: dict[str, Value] = {}
        known_keys = {key.name: key for key in self.keys}
        for name, (name_node, value_node) in entries(node, path, reading).items():
            key = known_keys.get(name)
            here = f"{path}.{name}" if path else name
            if key is None:
                hint = suggestion(name, tuple(known_keys))
                reading.fault(name_node, here, f"unknown key {name!r}{hint}")
                continue
            field_path = join(target, key.to or name)
            if key.to != ".":
                reading.lines[field_path] = name_node.start_mark.line + 1
            value = key.kind.read(value_node, here, field_path, reading)
            if value is not None:
                put(values, key.to or name, value)
        present = {str(name_node.value) for name_node, _ in node.value}
        for key in self.keys:
            if key.required and key.name not in present:
                reading.fault(
                    node, f"{path}.{key.name}" if path else key.name, f"the key {key.name!r} is missing"
                )
        return values


def entries(node: MappingNode, path: str, reading: Reading) -> dict[str, tuple[Node, Node]]:
    """The keys of a section with their nodes; a key written twice is a fault."""
    found: dict[str, tuple[Node, Node]] = {}
    for name_node, value_node in node.value:
        name = str(name_node.value) if isinstance(name_node, ScalarNode) else "?"
        if name in found:
            first = found[name][0].start_mark.line + 1
            reading.fault(
                name_node, f"{path}.{name}" if path else name, f"key {name!r} is already in line {first}"
            )
            continue
        found[name] = (name_node, value_node)
    return found


def put(values: dict[str, Value], path: str, value: Value) -> None:
    """Sets a value at a dotted path. "." merges a section's keys into this one."""
    if path == ".":
        assert isinstance(value, dict)
        for name, inner in value.items():
            put(values, name, inner)
        return
    first, _, rest = path.partition(".")
    if not rest:
        before = values.get(first)
        if isinstance(before, dict) and isinstance(value, dict):
            before.update(value)
        else:
            values[first] = value
        return
    inner = values.setdefault(first, {})
    assert isinstance(inner, dict)
    put(inner, rest, value)


def join(target: str, path: str) -> str:
    """A field's path in the message."""
    if path == ".":
        return target
    return f"{target}.{path}" if target else path


def suggestion(word: str, known: Sequence[str]) -> str:
    """ "; did you mean 'x'?" or the list of what there is."""
    close = difflib.get_close_matches(word, known, 1, 0.6)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known are {', '.join(known)}"


Sections = Mapping[str, Section]
