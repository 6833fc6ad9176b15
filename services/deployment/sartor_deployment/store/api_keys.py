"""Keys of the gateway. Only the hash of a secret is here."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sartor_platform import listing
from sartor_platform.errors import AlreadyExists, NotFound
from sartor_platform.transaction import Transaction
from sqlalchemy import BigInteger, Column, Connection, DateTime, MetaData, Table, Text, select, text
from sqlalchemy.exc import IntegrityError

from sartor_deployment.api_keys import ApiKey

_TIME = DateTime(timezone=True)
API_KEYS = Table(
    "api_keys",
    MetaData(),
    Column("name", Text),
    Column("project", Text),
    Column("digest", Text),
    Column("prefix", Text),
    Column("tokens_per_minute", BigInteger),
    Column("requests_per_minute", BigInteger),
    Column("created_by", Text),
    Column("create_time", _TIME),
    Column("expire_time", _TIME),
    Column("revoke_time", _TIME),
)


def insert_api_key(tx: Transaction, key: ApiKey, digest: str) -> None:
    """Add it.

    Raises:
        AlreadyExists: API_KEY_EXISTS.
    """
    values = {
        "name": key.name,
        "project": key.project,
        "digest": digest,
        "prefix": key.prefix,
        "tokens_per_minute": key.tokens_per_minute,
        "requests_per_minute": key.requests_per_minute,
        "created_by": key.created_by,
        "create_time": key.create_time,
        "expire_time": key.expire_time,
    }
    try:
        with tx.connection.begin_nested():
            tx.connection.execute(API_KEYS.insert().values(values))
    except IntegrityError as error:
        raise AlreadyExists(
            f"{key.name} exists already (a revoked key keeps its id); choose another id",
            reason="API_KEY_EXISTS",
            metadata={"name": key.name},
        ) from error


def list_api_keys(
    connection: Connection, project: str, *, page_size: int, page_token: str
) -> tuple[list[ApiKey], str]:
    """A project's keys, newest first."""
    rows, token = listing.page(
        connection,
        select(API_KEYS).where(API_KEYS.c.project == project),
        order=[API_KEYS.c.create_time, API_KEYS.c.name],
        page_size=page_size,
        page_token=page_token,
        descending=True,
    )
    return [_key(row) for row in rows], token


def revoke_api_key(tx: Transaction, name: str, at: datetime) -> ApiKey:
    """End it; one that is ended already stays as it is.

    Raises:
        NotFound: API_KEY_NOT_FOUND.
    """
    tx.connection.execute(
        text("UPDATE api_keys SET revoke_time = coalesce(revoke_time, :at) WHERE name = :name"),
        {"name": name, "at": at},
    )
    row = tx.connection.execute(select(API_KEYS).where(API_KEYS.c.name == name)).one_or_none()
    if row is None:
        raise NotFound(f"{name} does not exist", reason="API_KEY_NOT_FOUND", metadata={"name": name})
    return _key(row)


def all_api_keys(connection: Connection) -> dict[str, ApiKey]:
    """Every key by its secret's hash, ended ones too."""
    return {row.digest: _key(row) for row in connection.execute(select(API_KEYS))}


def used_since(connection: Connection, since: datetime) -> dict[str, tuple[int, int]]:
    """key → (requests, tokens) that were written down since then."""
    rows = connection.execute(
        text(
            "SELECT api_key, count(*) AS requests, sum(prompt_tokens + completion_tokens) AS tokens"
            " FROM gateway_requests WHERE api_key <> '' AND create_time >= :since GROUP BY api_key"
        ),
        {"since": since},
    )
    return {row.api_key: (int(row.requests), int(row.tokens)) for row in rows}


def _key(row: Any) -> ApiKey:
    return ApiKey(
        name=row.name,
        project=row.project,
        prefix=row.prefix,
        tokens_per_minute=row.tokens_per_minute,
        requests_per_minute=row.requests_per_minute,
        created_by=row.created_by,
        create_time=row.create_time,
        expire_time=row.expire_time,
        revoke_time=row.revoke_time,
    )
