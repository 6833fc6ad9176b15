"""One service's part of PostgreSQL: a schema, a small pool, and transactions that carry outbox and jobs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from sartor_platform import deadlines
from sartor_platform.errors import DeadlineExceeded, FieldViolation, InvalidArgument
from sartor_platform.names import check_id
from sartor_platform.transaction import Transaction

if TYPE_CHECKING:
    from sartor_platform.patient_connection import PatientConnection

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
        event.listen(self.engine, "do_connect", _connect)
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

    def connect(self) -> PatientConnection:
        """A plain connection outside the pool, in autocommit: for LISTEN and for session locks.

        Outside of a transaction a statement must be answered at once (see `PatientConnection`).
        """
        url = self.url.set(drivername="postgresql").render_as_string(hide_password=False)
        return _connect(None, None, (url,), {"autocommit": True, **self._connect_args()})

    def close(self) -> None:
        """Give every pooled connection back."""
        self.engine.dispose()

    def _limit(self, connection: Connection) -> None:
        """No statement is waited for without end; inside a call, none takes longer than the caller waits."""
        patient = _patient(connection)
        patient.answer_seconds = type(patient).answer_seconds
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
            "tcp_user_timeout": 25_000,  # keepalives do not count while something sent is not acknowledged
        }


def take_time(connection: Connection) -> None:
    """Let this transaction's statements run as long as they need."""
    connection.execute(text("SET LOCAL statement_timeout = 0"))
    _patient(connection).answer_seconds = None


def _patient(connection: Connection) -> PatientConnection:
    return cast("PatientConnection", connection.connection.dbapi_connection)


def _connect(
    _dialect: object, _record: object, arguments: tuple[Any, ...], named: dict[str, Any]
) -> PatientConnection:
    from sartor_platform.patient_connection import PatientConnection

    return PatientConnection.connect(*arguments, **named)


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
