"""The rows that came from an object: what it does not hold any more is withdrawn.

A batch of an import and the beginning of its rows' positions say which rows are of an object. Only the newest
version of an object is in the table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sartor_platform.transaction import Transaction
from sqlalchemy import text

from sartor_ingestion.store.arrivals import for_large_sets

# Withdrawn is a key that these objects held, unless it is in the batch, some other object holds it too, or
# what is live or pending under it came from elsewhere.
_WITHDRAW = text(
    """
    WITH parts AS MATERIALIZED (
        SELECT batch_id, prefix FROM object_rows WHERE source_id = :source AND uri = ANY(:uris)),
    held AS MATERIALIZED (
        SELECT l.key_hash, l.record_id FROM parts p JOIN segments g ON g.batch_id = p.batch_id
            JOIN lineage l ON l.segment_id = g.id AND starts_with(l.position, p.prefix)
            WHERE g.dataset_id = :dataset
        UNION
        SELECT a.key_hash, a.record_id FROM parts p JOIN arrivals a ON a.batch_id = p.batch_id
            AND starts_with(a.position, p.prefix) WHERE NOT a.withdraw),
    waiting AS MATERIALIZED (
        SELECT a.key_hash, a.record_id, a.batch_id, a.position
        FROM batches b JOIN arrivals a ON a.batch_id = b.id
        WHERE b.dataset_id = :dataset AND NOT a.withdraw AND a.key_hash IN (SELECT key_hash FROM held)),
    others AS (
        SELECT l.key_hash FROM held h JOIN lineage l ON l.key_hash = h.key_hash
            JOIN segments g ON g.id = l.segment_id AND g.dataset_id = :dataset
            JOIN object_rows o ON o.batch_id = g.batch_id AND starts_with(l.position, o.prefix)
            WHERE NOT (o.source_id = :source AND o.uri = ANY(:uris))
        UNION ALL
        SELECT w.key_hash FROM waiting w JOIN object_rows o
            ON o.batch_id = w.batch_id AND starts_with(w.position, o.prefix)
            WHERE NOT (o.source_id = :source AND o.uri = ANY(:uris))
        UNION ALL
        SELECT a.key_hash FROM arrivals a WHERE a.batch_id = :batch),
    gone AS (
        SELECT DISTINCT h.key_hash FROM held h
        WHERE h.key_hash NOT IN (SELECT key_hash FROM others)
            AND (EXISTS (SELECT FROM record_keys k WHERE k.dataset_id = :dataset
                    AND k.key_hash = h.key_hash AND k.record_id = h.record_id)
                OR EXISTS (SELECT FROM waiting w
                    WHERE w.key_hash = h.key_hash AND w.record_id = h.record_id)))
    INSERT INTO arrivals (batch_id, n, source_id, key_hash, record_id, withdraw, position)
    SELECT :batch, :first + row_number() OVER (ORDER BY key_hash) - 1, :source, key_hash, key_hash, true,
        :position
    FROM gone RETURNING n
    """
)


def withdraw_lost(
    tx: Transaction,
    source_id: int,
    dataset_id: int,
    uris: Sequence[str],
    *,
    batch_id: str,
    first: int = 0,
    position: str,
) -> int:
    """Add withdrawals to a batch: of the records that these objects held and that the batch does not bring.

    Args:
        first: number of the first of them in the batch.
    Returns:
        How many there are.
    """
    if not uris:
        return 0
    for_large_sets(tx.connection)
    values = {"source": source_id, "dataset": dataset_id, "uris": list(uris), "batch": batch_id}
    return len(tx.connection.execute(_WITHDRAW, {**values, "first": first, "position": position}).all())


def remember(tx: Transaction, source_id: int, batch_id: str, prefixes: Mapping[str, Sequence[str]]) -> None:
    """The rows of these objects (address → beginnings of their rows' positions) are in this batch."""
    pairs = [(uri, prefix) for uri, of_object in prefixes.items() for prefix in of_object]
    if pairs:
        tx.connection.execute(
            text(
                "INSERT INTO object_rows (source_id, uri, batch_id, prefix)"
                " SELECT :source, uri, :batch, prefix FROM unnest(cast(:uris AS text[]),"
                " cast(:prefixes AS text[])) AS n (uri, prefix)"
                " ON CONFLICT DO NOTHING"
            ),
            {
                "source": source_id,
                "batch": batch_id,
                "uris": [u for u, _ in pairs],
                "prefixes": [p for _, p in pairs],
            },
        )


def forget(tx: Transaction, source_id: int, uris: Sequence[str]) -> None:
    """These objects are gone, or come anew."""
    tx.connection.execute(
        text("DELETE FROM object_rows WHERE source_id = :source AND uri = ANY(:uris)"),
        {"source": source_id, "uris": list(uris)},
    )
