"""List calls: keyset pages behind opaque tokens, and the small filter grammar `field = "value" AND …`."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, tuple_
from sqlalchemy.exc import DataError, ProgrammingError
from sqlalchemy.sql import ColumnElement, literal

from sartor_platform.errors import FieldViolation, InvalidArgument

DEFAULT_PAGE_SIZE = 50
MAXIMUM_PAGE_SIZE = 1000
_TERM = re.compile(r'\s*([a-z_][a-z0-9_.]*)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s"]+))\s*')


def page(
    connection: Connection,
    query: Select[Any],
    *,
    order: Sequence[ColumnElement[Any]],
    page_size: int = 0,
    page_token: str = "",
    descending: bool = False,
) -> tuple[list[Row[Any]], str]:
    """One page of the query's rows, ordered by `order`, and the token of the next ("" at the end).

    The columns of `order` must be selected by the query and together be unique. `page_size` is coerced into
    1..1000.

    Raises:
        InvalidArgument: BAD_PAGE_TOKEN: the token is not one we gave for this query.
    """
    size = min(page_size, MAXIMUM_PAGE_SIZE) if page_size > 0 else DEFAULT_PAGE_SIZE
    fingerprint = _fingerprint(query, descending)
    if page_token:
        values = _decode(page_token, fingerprint, len(order))
        key = tuple_(*order)
        bound = tuple_(*(literal(value, column.type) for value, column in zip(values, order, strict=True)))
        query = query.where(key < bound if descending else key > bound)
    query = query.order_by(*(column.desc() if descending else column.asc() for column in order)).limit(
        size + 1
    )
    try:
        rows = list(connection.execute(query))
    except (DataError, ProgrammingError):
        if page_token:  # somebody changed its values into such as the columns cannot have
            raise _bad_token() from None
        raise
    if len(rows) <= size:
        return rows, ""
    last = rows[size - 1]._mapping
    return rows[:size], _encode([last[column.key or ""] for column in order], fingerprint)


def parse_filter(text: str, allowed: Collection[str]) -> dict[str, str]:
    """The wanted value of each field: `run = "01h…" AND state = FAILED`.

    Raises:
        InvalidArgument: BAD_FILTER: not of this grammar, or a field that is not in `allowed`.
    """
    wanted: dict[str, str] = {}
    position = 0
    while position < len(text.rstrip()):
        if wanted:
            if not text.startswith("AND", position):
                raise _bad_filter(text, "terms are joined by AND")
            position += 3
        match = _TERM.match(text, position)
        if match is None:
            raise _bad_filter(text, 'each term has the form field = "value"')
        name, quoted, bare = match.groups()
        if name not in allowed:
            raise _bad_filter(text, f"{name!r} is not one of the fields {', '.join(sorted(allowed))}")
        if name in wanted:
            raise _bad_filter(text, f"{name!r} appears twice")
        wanted[name] = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else bare
        position = match.end()
    return wanted


def _bad_filter(text: str, fault: str) -> InvalidArgument:
    return InvalidArgument(
        f"the filter {text!r} is not usable: {fault}",
        reason="BAD_FILTER",
        violations=[FieldViolation("filter", fault)],
    )


def _fingerprint(query: Select[Any], descending: bool) -> str:
    # The values of the filter are part of it: a token is good for the list it came from and no other.
    compiled = query.compile()
    text = f"{compiled}{sorted((key, str(value)) for key, value in compiled.params.items())}{descending}"
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _encode(values: list[Any], fingerprint: str) -> str:
    plain = [{"t": value.isoformat()} if isinstance(value, datetime) else value for value in values]
    return base64.urlsafe_b64encode(json.dumps([fingerprint, plain]).encode()).decode().rstrip("=")


def _decode(token: str, fingerprint: str, length: int) -> list[Any]:
    try:
        decoded = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        given, plain = decoded
        values = [datetime.fromisoformat(value["t"]) if isinstance(value, dict) else value for value in plain]
    except (binascii.Error, ValueError, TypeError, KeyError, RecursionError):
        given, values = "", []
    if given != fingerprint or len(values) != length:
        raise _bad_token()
    return values


def _bad_token() -> InvalidArgument:
    return InvalidArgument(
        "the page token does not belong to this list; start again without one",
        reason="BAD_PAGE_TOKEN",
        violations=[FieldViolation("page_token", "must be the next_page_token of the same request")],
    )
