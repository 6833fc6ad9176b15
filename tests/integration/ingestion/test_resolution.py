"""Whatever comes in, in whatever way, the sealed rows are what a dictionary would hold."""

from __future__ import annotations

import csv
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sartor_datasets.manifests import ObjectReference
from sartor_datasets.records import Record, content_id, from_json, withdrawal_id
from sartor_ingestion.store import arrivals, datasets, resolution, snapshots
from sartor_ingestion.store.arrivals import Arrival
from sartor_platform import migrations
from sartor_platform.database import Database
from sartor_platform.names import new_id
from sartor_platform.transaction import Transaction
from sqlalchemy import text

NOW = datetime(2026, 11, 22, tzinfo=UTC)


@pytest.fixture(scope="module")
def database(new_database: Callable[[], str]) -> Iterator[Database]:
    url = new_database()
    migrations.upgrade(url, "sartor_ingestion", schema="ingestion")
    found = Database(url, "ingestion")
    yield found
    found.close()


class Dataset:
    """A dataset whose segments are lists in memory, beside a dictionary that says what must come out."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database, self.folder = database, folder
        self.expected: dict[str, str] = {}
        self.pending: dict[str, str | None] = {}
        self.segments: dict[str, list[Record]] = {}
        self.received = 0
        self.sequence = 0
        name = f"projects/p/datasets/{new_id()}"
        with database.transaction() as tx:
            tx.connection.execute(
                text("INSERT INTO projects VALUES ('projects/p', '') ON CONFLICT DO NOTHING")
            )
            tx.connection.execute(
                text("INSERT INTO datasets (name, project) VALUES (:n, 'projects/p')"), {"n": name}
            )
            self.id = datasets.id_of(tx.connection, name) or 0
            self.source = tx.connection.execute(
                text("INSERT INTO sources (name, dataset_id, topic) VALUES (:n, :d, 't') RETURNING id"),
                {"n": name, "d": self.id},
            ).scalar_one()

    def record(self, key: str, value: str | None) -> Record:
        record_id = (
            withdrawal_id(key) if value is None else content_id(kind="document", text=value, attributes={})
        )
        self.pending[key] = value
        self.received += 1
        op = "withdraw" if value is None else "upsert"
        return Record(
            record_id=record_id, record_key=key, op=op, kind="document", text=value or "", attributes={},
            source="s", position=str(self.received), event_time=NOW,
        )  # fmt: skip

    def inline(self, rows: list[tuple[str, str | None]]) -> None:
        """Take rows as the batch handler does."""
        batch = new_id()
        with self.database.transaction() as tx:
            datasets.lock(tx, [self.id])
            arrivals.add_batch(tx, batch, self.id, len(rows))
            arrivals.add_arrivals(tx, batch, [Arrival(self.source, self.record(*row)) for row in rows])
            self._count(tx, len(rows))

    def imported(self, rows: list[tuple[str, str | None]]) -> None:
        """Take rows as an import does: they lie in two segments already."""
        batch, parts = new_id(), ([], [])  # type: tuple[str, tuple[list[Record], list[Record]]]
        path = self.folder / "arrivals.copy"
        with path.open("w") as file:
            for n, (key, value) in enumerate(rows):
                record = self.record(key, value)
                place = "\\N\t\\N"
                if value is not None:
                    parts[n % 2].append(record)
                    place = f"{n % 2}\t{len(parts[n % 2]) - 1}"
                hashed = arrivals.key_hash(key).hex()
                withdraw = "t" if value is None else "f"
                file.write(
                    f"{batch}\t{n}\t{self.source}\t\\\\x{hashed}\t\\\\x{record.record_id}\t{withdraw}\t{place}\t\\N"
                    f"\t\\N\t{record.position}\n"
                )
        arrivals.load_staged(self.database, batch, path)
        with self.database.transaction() as tx:
            datasets.lock(tx, [self.id])
            through = arrivals.add_batch(tx, batch, self.id, len(rows))
            for index, part in enumerate(parts):
                if part:
                    name = self._keep(part)
                    where = {"batch_id": batch, "batch_index": index, "batch_sequence": through}
                    snapshots.add_segment(tx, name, self.id, reference(), len(part), **where)  # type: ignore[arg-type]
            self._count(tx, len(rows))

    def _lineage(self, tx: Transaction, condition: str) -> set[tuple[int, int]]:
        query = f"SELECT segment_id, segment_row FROM lineage WHERE dataset_id = :id AND ({condition})"
        return {(row[0], row[1]) for row in tx.connection.execute(text(query), {"id": self.id})}

    def _kept_rows(self, tx: Transaction) -> set[tuple[int, int]]:
        query = "SELECT segment_id, segment_row FROM record_keys WHERE dataset_id = :id"
        return {(row[0], row[1]) for row in tx.connection.execute(text(query), {"id": self.id})}

    def seal(self) -> None:
        """Seal as the job does, in its two transactions, with rows coming in between them."""
        taken, before = self.received, dict(self.expected)
        self.received = 0
        for key, value in self.pending.items():
            self.expected.pop(key, None) if value is None else self.expected.update({key: value})
        self.pending = {}
        with self.database.transaction() as tx:
            through = datasets.lock(tx, [self.id])[self.id].batch_sequence
            planned = resolution.resolve(tx, self.id, through)
            kept = resolution.kept_segments(tx, self.id, through)
            resolution.export_inline(tx, self.folder / "rows.csv")
            resolution.export_exclusions(tx, self.id, through, self.folder / "x.csv")
        self.inline([("between", f"{random.random()}")])
        own = [from_json(body) for (body,) in csv.reader((self.folder / "rows.csv").open())]
        with self.database.transaction() as tx:
            datasets.lock(tx, [self.id])
            assert resolution.resolve(tx, self.id, through) == planned
            own_id = None
            if own:
                own_name = self._keep(own)
                own_id = snapshots.add_segment(tx, own_name, self.id, reference(), len(own), live=True)
            self.sequence += 1
            resolution.apply(tx, self.id, through, own_id, self.sequence)
            resolution.count_by_source(tx)
            arrivals.drop_sealed(tx, self.id, through)
            assert self._lineage(tx, "gone_sequence IS NULL") == self._kept_rows(tx)
            assert not self._lineage(tx, "gone_sequence < first_sequence OR position = ''")
        live = {record.record_key: record.text for record in self._live([s.name for s in kept], own)}
        assert live == self.expected
        assert sum(s.records - s.excluded for s in kept) + len(own) == len(live)
        assert planned.consumed == taken
        assert planned.added == len(live.keys() - before.keys())
        assert planned.withdrawn == len(before.keys() - live.keys())
        assert planned.superseded == sum(live[key] != before[key] for key in live.keys() & before.keys())

    def _live(self, kept: list[str], own: list[Record]) -> list[Record]:
        gone = {(name, int(row)) for name, row in csv.reader((self.folder / "x.csv").open())}
        rows = [r for name in kept for i, r in enumerate(self.segments[name]) if (name, i) not in gone]
        return rows + own

    def _keep(self, records: list[Record]) -> str:
        name = new_id()
        self.segments[name] = records
        return name

    def _count(self, tx: Transaction, rows: int) -> None:
        arrivals.count_pending(tx, {self.source: rows})

    def counts(self) -> tuple[int, int]:
        """Live and pending records of the source."""
        with self.database.read() as connection:
            query = text("SELECT live_count, pending_count FROM sources WHERE id = :id")
            live, pending = connection.execute(query, {"id": self.source}).one()
            return live, pending


def reference() -> ObjectReference:
    return ObjectReference("s3://b/k", "0" * 64, 1)


@pytest.mark.parametrize("seed", range(12))
def test_sealed_rows_are_what_a_dictionary_would_hold(database: Database, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    dataset = Dataset(database, tmp_path)
    for _ in range(5):
        for _ in range(chance.randrange(4)):
            rows = [
                (f"k{chance.randrange(12)}", chance.choice([None, "a", "b", "c"]))
                for _ in range(chance.randrange(1, 10))
            ]
            chance.choice([dataset.inline, dataset.imported])(rows)
        dataset.seal()
        assert dataset.counts() == (len(dataset.expected), dataset.received)


def test_a_segment_without_a_live_row_is_left_out_for_good(database: Database, tmp_path: Path) -> None:
    dataset = Dataset(database, tmp_path)
    dataset.imported([("a", "1"), ("b", "1")])
    dataset.seal()
    dataset.inline([("a", "2"), ("b", "2")])
    dataset.seal()
    dataset.seal()
    with database.read() as connection:
        query = text("SELECT id FROM segments WHERE dataset_id = :id AND state = 'RETIRED'")
        retired = list(connection.execute(query, {"id": dataset.id}).scalars())
        assert len(retired) == 2  # both of the import
        query = text("SELECT count(*) FROM exclusions WHERE segment_id = ANY(:ids)")
        assert connection.execute(query, {"ids": retired}).scalar_one() == 0
