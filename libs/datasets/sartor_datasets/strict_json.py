"""Frozen dataclasses to JSON and back, strictly: an unknown, missing or mistyped field is an error."""

from __future__ import annotations

import dataclasses
import json
import types
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


class ManifestInvalid(ValueError):
    """A document without the shape it must have. `path` says where, e.g. `segments[2].object.sha256`."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path or 'document'}: {problem}")
        self.path = path
        self.problem = problem


def dump(value: object) -> bytes:
    """UTF-8 JSON of a dataclass, fields in the order of their declaration, dates as RFC 3339 in UTC."""
    return json.dumps(_encode(value), ensure_ascii=False, indent=1, allow_nan=False).encode()


def load(cls: type[T], data: bytes | str) -> T:
    """The dataclass `cls` from JSON.

    Raises:
        ManifestInvalid: not JSON, or not exactly the fields and types of `cls`.
    """
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ManifestInvalid("", f"not JSON: {error}") from error
    decoded: T = _decode(cls, document, "")
    return decoded


def _encode(value: object) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _encode(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, Mapping):
        return {str(key): _encode(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_encode(item) for item in value]
    return value


@cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)


def _decode(hint: Any, value: Any, path: str) -> Any:
    origin = get_origin(hint)
    if dataclasses.is_dataclass(hint):
        return _decode_dataclass(hint, value, path)
    if origin is tuple:
        if not isinstance(value, list):
            raise ManifestInvalid(path, "must be a list")
        return tuple(_decode(get_args(hint)[0], item, f"{path}[{i}]") for i, item in enumerate(value))
    if origin in (Union, types.UnionType):
        return None if value is None else _decode(get_args(hint)[0], value, path)
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, dict):
            raise ManifestInvalid(path, "must be an object")
        return {key: _decode(get_args(hint)[1], item, f"{path}.{key}") for key, item in value.items()}
    return _decode_scalar(hint, value, path)


def _decode_dataclass(hint: Any, value: Any, path: str) -> Any:
    if not isinstance(value, dict):
        raise ManifestInvalid(path, "must be an object")
    fields = {field.name: field for field in dataclasses.fields(hint)}
    unknown = sorted(value.keys() - fields.keys())
    if unknown:
        raise ManifestInvalid(_join(path, unknown[0]), "unknown field")
    required = {
        name
        for name, field in fields.items()
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }
    missing = sorted(required - value.keys())
    if missing:
        raise ManifestInvalid(_join(path, missing[0]), "missing")
    hints = _hints(hint)
    decoded = {name: _decode(hints[name], item, _join(path, name)) for name, item in value.items()}
    try:
        return hint(**decoded)
    except ManifestInvalid as error:
        raise ManifestInvalid(_join(path, error.path), error.problem) from error


def _decode_scalar(hint: Any, value: Any, path: str) -> Any:
    if hint is Any:
        return value
    if hint is datetime:
        return _decode_time(value, path)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise ManifestInvalid(path, f"must be {hint.__name__}, not {type(value).__name__}")
    return value


def _decode_time(value: Any, path: str) -> datetime:
    try:
        time = datetime.fromisoformat(value)
    except (TypeError, ValueError) as error:
        raise ManifestInvalid(path, "must be an RFC 3339 time") from error
    if time.tzinfo is None:
        raise ManifestInvalid(path, "must name its time zone")
    return time.astimezone(UTC)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path and name else path or name
