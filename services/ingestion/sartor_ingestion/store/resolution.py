"""What pending records do to a dataset: add, supersede, withdraw, change nothing. Decided in SQL.

`resolve` decides for every pending record of a dataset up to a batch; the rest of this file reads and applies
what it decided. Only one snapshot of a dataset is sealed at a time, and nothing else changes its keys. What
is decided when a snapshot is staged is decided again, alike, when it is accepted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sartor_platform.transaction import Transaction
from sqlalchemy import text

from sartor_ingestion.store.arrivals import for_large_sets

# A record is the `last` of its key, or it was repeated or overtaken before any snapshot saw it. `new_row`
# numbers inline records, which go into the snapshot's own segment; those of imports lie in a segment already.
_RESOLVE = text(
    """
    CREATE TEMPORARY TABLE resolved ON COMMIT DROP AS
    WITH pending AS (
        SELECT a.*, b.sequence, g.id AS segment_id,
            row_number() OVER newest = 1 AS last, first_value(a.record_id) OVER newest AS last_record_id
        FROM batches b JOIN arrivals a ON a.batch_id = b.id
        LEFT JOIN segments g ON g.batch_id = a.batch_id AND g.batch_index = a.segment_index
        WHERE b.dataset_id = :dataset AND b.sequence <= :through
        WINDOW newest AS (PARTITION BY a.key_hash ORDER BY b.sequence DESC, a.n DESC)),
    decided AS (
        SELECT p.sequence, p.batch_id, p.n, p.key_hash, p.record_id, p.source_id, p.withdraw,
            p.subject_key, p.position,
            p.segment_id, p.segment_row, k.segment_id AS live_segment_id, k.segment_row AS live_row,
            k.source_id AS live_source_id,
            CASE WHEN NOT p.last AND p.record_id = p.last_record_id AND NOT p.withdraw THEN 'repeated'
                WHEN NOT p.last THEN 'overtaken'
                WHEN p.withdraw AND k.key_hash IS NOT NULL THEN 'withdrawn'
                WHEN p.withdraw THEN 'unknown'
                WHEN k.key_hash IS NULL THEN 'added'
                WHEN k.record_id = p.record_id THEN 'unchanged'
                ELSE 'superseded' END AS outcome
        FROM pending p LEFT JOIN record_keys k ON k.dataset_id = :dataset AND k.key_hash = p.key_hash)
    SELECT *, CASE WHEN segment_id IS NULL AND outcome IN ('added', 'superseded')
        THEN row_number() OVER (PARTITION BY segment_id IS NULL AND outcome IN ('added', 'superseded')
                                ORDER BY sequence, n) - 1 END AS new_row
    FROM decided
    """
)
_COUNTS = text(
    """
    SELECT count(*) AS consumed,
        count(*) FILTER (WHERE outcome = 'added') AS added,
        count(*) FILTER (WHERE outcome = 'superseded') AS superseded,
        count(*) FILTER (WHERE outcome = 'withdrawn') AS withdrawn,
        count(*) FILTER (WHERE outcome IN ('unchanged', 'repeated')) AS unchanged,
        count(new_row) AS inline
    FROM resolved
    """
)
# Rows that are in no snapshot any more: live ones that were replaced, and rows of imports that never were.
_EXCLUDED = """
    SELECT live_segment_id AS segment_id, live_row AS segment_row FROM resolved
        WHERE outcome IN ('superseded', 'withdrawn')
    UNION ALL
    SELECT segment_id, segment_row FROM resolved
        WHERE segment_id IS NOT NULL AND outcome NOT IN ('added', 'superseded')
"""
# The segments of the snapshot: those of the one before, and those of imports.
_SEGMENTS = f"""
    SELECT g.id, g.name, g.uri, g.sha256, g.size_bytes, g.records,
        g.excluded + coalesce(x.excluded, 0) AS excluded
    FROM segments g LEFT JOIN (
        SELECT segment_id, count(*) AS excluded FROM ({_EXCLUDED}) e GROUP BY segment_id) x
        ON x.segment_id = g.id
    WHERE g.dataset_id = :dataset
        AND (g.state = 'LIVE' OR g.state = 'PENDING' AND g.batch_sequence <= :through)
"""  # noqa: S608 - only our own SQL


@dataclass(frozen=True, slots=True)
class Changes:
    """What the pending records do, counted. `inline` of them go into the snapshot's own segment."""

    consumed: int
    added: int
    superseded: int
    withdrawn: int
    unchanged: int
    inline: int

    @property
    def any(self) -> bool:
        """Whether the dataset differs from its last snapshot."""
        return bool(self.added or self.superseded or self.withdrawn)


@dataclass(frozen=True, slots=True)
class KeptSegment:
    """A segment that the snapshot names."""

    name: str
    uri: str
    sha256: str
    size_bytes: int
    records: int
    excluded: int


def resolve(tx: Transaction, dataset_id: int, through: int) -> Changes:
    """Decide for each pending record up to batch `through`; other calls in the transaction work on that."""
    for_large_sets(tx.connection)
    tx.connection.execute(_RESOLVE, {"dataset": dataset_id, "through": through})
    tx.connection.execute(text("ANALYZE resolved"))
    return Changes(*tx.connection.execute(_COUNTS).one())


