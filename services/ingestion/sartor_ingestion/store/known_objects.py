"""Objects that a source has taken already, each with the version it then had: notifications come twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sartor_platform.transaction import Transaction
from sqlalchemy import Connection, text

REMOVED = "removed"
"""The version of an object that is not there any more."""


def remember(tx: Transaction, source_id: int, versions: Mapping[str, str]) -> None:
    """These objects (address → version) are taken."""
    if versions:
        _write(tx, source_id, versions)


def is_new(tx: Transaction, source_id: int, uri: str, version: str) -> bool:
    """Whether this version of an object was not taken yet; from now on it is."""
    return bool(_write(tx, source_id, {uri: version}))


def known(connection: Connection, source_id: int, prefix: str) -> dict[str, str]:
    """The objects taken under a prefix, with their versions."""
    query = text("SELECT uri, version FROM known_objects WHERE source_id = :id AND starts_with(uri, :prefix)")
    return {row.uri: row.version for row in connection.execute(query, {"id": source_id, "prefix": prefix})}


def removed(connection: Connection, source_id: int, uris: Sequence[str]) -> list[str]:
    """Those of these objects that are not there any more."""
    query = text(
        "SELECT uri FROM known_objects WHERE source_id = :id AND uri = ANY(:uris) AND version = :gone"
    )
    return list(connection.execute(query, {"id": source_id, "uris": list(uris), "gone": REMOVED}).scalars())


def _write(tx: Transaction, source_id: int, versions: Mapping[str, str]) -> int:
    written = tx.connection.execute(
        text(
            "INSERT INTO known_objects AS k (source_id, uri, version)"
            " SELECT :id, uri, version FROM unnest(cast(:uris AS text[]), cast(:versions AS text[]))"
            " AS n (uri, version) ORDER BY uri ON CONFLICT (source_id, uri)"
            " DO UPDATE SET version = excluded.version WHERE k.version <> excluded.version RETURNING uri"
        ),
        {"id": source_id, "uris": list(versions), "versions": list(versions.values())},
    )
    return len(written.all())
