"""JSON values within bounds: not deeper than MAX_DEPTH, no constants that JSON does not have."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NoReturn

from sartor_ingestion.rejection import Reason, Rejected

MAX_DEPTH = 64
"""Levels of objects and lists in one row. Nothing to learn from is nested that deep."""


def parse(data: bytes) -> Any:
    """The JSON value in UTF-8 bytes.

    Raises:
        Rejected: NOT_UTF8, MALFORMED_JSON or TOO_DEEP.
    """
    try:
        value = json.loads(data.decode("utf-8"), parse_constant=refuse_constant)
    except UnicodeDecodeError as error:
        raise Rejected(
            Reason.NOT_UTF8, f"byte {error.start} of the row is not UTF-8; save the file as UTF-8"
        ) from error
    except json.JSONDecodeError as error:
        raise Rejected(Reason.MALFORMED_JSON, f"{error.msg} at column {error.colno}") from error
    except RecursionError as error:
        raise too_deep() from error
    except ValueError as error:
        raise Rejected(Reason.MALFORMED_JSON, f"the row is not JSON: {error}") from error
    if data.count(b"{") + data.count(b"[") > MAX_DEPTH:
        check_depth(value)
    return value


def check_depth(value: Any) -> None:
    """Raises Rejected: TOO_DEEP, for a value of more than MAX_DEPTH levels. Does not recurse itself."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return
    raise too_deep()


def too_deep() -> Rejected:
    """The rejection of a row with too many levels."""
    return Rejected(
        Reason.TOO_DEEP, f"the row has more than {MAX_DEPTH} levels of lists and objects; flatten it"
    )


def refuse_constant(name: str) -> NoReturn:
    """For `parse_constant`: NaN and infinities are not JSON."""
    raise ValueError(f"{name} is not a JSON number")


def _inside(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return [item for item in value.values() if isinstance(item, Mapping | list)]
    return [item for item in value if isinstance(item, Mapping | list)] if isinstance(value, list) else []
