"""Uploads between their first byte and the import that names their object."""

from __future__ import annotations

from sartor_platform.transaction import Transaction
from sqlalchemy import text


def begin(tx: Transaction, uri: str) -> None:
    """Say which object is about to be written."""
    tx.connection.execute(text("INSERT INTO uploads (uri) VALUES (:uri)"), {"uri": uri})


def settle(tx: Transaction, uri: str) -> bool:
    """The object has an owner now, or is gone. False if it was given up meanwhile: it may be gone."""
    query = text("DELETE FROM uploads WHERE uri = :uri AND NOT abandoned")
    return tx.connection.execute(query, {"uri": uri}).rowcount > 0


def abandon(tx: Transaction, after_seconds: float) -> list[str]:
    """Give up those that began longer ago. Returns their objects, also of earlier calls: see `forget`."""
    rows = tx.connection.execute(
        text(
            "UPDATE uploads SET abandoned = true"
            " WHERE create_time < now() - make_interval(secs => :after) RETURNING uri"
        ),
        {"after": after_seconds},
    )
    return list(rows.scalars())


def forget(tx: Transaction, uri: str) -> None:
    """The object of one that was given up is gone."""
    tx.connection.execute(text("DELETE FROM uploads WHERE uri = :uri"), {"uri": uri})
