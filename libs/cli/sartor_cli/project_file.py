"""The project file: one use case in YAML. Reading it finds every fault at once, each with its line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml
from yaml.nodes import MappingNode, Node, SequenceNode

from sartor_cli.project_schema import COLLECTIONS, PARTS
from sartor_cli.yaml_fields import (
    Fault,
    Id,
    Key,
    ListOf,
    Reading,
    Reference,
    Section,
    Text,
    Value,
    entries,
    suggestion,
)

_TOP = ("project", "display_name", *PARTS)


@dataclass(frozen=True, slots=True)
class Part:
    """One standing order of the file."""

    kind: str
    name: str
    line: int
    values: Mapping[str, Value]
    """As the message's JSON form, with full resource names."""
    lines: Mapping[str, int]
    """Line of each field, by its dotted path in the message."""

    @property
    def title(self) -> str:
        """As people call it: "sources 'tickets'"."""
        return f"{self.kind} {self.name!r}"

    def line_of(self, field: str) -> int:
        """The line of the deepest part of a field's path that the file mentions."""
        path = field
        while path:
            for tail in _tails(path):
                if tail in self.lines:
                    return self.lines[tail]
            path = path.rpartition(".")[0] if "." in path else path.partition("[")[0] * ("[" in path)
        return self.line


@dataclass(frozen=True, slots=True)
class ProjectFile:
    """A project file without faults."""

    path: Path
    text: str
    project: str
    display_name: str
    line: int
    parts: tuple[Part, ...]

    def of_kind(self, kind: str) -> list[Part]:
        return [part for part in self.parts if part.kind == kind]


class ProjectFileFaults(Exception):
    """The file has faults; nothing was applied. `sound` holds the parts that have none of their own."""

    def __init__(self, path: Path, faults: list[Fault], sound: ProjectFile | None = None) -> None:
        self.path = path
        self.sound = sound
        self.faults = sorted(set(faults))
        lines = [f"{path}:{each.line}: {each.path}: {each.message}" for each in self.faults]
        count = "1 fault" if len(lines) == 1 else f"{len(lines)} faults"
        super().__init__("\n".join([*lines, f"{count} in {path}; nothing was applied."]))


