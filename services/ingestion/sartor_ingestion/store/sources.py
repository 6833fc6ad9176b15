"""Projects and sources: what the standing orders do not hold."""

from __future__ import annotations

import secrets
from collections.abc import Collection
from dataclasses import dataclass

from sartor_platform import orders
from sartor_platform.transaction import Transaction
from sqlalchemy import Connection, text

from sartor_ingestion.resources import PROJECT, SourceSpec, project_of


@dataclass(frozen=True, slots=True)
class SourceOnDuty:
    """A source as rows are read under it: its newest revision, or the one that was asked for."""

    id: int
    name: str
    dataset_id: int
    revision: int
    spec: SourceSpec
    subject_secret: bytes


def add_project(tx: Transaction, name: str) -> None:
    """Give the project its key for pseudonyms, once."""
    tx.connection.execute(
        text("INSERT INTO projects (name, subject_secret) VALUES (:name, :secret) ON CONFLICT DO NOTHING"),
        {"name": name, "secret": secrets.token_bytes(32)},
    )


def project_exists(connection: Connection, name: str) -> bool:
    """Whether the project was applied."""
    query = text("SELECT EXISTS (SELECT FROM projects WHERE name = :name)")
    return bool(connection.execute(query, {"name": name}).scalar_one())


def put_source(tx: Transaction, name: str, spec: SourceSpec) -> None:
    """Make the source and its dataset where they are new; the datasets follow their sources' rules."""
    project = PROJECT.format(project=project_of(name))
    tx.connection.execute(
        text("INSERT INTO datasets (name, project) VALUES (:name, :project) ON CONFLICT DO NOTHING"),
        {"name": spec.dataset, "project": project},
    )
    tx.connection.execute(
        text(
            "INSERT INTO sources (name, dataset_id, topic, adapter, stop_share)"
            " SELECT :name, id, :topic, :adapter, cast(:share AS double precision) FROM datasets"
            " WHERE name = :dataset ON CONFLICT (name) DO UPDATE SET dataset_id = excluded.dataset_id,"
            " topic = excluded.topic, adapter = excluded.adapter, stop_share = excluded.stop_share"
        ),
        {
            "name": name,
            "topic": spec.topic,
            "adapter": spec.adapter,
            "dataset": spec.dataset,
            "share": spec.contract.max_breach_share if spec.contract.on_breach == "stop" else None,
        },
    )
    # The rules of a dataset are the strictest of its sources'. nullif: 0 switches a condition off.
    tx.connection.execute(
        text(
            "UPDATE datasets d SET at_records = r.at_records, quiet_seconds = r.quiet_seconds,"
            " max_age_seconds = r.max_age_seconds FROM ("
            "  SELECT s.dataset_id,"
            "   coalesce(min(nullif((v.spec #>> '{snapshot_rule,at_records}')::bigint, 0)), 0) AS at_records,"
            "   coalesce(min(nullif((v.spec #>> '{snapshot_rule,quiet_seconds}')::float8, 0)), 0)"
            "    AS quiet_seconds,"
            "   coalesce(min(nullif((v.spec #>> '{snapshot_rule,max_age_seconds}')::float8, 0)), 0)"
            "    AS max_age_seconds"
            "  FROM sources s JOIN orders o ON o.name = s.name"
            "  JOIN order_revisions v ON v.name = o.name AND v.revision = o.revision"
            "  GROUP BY s.dataset_id) r"
            " WHERE d.id = r.dataset_id AND d.project = :project"
        ),
        {"project": project},
    )


def sources_on_duty(connection: Connection, names: Collection[str]) -> dict[str, SourceOnDuty]:
    """The sources of these names that exist, with what is needed to read their rows."""
    rows = connection.execute(
        text(
            "SELECT s.id, s.name, s.dataset_id, v.revision, v.spec, p.subject_secret FROM sources s"
            " JOIN datasets d ON d.id = s.dataset_id JOIN projects p ON p.name = d.project"
            " JOIN orders o ON o.name = s.name"
            " JOIN order_revisions v ON v.name = o.name AND v.revision = o.revision"
            " WHERE s.name = ANY(:names)"
        ),
        {"names": list(names)},
    )
    return {
        row.name: SourceOnDuty(
            row.id,
            row.name,
            row.dataset_id,
            row.revision,
            SourceSpec.from_json(row.spec),
            bytes(row.subject_secret),
        )
        for row in rows
    }


def source_at(connection: Connection, name: str, revision: int) -> SourceOnDuty:
    """A source under the revision that a job pinned."""
    now = sources_on_duty(connection, [name])[name]
    spec = SourceSpec.from_json(orders.get(connection, name, revision).spec)
    return SourceOnDuty(now.id, now.name, now.dataset_id, revision, spec, now.subject_secret)


def topics(connection: Connection) -> dict[str, bool]:
    """The topics of all sources, and whether messages of other systems come on them."""
    rows = connection.execute(
        text(
            "SELECT topic, bool_or(adapter NOT IN ('', 'data_events')) AS adapted FROM sources GROUP BY topic"
        )
    )
    return {row.topic: row.adapted for row in rows}


def adapting(connection: Connection, topic: str) -> list[SourceOnDuty]:
    """The sources that take messages of other systems from a topic."""
    names = connection.execute(
        text("SELECT name FROM sources WHERE topic = :topic AND adapter NOT IN ('', 'data_events')"),
        {"topic": topic},
    )
    found = sources_on_duty(connection, list(names.scalars()))
    return [found[name] for name in sorted(found)]


def secret_of(connection: Connection, project: str) -> bytes | None:
    """The project's key for pseudonyms, or None."""
    query = text("SELECT subject_secret FROM projects WHERE name = :name")
    secret = connection.execute(query, {"name": project}).scalar_one_or_none()
    return None if secret is None else bytes(secret)


def rooms_left(connection: Connection, source_id: int, quota: int) -> int:
    """How many more records the source may hold; what is pending counts as if all of it were new."""
    held = connection.execute(
        text("SELECT live_count + pending_count FROM sources WHERE id = :id"), {"id": source_id}
    ).scalar_one()
    return max(quota - int(held), 0)


def known_keys(connection: Connection, dataset_id: int, hashes: Collection[bytes]) -> set[bytes]:
    """Which of these keys have a live record: a row with such a key adds none."""
    query = text(
        "SELECT key_hash FROM record_keys"
        " WHERE dataset_id = :dataset AND key_hash = ANY(cast(:hashes AS bytea[]))"
    )
    rows = connection.execute(query, {"dataset": dataset_id, "hashes": list(hashes)})
    return {bytes(row.key_hash) for row in rows}
