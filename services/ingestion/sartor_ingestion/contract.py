"""A source's data contract: what its rows must be like, and what happens where they are not. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sartor_ingestion.rejection import shown

TYPES = ("text", "integer", "number", "boolean", "time", "list", "object")
ACTIONS = ("reject", "report", "stop")
_BOOLEANS = ("true", "false", "0", "1", "yes", "no")


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldRule:
    """What one field must be like. A path with dots leads into objects; text counts as what it reads as."""

    field: str
    required: bool = False
    type: str = ""
    at_least: float | None = None
    at_most: float | None = None
    min_characters: int = 0
    max_characters: int = 0
    allowed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """The rules of a source."""

    fields: tuple[FieldRule, ...] = ()
    labels: tuple[str, ...] = ()
    """The labels a row may have; empty allows any."""
    on_breach: str = "reject"
    """reject: the row is not taken. report: it is taken, and counted. stop: as reject, and no snapshot is
    sealed while more than `max_breach_share` of the rows since the last one broke the contract."""
    max_breach_share: float = 0.0

    @property
    def is_set(self) -> bool:
        """Whether it says anything."""
        return bool(self.fields or self.labels)

    def breaches(self, row: Mapping[str, Any], label_field: str) -> Iterator[Breach]:
        """Every rule that a row breaks."""
        for rule in self.fields:
            yield from _breaches(rule, _value(row, rule.field))
        if self.labels:
            value = row.get(label_field)
            for label in value if isinstance(value, list | tuple) else [value]:
                if label is not None and str(label) not in self.labels:
                    known = ", ".join(self.labels[:20])
                    yield Breach("labels", f"{shown(label)} is not an allowed label; they are {known}")


@dataclass(frozen=True, slots=True)
class Breach:
    """A rule that a row breaks. `rule` names it, constantly, such as `amount.at_most`."""

    rule: str
    message: str


@dataclass(slots=True)
class BreachCount:
    """How often a rule was broken, with the latest case."""

    count: int = 0
    message: str = ""
    position: str = ""


@dataclass(slots=True)
class Breaches:
    """The breaches of a batch of rows."""

    rows: int = 0
    """Rows that break at least one rule."""
    by_rule: dict[str, BreachCount] = field(default_factory=dict)

    def add(self, breaches: list[Breach], position: str) -> None:
        """Count a row's breaches."""
        self.rows += 1
        for breach in breaches:
            kept = self.by_rule.setdefault(breach.rule, BreachCount())
            kept.count += 1
            kept.message, kept.position = breach.message, position


def _breaches(rule: FieldRule, value: Any) -> Iterator[Breach]:
    if value is None or value == "":
        if rule.required:
            yield Breach(f"{rule.field}.required", f"field {rule.field!r} is missing or empty")
        return
    if rule.type and not _is(rule.type, value):
        yield Breach(f"{rule.field}.type", f"field {rule.field!r} must be {rule.type}, not {shown(value)}")
        return
    if rule.at_least is not None or rule.at_most is not None:
        yield from _range(rule, value)
    if rule.allowed and str(value) not in rule.allowed:
        message = f"field {rule.field!r} must be one of {', '.join(rule.allowed[:20])}, not {shown(value)}"
        yield Breach(f"{rule.field}.allowed", message)
    size = len(value) if isinstance(value, str | list) else 0
    if rule.min_characters and size < rule.min_characters:
        message = f"field {rule.field!r} has {size} characters; at least {rule.min_characters}"
        yield Breach(f"{rule.field}.min_characters", message)
    if rule.max_characters and size > rule.max_characters:
        message = f"field {rule.field!r} has {size} characters; at most {rule.max_characters}"
        yield Breach(f"{rule.field}.max_characters", message)


def _range(rule: FieldRule, value: Any) -> Iterator[Breach]:
    number = _number(value)
    if number is None:
        yield Breach(f"{rule.field}.type", f"field {rule.field!r} must be a number, not {shown(value)}")
    elif rule.at_least is not None and not number >= rule.at_least:
        message = f"field {rule.field!r} must be at least {rule.at_least:g}, not {shown(value)}"
        yield Breach(f"{rule.field}.at_least", message)
    elif rule.at_most is not None and not number <= rule.at_most:
        message = f"field {rule.field!r} must be at most {rule.at_most:g}, not {shown(value)}"
        yield Breach(f"{rule.field}.at_most", message)


def _value(row: Mapping[str, Any], path: str) -> Any:
    if path in row:
        return row[path]
    value: Any = row
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def _is(type_: str, value: Any) -> bool:
    if type_ == "text":
        return isinstance(value, str)
    if type_ == "integer":
        number = _number(value)
        return number is not None and number == number and number.is_integer()
    if type_ == "number":
        return _number(value) is not None
    if type_ == "boolean":
        return isinstance(value, bool) or str(value).lower() in _BOOLEANS
    if type_ == "time":
        return isinstance(value, datetime) or _is_time(value)
    return isinstance(value, list | tuple) if type_ == "list" else isinstance(value, Mapping)


def _is_time(value: Any) -> bool:
    try:
        datetime.fromisoformat(str(value))
    except ValueError:
        return False
    return True
