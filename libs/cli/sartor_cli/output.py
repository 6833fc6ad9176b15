"""What a command prints: tables for people, JSON and YAML for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Generic, Literal, TypeVar

import yaml
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console
from rich.table import Table

T = TypeVar("T")
M = TypeVar("M", bound=Message)

PIPE_COLUMNS = 240
"""Width of tables that no terminal limits."""


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, highlight=False, width=None if stream.isatty() else PIPE_COLUMNS)


console = _console(stderr=False)
errors = _console(stderr=True)


class Format(StrEnum):
    """How results are written."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


@dataclass(frozen=True)
class Column(Generic[T]):
    """One column of a table."""

    title: str
    text: Callable[[T], str]
    right: bool = False
    whole: bool = False
    """Never broken over lines: an id that people copy."""


def heading(text: str) -> None:
    """Begins a part of a longer output."""
    console.print(f"\n[bold cyan]{text}[/]")


def plain(message: Message) -> dict[str, Any]:
    """A message as plain data, with the fields' own names."""
    return MessageToDict(message, preserving_proto_field_name=True)


def print_data(data: Any, form: Format) -> None:
    """Writes plain data as JSON or YAML."""
    if form is Format.JSON:
        sys.stdout.write(json.dumps(data, indent=2, ensure_ascii=False) + "\n")
    else:
        yaml.safe_dump(data, sys.stdout, sort_keys=False, allow_unicode=True)


def print_messages(messages: Sequence[M], columns: Sequence[Column[M]], form: Format, empty: str) -> None:
    """Writes resources as the user asked; `empty` is said when a table would have no rows."""
    if form is not Format.TABLE:
        print_data([plain(message) for message in messages], form)
        return
    if not messages:
        console.print(empty)
        return
    console.print(table(messages, columns))


def table(rows: Sequence[T], columns: Sequence[Column[T]], title: str = "") -> Table:
    """A table without frames, which can be cut and pasted."""
    made = Table(box=None, pad_edge=False, header_style="bold", title=title or None, title_justify="left")
    for column in columns:
        justify: Literal["left", "right"] = "right" if column.right else "left"
        made.add_column(column.title, justify=justify, overflow="fold", no_wrap=column.whole)
    for row in rows:
        made.add_row(*(column.text(row) for column in columns))
    return made


def print_detail(message: Message, form: Format) -> None:
    """Writes one resource whole; as a table it reads like YAML."""
    print_data(plain(message), Format.YAML if form is Format.TABLE else form)


def age(time: Timestamp) -> str:
    """How long ago, in one unit; "" if the time is not set."""
    if not time.seconds:
        return ""
    return duration((datetime.now(UTC) - time.ToDatetime(tzinfo=UTC)).total_seconds())


def duration(seconds: float) -> str:
    """A duration in one or two units."""
    seconds = max(0, round(seconds))
    if seconds < 60:
        return f"{seconds}s"
    if seconds < 3600:
        return f"{seconds // 60}m{seconds % 60:02d}s"
    if seconds < 86_400:
        return f"{seconds // 3600}h{seconds % 3600 // 60:02d}m"
    return f"{seconds // 86_400}d"


def last(name: str) -> str:
    """The id at the end of a resource name."""
    return name.rpartition("/")[2]
