"""What every adapter is given and gives: a message of another system, and what it says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sartor_ingestion.formats.json_values import check_depth
from sartor_ingestion.rejection import Rejected

KEY = "_key"
"""The field in which an adapter puts a row's identity, for sources whose mapping names no key."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message as it lies in its topic. A tombstone has no value."""

    key: bytes | None
    value: bytes | None


@dataclass(frozen=True, slots=True)
class ObjectNotice:
    """An object that was written or removed."""

    uri: str
    version: str
    """Changes with the object; empty where the system does not say."""
    size_bytes: int = 0
    removed: bool = False
    """Its version then is that which was removed for good; empty: the object itself is gone."""


@dataclass(frozen=True, slots=True)
class Said:
    """What a message says, in its order."""

    rows: tuple[Mapping[str, Any], ...] = ()
    objects: tuple[ObjectNotice, ...] = ()
    rejections: tuple[Rejected, ...] = field(default=())
    """Parts of a message that are no rows, though the message as a whole is sound."""


class BadMessage(ValueError):
    """The message is not what its adapter reads. `reason` is UPPER_SNAKE."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


def json_of(value: bytes | None, what: str) -> dict[str, Any]:
    """The JSON object in a message.

    Raises:
        BadMessage: BAD_MESSAGE.
    """
    try:
        found = json.loads(value or b"")
        check_depth(found)
    except (ValueError, RecursionError, Rejected) as error:
        raise BadMessage(
            "BAD_MESSAGE", f"the message is no {what}: it is not usable JSON: {error}"[:500]
        ) from error
    if not isinstance(found, dict):
        raise BadMessage("BAD_MESSAGE", f"the message is no {what}: it is no JSON object")
    return found


def object_at(value: Any, *path: str) -> dict[str, Any]:
    """The object inside an object; empty where there is none."""
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value if isinstance(value, dict) else {}
