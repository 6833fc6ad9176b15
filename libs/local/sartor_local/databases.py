"""Makes and drops databases on a PostgreSQL server, embedded or your own."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql


def with_database(url: str, name: str) -> str:
    """The same server's URL for another database."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=f"/{name}"))


def libpq(url: str) -> str:
    """The URL as libpq reads it, without SQLAlchemy's driver suffix."""
    scheme, mark, rest = url.partition("://")
    return f"{scheme.partition('+')[0]}{mark}{rest}"


def create_database(url: str, name: str) -> None:
    """Makes an empty database; one that exists is left as it is."""
    with psycopg.connect(libpq(url), autocommit=True) as connection:
        try:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        except psycopg.errors.DuplicateDatabase:
            return


def drop_database(url: str, name: str) -> None:
    """Removes a database with whoever is connected to it."""
    with psycopg.connect(libpq(url), autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
