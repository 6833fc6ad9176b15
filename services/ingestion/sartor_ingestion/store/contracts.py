"""How often the contracts of sources were broken, and whether that stops a snapshot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sartor_platform.transaction import Transaction
from sqlalchemy import Connection, text

from sartor_ingestion.contract import BreachCount, Breaches
from sartor_ingestion.resources import SourceState

STOPPED = (
    "s.stop_share IS NOT NULL AND s.breaches_since > 0 AND s.breaches_since > s.stop_share * s.rows_since"
)
"""SQL: whether the contract of source `s` stops snapshots now."""

_ADD = text(
    "INSERT INTO contract_breaches AS b (source_id, rule, count, message, position)"
    " SELECT :source, rule, count, message, position FROM unnest(cast(:rules AS text[]),"
    " cast(:counts AS bigint[]), cast(:messages AS text[]), cast(:positions AS text[]))"
    " AS n (rule, count, message, position) ORDER BY rule"
    " ON CONFLICT (source_id, rule) DO UPDATE SET count = b.count + excluded.count,"
    " message = excluded.message, position = excluded.position, update_time = now()"
)


def count_rows(tx: Transaction, source_id: int, rows: int, breaches: Breaches) -> None:
    """Count the rows of a source whose contract may stop snapshots, and those that broke it."""
    tx.connection.execute(
        text(
            "UPDATE sources SET rows_since = rows_since + :rows, breaches_since = breaches_since + :breaches,"
            " breach_count = breach_count + :breaches WHERE id = :id"
        ),
        {"id": source_id, "rows": rows, "breaches": breaches.rows},
    )
    if breaches.by_rule:
        kept: Mapping[str, BreachCount] = breaches.by_rule
        tx.connection.execute(
            _ADD,
            {
                "source": source_id,
                "rules": [_storable(rule) for rule in kept],
                "counts": [each.count for each in kept.values()],
                "messages": [_storable(each.message) for each in kept.values()],
                "positions": [_storable(each.position) for each in kept.values()],
            },
        )


def forget_cases(tx: Transaction, after_seconds: float) -> None:
    """Forget the latest case of each rule where it is older than this: it may show personal data."""
    tx.connection.execute(
        text(
            "UPDATE contract_breaches SET message = '', position = '' WHERE message <> ''"
            " AND update_time < now() - make_interval(secs => :after)"
        ),
        {"after": after_seconds},
    )


def stopped_by(connection: Connection, dataset_id: int) -> list[str]:
    """The sources of a dataset whose contract stops its snapshots now."""
    query = text(f"SELECT s.name FROM sources s WHERE s.dataset_id = :id AND {STOPPED} ORDER BY s.name")  # noqa: S608
    return list(connection.execute(query, {"id": dataset_id}).scalars())


def stopped(connection: Connection, datasets: Sequence[str]) -> dict[str, list[str]]:
    """Of these datasets by name, the sources whose contract stops their snapshots now."""
    query = text(
        "SELECT d.name, array_agg(s.name ORDER BY s.name) FROM sources s"  # noqa: S608
        f" JOIN datasets d ON d.id = s.dataset_id WHERE d.name = ANY(:names) AND {STOPPED} GROUP BY d.name"
    )
    return {name: list(sources) for name, sources in connection.execute(query, {"names": list(datasets)})}


def start_over(tx: Transaction, dataset_id: int) -> None:
    """A snapshot is cut: only what comes from now on counts for the next."""
    tx.connection.execute(
        text(
            "UPDATE sources SET rows_since = 0, breaches_since = 0"
            " WHERE dataset_id = :id AND (rows_since > 0 OR breaches_since > 0)"
        ),
        {"id": dataset_id},
    )


def state_of(connection: Connection, name: str) -> SourceState:
    """The counts of a source, and its breaches with the most frequent first."""
    row: Any = connection.execute(
        text(
            f"SELECT s.id, s.live_count, s.pending_count, s.breach_count, ({STOPPED}) AS stopped"  # noqa: S608
            " FROM sources s WHERE s.name = :name"
        ),
        {"name": name},
    ).one_or_none()
    if row is None:
        return SourceState()
    breaches = connection.execute(
        text(
            "SELECT rule, count AS rows, message, position FROM contract_breaches WHERE source_id = :id"
            " ORDER BY count DESC, rule LIMIT 100"
        ),
        {"id": row.id},
    )
    shown = {each.rule: BreachCount(each.rows, each.message, each.position) for each in breaches}
    return SourceState(row.live_count, row.pending_count, row.breach_count, bool(row.stopped), shown)


def _storable(value: str) -> str:
    return value.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()