def kept_segments(tx: Transaction, dataset_id: int, through: int) -> list[KeptSegment]:
    """The earlier segments that still have a live row, oldest first."""
    query = text(f"SELECT * FROM ({_SEGMENTS}) s WHERE excluded < records ORDER BY id")  # noqa: S608 - ours
    rows = tx.connection.execute(query, {"dataset": dataset_id, "through": through})
    return [KeptSegment(r.name, r.uri, r.sha256, r.size_bytes, r.records, r.excluded) for r in rows]


def export_inline(tx: Transaction, path: Path) -> None:
    """Write the inline records that are new, one line of JSON each, in the order of their rows."""
    query = "SELECT a.body FROM resolved r JOIN arrivals a USING (batch_id, n) WHERE r.new_row IS NOT NULL"
    _copy_out(tx, f"{query} ORDER BY r.new_row", path)


def export_exclusions(tx: Transaction, dataset_id: int, through: int, path: Path) -> None:
    """Write `segment,row` lines: the rows of the kept segments that are not in the snapshot, sorted."""
    segments = _SEGMENTS.replace(":dataset", str(int(dataset_id))).replace(":through", str(int(through)))
    _copy_out(
        tx,
        f"WITH kept AS (SELECT * FROM ({segments}) s WHERE excluded < records),"  # noqa: S608 - ours
        f" gone AS (SELECT segment_id, segment_row FROM exclusions UNION ALL {_EXCLUDED})"
        " SELECT k.name, g.segment_row FROM kept k JOIN gone g ON g.segment_id = k.id"
        " ORDER BY k.name, g.segment_row",
        path,
    )


def apply(tx: Transaction, dataset_id: int, through: int, own_segment: int | None, sequence: int) -> None:
    """Make the decisions the state of the dataset, for the snapshot of this sequence.

    `own_segment` holds the inline records, if any.
    """
    values = {"dataset": dataset_id, "through": through, "own": own_segment, "sequence": sequence}
    for statement in _APPLY:
        tx.connection.execute(text(statement), {k: v for k, v in values.items() if f":{k}" in statement})


def count_by_source(tx: Transaction) -> None:
    """Move the sources' counts along. Locks their rows, so it comes last: new records wait for it."""
    tx.connection.execute(_COUNT_BY_SOURCE)


_COUNT_BY_SOURCE = text(
    """
    UPDATE sources s SET live_count = live_count + c.live, pending_count = pending_count - c.pending FROM (
        SELECT source_id, sum(live) AS live, sum(pending) AS pending FROM (
            SELECT source_id, (outcome IN ('added', 'superseded'))::int AS live, 1 AS pending FROM resolved
            UNION ALL
            SELECT live_source_id, -1, 0 FROM resolved WHERE outcome IN ('superseded', 'withdrawn')) d
        GROUP BY source_id) c
    WHERE s.id = c.source_id
    """
)
_APPLY = (
    f"INSERT INTO exclusions (segment_id, segment_row) {_EXCLUDED}",
    f"""
    UPDATE segments g SET state = 'LIVE', excluded = s.excluded FROM ({_SEGMENTS}) s WHERE g.id = s.id
    """,  # noqa: S608 - only our own SQL
    """
    UPDATE lineage l SET gone_sequence = :sequence FROM resolved r
    WHERE r.outcome IN ('superseded', 'withdrawn')
        AND l.segment_id = r.live_segment_id AND l.segment_row = r.live_row
    """,
    # Rows of imports that no snapshot ever took lie in a segment all the same.
    """
    INSERT INTO lineage (segment_id, segment_row, dataset_id, source_id, record_id, key_hash, subject_key,
        position, first_sequence, gone_sequence)
    SELECT coalesce(segment_id, :own), coalesce(segment_row, new_row), :dataset, source_id, record_id,
        key_hash, subject_key, position, :sequence,
        CASE WHEN outcome NOT IN ('added', 'superseded') THEN cast(:sequence AS bigint) END
    FROM resolved WHERE NOT withdraw AND (segment_id IS NOT NULL OR new_row IS NOT NULL)
    """,
    """
    DELETE FROM record_keys k USING resolved r
    WHERE k.dataset_id = :dataset AND k.key_hash = r.key_hash AND r.outcome = 'withdrawn'
    """,
    """
    INSERT INTO record_keys AS k (dataset_id, key_hash, record_id, segment_id, segment_row, source_id)
    SELECT :dataset, key_hash, record_id, coalesce(segment_id, :own), coalesce(segment_row, new_row),
        source_id
    FROM resolved WHERE outcome IN ('added', 'superseded')
    ON CONFLICT (dataset_id, key_hash) DO UPDATE SET record_id = excluded.record_id,
        segment_id = excluded.segment_id, segment_row = excluded.segment_row, source_id = excluded.source_id
    """,
    """
    UPDATE segments SET state = 'RETIRED'
    WHERE dataset_id = :dataset AND state = 'LIVE' AND excluded >= records
    """,
    """
    DELETE FROM exclusions x USING segments g
    WHERE g.id = x.segment_id AND g.dataset_id = :dataset AND g.state = 'RETIRED'
    """,
)


def _copy_out(tx: Transaction, query: str, path: Path) -> None:
    """Write the rows of a query as CSV, in bounded memory."""
    raw: Any = tx.connection.connection.driver_connection
    with path.open("wb") as file, raw.cursor().copy(f"COPY ({query}) TO STDOUT (FORMAT csv)") as copy:
        for chunk in _data(copy):
            file.write(chunk)


def _data(copy: Any) -> Iterator[bytes]:
    for chunk in copy:
        yield bytes(chunk)
