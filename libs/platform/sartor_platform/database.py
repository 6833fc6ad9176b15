"""One service's part of PostgreSQL: a schema, a small pool, and transactions that carry the outbox and the jobs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import URL, Connection, Engine, create_engine, make_url
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, TimeoutError

from sartor_platform.names import check_id
from sartor_platform.transaction import Transaction

if TYPE_CHECKING:
    import psycopg


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

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """One transaction: committed at the end of the block, rolled back if it raises."""
        with self.engine.begin() as connection:
            yield Transaction(connection, service=self.service, channel=self.channel)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection for reading; what the block sees of one statement is consistent, nothing is committed."""
        with self.engine.connect() as connection:
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

    def _connect_args(self) -> dict[str, Any]:
        return {
            "options": f"-csearch_path={self.schema} -ctimezone=UTC -cstatement_timeout=60000"
            " -cidle_in_transaction_session_timeout=120000",
            "connect_timeout": 5,
            "application_name": f"sartor-{self.service}",
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
        }


def is_transient(error: BaseException) -> bool:
    """Whether the database said that the same transaction may work later: gone away, deadlock, pool exhausted."""
    if isinstance(error, TimeoutError):
        return True
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    return isinstance(error, (OperationalError, InterfaceError))


def _psycopg_url(url: str) -> URL:
    return make_url(url).set(drivername="postgresql+psycopg")