def read_project_file(path: Path) -> ProjectFile:
    """Reads and checks the whole file.

    Raises:
        ProjectFileFaults: with every fault found.
        OSError: the file cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ProjectFileFaults(path, [Fault(line, 1, "file", "is not UTF-8 text")]) from None
    return parse_project_file(text, path)


def parse_project_file(text: str, path: Path) -> ProjectFile:
    """The same from text."""
    root = _compose(text, path)
    reading = Reading()
    sections = entries(root, "", reading)
    for name, (node, _) in sections.items():
        if name not in _TOP:
            reading.fault(node, name, f"unknown key {name!r}{suggestion(name, _TOP)}")
    project = _scalar(sections, "project", Id(), reading)
    display_name = _scalar(sections, "display_name", Text(), reading)
    if "project" not in sections:
        reading.fault(root, "project", "the key 'project' is missing; it names the use case")
    parts: list[Part] = []
    sound: list[Part] = []
    for kind in PARTS:
        for part, is_sound in _parts(kind, sections[kind][1], project, reading) if kind in sections else ():
            parts.append(part)
            if is_sound:
                sound.append(part)
    reading.faults += [*_double_names(parts), *_broken_references(parts), *_empty_rules(parts)]
    line = sections["project"][0].start_mark.line + 1 if project else 1
    file = ProjectFile(path, text, project, display_name or project, line, tuple(sound))
    if reading.faults:
        raise ProjectFileFaults(path, reading.faults, file if project else None)
    return file


def _compose(text: str, path: Path) -> MappingNode:
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        problem = ", ".join(part for part in (error.context, error.problem) if part)
        raise ProjectFileFaults(path, [Fault(line, column, "file", f"is not YAML: {problem}")]) from None
    except yaml.YAMLError as error:
        raise ProjectFileFaults(path, [Fault(1, 1, "file", f"is not YAML: {error}")]) from None
    except RecursionError:
        raise ProjectFileFaults(path, [Fault(1, 1, "file", "is nested far too deep")]) from None
    if not isinstance(root, MappingNode):
        raise ProjectFileFaults(path, [Fault(1, 1, "file", "must have keys such as 'project' and 'sources'")])
    return root


def _scalar(sections: Mapping[str, tuple[Node, Node]], name: str, kind: Id | Text, reading: Reading) -> str:
    if name not in sections:
        return ""
    value = kind.read(sections[name][1], name, name, reading)
    return value if isinstance(value, str) else ""


def _parts(kind: str, node: Node, project: str, reading: Reading) -> Iterator[tuple[Part, bool]]:
    """The parts of one kind, each with whether it has no fault of its own."""
    section = PARTS[kind]
    items = node.value if isinstance(node, SequenceNode) else [node]
    for index, item in enumerate(items):
        path = f"{kind}[{index}]" if isinstance(node, SequenceNode) else kind
        here, before = Reading(faults=reading.faults), len(reading.faults)
        values = section.read(item, path, "", here)
        if not isinstance(values, dict):
            continue
        name = values.get("name")
        _resolve(section, values, project)
        values["name"] = f"projects/{project}/{COLLECTIONS[kind]}/{name}"
        part = Part(kind, str(name or ""), item.start_mark.line + 1, values, here.lines)
        yield part, len(reading.faults) == before


def _resolve(section: Section, values: dict[str, Value], project: str) -> None:
    """Turns ids of other parts into resource names."""
    for key in section.keys:
        target = key.to or key.name
        if isinstance(key.kind, Reference) and isinstance(values.get(target), str):
            values[target] = f"projects/{project}/{key.kind.collection}/{values[target]}"
        elif isinstance(key.kind, ListOf) and isinstance(key.kind.kind, Reference):
            prefix = f"projects/{project}/{key.kind.kind.collection}"
            named = values.get(target)
            values[target] = [f"{prefix}/{each}" for each in named] if isinstance(named, list) else []
        elif isinstance(key.kind, Section) and isinstance(inner := values.get(target), dict):
            _resolve(key.kind, inner, project)


def _double_names(parts: list[Part]) -> Iterator[Fault]:
    seen: dict[tuple[str, str], Part] = {}
    for part in parts:
        first = seen.setdefault((part.kind, part.name), part)
        if first is not part and part.name:
            line = part.line_of("name")
            yield Fault(
                line, 1, f"{part.kind}.name", f"{part.name!r} is already in line {first.line_of('name')}"
            )


def _broken_references(parts: list[Part]) -> Iterator[Fault]:
    """References must point to what the same file makes."""
    made = {
        "datasets": {
            str(part.values["dataset"])
            for part in parts
            if part.kind == "sources" and "dataset" in part.values
        },
        "models": {
            str(part.values["model"]) for part in parts if part.kind == "training" and "model" in part.values
        },
        **{
            collection: {str(part.values["name"]) for part in parts if part.kind == kind}
            for kind, collection in COLLECTIONS.items()
        },
    }
    makers = {"datasets": "source", "models": "training plan"}
    for part in parts:
        for path, key, target in _named_references(PARTS[part.kind], part.values):
            if _makes(part.kind, key):
                continue
            known = made[key.kind.collection]  # type: ignore[attr-defined]
            if isinstance(target, str) and target not in known:
                wanted, ids = _id(target), tuple(sorted(_id(name) for name in known))
                what = makers.get(key.kind.collection)  # type: ignore[attr-defined]
                message = f"no {what} makes {wanted!r}" if what else f"{wanted!r} is not in this file"
                hint = suggestion(wanted, ids) if ids else "; there is none at all"
                yield Fault(
                    part.line_of(f"{path}{key.to or key.name}"),
                    1,
                    f"{part.kind}.{path}{key.name}",
                    message + hint,
                )


def _named_references(
    section: Section, values: Mapping[str, Value], path: str = ""
) -> Iterator[tuple[str, Key, Value | None]]:
    """Every reference of a part and of its sections: path of its section, key, and what it names."""
    for key in section.keys:
        target = key.to or key.name
        value = values.get(target)
        if isinstance(key.kind, Reference):
            yield path, key, value
        elif isinstance(key.kind, Section) and isinstance(value, dict):
            yield from _named_references(key.kind, value, f"{path}{target}.")


def _makes(kind: str, key: Key) -> bool:
    return (kind, key.name) in (("sources", "dataset"), ("training", "model"))


def _empty_rules(parts: list[Part]) -> Iterator[Fault]:
    for part in parts:
        rules = part.values.get("rules") if part.kind == "evaluation" else None
        for index, rule in enumerate(rules if isinstance(rules, list) else []):
            if isinstance(rule, dict) and not rule.keys() & {"at_least", "at_most", "not_worse_by"}:
                line = part.line_of(f"rules[{index}].metric")
                yield Fault(line, 1, f"evaluation.rules[{index}]", "has no bound: give at_least or at_most")


def _id(name: str) -> str:
    return name.rpartition("/")[2]


def _tails(path: str) -> Iterator[str]:
    """The path, and the path without its leading names: services may prefix it with the resource's."""
    yield path
    while "." in path:
        path = path.partition(".")[2]
        yield path
