"""One service's part of PostgreSQL: a schema, a small pool, and transactions that carry outbox and jobs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import URL, Connection, Engine, create_engine, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from sartor_platform import deadlines
from sartor_platform.errors import DeadlineExceeded, FieldViolation, InvalidArgument
from sartor_platform.names import check_id
from sartor_platform.transaction import Transaction

if TYPE_CHECKING:
    import psycopg

_STATEMENT_SECONDS = 60


class Database:
    """The schema of one service. Threads share it; every block gets a connection of its own."""

    def __init__(self, url: str, schema: str, *, pool_size: int = 2, max_overflow: int = 20) -> None:
        self.url = _psycopg_url(url)
        self.schema = check_id(schema, field="schema").replace("-", "_")
        self.service = schema
        self.engine: Engine = create_engine(
            self.url,
            pool_size=pool_size,
            max_overflow=max_overflow,
            pool_timeout=20,
            pool_pre_ping=True,
            pool_use_lifo=True,
            connect_args=self._connect_args(),
        )
        self._reading = self.engine.execution_options(isolation_level="REPEATABLE READ")

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """One transaction: committed at the end of the block, rolled back if it raises."""
        with self.engine.begin() as connection:
            self._limit(connection)
            tx = Transaction(connection, service=self.service, channel=self.channel)
            yield tx
            tx.before_commit()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection for reading, all of it at one moment; nothing is committed.

        A resource and its job are two queries: of two moments, they could show a job that has succeeded
        beside a resource that has nothing to show yet.
        """
        with self._reading.connect() as connection:
            self._limit(connection)
            yield connection

    @property
    def channel(self) -> str:
        """The NOTIFY channel of this schema: wakes the relay, the workers and the watchers."""
        return f"sartor_{self.schema}"

    def connect(self) -> psycopg.Connection[Any]:
        """A plain connection outside the pool, in autocommit: for LISTEN and for session locks."""
        import psycopg

        text = self.url.set(drivername="postgresql").render_as_string(hide_password=False)
        return psycopg.connect(text, autocommit=True, **self._connect_args())

    def close(self) -> None:
        """Give every pooled connection back."""
        self.engine.dispose()

    def _limit(self, connection: Connection) -> None:
        """Inside a call, no statement may take longer than the caller waits."""
        left = deadlines.remaining_seconds()
        if left is None or left > _STATEMENT_SECONDS:
            return
        if left <= 0:
            raise DeadlineExceeded("the call's deadline passed before its work was done; give it more time")
        connection.execute(text(f"SET LOCAL statement_timeout = {max(int(left * 1000), 1)}"))

    def _connect_args(self) -> dict[str, Any]:
        return {
            "options": f"-csearch_path={self.schema} -ctimezone=UTC"
            f" -cstatement_timeout={_STATEMENT_SECONDS * 1000}"
            " -cidle_in_transaction_session_timeout=120000",
            "connect_timeout": 5,
            "application_name": f"sartor-{self.service}",
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
        }


def is_transient(error: BaseException) -> bool:
    """Whether the same transaction may work later: the database is away, a deadlock, the pool exhausted."""
    if isinstance(error, PoolTimeoutError):
        return True
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    return isinstance(error, (OperationalError, InterfaceError))


def _psycopg_url(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError:
        parsed = None
    if parsed is None or not parsed.drivername.startswith("postgres"):
        raise InvalidArgument(
            "the database URL is not usable; write postgresql://user:password@host:port/database",
            reason="BAD_SETTINGS",
            violations=[FieldViolation("SARTOR_DATABASE_URL", "must be a postgresql:// URL")],
        )
    return parsed.set(drivername="postgresql+psycopg")
