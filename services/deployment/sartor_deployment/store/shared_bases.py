"""Base models as engines map them: one file for each source and quantization, whoever built it first."""

from __future__ import annotations

from sartor_datasets.manifests import ObjectReference
from sartor_platform.transaction import Transaction
from sqlalchemy import Connection, text

from sartor_deployment.store.rows import dump


def shared_bases(connection: Connection, source_digest: str) -> dict[str, ObjectReference]:
    """The files there are of this source, by their quantization."""
    query = text("SELECT quantization, weights FROM shared_bases WHERE source_digest = :source")
    rows = connection.execute(query, {"source": source_digest})
    return {row.quantization: ObjectReference(**row.weights) for row in rows}


def keep_shared_base(
    tx: Transaction, source_digest: str, quantization: str, weights: ObjectReference
) -> ObjectReference:
    """Remember a file; where another build was faster, its file is the one, and given back."""
    row = tx.connection.execute(
        text(
            "INSERT INTO shared_bases (source_digest, quantization, weights)"
            " VALUES (:source, :quantization, cast(:weights AS jsonb))"
            " ON CONFLICT (source_digest, quantization) DO UPDATE SET quantization = excluded.quantization"
            " RETURNING weights"
        ),
        {"source": source_digest, "quantization": quantization, "weights": dump(weights)},
    ).one()
    return ObjectReference(**row.weights)


def forget_shared_base(tx: Transaction, source_digest: str, weights: ObjectReference) -> None:
    """Its file cannot be read any more: the next build makes it again."""
    tx.connection.execute(
        text("DELETE FROM shared_bases WHERE source_digest = :source AND weights = cast(:weights AS jsonb)"),
        {"source": source_digest, "weights": dump(weights)},
    )
